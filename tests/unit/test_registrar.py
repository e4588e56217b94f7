"""The registrar: the latest statement counts, with its evidence; and who must be notified again, and by when."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from lambdas import registrar
from lambdas.quiet_hours.consents.record import Record, amended, due_after, renotified
from lambdas.quiet_hours.consents.statement import Statement
from lambdas.quiet_hours.errors import StatementRefused
from lambdas.quiet_hours.notification.addresses import canonical_recipient
from lambdas.quiet_hours.notification.notification import accept, recipient_of
from lambdas.quiet_hours.rule.terms import Consent
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import (
    CHANGES_MAX,
    Change,
    due,
    read_consents,
    read_record,
    read_records,
    write,
)
from lambdas.quiet_hours.timings import REGISTRAR_TIMEOUT_S
from tests.helpers.aws import DAY, NIGHT, Faulty, dynamodb, fail, notification, put_consent, settings, sqs
from tests.helpers.leaks import PHONE, leaks, logged
from tests.helpers.web import answered, http

__all__ = ["dynamodb", "settings", "sqs"]

SEOUL = ZoneInfo("Asia/Seoul")
YES = Statement(night_consent=True, opted_out=False, evidence="web form")
NO = Statement(night_consent=False, opted_out=False, evidence="call to the hotline")
OUT = Statement(night_consent=False, opted_out=True, evidence="080 number")


def after(record: Record | None, said: Statement, now: datetime = NIGHT) -> Record:
    return amended(record, "user-42", said, now, SEOUL)


# --- what counts


def test_what_is_said_first_is_the_record() -> None:
    assert after(None, YES) == Record(
        "user-42", True, False, "2020-11-11T12:03:00.000+00:00", "web form", renotify_due="2022-11-11"
    )


def test_what_is_said_last_counts() -> None:
    record = after(after(None, YES), NO, NIGHT + timedelta(hours=5))
    assert (record.night_consent, record.evidence) == (False, "call to the hotline")


def test_saying_the_same_again_changes_nothing() -> None:
    record = after(None, YES)
    assert after(record, YES, DAY + timedelta(days=9)) is record
    assert after(record, replace(YES, made_at=NIGHT)) is record


def test_an_older_statement_does_not_undo_a_newer_one() -> None:
    record = after(None, NO)
    with pytest.raises(StatementRefused, match=r"a statement of 2020-11-11T12:03:00\.000\+00:00 stands"):
        after(record, replace(YES, made_at=NIGHT - timedelta(days=1)))
    with pytest.raises(StatementRefused):
        after(record, replace(YES, made_at=NIGHT))


def test_a_withdrawal_counts_although_the_clock_that_wrote_before_ran_ahead() -> None:
    record = after(None, YES, NIGHT + timedelta(seconds=2))
    withdrawn = after(record, OUT, NIGHT)
    assert withdrawn.opted_out
    assert withdrawn.changed_at == "2020-11-11T12:03:02.001+00:00"


BY_OTHER_MEANS = Record("user-42", night_consent=True)
ENDS = "2020-12-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (BY_OTHER_MEANS, NO),
        (BY_OTHER_MEANS, OUT),
        (BY_OTHER_MEANS, YES),
        (BY_OTHER_MEANS, replace(YES, expires_at=ENDS)),
        (replace(BY_OTHER_MEANS, expires_at=ENDS), replace(YES, expires_at=ENDS)),
    ],
)
def test_a_record_of_unknown_date_is_replaced_by_what_grants_no_more(stands: Record, said: Statement) -> None:
    assert after(stands, replace(said, made_at=DAY)).changed_at == "2020-11-11T03:00:00.000+00:00"


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        (Record("user-42", opted_out=True), NO),
        (Record("user-42", opted_out=True), YES),
        (Record("user-42", night_consent=True, opted_out=True), YES),
        (Record("user-42"), YES),
        (replace(BY_OTHER_MEANS, expires_at=ENDS), YES),
        (replace(BY_OTHER_MEANS, expires_at=ENDS), replace(YES, expires_at="2020-12-01T00:00:01.000+00:00")),
    ],
)
def test_a_record_of_unknown_date_yields_more_only_to_what_is_said_now(stands: Record, said: Statement) -> None:
    with pytest.raises(StatementRefused, match="nobody knows since when the record stands"):
        after(stands, replace(said, made_at=DAY))
    assert after(stands, said).night_consent == said.night_consent


# --- when to notify again


def test_consent_falls_due_two_years_later_by_the_recipients_calendar() -> None:
    assert due_after("2020-11-11T15:30:00.000+00:00", SEOUL) == "2022-11-12"
    assert due_after("2024-02-29T03:00:00.000+00:00", SEOUL) == "2026-02-28"


def test_the_oldest_consent_that_stands_decides_when() -> None:
    record = after(after(None, NO), YES, NIGHT + timedelta(days=100))
    assert record.renotify_due == "2022-11-11"


def test_who_has_opted_out_is_not_notified_and_starts_anew_after_opting_in() -> None:
    out = after(after(None, YES), OUT, NIGHT + timedelta(days=1))
    assert out.renotify_due == ""
    with pytest.raises(StatementRefused, match="opted out"):
        renotified(out, None, NIGHT, SEOUL)
    assert after(out, YES, NIGHT + timedelta(days=365)).renotify_due == "2023-11-11"


def test_notifying_again_starts_two_more_years_and_changes_no_consent() -> None:
    record = after(None, YES)
    told = renotified(record, None, NIGHT + timedelta(days=700), SEOUL)
    assert (told.renotify_due, told.changed_at, told.night_consent) == ("2024-10-12", record.changed_at, True)
    assert after(told, NO, NIGHT + timedelta(days=800)).renotify_due == "2024-10-12"


def test_a_notification_from_before_the_consent_counts_for_nothing() -> None:
    with pytest.raises(StatementRefused, match="must be later than the last change and the last renotification"):
        renotified(after(None, YES), NIGHT - timedelta(days=1), NIGHT, SEOUL)
    with pytest.raises(StatementRefused, match="no record"):
        renotified(None, None, NIGHT, SEOUL)


# --- the table


def put(dynamodb: Any, *changes: Change) -> bool:
    return write(dynamodb, "consent", "consent-history", changes, NIGHT)


def test_a_change_and_its_history_are_written_together_or_not_at_all(dynamodb: Any, settings: Settings) -> None:
    record = after(None, YES)
    assert put(dynamodb, Change(None, record, "changed", "web form"))
    assert read_record(dynamodb, "consent", "user-42") == record
    stale = Change(None, after(None, NO), "changed", "x")
    other = Change(None, replace(record, recipient_id="user-43"), "changed", "web form")
    assert not put(dynamodb, other, stale)
    assert read_record(dynamodb, "consent", "user-43") is None
    assert len(dynamodb.scan(TableName="consent-history")["Items"]) == 1


@pytest.mark.parametrize("between", ["changed", "renotified"])
def test_who_has_read_before_another_wrote_writes_nothing(dynamodb: Any, settings: Settings, between: str) -> None:
    record = after(None, YES)
    put(dynamodb, Change(None, record, "changed", "web form"))
    later = NIGHT + timedelta(seconds=1)
    other = renotified(record, later, later, SEOUL) if between == "renotified" else after(record, NO, later)
    assert put(dynamodb, Change(record, other, between, "x"))
    assert not put(dynamodb, Change(record, after(record, OUT, NIGHT + timedelta(hours=1)), "changed", "late"))
    assert read_record(dynamodb, "consent", "user-42") == other


def test_a_record_made_by_other_means_can_be_changed(dynamodb: Any, settings: Settings) -> None:
    put_consent(dynamodb, "user-42", night_consent=True)
    record = read_record(dynamodb, "consent", "user-42")
    assert record == Record("user-42", night_consent=True)
    assert put(dynamodb, Change(record, after(record, OUT), "changed", "080 number"))


def test_an_end_of_a_consent_survives_what_does_not_change_it(dynamodb: Any, settings: Settings) -> None:
    ends_s = int(NIGHT.timestamp()) - 1
    item = {"recipient_id": {"S": "user-42"}, "night_consent": {"BOOL": True}, "expires": {"N": str(ends_s)}}
    dynamodb.put_item(TableName="consent", Item=item)
    record = read_record(dynamodb, "consent", "user-42")
    assert record is not None
    assert put(dynamodb, Change(record, renotified(record, None, NIGHT, SEOUL), "renotified", "mail"))
    assert read_consents(dynamodb, "consent", ["user-42"], NIGHT) == {"user-42": Consent(False)}
    stored = dynamodb.get_item(TableName="consent", Key={"recipient_id": {"S": "user-42"}})["Item"]
    assert stored["expires"] == item["expires"]


@pytest.mark.parametrize(("expires", "at"), [({"S": "soon"}, "1970-01-01"), ({"N": "1e25"}, "2100-01-01")])
def test_an_end_that_is_no_time_is_read_as_the_nearest_that_is(expires: dict[str, str], at: str) -> None:
    assert Record.from_item({"recipient_id": {"S": "a"}, "expires": expires}).expires_at.startswith(at)


def test_what_the_history_says_already_is_no_obstacle(dynamodb: Any, settings: Settings) -> None:
    change = Change(None, after(None, YES), "changed", "web form")
    assert put(dynamodb, change)
    dynamodb.delete_item(TableName="consent", Key={"recipient_id": {"S": "user-42"}})
    assert not put(dynamodb, replace(change, evidence="another form"))
    later = replace(change, after=replace(change.after, renotify_due="2030-01-01"))
    assert put(dynamodb, later), "when it falls due hangs on a record that is gone"
    assert read_record(dynamodb, "consent", "user-42") == later.after


def test_fifty_changes_are_one_transaction(dynamodb: Any, settings: Settings) -> None:
    ids = [f"user-{n}" for n in range(CHANGES_MAX)]
    assert put(dynamodb, *(Change(None, amended(None, id, YES, NIGHT, SEOUL), "changed", "csv") for id in ids))
    assert read_records(dynamodb, "consent", ids).keys() == set(ids)


def test_what_the_registry_writes_is_what_the_worker_reads(dynamodb: Any, settings: Settings) -> None:
    put(dynamodb, Change(None, after(None, YES), "changed", "web form"))
    put(dynamodb, Change(None, replace(after(None, OUT), recipient_id="b"), "changed", "080"))
    found = read_consents(dynamodb, "consent", ["user-42", "b"], NIGHT)
    assert found == {"user-42": Consent(True, False), "b": Consent(False, True)}


def test_who_is_due_is_listed_by_date_across_months_and_pages(dynamodb: Any, settings: Settings) -> None:
    dates = ["2019-05-01", "2022-10-31", "2022-11-01", "2022-11-09", "2022-11-10", "2022-12-01"]
    for n, day in enumerate(dates):
        record = replace(after(None, YES), recipient_id=f"user-{n}", renotify_due=day)
        put(dynamodb, Change(None, record, "changed", "csv"))
    put(dynamodb, Change(None, replace(after(None, OUT), recipient_id="out"), "changed", "csv"))
    listed: list[str] = []
    last = None
    for _ in range(3):
        page, last = due(dynamodb, "consent", date(2022, 11, 10), 2, last)
        listed += [each["renotify_due"] for each in page]
    assert (listed, last) == (dates[:4], None)


# --- one recipient, however named


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("010-1234-5678", "+821012345678"),
        ("+82 10 1234 5678", "+821012345678"),
        ("(02) 123-4567", "+8221234567"),
        ("User@Example.COM", "user@example.com"),
        ("user-42", "user-42"),
        ("0", "0"),
        ("@home", "@home"),
        ("42", "42"),
    ],
)
def test_a_recipient_that_reads_as_an_address_is_one(typed: str, key: str) -> None:
    assert canonical_recipient(typed) == key
    accepted, _ = accept(notification(recipient_id=typed), default_id="a", now=NIGHT)
    assert recipient_of(accepted) == key


# --- the function


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, dynamodb: Any, settings: Settings) -> Callable[..., Any]:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(registrar, "_client", lambda: dynamodb)

    def call(
        method: str, path: str, body: object = None, query: str = "", client: Any = None
    ) -> tuple[int, dict[str, Any]]:
        if client:
            monkeypatch.setattr(registrar, "_client", lambda: client)
        text = None if body is None else body if isinstance(body, str | bytes) else json.dumps(body)
        return answered(registrar.handler(http(method, path, text, query), None))  # type: ignore[arg-type]

    return call


GRANT = {"night_consent": True, "opted_out": False, "evidence": "web form 2026-11"}


def test_what_is_put_is_got_with_its_history(ask: Any) -> None:
    status, put = ask("PUT", "/consents/user-42", GRANT)
    assert status == 200
    withdrawn = GRANT | {"night_consent": False, "evidence": "hotline"}
    assert ask("PUT", "/consents/user-42", withdrawn)[0] == 200
    status, got = ask("GET", "/consents/user-42")
    assert (status, got["night_consent"], got["evidence"]) == (200, False, "hotline")
    assert [(each["event"], each["night_consent"], each["evidence"]) for each in got["history"]] == [
        ("changed", False, "hotline"),
        ("changed", True, "web form 2026-11"),
    ]
    assert got["history"][1]["changed_at"] == put["changed_at"]


@pytest.mark.parametrize("path", ["010-1234-5678", "%2B821012345678", "+82%2010%201234%205678"])
def test_an_address_is_one_recipient_however_it_is_typed(ask: Any, path: str) -> None:
    ask("PUT", "/consents/010%201234%205678", GRANT)
    assert ask("GET", f"/consents/{path}")[1]["recipient_id"] == "+821012345678"


@pytest.mark.parametrize("recipient", ["a/b", "가나다", "due", "a/renotified", "x y", "a@b.kr"])
@pytest.mark.parametrize("encode", [lambda text: quote(text, safe=""), str], ids=["encoded", "decoded"])
def test_a_recipient_is_found_by_whatever_id_it_has(ask: Any, recipient: str, encode: Any) -> None:
    assert ask("PUT", f"/consents/{encode(recipient)}", GRANT)[0] == 200
    assert ask("GET", f"/consents/{encode(recipient)}")[1]["recipient_id"] == recipient
    assert ask("POST", f"/consents/{encode(recipient)}/renotified", {"evidence": "mail"})[0] == 200


@pytest.mark.parametrize("path", ["a%2525", "a%2541", "x" * 513, "%00"])
def test_a_recipient_that_cannot_be_one_is_told_so(ask: Any, path: str) -> None:
    assert ask("PUT", f"/consents/{path}", GRANT)[1]["errors"][0].startswith("recipient_id: ")


def test_nobodys_record_is_no_consent(ask: Any) -> None:
    assert ask("GET", "/consents/user-42") == (
        404,
        {"errors": ["recipient_id: has no record, and so no night consent"]},
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "request: not JSON"),
        (b"\xff", "request: not text in UTF-8"),
        ([GRANT], "request: must be a JSON object"),
        (GRANT | {"night_consent": "true"}, "night_consent: must be true or false"),
        (GRANT | {"opted_out": 0}, "opted_out: must be true or false"),
        ({"night_consent": True, "opted_out": False}, "evidence: is required"),
        (GRANT | {"evidence": ""}, "evidence: must have 1 to 256 characters"),
        (GRANT | {"evidence": "x" * 257}, "evidence: must have 1 to 256 characters"),
        (GRANT | {"changed_at": "2020-11-12"}, "changed_at: must be a time with an offset"),
        (GRANT | {"changed_at": "2999-01-01T00:00:00Z"}, "changed_at: must lie between 2000-01-01 and now"),
        (GRANT | {"changed_at": "1999-12-31T23:59:59Z"}, "changed_at: must lie between 2000-01-01 and now"),
        (GRANT | {"changed_at": "0001-01-01T00:00:00+09:00"}, "changed_at: must lie between 2000-01-01 and now"),
        (GRANT | {"expires_at": "soon"}, "expires_at: must be a time with an offset"),
        (GRANT | {"expires_at": "2100-01-01T00:00:01Z"}, "expires_at: must lie between 2000-01-01 and 2100-01-01"),
        (GRANT | {"expires_at": "2030-01-01T00:00:00.5Z"}, "expires_at: must lie between 2000-01-01 and 2100-01-01"),
        (GRANT | {"until": "x"}, "until: unknown field"),
        ('{"night_consent": true, "night_consent": false, "opted_out": false, "evidence": "x"}', "request: names a"),
    ],
)
def test_a_statement_that_cannot_be_understood_changes_nothing(
    ask: Any, dynamodb: Any, body: object, error: str
) -> None:
    status, answer = ask("PUT", "/consents/user-42", body)
    assert status == 400
    assert answer["errors"][0].startswith(error)
    assert dynamodb.scan(TableName="consent")["Items"] == []


def test_a_consent_with_an_end_is_shown_as_it_counts(ask: Any) -> None:
    status, put = ask("PUT", "/consents/user-42", GRANT | {"expires_at": "2099-01-01T00:00:00+09:00"})
    assert (status, put["night_consent"], put["expires_at"]) == (200, True, "2098-12-31T15:00:00.000+00:00")
    ended = GRANT | {"expires_at": "2020-11-12T00:00:00Z", "evidence": "trial"}
    assert ask("PUT", "/consents/user-42", ended)[1]["night_consent"] is False
    status, got = ask("GET", "/consents/user-42")
    assert (got["night_consent"], got["expires_at"]) == (False, "2020-11-12T00:00:00.000+00:00")
    assert [each["expires_at"] for each in got["history"]] == [got["expires_at"], put["expires_at"]]
    assert ask("PUT", "/consents/user-42", GRANT)[1]["expires_at"] is None


def test_an_old_statement_undoes_no_opt_out_that_was_written_by_other_means(ask: Any, dynamodb: Any) -> None:
    put_consent(dynamodb, "user-42", opted_out=True)
    assert ask("PUT", "/consents/user-42", GRANT | {"changed_at": "2010-01-01T00:00:00Z"})[0] == 409
    assert ask("GET", "/consents/user-42")[1]["opted_out"] is True


def test_an_older_statement_is_a_conflict(ask: Any) -> None:
    ask("PUT", "/consents/user-42", GRANT)
    status, answer = ask("PUT", "/consents/user-42", GRANT | {"changed_at": "2020-01-01T00:00:00Z"})
    assert status == 409
    assert answer["errors"][0].startswith("changed_at: a statement of ")


def test_notifying_again_is_recorded_and_moves_the_date(ask: Any) -> None:
    ask("PUT", "/consents/user-42", GRANT | {"changed_at": "2020-11-12T00:00:00Z"})
    assert ask("GET", "/consents/user-42")[1]["renotify_due"] == "2022-11-12"
    listed = ask("GET", "/consents", query="due_before=2022-11-13")
    assert listed == (200, {"due": [{"recipient_id": "user-42", "renotify_due": "2022-11-12"}], "next": None})
    told = {"evidence": "letter", "renotified_at": "2022-11-01T00:00:00Z"}
    assert ask("POST", "/consents/user-42/renotified", told)[1]["renotify_due"] == "2024-11-01"
    assert ask("GET", "/consents", query="due_before=2022-11-13")[1]["due"] == []
    assert [each["event"] for each in ask("GET", "/consents/user-42")[1]["history"]] == ["renotified", "changed"]
    assert ask("POST", "/consents/nobody/renotified", told)[0] == 409


def test_the_list_of_who_is_due_goes_on_where_it_ended(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar, "DUE_MAX", 2)
    for n in range(3):
        ask("PUT", f"/consents/user,{n}", GRANT | {"changed_at": f"2020-11-1{n}T00:00:00Z"})
    _, first = ask("GET", "/consents", query="due_before=2023-01-01")
    assert first["next"] == "2022-11-11,user,1"
    _, rest = ask("GET", "/consents", query=f"due_before=2023-01-01&after={quote(first['next'])}")
    assert [each["recipient_id"] for each in first["due"] + rest["due"]] == ["user,0", "user,1", "user,2"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "due_before=soon",
        "due_before=9999-12-31",
        "due_before=1999-12-31",
        "due_before=2022-11-13&after=0001-01-01,a",
        "due_before=2022-11-13&after=x",
        "due_before=2022-11-13&after=2022-11-13,a",
        "due_before=2022-11-13&after=2022-13-01,a",
        "due_before=2022-11-13&after=2022-11-01,",
    ],
)
def test_a_list_that_cannot_be_understood_is_told_so(ask: Any, query: str) -> None:
    status, answer = ask("GET", "/consents", query=query)
    assert status == 400
    assert answer["errors"][0].startswith(("due_before: ", "after: "))


def test_who_is_overtaken_reads_again(ask: Any, dynamodb: Any) -> None:
    overtaken = iter([True, False])

    def first_another(real: Any, **call: Any) -> Any:
        if next(overtaken):
            put_consent(dynamodb, "user-42", opted_out=True)
        return real(**call)

    status, _ = ask("PUT", "/consents/user-42", GRANT, client=Faulty(dynamodb, transact_write_items=first_another))
    assert status == 200
    assert ask("GET", "/consents/user-42")[1]["night_consent"] is True


def test_a_table_that_is_away_is_told_of_and_nothing_is_said_to_be_done(ask: Any, dynamodb: Any) -> None:
    assert ask("PUT", "/consents/a", GRANT, client=Faulty(dynamodb, transact_write_items=fail()))[0] == 503
    assert ask("GET", "/consents/a", client=Faulty(dynamodb, get_item=fail()))[0] == 503
    assert ask("GET", "/consents", query="due_before=2022-11-13", client=Faulty(dynamodb, query=fail()))[0] == 503


@pytest.mark.parametrize("event", [None, {}, GRANT, {"recipient_id": "user-42"} | GRANT])
def test_who_invokes_it_with_no_request_grants_nothing(ask: Any, dynamodb: Any, event: Any) -> None:
    assert registrar.handler(event, None)["errors"]  # type: ignore[arg-type]
    assert dynamodb.scan(TableName="consent")["Items"] == []


def test_what_is_logged_shows_no_recipient(ask: Any, dynamodb: Any, caplog: pytest.LogCaptureFixture) -> None:
    there = f"/consents/{PHONE}"
    ask("PUT", there, GRANT | {"evidence": "canary"})
    ask("PUT", there, GRANT | {"canary": 1})
    ask("GET", there, client=Faulty(dynamodb, get_item=fail()))
    assert "answered" in logged(caplog.records)
    assert leaks(logged(caplog.records)) == []
    assert "canary" not in logged(caplog.records)


def test_a_table_that_hangs_does_not_outlast_the_function(sqs: Any) -> None:
    config = registrar._client.__wrapped__().meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) < REGISTRAR_TIMEOUT_S / 2


def test_nothing_in_the_registry_reads_a_clock() -> None:
    assert amended(None, "a", YES, datetime(2001, 1, 1, tzinfo=UTC), SEOUL).changed_at.startswith("2001-01-01")
