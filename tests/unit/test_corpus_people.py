"""Who may say what about a consent, and which of two statements counts: small inputs, each with its right value."""

from __future__ import annotations

import io
import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas import registrar
from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.api.status import look_up
from lambdas.quiet_hours.consents.record import Record, amended, renotified
from lambdas.quiet_hours.consents.statement import Statement, renotification, statement
from lambdas.quiet_hours.errors import Invalid, StatementRefused
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.notification.label import label_faults
from lambdas.quiet_hours.notification.notification import consent_keys
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import history, read_record
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import CLOCK_SKEW
from operators.consent_csv import read_rows
from operators.consents import ConsentTables
from tests.helpers.aws import (
    DAY,
    NIGHT,
    dynamodb,
    notification,
    put_consent,
    record,
    settings,
    sqs,
    take,
    text_attributes,
)
from tests.helpers.delivery_world import SETTINGS, Clock, Provider, Queues, World, accepted
from tests.helpers.web import answered, http

__all__ = ["dynamodb", "settings", "sqs"]

SEOUL = ZoneInfo("Asia/Seoul")
AT = NIGHT - timedelta(days=1)
ENDS_SOON, ENDS_LATE = "2020-12-01T00:00:00.000+00:00", "2021-12-01T00:00:00.000+00:00"


def said(night: bool = False, out: bool = False, evidence: str = "web form", **fields: Any) -> Statement:
    return Statement(night, out, evidence, **{"made_at": AT} | fields)


def after_all(*statements: Statement, now: datetime = NIGHT) -> Record:
    """The record after statements that arrive in this order. Those that are refused change nothing."""
    record = None
    for each in statements:
        try:
            record = amended(record, "user-42", each, now, SEOUL)
        except StatementRefused:
            continue
    assert record is not None
    return record


def allows(record: Record) -> tuple[bool, bool, str]:
    return record.night_consent, record.opted_out, record.expires_at


# --- two statements of one instant

IN, OUT, NIGHT_TOO, NO_NIGHT = said(), said(out=True), said(night=True), said(evidence="call")
SOON, LATE = said(night=True, expires_at=ENDS_SOON), said(night=True, expires_at=ENDS_LATE)

AT_ONE_INSTANT = {
    "opt-in and opt-out": ([NIGHT_TOO, OUT], (False, True, "")),
    "opt-in by day and opt-out": ([IN, OUT], (False, True, "")),
    "night consent and none": ([NIGHT_TOO, NO_NIGHT], (False, False, "")),
    "night consent with an end and without": ([NIGHT_TOO, SOON], (True, False, ENDS_SOON)),
    "night consent with two ends": ([LATE, SOON], (True, False, ENDS_SOON)),
    "each restricts something": ([said(night=True, out=True), NO_NIGHT], (False, True, "")),
    "three statements": ([NIGHT_TOO, NO_NIGHT, OUT], (False, True, "")),
    "four statements": ([NIGHT_TOO, LATE, SOON, OUT], (False, True, "")),
    "the same twice, and an opt-out": ([NIGHT_TOO, NIGHT_TOO, OUT], (False, True, "")),
}


@pytest.mark.parametrize("name", AT_ONE_INSTANT)
def test_of_two_statements_of_one_instant_what_restricts_counts_in_any_order(name: str) -> None:
    statements, right = AT_ONE_INSTANT[name]
    for order in permutations(statements):
        night, out, ends = allows(after_all(*order))
        assert (night, out) == right[:2]
        assert not night or ends == right[2]


@pytest.mark.parametrize("first", [NIGHT_TOO, OUT])
@pytest.mark.parametrize("second", [NIGHT_TOO, OUT])
def test_statements_of_one_instant_may_come_again(first: Statement, second: Statement) -> None:
    record = after_all(first, second)
    assert after_all(first, second, first, second, second) == record


def test_a_later_statement_counts_although_two_of_one_instant_came_before() -> None:
    record = after_all(NIGHT_TOO, OUT, said(night=True, made_at=AT + timedelta(milliseconds=1), evidence="again"))
    assert allows(record) == (True, False, "")


