"""Deliveries are recorded while the bundle's other calls are under way: the same writes, and less in doubt after a
crash (docs/decisions/0005-what-the-worker-costs.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.side_by_side import in_threads
from tests.helpers.aws import dynamodb, sqs
from tests.helpers.delivery_world import Killed, World, many, world

__all__ = ["dynamodb", "sqs", "world"]
AWAY = ClientError({"Error": {"Code": "ServiceUnavailable"}}, "BatchWriteItem")


def dies_at(call: int) -> Callable[[dict[str, Any]], Outcome]:
    """A provider during whose n-th call the worker is killed."""
    calls = iter(range(1, call))

    def answer(_: dict[str, Any]) -> Outcome:
        if next(calls, None) is None:
            raise Killed
        return DELIVERED

    return answer


def counting(world: World, fails: bool = False) -> list[int]:
    """Count the deliveries that each call records."""
    written: list[int] = []

    def batch_write_item(real: Callable[..., Any], RequestItems: dict[str, Any]) -> Any:
        written.append(len(RequestItems["ledger"]))
        if fails:
            raise AWAY
        return real(RequestItems=RequestItems)

    world.faults = {"batch_write_item": batch_write_item}
    return written


def test_a_worker_that_dies_late_leaves_less_than_a_batch_unrecorded(world: World) -> None:
    world.provider.answer = dies_at(call=60)
    world.provider.side_by_side = 25
    with pytest.raises(Killed):
        world.invoke(*many(80))
    assert [world.state(f"id-{n}") for n in (0, 24, 49)] == ["delivered"] * 3
    assert list(world.states().values()).count("claimed") == 30  # nine were sent, one may have been, twenty were not


def test_recording_early_costs_no_call_more(world: World) -> None:
    written = counting(world)
    world.provider.side_by_side = 25
    assert world.invoke(*many(60)) == (True, {"delivered": 60})
    assert written == [25, 25, 10]
    assert set(world.states().values()) == {"delivered"}


def test_threads_record_each_delivery_once(world: World) -> None:
    written = counting(world)
    world.provider.side_by_side = 25
    world.side_by_side = in_threads
    assert world.invoke(*many(100)) == (True, {"delivered": 100})
    assert sorted(written) == [25, 25, 25, 25]
    assert len(world.states()) == 100 and set(world.states().values()) == {"delivered"}


def test_a_ledger_that_is_away_is_asked_once_more_at_the_end_and_not_for_every_batch(world: World) -> None:
    """A throttled record stops further calls: what a provider gets now could not be recorded either."""
    written = counting(world, fails=True)
    world.provider.side_by_side = 25
    assert world.invoke(*many(80)) == (False, {"delivered": 26, "given_back": 54, "ledger_unavailable": 1})
    assert written == [25, 25]
    assert world.provider.ids == [f"id-{n}" for n in range(26)]
    world.faults = {}
    assert set(world.states().values()) == {"claimed"}  # nothing is lost: the bundle comes again


def test_a_record_that_fails_stops_further_claims_too(world: World) -> None:
    """A provider that cannot be asked twice: what it has and nobody could record is in doubt, and nothing else."""
    counting(world, fails=True)
    world.provider.can_resend = False
    world.provider.batch_size = 10
    settled, counts = world.invoke(*many(80))
    assert (settled, counts) == (False, {"delivered": 10, "given_back": 70, "ledger_unavailable": 1})
    assert world.provider.ids == [f"id-{n}" for n in range(10)]
    assert world.entries().keys() == set(world.provider.ids)


def test_a_turn_is_not_booked_once_a_record_has_failed(world: World) -> None:
    counting(world, fails=True)
    booked: list[Any] = []

    def note(real: Callable[..., Any], **parameters: Any) -> Any:
        if "next_us" in parameters["ExpressionAttributeNames"].values():
            booked.append(parameters)
        return real(**parameters)

    world.faults["update_item"] = note
    world.provider.can_resend, world.provider.rate_per_s = False, 10
    world.provider.batch_size = 5
    world.invoke(*many(20))
    assert len(booked) == 1


def test_a_provider_that_cannot_be_asked_twice_has_each_call_recorded_by_itself(world: World) -> None:
    written = counting(world)
    world.provider.can_resend = False
    world.provider.side_by_side = 10
    assert world.invoke(*many(3)) == (True, {"delivered": 3})
    assert written[:3] == [1, 1, 1]
