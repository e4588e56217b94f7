"""Pauses between tries: drawn by chance, growing, and ending with the time that is left."""

from __future__ import annotations

from lambdas.quiet_hours.stores.backoff import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    RECORD_TRIES_MAX,
    RESERVE_S,
    TRIES_MAX,
    Tries,
)
from lambdas.quiet_hours.timings import CONSUMER_TIMEOUT_S, WORKER_TIMEOUT_S


def pauses(tries_max: int, seed: str = "worker-1") -> list[float]:
    made: list[float] = []
    tries = Tries(tries_max, made.append, seed=seed)
    while tries.again():
        pass
    return made


BOUNDS_S = [0.05, 0.1, 0.2, 0.4, 0.8, *[1.0] * 14]


def test_each_pause_is_drawn_below_a_bound_that_doubles_up_to_a_second() -> None:
    assert (FIRST_PAUSE_S, LONGEST_PAUSE_S) == (0.05, 1.0)
    drawn = [pauses(RECORD_TRIES_MAX, f"worker-{n}") for n in range(200)]
    for at, bound in enumerate(BOUNDS_S):
        these = [each[at] for each in drawn]
        assert 0 <= min(these) < 0.1 * bound
        assert 0.9 * bound < max(these) <= bound


def test_two_who_compete_pause_differently_and_a_night_can_be_repeated() -> None:
    assert pauses(TRIES_MAX, "worker-1") != pauses(TRIES_MAX, "worker-2")
    assert pauses(TRIES_MAX, "worker-1") == pauses(TRIES_MAX, "worker-1")


def test_the_tries_and_their_pauses_are_bounded() -> None:
    assert len(pauses(TRIES_MAX)) == TRIES_MAX - 1
    assert len(pauses(RECORD_TRIES_MAX)) == RECORD_TRIES_MAX - 1 == len(BOUNDS_S)
    assert sum(BOUNDS_S[: TRIES_MAX - 1]) < 3.6 < CONSUMER_TIMEOUT_S - RESERVE_S
    assert sum(BOUNDS_S) < 15.6 < WORKER_TIMEOUT_S - RESERVE_S


def test_no_pause_begins_that_would_use_up_the_reserve() -> None:
    now, ends = 0.0, 12.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    tries = Tries(1_000, sleep, lambda: ends - now)
    while tries.again():
        pass
    assert ends - RESERVE_S - LONGEST_PAUSE_S < now <= ends - RESERVE_S
    assert tries.made < 1_000


def test_a_try_that_may_come_at_once_makes_no_pause_and_lengthens_no_later_one() -> None:
    made: list[float] = []
    tries = Tries(TRIES_MAX, made.append, seed="worker-1")
    assert [tries.again(at_once=True) for _ in range(3)] == [True] * 3
    assert made == []
    assert tries.again()
    assert made[0] <= FIRST_PAUSE_S
