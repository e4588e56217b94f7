"""`python -m simulation --seeds N`, or `--seed 123 --trace` for one night's timeline. What `make nights` runs."""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import night, runner, timeline
from .runner import Caught, Nights, Report

PROFILE_LINES = 20
REPLAY = "make nights SEED={seed} TRACE=1"


def main() -> int:
    """Exit status 1 on a violation or a planted bug that survived, 130 when interrupted."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background has it ignored
    console = Console()
    if arguments.profile:
        return _profile(console, arguments.first, arguments.seeds)
    if arguments.beyond:
        return _beyond_the_bound(console, arguments.seeds)
    if arguments.seed is not None:
        return _one_night(arguments.seed, trace=arguments.trace, only=arguments.id)

    console.print(
        f"{arguments.seeds} nights on {arguments.jobs} cores; Ctrl-C ends it early and reports what was played"
    )
    report, interrupted, begun = Report(), False, time.monotonic()
    todo = runner.jobs(arguments.first, arguments.seeds, planted=arguments.all, exhaustively=arguments.all)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("nights", total=arguments.seeds)
            for part in runner.work(todo, arguments.jobs):
                report.add(part)
                if isinstance(part, Caught):
                    progress.console.print(_planted(part), highlight=False)
                if isinstance(part, Nights):
                    progress.advance(bar, part.seeds)
                    for seed, invariant, detail in part.violations:
                        progress.console.print(f"{invariant}: {detail}\n  {REPLAY.format(seed=seed)}", markup=False)
    except KeyboardInterrupt:
        interrupted = True
        console.print("interrupted: what follows is about the nights that were played")
    report.write()
    _summary(console, report, time.monotonic() - begun)
    return 130 if interrupted else int(report.failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many nights (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many processes (one a core)")
    parser.add_argument("--only-seeds", dest="all", action="store_false", help="no planted bugs, no exhaustive mode")
    parser.add_argument("--seed", type=int, help="play this night alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: its timeline")
    parser.add_argument("--id", help="with --trace: of one notification only")
    parser.add_argument("--beyond", action="store_true", help="pauses ten times the stated bound: I1 must break")
    parser.add_argument("--profile", action="store_true", help="what the nights spend their time on, by file")
    return parser.parse_args()


def _one_night(seed: int, *, trace: bool, only: str | None) -> int:
    result = timeline.print_night(seed, only) if trace else night.run(seed)
    for violation in result.violations:
        print(f"seed {seed}: {violation.invariant}: {violation.detail}")
    endings = ", ".join(f"{number} {state}" for state, number in sorted(result.endings.items()))
    print(f"seed {seed}: {result.notifications} notifications, {endings}; {len(result.violations)} violations")
    if result.violations and not trace:
        print(f"\n{REPLAY.format(seed=seed)}")
    return int(bool(result.violations))


def _beyond_the_bound(console: Console, seeds: int) -> int:
    """The bound is seen to be the bound: beyond it the promise is broken."""
    early = [seed for seed in range(seeds) if _is_early(seed)]
    console.print(f"{len(early)} of {seeds} nights sent early with pauses of up to ten times the stated bound: {early}")
    return int(not early)


def _profile(console: Console, first: int, seeds: int) -> int:
    """Of the time that these nights take: which share is spent in which file, callees apart."""
    profile = cProfile.Profile()
    profile.runcall(runner.nights, range(first, first + seeds))
    by_file: Counter[str] = Counter()
    for (path, _, name), (_, _, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        parts = Path(path).parts
        ours = [folder for folder in ("lambdas", "simulation") if folder in parts]
        by_file["/".join(parts[parts.index(ours[0]) :]) if ours else f"Python: {Path(path).name} {name}"] += own_s
    all_s = by_file.total()
    for folder in ("lambdas", "simulation", "Python"):
        share = sum(own_s for path, own_s in by_file.items() if path.startswith(folder)) / all_s
        console.print(f"{share:6.1%}  {folder}", highlight=False)
    for path, own_s in by_file.most_common(PROFILE_LINES):
        console.print(f"{own_s / all_s:6.1%}    {path}", highlight=False, markup=False)
    return 0


def _is_early(seed: int) -> bool:
    return any(each.invariant == "never_early" for each in night.run(seed, pause_factor=10).violations)


def _summary(console: Console, report: Report, seconds: float) -> None:
    speed = report.to_json()["nights_per_second_per_core"]
    endings = ", ".join(f"{number} {state}" for state, number in report.endings.most_common())
    console.print(f"{report.seeds} nights in {seconds:.0f} s, {speed} a second a core; {endings}", highlight=False)
    console.print(f"{sum(report.faults.values())} faults of {len(report.faults)} kinds", highlight=False)
    for name in report.survivors:
        console.print(f"planted {name}: SURVIVED", highlight=False)
    if report.points:
        console.print(f"{report.points} crash points, {len(report.crashes)} violations", highlight=False)
    for call, operation, when, invariant, detail in sorted(report.crashes):
        console.print(f"  crash {when} call {call} ({operation}): {invariant}: {detail}", markup=False)
    console.print(f"{len(report.violations)} violations; {runner.REPORT} has it all", highlight=False)
    for seed, invariant, detail in sorted(report.violations)[: runner.VIOLATIONS_SHOWN]:
        console.print(f"{invariant}: {detail}", markup=False, highlight=False)
        console.print(f"  {REPLAY.format(seed=seed)}", markup=False, highlight=False)


def _planted(caught: Caught) -> str:
    said = f"caught by seed {caught.seeds - 1}: {caught.invariant}" if caught.seeds else f"SURVIVED {caught.detail}"
    return f"planted {caught.name}: {said}"


if __name__ == "__main__":
    sys.exit(main())
