"""The body on every queue: one notification or a bundle, read and written without changing a byte of either."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.quiet_hours.errors import Unreadable
from lambdas.quiet_hours.notification.bundle import (
    BUNDLE_BYTES_MAX,
    BUNDLE_ITEMS_MAX,
    REASON_CHARACTERS_MAX,
    REDRIVEN,
    Item,
    Message,
    dead_letter,
    pack,
    read,
)
from lambdas.quiet_hours.notification.json_text import RepeatedKeys, to_text, unpack
from lambdas.quiet_hours.notification.notification import ADDED_BYTES_MAX, NOTIFICATION_BYTES_MAX, accept
from lambdas.quiet_hours.stores.queues import BATCH_BYTES_MAX
from tests.helpers.aws import NIGHT, notification, record


def canonical(**fields: Any) -> Any:
    return accept(notification(**({"id": "n-1"} | fields)), default_id="unused", now=NIGHT)[0]


def item(text: str | None = None, redriven: str | None = None, **fields: Any) -> Item:
    made = canonical(**fields)
    return Item(made, text or to_text(made), redriven)


def sized(size_bytes: int, **fields: Any) -> Item:
    """An item whose text has exactly so many bytes in UTF-8, most of it Korean."""
    empty = len(item(content={"body": "x"}, **fields).text.encode()) - 1
    korean, rest = divmod(size_bytes - empty, 3)
    made = canonical(content={"body": "x"}, **fields)
    text = to_text(made | {"content": {"body": "가" * korean + "a" * rest}})
    assert len(text.encode()) == size_bytes
    return Item(made, text)


def read_back(message: Message) -> list[Item]:
    """The items as they were packed: only the message that they came in is another."""
    arrived = record(message.body, attributes=dict(message.attributes or {}))
    items, invalid = read(arrived)
    assert not invalid
    assert all(each.message_id == arrived["messageId"] for each in items)
    return [each._replace(message_id="") for each in items]


def event(detail: object, **fields: Any) -> dict[str, Any]:
    """Make the envelope that EventBridge puts on the queue."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "NotificationRequested",
        "source": "order-service",
        "account": "123456789012",
        "time": "2020-11-11T12:03:00Z",
        "region": "ap-northeast-2",
        "resources": [],
        "detail": detail,
    } | fields


# --- packing and unpacking

texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=20)
bodies = (texts | st.sampled_from(["가을 세일 🍁", 'a "quote" \\ /', "줄\n바꿈\t탭", "👩‍👩‍👧‍👦"])).filter(bool)
spaces = st.sampled_from(["", " ", "\n", "\t", "\r\n  "])


@st.composite
def travelling_items(draw: st.DrawFn, number: int) -> Item:
    """A canonical notification, written in any way that JSON allows: order, spaces, escapes."""
    made = canonical(
        id=f"n-{number}",
        channel=draw(st.sampled_from(["log", "webhook"])),
        address="a",
        content={"body": draw(bodies), "variables": {draw(texts): draw(st.integers() | bodies)}},
    )
    fields = draw(st.permutations(list(made.items())))
    escaped, space = draw(st.booleans()), draw(spaces)
    text = json.dumps(dict(fields), ensure_ascii=escaped, separators=("," + space, space + ":"))
    return Item(made, "{" + space + text[1:], draw(st.sampled_from([None, None, None, "2020-11-11T12:00:00+00:00"])))


@examples(deadline=None, max_examples=75)
@given(st.integers(0, 6).flatmap(lambda n: st.tuples(*map(travelling_items, range(n)))))
def test_unpacking_is_the_exact_inverse_of_packing(items: tuple[Item, ...]) -> None:
    messages = pack(items)
    came = [each._replace(place=0) for message in messages for each in read_back(message)]
    assert came == [each for message in messages for each in message.items]
    assert sorted(came, key=lambda each: each.id) == list(items)
    for channel in ("log", "webhook"):  # in the order given, apart from the redriven ones, which travel alone
        in_bundles = [each for each in items if each.notification["channel"] == channel and not each.redriven]
        assert [each for each in came if each in in_bundles] == in_bundles


