"""An upgrade over a held night: today's code settles every form that an older version left behind (docs/upgrade.md).

Each folder of tests/fixtures/forms holds what one version writes. tests/fixtures/forms/README.md describes the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import pytest

from lambdas import campaign, scheduler
from lambdas.consumer import consume
from lambdas.quiet_hours.alerts import read_alert
from lambdas.quiet_hours.api.status import cancel_source, look_up
from lambdas.quiet_hours.consents.record import amended, renotified
from lambdas.quiet_hours.consents.statement import statement
from lambdas.quiet_hours.errors import StatementRefused
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import Change, due, history, read_consents, read_record, write
from lambdas.quiet_hours.stores.entries import epoch_ms
from lambdas.quiet_hours.stores.health import Failure, Refusals
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.turns import Probe, Resting, Turn, Turns
from lambdas.quiet_hours.timings import LEASE_S
from operators import redrive
from operators.redrive import Redriven
from tests.helpers import redriving
from tests.helpers.aws import (
    DAY,
    NIGHT,
    Faulty,
    dynamodb,
    fail,
    one_after_another,
    record,
    settings,
    sqs,
    take,
    text_attributes,
)
from tests.helpers.delivery_world import SETTINGS, Clock, Provider, Queues, World
from tests.helpers.record_forms import (
    BUCKET,
    CSV_KEY,
    MORNING,
    accepted,
    body_of,
    object_bytes,
    object_text,
    put_message,
    record_forms,
)

__all__ = ["dynamodb", "settings", "sqs"]

FORMS = Path(__file__).parents[1] / "fixtures" / "forms"
VERSIONS = sorted(each.name for each in FORMS.iterdir() if each.is_dir())
SOON = DAY + timedelta(seconds=1)
LAPSED = DAY + timedelta(seconds=LEASE_S + 1)
SEOUL = ZoneInfo("Asia/Seoul")

Forms = dict[str, Any]


@pytest.fixture(params=VERSIONS)
def stored(request: pytest.FixtureRequest) -> Callable[[str], Forms]:
    """The forms that one version wrote, by the name of the file."""

    def read(name: str) -> Forms:
        found: Forms = json.loads((FORMS / request.param / f"{name}.json").read_text(encoding="utf-8"))
        return found

    return read


@pytest.fixture
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has no servers to ask one after the other."""
    monkeypatch.setattr(scheduler, "POLL_S", 0)
    monkeypatch.setattr(redrive, "POLL_S", 0)


# --- what today's code writes


PROSE = ("reason", "why", "what", "numbers", "error", "errors")
"""Fields whose sentences people read. Their code, which stands before a colon, is part of the form; the rest is not."""


def form_of(value: Any) -> Any:
    """A value without the sentences that people read; JSON and JSON Lines within a text are compared as JSON."""
    if isinstance(value, dict):
        return {name: _code(each) if name in PROSE else form_of(each) for name, each in value.items()}
    if isinstance(value, list):
        return [form_of(each) for each in value]
    if isinstance(value, str) and value.startswith("{"):
        for parts in (value.splitlines(), [value]):
            try:
                return [form_of(json.loads(part)) for part in parts]
            except ValueError:
                pass
    return value


def _code(value: Any) -> Any:
    if isinstance(value, dict):
        return {kind: _code(each) for kind, each in value.items()}
    if isinstance(value, list):
        return [_code(each) for each in value]
    return value.partition(":")[0] if isinstance(value, str) and ":" in value else type(value).__name__


def test_todays_code_writes_the_forms_of_the_newest_folder() -> None:
    newest = FORMS / VERSIONS[-1]
    written = record_forms()
    assert {f"{name}.json" for name in written} == {each.name for each in newest.iterdir()}
    changed = []
    for file, forms in written.items():
        kept = json.loads((newest / f"{file}.json").read_text(encoding="utf-8"))
        changed += [
            f"{file}: {name}\n  was {form_of(kept.get(name))}\n  is  {form_of(forms.get(name))}"
            for name in kept | forms
            if form_of(kept.get(name)) != form_of(forms.get(name))
        ]
    assert not changed, (
        "A stored form has changed. Older messages and items live on for days, so: record a new folder with "
        "`python -m tests.helpers.record_forms tests/fixtures/forms/DATE`, keep the old folders, and state in "
        "docs/upgrade.md what the old code does with the new form and in which order to deploy.\n" + "\n".join(changed)
    )


# --- messages