def test_an_earlier_statement_does_not_count_after_two_of_one_instant() -> None:
    record = after_all(IN, NIGHT_TOO, said(out=True, made_at=AT - timedelta(milliseconds=1)))
    assert allows(record) == (False, False, "")


def test_an_opt_out_counts_at_the_very_instant_of_a_renotification() -> None:
    record = renotified(after_all(said(night=True, made_at=AT - timedelta(days=1))), AT, NIGHT, SEOUL)
    changed = amended(record, "user-42", OUT, NIGHT, SEOUL)
    assert changed.opted_out
    assert changed.changed_at != changed.renotified_at


def test_an_opt_in_at_the_very_instant_of_a_renotification_is_refused() -> None:
    record = renotified(after_all(said(made_at=AT - timedelta(days=1))), AT, NIGHT, SEOUL)
    with pytest.raises(StatementRefused, match="then only what restricts counts"):
        amended(record, "user-42", NIGHT_TOO, NIGHT, SEOUL)


@pytest.mark.parametrize("order", list(permutations([NIGHT_TOO, NO_NIGHT, OUT])))
def test_the_table_and_the_history_keep_statements_of_one_instant(
    dynamodb: Any, settings: Settings, order: tuple[Statement, ...]
) -> None:
    for each in order:

        def decided(record: Record | None, each: Statement = each) -> Record:
            return amended(record, "user-42", each, NIGHT, SEOUL)

        try:
            status, _ = registrar.change("user-42", "changed", each.evidence, decided, NIGHT, dynamodb, settings)
        except StatementRefused:
            continue
        assert status == 200
    record = read_record(dynamodb, settings.consent_table, "user-42")
    assert record is not None
    assert record.opted_out
    entries = history(dynamodb, settings.consent_history_table, "user-42", 10)
    assert entries[0]["opted_out"]
    assert len({entry["changed_at"] for entry in entries}) == len(entries)


def renotified_twice(ask: Any) -> str:
    """The instant of the first of two renotifications of user-42."""
    first, second = AT.isoformat(), (AT + timedelta(hours=1)).isoformat()
    agreed = {"night_consent": True, "opted_out": False, "evidence": "web form"}
    assert ask("PUT", agreed | {"changed_at": (AT - timedelta(days=1)).isoformat()})[0] == 200
    for instant in (first, second):
        assert ask("POST", {"evidence": "mail", "renotified_at": instant})[0] == 200
    return first


@pytest.fixture
def ask(dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(registrar, "_client", lambda: dynamodb)
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)

    def call(method: str, body: object = None) -> tuple[int, Any]:
        path = "/consents/user-42" + ("/renotified" if method == "POST" else "")
        return answered(registrar.handler(http(method, path, body and json.dumps(body)), None))  # type: ignore[arg-type]

    return call


SAID_AT_IT = [
    {"night_consent": False, "opted_out": True, "evidence": "080 number"},
    {"night_consent": False, "opted_out": False, "evidence": "call"},
    {"night_consent": True, "opted_out": False, "evidence": "another form"},
]


@pytest.mark.parametrize("statement_at_it", SAID_AT_IT)
def test_a_statement_of_the_instant_of_an_older_renotification_counts(ask: Any, statement_at_it: Any) -> None:
    request = statement_at_it | {"changed_at": renotified_twice(ask)}
    status, answer = ask("PUT", request)
    assert status == 200
    assert answer["changed_at"] == (AT + timedelta(milliseconds=1)).astimezone(UTC).isoformat(timespec="milliseconds")
    assert ask("PUT", request) == (200, answer), "the same statement again changes nothing"
    _, found = ask("GET")
    assert [each["event"] for each in found["history"]] == ["renotified", "changed", "renotified", "changed"]
    assert {name: found[name] for name in statement_at_it} == statement_at_it


