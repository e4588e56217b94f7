"""The notification: what is accepted, and how every fault is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.notification import notification as module
from lambdas.quiet_hours.notification.addresses import recipient_fault
from lambdas.quiet_hours.notification.json_text import RepeatedKeys, to_text, unpack
from lambdas.quiet_hours.notification.notification import ADDED_BYTES_MAX, LIFE, NOTIFICATION_BYTES_MAX, accept
from tests.helpers.accepting import NOW, PHONE_FAULT, accepted, errors
from tests.helpers.aws import notification

ALLOWED_FIELDS = (
    "id, category, channel, address, recipient_id, content, expires_at, accepted_at, source, metadata, collapse_key, "
    "policy, country, timezone"
)
COUNTRY_FAULT = "must be a country's code such as KR (ISO 3166-1)"
ZONE_FAULT = "must be an IANA name of a time zone such as America/New_York"
TIME_FAULT = "must be a time with an offset, such as 2020-11-12T12:00:00+09:00"
UNSENDABLE = "has a character that cannot be sent (control characters other than newline and tab, surrogates)"
CONTENT_FIELDS = "title, body, template, variables"


def from_json(text: str) -> Any:
    """Read a queue's body with the project's own reader of JSON, which notices repeated keys."""
    ((value, _),), _ = unpack(text)
    return value


# --- what is accepted


def test_a_notification_is_completed_with_what_it_leaves_out() -> None:
    assert accepted() == {
        "id": "made-1",
        "category": "advertising",
        "channel": "kakao",
        "address": "+821012345678",
        "content": {"body": "가을 세일이 시작됩니다"},
        "accepted_at": "2020-11-11T12:03:00.123+00:00",
        "expires_at": "2020-11-14T12:03:00.123+00:00",
    }


def test_everything_that_a_notification_may_have_is_kept() -> None:
    given = {
        "id": "order-20201111-0001:paid",
        "category": "informational",
        "channel": "email",
        "address": "minsu@example.com",
        "recipient_id": "user-42",
        "content": {
            "title": "주문",
            "body": "결제 완료\n\t감사합니다 🙏",
            "template": "T1",
            "variables": {"금액": 39000},
        },
        "expires_at": "2020-11-12T12:00:00+09:00",
        "source": "order-service",
        "metadata": {"order": {"lines": [1, 2.5, None, True, "", "한글"]}},
    }
    assert accept(given, default_id="unused", now=NOW)[0] == given | {"accepted_at": "2020-11-11T12:03:00.123+00:00"}


@pytest.mark.parametrize("content", [{"body": "b"}, {"template": "t"}, {"template": "t", "variables": {}}])
def test_content_needs_a_body_or_a_template(content: dict[str, Any]) -> None:
    assert accepted(content=content)["content"] == content


@pytest.mark.parametrize("id", ["a", "A-z_0.9:@+=/-", "x" * 128])
def test_an_id_is_kept_as_it_is(id: str) -> None:
    assert accepted(id=id)["id"] == id


# --- times


@pytest.mark.parametrize(
    ("expires_at", "kept"),
    [
        ("2020-11-12T12:00:00+09:00", True),
        ("2020-11-12T12:00:00Z", True),
        ("2020-11-12T12:00+0900", True),
        ("2020-11-12T12:00:00.123456789-05:30", True),
        ("2020-11-01T00:00:00+09:00", True),  # passed already: whoever judges it will say so
        ("0001-01-01T00:00:00+14:00", True),
        ("2020-11-14T12:03:00.123+00:00", True),
        ("2020-11-14T12:03:00.124+00:00", False),
        ("2020-11-30T00:00:00+09:00", False),
        ("9999-12-31T23:59:59-14:00", False),
    ],
)
def test_an_expiry_is_kept_up_to_three_days_after_acceptance_and_clamped_to_them(expires_at: str, kept: bool) -> None:
    expected = expires_at if kept else "2020-11-14T12:03:00.123+00:00"
    assert accepted(expires_at=expires_at)["expires_at"] == expected


def test_without_a_producer_an_earlier_accepted_at_is_believed() -> None:
    result = accepted(keep_accepted_at=True, accepted_at="2020-11-11T21:00:00+09:00")
    assert result["accepted_at"] == "2020-11-11T21:00:00+09:00"
    assert result["expires_at"] == "2020-11-14T12:00:00.000+00:00"


@pytest.mark.parametrize("offset", ["+09:00", "+00:00", "-05:30"])
def test_an_instant_is_written_alike_whichever_zone_it_was_seen_in_before(offset: str) -> None:
    zone = datetime.fromisoformat(f"2020-11-11T00:00{offset}").tzinfo
    accepted(now=NOW.replace(second=7).astimezone(zone))
    result = accepted(now=NOW.replace(second=7))
    assert (result["accepted_at"], result["expires_at"]) == (
        "2020-11-11T12:03:07.123+00:00",
        "2020-11-14T12:03:07.123+00:00",
    )


def test_an_accepted_at_finer_than_a_millisecond_is_believed_in_its_own_millisecond() -> None:
    result = accepted(keep_accepted_at=True, accepted_at="2020-11-11T21:03:00.123456+09:00")
    assert result["accepted_at"] == "2020-11-11T21:03:00.123456+09:00"


def test_an_accepted_at_that_says_the_same_instant_stays_as_it_was_written() -> None:
    now = NOW.replace(microsecond=0)
    result = accepted(now=now, keep_accepted_at=True, accepted_at="2020-11-11T21:03:00+09:00")
    assert result["accepted_at"] == "2020-11-11T21:03:00+09:00"


def test_a_later_accepted_at_is_not_believed() -> None:
    result = accepted(keep_accepted_at=True, accepted_at="2020-11-11T21:03:00.125+09:00")
    assert result["accepted_at"] == "2020-11-11T12:03:00.123+00:00"
    assert result["expires_at"] == "2020-11-14T12:03:00.123+00:00"


def test_without_an_accepted_at_it_is_the_time_of_acceptance() -> None:
    assert accepted(keep_accepted_at=True)["accepted_at"] == "2020-11-11T12:03:00.123+00:00"


@pytest.mark.parametrize("sent", ["2020-11-11T21:00:00+09:00", "2030-01-01T00:00:00Z"])
def test_the_producer_sets_accepted_at_whatever_was_sent(sent: str) -> None:
    assert accepted(accepted_at=sent)["accepted_at"] == "2020-11-11T12:03:00.123+00:00"


# --- faults


@pytest.mark.parametrize("candidate", [None, 1, "text", ["channel"], True, 1.5])
def test_what_is_no_object_is_no_notification(candidate: object) -> None:
    assert errors(candidate) == ["notification: must be a JSON object"]


WRONG = {
    "id": [
        (value, "must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = / -")
        for value in (None, 1, "", "x" * 129, "a b", "주문", "a\n", ["a"], "a\x00", "a#b")
    ],
    "category": [
        (value, "must be one of advertising, informational, critical")
        for value in (None, 1, "", "Advertising", "ads", ["advertising"], {})
    ],
    "channel": [
        (value, "must be one of kakao, sms, email, push, slack, webhook, log")
        for value in (None, 1, "", "KAKAO", "fax", ["kakao"], {})
    ],
    "address": [
        (None, "must be text"),
        (1012345678, "must be text"),
        (["010"], "must be text"),
        ("", "must have 1 to 1024 characters"),
        ("0" * 1025, "must have 1 to 1024 characters"),
        ("010\x0012345678", UNSENDABLE),
        ("   ", PHONE_FAULT),
    ],
    "recipient_id": [
        (None, "must be text"),
        (42, "must be text"),
        ("", "must have 1 to 512 characters"),
        ("u" * 513, "must have 1 to 512 characters"),
        ("user\u0007", UNSENDABLE),
    ],
    "content": [
        *(
            (value, f"must be an object with {CONTENT_FIELDS}")
            for value in (None, "text", [], ["body"], {}, 1)
        ),
        ({"title": "t"}, "needs a body or a template"),
        ({"body": "b", "text": "t"}, f"text is an unknown field; allowed are {CONTENT_FIELDS}"),
        ({"body": ""}, "body must have 1 to 10000 characters"),
        ({"body": "가" * 10_001}, "body must have 1 to 10000 characters"),
        ({"body": 5}, "body must be text"),
        ({"body": None}, "body must be text"),
        ({"body": "b", "title": ""}, "title must have 1 to 10000 characters"),
        ({"template": ["t"]}, "template must be text"),
        ({"template": "t", "variables": []}, "variables must be an object"),
        ({"template": "t", "variables": None}, "variables must be an object"),
        (
            {"template": "t", "variables": {"n": float("nan")}},
            "variables has a number that JSON cannot carry (NaN or Infinity)",
        ),
        ({"template": "t", "variables": {"a": [[[[[]]]]]}}, "variables is nested more than 5 levels deep"),
        ({"template": "t", "variables": {"\ud800": 1}}, f"variables {UNSENDABLE}"),
        ({"template": "t", "variables": {"a": object()}}, "variables has a value that JSON cannot carry"),
        ({"template": "t", "variables": {1: "a"}}, "variables has a field whose name is not text"),
    ],
    "metadata": [
        *((value, "must be an object") for value in (None, "text", [], 1)),
        ({"a": float("inf")}, "has a number that JSON cannot carry (NaN or Infinity)"),
        ({"a": -float("inf")}, "has a number that JSON cannot carry (NaN or Infinity)"),
        ({"a": {"b": "\x1b"}}, UNSENDABLE),
        ({"a": "가" * 700}, "must be at most 2048 bytes as JSON"),
        ({"a": {"b": {"c": {"d": {"e": {}}}}}}, "is nested more than 5 levels deep"),
    ],
    "source": [
        (None, "must be text"),
        (["s"], "must be text"),
        ("", "must have 1 to 128 characters"),
        ("s" * 129, "must have 1 to 128 characters"),
        ("s\r\n", UNSENDABLE),
    ],
}  # fmt: skip
for _field in ("expires_at", "accepted_at"):
    WRONG[_field] = [
        (value, TIME_FAULT)
        for value in (
            None,
            1605150000,
            "",
            "tomorrow",
            "2020-11-12",
            "2020-11-12T12:00:00",
            "2020-13-12T12:00:00+09:00",
            "2020-11-12T24:00:00+09:00",
            "2020-11-12T24:00+09:00",
            "2020-11-12T23:60:00+09:00",
            "2020-11-12T23:59:60+09:00",
            "2020-11-12T12:00:00+24:00",
            "2020-11-12T12:00:00+09:60",
            "2020-11-12T12:00:00,5+09:00",
            "0000-11-12T12:00:00+09:00",
            "2020-11-12T25:00:00+09:00",
            "2020-11-12T12:00:00+99:00",
            "2020-11-12T12:00:00 Asia/Seoul",
            "2020-11-12T12:00:00+09:00\n",
            # Python's parser takes any character between date and time, even one that no queue can carry
            "2020-11-12\ud80012:00:00+09:00",
            "2020-11-12\ufffe12:00:00+09:00",
            "2020-11-12\x0012:00:00+09:00",
            "2020-11-12가12:00:00+09:00",
            ["2020-11-12T12:00:00+09:00"],
        )
    ]


@pytest.mark.parametrize(("field", "value", "fault"), [(f, v, e) for f, cases in WRONG.items() for v, e in cases])
def test_a_wrong_field_is_named_with_its_fault_and_what_is_allowed(field: str, value: object, fault: str) -> None:
    assert errors(notification() | {field: value}) == [f"{field}: {fault}"]


@pytest.mark.parametrize("field", ["channel", "address", "content"])
def test_a_missing_field_is_named(field: str) -> None:
    assert errors(notification(**{field: None})) == [f"{field}: is required"]


def test_an_unknown_field_is_named_with_the_allowed_ones() -> None:
    assert errors(notification(priority="high")) == [f"priority: unknown field; allowed are {ALLOWED_FIELDS}"]


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("policy", "", "must have 1 to 64 characters"),
        ("policy", 3, "must be text"),
        *(("country", value, COUNTRY_FAULT) for value in ("", "kr", "KOR", "한국", "K", 82)),
        *(("timezone", value, ZONE_FAULT) for value in ("Asia/Soul", "KST+9", "../etc/passwd", "localtime")),
        ("timezone", "", "must have 1 to 64 characters"),
        ("timezone", 9, "must be text"),
    ],
)
def test_what_chooses_the_policy_is_checked_and_its_value_is_not_shown(field: str, value: object, fault: str) -> None:
    assert errors(notification(**{field: value})) == [f"{field}: {fault}"]


def test_what_chooses_the_policy_travels_unchanged() -> None:
    given = {"policy": "united-states", "country": "US", "timezone": "America/New_York"}
    assert given.items() <= accept(notification(**given), default_id="unused", now=NOW)[0].items()


@pytest.mark.parametrize("field", ["night_consent", "consent", "opted_out"])
def test_consent_is_no_field_of_a_notification(field: str) -> None:
    assert errors(notification(**{field: True})) == [f"{field}: unknown field; allowed are {ALLOWED_FIELDS}"]


def test_several_faults_come_in_one_answer_in_a_fixed_order() -> None:
    candidate = {"zeta": 1, "alpha": 2, "channel": "fax", "category": 3, "content": {}, "expires_at": "soon"}
    assert errors(candidate) == [
        f"alpha: unknown field; allowed are {ALLOWED_FIELDS}",
        f"zeta: unknown field; allowed are {ALLOWED_FIELDS}",
        "address: is required",
        "category: must be one of advertising, informational, critical",
        "channel: must be one of kakao, sms, email, push, slack, webhook, log",
        f"content: must be an object with {CONTENT_FIELDS}",
        f"expires_at: {TIME_FAULT}",
    ]


def test_a_flood_of_unknown_fields_does_not_become_a_flood_of_errors() -> None:
    found = errors(notification(**{f"f{number}": 1 for number in range(100_000)}))
    assert len("".join(found)) < 2_000


@pytest.mark.parametrize(
    "candidate",
    [
        notification(id="010-9876-5432 secret"),
        notification(address="secret010-9876-5432"),
        notification(channel="email", address="secret010-9876-5432@@example.com"),
        notification(channel="slack", address="secret010-9876-5432"),
        notification(channel="push", address="https://secret010-9876-5432"),
        notification(channel="secret010-9876-5432"),
        notification(category="secret010-9876-5432"),
        notification(expires_at="secret010-9876-5432"),
        notification(recipient_id="secret010-9876-5432" * 30),
        notification(content="secret010-9876-5432"),
        notification(content={"secret010-9876-5432": "b", "body": "b"}),
        notification(content={"body": "secret010-9876-5432\x00"}),
        notification(content={"template": "t", "variables": {"secret010-9876-5432": float("nan")}}),
        notification(metadata={"secret010-9876-5432": "\x00"}),
        notification(**{"secret010-9876-5432": 1}),
        notification(**{"secret@example.com": 1}),
        notification(비밀secret=1),
        notification(**{"secret" * 100: 1}),
    ],
)
def test_no_error_shows_a_value(candidate: dict[str, Any]) -> None:
    text = " ".join(errors(candidate))
    assert "secret" not in text
    assert "9876" not in text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"id": "a", "id": "b", %s}', "notification: names a field twice"),
        ('{"metadata": {"a": 1, "a": 2}, %s}', "metadata: names a field twice"),
        ('{"metadata": {"a": [{"b": 1, "b": 1}]}, %s}', "metadata: names a field twice"),
        ('{"metadata": {"a": NaN}, %s}', "metadata: has a number that JSON cannot carry (NaN or Infinity)"),
        ('{"metadata": {"a": [-Infinity]}, %s}', "metadata: has a number that JSON cannot carry (NaN or Infinity)"),
        ('{"metadata": {"a": 1e999}, %s}', "metadata: has a number that JSON cannot carry (NaN or Infinity)"),
        ('{"metadata": {"a": "\\ud800"}, %s}', f"metadata: {UNSENDABLE}"),
        ('{"metadata": {"a": "\\ufffe"}, %s}', f"metadata: {UNSENDABLE}"),
        ('{"metadata": {"a": "\\uffff"}, %s}', f"metadata: {UNSENDABLE}"),
        ('{"metadata": {"a": "\\u0000"}, %s}', f"metadata: {UNSENDABLE}"),
        ('{"metadata": {"\\u007f": 1}, %s}', f"metadata: {UNSENDABLE}"),
        ('{"source": NaN, %s}', "source: must be text"),
        ('{"expires_at": "2020-11-12\\ud80012:00:00+09:00", %s}', f"expires_at: {TIME_FAULT}"),
    ],
)
def test_what_json_can_say_and_a_notification_cannot_is_named(text: str, fault: str) -> None:
    rest = to_text(notification())[1:-1]
    assert errors(from_json(text % rest)) == [fault]


def test_content_that_names_a_field_twice_is_refused() -> None:
    candidate = from_json('{"channel":"log","address":"a","content":{"body":"a","body":"b"}}')
    assert errors(candidate) == ["content: names a field twice"]


@pytest.mark.parametrize(
    "character", ["\x00", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\x7f", "\x9f", "\ud800", "\ufffe"]
)
def test_characters_that_sqs_or_utf_8_cannot_carry_are_refused(character: str) -> None:
    assert errors(notification(content={"body": f"a{character}b"})) == [f"content: body {UNSENDABLE}"]


@pytest.mark.parametrize("text", ["줄\n바꿈\t탭", "👩‍👩‍👧‍👦", "\u00a0", "\ufffd", "\U0010ffff", "\ue000"])
def test_every_other_character_is_carried(text: str) -> None:
    assert json.loads(to_text(accepted(content={"body": text})).encode())["content"]["body"] == text


# --- size


def padded(size_bytes: int, **fields: Any) -> dict[str, Any]:
    """A notification of Korean text that is exactly so large as compact JSON in UTF-8, as it is given."""
    pages = {f"p{number}": "가" * 1_000 for number in range(10)}

    def with_text(text: str) -> dict[str, Any]:
        return notification(**fields, content={"template": "t", "variables": pages | {"x": text}})

    korean, rest = divmod(size_bytes - len(to_text(with_text("")).encode()), 3)
    return with_text("가" * korean + "a" * rest)


SIZE_FAULT = "notification: must be at most 32768 bytes as compact JSON in UTF-8"
LONGEST_GROWTH: dict[str, Any] = {"channel": "email", "address": f"{'a' * 64}@{'가힣.' * 12}kr"}


@pytest.mark.parametrize(
    "fields", [{}, {"id": "n-1"}, LONGEST_GROWTH], ids=["bare", "with an id", "with a long domain"]
)
@pytest.mark.parametrize("from_a_queue", [False, True])
def test_the_limit_is_on_what_the_sender_gave(fields: dict[str, Any], from_a_queue: bool) -> None:
    longest_id = "x" * 128
    given = padded(NOTIFICATION_BYTES_MAX, **fields)
    assert len(to_text(given).encode()) == NOTIFICATION_BYTES_MAX == 32_768
    assert len(to_text(given)) < NOTIFICATION_BYTES_MAX / 2
    once, text = accept(given, default_id=longest_id, now=NOW, keep_accepted_at=from_a_queue)
    assert NOTIFICATION_BYTES_MAX < len(text.encode()) < NOTIFICATION_BYTES_MAX + ADDED_BYTES_MAX
    again, same = accept(once, default_id="unused", now=NOW, keep_accepted_at=True, text=text)
    assert again is once
    assert same == text
    with pytest.raises(Invalid) as invalid:
        accept(padded(NOTIFICATION_BYTES_MAX + 1, **fields), default_id="n", now=NOW, keep_accepted_at=from_a_queue)
    assert invalid.value.errors == [SIZE_FAULT]


def test_what_was_accepted_before_has_a_limit_too() -> None:
    at = NOW.isoformat(timespec="milliseconds")
    added = {"id": "n", "category": "critical", "accepted_at": at, "expires_at": at}
    fits = padded(NOTIFICATION_BYTES_MAX + ADDED_BYTES_MAX, address="+821012345678", **added)
    assert accept(fits, default_id="unused", now=NOW, keep_accepted_at=True)[0] is fits
    for candidate, from_a_queue in (
        (padded(NOTIFICATION_BYTES_MAX + ADDED_BYTES_MAX + 1, **added), True),
        (padded(NOTIFICATION_BYTES_MAX + 1, **added), False),
    ):
        with pytest.raises(Invalid) as invalid:
            accept(candidate, default_id="unused", now=NOW, keep_accepted_at=from_a_queue)
        assert invalid.value.errors == [SIZE_FAULT]


def test_metadata_is_small() -> None:
    exact = {"m": "가" * 680}
    assert len(to_text(exact).encode()) == 2048
    assert accepted(metadata=exact)["metadata"] == exact
    assert errors(notification(metadata={"m": "가" * 680 + "a"})) == ["metadata: must be at most 2048 bytes as JSON"]


# --- accepting twice

texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=30)
free_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
offsets = st.sampled_from(["Z", "+00:00", "+09:00", "-05:00", "+0530"])
times = st.builds(
    lambda instant, timespec, offset: instant.isoformat(timespec=timespec) + offset,
    st.datetimes(NOW.replace(tzinfo=None) - timedelta(days=5), NOW.replace(tzinfo=None) + timedelta(days=5)),
    st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]),
    offsets,
)
candidates = st.fixed_dictionaries(
    {
        "channel": st.just("log"),
        "address": st.from_regex(r"\A {0,2}[A-Za-z0-9]{1,20} {0,2}\Z"),
        "content": st.fixed_dictionaries(
            {"body": texts.filter(bool)}, optional={"variables": st.dictionaries(texts, free_json, max_size=3)}
        ),
    },
    optional={
        "id": st.from_regex(r"\A[A-Za-z0-9._:@+=/-]{1,40}\Z"),
        "category": st.sampled_from(["advertising", "informational", "critical"]),
        "recipient_id": texts.filter(lambda text: bool(text) and not recipient_fault(text)),
        "expires_at": times,
        "accepted_at": times,
        "source": texts.filter(bool),
        "metadata": st.dictionaries(texts, free_json, max_size=2),
    },
)


@examples(deadline=None, max_examples=150)
@given(candidates, st.integers(0, 999_999), st.booleans(), st.timedeltas(timedelta(0), timedelta(days=4)))
def test_what_was_accepted_once_comes_back_as_the_very_same_object(
    candidate: dict[str, Any], microsecond: int, keep_accepted_at: bool, later: timedelta
) -> None:
    now = NOW.replace(microsecond=microsecond)
    try:
        first = accept(candidate, default_id="made-1", now=now, keep_accepted_at=keep_accepted_at)[0]
    except Invalid as invalid:
        assume("levels deep" not in str(invalid) and "bytes" not in str(invalid))
        raise
    sent = from_json(to_text(first))
    arrives = datetime.fromisoformat(first["accepted_at"]) + later
    second, _ = accept(sent, default_id="other", now=arrives, keep_accepted_at=True)
    assert second is sent
    assert second == first
    assert datetime.fromisoformat(first["expires_at"]) <= datetime.fromisoformat(first["accepted_at"]) + LIFE


CHANNEL_VALUES = ["webhook", "push", "log", "sms", "kakao", "email", "slack", "fax", None, ["sms"]]
RIGHT_ADDRESSES = [
    "user-42",
    "010-1234-5678",
    "+821012345678",
    "kim@example.com",
    "Kim@example.com",
    "#orders",
    " user-42",
]
WRONG_ADDRESSES = [" user-42", "user 42", "a://b", "가", "12345678", "", "x" * 600, "010-1234-567", None, ["user-42"]]
RIGHT_CONTENTS = [
    *({"body": "가"}, {"title": "a", "body": "b"}, {"title": "a\nb", "body": "b"}, {"template": "t"}),
    *({"body": "a\r\nb"}, {"body": "\u1100\u1161"}, {"body": "b", "variables": {"a": [1, "\u1100\u1161"]}}),
]
WRONG_CONTENTS = [
    *(
        {"title": "", "body": "b"},
        {"body": "\x00"},
        {"body": "x" * 10_001},
        {"body": 1},
        {"body": None},
        {"title": "t"},
    ),
    *({"body": "b", "variables": 1}, {"text": "b"}, {}, None, "body", [{"body": "b"}], RepeatedKeys({"body": "b"})),
]
EXPIRIES = ["2020-11-12T12:00:00+09:00", "2020-12-24T12:00:00Z", "2020-11-12", "", None, 7, ["a"]]
ACCEPTANCES = ["2020-11-11T12:03:00.123+00:00", "2020-11-11T21:00:00.5+09:00", "2030-01-01T00:00Z", "now", None, 7]
one_field = st.one_of(
    st.tuples(st.just(name), st.sampled_from(values))
    for name, values in {
        "id": ["order-1", "campaign:1", "", "a b", "x" * 129, None, 7, ["a"]],
        "category": ["advertising", "critical", "urgent", "", None, ["critical"]],
        "channel": CHANNEL_VALUES,
        "address": RIGHT_ADDRESSES + WRONG_ADDRESSES,
        "recipient_id": ["user-42", "010-1234-5678", "010-1234-567", "\ufffd", " ", "", None, {"a": 1}],
        "content": RIGHT_CONTENTS + WRONG_CONTENTS,
        "expires_at": EXPIRIES,
        "accepted_at": ACCEPTANCES,
        "source": ["shop", "", "a\rb", "x" * 129, None, 7, ["a"]],
        "metadata": [{"a": 1}, {"a": float("nan")}, {"a": "x" * 2048}, {}, None, "a", ["a"]],
        "unknown": [1],
    }.items()
)
nearly_right = st.builds(
    lambda channel, address, content, others: {"channel": channel, "address": address, "content": content, **others},
    st.sampled_from(CHANNEL_VALUES[:7]),
    st.sampled_from(RIGHT_ADDRESSES),
    st.sampled_from(RIGHT_CONTENTS),
    st.lists(one_field, max_size=3).map(dict),
)


@examples(deadline=None, max_examples=300)
@given(nearly_right, st.booleans(), st.sampled_from([dict, dict, RepeatedKeys]))
def test_what_is_found_right_at_once_becomes_the_same_as_after_every_check(
    fields: dict[str, Any], keep_accepted_at: bool, kind: type[dict[str, Any]]
) -> None:
    candidate = kind(fields)

    def outcome() -> Any:
        try:
            return accept(candidate, default_id="made-1", now=NOW, keep_accepted_at=keep_accepted_at)
        except Invalid as invalid:
            return invalid.errors

    at_once = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_is_right", lambda candidate: False)
        assert outcome() == at_once


def test_a_content_that_resembles_or_was_the_last_one_is_checked_again() -> None:
    candidate = notification(content={"body": "b", "variables": {"a": 1}})
    accept(candidate, default_id="made-1", now=NOW)
    candidate["content"]["variables"]["a"] = float("nan")
    assert errors(candidate) == ["content: variables has a number that JSON cannot carry (NaN or Infinity)"]
    candidate["content"] = {"body": "b"}
    accept(candidate, default_id="made-1", now=NOW)
    twice = candidate | {"content": from_json('{"body": "a", "body": "b"}')}
    assert errors(twice) == ["content: names a field twice"]
    candidate["content"]["body"] = ""
    assert errors(candidate) == ["content: body must have 1 to 10000 characters"]


def test_a_life_has_the_same_length_when_the_clocks_change_in_it() -> None:
    now = datetime(2020, 10, 31, 12, tzinfo=ZoneInfo("America/New_York"))
    first = accepted(now=now)
    assert datetime.fromisoformat(first["expires_at"]) - now.astimezone(UTC) == LIFE


def test_a_number_that_json_does_not_have_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_text({"a": [float("nan")]})


def test_an_expiry_between_two_milliseconds_is_clamped_once_and_for_all() -> None:
    first = accepted(expires_at=(NOW + LIFE).isoformat())
    assert accept(first, default_id="other", now=NOW, keep_accepted_at=True)[0] is first


def test_accepting_does_not_touch_what_it_is_given() -> None:
    candidate = notification(content={"body": "b", "variables": {"a": [1]}})
    before = json.dumps(candidate)
    accept(candidate, default_id="made-1", now=NOW)
    assert json.dumps(candidate) == before
