"""Who may say what about a consent, and which of two statements counts: small inputs, each with its right value."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lambdas import registrar
from lambdas.quiet_hours.consents.record import Record, amended, renotified
from lambdas.quiet_hours.consents.statement import Statement, renotification, statement
from lambdas.quiet_hours.errors import Invalid, StatementRefused
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import history, read_record
from lambdas.quiet_hours.timings import CLOCK_SKEW
from tests.helpers.aws import NIGHT, dynamodb, settings, sqs

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
    with pytest.raises(StatementRefused, match="very instant of the last renotification"):
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


@pytest.mark.parametrize("ahead", [CLOCK_SKEW + timedelta(milliseconds=1), timedelta(minutes=1), timedelta(days=365)])
def test_a_statement_from_the_future_is_refused(ahead: timedelta) -> None:
    with pytest.raises(Invalid, match="changed_at: must lie between 2000-01-01 and now"):
        statement(REQUEST | {"changed_at": (NIGHT + ahead).isoformat()}, NIGHT)