def test_an_imported_statement_of_the_instant_of_an_older_renotification_counts(
    ask: Any, dynamodb: Any, settings: Settings
) -> None:
    instant = renotified_twice(ask)
    tables = ConsentTables(dynamodb, settings.consent_table, settings.consent_history_table, SEOUL)
    header = "recipient_id,night_consent,opted_out,changed_at,evidence"
    row = f"user-42,false,true,{instant},080 number"
    rows = list(read_rows(io.BytesIO(f"{header}\n{row}".encode()), NIGHT))
    assert tables.apply(rows, NIGHT).counts["written"] == 1  # type: ignore[arg-type]
    assert tables.apply(rows, NIGHT).counts["unchanged"] == 1  # type: ignore[arg-type]
    assert ask("GET")[1]["opted_out"]


# --- clocks that disagree

REQUEST = {"night_consent": False, "opted_out": True, "evidence": "080 number"}


@pytest.mark.parametrize("ahead", [timedelta(milliseconds=1), timedelta(seconds=1), CLOCK_SKEW])
def test_a_statement_of_a_clock_that_runs_ahead_is_made_now(ahead: timedelta) -> None:
    made = statement(REQUEST | {"changed_at": (NIGHT + ahead).isoformat()}, NIGHT)
    assert made.made_at is None
    assert renotification({"evidence": "mail", "renotified_at": (NIGHT + ahead).isoformat()}, NIGHT)[1] is None
    assert amended(None, "user-42", made, NIGHT, SEOUL).changed_at == NIGHT.astimezone(UTC).isoformat(
        timespec="milliseconds"
    )


def test_an_opt_out_of_a_clock_that_runs_ahead_counts_against_a_record_of_another_such_clock() -> None:
    record = after_all(replace(NIGHT_TOO, made_at=None), now=NIGHT + timedelta(seconds=2))
    made = statement(REQUEST | {"changed_at": (NIGHT + timedelta(seconds=1)).isoformat()}, NIGHT)
    assert amended(record, "user-42", made, NIGHT, SEOUL).opted_out


def test_a_consent_of_a_clock_that_runs_ahead_does_not_undo_an_opt_out_that_was_made_after_it() -> None:
    out = statement(REQUEST | {"changed_at": (NIGHT + timedelta(seconds=2)).isoformat()}, NIGHT)
    record = amended(None, "user-42", out, NIGHT, SEOUL)
    agreed = {"night_consent": True, "opted_out": False, "evidence": "web form"}
    soon = NIGHT + timedelta(milliseconds=50)
    before = statement(agreed | {"changed_at": (NIGHT + timedelta(seconds=1)).isoformat()}, soon)
    with pytest.raises(StatementRefused):
        amended(record, "user-42", before, soon, SEOUL)


@pytest.mark.parametrize("ahead", [CLOCK_SKEW + timedelta(milliseconds=1), timedelta(minutes=1), timedelta(days=365)])
def test_a_statement_from_the_future_is_refused(ahead: timedelta) -> None:
    with pytest.raises(Invalid, match="changed_at: must lie between 2000-01-01 and now"):
        statement(REQUEST | {"changed_at": (NIGHT + ahead).isoformat()}, NIGHT)


# --- a recipient and an address, each with a record or without

PHONE = "+821012345678"
AGREED, BY_DAY, OPTED_OUT = {"night_consent": True}, {"night_consent": False}, {"opted_out": True}

UNDER_TWO_KEYS = {
    # the recipient's record, the address's record: at night, by day
    "neither has a record": (None, None, "hold", "send"),
    "the recipient agreed to the night": (AGREED, None, "send", "send"),
    "the address agreed to the night": (None, AGREED, "send", "send"),
    "both agreed": (AGREED, AGREED, "send", "send"),
    "only the recipient agreed": (AGREED, BY_DAY, "hold", "send"),
    "only the address agreed": (BY_DAY, AGREED, "hold", "send"),
    "the recipient opted out": (OPTED_OUT, None, "opted_out", "opted_out"),
    "the address opted out": (None, OPTED_OUT, "opted_out", "opted_out"),
    "the address opted out, the recipient agreed": (AGREED, OPTED_OUT, "opted_out", "opted_out"),
    "the recipient opted out, the address agreed": (OPTED_OUT, AGREED, "opted_out", "opted_out"),
    "both opted out": (OPTED_OUT, OPTED_OUT, "opted_out", "opted_out"),
}


