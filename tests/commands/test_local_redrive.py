"""Redrive: dead letters are reopened and go back in bundles, except those that may have been delivered. What no worker
has ended goes back to the notification queue unchanged."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console
from rich.progress import Progress

from commands import CommandError
from lambdas.quiet_hours.channels.channel import DELIVERED
from lambdas.quiet_hours.delivery.verdicts import dead_lettered
from lambdas.quiet_hours.notification.bundle import REDRIVEN, Message, dead_letter
from lambdas.quiet_hours.notification.fingerprint import fingerprint
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.depth import DEEP
from lambdas.quiet_hours.stores.entries import Ending, Entry, ended, released
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.timings import LEASE_S
from operators import redrive
from operators.letters import LEASE
from operators.redrive import Redrive, Redriven
from tests.helpers.aws import DAY, Faulty, depths, dynamodb, make_table, recorded, settings, sqs, take, text_attributes
from tests.helpers.delivery_world import (
    REJECTED,
    Clock,
    Killed,
    Provider,
    Queues,
    Sent,
    World,
    accepted,
    many,
)
from tests.helpers.redriving import outputs

__all__ = ["dynamodb", "settings", "sqs"]


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has no servers to ask one after the other, and takes no two calls at once."""
    monkeypatch.setattr(redrive, "POLL_S", 0)
    monkeypatch.setattr(redrive, "AT_ONCE", 1)


