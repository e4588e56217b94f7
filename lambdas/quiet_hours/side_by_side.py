"""Calling a function for many items at once. Every thread has ended before the result is returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

STEP_S = 0.0005
"""About the CPU time of one call. As long as each step takes up an item, another thread would add nothing."""

MAKING_S = 0.005
"""The time after which to look again where a generator makes the next item: it may sleep for a second."""


class SideBySide(Protocol):
    """Apply a function to each item, at most `at_once` together, and return the results in order.

    The items may be a generator: it is asked for the next item when somebody is free to take it, by one at a time.
    """

    def __call__(self, function: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]: ...


def in_threads(function: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
    """`SideBySide` with threads. It leaves no thread behind, which a frozen Lambda process would resume at night.

    One thread begins. Whenever no item was taken for `STEP_S`, the number of threads doubles, up to `at_once`. So slow
    calls get many threads. If calls return at once, more threads would only fight for the interpreter and cost twice
    the CPU.
    """
    if at_once <= 1 or (isinstance(items, list) and len(items) <= 1):
        return [function(item) for item in items]
    waiting = enumerate(items)
    results: dict[int, R] = {}
    number_taken = 0
    taking = Lock()
    all_taken = Event()

    def work() -> None:
        nonlocal number_taken
        while True:
            with taking:
                taken = next(waiting, None)
                number_taken += taken is not None
            if taken is None:
                break
            index, item = taken
            results[index] = function(item)
        all_taken.set()

    with ThreadPoolExecutor(max_workers=at_once) as pool:
        threads = [pool.submit(work)]
        while len(threads) < at_once and not all_taken.is_set():
            before = number_taken
            if taking.locked():  # a generator makes the next item: more threads could only wait for it
                all_taken.wait(MAKING_S)
                continue
            all_taken.wait(STEP_S)
            if number_taken == before and not taking.locked():
                threads += [pool.submit(work) for _ in range(min(len(threads), at_once - len(threads)))]
    for thread in threads:
        thread.result()
    return [results[index] for index in range(number_taken)]