@pytest.fixture
def two_records(
    request: pytest.FixtureRequest, dynamodb: Any, settings: Settings
) -> tuple[dict[str, bool] | None, dict[str, bool] | None, str, str]:
    recipient, address, at_night, by_day = UNDER_TWO_KEYS[request.param]
    for key, flags in (("user-42", recipient), (PHONE, address)):
        if flags is not None:
            put_consent(dynamodb, key, **flags)
    return recipient, address, at_night, by_day


ADVERT = {"channel": "sms", "address": "010-1234-5678", "recipient_id": "user-42", "category": "advertising"}


@pytest.mark.parametrize("at", [NIGHT, DAY])
@pytest.mark.parametrize("two_records", UNDER_TWO_KEYS, indirect=True)
def test_the_worker_asks_under_both_keys(dynamodb: Any, settings: Settings, two_records: Any, at: datetime) -> None:
    right = two_records[2 if at == NIGHT else 3]
    clock = Clock(at)
    world = World(dynamodb, clock, Queues(clock), Provider(clock), settings.quiet_hours())
    world.invoke(accepted("a", **ADVERT | {"address": PHONE}, expires_at=(at + timedelta(days=1)).isoformat()))
    assert world.state("a") == {"send": "delivered", "hold": ""}.get(right, right)
    assert world.on("wait") == ([["a"]] if right == "hold" else [])
    assert world.provider.ids == (["a"] if right == "send" else [])


@pytest.mark.parametrize("two_records", UNDER_TWO_KEYS, indirect=True)
def test_the_consumer_the_forecast_and_the_state_ask_under_both_keys(
    sqs: Any, dynamodb: Any, settings: Settings, two_records: Any
) -> None:
    right = two_records[2]
    policy = settings.quiet_hours()
    wanted = notification(id="a", **ADVERT)
    _, answer = accept_all(wanted, NIGHT, sqs, dynamodb, settings, policy, str)
    assert answer["accepted"][0]["decision"] == ("hold" if right == "hold" else "send")

    recording = replace(settings, record_held=True)
    _, counts = consume([record(to_text(wanted))], NIGHT, sqs, dynamodb, recording, policy)
    assert counts["held"] == (right == "hold")
    if right == "hold":
        ledger = Ledger(dynamodb, settings.ledger_table, "api", timedelta(minutes=2))
        put_consent(dynamodb, PHONE, opted_out=True)
        _, state = look_up("a", NIGHT, dynamodb, ledger, recording, policy)
        assert state["rule"]["decision"] == "opted_out"


@pytest.mark.parametrize("channel", ["webhook", "log", "push"])
@pytest.mark.parametrize("written", ["010-1234-5678", "+821012345678", "+82-10-1234-5678"])
def test_an_opt_out_counts_for_an_address_in_any_form(
    dynamodb: Any, settings: Settings, channel: str, written: str
) -> None:
    put_consent(dynamodb, PHONE, opted_out=True)
    clock = Clock(DAY)
    world = World(dynamodb, clock, Queues(clock), Provider(clock), settings.quiet_hours())
    world.invoke(
        accepted("a", channel=channel, address=written, category="advertising"),
        accepted("b", channel=channel, address=written, category="advertising", recipient_id="user-42"),
    )
    assert (world.state("a"), world.state("b"), world.provider.ids) == ("opted_out", "opted_out", [])


def test_the_same_recipient_and_address_are_one_key() -> None:
    given = {"channel": "sms", "address": PHONE}
    assert consent_keys(given) == consent_keys(given | {"recipient_id": "010 1234 5678"}) == (PHONE,)  # type: ignore[arg-type]
    assert consent_keys(given | {"recipient_id": "user-42"}) == ("user-42", PHONE)  # type: ignore[arg-type]


