"""Sources with a schedule of their own: their slots, and what becomes of what they ask for. Shows R6."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from examples.order_digest import digest
from lambdas import source as source_function
from lambdas.quiet_hours.errors import HandlerFailed, SourceFailed
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.sources import Source
from tests.helpers.aws import dynamodb, settings, sqs, take, take_notifications, text_attributes
from tests.helpers.notifications import advertising, order

__all__ = ["dynamodb", "settings", "sqs"]

SEOUL = Source.of("OrderDigest", ["10:00"], "Asia/Seoul")
TEN = datetime.fromisoformat("2020-11-12T10:00:00+09:00")


def slot(times: str, zone: str, now: str) -> tuple[str, str]:
    found = Source.of("S", times.split(), zone).slot(datetime.fromisoformat(now))
    return found.since.isoformat(), found.until.isoformat()


# --- slots: a table of instants


@pytest.mark.parametrize(
    ("now", "since", "until"),
    [
        ("2020-11-12T09:59:59.999999+09:00", "2020-11-10T10:00:00+09:00", "2020-11-11T10:00:00+09:00"),
        ("2020-11-12T10:00:00+09:00", "2020-11-11T10:00:00+09:00", "2020-11-12T10:00:00+09:00"),
        ("2020-11-12T01:00:00+00:00", "2020-11-11T10:00:00+09:00", "2020-11-12T10:00:00+09:00"),
        ("2020-11-12T10:59:00+09:00", "2020-11-11T10:00:00+09:00", "2020-11-12T10:00:00+09:00"),
        ("2020-11-13T00:00:00+09:00", "2020-11-11T10:00:00+09:00", "2020-11-12T10:00:00+09:00"),
    ],
)
def test_r6_a_run_is_for_the_latest_time_that_has_come_whenever_it_starts(now: str, since: str, until: str) -> None:
    assert slot("10:00", "Asia/Seoul", now) == (since, until)


def test_several_times_a_day_follow_each_other_in_whatever_order_they_are_given() -> None:
    now = "2020-11-12T18:30:00+09:00"
    expected = ("2020-11-12T10:00:00+09:00", "2020-11-12T18:30:00+09:00")
    assert slot("18:30 10:00 10:00", "Asia/Seoul", now) == expected


@pytest.mark.parametrize(
    ("times", "zone", "now", "since", "until"),
    [
        # Clocks go forward: the offset changes, and the stretch is an hour shorter.
        ("10:00", "America/New_York", "2026-03-08T15:00Z", "2026-03-07T10:00:00-05:00", "2026-03-08T10:00:00-04:00"),
        # 02:30 does not exist on that day: it is left out, and the next run is about two days.
        ("02:30", "America/New_York", "2026-03-08T12:00Z", "2026-03-06T02:30:00-05:00", "2026-03-07T02:30:00-05:00"),
        ("02:30", "America/New_York", "2026-03-09T12:00Z", "2026-03-07T02:30:00-05:00", "2026-03-09T02:30:00-04:00"),
        # Clocks go back: 01:30 comes twice and counts once, the first time.
        ("01:30", "America/New_York", "2026-11-01T05:29Z", "2026-10-30T01:30:00-04:00", "2026-10-31T01:30:00-04:00"),
        ("01:30", "America/New_York", "2026-11-01T05:30Z", "2026-10-31T01:30:00-04:00", "2026-11-01T01:30:00-04:00"),
        ("01:30", "America/New_York", "2026-11-01T06:30Z", "2026-10-31T01:30:00-04:00", "2026-11-01T01:30:00-04:00"),
        ("01:30", "America/New_York", "2026-11-02T06:30Z", "2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"),
        # Samoa left out a whole day.
        ("10:00", "Pacific/Apia", "2011-12-30T21:00Z", "2011-12-29T10:00:00-10:00", "2011-12-31T10:00:00+14:00"),
        # Half an hour: Lord Howe has no 02:15 on that day.
        ("02:15", "Australia/Lord_Howe", "2026-10-04T00:00Z", "2026-10-02T02:15:00+10:30", "2026-10-03T02:15:00+10:30"),
    ],
)
def test_slots_where_the_clocks_change(times: str, zone: str, now: str, since: str, until: str) -> None:
    assert slot(times, zone, now) == (since, until)


@pytest.mark.parametrize(
    "zone",
    [
        "America/New_York",
        *(pytest.param(zone, marks=pytest.mark.slow) for zone in ("Asia/Seoul", "Europe/Paris", "Australia/Lord_Howe")),
    ],
)
@pytest.mark.parametrize("times", ["10:00", "02:30 01:30", "00:00 23:00"])
def test_the_stretches_of_a_year_touch_and_none_overlaps(zone: str, times: str) -> None:
    source = Source.of("S", times.split(), zone)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    slots = [source.slot(start + timedelta(hours=step)) for step in range(366 * 24)]
    each = [after for before, after in pairwise(slots) if after != before]
    assert len(each) >= 364 * len(times.split())
    assert all(found.since < found.until for found in each)
    assert all(later.since == earlier.until for earlier, later in pairwise(each))


@pytest.mark.parametrize(
    ("name", "times", "zone", "said"),
    [
        ("order digest", ["10:00"], "Asia/Seoul", "a source's name must be 1 to 40 letters and digits"),
        ("", ["10:00"], "Asia/Seoul", "a source's name must be 1 to 40 letters and digits"),
        ("S", [], "Asia/Seoul", "a source's times must be a list such as ['10:00', '18:30'], not []"),
        ("S", "10:00", "Asia/Seoul", "a source's times must be a list such as ['10:00', '18:30'], not '10:00'"),
        ("S", ["24:00"], "Asia/Seoul", "a source's times must be a list"),
        ("S", ["9:00"], "Asia/Seoul", "a source's times must be a list"),
        ("S", ["10:00"], "Seoul", "a source's timezone must be an IANA name such as Asia/Seoul, not 'Seoul'"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_a_sentence(name: str, times: Any, zone: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        Source.of(name, times, zone)
    assert str(raised.value).startswith(said)


# --- one run


class Ask:
    """A function of the user's that answers what it is told to. `asked` is what it got."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, asked: dict[str, Any]) -> object:
        self.asked.append(asked)
        return self.answers.pop(0)