@dataclass
class Desk:
    """An operator's desk beside a worker: queues and tables in memory, and a worker on the same tables."""

    sqs: Any
    dynamodb: Any
    settings: Settings
    world: World
    waited: list[float] = field(default_factory=list)

    def redrive(self, letters_max: int = redrive.LETTERS_MAX, **choices: Any) -> Redriven:
        ledger = Ledger(choices.pop("dynamodb", self.dynamodb), "ledger", "operator", timedelta(minutes=2))
        client = choices.pop("sqs", self.sqs)
        with Progress(console=Console(quiet=True)) as progress:
            return Redrive(
                client,
                outputs(self.settings),
                ledger,
                self.settings,
                progress,
                now=self.world.clock,
                sleep=choices.pop("sleep", self.waited.append),
                **choices,
            ).run(letters_max)

    def refused(self, *notifications: Any, state: Ending = "dead_lettered") -> list[Message]:
        """Dead-letter notifications as a worker does, and put the letters on the queue. Returns them."""
        letters = []
        for notification in notifications:
            claim = Entry(notification["id"], "claimed", "a worker", fingerprint=fingerprint(notification))
            reason = "unknown_outcome: no answer" if state == "unknown" else "http_400: the webhook answered 400"
            ending = dead_lettered(claim, reason, self.world.clock(), state)
            self.dynamodb.put_item(TableName="ledger", Item=ending.to_item(self.world.clock()))
            letters.append(dead_letter(to_text(notification), reason, ending.id, ending.ended_at))
        self.put(letters)
        self.world.clock.sleep(1)
        return letters

    def put(self, letters: Sequence[Message]) -> None:
        assert not send(self.sqs, self.settings.dead_letter_queue_url, letters)

    def on(self, queue: str) -> list[list[str]]:
        """The ids of each message on a queue, which is emptied. What a worker reads goes to it."""
        url: str = getattr(self.settings, f"{queue}_queue_url")
        found = []
        for message in take(self.sqs, url):
            body = json.loads(message["Body"])
            found.append([each["id"] for each in (body if isinstance(body, list) else [body])])
            lane = "delivery" if queue == "notification" else queue
            sent = Sent(message["Body"], text_attributes(message), 0, self.world.clock(), message["MessageId"])
            self.world.sqs.put(lane, sent)
        return found

    def work(self) -> None:
        """Let the worker have everything that stands on a lane or on the notification queue."""
        for queue in ("urgent", "delivery", "schedule", "notification"):
            self.on(queue)
        for lane in ("urgent", "schedule", "delivery"):
            self.world.run(lane)

    def left(self) -> int:
        """How many letters there are, visible or not."""
        names = [f"ApproximateNumberOfMessages{suffix}" for suffix in ("", "NotVisible")]
        url = self.settings.dead_letter_queue_url
        return sum(map(int, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    def show_again(self, handles: Sequence[str]) -> None:
        """Let letters be seen whose time to be hidden has passed."""
        for handle in handles:
            with suppress(ClientError):  # it is deleted
                self.sqs.change_message_visibility(
                    QueueUrl=self.settings.dead_letter_queue_url, ReceiptHandle=handle, VisibilityTimeout=0
                )

    def visible(self) -> list[dict[str, Any]]:
        return take(self.sqs, self.settings.dead_letter_queue_url)


@pytest.fixture
def desk(sqs: Any, dynamodb: Any, settings: Settings) -> Desk:
    clock = Clock(DAY)
    world = World(dynamodb, clock, Queues(clock), Provider(clock), settings.quiet_hours())
    return Desk(sqs, dynamodb, settings, world)


# --- in bundles


def test_what_a_worker_has_ended_is_reopened_and_goes_back_in_bundles(desk: Desk) -> None:
    desk.refused(*many(20), accepted("code", category="critical"))
    assert desk.redrive() == Redriven(moved=21)
    assert desk.left() == 0
    entry = desk.world.entry("id-7")
    assert entry
    assert (entry.state, entry.owner, entry.attempts, entry.ended_at) == ("claimed", "", 0, "")
    assert desk.on("urgent") == [], "the codes of today do not wait behind those of yesterday"
    assert desk.on("delivery") == [["code"]]
    (bundle,) = desk.on("schedule")
    assert sorted(bundle) == sorted(f"id-{n}" for n in range(20))
    assert desk.on("notification") == []
    desk.work()
    assert Counter(desk.world.provider.ids) == Counter(["code", *(f"id-{n}" for n in range(20))])
    assert set(desk.world.states().values()) == {"delivered"}


def test_each_channel_has_bundles_of_its_own(desk: Desk) -> None:
    desk.refused(*(accepted(f"{channel}-{n}", channel=channel) for n in range(3) for channel in ("webhook", "log")))
    desk.redrive()
    found = sorted(sorted(bundle) for bundle in desk.on("schedule"))
    assert found == [[f"{channel}-{n}" for n in range(3)] for channel in ("log", "webhook")]


def test_a_bundle_takes_ten_calls_to_receive_ten_to_delete_and_three_more(desk: Desk, dynamodb: Any) -> None:
    """That is 230 calls for a thousand letters."""
    desk.refused(*many(100))
    with recorded(desk.sqs) as of_sqs, recorded(dynamodb) as of_dynamodb:
        assert desk.redrive().moved == 100
    assert Counter(call.operation for call in (*of_sqs, *of_dynamodb)) == {
        "ReceiveMessage": 10 + redrive.FRUITLESS_RECEIVES,
        "BatchGetItem": 1,
        "TransactWriteItems": 1,
        "SendMessageBatch": 1,
        "DeleteMessageBatch": 10,
    }
    assert [len(bundle) for bundle in desk.on("schedule")] == [100]


def test_a_redrive_has_an_end(desk: Desk) -> None:
    desk.refused(*many(25))
    assert desk.redrive(letters_max=20).moved == 20
    assert len(desk.visible()) == 5


def test_more_than_fits_in_memory_goes_in_rounds(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "ROUND_BYTES_MAX", 1)
    desk.refused(*many(35))
    assert desk.redrive().moved == 35
    assert sum(map(len, desk.on("schedule"))) == 35


# --- singly


def test_what_no_worker_has_ended_goes_back_singly_as_it_was(desk: Desk) -> None:
    letter = dead_letter('{"id":"a"}', "http_410: gone", "a", "2020-11-11T12:03:00.000+00:00")
    desk.put([letter] * 12)
    assert desk.redrive() == Redriven(moved=12)
    messages = take(desk.sqs, desk.settings.notification_queue_url)
    assert [message["Body"] for message in messages] == [letter.body] * 12
    assert all(text_attributes(message) == letter.attributes for message in messages)
    assert desk.left() == 0


def test_a_letter_whose_entry_is_gone_goes_singly_with_its_attribute(desk: Desk) -> None:
    (letter,) = desk.refused(accepted("a"))
    desk.dynamodb.delete_item(TableName="ledger", Key={"id": {"S": "a"}})
    assert desk.redrive() == Redriven(moved=1)
    (message,) = take(desk.sqs, desk.settings.notification_queue_url)
    assert (message["Body"], text_attributes(message)) == (letter.body, letter.attributes)


def test_what_the_target_does_not_take_stays(desk: Desk) -> None:
    url = desk.settings.notification_queue_url
    desk.sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "1024"})
    desk.put([dead_letter("x" * 2000, "unreadable: not JSON"), dead_letter("{}", "x")])
    assert desk.redrive() == Redriven(moved=1, failed=1)
    assert len(desk.visible()) == 1