# --- a text that says that it is advertising, under another category

SAYS_ADVERTISING = [
    {"body": "(광고) 가을 세일"},
    {"title": "(광고) 가을 세일", "body": "30% 할인"},
    {"title": "가을 세일", "body": "(광고) 30% 할인"},
    {"title": "(광고)", "template": "t-1"},
    {"body": " (광고) 가을 세일"},
    {"body": "\n(광고) 가을 세일"},
    {"body": "\u200b(광고) 가을 세일"},
    {"body": "\ufeff(광고) 가을 세일"},
    {"body": "\u00a0(광고) 가을 세일"},
    {"body": "★(광고) 가을 세일"},
    {"body": "(광고)가을 세일"},
    {"body": "(광 고) 가을 세일"},
    {"body": "( 광고 ) 가을 세일"},
    {"body": "(광/고) 가을 세일"},
    {"body": "(광.고) 가을 세일"},
    {"body": "(광\u200b고) 가을 세일"},
    {"body": "\uff08광고\uff09 가을 세일"},
    {"body": "[광고] 가을 세일"},
    {"body": "【광고】 가을 세일"},
    {"body": "<광고> 가을 세일"},
    {"body": unicodedata.normalize("NFD", "(광고) 가을 세일")},
    # other brackets
    {"body": "\uff3b광고\uff3d 가을 세일"},
    {"body": "\uff1c광고\uff1e 가을 세일"},
    {"body": "\u3016광고\u3017 가을 세일"},
    {"body": "{광고} 가을 세일"},
    {"body": "\uff62광고\uff63 가을 세일"},
    {"body": "\u2329광고\u232a 가을 세일"},
    {"body": "\u276a광고\u276b 가을 세일"},
    {"body": "\u2039광고\u203a 가을 세일"},
    {"body": "((광고)) 가을 세일"},
    {"body": "[(광고)] 가을 세일"},
    # without the first bracket
    {"body": "광고) 가을 세일"},
    {"body": "광고] 가을 세일"},
    {"body": "광고\uff09 가을 세일"},
    {"body": "★광고) 가을 세일"},
    # what a network or a mail program puts before it
    {"body": "[Web발신]\n(광고) 가을 세일"},
    {"body": "[web발신](광고) 가을 세일"},
    {"body": "(Web 발신) (광고) 가을 세일"},
    {"body": "\uff3bＷｅｂ발신\uff3d\n(광고) 가을 세일"},
    {"body": "[웹발신]\n광고) 가을 세일"},
    {"body": "[국외발신]\n(광고) 가을 세일"},
    {"body": "[국제발신] [광고] 가을 세일"},
    {"body": "[Web발신]\n" + "\n" * 200 + "(광고) 가을 세일"},
    {"title": "Re: (광고) 가을 세일", "body": "30% 할인"},
    {"title": "RE: RE: (광고) 가을 세일", "body": "30% 할인"},
    {"title": "Re[2]: (광고) 가을 세일", "body": "30% 할인"},
    {"title": "Fwd: (광고) 가을 세일", "body": "30% 할인"},
    {"title": "FW : (광고) 가을 세일", "body": "30% 할인"},
    {"title": "회신: (광고) 가을 세일", "body": "30% 할인"},
    {"title": "전달: [Web발신] (광고) 가을 세일", "body": "30% 할인"},
    # what nobody sees
    *(
        {"body": f"{filler}(광고) 가을 세일"}
        for filler in "\u3164\u115f\u1160\uffa0\u200b\u2060\ufeff\u2800\u00ad\u034f"
    ),
    {"body": "\u3164" * 70 + "(광고) 가을 세일"},
    {"body": "(\u3164광\u115f고\uffa0) 가을 세일"},
    {"body": "\u3164광고) 가을 세일"},
    {"body": " " * 64 + "(광고) 가을 세일"},
    {"body": " " * 9000 + "(광고) 가을 세일"},
    {"body": "\n" * 500 + "광고) 가을 세일"},
    {"body": "★" * 100 + "(광고) 가을 세일"},
]