@dataclass
class Night:
    """A deployment of today's code that goes on with what stands on the queues and in the tables."""

    sqs: Any
    dynamodb: Any
    settings: Settings
    sent: list[str] = field(default_factory=list)
    letters: dict[str, str] = field(default_factory=dict)

    def settle(self, form: Forms) -> None:
        """Put a message on its queue and let the night and the morning pass."""
        url = getattr(self.settings, f"{form['queue'].replace('-', '_')}_queue_url")
        put_message(self.sqs, url, form)
        self.pass_by()

    def pass_by(self) -> None:
        arrived = [
            record(each["Body"], each["MessageId"], NIGHT, text_attributes(each))
            for each in take(self.sqs, self.settings.notification_queue_url)
        ]
        consume(arrived, NIGHT, self.sqs, self.dynamodb, self.settings, self.settings.quiet_hours())
        scheduler.release(
            self.sqs,
            self.settings,
            self.settings.quiet_hours(),
            now=lambda: MORNING,
            remaining_s=lambda: 300.0,
            sleep=lambda seconds: None,
            side_by_side=one_after_another,
        )
        world = worker(self.dynamodb, MORNING)
        for lane in ("urgent", "delivery", "schedule"):
            for each in take(self.sqs, getattr(self.settings, f"{lane}_queue_url")):
                acknowledged, _ = world.receive(each["Body"], lane, attributes=text_attributes(each))
                assert acknowledged
        self.sent += world.provider.ids
        letters = [(sent.body, sent.attributes) for sent in world.sqs.messages["dead-letter"]]
        letters += [
            (each["Body"], text_attributes(each)) for each in take(self.sqs, self.settings.dead_letter_queue_url)
        ]
        self.letters |= {attributes.get("notification_id", body): attributes["reason"] for body, attributes in letters}
        assert not any(world.sqs.messages[lane] for lane in ("delivery", "wait", "schedule"))


def worker(dynamodb: Any, now: datetime, can_resend: bool = True) -> World:
    """A worker of today, whose invocations have names that no stored claim has."""
    clock = Clock(now)
    provider = Provider(clock, can_resend=can_resend)
    return World(dynamodb, clock, Queues(clock), provider, SETTINGS.quiet_hours(), invocations=1000)


@pytest.fixture
def night(sqs: Any, dynamodb: Any, settings: Settings, short_polls: None) -> Night:
    return Night(sqs, dynamodb, settings)


def ids_of(form: Forms, message_id: str = "") -> list[str]:
    """The ids that a message's notifications have, or are given."""
    body = form["body"] if not isinstance(form["body"], str) else json.loads(form["body"])
    parts = body if isinstance(body, list) else [body]
    return [f"event:{part['id']}" if "detail-type" in part else part.get("id", message_id) for part in parts]


WRONG = {
    "unreadable": ({}, {'{"id": "torn-1", "channel":': "unreadable"}),
    "invalid_single": ({}, {"invalid-1": "invalid"}),
    "invalid_in_bundle": ({"fine-1"}, {"invalid-2": "invalid"}),
}
"""The invalid messages: which of their items are sent, which go to dead-letter, and for what reason."""


def test_every_message_on_every_lane_ends_as_it_should(
    stored: Callable[[str], Forms], night: Night, dynamodb: Any
) -> None:
    lanes = {n: f for n, f in stored("messages").items() if f["queue"] not in ("campaign", "dead-letter")}
    lanes |= {f"campaign_{n}": f for n, f in enumerate(stored("campaigns")["half_done_accepted"])}
    assert {form["queue"] for form in lanes.values()} == {"notification", "delivery", "wait", "schedule"}
    for name, form in lanes.items():
        for item in dynamodb.scan(TableName="ledger")["Items"]:  # many of the forms are the same notification
            dynamodb.delete_item(TableName="ledger", Key={"id": item["id"]})
        night.sent, night.letters = [], {}
        night.settle(form)
        sent, letters = WRONG.get(name) or (ids_of(form), {})
        if name == "single_object_without_id":  # SQS in memory makes the message's id at random
            sent = night.sent
            assert [id.partition(":")[0] for id in sent] == ["sqs"]
        assert sorted(night.sent) == sorted(sent), name
        assert {id: reason.partition(":")[0] for id, reason in night.letters.items()} == letters, name


def test_a_message_that_comes_in_several_stored_forms_is_sent_once(
    stored: Callable[[str], Forms], night: Night
) -> None:
    forms = stored("messages")
    for name in ("wait_bundle", "schedule_bundle", "single_object", "event_envelope", "sns_raw"):
        night.settle(forms[name] if name != "event_envelope" else forms["wait_bundle"])
    assert sorted(night.sent) == sorted(ids_of(forms["wait_bundle"]))


