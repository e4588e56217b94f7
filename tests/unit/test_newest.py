"""The collapse key: of several held ones of one source and recipient, only the newest is sent at the release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.consumer import consume
from lambdas.quiet_hours.api.status import cancel, look_up
from lambdas.quiet_hours.delivery.calls import STORE_REST_S
from lambdas.quiet_hours.notification.bundle import Item
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.backoff import RESERVE_S, Tries
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.newest import Note, group_of, note_newest, superseded
from tests.helpers.aws import (
    NIGHT,
    Faulty,
    dynamodb,
    notification,
    one_after_another,
    put_consent,
    record,
    settings,
    sqs,
    take,
)
from tests.helpers.delivery_world import Clock, Provider, Queues, World

__all__ = ["dynamodb", "settings", "sqs"]

MORNING = datetime.fromisoformat("2020-11-12T08:00:10+09:00")
Evening = Callable[..., list[str]]


def price(id: str, **fields: Any) -> dict[str, Any]:
    return notification(**{"id": id, "channel": "sms", "collapse_key": "price", "source": "shop", **fields})


def after(seconds: float) -> datetime:
    return NIGHT + timedelta(seconds=seconds)


@pytest.fixture
def world(dynamodb: Any, settings: Settings) -> World:
    clock = Clock(NIGHT)
    return World(dynamodb, clock, Queues(clock), Provider(clock), settings.quiet_hours())


@pytest.fixture
def evening(sqs: Any, dynamodb: Any, settings: Settings) -> Evening:
    """Sends messages at night, each at its own second, and consumes each. Returns the messages that come again."""

    def send(*messages: Any, at: float = 0, **faults: Any) -> list[str]:
        client: Any = Faulty(dynamodb, **faults)
        failed: list[str] = []
        for number, body in enumerate(messages):
            sent = record(to_text(body), f"message-{number}", after(at + number))
            failed += consume([sent], after(at + number), sqs, client, settings, settings.quiet_hours()).failed
        return failed

    return send


@pytest.fixture
def morning(world: World, sqs: Any, settings: Settings) -> Callable[..., list[str]]:
    """Delivers what is on wait, in any order. Returns what the provider got."""

    def release(backwards: bool = False) -> list[str]:
        world.clock.now = max(world.clock.now, MORNING)
        waiting = [each["Body"] for each in take(sqs, settings.wait_queue_url)]
        for body in waiting[:: -1 if backwards else 1]:
            world.receive(body, "schedule")
        world.run("schedule")
        return world.provider.ids

    return release


def held_table(dynamodb: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = dynamodb.scan(TableName="held")["Items"]
    return items


# --- what is sent


@pytest.mark.parametrize("backwards", [False, True])
def test_only_the_newest_of_several_held_ones_is_sent(
    evening: Evening, morning: Callable[..., list[str]], world: World, backwards: bool
) -> None:
    assert evening(price("a"), price("b"), price("c")) == []
    assert morning(backwards) == ["c"]
    assert world.states() == {"a": "superseded", "b": "superseded", "c": "delivered"}
    entry = world.entry("a")
    assert entry and entry.reason == "a newer one with its collapse key was held: c"


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_it_does_not_matter_in_which_order_the_consumers_come_to_them(
    morning: Callable[..., list[str]], sqs: Any, dynamodb: Any, settings: Settings, order: tuple[str, ...]
) -> None:
    for id in order:
        sent = record(to_text(price(id)), id, after("abc".index(id)))
        consume([sent], after(60), sqs, dynamodb, settings, settings.quiet_hours())
    assert morning() == ["c"]


def test_the_last_of_one_message_is_its_newest(evening: Evening, morning: Callable[..., list[str]]) -> None:
    evening([price("z"), price("m"), price("a")])
    assert morning() == ["a"]


def test_a_message_that_comes_again_changes_nothing(evening: Evening, morning: Callable[..., list[str]]) -> None:
    evening(price("a"), price("b"))
    evening(price("a"))
    assert morning() == ["b"]


@pytest.mark.parametrize(
    "other",
    [
        {"collapse_key": "stock"},
        {"source": "another shop"},
        {"recipient_id": "somebody else"},
        {"address": "010-1234-5679"},
    ],
)
def test_another_key_source_or_recipient_is_another_group(
    evening: Evening, morning: Callable[..., list[str]], other: dict[str, str]
) -> None:
    evening(price("a"), price("b") | other)
    assert sorted(morning()) == ["a", "b"]


def test_one_recipient_is_one_group_on_all_channels(evening: Evening, morning: Callable[..., list[str]]) -> None:
    evening(price("a", recipient_id="user-1"), price("b", recipient_id="user-1", channel="slack", address="#room"))
    assert morning() == ["b"]


def test_older_ones_end_also_where_the_newest_ends_unsent(
    evening: Evening, morning: Callable[..., list[str]], world: World, dynamodb: Any
) -> None:
    evening(price("a"), price("b"), price("c", expires_at=after(60).isoformat()))
    assert morning() == []
    assert world.states() == {"a": "superseded", "b": "superseded", "c": "expired"}


def test_a_cancelled_one_still_takes_the_place_of_the_older_ones(
    evening: Evening, morning: Callable[..., list[str]], world: World, dynamodb: Any
) -> None:
    evening(price("a"), price("b"))
    cancel(["b"], after(60), Ledger(dynamodb, "ledger", "api", timedelta(minutes=2)))
    assert morning() == []
    assert world.states() == {"a": "superseded", "b": "cancelled"}


def test_what_is_accepted_in_the_morning_is_not_superseded_by_what_was_held(
    evening: Evening, morning: Callable[..., list[str]], world: World
) -> None:
    evening(price("a"), price("b"))
    assert morning() == ["b"]
    later = price("c", accepted_at=MORNING.isoformat(), expires_at=(MORNING + timedelta(days=1)).isoformat())
    world.invoke(later)
    assert world.states() == {"a": "superseded", "b": "delivered", "c": "delivered"}


def test_what_is_never_held_is_never_superseded(
    evening: Evening, world: World, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    evening(price("a"), price("b"))
    world.clock.now = after(5)
    earlier = {"category": "informational", "accepted_at": after(-60).isoformat()}
    world.invoke(price("c", **earlier), price("d", **earlier))
    assert world.provider.ids == ["c", "d"]


def test_the_night_of_who_has_consented_is_not_collapsed(evening: Evening, world: World, dynamodb: Any) -> None:
    put_consent(dynamodb, "user-1", night_consent=True)
    evening(price("a", recipient_id="user-1"), price("b", recipient_id="user-1"))
    assert held_table(dynamodb) == []


def test_what_the_worker_holds_again_is_noted(
    evening: Evening, morning: Callable[..., list[str]], world: World
) -> None:
    world.clock.now = after(2)
    world.invoke(price("b", accepted_at=after(-300).isoformat()), lane="schedule")
    assert world.on("wait") == [["b"]]
    evening(price("a", accepted_at=after(-400).isoformat()), at=10)
    world.sqs.messages["schedule"] += world.sqs.messages["wait"]
    assert sorted(morning()) == ["b"]


def test_the_place_in_a_workers_bundle_makes_nothing_newer(
    evening: Evening, morning: Callable[..., list[str]], world: World
) -> None:
    """The two were accepted in the same millisecond, and a copy of the first comes back behind others."""
    evening([price("first"), price("last")])
    world.clock.now = after(2)
    others = [notification(id=f"other-{n}", channel="sms", accepted_at=NIGHT.isoformat()) for n in range(3)]
    world.invoke(*others, price("first", accepted_at=NIGHT.isoformat()), lane="schedule")
    assert world.on("wait") == [["other-0", "other-1", "other-2", "first"]]
    assert morning() == ["last"]


def test_the_api_shows_the_ending(
    evening: Evening, morning: Callable[..., list[str]], dynamodb: Any, settings: Settings
) -> None:
    evening(price("a"), price("b"))
    morning()
    ledger = Ledger(dynamodb, "ledger", "api", timedelta(minutes=2))
    status, answer = look_up("a", MORNING, dynamodb, ledger, settings, settings.quiet_hours())
    assert (status, answer["state"]) == (200, "superseded")


# --- what it costs, and what fails


def test_without_a_collapse_key_the_table_is_not_asked(
    evening: Evening, morning: Callable[..., list[str]], world: World
) -> None:
    def never(real: Any, **parameters: Any) -> Any:
        tables = parameters.get("RequestItems", {parameters.get("TableName"): None})
        assert "held" not in tables
        return real(**parameters)

    faults = {"put_item": never, "batch_get_item": never, "batch_write_item": never}
    evening(notification(id="a"), notification(id="b"), **faults)
    world.faults = dict(faults)
    assert sorted(morning()) == ["a", "b"]


def test_one_message_costs_one_write_a_group(evening: Evening) -> None:
    written: list[Any] = []

    def count(real: Any, **parameters: Any) -> Any:
        written.append(parameters["Item"]["id"]["S"])
        return real(**parameters)

    evening([price("a"), price("b"), price("c"), price("d", address="010-1234-5679")], put_item=count)
    assert len(written) == len(set(written)) == 2


def throttled(real: Any, **parameters: Any) -> Any:
    raise ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem")


def test_what_cannot_be_noted_comes_again_and_is_not_on_wait(
    evening: Evening, morning: Callable[..., list[str]], sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    sent = record(to_text([price("a"), notification(id="other")]), "message-0", NIGHT)
    client: Any = Faulty(dynamodb, put_item=throttled)
    done = consume([sent], NIGHT, sqs, client, settings, settings.quiet_hours(), sleep=lambda _: None)
    assert (done.failed, done.counts["not_noted"], done.counts["held"]) == (["message-0"], 1, 1)
    assert morning() == ["other"]


def test_without_time_nothing_is_noted(dynamodb: Any, settings: Settings) -> None:
    item = Item(price("a", accepted_at=NIGHT.isoformat()), "{}")  # type: ignore[arg-type]
    left = note_newest(dynamodb, "held", [item], lambda seed: Tries(1), one_after_another, lambda: RESERVE_S)
    assert left == {"a"}
    assert held_table(dynamodb) == []


def no_answer(parameters: Any) -> Any:
    raise ClientError({"Error": {"Code": "InternalServerError"}}, "BatchGetItem")


def nothing_done(parameters: Any) -> Any:
    return {"Responses": {}, "UnprocessedKeys": parameters["RequestItems"]}


@pytest.mark.parametrize("away", [no_answer, nothing_done])
def test_a_note_that_cannot_be_read_delays_only_what_has_a_key(
    evening: Evening, morning: Callable[..., list[str]], world: World, away: Callable[[Any], Any]
) -> None:
    evening([price("a"), notification(id="other", channel="sms")])

    def read(real: Any, **parameters: Any) -> Any:
        is_away = "held" in parameters["RequestItems"] and world.clock() < MORNING + timedelta(seconds=STORE_REST_S)
        return away(parameters) if is_away else real(**parameters)

    world.faults = {"batch_get_item": read}
    assert morning() == ["other", "a"]


def test_what_the_worker_cannot_note_goes_back_to_its_lane(world: World) -> None:
    world.clock.now = after(2)
    world.faults = {"put_item": throttled}
    settled, _ = world.invoke(price("a"), notification(id="other"), lane="schedule")
    assert settled
    assert (world.on("wait"), world.on("schedule")) == ([["other"]], [["a"]])
    world.faults = {}
    world.run("schedule")
    assert world.on("wait") == [["other"], ["a"]]


def test_a_note_is_kept_longer_than_any_of_its_group(evening: Evening, dynamodb: Any) -> None:
    evening(price("a"))
    (note,) = held_table(dynamodb)
    assert float(note["expires"]["N"]) >= (NIGHT + timedelta(days=4)).timestamp()
    assert "price" not in str(note) and "user-1" not in str(note)


# --- the order


def test_a_note_reads_as_it_is_written_and_sorts_as_a_text() -> None:
    notes = [Note(1_605_063_600_000, 0, "b"), Note(1_605_063_600_000, 12, "a"), Note(1_605_063_600_001, 0, "a")]
    assert [Note.read(str(each)) for each in notes] == notes
    assert sorted(map(str, notes)) == [str(each) for each in sorted(notes)]


def test_the_newest_does_not_supersede_itself(evening: Evening, dynamodb: Any) -> None:
    evening(price("a"))
    mine: Any = price("a", accepted_at=NIGHT.isoformat())
    assert superseded(dynamodb, "held", [mine], lambda seed: Tries(1)) == {}
    assert group_of(mine).startswith("!newest#")
