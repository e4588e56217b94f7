"""`make nights`: `python -m simulation --seeds N`, or `--seed 123 --trace` for the timeline of one night."""

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
from .runner import Broken, Caught, Nights, Report

PROFILE_LINES = 20
REPLAY = "make nights SEED={seed} TRACE=1"


def main() -> int:
    """Play nights and report. The exit status is 1 after a violation or a surviving planted bug, 130 when
    interrupted."""
    arguments = _arguments()
    for ended_by in (signal.SIGINT, signal.SIGTERM):  # a shell that starts us in the background ignores the first one
        signal.signal(ended_by, signal.default_int_handler)
    console = Console()
    if arguments.profile:
        return _profile(console, arguments.first, arguments.seeds)
    if arguments.beyond:
        return _beyond_the_bound(console, arguments.seeds)
    if arguments.seed is not None:
        return _one_night(arguments.seed, trace=arguments.trace, only=arguments.id)

    console.print(
        f"{arguments.seeds} nights on {arguments.jobs} cores; Ctrl-C ends it early and reports the nights played"
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
                    for broken in part.violations:
                        progress.console.print(_broken(broken), markup=False)
    except KeyboardInterrupt:
        interrupted = True
        console.print("interrupted: this report is about the nights that were played")
    report.write()
    _summary(console, report, time.monotonic() - begun)
    return 130 if interrupted else int(report.failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="the number of nights (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="the number of processes (one per core)")
    parser.add_argument("--only-seeds", dest="all", action="store_false", help="no planted bugs, no exhaustive mode")
    parser.add_argument("--seed", type=int, help="play only the night of this seed")
    parser.add_argument("--trace", action="store_true", help="with --seed: print the timeline")
    parser.add_argument("--id", help="with --trace: print one notification only")
    parser.add_argument("--beyond", action="store_true", help="pauses of ten times the stated bound: I1 has to break")
    parser.add_argument("--profile", action="store_true", help="print the share of time that each file takes")
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
    """Show that the bound is tight: beyond it the promise breaks."""
    early = [seed for seed in range(seeds) if _is_early(seed)]
    console.print(f"{len(early)} of {seeds} nights sent early with pauses of up to ten times the stated bound: {early}")
    return int(not early)


def _profile(console: Console, first: int, seeds: int) -> int:
    """Print the share of time that these nights spend in each file. The time of a call counts for the file called."""
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
    for each in sorted(report.crashes):
        crash = f"crash {each.when} call {each.call} ({each.operation})"
        console.print(f"  {crash}: {each.invariant}: {each.detail}", markup=False)
    console.print(f"{len(report.violations)} violations; all is in {runner.REPORT}", highlight=False)
    for broken in sorted(report.violations)[: runner.VIOLATIONS_SHOWN]:
        console.print(_broken(broken), markup=False, highlight=False)


def _broken(broken: Broken) -> str:
    return f"{broken.invariant}: {broken.detail}\n  {REPLAY.format(seed=broken.seed)}"


def _planted(caught: Caught) -> str:
    survived = caught.seed is None
    said = f"SURVIVED {caught.detail}" if survived else f"caught by seed {caught.seed}: {caught.invariant}"
    return f"planted {caught.name}: {said}"


if __name__ == "__main__":
    sys.exit(main())
