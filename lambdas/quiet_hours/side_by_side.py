"""Calling a function for many items at once. Every thread has ended before the result is returned."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

STEP_S = 0.0005
"""About the CPU time of one call. As long as each step takes up an item, another thread would add nothing."""


class SideBySide(Protocol):
    """Apply a function to each item, at most `at_once` together, and return the results in order."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]: ...


def in_threads(function: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]:
    """`SideBySide` with threads. It leaves no thread behind, which a frozen Lambda process would resume at night.

    One thread begins. Whenever no item was taken for `STEP_S`, the number of threads doubles, up to `at_once`. So slow
    calls get many threads. If calls return at once, more threads would only fight for the interpreter and cost twice
    the CPU.
    """
    if len(items) <= 1 or at_once <= 1:
        return [function(item) for item in items]
    left = deque(enumerate(items))
    results: dict[int, R] = {}
    all_taken = Event()

    def work() -> None:
        while left:
            try:
                index, item = left.popleft()
            except IndexError:  # another thread was quicker
                break
            results[index] = function(item)
        all_taken.set()

    with ThreadPoolExecutor(max_workers=min(at_once, len(items))) as pool:
        threads = [pool.submit(work)]
        while left and len(threads) < at_once:
            before = len(left)
            all_taken.wait(STEP_S)
            if len(left) == before:
                threads += [pool.submit(work) for _ in range(min(len(threads), at_once - len(threads)))]
    for thread in threads:
        thread.result()
    return [results[index] for index in range(len(items))]
