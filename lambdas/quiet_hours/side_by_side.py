"""Doing one thing for many items at once, with every thread joined before the answer: nothing runs on afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

STEP_S = 0.0005
"""About what a call costs in CPU: while one is taken up in every step, a further thread could not add any."""


class SideBySide(Protocol):
    """Apply a function to each item, at most `at_once` together, and return the results in order."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]: ...


def in_threads(function: Callable[[T], R], items: Sequence[T], at_once: int) -> list[R]:
    """`SideBySide` with threads. A frozen Lambda process would resume a stray thread at night: there is none.

    One thread begins, and as many join as are there whenever nothing was taken up for `STEP_S`: as many as the waiting
    is worth. Where the calls return at once, more threads only fight for the interpreter and cost twice the CPU.
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