def test_bundles_that_sqs_does_not_take_stay_and_go_with_the_next_run(desk: Desk) -> None:
    def refuse(real: Any, **parameters: Any) -> Any:
        raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, "SendMessageBatch")

    desk.refused(*many(3))
    assert desk.redrive(sqs=Faulty(desk.sqs, send_message_batch=refuse)) == Redriven(failed=3)
    assert desk.redrive() == Redriven(moved=3)
    desk.work()
    assert sorted(desk.world.provider.ids) == ["id-0", "id-1", "id-2"]


def test_what_comes_back_meanwhile_stays_since_nothing_about_it_has_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that refuses a letter again at once would keep a redrive busy for ever."""
    desk.put([dead_letter("no JSON", "unreadable: not JSON")])
    delete = Redrive._delete

    def delete_and_refuse_again(self: Redrive, letters: Sequence[Any]) -> None:
        delete(self, letters)
        time.sleep(0.01)
        desk.put([Message(letter.body) for letter in letters])

    monkeypatch.setattr(Redrive, "_delete", delete_and_refuse_again)
    assert desk.redrive(letters_max=10) == Redriven(moved=1)
    assert desk.left() == 1


def test_it_pauses_while_the_notification_queue_is_deep(desk: Desk) -> None:
    desk.put([dead_letter("{}", "invalid: x")] * 3)
    deep = Faulty(desk.sqs, get_queue_attributes=depths(DEEP + 1, 9_000, DEEP))
    assert desk.redrive(sqs=deep) == Redriven(moved=3)
    assert len(desk.waited) == 2


def test_bundles_do_not_wait_for_the_notification_queue(desk: Desk) -> None:
    def never(seconds: float) -> None:
        raise AssertionError("a pause")

    desk.refused(*many(3))
    assert desk.redrive(sqs=Faulty(desk.sqs, get_queue_attributes=depths(9_000)), sleep=never).moved == 3


# --- unknown outcomes


def unknown(desk: Desk, *ids: str) -> list[Message]:
    desk.world.provider.can_resend = False
    return desk.refused(*map(accepted, ids), state="unknown")


def test_an_unknown_outcome_stays_unless_an_operator_says_so(desk: Desk) -> None:
    unknown(desk, "a", "b")
    assert desk.redrive() == Redriven(unknown=2)
    assert desk.redrive() == Redriven(unknown=2), "it is visible again at once"
    assert desk.on("schedule") == desk.on("notification") == []
    assert desk.redrive(resend_unknown=True) == Redriven(moved=2)
    desk.work()
    assert sorted(desk.world.provider.ids) == ["a", "b"]
    assert desk.world.states() == {"a": "delivered", "b": "delivered"}


def test_the_ledger_says_what_is_unknown_and_not_the_letter(desk: Desk) -> None:
    (letter,) = unknown(desk, "a")
    desk.visible()
    desk.put([replace(letter, attributes={**(letter.attributes or {}), "reason": "http_400: forged"})])
    assert desk.redrive() == Redriven(unknown=1)


@pytest.mark.parametrize("body", ["no JSON", '{"id":"gone"}'])
def test_a_letter_that_says_so_stays_although_the_ledger_does_not_know_it(desk: Desk, body: str) -> None:
    desk.put([dead_letter(body, "unknown_outcome: no answer", "gone", "2020-11-11T12:03:00.000+00:00")])
    assert desk.redrive() == Redriven(unknown=1)
    assert desk.redrive(resend_unknown=True) == Redriven(moved=1)


# --- expired


def test_expired_ones_are_counted_before_and_kept_if_nobody_says_else(desk: Desk) -> None:
    soon = (DAY + timedelta(hours=1)).isoformat()
    desk.refused(accepted("late", expires_at=soon), accepted("fresh"))
    desk.world.clock.sleep(7200)
    asked: list[int] = []

    def keep(number: int) -> bool:
        asked.append(number)
        return False

    assert desk.redrive(drops=keep) == Redriven(moved=2)
    assert asked == [1]
    desk.work()
    assert desk.world.states() == {"late": "expired", "fresh": "delivered"}


def test_expired_ones_are_dropped_where_an_operator_says_so(desk: Desk) -> None:
    soon = (DAY + timedelta(hours=1)).isoformat()
    desk.refused(accepted("late", expires_at=soon), accepted("fresh"))
    desk.world.clock.sleep(7200)
    assert desk.redrive(drops=lambda number: True) == Redriven(moved=1, dropped=1)
    entry = desk.world.entry("late")
    assert entry
    assert (entry.state, entry.reason) == ("expired", "an operator has dropped it, because it had expired")
    assert (desk.on("schedule"), desk.left()) == ([["fresh"]], 0)


def test_an_unknown_outcome_is_not_dropped_as_expired(desk: Desk) -> None:
    """It may have been delivered: nobody has said otherwise."""
    desk.refused(accepted("late", expires_at=(DAY + timedelta(hours=1)).isoformat()), state="unknown")
    desk.world.clock.sleep(7200)
    assert desk.redrive(drops=lambda number: True) == Redriven(unknown=1)
    assert desk.world.state("late") == "unknown"


# --- letters that are not what the worker wrote


def mended(letter: Message, **fields: Any) -> Message:
    return replace(letter, body=json.dumps(json.loads(letter.body) | fields, ensure_ascii=False))


def test_a_mended_letter_is_sent_as_it_is_now(desk: Desk) -> None:
    (letter,) = desk.refused(accepted("a"))
    desk.visible()
    desk.put([mended(letter, content={"body": "mended"})])
    assert desk.redrive() == Redriven(moved=1)
    desk.work()
    assert (desk.world.state("a"), desk.world.provider.ids) == ("delivered", ["a"])


def test_a_mended_letter_goes_before_its_original_which_is_never_sent(desk: Desk) -> None:
    (letter,) = desk.refused(accepted("a"))
    time.sleep(0.01)
    desk.put([mended(letter, content={"body": "mended"})])
    assert desk.redrive() == Redriven(moved=1, busy=1)
    sent: list[Any] = []
    desk.world.provider.answer = lambda notification: sent.append(notification["content"]) or DELIVERED  # type: ignore[func-returns-value]
    desk.work()
    assert desk.redrive() == Redriven(moved=1)
    desk.work()
    assert sent == [{"body": "mended"}]
    assert (desk.left(), desk.world.sqs.messages["dead-letter"]) == (0, [])


def test_content_that_this_deployment_refuses_goes_to_the_consumer(desk: Desk) -> None:
    """A bundle passes no consumer, which would have refused it."""
    (letter,) = desk.refused(accepted("a"))
    desk.visible()
    desk.settings = replace(desk.settings, advertising_label=True, sender_name="온결")
    unlabelled = mended(letter, category="advertising", content={"body": "가을 세일"})
    desk.put([unlabelled])
    assert desk.redrive() == Redriven(moved=1)
    (message,) = take(desk.sqs, desk.settings.notification_queue_url)
    assert message["Body"] == unlabelled.body
    assert desk.world.state("a") == "dead_lettered"


def test_two_letters_of_one_notification_are_one_send(desk: Desk) -> None:
    (letter,) = desk.refused(accepted("a"))
    desk.put([letter, letter])
    assert desk.redrive() == Redriven(moved=3)
    desk.work()
    assert desk.world.provider.ids == ["a"]


INSTANT = "2020-11-11T03:00:00.000+00:00"
FORGED: dict[str, dict[str, Any]] = {
    "no attributes": {},
    "no reason": {REDRIVEN: INSTANT},
    "a reason of nothing but its code": {"reason": "unknown_outcome", REDRIVEN: INSTANT},
    "an unknown outcome without an id": {"reason": "unknown_outcome: forged", REDRIVEN: INSTANT},
    "an unknown outcome without an instant": {"reason": "unknown_outcome: forged", "notification_id": "a"},
    "an instant that is none": {"reason": "http_400: x", "notification_id": "a", REDRIVEN: "yesterday"},
    "another instant": {"reason": "http_400: x", "notification_id": "a", REDRIVEN: "2020-11-11T02:59:59.999+00:00"},
    "the same instant in another spelling": {"notification_id": "a", REDRIVEN: INSTANT.replace("+00:00", "Z")},
    "another's id": {"reason": "http_400: x", "notification_id": "other", REDRIVEN: INSTANT},
    "a number": {"reason": "http_400: x", "notification_id": "a", REDRIVEN: {"DataType": "Number", "StringValue": "7"}},
    "bytes": {
        "reason": {"DataType": "Binary", "BinaryValue": b"unknown_outcome: \xff"},
        "notification_id": {"DataType": "Binary", "BinaryValue": b"a"},
        REDRIVEN: {"DataType": "Binary", "BinaryValue": INSTANT.encode()},
    },
    "long ones": {"reason": "x" * 20_000, "notification_id": "a" * 20_000, REDRIVEN: "9" * 20_000},
}


@pytest.mark.parametrize("attributes", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("resend_unknown", [False, True])
def test_forged_attributes_crash_nothing_and_undo_nothing_that_they_do_not_name(
    desk: Desk, attributes: dict[str, Any], resend_unknown: bool
) -> None:
    (letter,) = desk.refused(accepted("a"), accepted("b"))[:1]
    desk.visible()
    before = desk.world.states()
    given = {
        name: value if isinstance(value, dict) else {"DataType": "String", "StringValue": value}
        for name, value in attributes.items()
    }
    desk.sqs.send_message(
        QueueUrl=desk.settings.dead_letter_queue_url, MessageBody=letter.body, MessageAttributes=given
    )
    done = desk.redrive(resend_unknown=resend_unknown)
    assert done.moved + done.unknown == 1
    assert desk.on("schedule") == desk.on("delivery") == []
    desk.work()
    if attributes.get(REDRIVEN) == INSTANT and done.moved:  # it names this ending of the notification in its body
        before["a"] = "delivered"
    assert desk.world.states() == before


# --- stopped and repeated


def since_reopened(desk: Desk, state: str) -> None:
    """Bring the entry of `a` to a state in which a redrive that was stopped may have left it."""
    ledger = Ledger(desk.dynamodb, "ledger", "another worker", timedelta(minutes=2))
    found = desk.world.entry("a")
    assert found and desk.redrive().moved == 1
    desk.on("schedule")
    if state == "claimed":
        ledger.claim({"a": None}, desk.world.clock(), {"a": found.fingerprint})
    if state == "waiting":
        (entry,) = ledger.claim({"a": None}, desk.world.clock(), {"a": found.fingerprint}).held.values()
        ledger.release([released(entry, 1, desk.world.clock() + timedelta(minutes=5))], desk.world.clock())
    if state in ("delivered", "refused again"):
        desk.world.provider.answer = lambda _: DELIVERED if state == "delivered" else REJECTED
        desk.world.run("schedule")
        desk.world.provider.answer = lambda _: DELIVERED
    if state == "cancelled":
        assert ledger.cancel("a", desk.world.clock()) == "cancelled"


@pytest.mark.parametrize("state", ["reopened", "claimed", "waiting", "delivered", "refused again", "cancelled"])
def test_a_letter_that_was_reopened_and_not_deleted_is_neither_lost_nor_sent_twice(desk: Desk, state: str) -> None:
    (letter,) = desk.refused(accepted("a"))
    since_reopened(desk, state)
    calls_before = len(desk.world.provider.ids)
    desk.put([letter])  # the first run has not deleted it
    assert desk.redrive() == Redriven(moved=1)
    desk.work()
    sent = desk.world.provider.ids[calls_before:]
    ends = {"refused again": "dead_lettered", "cancelled": "cancelled"}
    assert desk.world.state("a") == ends.get(state, "delivered")
    assert sent == ([] if state in ("delivered", "refused again", "cancelled") else ["a"])


class Crashing:
    """Clients whose calls are counted together, and whose process ends at one of them: before it takes effect, or
    after. `handles` are those of the letters that it has hidden."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after, self.calls = at, after, 0
        self.handles: list[str] = []

    def around(self, client: Any) -> Any:
        return Faulty(client, **dict.fromkeys(OPERATIONS, self._call))

    def _call(self, real: Callable[..., Any], **parameters: Any) -> Any:
        self.calls += 1
        is_dead = self.at and (self.calls > self.at or (self.calls == self.at and not self.after))
        if is_dead:
            raise Killed
        answer = real(**parameters)
        self.handles += [message["ReceiptHandle"] for message in answer.get("Messages", [])]
        if self.calls == self.at:
            raise Killed
        return answer


