"""A table restored from a point in time: opt-outs made since then count again, and nothing is sent a second time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commands import CommandError
from lambdas.quiet_hours.consents.record import Record, amended, renotified
from lambdas.quiet_hours.consents.statement import Statement
from lambdas.quiet_hours.consents.times import iso
from lambdas.quiet_hours.errors import StatementRefused
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import Change, read_consents, read_record, write
from lambdas.quiet_hours.stores.ledger import Entry, Ledger
from operators import restore
from operators.restore import Consents, LedgerTable, read_ids
from tests.helpers.aws import TABLES, Faulty, create_table, dynamodb, put_consent, settings, sqs
from tests.helpers.delivery_world import SETTINGS, UNKNOWN, Clock, Provider, Queues, World, accepted

__all__ = ["dynamodb", "settings", "sqs"]

SEOUL = ZoneInfo("Asia/Seoul")
T = datetime(2026, 11, 1, tzinfo=UTC)
NOW = T + timedelta(days=5)
YES = Statement(night_consent=True, opted_out=False, evidence="web form")
OUT = Statement(night_consent=False, opted_out=True, evidence="080 number")

Say = Callable[..., None]


@pytest.fixture
def say(dynamodb: Any, settings: Settings) -> Say:
    """Say something of a recipient as the registrar does, so many hours after T."""

    def call(recipient: str, said: Statement | None, hours: float) -> None:
        now = T + timedelta(hours=hours)
        before = read_record(dynamodb, "consent", recipient)
        if said is None:
            after, event, evidence = renotified(before, None, now, SEOUL), "renotified", "mail"
        else:
            after, event, evidence = amended(before, recipient, said, now, SEOUL), "changed", said.evidence
        assert write(dynamodb, "consent", "consent-history", [Change(before, after, event, evidence)], now)

    return call


@pytest.fixture
def consents(dynamodb: Any, settings: Settings) -> Consents:
    return Consents(dynamodb, "consent", "consent-history", SEOUL)


def items(dynamodb: Any, table: str) -> dict[str, Any]:
    key = TABLES.get(table, (("recipient_id",), None))[0]
    found = dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
    return {" ".join(item[name]["S"] for name in key): item for item in found}


def snapshot(dynamodb: Any, table: str, to: str) -> None:
    """A table as a restoration from this point in time would make it."""
    create_table(dynamodb, to, *TABLES[table])
    for item in items(dynamodb, table).values():
        dynamodb.put_item(TableName=to, Item=item)


def roll_back(dynamodb: Any, table: str, to: str) -> None:
    """Replace what is in a table by what is in another."""
    keys = TABLES[table][0]
    for item in items(dynamodb, table).values():
        dynamodb.delete_item(TableName=table, Key={name: item[name] for name in keys})
    for item in dynamodb.scan(TableName=to)["Items"]:
        dynamodb.put_item(TableName=table, Item=item)


# --- consents


def test_after_a_rollback_the_history_brings_back_every_change_as_it_was(
    say: Say, dynamodb: Any, consents: Consents
) -> None:
    for recipient in ("opts-out", "comes-back", "renotified", "quiet", "expires"):
        say(recipient, YES, -24)
    snapshot(dynamodb, "consent", "restored")
    say("opts-out", OUT, 1)
    say("comes-back", OUT, 1)
    say("comes-back", YES, 2)
    say("renotified", None, 3)
    say("renotified", replace(YES, evidence="call"), 4)
    say("expires", replace(YES, expires_at="2027-01-01T00:00:00.000+00:00"), 1)
    say("new", OUT, 1)
    stands, told = items(dynamodb, "consent"), items(dynamodb, "consent-history")
    roll_back(dynamodb, "consent", "restored")
    assert not read_consents(dynamodb, "consent", ["opts-out"], NOW)["opts-out"].opted_out

    assert consents.replay(T, NOW) == {"replayed": 5}
    assert items(dynamodb, "consent") == stands
    assert items(dynamodb, "consent-history") == told
    assert consents.replay(T, NOW) == {"unchanged": 5}
    assert consents.replay(T - timedelta(days=30), NOW) == {"unchanged": 6}
    assert items(dynamodb, "consent") == stands


def test_a_replay_never_undoes_what_was_said_since_the_restoration(say: Say, dynamodb: Any, consents: Consents) -> None:
    say("a", OUT, -24)
    snapshot(dynamodb, "consent", "restored")
    say("a", YES, 1)
    roll_back(dynamodb, "consent", "restored")
    say("a", replace(OUT, evidence="call after the restoration"), 2)
    consents.replay(T, NOW)
    assert read_consents(dynamodb, "consent", ["a"], NOW)["a"].opted_out
    record = read_record(dynamodb, "consent", "a")
    with pytest.raises(StatementRefused):
        amended(record, "a", replace(YES, made_at=T + timedelta(hours=1)), NOW, SEOUL)


def test_a_replay_grants_nothing_against_a_record_without_a_date(say: Say, dynamodb: Any, consents: Consents) -> None:
    say("a", YES, 1)
    dynamodb.delete_item(TableName="consent", Key={"recipient_id": {"S": "a"}})
    put_consent(dynamodb, "a", opted_out=True)
    assert consents.replay(T, NOW) == {"unchanged": 1}
    assert read_consents(dynamodb, "consent", ["a"], NOW)["a"].opted_out


def test_a_replay_reads_again_what_somebody_changes_meanwhile(say: Say, dynamodb: Any, consents: Consents) -> None:
    say("a", YES, -24)
    snapshot(dynamodb, "consent", "restored")
    say("a", replace(YES, evidence="call"), 1)
    roll_back(dynamodb, "consent", "restored")
    left = [OUT]

    def slower(real: Callable[..., Any], **parameters: Any) -> Any:
        if left:
            say("a", left.pop(), 2)
        return real(**parameters)

    busy: Any = Faulty(dynamodb, put_item=slower)
    assert replace(consents, dynamodb=busy).replay(T, NOW) == {"unchanged": 1}
    assert read_consents(dynamodb, "consent", ["a"], NOW)["a"].opted_out


def test_what_the_table_in_use_has_lost_comes_back_from_the_restored_one(
    say: Say, dynamodb: Any, consents: Consents
) -> None:
    for recipient in ("lost", "overwritten", "newer", "told"):
        say(recipient, YES, -24)
    say("out", OUT, -24)
    put_consent(dynamodb, "by-hand", opted_out=True)
    put_consent(dynamodb, "by-hand-later", night_consent=True)
    snapshot(dynamodb, "consent", "restored")
    say("newer", OUT, 1)
    say("told", None, 1)
    for recipient in ("lost", "out", "by-hand"):
        dynamodb.delete_item(TableName="consent", Key={"recipient_id": {"S": recipient}})
    put_consent(dynamodb, "overwritten", night_consent=True)
    put_consent(dynamodb, "by-hand-later", night_consent=True, opted_out=True)
    put_consent(dynamodb, "by-hand-new", opted_out=True)
    assert consents.copy_back("restored") == {"put back": 4, "kept": 3}
    found = read_consents(dynamodb, "consent", list(items(dynamodb, "consent")), NOW)
    assert {each for each, consent in found.items() if consent.opted_out} == {
        "out",
        "newer",
        "by-hand",
        "by-hand-later",
        "by-hand-new",
    }
    assert {each for each, consent in found.items() if consent.night_consent} >= {"lost", "overwritten", "told"}
    restored = items(dynamodb, "restored")
    assert {each: items(dynamodb, "consent")[each] for each in ("lost", "overwritten", "out", "by-hand")} == {
        each: restored[each] for each in ("lost", "overwritten", "out", "by-hand")
    }
    assert consents.copy_back("restored") == {"kept": 7}


END = "2027-01-01T00:00:00.000+00:00"
LATER_END = "2027-06-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    ("restored", "present", "goes_back"),
    [
        ({"night_consent": True}, {"night_consent": True, "expires_at": END}, False),
        ({"night_consent": True, "expires_at": LATER_END}, {"night_consent": True, "expires_at": END}, False),
        ({"night_consent": True, "expires_at": END}, {}, False),
        ({"night_consent": True, "expires_at": END}, {"night_consent": True}, True),
        ({"night_consent": True, "expires_at": END}, {"night_consent": True, "expires_at": LATER_END}, True),
        ({"opted_out": True}, {"night_consent": True, "expires_at": END}, True),
        ({}, {"opted_out": True}, False),
        ({}, {"night_consent": True, "expires_at": END}, True),
    ],
)
@pytest.mark.parametrize("changed_at", ["", iso(T)])
def test_a_restored_record_without_a_newer_date_never_grants_more_than_what_stands(
    dynamodb: Any,
    consents: Consents,
    restored: dict[str, Any],
    present: dict[str, Any],
    goes_back: bool,
    changed_at: str,
) -> None:
    dynamodb.put_item(TableName="consent", Item=Record("a", changed_at=changed_at, **restored).to_item())
    snapshot(dynamodb, "consent", "restored")
    stands = Record("a", changed_at=changed_at, **present).to_item()
    dynamodb.put_item(TableName="consent", Item=stands)
    assert consents.copy_back("restored") == ({"put back": 1} if goes_back else {"kept": 1})
    assert items(dynamodb, "consent")["a"] == (items(dynamodb, "restored")["a"] if goes_back else stands)


def test_a_record_that_the_damage_made_older_goes_back_to_the_newer_statement(
    say: Say, dynamodb: Any, consents: Consents
) -> None:
    say("a", OUT, -48)
    snapshot(dynamodb, "consent", "older")
    say("a", YES, -24)
    snapshot(dynamodb, "consent", "restored")
    roll_back(dynamodb, "consent", "older")
    assert consents.copy_back("restored") == {"put back": 1}
    assert items(dynamodb, "consent") == items(dynamodb, "restored")


# --- the ledger


def worker(dynamodb: Any, can_resend: bool = True, **answer: Any) -> World:
    clock = Clock()
    provider = Provider(clock, can_resend=can_resend, **answer)
    return World(dynamodb, clock, Queues(clock), provider, SETTINGS.quiet_hours())


def test_what_the_ledger_has_lost_comes_back_and_is_not_sent_again(dynamodb: Any, settings: Settings) -> None:
    first = worker(dynamodb)
    first.invoke(accepted("before"), accepted("stays"))
    Ledger(dynamodb, "ledger", "api", timedelta(minutes=2)).cancel("cancelled", first.clock())
    dynamodb.put_item(TableName="ledger", Item=Entry("open", "claimed", attempts=3).to_item(first.clock()))
    snapshot(dynamodb, "ledger", "restored")
    first.invoke(accepted("open"), accepted("after"))
    for id in ("before", "cancelled", "open", "after"):
        dynamodb.delete_item(TableName="ledger", Key={"id": {"S": id}})

    ledger = LedgerTable(dynamodb, "ledger")
    assert ledger.copy_back("restored") == {"ended, put back": 2, "open, put back": 1, "kept": 1}
    assert ledger.delivered(["after", "stays"], first.clock()) == {"recorded": 1, "kept": 1}
    assert ledger.copy_back("restored") == {"kept": 4}
    again = worker(dynamodb, can_resend=False)
    again.invoke(*map(accepted, ("before", "stays", "cancelled", "open", "after")))
    assert again.provider.ids == []
    assert again.letter().ids == ["open"]
    assert again.letter().attributes["reason"].startswith("unknown_outcome: ")
    assert again.state("cancelled") == "cancelled"


def test_what_was_open_is_sent_again_only_where_the_provider_knows_a_repeat(dynamodb: Any, settings: Settings) -> None:
    worker(dynamodb, answer=lambda _: UNKNOWN).invoke(accepted("open"))
    snapshot(dynamodb, "ledger", "restored")
    dynamodb.delete_item(TableName="ledger", Key={"id": {"S": "open"}})
    LedgerTable(dynamodb, "ledger").copy_back("restored")
    world = worker(dynamodb)
    world.clock.sleep(60)
    world.invoke(accepted("open"))
    assert world.provider.ids == ["open"]


def test_a_file_of_ids_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "sent.txt"
    file.write_text("a:1\nb:2\n")
    assert read_ids(file) == ["a:1", "b:2"]
    file.write_text("a:1\nno id\n")
    with pytest.raises(CommandError, match="Line 2"):
        read_ids(file)


def test_a_file_of_ids_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nowhere\.txt cannot be read: No such file"):
        read_ids(tmp_path / "nowhere.txt")


# --- the command


@pytest.fixture
def command(
    dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run `python -m operators.restore` on the deployment in memory; returns what it prints."""
    functions = SimpleNamespace(
        get_function_configuration=lambda FunctionName: {"Environment": {"Variables": settings.to_env()}}
    )
    outputs = {"LedgerTableName": "ledger", "RegistrarFunctionName": "registrar"}
    clients = {"dynamodb": dynamodb, "lambda": functions}
    monkeypatch.setattr(restore, "target", lambda: (clients.__getitem__, outputs))

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["restore", *arguments])
        restore.main()
        return capsys.readouterr().out

    return call


