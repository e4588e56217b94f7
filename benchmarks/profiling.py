"""CPU by part under a profiler: the time of a function and of all that it calls."""

from __future__ import annotations

import cProfile
import pstats
from typing import Any, NamedTuple


class Part(NamedTuple):
    """The function that does a part of the work: the end of its file's path, and its name."""

    file: str
    function: str


class Profile(NamedTuple):
    """Seconds of all functions together, and of each part with what it calls."""

    all_s: float
    parts_s: dict[str, float]


def read(profiler: cProfile.Profile, parts: dict[str, Part]) -> Profile:
    """Add up what a profiler has seen."""
    stats: Any = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    parts_s = dict.fromkeys(parts, 0.0)
    all_s = 0.0
    for (path, _, function), (_, _, own_s, total_s, _) in stats.items():
        all_s += own_s
        for name, part in parts.items():
            if path.endswith(part.file) and function == part.function:
                parts_s[name] += total_s
    return Profile(all_s, parts_s)