OPERATIONS = (
    *("receive_message", "send_message", "send_message_batch", "delete_message_batch", "get_queue_attributes"),
    *("change_message_visibility_batch", "batch_get_item", "transact_write_items"),
)


@pytest.mark.parametrize("worker_is_quicker", [False, True])
def test_wherever_a_redrive_dies_the_next_one_brings_back_each_letter_once(desk: Desk, worker_is_quicker: bool) -> None:
    played = itertools.count()

    def play(at: int, after: bool) -> int:
        name, now = f"n{next(played)}", desk.world.clock()
        desk.dynamodb.delete_table(TableName="ledger")  # memory copies the whole table for each transaction
        make_table("ledger")
        ids = [f"{name}-{n}" for n in range(4)]
        kinds = ["informational", "informational", "critical", "informational"]
        lasting, soon = ((now + timedelta(hours=hours)).isoformat() for hours in (48, 1))
        desk.world.provider.got.clear()
        desk.refused(
            *(accepted(id, category=kind, expires_at=lasting) for id, kind in zip(ids, kinds, strict=True)),
            accepted(f"{name}-late", expires_at=soon),
        )
        desk.put([dead_letter(f'{{"id":"{name}-invalid"}}', "invalid: x", f"{name}-invalid")])
        desk.world.clock.sleep(2 * 3600)
        crash = Crashing(at, after)
        with suppress(Killed):
            desk.redrive(drops=lambda _: True, sqs=crash.around(desk.sqs), dynamodb=crash.around(desk.dynamodb))
            assert at == 0
        if worker_is_quicker:
            desk.work()
        desk.show_again(crash.handles)
        desk.redrive(drops=lambda _: True)
        desk.work()
        assert sorted(desk.world.provider.ids) == sorted(ids)
        assert desk.world.states() == dict.fromkeys(ids, "delivered") | {f"{name}-late": "expired"}
        letters = [each.attributes["notification_id"] for each in desk.world.sqs.messages["dead-letter"]]
        assert set(letters) == {f"{name}-invalid"}  # the consumer's part, which the worker does here
        assert desk.left() == 0
        desk.world.sqs.messages["dead-letter"].clear()
        return crash.calls

    number = play(0, after=False)
    assert number == 13
    for at in range(1, number + 1):
        for after in (False, True):
            play(at, after)


