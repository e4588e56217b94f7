"""Who may do what with an id and a body: inputs in the tests' own words, each with its right value."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.api.status import cancel, look_up
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.claiming import MALFORMED_ENTRY
from lambdas.quiet_hours.errors import Invalid, Unreadable
from lambdas.quiet_hours.notification.admission import CAMPAIGN_ID_FAULT, admit
from lambdas.quiet_hours.notification.bundle import (
    BUNDLE_BYTES_MAX,
    BUNDLE_ITEMS_MAX,
    REASON_CHARACTERS_MAX,
    REDRIVEN,
    Message,
    invalid_letters,
    read,
)
from lambdas.quiet_hours.notification.fingerprint import VERSION, fingerprint, may_be_the_same
from lambdas.quiet_hours.notification.json_text import to_text, unpack
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.entries import Entry, ended
from lambdas.quiet_hours.stores.health import FIRST_REST_S
from lambdas.quiet_hours.stores.ledger import Ledger, Reopening
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.aws import DAY, aws, dynamodb, record, settings, sqs, take, text_attributes
from tests.helpers.delivery_world import (
    REJECTED,
    RETRY,
    SETTINGS,
    UNKNOWN,
    World,
    accepted,
    answers,
    consent,
    down,
    works,
    world,
)

__all__ = ["dynamodb", "settings", "sqs", "world"]

FIRST = accepted("order-1001")
LEASE = timedelta(seconds=LEASE_S)

OTHERS: dict[str, dict[str, Any]] = {
    "another text": accepted("order-1001", content={"body": "다른 내용"}),
    "one blank more": accepted("order-1001", content={"body": FIRST["content"]["body"] + " "}),
    "a title more": accepted("order-1001", content={"title": "알림", **FIRST["content"]}),
    "a template": accepted("order-1001", content={"template": "t-1"}),
    "another address": accepted("order-1001", address="user-43"),
    "another channel": accepted("order-1001", channel="push"),
    "variables": accepted("order-1001", content={**FIRST["content"], "variables": {"n": 1}}),
}
"""Notifications that are not the first one, although they have its id."""

SAME: dict[str, dict[str, Any]] = {
    "the very same": FIRST,
    "accepted later": accepted("order-1001", accepted_at="2020-11-11T02:59:30.000+00:00"),
    "other expiry": accepted("order-1001", expires_at="2020-11-12T02:59:00.000+00:00"),
    "another source": accepted("order-1001", source="retry job"),
    "another category": accepted("order-1001", category="critical"),
    "another recipient_id": accepted("order-1001", recipient_id="customer-7"),
    "metadata": accepted("order-1001", metadata={"try": 2}),
}
"""Sends of the first notification again: nobody is to get it twice."""

BY_PHONE = accepted("p", channel="sms", address="010-1234-5678", content={"body": "x", "variables": {"a": 1, "b": 2}})
WRITTEN_OTHERWISE = {
    "international": BY_PHONE | {"address": "+821012345678"},
    "with dots": BY_PHONE | {"address": "010.1234.5678"},
    "the fields of content in another order": BY_PHONE | {"content": {"variables": {"b": 2, "a": 1}, "body": "x"}},
}


def mark_of(notification: Any) -> str:
    return fingerprint(notification)


def sent_by(world: World) -> list[dict[str, Any]]:
    """Let the provider take everything from now on; return what it takes."""
    sent: list[dict[str, Any]] = []

    def take(notification: dict[str, Any]) -> Outcome:
        sent.append(notification)
        return DELIVERED

    world.provider.answer = take
    return sent


def claim_first(world: World, owner: str, *, sending: bool = False) -> Entry:
    """Claim the first notification for another invocation."""
    ledger = Ledger(world.dynamodb, "ledger", owner, LEASE)
    fingerprints = {"order-1001": mark_of(FIRST)}
    return ledger.claim({"order-1001": None}, DAY, fingerprints, sending=sending).held["order-1001"]


def reasons(world: World) -> list[str]:
    return [letter.attributes["reason"].partition(":")[0] for letter in world.sqs.messages["dead-letter"]]


# --- an id that is on its way, with other content


@pytest.mark.parametrize("other", OTHERS)
def test_other_content_under_a_delivered_id_is_dead_lettered_as_id_reused(world: World, other: str) -> None:
    world.invoke(FIRST)
    before = world.entry("order-1001")
    assert world.invoke(OTHERS[other]) == (True, Counter(id_reused=1))
    letter = world.letter()
    assert letter.attributes["reason"].startswith("id_reused: another notification has this id")
    assert letter.attributes["notification_id"] == "order-1001"
    assert "dead_lettered_at" not in letter.attributes
    assert json.loads(letter.body) == OTHERS[other]
    assert world.provider.ids == ["order-1001"]
    assert world.entry("order-1001") == before


@pytest.mark.parametrize("same", SAME)
def test_the_same_content_under_a_delivered_id_is_a_duplicate(world: World, same: str) -> None:
    world.invoke(FIRST)
    assert world.invoke(SAME[same]) == (True, Counter(absorbed=1))
    assert world.provider.ids == ["order-1001"]
    assert reasons(world) == []


@pytest.mark.parametrize("form", WRITTEN_OTHERWISE)
def test_one_notification_written_in_two_ways_is_one(world: World, form: str) -> None:
    world.invoke(BY_PHONE)
    assert world.invoke(WRITTEN_OTHERWISE[form]) == (True, Counter(absorbed=1))


def test_other_content_during_a_live_claim_is_dead_lettered_at_once_and_the_first_is_sent(world: World) -> None:
    claim_first(world, "other")
    sent = sent_by(world)
    assert world.invoke(OTHERS["another text"])[1] == Counter(id_reused=1)
    world.clock.now += LEASE * 2
    world.invoke(FIRST)
    assert [each["content"] for each in sent] == [FIRST["content"]]


@pytest.mark.parametrize("outcome", [RETRY, UNKNOWN])
def test_other_content_while_the_first_waits_for_its_next_attempt_does_not_take_its_place(
    world: World, outcome: Any
) -> None:
    works(world)
    world.provider.answer = answers(**{"order-1001": outcome})
    world.invoke(FIRST)
    waiting = world.entry("order-1001")
    assert waiting is not None and waiting.owner == "" and waiting.attempts == 1
    world.clock.now += timedelta(hours=1)
    assert world.invoke(OTHERS["another text"])[1] == Counter(id_reused=1)
    assert world.entry("order-1001") == waiting


def test_other_content_over_a_lapsed_claim_costs_the_first_no_attempt(world: World) -> None:
    claim_first(world, "dead")
    world.clock.now += LEASE * 2
    before = world.entry("order-1001")
    assert world.invoke(OTHERS["another text"])[1] == Counter(id_reused=1)
    assert world.entry("order-1001") == before


def test_other_content_over_an_interrupted_call_leaves_its_outcome_to_the_first(world: World) -> None:
    world.provider.can_resend = False
    claim_first(world, "dead", sending=True)
    world.clock.now += LEASE * 2
    assert world.invoke(OTHERS["another text"])[1] == Counter(id_reused=1)
    assert world.invoke(FIRST)[1] == Counter(unknown=1)
    assert world.provider.ids == []


@pytest.mark.parametrize("other", ["another text", "another channel"])
def test_of_two_contents_under_one_id_in_one_bundle_the_second_is_id_reused(world: World, other: str) -> None:
    neighbour, sent = accepted("order-1002"), sent_by(world)
    settled, counts = world.invoke(FIRST, OTHERS[other], neighbour, FIRST)
    assert (settled, counts) == (True, Counter(delivered=2, id_reused=1, repeated=1))
    assert [each["content"] for each in sent if each["id"] == "order-1001"] == [FIRST["content"]]
    assert json.loads(world.letter().body) == OTHERS[other]


def test_three_contents_under_one_id_in_one_bundle_are_one_notification_and_two_letters(world: World) -> None:
    bodies = [accepted("a", content={"body": text}) for text in ("one", "two", "three", "two")]
    sent = sent_by(world)
    assert world.invoke(*bodies)[1] == Counter(delivered=1, id_reused=2, repeated=1)
    assert [each["content"]["body"] for each in sent] == ["one"]


def test_within_a_bundle_the_ledger_says_which_is_the_first(world: World) -> None:
    """The duplicate of what was delivered is no reuse, wherever in the bundle it stands."""
    world.invoke(FIRST)
    assert world.invoke(OTHERS["another text"], FIRST)[1] == Counter(id_reused=1, absorbed=1)
    assert json.loads(world.letter().body) == OTHERS["another text"]


def test_a_bundle_that_comes_again_is_split_with_both_contents_in_it(world: World) -> None:
    assert world.invoke(FIRST, OTHERS["another text"], receives=2)[1]["split"] == 2
    world.run()
    assert world.provider.ids == ["order-1001"]
    assert reasons(world) == ["id_reused"]


# --- what matches any content


def test_an_entry_that_is_older_than_fingerprints_matches_any(world: World) -> None:
    old = Entry("order-1001", "claimed")
    world.dynamodb.put_item(TableName="ledger", Item=ended(old, "delivered", DAY).to_item(DAY))
    assert world.invoke(FIRST)[1] == world.invoke(OTHERS["another text"])[1] == Counter(absorbed=1)


def test_a_claim_that_is_older_than_fingerprints_is_continued_and_gets_one(world: World) -> None:
    world.dynamodb.put_item(TableName="ledger", Item=Entry("order-1001", "claimed", attempts=2).to_item(DAY))
    world.invoke(FIRST)
    entry = world.entry("order-1001")
    assert entry is not None and (entry.state, entry.fingerprint) == ("delivered", mark_of(FIRST))


def test_a_fingerprint_of_another_version_matches_any(world: World) -> None:
    later = Entry("order-1001", "claimed", fingerprint="2:another-way-to-count")
    world.dynamodb.put_item(TableName="ledger", Item=ended(later, "delivered", DAY).to_item(DAY))
    assert world.invoke(FIRST)[1] == Counter(absorbed=1)


def test_what_was_cancelled_ahead_is_absorbed_whatever_it_says(world: World) -> None:
    Ledger(world.dynamodb, "ledger", "api", LEASE).cancel("order-1001", DAY)
    assert world.invoke(FIRST)[1] == world.invoke(OTHERS["another text"])[1] == Counter(absorbed=1)


def test_what_was_cancelled_while_it_waited_keeps_its_fingerprint(world: World) -> None:
    world.provider.answer = answers(**{"order-1001": RETRY})
    world.invoke(FIRST)
    assert Ledger(world.dynamodb, "ledger", "api", LEASE).cancel("order-1001", DAY) == "cancelled"
    assert world.invoke(OTHERS["another text"])[1] == Counter(id_reused=1)
    assert world.invoke(FIRST)[1] == Counter(absorbed=1)


def test_a_letter_whose_content_an_operator_has_mended_is_sent(world: World) -> None:
    world.provider.answer = answers(**{"order-1001": REJECTED})
    world.invoke(FIRST)
    ended_at = world.letter().attributes["dead_lettered_at"]
    sent = sent_by(world)
    mended = OTHERS["another text"]
    assert world.invoke(mended, dead_lettered_at=ended_at)[1] == Counter(delivered=1)
    assert world.invoke(mended, dead_lettered_at=ended_at)[1] == Counter(absorbed=1)
    assert [each["content"] for each in sent] == [mended["content"]]


def test_the_original_of_a_mended_letter_that_was_delivered_is_absorbed_and_counted(world: World) -> None:
    world.provider.answer = answers(**{"order-1001": REJECTED})
    world.invoke(FIRST)
    ended_at, sent = world.letter().attributes["dead_lettered_at"], sent_by(world)
    world.clock.now += timedelta(minutes=1)
    world.invoke(OTHERS["another text"], dead_lettered_at=ended_at)
    before = world.entry("order-1001")
    for _ in range(2):
        assert world.invoke(FIRST, dead_lettered_at=ended_at) == (True, Counter(absorbed=1, absorbed_original=1))
    assert len(sent) == 1
    assert reasons(world) == ["http_400"]
    assert world.entry("order-1001") == before


NOT_BEFORE_THE_DELIVERY = {
    "the instant of the delivery": lambda at: at.isoformat(timespec="milliseconds"),
    "an instant after it": lambda at: (at + timedelta(seconds=1)).isoformat(timespec="milliseconds"),
    "the same instant in another zone": lambda at: at.astimezone(timezone(timedelta(hours=9))).isoformat(),
    "no instant": lambda at: "1999",
    "nothing": lambda at: "",
}


@pytest.mark.parametrize("redriven", NOT_BEFORE_THE_DELIVERY.values(), ids=NOT_BEFORE_THE_DELIVERY)
def test_a_redrive_of_no_ending_before_the_delivery_is_id_reused(world: World, redriven: Any) -> None:
    world.invoke(FIRST)
    entry = world.entry("order-1001")
    assert entry is not None
    at = redriven(datetime.fromisoformat(entry.ended_at))
    assert world.invoke(OTHERS["another text"], dead_lettered_at=at)[1] == Counter(id_reused=1)


# --- an item of the ledger that nobody has written like that

CLAIM = {"state": {"S": "claimed"}, "lease_until_ms": {"N": "0"}, "attempts": {"N": "0"}}
MALFORMED: dict[str, dict[str, Any]] = {
    "no lease": {"state": {"S": "claimed"}, "attempts": {"N": "0"}},
    "no attempts": {"state": {"S": "claimed"}, "lease_until_ms": {"N": "0"}},
    "neither": {"state": {"S": "claimed"}},
    "neither, and an owner": {"state": {"S": "claimed"}, "owner": {"S": "worker-1"}},
    "no state": {"lease_until_ms": {"N": "0"}, "attempts": {"N": "0"}},
    "a state that is no text": CLAIM | {"state": {"N": "1"}},
    "a lease that is a text": CLAIM | {"lease_until_ms": {"S": "0"}},
    "a lease that is no whole number": CLAIM | {"lease_until_ms": {"N": "1.5"}},
    "attempts that are a text": CLAIM | {"attempts": {"S": "1"}},
    "a mark that is a text": CLAIM | {"sending": {"S": "true"}},
    "a mark that is false": CLAIM | {"sending": {"BOOL": False}},
    "a fingerprint that is a number": CLAIM | {"fingerprint": {"N": "1"}},
}


@pytest.mark.parametrize("item", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_item_sends_its_notification_to_dead_letter_by_name(world: World, item: dict[str, Any]) -> None:
    world.dynamodb.put_item(TableName="ledger", Item={"id": {"S": "order-1001"}, **item})
    neighbour = accepted("order-1002")
    assert world.invoke(FIRST, neighbour) == (True, Counter(malformed_entry=1, delivered=1))
    letter = world.letter()
    assert letter.attributes["reason"] == f"malformed_entry: {MALFORMED_ENTRY}"
    assert letter.attributes["notification_id"] == "order-1001"
    assert "dead_lettered_at" not in letter.attributes
    assert world.provider.ids == ["order-1002"]
    world.dynamodb.delete_item(TableName="ledger", Key={"id": {"S": "order-1001"}})
    assert world.invoke(FIRST)[1] == Counter(delivered=1)


@pytest.mark.parametrize("item", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_item_is_cancelled_by_nobody_and_harms_no_neighbour(world: World, item: dict[str, Any]) -> None:
    world.dynamodb.put_item(TableName="ledger", Item={"id": {"S": "order-1001"}, **item})
    api = Ledger(world.dynamodb, "ledger", "api", LEASE)
    states = api.cancel_all(["order-1001", "order-1002"], DAY)
    assert states == {"order-1001": "malformed", "order-1002": "cancelled"}
    (first, second) = cancel(["order-1001", "order-1002"], DAY, api)
    assert first == {"id": "order-1001", "outcome": "not_known", "state": None}
    assert second == {"id": "order-1002", "outcome": "cancelled", "state": "cancelled"}


def test_a_malformed_item_is_shown_as_such(world: World) -> None:
    world.dynamodb.put_item(TableName="ledger", Item={"id": {"S": "order-1001"}, "state": {"S": "claimed"}})
    api = Ledger(world.dynamodb, "ledger", "api", LEASE)
    status, answer = look_up("order-1001", DAY, world.dynamodb, api, SETTINGS, SETTINGS.quiet_hours())
    assert (status, answer["state"]) == (200, "malformed")
    assert answer["why"] == "the ledger's item of this id cannot be read: its notification goes to dead-letter"


@pytest.mark.parametrize("owner", ["", "worker-1"])
def test_a_claim_as_we_write_it_is_not_malformed(world: World, owner: str) -> None:
    item = CLAIM | ({"owner": {"S": owner}} if owner else {})
    world.dynamodb.put_item(TableName="ledger", Item={"id": {"S": "order-1001"}, **item})
    assert world.invoke(FIRST)[1] == Counter(delivered=1)


def test_a_reason_is_cut_where_a_letter_s_reason_is(world: World) -> None:
    world.provider.answer = answers(**{"order-1001": Outcome("rejected", "x" * 5000)})
    world.invoke(FIRST)
    entry = world.entry("order-1001")
    assert entry is not None and entry.reason == "x" * REASON_CHARACTERS_MAX == world.letter().attributes["reason"]


def test_a_redrive_of_another_ending_opens_nothing_for_other_content(world: World) -> None:
    world.provider.answer = answers(**{"order-1001": REJECTED})
    world.invoke(FIRST)
    before = world.entry("order-1001")
    ahead = (DAY - timedelta(seconds=1)).isoformat(timespec="milliseconds")
    assert world.invoke(OTHERS["another text"], dead_lettered_at=ahead)[1] == Counter(id_reused=1)
    assert "dead_lettered_at" not in world.sqs.messages["dead-letter"][-1].attributes
    assert world.entry("order-1001") == before


def test_an_unknown_outcome_that_an_operator_reopens_keeps_its_fingerprint(world: World) -> None:
    world.provider.can_resend = False
    world.provider.answer = answers(**{"order-1001": UNKNOWN})
    world.invoke(FIRST)
    ended_at = world.letter().attributes["dead_lettered_at"]
    found = world.entry("order-1001")
    assert found is not None
    operator = Ledger(world.dynamodb, "ledger", "operator", LEASE)
    assert operator.reopen([Reopening(found, found.fingerprint)], DAY) == {"order-1001"}
    assert operator.reopen([Reopening(found, found.fingerprint)], DAY) == set()
    sent = sent_by(world)
    world.clock.sleep(FIRST_REST_S)
    assert world.invoke(OTHERS["another text"])[1] == Counter(id_reused=1)
    assert world.invoke(FIRST, dead_lettered_at=ended_at)[1] == Counter(delivered=1)
    assert [each["content"] for each in sent] == [FIRST["content"]]


def test_a_redriven_id_reused_letter_comes_back_with_the_same_reason(world: World) -> None:
    world.invoke(FIRST)
    world.invoke(OTHERS["another text"])
    letter = world.sqs.messages["dead-letter"].pop()
    world.receive(letter.body, attributes=dict(letter.attributes))
    again = world.letter()
    assert (again.body, again.attributes) == (letter.body, letter.attributes)
    assert world.state("order-1001") == "delivered"


# --- the fingerprint


def test_every_write_to_the_ledger_keeps_the_fingerprint(world: World) -> None:
    notes = {outcome.kind: accepted(outcome.kind) for outcome in (RETRY, REJECTED, UNKNOWN)}
    world.provider.answer = answers(**{outcome.kind: outcome for outcome in (RETRY, REJECTED, UNKNOWN)})
    expired = accepted("expired", expires_at="2020-11-11T02:59:30.000+00:00")
    world.invoke(FIRST, expired, *notes.values())
    for note in (FIRST, expired, *notes.values()):
        entry = world.entry(note["id"])
        assert entry is not None and entry.fingerprint == mark_of(note), note["id"]


def test_a_fingerprint_is_versioned_and_short_and_so_is_the_entry() -> None:
    made = mark_of(FIRST)
    assert made.startswith(VERSION) and len(made) == 24
    item = ended(Entry("x" * 128, "claimed", fingerprint=made), "delivered", DAY).to_item(DAY)
    assert sum(len(name) + len(str(next(iter(value.values())))) for name, value in item.items()) < 1024


@pytest.mark.parametrize(
    ("one", "other", "may_be"),
    [("1:a", "1:a", True), ("1:a", "1:b", False), ("", "1:b", True), ("1:a", "", True), ("1:a", "2:b", True)],
)
def test_only_two_fingerprints_of_one_version_tell_notifications_apart(one: str, other: str, may_be: bool) -> None:
    assert may_be_the_same(one, other) is may_be


# --- a dead letter's body, sent by hand


@pytest.mark.parametrize("outcome", [REJECTED, UNKNOWN])
def test_a_letter_sent_by_hand_without_its_attribute_is_absorbed_and_counted(world: World, outcome: Any) -> None:
    world.provider.can_resend = False
    world.provider.answer = answers(**{"order-1001": outcome})
    world.invoke(FIRST)
    letter = world.letter()
    world.clock.sleep(FIRST_REST_S)
    assert world.receive(letter.body)[1] == Counter(absorbed=1, absorbed_dead_lettered=1)
    assert world.sqs.messages["dead-letter"] == [letter]


def test_a_duplicate_of_a_delivered_notification_is_only_absorbed(world: World) -> None:
    world.invoke(FIRST)
    assert world.invoke(FIRST)[1] == Counter(absorbed=1)


# --- malformed bodies

MANY = BUNDLE_ITEMS_MAX + 1

TOO_MANY = {
    "zeros": [0] * 32_767,
    "one too many": [0] * MANY,
    "empty objects": [{}] * MANY,
    "right notifications": [accepted(f"n-{n}") for n in range(MANY)],
    "arrays": [[]] * MANY,
    "nulls": [None] * 13_000,
    "texts": ["x"] * 16_000,
}


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("items", TOO_MANY)
def test_more_than_a_hundred_items_are_one_unreadable_body(items: str, spaced: bool) -> None:
    body = json.dumps(TOO_MANY[items], separators=(", ", ": ") if spaced else (",", ":"), ensure_ascii=False)
    with pytest.raises(Unreadable, match=r"^an array of more than 100 items$"):
        read(record(body))


def test_a_hundred_items_are_read() -> None:
    items, invalid = read(record(to_text([accepted(f"n-{n}") for n in range(BUNDLE_ITEMS_MAX)])))
    assert (len(items), invalid) == (BUNDLE_ITEMS_MAX, [])


def test_an_array_without_end_is_not_read_to_its_end() -> None:
    """It is not even JSON, and it is refused for its length."""
    with pytest.raises(Unreadable, match="more than 100 items"):
        read(record("[" + "0," * 500_000))


ALIKE: dict[str, tuple[list[Any], list[str]]] = {
    "rubbish": ([0] * 99, ["99 items of one body: notification: must be a JSON object"]),
    "rubbish of every kind": ([0, "x", None, [], 1.5], ["5 items of one body: notification: must be a JSON object"]),
    "one": ([0], ["notification: must be a JSON object"]),
    "without ids": ([{"chanel": "sms"}] * 2, ["2 items of one body: chanel: unknown field"]),
    "with ids": ([{"id": "a"}, {"id": "b"}], ["channel: is required", "channel: is required"]),
    "with ids that are none": ([{"id": "가"}, {"id": 5}], ["2 items of one body: channel: is required"]),
    "two kinds": ([0, {}, 0], ["2 items of one body: notification: must", "channel: is required"]),
}
"""Items that are no notification, and how the reasons of their letters begin."""


@pytest.mark.parametrize("name", ALIKE)
def test_nameless_items_with_the_same_fault_travel_as_one_letter(name: str) -> None:
    wrong, why = ALIKE[name]
    items, invalid = read(record(json.dumps([accepted("right"), *wrong])))
    letters = invalid_letters(invalid)
    assert [each.id for each in items] == ["right"]
    assert len(letters) == len(why)
    for begins in why:
        assert any((each.attributes or {})["reason"].startswith(f"invalid: {begins}") for each in letters)
    assert all(REDRIVEN not in (each.attributes or {}) for each in letters)


def consumed_letters(body: str, sqs: Any, dynamodb: Any, settings: Settings) -> list[Any]:
    """Let a consumer that checks the label read a body. Returns the letters that it wrote."""
    settings = replace(settings, advertising_label=True)
    assert not consume([record(body)], DAY, sqs, dynamodb, settings, settings.quiet_hours()).failed
    return take(sqs, settings.dead_letter_queue_url)


def test_nameless_advertising_without_its_label_travels_as_one_letter_and_comes_back_as_it_is(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    candidate = {"channel": "log", "address": "me", "content": {"body": "no label"}}
    (letter,) = consumed_letters(json.dumps([candidate] * 100), sqs, dynamodb, settings)
    assert letter["MessageAttributes"]["reason"]["StringValue"].startswith("invalid: 100 items of one body: content: ")
    assert len({each["id"] for each in json.loads(letter["Body"])}) == 100
    (again,) = consumed_letters(letter["Body"], sqs, dynamodb, settings)
    assert again["Body"] == letter["Body"]


def test_a_letter_of_many_items_is_no_larger_than_a_queue_takes_again(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    candidate = {"channel": "log", "address": "me", "content": {"body": "x" * 500}}
    letters = consumed_letters(json.dumps([candidate] * 100), sqs, dynamodb, settings)
    assert len(letters) == 2
    assert all(len(each["Body"].encode()) <= BUNDLE_BYTES_MAX for each in letters)
    assert sum(len(json.loads(each["Body"])) for each in letters) == 100


def test_advertising_without_its_label_that_has_an_id_goes_alone(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    candidates = [{"id": f"a-{n}", "channel": "log", "address": "me", "content": {"body": "x"}} for n in range(3)]
    assert len(consumed_letters(json.dumps(candidates), sqs, dynamodb, settings)) == 3


def test_a_letter_of_many_items_comes_back_as_it_is_when_it_is_redriven() -> None:
    (letter,) = invalid_letters(read(record(json.dumps([0, None, "x"])))[1])
    (again,) = invalid_letters(read(record(letter.body, attributes=dict(letter.attributes or {})))[1])
    assert again == letter


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"가{},:[', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "channel", "x"]), inner),
    max_leaves=6,
)
rights = st.sampled_from([accepted("a"), accepted("b"), {n: v for n, v in accepted("c").items() if n != "id"}])
bodies = st.lists(values | rights, min_size=1, max_size=130).map(to_text) | st.text('[]{},:0" ', max_size=60)


@example(body="[" + ",".join(["0"] * 32_767) + "]")
@example(body='[{},{},{"id":"a"}]')
@hypothesis_settings(deadline=None, max_examples=300)
@given(body=bodies)
def test_for_any_body_there_are_no_more_letters_than_items_and_nothing_is_lost(body: str) -> None:
    try:
        items, invalid = read(record(body))
    except Unreadable:
        return  # one letter, with the whole body
    letters = invalid_letters(invalid)
    assert len(letters) + len(items) <= min(BUNDLE_ITEMS_MAX, len(unpack(body)[0]))
    for each in invalid:
        assert any(each.text in letter.body for letter in letters)
    assert sum(_number(letter) for letter in letters) == len(invalid)


def _number(letter: Message) -> int:
    """Return the number of items that a letter says that it holds."""
    said = re.match(r"invalid: (\d+) items of one body: ", (letter.attributes or {})["reason"])
    if said is None:
        return 1
    assert len(json.loads(letter.body)) == int(said[1])
    return int(said[1])


def test_a_body_of_rubbish_costs_the_consumer_one_letter_and_its_neighbour_nothing(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    records = [record("[" + ",".join(["0"] * 32_767) + "]") for _ in range(9)] + [record(to_text(accepted("good")))]
    failed, counts = consume(records, DAY, sqs, dynamodb, settings, settings.quiet_hours())
    assert (failed, counts["now"], counts["refused"]) == ([], 1, 9)


def test_a_body_of_rubbish_on_a_lane_is_one_letter(world: World) -> None:
    assert world.receive("[" + ",".join(["0"] * 32_767) + "]")[1] == Counter(refused=1)
    assert world.receive("[" + ",".join(["0"] * 100) + "]")[1] == Counter(refused=1)
    assert reasons(world) == ["unreadable", "invalid"]


# --- ids of campaign files

CAMPAIGN_ROLE = "AROACAMPAIGNEXAMPLE"
ROW = accepted("campaign:0f3a:7")

SENDERS = {
    "the campaign function": (f"{CAMPAIGN_ROLE}:QuietHours-Campaign", True),
    "the campaign function under another session": (f"{CAMPAIGN_ROLE}:x", True),
    "another role": ("AROAOTHEREXAMPLE:session", False),
    "a user": ("AIDAEXAMPLE", False),
    "an account": ("123456789012", False),
    "a role whose id begins like it": (f"{CAMPAIGN_ROLE}X:session", False),
    "a session with its name": (f"AROAOTHEREXAMPLE:{CAMPAIGN_ROLE}", False),
    "nobody": (None, False),
}


def sent_from(sender: str | None, body: Any, **attributes: str) -> dict[str, Any]:
    sent = record(to_text(body), attributes=attributes)
    if sender is not None:
        sent["attributes"]["SenderId"] = sender
    return sent


@pytest.mark.parametrize("sender", SENDERS)
def test_an_id_of_a_campaign_file_counts_only_from_the_campaign_function(
    sqs: Any, dynamodb: Any, settings: Settings, sender: str
) -> None:
    who, is_right = SENDERS[sender]
    checking = replace(settings, campaign_sender=CAMPAIGN_ROLE)
    body = [ROW, accepted("order-1"), accepted("Campaign:0f3a:7"), accepted("my-campaign:7")]
    _, counts = consume([sent_from(who, body)], DAY, sqs, dynamodb, checking, settings.quiet_hours())
    assert (counts["now"], counts["refused"]) == ((4, 0) if is_right else (3, 1))
    letters = take(sqs, settings.dead_letter_queue_url)
    assert [text_attributes(each) for each in letters] == [
        {"reason": f"invalid: {CAMPAIGN_ID_FAULT}", "notification_id": ROW["id"]} for _ in range(1 - is_right)
    ]
    assert [json.loads(each["Body"]) for each in letters] == [ROW] * (1 - is_right)


def test_where_sqs_names_no_roles_the_check_is_off(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    assert settings.campaign_sender == ""
    sent = sent_from("000000000000", ROW)
    assert consume([sent], DAY, sqs, dynamodb, settings, settings.quiet_hours()).counts["now"] == 1


def test_the_producer_refuses_an_id_of_a_campaign_file(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    wanted = [
        {name: ROW[name] for name in ("id", "channel", "address", "content")} | {"id": id} for id in ("a", ROW["id"])
    ]
    _, answer = accept_all(
        {"notifications": wanted}, DAY, sqs, dynamodb, settings, settings.quiet_hours(), lambda: "made"
    )
    assert [each["id"] for each in answer["accepted"]] == ["a"]
    assert answer["rejected"] == [{"index": 1, "id": ROW["id"], "errors": [CAMPAIGN_ID_FAULT]}]


def test_a_row_of_a_campaign_file_gets_such_an_id_and_may_not_bring_one(settings: Settings) -> None:
    given = {"channel": "log", "address": "a", "content": {"body": "x"}}
    assert admit(given, default_id="campaign:0f3a:2", now=DAY, settings=settings).id == "campaign:0f3a:2"
    with pytest.raises(Invalid, match=CAMPAIGN_ID_FAULT):
        admit(given | {"id": "campaign:0f3a:9"}, default_id="campaign:0f3a:2", now=DAY, settings=settings)


def test_a_redriven_row_passes_the_consumer(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    checking = replace(settings, campaign_sender=CAMPAIGN_ROLE)
    redriven = sent_from("AROAOPERATOR:me", ROW, dead_lettered_at="2020-11-11T03:00:00.000+00:00")
    assert consume([redriven], DAY, sqs, dynamodb, checking, settings.quiet_hours()).counts["now"] == 1


def test_a_redriven_row_that_was_dead_lettered_is_sent(world: World) -> None:
    world.settings = replace(world.settings, campaign_sender=CAMPAIGN_ROLE)
    world.provider.answer = answers(**{ROW["id"]: REJECTED})
    world.invoke(ROW)
    redriven = world.letter().attributes["dead_lettered_at"]
    sent = sent_by(world)
    assert world.invoke(ROW, dead_lettered_at=redriven)[1] == Counter(delivered=1)
    assert [each["id"] for each in sent] == [ROW["id"]]


@pytest.mark.parametrize("dead_lettered_at", ["2020-11-11T03:00:00.000+00:00", "", "x"])
def test_a_row_that_only_says_that_it_is_redriven_takes_no_id(world: World, dead_lettered_at: str) -> None:
    world.settings = replace(world.settings, campaign_sender=CAMPAIGN_ROLE)
    forged = ROW | {"content": {"body": "forged"}}
    assert world.invoke(forged, dead_lettered_at=dead_lettered_at)[1] == Counter(invalid=1)
    assert world.letter().attributes == {"reason": f"invalid: {CAMPAIGN_ID_FAULT}", "notification_id": ROW["id"]}
    assert world.entries() == {}
    assert world.invoke(ROW)[1] == Counter(delivered=1)
    assert world.invoke(forged, dead_lettered_at=dead_lettered_at)[1] == Counter(id_reused=1)
    assert world.invoke(ROW, dead_lettered_at=dead_lettered_at)[1] == Counter(absorbed=1)


def test_a_redriven_row_waits_where_the_ledger_does_not_answer(world: World) -> None:
    world.settings = replace(world.settings, campaign_sender=CAMPAIGN_ROLE)
    world.faults = {"get_item": lambda real, **key: down() if key["TableName"] == "ledger" else real(**key)}
    settled, counts = world.invoke(ROW, dead_lettered_at="2020-11-11T03:00:00.000+00:00")
    assert (settled, counts) == (True, Counter(ledger_unavailable=1, given_back=1))


# --- the topic


def published(sqs: Any, settings: Settings, message: Any, **subscription: str) -> tuple[str, dict[str, Any]]:
    """Publish on a topic that the notification queue is subscribed to. Returns SNS's id, and what SQS then has."""
    sns = aws("sns")
    topic = sns.create_topic(Name="notifications")["TopicArn"]
    queue = sqs.get_queue_attributes(QueueUrl=settings.notification_queue_url, AttributeNames=["QueueArn"])
    endpoint = queue["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint, Attributes=subscription)
    message_id = sns.publish(TopicArn=topic, Message=to_text(message))["MessageId"]
    (taken,) = take(sqs, settings.notification_queue_url)
    return message_id, taken


WITHOUT_ID = {name: value for name, value in FIRST.items() if name != "id"}


def test_a_second_delivery_by_sns_is_the_same_notification(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    message_id, taken = published(sqs, settings, WITHOUT_ID)
    for sqs_id in ("first-delivery", "second-delivery"):
        consume([record(taken["Body"], sqs_id)], DAY, sqs, dynamodb, settings, settings.quiet_hours())
    sent = [json.loads(each["Body"])[0]["id"] for each in take(sqs, settings.delivery_queue_url)]
    assert sent == [f"sns:{message_id}"] * 2


def test_with_raw_delivery_an_id_of_its_own_is_what_tells_a_second_delivery(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    _, taken = published(sqs, settings, [FIRST, WITHOUT_ID], RawMessageDelivery="true")
    for sqs_id in ("first-delivery", "second-delivery"):
        consume([record(taken["Body"], sqs_id)], DAY, sqs, dynamodb, settings, settings.quiet_hours())
    sent = [each["id"] for body in take(sqs, settings.delivery_queue_url) for each in json.loads(body["Body"])]
    assert sent == ["order-1001", "sqs:first-delivery:1", "order-1001", "sqs:second-delivery:1"]


# --- whose consent counts for an address


@pytest.mark.parametrize(
    ("address", "key"),
    [("Kim@Example.com", "kim@example.com"), ("010-1234-5678", "+821012345678"), ("token-1", "token-1")],
)
def test_an_opt_out_is_found_under_the_registrars_key_of_an_address(world: World, address: str, key: str) -> None:
    consent(world, key, opted_out=True)
    body = accepted("a", category="advertising", address=address)
    assert world.invoke(body)[1] == Counter(opted_out=1)