SAYS_NOTHING_OF_IT = [
    {"body": "주문하신 상품이 출발했습니다"},
    {"body": "광고 수신 동의가 철회되었습니다"},
    {"body": "(광고수신) 설정이 바뀌었습니다"},
    {"body": "(공지) (광고) 문자를 받지 않으시려면 설정에서 바꾸세요"},
    {"body": "고객님은 (광고) 문자를 받지 않습니다"},
    {"body": "(광주고) 동창회"},
    {"title": "안내", "body": "(ad) 0830"},
    {"template": "(광고) t-1"},
    {"body": "광고 안내드립니다"},
    {"body": "광고"},
    {"body": "광고: 수신 동의가 철회되었습니다"},
    {"body": "광고 > 알림 설정에서 바꾸실 수 있습니다"},
    {"body": "광고 ) 를 눌러 주세요"},
    {"body": "(광고성 정보) 수신 동의가 철회되었습니다"},
    {"body": "(광고 수신 동의) 처리 결과"},
    {"body": "(광고, 알림) 설정이 바뀌었습니다"},
    {"body": "광고주님, 정산이 끝났습니다"},
    {"body": '"광고" 문자를 더는 받지 않습니다'},
    {"body": "[Web발신]\n광고 안내드립니다"},
    {"body": "[Web발신]\n결제 완료 (광고)"},
    {"body": "[온결] 주문 완료"},
    {"title": "Re: 광고 문의", "body": "답변드립니다"},
    {"title": "Re: 결제 (광고)", "body": "답변드립니다"},
    {"title": "문의: (광고) 문자를 받았습니다", "body": "답변드립니다"},
    {"body": " " * 100 + "광고 안내드립니다"},
    {"body": "\u3164\u200b"},
    {"body": "ㅤ" * 9999},
]


@pytest.mark.parametrize("category", ["informational", "critical"])
@pytest.mark.parametrize("content", SAYS_ADVERTISING)
def test_a_text_that_begins_with_the_label_is_advertising(
    settings: Settings, content: dict[str, str], category: str
) -> None:
    labelling = replace(settings, advertising_label=True)
    wanted: Any = {"category": category, "content": content}
    (fault,) = label_faults(wanted, labelling)
    assert fault.startswith(f"category: is {category}, but ")
    assert fault.endswith("begins with (광고)")
    assert label_faults(wanted, settings) == []  # the setting is off
    assert label_faults(wanted, replace(labelling, policy="strict")) == []


@pytest.mark.parametrize("category", ["informational", "critical"])
@pytest.mark.parametrize("content", SAYS_NOTHING_OF_IT)
def test_a_text_that_does_not_begin_with_the_label_may_be_of_any_category(
    settings: Settings, content: dict[str, str], category: str
) -> None:
    wanted: Any = {"category": category, "content": content}
    assert label_faults(wanted, replace(settings, advertising_label=True)) == []


def test_such_a_contradiction_is_refused_at_every_way_in(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    labelling = replace(settings, advertising_label=True)
    wanted = notification(id="a", category="informational", content={"body": "(광고) 가을 세일"})
    policy = labelling.quiet_hours()
    _, answer = accept_all(wanted, NIGHT, sqs, dynamodb, labelling, policy, str)
    assert answer["rejected"][0]["errors"] == ["category: is informational, but body begins with (광고)"]
    consume([record(to_text(wanted))], NIGHT, sqs, dynamodb, labelling, policy)
    (letter,) = take(sqs, settings.dead_letter_queue_url)
    assert text_attributes(letter)["reason"] == "invalid: category: is informational, but body begins with (광고)"


@given(text=st.text(max_size=200))
def test_looking_for_the_label_is_quick_for_any_text(text: str) -> None:
    settings = replace(SETTINGS, advertising_label=True)
    wanted: Any = {"category": "critical", "content": {"body": text + "(" * 9000}}
    assert label_faults(wanted, settings) == [] or "광" in unicodedata.normalize("NFKC", text)