def test_who_stops_it_leaves_every_letter_visible_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "TRANSACTION_ITEMS_MAX", 10)
    desk.refused(*many(30))
    calls = itertools.count()

    def stop(real: Any, **parameters: Any) -> Any:
        if next(calls) == 1:
            raise SystemExit(130)  # what run_command makes of Ctrl-C
        return real(**parameters)

    with pytest.raises(SystemExit):
        desk.redrive(sqs=Faulty(desk.sqs, send_message_batch=stop))
    assert len(desk.visible()) == 20


def test_the_lease_that_a_redrive_counts_with_is_the_workers() -> None:
    assert timedelta(seconds=LEASE_S) == LEASE


def test_a_letter_stays_while_the_worker_that_wrote_it_has_not_recorded_its_ending_yet(desk: Desk) -> None:
    (letter,) = desk.refused(accepted("a"), state="unknown")
    lease_until_ms = int((desk.world.clock() + timedelta(seconds=60)).timestamp() * 1000)
    given = fingerprint(json.loads(letter.body))
    claim = Entry("a", "claimed", "a worker", lease_until_ms, attempts=1, sending=True, fingerprint=given)
    desk.dynamodb.put_item(TableName="ledger", Item=claim.to_item(desk.world.clock()))
    assert desk.redrive() == Redriven(busy=1)
    assert (len(desk.visible()), desk.on("schedule"), desk.on("notification")) == (1, [], [])
    desk.put([letter])
    desk.world.clock.sleep(61)
    assert desk.redrive(resend_unknown=True) == Redriven(moved=1)