values = st.none() | st.integers() | texts | st.lists(st.integers() | texts, max_size=3)


@examples(deadline=None, max_examples=100)
@given(st.lists(st.tuples(values, spaces, spaces), min_size=1, max_size=5))
def test_every_value_of_an_array_is_found_with_the_very_text_that_it_stands_as(
    parts: list[tuple[Any, str, str]],
) -> None:
    spelled = [json.dumps(value, ensure_ascii=False, indent=1) for value, _, _ in parts]
    body = "[" + ",".join(b + text + a for text, (_, b, a) in zip(spelled, parts, strict=True)) + "]"
    assert unpack(body) == ([(value, text) for text, (value, _, _) in zip(spelled, parts, strict=True)], True)


tricky = st.sampled_from(["", "a", "},{", '":', '"', " {", "} ", "\\", "가"])


def spell_array(parts: list[tuple[Any, str]]) -> tuple[Any, str]:
    return [value for value, _ in parts], "[" + ",".join(text for _, text in parts) + "]"


def spell_object(given: tuple[list[tuple[str, tuple[Any, str]]], str, str, str]) -> tuple[Any, str]:
    """An object with the white space given, which may name a field twice; the value is what must be found of it."""
    fields, opening, colon, closing = given
    found = {name: value for name, (value, _) in fields}
    text = ",".join(f"{to_text(name)}{colon}:{text}" for name, (_, text) in fields)
    value = found if len(found) == len(fields) else {"named twice": found}
    return value, "{" + opening + text + closing + "}"


def marked(value: Any) -> Any:
    """Return the values that were read, with objects that name a field twice marked as `spell_object` marks them."""
    if isinstance(value, dict):
        found = {name: marked(inner) for name, inner in value.items()}
        return {"named twice": found} if isinstance(value, RepeatedKeys) else found
    return [marked(inner) for inner in value] if isinstance(value, list) else value


spelled_values = st.recursive(
    st.integers(0, 9).map(lambda number: (number, str(number))) | tricky.map(lambda text: (text, to_text(text))),
    lambda inner: (
        st.lists(inner, max_size=3).map(spell_array)
        | st.tuples(st.lists(st.tuples(tricky, inner), max_size=3), spaces, spaces, spaces).map(spell_object)
    ),
    max_leaves=6,
)


objects = st.lists(st.tuples(tricky, spelled_values), max_size=3).flatmap(
    lambda fields: st.tuples(st.just(fields), spaces, spaces, spaces).map(spell_object)
)
compact = st.lists(st.tuples(tricky, spelled_values), max_size=3).map(lambda fields: spell_object((fields, "", "", "")))


@examples(deadline=None, max_examples=400)
@given(st.lists(compact | objects | spelled_values, min_size=1, max_size=4), st.sampled_from([",", " ,", ", "]))
def test_what_looks_like_the_seam_of_two_notifications_is_none_inside_of_one(
    parts: list[tuple[Any, str]], comma: str
) -> None:
    found, is_array = unpack("[" + comma.join(text for _, text in parts) + "]")
    assert is_array
    assert [(marked(value), text) for value, text in found] == parts


@pytest.mark.parametrize(
    "texts",
    [
        ['{"a":1,"a":2}', '{"b":"\\":"}'],
        ['{"a" :1,"a":2}', "{}"],
        ['{"a":{"b":1,"b":1}}', '{"c":1}'],
        ['{"a":[{},{},{}]}', "1", "2"],
        ['{"a":"},{"}', '{"b":1}'],
        ['{"a":"},{"} ', ' {"b":1}'],
        ['{"a":"},{"}', ' {"b":1}'],
        ['{"a":"},{"} ', '{"b":1}'],
    ],
)
def test_each_reason_for_a_close_look_is_seen(texts: list[str]) -> None:
    found, _ = unpack("[" + ",".join(texts) + "]")
    assert [text for _, text in found] == [text.strip() for text in texts]
    twice = [isinstance(inner, RepeatedKeys) for value, _ in found for inner in (value, *_inner(value))]
    assert any(twice) == ('"a":2' in texts[0] or '"b":1,"b"' in texts[0])