def run(sqs: Any, settings: Settings, *answers: object, at: datetime = TEN) -> dict[str, Any]:
    ask = Ask(*answers)
    return [source_function.run(SEOUL, SEOUL.slot(at), ask, at, sqs, settings) for _ in answers][-1]


def nameless(address: str, **fields: Any) -> dict[str, Any]:
    given = order("", address=address, **fields)
    del given["id"]
    return given


def test_r6_the_order_digest_is_accepted_at_ten(sqs: Any, settings: Settings) -> None:
    result = source_function.run(SEOUL, SEOUL.slot(TEN), lambda asked: digest.handler(asked, None), TEN, sqs, settings)
    assert result == {"until": "2020-11-12T10:00:00+09:00", "accepted": 2, "invalid": 0}
    found = take_notifications(sqs, settings.notification_queue_url)
    assert {each["address"]: each["content"]["body"] for each in found} == {
        "seller-1": "주문 2건, 합계 153,900원",
        "seller-2": "주문 1건, 합계 58,000원",
    }


def test_each_order_is_in_one_digest() -> None:
    """An order of the very instant at which one stretch ends belongs to the next one."""
    counted = 0
    for day in range(10, 15):
        slot = SEOUL.slot(datetime(2020, 11, day, 3, tzinfo=UTC))
        asked = {"since": slot.since.isoformat(), "until": slot.until.isoformat()}
        counted += sum(int(each["content"]["body"][3]) for each in digest.handler(asked, None))
    assert counted == len(digest.read_orders()) == 5


def test_the_function_is_told_its_stretch_of_time(sqs: Any, settings: Settings) -> None:
    ask = Ask([])
    source_function.run(SEOUL, SEOUL.slot(TEN), ask, TEN, sqs, settings)
    since, until = "2020-11-11T10:00:00+09:00", "2020-11-12T10:00:00+09:00"
    assert ask.asked == [{"source": "OrderDigest", "since": since, "until": until}]


def test_a_second_run_for_the_same_time_asks_with_the_same_ids_even_if_the_content_has_changed(
    sqs: Any, settings: Settings
) -> None:
    later = nameless("seller-1", content={"body": "주문이 하나 더 있습니다"})
    run(sqs, settings, [nameless("seller-1"), nameless("seller-2")], [nameless("seller-2"), later])
    ids = [each["id"] for each in take_notifications(sqs, settings.notification_queue_url)]
    assert ids[0] == ids[3]
    assert ids[1] == ids[2]
    assert all(re.fullmatch("source:OrderDigest:2020-11-12T10:00:[0-9a-f]{32}", id) for id in ids)


def test_the_next_day_has_other_ids(sqs: Any, settings: Settings) -> None:
    for at in (TEN, TEN + timedelta(days=1)):
        run(sqs, settings, [nameless("seller-1")], at=at)
    assert len({each["id"] for each in take_notifications(sqs, settings.notification_queue_url)}) == 2


def test_both_readings_of_a_time_that_comes_twice_have_one_id(sqs: Any, settings: Settings) -> None:
    source = Source.of("Late", ["01:30"], "America/New_York")
    for at in ("2026-11-01T05:30:00+00:00", "2026-11-01T06:30:00+00:00"):
        now = datetime.fromisoformat(at)
        source_function.run(source, source.slot(now), Ask([nameless("seller-1")]), now, sqs, settings)
    first, second = take_notifications(sqs, settings.notification_queue_url)
    assert first["id"] == second["id"]


def test_several_for_one_address_stay_apart_and_an_own_id_stays(sqs: Any, settings: Settings) -> None:
    run(sqs, settings, [nameless("seller-1"), nameless("seller-1"), order("order-7:digest")])
    ids = [each["id"] for each in take_notifications(sqs, settings.notification_queue_url)]
    assert ids[1] == f"{ids[0]}:2"
    assert ids[2] == "order-7:digest"