def test_a_ledger_that_does_not_answer_ends_it_in_one_sentence(desk: Desk) -> None:
    def away(real: Any, **parameters: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "TransactWriteItems")

    desk.refused(*many(3))
    with pytest.raises(CommandError, match=r"0 letters are moved, then a call failed \(AccessDeniedException\)"):
        desk.redrive(dynamodb=Faulty(desk.dynamodb, transact_write_items=away))
    assert len(desk.visible()) == 3


def test_what_somebody_changes_at_this_moment_stays_for_the_next_run(desk: Desk) -> None:
    def changed(real: Any, TransactItems: list[Any]) -> Any:
        entry = ended(Entry("a", "claimed"), "cancelled", DAY + timedelta(hours=1))
        desk.dynamodb.put_item(TableName="ledger", Item=entry.to_item(DAY))
        return real(TransactItems=TransactItems)

    desk.refused(accepted("a"), accepted("b"))
    done = desk.redrive(dynamodb=Faulty(desk.dynamodb, transact_write_items=changed))
    assert done == Redriven(moved=1, busy=1)
    assert (desk.on("schedule"), desk.world.state("a")) == ([["b"]], "cancelled")


# --- the choice


@pytest.mark.parametrize(("given", "dropped"), [("", False), ("keep", False), ("drop", True)])
def test_the_environment_says_what_is_done_with_expired_ones(
    monkeypatch: pytest.MonkeyPatch, given: str, dropped: bool
) -> None:
    monkeypatch.setenv("EXPIRED", given)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert redrive._drops(Progress(console=Console(quiet=True)))(3) is dropped


@pytest.mark.parametrize(("answer", "dropped"), [("y", True), ("YES ", True), ("", False), ("n", False)])
def test_whoever_is_at_the_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str, dropped: bool) -> None:
    asked: list[str] = []
    monkeypatch.delenv("EXPIRED", raising=False)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())

    def ask(text: str) -> str:
        asked.append(text)
        return answer

    monkeypatch.setattr("builtins.input", ask)
    assert redrive._drops(Progress(console=Console(quiet=True)))(3) is dropped
    assert asked == ["Drop the 3 expired ones? Otherwise the worker ends them as expired. [y/N] "]


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPIRED", "delete")
    with pytest.raises(CommandError, match="EXPIRED= must be keep or drop"):
        redrive._drops(Progress(console=Console(quiet=True)))
