"""Many nights on all cores: the seeds, the exhaustive mode and the planted bugs, and the report on them."""

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


class Nights(NamedTuple):
    """What came of some seeds: CPU time in seconds, and (seed, invariant, detail) of each first violation."""

    seeds: int
    notifications: int
    cpu_s: float
    faults: Counter[str]
    endings: Counter[str]
    violations: list[tuple[int, str, str]]


class Caught(NamedTuple):
    """When a planted bug was found, and by which of the invariants that it breaks; `seeds` None if it survived."""

    name: str
    seeds: int | None
    invariant: str | None
    detail: str


class Crashes(NamedTuple):
    """What came of some crash points: (call, operation, before or after, invariant, detail) of each violation."""

    points: int
    violations: list[tuple[int, str, str, str, str]]


@dataclass
class Report:
    """Everything that `make nights` found out."""

    seeds: int = 0
    notifications: int = 0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str, str]] = field(default_factory=list)
    planted: dict[str, Caught] = field(default_factory=dict)
    points: int = 0
    crashes: list[tuple[int, str, str, str, str]] = field(default_factory=list)

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
        """The planted bugs that nobody found: a failure of the simulation."""
        return sorted(name for name, caught in self.planted.items() if caught.seeds is None)

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
                {"invariant": invariant, "seed": seed, "detail": detail}
                for seed, invariant, detail in sorted(self.violations)
            ],
            "planted": {name: caught.seeds for name, caught in sorted(self.planted.items())},
            "caught_by": {name: caught.invariant for name, caught in sorted(self.planted.items())},
            "exhaustive": {
                "crash_points": self.points,
                "violations": [
                    {"call": call, "operation": operation, "when": when, "invariant": invariant, "detail": detail}
                    for call, operation, when, invariant, detail in sorted(self.crashes)
                ],
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
        violations += [(seed, invariant, detail) for invariant, detail in first.items()]
    return Nights(number, notifications, time.process_time() - begun, faults, endings, violations)


def hunt(plant: Plant) -> Caught:
    """Plant a bug and play nights until one of them finds it, by an invariant that it is to break."""
    for seed in range(SEEDS_MAX):
        with plant.planted():
            violations = night.run(seed, stop_at=plant.caught_by).violations
        broken = {each.invariant for each in violations}
        if "no_fault_in_code" in broken.difference(plant.caught_by):
            return Caught(plant.name, None, None, "the plant's own code fails")
        if found := next((each for each in violations if each.invariant in plant.caught_by), None):
            return Caught(plant.name, seed + 1, found.invariant, found.detail)
    return Caught(plant.name, None, None, "")


def _hunt(name: str) -> Caught:
    return hunt(next(each for each in PLANTS if each.name == name))


def crashes(points: Iterable[tuple[int, str, bool]]) -> Crashes:
    """Play the small night with a crash at each of these points."""
    number, found = 0, []
    for call, operation, after in points:
        number += 1
        for violation in exhaustive.crash(call, after)[:1]:
            when = "after" if after else "before"
            found.append((call, operation, when, violation.invariant, violation.detail))
    return Crashes(number, found)


def _do(job: tuple[str, Any]) -> Nights | Caught | Crashes:
    kind, what = job
    functions: dict[str, Callable[[Any], Any]] = {"nights": nights, "hunt": _hunt, "crashes": crashes}
    return functions[kind](what)  # type: ignore[no-any-return]


def jobs(first: int, seeds: int, *, planted: bool = True, exhaustively: bool = True) -> list[tuple[str, Any]]:
    """Everything to do, in parts that are worth handing out; what takes longest first."""
    todo: list[tuple[str, Any]] = [("hunt", plant.name) for plant in PLANTS] if planted else []
    points = list(exhaustive.points()) if exhaustively else []
    todo += [("crashes", points[start : start + CHUNK]) for start in range(0, len(points), CHUNK)]
    last = first + seeds
    todo += [("nights", range(start, min(start + CHUNK, last))) for start in range(first, last, CHUNK)]
    return todo


def work(todo: list[tuple[str, Any]], processes: int | None = None) -> Iterator[Nights | Caught | Crashes]:
    """Do all of it, on every core unless told otherwise; in whatever order it is done."""
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
