"""Plays many nights on all cores: the seeds, the exhaustive mode and the planted bugs. Writes the report."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from . import exhaustive, night
from .planted import PLANTS, SEEDS_MAX
from .planting import Plant

REPORT = Path("build/nights.json")
VIOLATIONS_SHOWN = 20
CHUNK = 10


class Broken(NamedTuple):
    """An invariant that the night of a seed broke, and what happened at the first violation."""

    seed: int
    invariant: str
    detail: str


class BrokenByCrash(NamedTuple):
    """An invariant that a crash before or after a call broke, and what happened."""

    call: int
    operation: str
    when: str
    invariant: str
    detail: str


class Nights(NamedTuple):
    """The result of some seeds. `cpu_s` is the CPU time in seconds."""

    seeds: int
    notifications: int
    cpu_s: float
    faults: Counter[str]
    endings: Counter[str]
    violations: list[Broken]


class Caught(NamedTuple):
    """The seed whose night found a planted bug, and the invariant that it broke; both None if the bug survived."""

    name: str
    seed: int | None
    invariant: str | None
    detail: str

    @property
    def nights(self) -> int | None:
        """The number of nights from seed 0 to the one that found it."""
        return None if self.seed is None else self.seed + 1


class Crashes(NamedTuple):
    """The result of some crash points, with the first violation of each."""

    points: int
    violations: list[BrokenByCrash]


class Job(NamedTuple):
    """A part of the work: a function of `JOBS` and its argument."""

    kind: str
    argument: Any


@dataclass
class Report:
    """Everything that `make nights` has found."""

    seeds: int = 0
    notifications: int = 0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    violations: list[Broken] = field(default_factory=list)
    planted: dict[str, Caught] = field(default_factory=dict)
    points: int = 0
    crashes: list[BrokenByCrash] = field(default_factory=list)

    def add(self, part: Nights | Caught | Crashes) -> None:
        if isinstance(part, Nights):
            self.seeds += part.seeds
            self.notifications += part.notifications
            self.cpu_s += part.cpu_s
            self.faults += part.faults
            self.endings += part.endings
            self.violations += part.violations
        elif isinstance(part, Caught):
            self.planted[part.name] = part
        else:
            self.points += part.points
            self.crashes += part.violations

    @property
    def survivors(self) -> list[str]:
        """The planted bugs that no night found. Each is a failure of the simulation."""
        return sorted(name for name, caught in self.planted.items() if caught.seed is None)

    @property
    def failed(self) -> bool:
        return bool(self.violations or self.crashes or self.survivors)

    def to_json(self) -> dict[str, Any]:
        """`build/nights.json`."""
        return {
            "commit": _commit(),
            "seeds": self.seeds,
            "nights_per_second_per_core": round(self.seeds / self.cpu_s, 1) if self.cpu_s else 0.0,
            "notifications": self.notifications,
            "faults": dict(sorted(self.faults.items())),
            "violations": [
                {"invariant": each.invariant, "seed": each.seed, "detail": each.detail}
                for each in sorted(self.violations)
            ],
            "planted": {name: caught.nights for name, caught in sorted(self.planted.items())},
            "caught_by": {name: caught.invariant for name, caught in sorted(self.planted.items())},
            "exhaustive": {
                "crash_points": self.points,
                "violations": [each._asdict() for each in sorted(self.crashes)],
            },
        }

    def write(self, path: Path = REPORT) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")


def nights(seeds: Iterable[int]) -> Nights:
    """Play these seeds."""
    number = notifications = 0
    faults: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    violations = []
    begun = time.process_time()
    for seed in seeds:
        result = night.run(seed)
        number += 1
        notifications += result.notifications
        faults += result.faults
        endings += result.endings
        first: dict[str, str] = {}
        for violation in result.violations:
            first.setdefault(violation.invariant, violation.detail)
        violations += [Broken(seed, invariant, detail) for invariant, detail in first.items()]
    return Nights(number, notifications, time.process_time() - begun, faults, endings, violations)


def hunt(plant: Plant, first: int = 0) -> Caught:
    """Plant a bug and play nights from seed `first` on, until one breaks an invariant that the bug has to break. The
    bug survives if `SEEDS_MAX` nights do not find it."""
    for seed in range(first, first + SEEDS_MAX):
        with plant.planted():
            violations = night.run(seed, stop_at=plant.caught_by).violations
        broken = {each.invariant for each in violations}
        if "no_fault_in_code" in broken.difference(plant.caught_by):
            return Caught(plant.name, None, None, "the plant's own code fails")
        if found := next((each for each in violations if each.invariant in plant.caught_by), None):
            return Caught(plant.name, seed, found.invariant, found.detail)
    return Caught(plant.name, None, None, "")


def _hunt(name: str) -> Caught:
    return hunt(next(each for each in PLANTS if each.name == name))


def crashes(points: Iterable[exhaustive.Point]) -> Crashes:
    """Play the small night with a crash at each of these points."""
    number, found = 0, []
    for point in points:
        number += 1
        for violation in exhaustive.crash(point.call, point.after)[:1]:
            when = "after" if point.after else "before"
            found.append(BrokenByCrash(point.call, point.operation, when, violation.invariant, violation.detail))
    return Crashes(number, found)


JOBS: dict[str, Callable[[Any], Nights | Caught | Crashes]] = {"nights": nights, "hunt": _hunt, "crashes": crashes}


def _do(job: Job) -> Nights | Caught | Crashes:
    return JOBS[job.kind](job.argument)


def jobs(first: int, seeds: int, *, planted: bool = True, exhaustively: bool = True) -> list[Job]:
    """Divide the work into parts of a useful size. The longest come first."""
    todo = [Job("hunt", plant.name) for plant in PLANTS] if planted else []
    points = list(exhaustive.points()) if exhaustively else []
    todo += [Job("crashes", points[start : start + CHUNK]) for start in range(0, len(points), CHUNK)]
    last = first + seeds
    todo += [Job("nights", range(start, min(start + CHUNK, last))) for start in range(first, last, CHUNK)]
    return todo


def work(todo: list[Job], processes: int | None = None) -> Iterator[Nights | Caught | Crashes]:
    """Do all jobs, on every core unless `processes` says otherwise. The results come in any order."""
    cores = processes or os.cpu_count() or 1
    if cores == 1:
        yield from map(_do, todo)
        return
    with multiprocessing.get_context("spawn").Pool(cores, initializer=_leave_interrupts_to_the_parent) as pool:
        yield from pool.imap_unordered(_do, todo)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"