def test_the_longest_name_makes_a_valid_id(sqs: Any, settings: Settings) -> None:
    source = Source.of("S" * 40, ["10:00"], "Asia/Seoul")
    ask = Ask([nameless("seller-1")] * 1000)
    assert source_function.run(source, source.slot(TEN), ask, TEN, sqs, settings)["accepted"] == 1000


def test_what_is_not_valid_goes_to_dead_letter_with_its_reason_and_the_rest_is_accepted(
    sqs: Any, settings: Settings
) -> None:
    result = run(sqs, settings, [order("fax", channel="fax"), "no notification", order("fine"), order("campaign:1")])
    assert (result["accepted"], result["invalid"]) == (1, 3)
    assert [each["id"] for each in take_notifications(sqs, settings.notification_queue_url)] == ["fine"]
    reasons = {
        letter["Body"]: text_attributes(letter)["reason"] for letter in take(sqs, settings.dead_letter_queue_url)
    }
    assert len(reasons) == 3
    assert all(reason.startswith("invalid: ") for reason in reasons.values())


@pytest.mark.parametrize("answer", [None, {}, {"notifications": []}, "text", 7])
def test_an_answer_that_is_no_array_fails_so_that_it_is_seen(sqs: Any, settings: Settings, answer: object) -> None:
    with pytest.raises(SourceFailed, match="did not return an array of notifications"):
        run(sqs, settings, answer)


def test_a_queue_that_takes_nothing_fails_so_that_the_run_is_tried_again(
    sqs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_function, "send", lambda *_: {0: "InternalError"})
    with pytest.raises(SourceFailed, match="SQS did not take everything \\(InternalError\\)"):
        run(sqs, settings, [order("o")])


# --- the handler


class Functions:
    """Lambda, with one function that answers as told."""

    def __init__(self, answer: object, error: str | None = None) -> None:
        self.answer, self.error = answer, error
        self.asked: list[dict[str, Any]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        self.asked.append(json.loads(Payload) | {"name": FunctionName})
        if isinstance(self.answer, Exception):
            raise self.answer
        payload = io.BytesIO(json.dumps(self.answer).encode())
        return {"Payload": payload} | ({"FunctionError": self.error} if self.error else {})


@pytest.fixture
def handle(sqs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[Functions, Any], Any]:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    described = {"name": "OrderDigest", "times": ["10:00"], "timezone": "Asia/Seoul", "function": "arn:digest"}
    monkeypatch.setenv(source_function.VARIABLE, json.dumps(described))

    def call(functions: Functions, event: Any) -> Any:
        monkeypatch.setattr(source_function, "_clients", lambda: (sqs, functions))
        context: Any = SimpleNamespace(aws_request_id="r")
        return source_function.handler(event, context)

    return call


def test_the_run_is_for_the_time_that_the_schedule_names_and_not_for_now(handle: Any) -> None:
    functions = Functions([order("o")])
    answer = handle(functions, {"scheduled_at": "2020-11-12T01:00:00Z"})
    assert answer == {"until": "2020-11-12T10:00:00+09:00", "accepted": 1, "invalid": 0}
    (asked,) = functions.asked
    assert (asked["name"], asked["until"]) == ("arn:digest", "2020-11-12T10:00:00+09:00")


def test_by_hand_the_run_is_for_the_latest_time(handle: Any) -> None:
    before = datetime.now(UTC)
    until = datetime.fromisoformat(handle(Functions([]), {})["until"])
    assert SEOUL.slot(before).until <= until <= SEOUL.slot(datetime.now(UTC)).until


def test_a_function_that_fails_is_an_error_that_names_its_type_and_shows_no_text(handle: Any) -> None:
    functions = Functions({"errorType": "KeyError", "errorMessage": "010-1234-5678"}, "Unhandled")
    with pytest.raises(SourceFailed) as raised:
        handle(functions, {})
    assert str(raised.value) == "the function failed with KeyError"


def test_a_function_that_does_not_answer_in_time_is_an_error_and_is_not_invoked_twice(handle: Any) -> None:
    functions = Functions(ReadTimeoutError(endpoint_url="https://lambda"))
    with pytest.raises(HandlerFailed, match="ReadTimeoutError"):
        handle(functions, {})
    assert len(functions.asked) == 1


def test_the_client_waits_for_as_long_as_the_users_function_may_take_and_tries_once(
    sqs: Any,
) -> None:
    source_function._clients.cache_clear()
    _, functions = source_function._clients()
    source_function._clients.cache_clear()
    config = functions.meta.config
    assert config.read_timeout == source_function.ANSWERS_WITHIN_S
    assert config.retries["total_max_attempts"] == 1


def test_advertising_of_a_source_needs_its_label_like_any_other(sqs: Any, settings: Settings) -> None:
    labelled = replace(settings, advertising_label=True)
    bare = advertising("bare", content={"body": "세일"})
    source_function.run(SEOUL, SEOUL.slot(TEN), Ask([bare]), TEN, sqs, labelled)
    (letter,) = take(sqs, settings.dead_letter_queue_url)
    assert "(광고)" in text_attributes(letter)["reason"]