def _inner(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def test_korean_travels_as_it_is_and_not_escaped() -> None:
    (message,) = pack([item(content={"body": "한글"})])
    assert "한글" in message.body


def test_nothing_packs_to_nothing() -> None:
    assert pack([]) == []


# --- bounds


def test_a_bundle_is_at_most_64_kib_of_utf_8() -> None:
    full = [sized(BUNDLE_BYTES_MAX // 4 - 1, id=f"n-{n}") for n in range(4)]
    (message,) = pack([*full[:3], sized(BUNDLE_BYTES_MAX // 4 - 2, id="n-3")])
    assert len(message.body.encode()) == BUNDLE_BYTES_MAX == 65_536
    assert [len(message.items) for message in pack(full)] == [3, 1]


def test_a_bundle_has_at_most_100_notifications() -> None:
    messages = pack([item(id=f"n-{n}") for n in range(250)])
    assert [len(message.items) for message in messages] == [100, 100, 50]
    assert BUNDLE_ITEMS_MAX == 100


def test_a_bundle_is_of_one_channel() -> None:
    channels = ["log", "webhook", "log", "push", "webhook", "log"]
    messages = pack([item(id=f"n-{n}", channel=channel, address="a") for n, channel in enumerate(channels)])
    assert [[each.id for each in message.items] for message in messages] == [
        ["n-0", "n-2", "n-5"],
        ["n-1", "n-4"],
        ["n-3"],
    ]


def test_ten_full_bundles_fit_one_batch_call() -> None:
    attribute_bytes = len(REDRIVEN + "String" + NIGHT.isoformat(timespec="milliseconds"))
    assert 10 * (BUNDLE_BYTES_MAX + attribute_bytes) <= BATCH_BYTES_MAX


def test_the_largest_notification_fits_a_bundle() -> None:
    (message,) = pack([sized(NOTIFICATION_BYTES_MAX + ADDED_BYTES_MAX)])
    assert len(message.body.encode()) == NOTIFICATION_BYTES_MAX + ADDED_BYTES_MAX + 2 <= BUNDLE_BYTES_MAX


# --- reading


@pytest.mark.parametrize("body", ["{}", "[{}]"])
def test_what_has_no_id_gets_one_from_the_message_and_its_place(body: str) -> None:
    text = to_text(notification())
    items, _ = read(record(body.replace("{}", text), message_id="m-1"))
    assert [each.id for each in items] == ["sqs:m-1" if body == "{}" else "sqs:m-1:0"]


def test_a_redelivery_of_a_bundle_gives_the_same_ids_again() -> None:
    body = to_text([notification(), notification(id="own"), notification()])
    first, second = ([each.id for each in read(record(body, "m-1", receives=n))[0]] for n in (1, 2))
    assert first == second == ["sqs:m-1:0", "own", "sqs:m-1:2"]


def test_two_messages_never_share_an_id_that_was_made_for_them() -> None:
    body = to_text(notification())
    assert read(record(body))[0][0].id != read(record(body))[0][0].id


def test_r19_a_plain_object_with_message_attributes_is_a_notification_like_any_other() -> None:
    attributes = {"JobType": "campaign", "Producer": "fast"}
    (found,), invalid = read(record(to_text(notification()), "m-1", attributes=attributes))
    assert (found.id, found.redriven, invalid) == ("sqs:m-1", None, [])


def test_without_a_producer_it_was_accepted_when_sqs_got_it() -> None:
    (found,), _ = read(record(to_text(notification()), sent_at=NIGHT))
    assert found.notification["accepted_at"] == NIGHT.isoformat(timespec="milliseconds")


def test_an_accepted_at_later_than_when_sqs_got_it_is_not_believed() -> None:
    body = to_text(notification(accepted_at=(NIGHT + timedelta(days=300)).isoformat()))
    (found,), _ = read(record(body, sent_at=NIGHT))
    assert datetime.fromisoformat(found.notification["accepted_at"]) == NIGHT
    assert datetime.fromisoformat(found.notification["expires_at"]) == NIGHT + timedelta(days=3)


def test_what_is_canonical_travels_on_as_the_bytes_that_it_came_as() -> None:
    text = json.dumps(canonical(), indent=2)
    (found,), _ = read(record(f" [\n{text} ]"))
    assert found.text == text


def test_what_is_not_canonical_travels_on_in_its_canonical_form() -> None:
    (found,), _ = read(record(json.dumps(notification(id="n-1"))))
    assert found.text == to_text(found.notification)
    assert json.loads(found.text)["address"] == "+821012345678"


def test_a_notification_written_at_length_is_shortened_so_that_it_fits_a_bundle() -> None:
    made = canonical(content={"body": "가" * 10_000})
    body = to_text(made).replace("{", "{" + " " * (BUNDLE_BYTES_MAX - len(to_text(made).encode())), 1)
    assert len(body.encode()) == BUNDLE_BYTES_MAX
    (found,), _ = read(record(body))
    (message,) = pack([found])
    assert message.body == f"[{to_text(made)}]"


def test_invalid_items_do_not_take_their_neighbours_with_them() -> None:
    good = to_text(notification(id="good"))
    parts = [good, '{"id":"bad", "channel":"fax"}', "42", good.replace("good", "good-2"), "null", '{"id":"a","id":"b"}']
    items, invalid = read(record("[" + ",".join(parts) + "]", "m-1"))
    assert [each.id for each in items] == ["good", "good-2"]
    assert [(each.id, each.text) for each in invalid] == [
        ("bad", parts[1]),
        ("sqs:m-1:2", "42"),
        ("sqs:m-1:4", "null"),
        ("b", parts[5]),
    ]
    assert all(each.errors for each in invalid)


@pytest.mark.parametrize("id", [7, None, "", "a b", "x" * 129, ["a"]])
def test_an_invalid_item_whose_id_cannot_be_one_is_known_by_its_message(id: object) -> None:
    _, (invalid,) = read(record(json.dumps({"id": id}), "m-1"))
    assert invalid.id == "sqs:m-1"


# --- events


def test_an_event_stands_for_its_detail() -> None:
    (found,), invalid = read(record(json.dumps(event(notification(id="n-1")))))
    assert invalid == []
    assert found.notification == canonical()
    assert json.loads(found.text) == found.notification


def test_an_event_without_an_id_of_its_own_is_one_however_often_it_comes() -> None:
    body = json.dumps(event(notification()))
    ids = {read(record(body, message_id))[0][0].id for message_id in ("m-1", "m-2")}
    assert ids == {"event:17793124-05d4-b198-2fde-7ededc63b103"}


@pytest.mark.parametrize("event_id", [None, "", 7, True, {}, ["a"], "a b", "x" * 123, "한글"])
def test_an_odd_event_id_makes_no_two_events_one(event_id: object) -> None:
    body = json.dumps(event(notification(), id=event_id))
    assert [read(record(body, message_id))[0][0].id for message_id in ("m-1", "m-2")] == ["sqs:m-1", "sqs:m-2"]


def test_an_event_that_has_no_id_at_all_makes_no_two_events_one() -> None:
    nameless = event(notification())
    del nameless["id"]
    assert [read(record(json.dumps(nameless), each))[0][0].id for each in ("m-1", "m-2")] == ["sqs:m-1", "sqs:m-2"]


@pytest.mark.parametrize(
    "detail",
    [
        "null",
        "[]",
        "{}",
        '"text"',
        '{"channel": "fax"}',
        '{"metadata": NaN}',
        '{"source": "\\ud800"}',
        '{"a": "\\uffff"}',
    ],
)
def test_an_event_whose_detail_is_no_notification_is_invalid_as_it_came(detail: str) -> None:
    body = json.dumps(event("DETAIL")).replace('"DETAIL"', detail)
    items, (invalid,) = read(record(body))
    assert items == []
    assert invalid.text == body
    assert invalid.id == "event:17793124-05d4-b198-2fde-7ededc63b103"
    assert invalid.errors


def test_an_event_without_detail_is_invalid() -> None:
    empty = event(None)
    del empty["detail"]
    _, (invalid,) = read(record(json.dumps(empty)))
    assert invalid.errors == ["notification: must be a JSON object"]


def test_an_event_of_another_kind_is_invalid() -> None:
    items, (invalid,) = read(record(json.dumps(event(notification(), **{"detail-type": "OrderPlaced"}))))
    assert items == []
    assert any("unknown field" in each for each in invalid.errors)


# --- redrive


def test_what_was_redriven_says_so_on_every_queue_and_travels_alone() -> None:
    at = "2020-11-11T12:00:00.000+00:00"
    (found,), _ = read(record(to_text(canonical(id="again")), attributes={REDRIVEN: at}))
    assert found.redriven == at
    first, second, third = pack([item(id="a"), found, item(id="b")]), None, None
    (second, third) = first
    assert (second.body, second.attributes) == (found.text, {REDRIVEN: at})
    assert read_back(second) == [found._replace(message_id="")]
    assert [each.id for each in third.items] == ["a", "b"]
    assert third.attributes is None


def test_a_dead_letter_keeps_its_text_and_says_why() -> None:
    letter = dead_letter(" {not json", "unreadable: not JSON", "n-1", "2020-11-11T12:00:00.000+00:00")
    assert letter.body == " {not json"
    assert letter.attributes == {
        "reason": "unreadable: not JSON",
        "notification_id": "n-1",
        REDRIVEN: "2020-11-11T12:00:00.000+00:00",
    }
    assert dead_letter("x", "r" * 5000).attributes == {"reason": "r" * REASON_CHARACTERS_MAX}


# --- what cannot be read


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "not JSON: Expecting value at character 0"),
        ("   ", "not JSON: Expecting value at character 3"),
        ("hello", "not JSON: Expecting value at character 0"),
        ("\ufeff", "not JSON: Expecting value at character 0"),
        ("{}\ufeff", "text follows the JSON value"),
        ("{} {}", "text follows the JSON value"),
        ("{}x", "text follows the JSON value"),
        ("[]", "an empty array"),
        (" [ \n] ", "an empty array"),
        ("[{}", "the array has neither a comma nor its end at character 3"),
        ("[{} {}]", "the array has neither a comma nor its end at character 4"),
        ("[{}]]", "text follows the array"),
        ("[{}],", "text follows the array"),
        ("[,{}]", "not JSON: Expecting value at character 1"),
        ("[", "not JSON: Expecting value at character 1"),
        ("[{},]", "not JSON: Expecting value at character 4"),
        ("[{}\u00a0]", "the array has neither a comma nor its end at character 3"),
        ("{'id': 1}", None),
        ('{"id": "a\nb"}', None),
        ('{"id": 01}', None),
        ('{"id": "\\x"}', None),
        ("9" * 5_000, "not JSON that can be read: ValueError"),
        ('{"a": -' + "9" * 5_000 + "}", "not JSON that can be read: ValueError"),
        ("[" * 60_000, None),
        ('{"a":' * 12_000, None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_body_that_cannot_be_taken_apart_is_unreadable_and_says_why(body: str, why: str | None) -> None:
    with pytest.raises(Unreadable) as unreadable:
        read(record(body))
    assert str(unreadable.value) == why or (why is None and str(unreadable.value).startswith("not JSON"))


def test_an_unreadable_body_is_not_quoted() -> None:
    for body in ('{"phone": "010-9876-5432"', "010-9876-5432", "[1, 010-9876-5432]", '{"a": "\\010-9876-5432"}'):
        with pytest.raises(Unreadable) as unreadable:
            read(record(body))
        assert "9876" not in str(unreadable.value)


json_like = st.text(st.sampled_from('[]{}":, \n\\u01.eE-+ntfNI가a'), max_size=40)
near_json = st.builds(
    lambda body, at, junk: body[: at % len(body)] + junk + body[at % len(body) :],
    st.sampled_from([json.dumps(event(notification())), to_text([canonical(), notification()]), to_text(canonical())]),
    st.integers(0, 10_000),
    json_like | st.text(max_size=3),
)
deep = st.builds(
    lambda opening, depth, closing: opening * depth + closing * depth,
    st.sampled_from(["[", '{"a":', '[{"detail-type":"NotificationRequested","detail":', '{"metadata":[']),
    st.integers(1, 20_000),
    st.sampled_from(["", "]", "}", "]}"]),
)


@examples(deadline=None, max_examples=500)
@given(json_like | near_json | deep | st.text(max_size=40))
def test_whatever_stands_in_a_body_is_read_or_unreadable_and_nothing_else(body: str) -> None:
    try:
        items, invalid = read(record(body, "m-1"))
    except Unreadable:
        return
    assert items or invalid
    for message in [*pack(items), *(dead_letter(each.text, each.errors[0], each.id) for each in invalid)]:
        assert message.body
    for each in invalid:
        assert each.text in body
        assert each.errors
    for found in items:
        found.text.encode()
        assert json.loads(found.text) == found.notification


def envelope(message: str, **fields: Any) -> str:
    """A message as SNS puts it on a queue where raw message delivery is off."""
    around = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:ap-northeast-2:123456789012:orders",
        "Message": message,
        "Timestamp": "2020-11-11T12:03:00.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.ap-northeast-2.amazonaws.com/cert.pem",
        "UnsubscribeURL": "https://sns.ap-northeast-2.amazonaws.com/?Action=Unsubscribe",
    }
    return json.dumps(around | fields, indent=2)


def test_what_stands_in_an_sns_envelope_is_read_and_gets_its_id_from_sns() -> None:
    """SQS makes another message id each time that SNS delivers the same message."""
    for message_id in ("m-1", "m-2"):
        items, invalid = read(record(envelope(to_text(notification())), message_id))
        assert ([each.id for each in items], invalid) == (["sns:22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"], [])
        bundle = to_text([notification(), notification(id="own"), notification(channel="fax")])
        items, (wrong,) = read(record(envelope(bundle), message_id))
        assert [each.id for each in items] == ["sns:22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324:0", "own"]
        assert wrong.id == "sns:22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324:2"
        assert json.loads(wrong.text) == notification(channel="fax")


def test_an_event_that_was_published_keeps_its_own_id() -> None:
    (found,), _ = read(record(envelope(json.dumps(event(notification())))))
    assert found.id.startswith("event:")


@pytest.mark.parametrize("message", ["not json", "", "[]", "{}{}"])
def test_what_cannot_be_read_in_an_sns_envelope_is_unreadable(message: str) -> None:
    with pytest.raises(Unreadable):
        read(record(envelope(message)))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"MessageId": None}, "an SNS envelope whose MessageId is missing, too long or not an id"),
        ({"MessageId": 5}, "an SNS envelope whose MessageId is missing, too long or not an id"),
        ({"MessageId": ""}, "an SNS envelope whose MessageId is missing, too long or not an id"),
        ({"MessageId": "한글"}, "an SNS envelope whose MessageId is missing, too long or not an id"),
        ({"MessageId": "x" * 121}, "an SNS envelope whose MessageId is missing, too long or not an id"),
        ({"Message": {"channel": "sms"}}, "an SNS envelope whose Message is not text"),
        ({"Message": None}, "an SNS envelope whose Message is not text"),
    ],
)
def test_an_envelope_that_is_not_as_sns_makes_it_is_unreadable_by_name(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(record(envelope(to_text(notification(id="a")), **fields), "m-1"))


def test_the_longest_message_id_that_leaves_room_for_a_place_is_kept() -> None:
    (found,), _ = read(record(envelope(to_text([notification()]), MessageId="x" * 120)))
    assert found.id == f"sns:{'x' * 120}:0"


@pytest.mark.parametrize("fields", [{"Type": "SubscriptionConfirmation"}])
def test_what_is_not_quite_an_sns_envelope_is_an_invalid_notification(fields: dict[str, Any]) -> None:
    items, (invalid,) = read(record(envelope(to_text(notification(id="a")), **fields), "m-1"))
    assert (items, invalid.id) == ([], "sqs:m-1")
    assert "unknown field; allowed are id, category, channel" in invalid.errors[0]