def test_letters_are_redriven_and_unknown_outcomes_stay(
    stored: Callable[[str], Forms], night: Night, sqs: Any, settings: Settings
) -> None:
    letters = {name: form for name, form in stored("messages").items() if form["queue"] == "dead-letter"}
    for form in letters.values():
        put_message(sqs, settings.dead_letter_queue_url, form)
    unknown = [name for name in letters if name.startswith("letter_unknown_outcome")]
    assert len(unknown) == 2
    assert redriving.redrive(sqs, night.dynamodb, settings) == Redriven(moved=len(letters) - 2, unknown=2)
    sqs.set_queue_attributes(QueueUrl=settings.notification_queue_url, Attributes={"VisibilityTimeout": "0"})
    night.pass_by()
    assert sorted(night.sent) == ["deadly-1", "tried-1", "wrong-1"]
    assert {id: reason.partition(":")[0] for id, reason in night.letters.items()} == {
        '{"id": "torn-1", "channel":': "unreadable",
        "invalid-1": "invalid",
        "invalid-2": "invalid",
        "misfit-1": "invalid",
        "unknown-1": "unknown_outcome",
    }


def test_an_unknown_outcome_is_sent_again_at_an_operators_word(
    stored: Callable[[str], Forms], night: Night, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    letter, item = stored("messages")["letter_unknown_outcome"], stored("ledger")["unknown"]
    assert letter["attributes"]["dead_lettered_at"] == item["ended_at"]["S"]
    dynamodb.put_item(TableName="ledger", Item=item | {"id": {"S": letter["attributes"]["notification_id"]}})
    put_message(sqs, settings.dead_letter_queue_url, letter)
    assert redriving.redrive(sqs, dynamodb, settings, resend_unknown=True) == Redriven(moved=1)
    night.pass_by()
    assert night.sent == ["unknown-1"]


# --- the ledger


SENT, ABSORBED, BUSY, LETTER = "sent", "absorbed", "busy", "letter"

ENDED = "delivered", "expired", "cancelled", "opted_out", "not_in_allow_list"

CLAIMS = [
    # the stored entry, when its message comes, whether the channel can be asked twice, what becomes of it
    ("claimed", SOON, True, BUSY),
    ("claimed", LAPSED, True, SENT),
    ("claimed", LAPSED, False, SENT),
    ("claimed_sending", SOON, False, BUSY),
    ("claimed_sending", LAPSED, True, SENT),
    ("claimed_sending", LAPSED, False, LETTER),
    ("given_back", SOON, True, SENT),
    ("reopened_unknown", SOON, False, SENT),
    ("waiting", SOON, True, BUSY),
    ("waiting", LAPSED, True, SENT),
    ("waiting_sending", SOON, True, BUSY),
    ("waiting_sending", LAPSED, True, SENT),
    ("waiting_sending", LAPSED, False, LETTER),
    *((state, LAPSED, True, ABSORBED) for state in ENDED),
    *((state, LAPSED, True, ABSORBED) for state in ("dead_lettered", "dead_lettered_sending", "unknown", "reopened")),
]


@pytest.mark.parametrize(("name", "now", "can_resend", "becomes"), CLAIMS)
def test_every_state_of_the_ledger_is_understood(
    stored: Callable[[str], Forms],
    dynamodb: Any,
    settings: Settings,
    name: str,
    now: datetime,
    can_resend: bool,
    becomes: str,
) -> None:
    if name not in stored("ledger"):
        pytest.skip("this version has no such entry")
    item = stored("ledger")[name]
    dynamodb.put_item(TableName="ledger", Item=item)
    world = worker(dynamodb, now, can_resend)
    acknowledged, _ = world.invoke(accepted(name))
    assert acknowledged
    assert world.provider.ids == ([name] if becomes == SENT else [])
    assert world.on("delivery") == ([[name]] if becomes == BUSY else [])
    assert world.on("dead-letter") == ([[name]] if becomes == LETTER else [])
    after = dynamodb.get_item(TableName="ledger", Key={"id": {"S": name}})["Item"]
    if becomes in (ABSORBED, BUSY):
        assert after == item
    else:
        assert after["state"]["S"] == ("delivered" if becomes == SENT else "unknown")


def test_the_claims_cover_every_stored_entry(stored: Callable[[str], Forms]) -> None:
    assert stored("ledger").keys() <= {name for name, *_ in CLAIMS}


def test_attempts_are_counted_on(stored: Callable[[str], Forms], dynamodb: Any, settings: Settings) -> None:
    for name, attempts in (("waiting", 1), ("claimed", 1)):  # one failed; one lapses, which costs an attempt
        dynamodb.put_item(TableName="ledger", Item=stored("ledger")[name])
        claims = Ledger(dynamodb, "ledger", "new", timedelta(minutes=2)).claim({name: None}, LAPSED)
        assert claims.held[name].attempts == attempts


@pytest.mark.parametrize("name", ["dead_lettered", "dead_lettered_sending", "reopened"])
def test_a_redrive_undoes_exactly_the_ending_that_it_names(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings, name: str
) -> None:
    if name not in stored("ledger"):
        pytest.skip("this version has no such entry")
    item = stored("ledger")[name]
    dynamodb.put_item(TableName="ledger", Item=item)
    world = worker(dynamodb, LAPSED)
    world.receive(to_text(accepted(name)), attributes={"dead_lettered_at": "2020-11-11T02:00:00.000+00:00"})
    assert world.provider.ids == []
    world.receive(to_text(accepted(name)), attributes={"dead_lettered_at": item["ended_at"]["S"]})
    assert world.provider.ids == [name]
    assert world.state(name) == "delivered"


def test_an_unknown_outcome_goes_back_to_dead_letter(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    item = stored("ledger")["unknown"]
    dynamodb.put_item(TableName="ledger", Item=item)
    world = worker(dynamodb, LAPSED)
    world.receive(to_text(accepted("unknown")), attributes={"dead_lettered_at": item["ended_at"]["S"]})
    assert world.provider.ids == []
    assert world.letter().attributes["reason"].startswith("unknown_outcome: ")
    assert dynamodb.get_item(TableName="ledger", Key={"id": {"S": "unknown"}})["Item"] == item


STATUS = {
    "claimed": "claimed",
    "claimed_sending": "claimed",
    "given_back": "waiting",
    "waiting": "waiting",
    "waiting_sending": "waiting",
    "dead_lettered_sending": "dead_lettered",
    "reopened": "dead_lettered",
    "reopened_unknown": "waiting",
}
"""The state that the API answers where it is not the name of the stored entry."""


def test_the_api_knows_every_state_of_the_ledger(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    ledger = Ledger(dynamodb, "ledger", "api", timedelta(minutes=2))
    for name, item in stored("ledger").items():
        dynamodb.put_item(TableName="ledger", Item=item)
        status, answer = look_up(name, SOON, dynamodb, ledger, settings, settings.quiet_hours())
        assert (status, answer["state"]) == (200, STATUS.get(name, name))
        assert answer.get("ended_at") == item.get("ended_at", {}).get("S"), name


def test_only_what_no_provider_may_have_is_cancelled(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    ledger = Ledger(dynamodb, "ledger", "api", timedelta(minutes=2))
    for item in stored("ledger").values():
        dynamodb.put_item(TableName="ledger", Item=item)
    states = ledger.cancel_all(stored("ledger"), SOON)
    cancelled = {"cancelled", "given_back", "waiting", "reopened_unknown"}
    assert {name for name, state in states.items() if state == "cancelled"} == cancelled & stored("ledger").keys()
    assert states["claimed"] == states["claimed_sending"] == states["waiting_sending"] == "claimed"


# --- the turns


@pytest.fixture
def turns(stored: Callable[[str], Forms], dynamodb: Any, settings: Settings) -> Callable[[datetime], Turns]:
    """The table of turns with the items that a version wrote, at an instant."""
    try:
        items = stored("turns")
    except FileNotFoundError:
        pytest.skip("this version has no turns")
    assert items.keys() == {"scheduled", "serving", "suspected", "resting", "refused_once", "refused"}
    for item in items.values():
        dynamodb.put_item(TableName="turn", Item=item)
    return lambda now: Turns(dynamodb, "turn", lambda: now)


def test_a_stored_schedule_goes_on(turns: Callable[[datetime], Turns]) -> None:
    booking = turns(SOON).book("scheduled", 1, 10.0, 5.0)
    assert isinstance(booking, Turn) and booking.at == DAY + timedelta(seconds=5.1)
    assert turns(SOON).space("scheduled", "schedule", 1, 10.0) == pytest.approx(2.367, abs=0.001)


@pytest.mark.parametrize("name", ["resting", "refused"])
def test_a_stored_rest_is_kept_and_then_probed(turns: Callable[[datetime], Turns], name: str) -> None:
    assert isinstance(turns(SOON).book(name, 1, 10.0, 5.0), Resting)
    assert isinstance(turns(DAY + timedelta(seconds=6)).book(name, 1, 10.0, 5.0), Probe)
    assert isinstance(turns(DAY + timedelta(seconds=6)).book(name, 1, 10.0, 5.0), Resting), "one worker probes"


def test_a_stored_suspicion_counts(turns: Callable[[datetime], Turns]) -> None:
    now_ms = epoch_ms(SOON)
    assert turns(SOON).has_failed("suspected", Failure("b", now_ms, now_ms, is_certain=False)).begins_rest
    assert turns(SOON).has_failed("serving", Failure("b", now_ms, now_ms, is_certain=False)).blames


def test_stored_refusals_of_a_template_count(turns: Callable[[datetime], Turns]) -> None:
    assert not turns(SOON).has_refused("refused_once", Refusals(["b"], epoch_ms(SOON))).health.rests
    assert turns(SOON).has_refused("refused_once", Refusals(["c"], epoch_ms(SOON))).health.rests


# --- the newest of a collapse key


def test_a_stored_note_supersedes_what_is_older(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    try:
        note = stored("newest")["note"]
    except FileNotFoundError:
        pytest.skip("this version has no collapse keys")
    dynamodb.put_item(TableName="held", Item=note)
    world = worker(dynamodb, MORNING)
    for id, at in (("older", NIGHT), ("newest", NIGHT + timedelta(minutes=1))):
        fields = {"category": "advertising", "address": "user-1", "collapse_key": "sale"}
        world.invoke(accepted(id, accepted_at=at.isoformat(), **fields), lane="schedule")
    assert world.states() == {"older": "superseded", "newest": "delivered"}


# --- consents, their history, and what is held


NIGHT_CONSENTS = {"imported-1", "registrar-1", "registrar-2", "registrar-3", "by-hand-1"}
OPT_OUTS = {"imported-2", "registrar-4", "by-hand-2"}


def put_consents(stored: Callable[[str], Forms], dynamodb: Any) -> list[str]:
    for item in stored("consents").values():
        dynamodb.put_item(TableName="consent", Item=item)
    for item in stored("consent_history").values():
        dynamodb.put_item(TableName="consent-history", Item=item)
    return sorted(item["recipient_id"]["S"] for item in stored("consents").values())


def test_every_consent_counts(stored: Callable[[str], Forms], dynamodb: Any, settings: Settings) -> None:
    recipients = put_consents(stored, dynamodb)
    found = read_consents(dynamodb, "consent", recipients, NIGHT)
    assert {each for each, consent in found.items() if consent.night_consent} == NIGHT_CONSENTS
    assert {each for each, consent in found.items() if consent.opted_out} == OPT_OUTS
    later = read_consents(dynamodb, "consent", recipients, NIGHT + timedelta(days=366))
    assert {each for each, consent in later.items() if consent.night_consent} == NIGHT_CONSENTS - {"registrar-2"}


def test_advertising_is_sent_held_and_dropped_by_the_stored_consents(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    recipients = put_consents(stored, dynamodb)
    world = worker(dynamodb, NIGHT)
    world.put(*[accepted(f"to-{each}", category="advertising", recipient_id=each) for each in recipients])
    world.run()
    assert set(world.provider.ids) == {f"to-{each}" for each in NIGHT_CONSENTS}
    assert {id for id, state in world.states().items() if state == "opted_out"} == {f"to-{each}" for each in OPT_OUTS}
    assert world.on("wait") == [["to-by-hand-3"]]


def test_stored_consents_are_amended_and_never_undone_by_older_statements(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    now = NIGHT + timedelta(days=30)
    said = {"night_consent": False, "opted_out": True, "evidence": "080 number"}
    for recipient in put_consents(stored, dynamodb):
        before = read_record(dynamodb, "consent", recipient)
        assert before is not None
        if before.changed_at:
            older = {
                "night_consent": True,
                "opted_out": False,
                "evidence": "old file",
                "changed_at": "2019-01-01T00:00Z",
            }
            with pytest.raises(StatementRefused):
                amended(before, recipient, statement(older, now), now, SEOUL)
        if not before.opted_out:
            told = renotified(before, None, now, SEOUL)
            assert write(dynamodb, "consent", "consent-history", [Change(before, told, "renotified", "mail")], now)
            before = told
        after = amended(before, recipient, statement(said, now), now + timedelta(hours=1), SEOUL)
        if after != before:
            later = now + timedelta(hours=1)
            assert write(
                dynamodb, "consent", "consent-history", [Change(before, after, "changed", "080 number")], later
            )
        assert read_consents(dynamodb, "consent", [recipient], now)[recipient].opted_out


def test_the_history_and_the_dates_of_notifying_again_are_read(
    stored: Callable[[str], Forms], dynamodb: Any, settings: Settings
) -> None:
    put_consents(stored, dynamodb)
    entries = history(dynamodb, "consent-history", "registrar-3", 10)
    assert [entry["event"] for entry in entries] == ["renotified", "changed"]
    assert [entry["evidence"] for entry in entries] == ["mail", "web form"]
    assert [entry["opted_out"] for entry in history(dynamodb, "consent-history", "registrar-4", 10)] == [True, False]
    found, _ = due(dynamodb, "consent", date(2022, 11, 12), 10)
    assert [each["recipient_id"] for each in found] == ["imported-1", "registrar-1", "registrar-2"]


def test_held_records_are_read_and_cancelled(stored: Callable[[str], Forms], dynamodb: Any, settings: Settings) -> None:
    recording = replace(settings, record_held=True)
    for item in stored("held").values():
        dynamodb.put_item(TableName="held", Item=item)
    ledger = Ledger(dynamodb, "ledger", "api", timedelta(minutes=2))
    policy = settings.quiet_hours()
    for name in (key for key in stored("held") if "!" not in key):
        answer = look_up(name, NIGHT + timedelta(hours=1), dynamodb, ledger, recording, policy)[1]
        assert (answer["state"], answer["until"]) == ("held", "2020-11-11T23:00:00+00:00")
        assert answer["rule"]["decision"] == "hold"
        assert look_up(name, MORNING, dynamodb, ledger, recording, policy)[1]["state"] == "released"
    status, answer = cancel_source("shop", None, NIGHT, dynamodb, ledger, recording)
    assert (status, answer["results"]) == (200, [{"id": "held-1", "outcome": "cancelled", "state": "cancelled"}])
    if any("!" in key for key in stored("held")):
        status, answer = cancel_source("another shop", None, NIGHT, dynamodb, ledger, recording)
        assert (status, answer["results"]) == (200, [{"id": "held-1", "outcome": "cancelled", "state": "cancelled"}])


# --- the bucket and the alert topic


@dataclass
class Bucket:
    """The campaign bucket with what an older version left in it."""

    s3: Any
    sqs: Any
    settings: Settings

    def put(self, objects: dict[str, str]) -> None:
        for key, text in objects.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=object_bytes(key, text))

    def go_on(self, key: str) -> int | None:
        """Go on with a file until its end."""
        found = self.s3.head_object(Bucket=BUCKET, Key=key)
        etag = found["ETag"].strip('"')
        run = campaign.Campaign(self.s3, self.sqs, self.settings, BUCKET, key, etag, found["ContentLength"])
        return run.go_on(lambda: NIGHT, lambda: 300.0)

    def text(self, key: str) -> str:
        return object_text(key, self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text(f"reports/{CSV_KEY}.report.json"))
        return found

    def accepted(self) -> list[str]:
        bodies = [json.loads(each["Body"]) for each in take(self.sqs, self.settings.notification_queue_url)]
        return [each["id"] for body in bodies for each in body]


@pytest.fixture
def bucket(sqs: Any, settings: Settings) -> Bucket:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    return Bucket(s3, sqs, settings)


def test_a_half_done_campaign_goes_on_from_its_progress(stored: Callable[[str], Forms], bucket: Bucket) -> None:
    forms = stored("campaigns")
    bucket.put(forms["half_done"])
    assert bucket.go_on(CSV_KEY) is None
    assert [id for form in forms["half_done_accepted"] for id in ids_of(form)] == ["row-0"]
    assert bucket.accepted() == ["row-3", "row-4", "row-5"]
    assert bucket.text(f"reports/{CSV_KEY}.rejected.jsonl") == ended(forms["done"], ".rejected.jsonl")
    before, report = json.loads(ended(forms["done"], ".report.json")), bucket.report()
    same = before.keys() - {"rejected_rows"}
    assert {name: report[name] for name in same} == {name: before[name] for name in same}


def ended(objects: dict[str, str], end: str) -> str:
    """The one object whose key ends so. Versions before 2026-11-27 wrote their reports beside the file."""
    (found,) = [text for key, text in objects.items() if key.endswith(end)]
    return found


def test_a_half_done_campaign_goes_on_with_its_upload(stored: Callable[[str], Forms], bucket: Bucket) -> None:
    forms = stored("campaigns")
    rejected = ended(forms["done"], ".rejected.jsonl")
    there = {"Bucket": BUCKET, "Key": f"reports/{CSV_KEY}.rejected.jsonl"}
    upload = bucket.s3.create_multipart_upload(**there)["UploadId"]
    part = bucket.s3.upload_part(**there, UploadId=upload, PartNumber=1, Body=rejected.encode())
    objects = {key: text.replace("UPLOAD", upload) for key, text in forms["half_done_with_parts"].items()}
    (progress,) = [
        json.loads(text) for key, text in objects.items() if key.startswith("progress/") and key.endswith(".json")
    ]
    assert progress["parts"] == [part["ETag"]]
    bucket.put(objects)
    assert bucket.go_on(CSV_KEY) is None
    # An older version's upload stands beside the file, where today's may not write: all is read again, and absorbed.
    first = [] if "file_id" in progress else ["row-0"]
    assert bucket.accepted() == [*first, "row-3", "row-4", "row-5"]
    assert bucket.text(f"reports/{CSV_KEY}.rejected.jsonl") == rejected
    assert bucket.report()["rejected"] == 2


def test_a_campaign_whose_upload_is_gone_starts_over_with_the_same_ids(
    stored: Callable[[str], Forms], bucket: Bucket
) -> None:
    bucket.put(stored("campaigns")["half_done_with_parts"])
    gone = Faulty(bucket.s3, complete_multipart_upload=fail("NoSuchUpload"))
    replace(bucket, s3=gone).go_on(CSV_KEY)
    bucket.go_on(CSV_KEY)
    assert bucket.report()["rejected"] == 2
    assert sorted(set(bucket.accepted())) == ["row-0", "row-3", "row-4", "row-5"]


@pytest.mark.parametrize("name", ["done", "unreadable"])
def test_a_reported_campaign_is_not_accepted_again(stored: Callable[[str], Forms], bucket: Bucket, name: str) -> None:
    objects = stored("campaigns")[name]
    bucket.put(objects)
    (key,) = [each for each in objects if not each.endswith(("json", "jsonl"))]
    assert bucket.go_on(key) is None
    assert {each: bucket.text(each) for each in objects} == objects
    if any(each.startswith("reports/") for each in objects):
        assert bucket.accepted() == []
    else:  # whoever uploads could write such a report: the file is read again under the same ids, and absorbed
        assert bucket.accepted() == (["row-0", "row-3", "row-4", "row-5"] if name == "done" else [])


def test_an_older_versions_file_keeps_the_ids_that_it_was_read_with(bucket: Bucket) -> None:
    """The ids of rows without one were made from the ETag. Under others everybody would get the file again."""
    text = "channel,address,body\nwebhook,user-0,a\nwebhook,user-1,b\n"
    etag = bucket.s3.put_object(Bucket=BUCKET, Key=CSV_KEY, Body=text.encode())["ETag"].strip('"')
    older = {"etag": etag, "accepted": 2, "rejected": 0, "rejected_rows": None, "error": None, "finished_at": "x"}
    bucket.put({CSV_KEY + ".report.json": json.dumps(older)})
    assert bucket.go_on(CSV_KEY) is None
    assert bucket.accepted() == [f"campaign:{etag}:2", f"campaign:{etag}:3"]

    progress = "progress/" + sha256(f"{CSV_KEY}\0{etag}".encode()).hexdigest() + ".json"
    bucket.s3.delete_object(Bucket=BUCKET, Key=CSV_KEY + ".report.json")
    bucket.s3.delete_object(Bucket=BUCKET, Key=f"reports/{CSV_KEY}.report.json")
    half = {"offset": 38, "line": 3, "columns": ["channel", "address", "body"], "accepted": 1, "rejected": 0}
    bucket.put({progress: json.dumps(half | {"upload_id": "", "parts": [], "tail": [], "tail_bytes": 0})})
    assert bucket.go_on(CSV_KEY) is None
    assert bucket.accepted() == [f"campaign:{etag}:3"]
    assert bucket.report()["accepted"] == 2


def test_s3s_messages_start_a_campaign_and_nothing_else(
    stored: Callable[[str], Forms], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = stored("messages")
    file = forms["s3_event"]["body"]["Records"][0]["s3"]["object"]
    bucket.put(
        {
            CSV_KEY: stored("campaigns")["done"][CSV_KEY]
            .replace("fax", "webhook")
            .replace("webhook,,", "webhook,user-2,")
        }
    )
    assert bucket.s3.head_object(Bucket=BUCKET, Key=CSV_KEY)["ETag"].strip('"') == file["eTag"]
    for name, value in bucket.settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(campaign, "_clients", lambda: (bucket.s3, bucket.sqs))
    context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 300_000)
    records = [record(body_of(forms[name]), name, queue="campaign") for name in ("s3_event", "s3_test_event")]
    assert campaign.handler({"Records": records}, context) == {"batchItemFailures": []}
    assert bucket.accepted() == [f"row-{n}" for n in range(6)]


ALERTS = {"alarm": "ReleaseLate", "failed_invocation": "ReleaseCrashed", "release_stopped": "ReleaseStopped"}


def test_every_alert_is_read(stored: Callable[[str], Forms]) -> None:
    forms = stored("alerts")
    read = {name: read_alert(json.dumps(form), MORNING) for name, form in forms.items()}
    assert {name: alert.name for name, alert in read.items()} == ALERTS
    assert read["release_stopped"].since == datetime.fromisoformat(forms["release_stopped"]["since"]).astimezone(UTC)


# --- forms of a later version: the table in docs/upgrade.md


def test_a_field_of_a_later_version_is_dead_lettered_alone(night: Night) -> None:
    later = accepted("later", fallback="x")
    night.settle({"queue": "notification", "body": [later, accepted("now-1")]})
    night.settle({"queue": "schedule", "body": [later, accepted("now-2")]})
    night.settle({"queue": "wait", "body": [later, accepted("now-3")]})
    assert sorted(night.sent) == ["now-1", "now-2", "now-3"]
    assert night.letters["later"].startswith("invalid: fallback: unknown field")


@pytest.mark.parametrize("state", ["sent", "undelivered", "parked"])
def test_a_ledger_state_of_a_later_version_is_an_ending(dynamodb: Any, settings: Settings, state: str) -> None:
    ended_at = "2020-11-11T02:00:00.000+00:00"
    item = {"id": {"S": "a"}, "state": {"S": state}, "ended_at": {"S": ended_at}}
    dynamodb.put_item(TableName="ledger", Item=item)
    world = worker(dynamodb, DAY)
    assert world.invoke(accepted("a"), dead_lettered_at=ended_at) == (True, {"absorbed": 1})
    assert world.provider.ids == []
    assert Ledger(dynamodb, "ledger", "api", timedelta(minutes=2)).cancel("a", DAY) == state
    assert dynamodb.get_item(TableName="ledger", Key={"id": {"S": "a"}})["Item"] == item


def test_an_attribute_of_a_later_version_is_ignored_and_goes_with_the_next_write(
    dynamodb: Any, settings: Settings
) -> None:
    claim = {"lease_until_ms": {"N": "0"}, "attempts": {"N": "2"}, "receipt": {"S": "r"}}
    dynamodb.put_item(TableName="ledger", Item={"id": {"S": "a"}, "state": {"S": "claimed"}} | claim)
    world = worker(dynamodb, DAY)
    world.invoke(accepted("a"))
    assert world.provider.ids == ["a"]
    assert "receipt" not in dynamodb.get_item(TableName="ledger", Key={"id": {"S": "a"}})["Item"]

    given = {"night_consent": {"BOOL": True}, "opted_out": {"BOOL": False}, "newsletter": {"BOOL": False}}
    dynamodb.put_item(TableName="consent", Item={"recipient_id": {"S": "r"}} | given)
    before = read_record(dynamodb, "consent", "r")
    said = {"night_consent": True, "opted_out": True, "evidence": "080 number"}
    after = amended(before, "r", statement(said, NIGHT), NIGHT, SEOUL)
    assert write(dynamodb, "consent", "consent-history", [Change(before, after, "changed", "080 number")], NIGHT)
    assert "newsletter" not in dynamodb.get_item(TableName="consent", Key={"recipient_id": {"S": "r"}})["Item"]


def test_a_progress_key_of_a_later_version_stops_the_file_until_the_code_is_new(bucket: Bucket) -> None:
    forms: Forms = json.loads((FORMS / VERSIONS[-1] / "campaigns.json").read_text(encoding="utf-8"))
    bucket.put({key: text.replace('{"offset"', '{"zone": "x", "offset"') for key, text in forms["half_done"].items()})
    with pytest.raises(TypeError):
        bucket.go_on(CSV_KEY)
    assert bucket.accepted() == []
    bucket.put(forms["half_done"])
    assert bucket.go_on(CSV_KEY) is None
    assert bucket.accepted() == ["row-3", "row-4", "row-5"]
