"""A channel's health, as tables: whom a failed call blames, when a channel rests, for how long, what ends a rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.quiet_hours.stores.health import (
    FIRST_REST_S,
    PROBE_LEASE_S,
    REST_S_MAX,
    WORKED_S,
    Failure,
    Health,
    after_failure,
    after_success,
)
from lambdas.quiet_hours.timings import CHANNEL_DEADLINE_MAX_S, WORKER_TIMEOUT_S

NOW = 1_605_063_600_000
WORKED_MS = round(WORKED_S * 1000)

UNKNOWN_YET = Health()
WORKS = Health(served_ms=NOW - 60_000)
WORKED_LONG_AGO = Health(served_ms=NOW - WORKED_MS)
A_FAILED = replace(WORKS, failed="a", failed_ms=NOW - 1000, failed_s=5)
RESTS = Health(rest_s=20, rest_until_ms=NOW + 12_000)
LEASED = Health(rest_s=20, rest_until_ms=NOW + 25_000)


def failure(id: str = "a", **fields: Any) -> Failure:
    """A call of one second that failed."""
    given: dict[str, Any] = {"id": id, "began_ms": NOW - 1000, "ended_ms": NOW, "is_certain": False}
    return Failure(**(given | fields))


# --- whom a failure blames


@pytest.mark.parametrize(
    ("health", "failed", "blames", "wait_s"),
    [
        pytest.param(WORKS, failure(), True, FIRST_REST_S, id="the first failure of a channel that works"),
        pytest.param(UNKNOWN_YET, failure(), False, FIRST_REST_S, id="of one of which nothing is known"),
        pytest.param(WORKED_LONG_AGO, failure(), False, FIRST_REST_S, id="of one that worked long ago"),
        pytest.param(A_FAILED, failure("a"), False, 10, id="the same one again, before anything was delivered"),
        pytest.param(replace(A_FAILED, failed_s=480), failure("a"), False, REST_S_MAX, id="and again, for hours"),
        pytest.param(replace(WORKS, served_ms=NOW - 10), failure(), True, 0, id="while others were delivered"),
        pytest.param(replace(A_FAILED, served_ms=NOW - 10), failure("b"), True, 0, id="and another had failed before"),
        pytest.param(A_FAILED, failure("b", served_ms=NOW - 10), True, 0, id="which only this process knows"),
        pytest.param(A_FAILED, failure("a", served_ms=NOW - 10), True, 0, id="and the one that failed before"),
        pytest.param(
            replace(A_FAILED, failed_ms=NOW - 5000), failure("b", served_ms=NOW - 3000), True, FIRST_REST_S,
            id="after something was delivered since the last failure, as only this process knows",
        ),
    ],
)  # fmt: skip
def test_one_failure_does_not_make_a_channel_rest(health: Health, failed: Failure, blames: bool, wait_s: float) -> None:
    judgement = after_failure(health, failed)
    assert (judgement.blames, judgement.wait_s, judgement.begins_rest) == (blames, wait_s, False)
    assert not judgement.health.rests


@pytest.mark.parametrize(
    ("health", "failed"),
    [
        pytest.param(A_FAILED, failure("b"), id="a second one fails before anything was delivered"),
        pytest.param(
            replace(UNKNOWN_YET, failed="a", failed_ms=NOW - 9), failure("b"), id="nothing was ever delivered"
        ),
        pytest.param(A_FAILED, failure("b", served_ms=NOW - 2000), id="what this process delivered was before that"),
        pytest.param(WORKS, failure(is_certain=True), id="the answer says so"),
        pytest.param(UNKNOWN_YET, failure(is_certain=True), id="the answer says so at the very first call"),
        pytest.param(
            replace(WORKS, served_ms=NOW - 10), failure(is_certain=True), id="others were delivered meanwhile"
        ),
    ],
)
def test_a_channel_begins_to_rest_and_nobody_is_blamed_where(health: Health, failed: Failure) -> None:
    judgement = after_failure(health, failed)
    assert (judgement.blames, judgement.wait_s, judgement.begins_rest) == (False, FIRST_REST_S, True)
    assert judgement.health == Health(
        served_ms=health.served_ms, rest_s=FIRST_REST_S, rest_until_ms=NOW + round(FIRST_REST_S * 1000)
    )


def test_a_failure_that_is_noted_late_is_still_one_of_before_the_rest() -> None:
    judgement = after_failure(RESTS, failure("b"))
    assert (judgement.health, judgement.blames, judgement.wait_s, judgement.begins_rest) == (RESTS, False, 12, False)


@pytest.mark.parametrize(("asks_s", "until_s"), [(0, 12), (5, 12), (15, 20), (60, 60), (86_400, REST_S_MAX)])
def test_a_rest_is_made_longer_by_what_asks_for_more_and_never_shorter(asks_s: float, until_s: float) -> None:
    """Calls that were under way together answer in any order."""
    judgement = after_failure(RESTS, failure(is_certain=True, asks_s=asks_s))
    assert (judgement.health.rest_until_ms - NOW) / 1000 == until_s
    assert judgement.wait_s == until_s


@pytest.mark.parametrize(
    ("asks_s", "rest_s"), [(0, 5), (4.9, 5), (7, 7), (900, 900), (901, 900), (float("inf"), 900), (-5, 5)]
)
def test_a_channel_rests_as_long_as_it_asks_within_bounds(asks_s: float, rest_s: float) -> None:
    judgement = after_failure(WORKS, failure(is_certain=True, asks_s=asks_s))
    assert (judgement.health.rest_s, judgement.wait_s) == (rest_s, rest_s)


# --- probes


def test_a_probe_that_fails_doubles_the_rest() -> None:
    judgement = after_failure(LEASED, failure(probe=LEASED))
    assert judgement.health == Health(rest_s=40, rest_until_ms=NOW + 40_000)
    assert (judgement.blames, judgement.wait_s, judgement.begins_rest) == (False, 40, False)


def test_a_probe_whose_lease_has_lapsed_doubles_nothing() -> None:
    """Another worker probes by now."""
    other = replace(LEASED, rest_until_ms=LEASED.rest_until_ms + 7)
    judgement = after_failure(other, failure(probe=LEASED))
    assert (judgement.health, judgement.blames) == (other, False)


def test_a_probe_that_delivers_ends_the_rest() -> None:
    assert after_success(LEASED, LEASED, NOW) == Health(served_ms=NOW)


@pytest.mark.parametrize("probe", [None, replace(LEASED, rest_until_ms=1)], ids=["a call", "a lapsed probe"])
def test_only_the_probe_ends_a_rest(probe: Health | None) -> None:
    """Calls that were under way may have begun before the outage."""
    assert after_success(LEASED, probe, NOW) == replace(LEASED, served_ms=NOW)


def test_a_delivery_clears_what_was_suspected() -> None:
    assert after_success(A_FAILED, None, NOW) == Health(served_ms=NOW)


def test_a_delivery_that_is_noted_late_takes_nothing_back() -> None:
    assert after_success(Health(served_ms=NOW), None, NOW - 5000).served_ms == NOW


def rests_of(hours: float, asks_s: float = 0) -> list[float]:
    """The rests of a channel that delivers nothing for so long, each probed as soon as it is over."""
    end_ms = NOW + round(hours * 3_600_000)
    health = after_failure(WORKS, failure(is_certain=True, asks_s=asks_s)).health
    rests = [health.rest_s]
    while (at_ms := health.rest_until_ms) < end_ms:
        probe = health.leased(at_ms)
        health = after_failure(probe, failure(began_ms=at_ms, ended_ms=at_ms, asks_s=asks_s, probe=probe)).health
        rests.append(health.rest_s)
    return rests


def test_rests_double_from_five_seconds_to_a_quarter_of_an_hour() -> None:
    assert rests_of(1)[:10] == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_twelve_hours_are_probed_some_fifty_five_times() -> None:
    assert 50 <= len(rests_of(12)) <= 60


def test_an_hour_of_a_provider_that_asks_for_a_minute_is_not_probed_more_often_than_it_asks() -> None:
    assert min(rests_of(1, asks_s=60)) == 60


def test_a_lease_is_longer_than_a_call_and_what_surrounds_it() -> None:
    assert CHANNEL_DEADLINE_MAX_S < PROBE_LEASE_S < WORKER_TIMEOUT_S


# --- its item

TIMES = st.integers(0, 10**14)
SECONDS = st.sampled_from([0, 0.5, 5, 7.25, 40, 900])
HEALTHS = st.builds(
    Health, served_ms=TIMES, failed=st.sampled_from(["", "a", "주문-1"]), failed_ms=TIMES, failed_s=SECONDS,
    rest_s=SECONDS, rest_until_ms=TIMES,
)  # fmt: skip


@given(HEALTHS)
def test_an_item_says_all_of_it(health: Health) -> None:
    item = {name: value for name, value in health.fields().items() if value}
    assert Health.from_item(item) == health


def test_an_item_that_does_not_exist_is_a_channel_of_which_nothing_is_known() -> None:
    assert Health.from_item({}) == UNKNOWN_YET
    assert set(UNKNOWN_YET.fields().values()) == {None}


@given(HEALTHS, st.booleans(), st.floats(0, 2000), st.sampled_from(["a", "b"]))
def test_nobody_is_blamed_while_a_channel_rests_and_no_rest_is_longer_than_the_longest(
    health: Health, is_certain: bool, asks_s: float, id: str
) -> None:
    judgement = after_failure(health, failure(id, is_certain=is_certain, asks_s=asks_s))
    assert not (judgement.health.rests and judgement.blames)
    if judgement.health != health and judgement.health.rests:
        assert judgement.health.rest_until_ms <= NOW + REST_S_MAX * 1000
