"""Which address a consent is for, and consent to advertising by day: small inputs, each with its right value."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lambdas import registrar
from lambdas.consumer import consume
from lambdas.quiet_hours.consents.counting import consent_under
from lambdas.quiet_hours.consents.record import Record, amended
from lambdas.quiet_hours.consents.statement import ADDRESSES_MAX, Statement, statement
from lambdas.quiet_hours.errors import Invalid, StatementRefused
from lambdas.quiet_hours.notification.addresses import canonical_address
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import decide
from lambdas.quiet_hours.rule.terms import Consent, Drop, Hold, Policy, Send
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import read_consents, read_record
from operators.consent_csv import Row, WrongRow, read_rows, write_rows
from operators.restore import Consents
from tests.helpers.aws import DAY, NIGHT, dynamodb, notification, put_consent, record, settings, sqs
from tests.helpers.delivery_world import Clock, Provider, Queues, World, accepted
from tests.helpers.web import answered, http

__all__ = ["dynamodb", "settings", "sqs"]

SEOUL = ZoneInfo("Asia/Seoul")
PHONE, OTHER, MAIL = "+821012345678", "+821087654321", "kim@example.com"
YES, NO = Consent(night_consent=True), Consent()
SAID = {"night_consent": True, "opted_out": False, "evidence": "web form"}


def after(record: Record | None, now: datetime = NIGHT, **fields: Any) -> Record:
    return amended(record, "user-42", statement(SAID | fields, now), now, SEOUL)


# --- the addresses that a consent is for

FOR_AN_ADDRESS = [
    # the recipient's record, the address's record; what counts for PHONE
    (YES, None, True),
    (YES._replace(addresses=(PHONE,)), None, True),
    (YES._replace(addresses=(MAIL, PHONE)), None, True),
    (YES._replace(addresses=(OTHER,)), None, False),
    (YES._replace(addresses=("010-1234-5678",)), None, False),
    (NO._replace(addresses=(PHONE,)), None, False),
    (YES._replace(addresses=(OTHER,)), YES, True),
    (NO._replace(addresses=(OTHER,)), YES, True),
    (NO, YES, False),
    (NO._replace(addresses=(PHONE,)), YES, False),
    (YES, NO, False),
    (YES._replace(addresses=(PHONE,)), NO, False),
    (None, YES, True),
    (None, YES._replace(addresses=(OTHER,)), True),
    (None, None, False),
]


@pytest.mark.parametrize(("recipient", "address", "counts"), FOR_AN_ADDRESS)
def test_a_night_consent_counts_for_the_addresses_that_it_is_for(
    recipient: Consent | None, address: Consent | None, counts: bool
) -> None:
    records = {key: each for key, each in (("user-42", recipient), (PHONE, address)) if each is not None}
    found = consent_under(["user-42", PHONE], records)
    assert (found is not None and found.night_consent) == counts


@pytest.mark.parametrize("addresses", [(), (PHONE,), (OTHER,)])
@pytest.mark.parametrize("key", ["user-42", PHONE])
def test_an_opt_out_counts_for_every_address(addresses: tuple[str, ...], key: str) -> None:
    found = consent_under(["user-42", PHONE], {key: Consent(opted_out=True, addresses=addresses)})
    assert found is not None
    assert found.opted_out


@pytest.mark.parametrize(
    ("stored", "counts"),
    [
        ({"SS": [PHONE]}, True),
        ({"SS": [OTHER]}, False),
        ({"L": [{"S": PHONE}]}, False),
        ({"S": PHONE}, False),
        ({"NULL": True}, False),
    ],
)
def test_addresses_that_are_stored_wrongly_are_nobodys(
    dynamodb: Any, settings: Settings, stored: dict[str, Any], counts: bool
) -> None:
    given = {"night_consent": {"BOOL": True}, "advertising_consent": {"BOOL": True}}
    dynamodb.put_item(TableName="consent", Item={"recipient_id": {"S": "user-42"}, "addresses": stored} | given)
    found = consent_under(["user-42", PHONE], read_consents(dynamodb, "consent", ["user-42"], NIGHT))
    assert found is not None
    assert (found.night_consent, bool(found.advertising_consent)) == (counts, counts)


@pytest.mark.parametrize(("address", "sent"), [("010-1234-5678", True), ("010-8765-4321", False)])
def test_the_worker_and_the_consumer_send_at_night_only_to_those_addresses(
    sqs: Any, dynamodb: Any, settings: Settings, address: str, sent: bool
) -> None:
    given = {"night_consent": {"BOOL": True}, "addresses": {"SS": [PHONE]}}
    dynamodb.put_item(TableName="consent", Item={"recipient_id": {"S": "user-42"}} | given)
    wanted = notification(id="a", channel="sms", address=address, recipient_id="user-42")
    _, counts = consume([record(to_text(wanted))], NIGHT, sqs, dynamodb, settings, settings.quiet_hours())
    assert counts["now"] == sent
    clock = Clock(NIGHT)
    world = World(dynamodb, clock, Queues(clock), Provider(clock), settings.quiet_hours())
    expires_at = (NIGHT + timedelta(days=1)).isoformat()
    fields = {"category": "advertising", "expires_at": expires_at, "address": canonical_address("sms", address)}
    world.invoke(accepted(**wanted | fields))
    assert world.provider.ids == ["a"] * sent


def test_addresses_become_keys_however_they_are_written() -> None:
    written = ["010-8765-4321", " 010 1234 5678", "Kim@Example.com ", "+82-10-1234-5678", "#orders"]
    assert after(None, addresses=written).addresses == ("#orders", PHONE, OTHER, MAIL)


@pytest.mark.parametrize(
    "addresses",
    [
        PHONE,
        {},
        None,
        [1],
        [""],
        ["  "],
        ["a\x00"],
        ["x" * 513],
        ["a;b"],
        [PHONE] * (ADDRESSES_MAX + 1),
        ["y" * 512] * 5,
        ["8.21012E+11"],
        ["'01012345678"],
        ["010-1234-56789"],
        ["T 010-1234-5678"],
        ["kim@@example.com"],
        ['"kim"@example.com'],
        ["user\ufffd42"],
        [MAIL, "8.21E11"],
    ],
)
def test_addresses_that_cannot_be_are_named_without_their_values(addresses: Any) -> None:
    with pytest.raises(Invalid) as raised:
        after(None, addresses=addresses)
    (error,) = raised.value.errors
    assert error.startswith("addresses: ")
    assert PHONE not in error


def test_a_statement_without_addresses_keeps_those_of_the_record() -> None:
    first = after(None, addresses=[PHONE])
    later = after(first, NIGHT + timedelta(days=1), evidence="call")
    assert later.addresses == (PHONE,)
    assert after(later, NIGHT + timedelta(days=2), addresses=[MAIL]).addresses == (MAIL,)
    assert after(later, NIGHT + timedelta(days=2), addresses=[]).addresses == ()
    assert after(first) is first
    assert after(first, addresses=[PHONE]) is first


AT = (NIGHT - timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("one", "other", "right"),
    [
        ({"addresses": [PHONE]}, {"addresses": [PHONE, MAIL]}, (True, (PHONE,))),
        ({"addresses": [PHONE]}, {"addresses": []}, (True, (PHONE,))),
        ({"addresses": [PHONE, MAIL]}, {"addresses": [PHONE, OTHER]}, (True, (PHONE,))),
        ({"addresses": [PHONE]}, {"addresses": [MAIL]}, (False, None)),
    ],
)
def test_of_two_statements_of_one_instant_the_fewer_addresses_count(one: Any, other: Any, right: Any) -> None:
    for first, second in permutations([one, other]):
        stands = after(None, changed_at=AT, **first)
        with suppress(StatementRefused):
            stands = after(stands, changed_at=AT, **second)
        assert stands.night_consent == right[0]
        assert right[1] in (None, stands.addresses)


@pytest.mark.parametrize("wider", [{"addresses": []}, {"addresses": [PHONE, MAIL]}, {"advertising_consent": True}])
def test_a_record_of_unknown_date_is_not_widened_by_a_dated_statement(wider: Any) -> None:
    stands = Record("user-42", night_consent=True, addresses=(PHONE,))
    with pytest.raises(StatementRefused, match="nobody knows since when the record stands"):
        after(stands, changed_at=AT, **wider)
    assert after(stands, changed_at=AT, addresses=[PHONE]).addresses == (PHONE,)


# --- consent to advertising by day

AD = {"category": "advertising", "channel": "sms", "expires_at": "2020-11-14T00:00:00+00:00"}
HERE, ELSEWHERE = (named_policy("korea", advertising_consent=each) for each in ("required", "elsewhere"))
DROPPED = Drop("opted_out", "the recipient has not consented to advertising, which is required here")
OUTSIDE = "outside quiet hours (21:00 to 08:00 Asia/Seoul)"


@pytest.mark.parametrize(
    ("consent", "fields", "at", "decision"),
    [
        (None, {}, DAY, DROPPED),
        (Consent(), {}, DAY, DROPPED),
        (Consent(advertising_consent=False), {}, DAY, DROPPED),
        (Consent(night_consent=True), {}, DAY, DROPPED),
        (Consent(night_consent=True), {}, NIGHT, DROPPED),
        (None, {"channel": "email"}, DAY, DROPPED),
        (None, {"channel": "push"}, DAY, DROPPED),
        (None, {}, NIGHT, DROPPED),
        (Consent(advertising_consent=True), {}, DAY, Send(f"{OUTSIDE}; the recipient has consented to advertising")),
        (
            Consent(advertising_consent=True, opted_out=True),
            {},
            DAY,
            Drop("opted_out", "the recipient has opted out of advertising"),
        ),
        (None, {"category": "informational"}, DAY, Send("informational by sms is never held under policy korea")),
        (None, {"category": "critical"}, NIGHT, Send("critical by sms is never held under policy korea")),
    ],
)
def test_where_it_is_required_advertising_goes_only_to_who_consented(
    consent: Consent | None, fields: dict[str, str], at: datetime, decision: Any
) -> None:
    assert decide(AD | fields, consent, at, HERE) == decision


def test_where_it_is_required_the_night_still_needs_a_consent_of_its_own() -> None:
    assert isinstance(decide(AD, Consent(advertising_consent=True), NIGHT, HERE), Hold)
    both = Consent(night_consent=True, advertising_consent=True)
    assert decide(AD, both, NIGHT, HERE) == Send(
        "quiet hours, but the recipient has consented to the night; the recipient has consented to advertising"
    )


REFUSED = Drop("opted_out", "the recipient has refused advertising")


@pytest.mark.parametrize("at", [DAY, NIGHT])
@pytest.mark.parametrize("policy", [ELSEWHERE, named_policy("korea"), named_policy("strict")])
@pytest.mark.parametrize("consent", [Consent(advertising_consent=False), Consent(True, advertising_consent=False)])
def test_a_refusal_on_record_counts_wherever_the_consent_is_kept(
    consent: Consent, policy: Policy, at: datetime
) -> None:
    assert decide(AD, consent, at, policy) == REFUSED
    assert isinstance(decide(AD | {"category": "critical"}, consent, at, policy), Send)


@pytest.mark.parametrize("consent", [None, Consent(), Consent(advertising_consent=True)])
def test_where_it_is_kept_elsewhere_the_decision_says_so(consent: Consent | None) -> None:
    assert decide(AD, consent, DAY, ELSEWHERE) == Send(f"{OUTSIDE}; advertising consent is kept elsewhere")


def test_only_advertising_says_where_its_consent_is_kept() -> None:
    strict = named_policy("strict", advertising_consent="elsewhere")
    informational = AD | {"category": "informational"}
    assert decide(informational, None, DAY, strict) == Send(OUTSIDE)
    asleep = Send("quiet hours, but the recipient has consented to the night")
    assert decide(informational, Consent(night_consent=True), NIGHT, strict) == asleep


def test_another_word_for_where_it_is_kept_is_an_error() -> None:
    with pytest.raises(ValueError, match="advertising consent must be elsewhere or required, not 'here'"):
        named_policy("korea", advertising_consent="here")


@pytest.mark.parametrize(
    ("recipient", "address", "counts"),
    [
        (True, None, True),
        (None, True, True),
        (True, True, True),
        (True, False, False),
        (False, True, False),
        (None, None, None),
        (False, None, False),
    ],
)
def test_of_two_records_a_refusal_of_advertising_counts(
    recipient: bool | None, address: bool | None, counts: bool | None
) -> None:
    records = {"user-42": Consent(advertising_consent=recipient), PHONE: Consent(advertising_consent=address)}
    found = consent_under(["user-42", PHONE], records)
    assert found is not None
    assert found.advertising_consent == counts


@pytest.mark.parametrize("address", [None, True, False])
@pytest.mark.parametrize("addresses", [(), (PHONE,), (OTHER,)])
def test_a_refusal_of_advertising_counts_for_every_address(addresses: tuple[str, ...], address: bool | None) -> None:
    refused = Consent(advertising_consent=False, addresses=addresses)
    found = consent_under(["user-42", PHONE], {"user-42": refused, PHONE: Consent(advertising_consent=address)})
    assert found is not None
    assert found.advertising_consent is False


@pytest.mark.parametrize("stored", [{"BOOL": False}, {"S": "false"}, {"NULL": True}])
@pytest.mark.parametrize("addresses", [{}, {"addresses": {"S": PHONE}}, {"addresses": {"SS": [OTHER]}}])
def test_the_worker_sends_no_advertising_to_who_has_refused_it(
    dynamodb: Any, settings: Settings, stored: dict[str, Any], addresses: dict[str, Any]
) -> None:
    refused = {"night_consent": {"BOOL": True}, "advertising_consent": stored} | addresses
    dynamodb.put_item(TableName="consent", Item={"recipient_id": {"S": "user-42"}} | refused)
    clock = Clock(DAY)
    elsewhere = replace(settings, advertising_consent="elsewhere").quiet_hours()
    world = World(dynamodb, clock, Queues(clock), Provider(clock), elsewhere)
    fields = {"recipient_id": "user-42", "expires_at": (DAY + timedelta(days=1)).isoformat()}
    world.invoke(accepted("a", category="advertising", **fields), accepted("b", category="critical", **fields))
    assert (world.state("a"), world.state("b"), world.provider.ids) == ("opted_out", "delivered", ["b"])


@pytest.mark.parametrize("at", [DAY, NIGHT])
@pytest.mark.parametrize(("flags", "state"), [({}, "opted_out"), ({"advertising_consent": True}, "delivered")])
def test_the_worker_ends_advertising_without_the_consent_that_is_required(
    dynamodb: Any, settings: Settings, flags: dict[str, bool], state: str, at: datetime
) -> None:
    put_consent(dynamodb, "user-42", night_consent=True, **flags)
    clock = Clock(at)
    policy = replace(settings, advertising_consent="required").quiet_hours()
    world = World(dynamodb, clock, Queues(clock), Provider(clock), policy)
    expires_at = (at + timedelta(days=1)).isoformat()
    world.invoke(accepted("a", category="advertising", expires_at=expires_at))
    assert (world.state("a"), world.provider.ids) == (state, ["a"] * (state == "delivered"))


STEPS = [
    # what is said, one after the other; the consent to advertising that stands
    ([{}], None),
    ([{"advertising_consent": True}], True),
    ([{"advertising_consent": False}], False),
    ([{"advertising_consent": True}, {}], True),
    ([{"advertising_consent": True}, {"advertising_consent": False}], False),
    ([{"advertising_consent": True}, {"opted_out": True}], False),
    ([{"advertising_consent": True}, {"opted_out": True}, {}], False),
    ([{"advertising_consent": True, "opted_out": True}, {}], False),
    ([{"opted_out": True}, {}], None),
    ([{"opted_out": True}, {"advertising_consent": True}], True),
]


@pytest.mark.parametrize(("statements", "right"), STEPS)
def test_an_opt_out_ends_the_consent_to_advertising(statements: list[dict[str, Any]], right: bool | None) -> None:
    stands = None
    for day, fields in enumerate(statements):
        stands = after(stands, NIGHT + timedelta(days=day), evidence=f"call {day}", **fields)
    assert stands is not None
    assert stands.advertising_consent == right


# --- registrar, history, files and restoring

GIVEN = {"advertising_consent": True, "addresses": ["010-1234-5678", MAIL]}
KEPT = {"advertising_consent": True, "addresses": [PHONE, MAIL]}


@pytest.fixture
def ask(dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(registrar, "_client", lambda: dynamodb)
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)

    def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
        return answered(registrar.handler(http(method, path, body and json.dumps(body)), None))  # type: ignore[arg-type]

    return call


def test_the_registrar_keeps_and_shows_both(ask: Any) -> None:
    status, answer = ask("PUT", "/consents/user-42", SAID | GIVEN)
    assert status == 200
    assert {name: answer[name] for name in KEPT} == KEPT
    _, found = ask("GET", "/consents/user-42")
    (entry,) = found["history"]
    for shown in (found, entry):
        assert {name: shown[name] for name in KEPT} == KEPT


def test_who_says_neither_has_a_record_as_before(ask: Any, dynamodb: Any) -> None:
    _, answer = ask("PUT", "/consents/user-42", SAID)
    assert (answer["advertising_consent"], answer["addresses"]) == (None, None)
    item = dynamodb.get_item(TableName="consent", Key={"recipient_id": {"S": "user-42"}})["Item"]
    assert not item.keys() & KEPT.keys()


@pytest.mark.parametrize("value", [1, "true", None])
def test_a_consent_to_advertising_is_true_or_false(ask: Any, value: Any) -> None:
    status, answer = ask("PUT", "/consents/user-42", SAID | {"advertising_consent": value})
    assert (status, answer) == (400, {"errors": ["advertising_consent: must be true or false"]})


HEADER = "recipient_id,night_consent,opted_out,changed_at,evidence,advertising_consent,addresses"
ROW = "user-42,true,false,2020-03-01T10:00:00+09:00,web form"


def rows(*lines: str) -> list[Row | WrongRow]:
    return list(read_rows(io.BytesIO("\n".join((HEADER, *lines)).encode()), NIGHT))


@pytest.mark.parametrize(
    ("cells", "advertising", "addresses"),
    [
        (",", None, None),
        ("TRUE,", True, None),
        ("false,010-1234-5678", False, (PHONE,)),
        (",Kim@example.com; 010-1234-5678", None, (PHONE, MAIL)),
        (",010-1234-5678;", None, (PHONE,)),
    ],
)
def test_a_file_may_say_both(cells: str, advertising: bool | None, addresses: tuple[str, ...] | None) -> None:
    (row,) = rows(f"{ROW},{cells}")
    assert isinstance(row, Row)
    assert (row.said.advertising_consent, row.said.addresses) == (advertising, addresses)


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ("yes,", "advertising_consent: must be true or false"),
        (",;", "addresses: number 0 must have 1 to 512 characters"),
        (",a;;b", "addresses: number 1 must have 1 to 512 characters"),
        ("," + ";".join("abcdefghijk"), f"addresses: must be an array of at most {ADDRESSES_MAX} addresses"),
    ],
)
def test_what_is_wrong_with_either_is_listed(cells: str, error: str) -> None:
    (row,) = rows(f"{ROW},{cells}")
    assert row == WrongRow(2, (error,))


@pytest.mark.parametrize("fields", [{}, GIVEN, {"advertising_consent": False}, {"addresses": ["#orders", OTHER]}])
def test_both_come_back_from_an_export(fields: dict[str, Any]) -> None:
    kept = after(None, changed_at=AT, **fields)
    out = io.StringIO(newline="")
    write_rows(out, [kept])
    (row,) = read_rows(io.BytesIO(out.getvalue().encode()), NIGHT)
    assert isinstance(row, Row)
    assert amended(None, row.recipient_id, row.said, NIGHT, SEOUL) == kept
    assert amended(kept, row.recipient_id, row.said, NIGHT, SEOUL) is kept


def test_both_come_back_from_the_history(ask: Any, dynamodb: Any, settings: Settings) -> None:
    ask("PUT", "/consents/user-42", SAID | GIVEN)
    lost = read_record(dynamodb, "consent", "user-42")
    dynamodb.delete_item(TableName="consent", Key={"recipient_id": {"S": "user-42"}})
    Consents(dynamodb, "consent", "consent-history", SEOUL).replay(NIGHT - timedelta(days=9999), datetime.now(SEOUL))
    assert read_record(dynamodb, "consent", "user-42") == lost


@pytest.mark.parametrize("opt_out_first", [True, False])
def test_an_opt_out_of_the_same_instant_stands_after_a_restore(
    dynamodb: Any, settings: Settings, opt_out_first: bool
) -> None:
    said = [Statement(True, False, "web form", NIGHT), Statement(False, True, "080 number", NIGHT)]
    for each in reversed(said) if opt_out_first else said:
        try:
            registrar.change(
                "user-42",
                "changed",
                each.evidence,
                lambda found, each=each: amended(found, "user-42", each, DAY, SEOUL),  # type: ignore[misc]
                DAY,
                dynamodb,
                settings,
            )
        except StatementRefused:
            continue
    dynamodb.delete_item(TableName="consent", Key={"recipient_id": {"S": "user-42"}})
    Consents(dynamodb, "consent", "consent-history", SEOUL).replay(DAY - timedelta(days=1), DAY)
    found = read_record(dynamodb, "consent", "user-42")
    assert found is not None
    assert found.opted_out
