"""Doing one thing for many items at once, with every thread joined before the answer: nothing runs on afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class SideBySide(Protocol):
    """Apply a function to each item, at most `at_once` together, and return the results in order."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]: ...


def in_threads(function: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]:
    """`SideBySide` with threads. A frozen Lambda process would resume a stray thread at night: there is none."""
    if len(items) <= 1 or at_once <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(at_once, len(items))) as pool:
        return list(pool.map(function, items))