def test_the_command_restores_consents(say: Say, dynamodb: Any, command: Callable[..., str]) -> None:
    say("a", YES, -24)
    snapshot(dynamodb, "consent", "restored")
    say("a", OUT, 1)
    stands = items(dynamodb, "consent")
    dynamodb.delete_item(TableName="consent", Key={"recipient_id": {"S": "a"}})
    assert command("consents", "--from", "restored", "--since", "2026-11-01T00:00:00Z") == (
        "Copied from the restored table: 1 put back.\nApplied from the history: 1 replayed.\n"
    )
    assert items(dynamodb, "consent") == stands
    with pytest.raises(SystemExit):
        command("consents", "--since", "2026-11-01")


def test_the_command_reads_the_ids_before_it_writes_anything(
    dynamodb: Any, command: Callable[..., str], tmp_path: Path
) -> None:
    dynamodb.put_item(TableName="ledger", Item=Entry("open", "claimed", attempts=3).to_item(NOW))
    snapshot(dynamodb, "ledger", "restored")
    dynamodb.delete_item(TableName="ledger", Key={"id": {"S": "open"}})
    with pytest.raises(CommandError):
        command("ledger", "--from", "restored", "--delivered", str(tmp_path / "nowhere.txt"))
    assert items(dynamodb, "ledger") == {}


def test_the_command_restores_the_ledger(dynamodb: Any, command: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "sent.txt").write_text("a\n")
    snapshot(dynamodb, "ledger", "restored")
    assert command("ledger", "--from", "restored", "--delivered", str(tmp_path / "sent.txt")) == (
        "Copied from the restored table: nothing.\nDeliveries: 1 recorded.\n"
    )
    assert json.dumps(items(dynamodb, "ledger")["a"]["state"]) == '{"S": "delivered"}'
