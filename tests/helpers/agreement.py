"""Compares the simulation's queues and tables with those of moto or of the embedded AWS. Both get the same seeded calls
and have to give the same answers.

What a real SQS or DynamoDB leaves open (which message comes first, when a duplicate comes) is compared as a set, or not
at all. These differences are wanted:

- Message ids and receipt handles: each side makes its own.
- A short poll of the model may answer "empty" when the queue is not, as SQS documents; moto and the embedded AWS never
  do. The model is asked by long poll, the other side by short poll, which is the one that does not wait there.
- Deleting by an old receipt handle: the model keeps the message and reports success, as SQS documents it. The embedded
  AWS keeps it and reports a failure, which the callers treat alike: only that it stays is compared. moto deletes it and
  is not asked (`old_handles_agree`).
- 26 writes in one BatchWriteItem: the model refuses them, as DynamoDB and the embedded AWS do; moto takes them and is
  not asked (`MORE_WRITES`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdas.quiet_hours.stores.entries import ENDINGS, Ending, Entry, ended
from lambdas.quiet_hours.stores.health import Failure, Health
from lambdas.quiet_hours.stores.held import Held, held_of, read_held, record_held
from lambdas.quiet_hours.stores.ledger import Ledger, Reopening
from lambdas.quiet_hours.stores.turns import Probe, Turns
from simulation.faults import Faults
from simulation.queues import Queue, Sqs
from simulation.tables import DynamoDb, Table
from simulation.world import World
from tests.helpers.aws import TABLES, create_table

MODELLED_TABLES = ("ledger", "consent", "held", "turn")
START = datetime(2020, 11, 11, 12, 0, tzinfo=UTC)
SEQUENCES = 5
STEPS = 40


class Model:
    """The simulation's clients, outside of any night: no time passes and nothing fails."""

    def __init__(self) -> None:
        world = World(START, 0)
        faults = Faults(Random(0), 0.0)
        process: Any = SimpleNamespace(world=world, pause=lambda seconds: None, name="test")
        dead_letter = Queue(world, faults, "dead", 0.0, 86_400)
        lane = Queue(world, faults, "lane", 0.0, 86_400, receives_max=3, dead_letter=dead_letter)
        hidden = Queue(world, faults, "hidden", 600.0, 86_400, bytes_max=64 * 1024)
        self.urls = {queue.name: queue.url for queue in (dead_letter, lane, hidden)}
        self.sqs: Any = Sqs(process, faults, {queue.url: queue for queue in (dead_letter, lane, hidden)})
        keys = {"ledger": "id", "consent": "recipient_id", "held": "id", "turn": "channel"}
        tables = {name: Table(world, name, key) for name, key in keys.items()}
        self.dynamodb: Any = DynamoDb(process, faults, tables)

    def receive(self, queue: str, most: int) -> list[Any]:
        return _messages(self.sqs, self.urls[queue], most, wait_s=1)


class Real:
    """The clients of moto or of an endpoint, with the same queues and tables."""

    def __init__(self, endpoint: str | None = None) -> None:
        options: dict[str, Any] = {
            "region_name": "ap-northeast-2",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "endpoint_url": endpoint,
            "config": Config(retries={"total_max_attempts": 1}),
        }
        self.sqs: Any = boto3.client("sqs", **options)
        self.dynamodb: Any = boto3.client("dynamodb", **options)
        self.urls: dict[str, str] = {}

    def fresh(self) -> Real:
        """Empty its queues and tables, and return itself."""
        if self.urls:
            self.clean()
        dead = self._queue("dead", VisibilityTimeout="0")
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"3"}}'
        lane = self._queue("lane", VisibilityTimeout="0", RedrivePolicy=redrive)
        hidden = self._queue("hidden", VisibilityTimeout="600", MaximumMessageSize=str(64 * 1024))
        self.urls = {"dead": dead, "lane": lane, "hidden": hidden}
        for table in MODELLED_TABLES:
            create_table(self.dynamodb, table, *TABLES[table])
        return self

    def _queue(self, name: str, **attributes: str) -> str:
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def receive(self, queue: str, most: int) -> list[Any]:
        return _messages(self.sqs, self.urls[queue], most, wait_s=0)

    def clean(self) -> None:
        """Delete its queues and tables."""
        for url in self.urls.values():
            self.sqs.delete_queue(QueueUrl=url)
        for table in MODELLED_TABLES:
            self.dynamodb.delete_table(TableName=table)


def _messages(sqs: Any, url: str, most: int, wait_s: int) -> list[Any]:
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=most, WaitTimeSeconds=wait_s, MessageAttributeNames=["All"]
    )
    return list(answer.get("Messages", []))


def _outcome(call: Any, **arguments: Any) -> Any:
    """The answer of a call, or the code of its refusal without the prefix that only some services use."""
    try:
        return call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"].rpartition(".")[2]


# --- queues -----------------------------------------------------------------------------------------------------------


def _entries(rng: Random, number: int) -> list[dict[str, Any]]:
    entries = []
    for index in range(number):
        entry: dict[str, Any] = {"Id": str(index), "MessageBody": f"message {rng.getrandbits(32)} 알림"}
        if rng.random() < 0.4:
            entry["MessageAttributes"] = {"reason": {"DataType": "String", "StringValue": f"because {index}"}}
        entries.append(entry)
    return entries


def _seen(messages: list[Any]) -> list[tuple[str, str]]:
    return sorted(
        (each["Body"], each.get("MessageAttributes", {}).get("reason", {}).get("StringValue", "")) for each in messages
    )


class Handles(NamedTuple):
    """The receipt handles of one message on both sides."""

    model: str
    real: str


def _delete(side: Model | Real, handles: list[str]) -> None:
    entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)]
    answer = side.sqs.delete_message_batch(QueueUrl=side.urls["hidden"], Entries=entries)
    assert len(answer["Successful"]) == len(handles)


def queues_agree(real: Real, seed: int) -> None:
    """Compare batches of sends, receives and deletes on a queue with a long visibility timeout."""
    rng, model = Random(seed), Model()
    known: dict[str, Handles] = {}
    for _ in range(STEPS):
        kind = rng.choice(("send", "receive", "delete"))
        if kind == "send":
            entries = _entries(rng, rng.randint(1, 10))
            modelled, answered = (
                side.sqs.send_message_batch(QueueUrl=side.urls["hidden"], Entries=entries)["Successful"]
                for side in (model, real)
            )
            assert sorted(each["Id"] for each in modelled) == sorted(each["Id"] for each in answered)
        elif kind == "receive":
            most = rng.randint(1, 10)
            modelled, answered = model.receive("hidden", most), real.receive("hidden", most)
            assert len(modelled) == len(answered)
            assert _seen(modelled) == _seen(answered)
            real_handles = {each["Body"]: each["ReceiptHandle"] for each in answered}
            for each in modelled:
                known[each["Body"]] = Handles(each["ReceiptHandle"], real_handles[each["Body"]])
        elif known:
            gone = rng.sample(sorted(known), min(len(known), rng.randint(1, 10)))
            handles = [known.pop(body) for body in gone]
            _delete(model, [each.model for each in handles])
            _delete(real, [each.real for each in handles])
    assert _seen(_all(model)) == _seen(_all(real))


def _all(side: Model | Real) -> list[Any]:
    messages: list[Any] = []
    while more := side.receive("hidden", 10):
        messages += more
    return messages


def redrives_agree(real: Real) -> None:
    """Compare redrives: after three receives a message stands on dead-letter, with its body and attributes."""
    model = Model()
    for side in (model, real):
        side.sqs.send_message_batch(QueueUrl=side.urls["lane"], Entries=_entries(Random(1), 4))
    for _ in range(4):
        assert _seen(model.receive("lane", 10)) == _seen(real.receive("lane", 10))
    letters = _seen(model.receive("dead", 10))
    assert len(letters) == 4
    assert letters == _seen(real.receive("dead", 10))


def old_handles_agree(real: Real) -> None:
    """Check that the handle of an earlier receive deletes nothing and that of the last one does."""
    for side in (Model(), real):
        side.sqs.send_message(QueueUrl=side.urls["lane"], MessageBody="x")
        old, new = (side.receive("lane", 1)[0]["ReceiptHandle"] for _ in range(2))
        for handle, left in ((old, 1), (new, 0)):
            entries = [{"Id": "0", "ReceiptHandle": handle}]
            side.sqs.delete_message_batch(QueueUrl=side.urls["lane"], Entries=entries)
            assert len(side.receive("lane", 1)) == left


def oversized_entries_agree(real: Real) -> None:
    """Check that an entry above the queue's limit of 64 KiB is refused as the sender's fault, and its neighbour
    taken."""
    entries = [{"Id": "0", "MessageBody": "x" * (64 * 1024 + 1)}, {"Id": "1", "MessageBody": "x" * 64 * 1024}]
    for side in (Model(), real):
        answer = side.sqs.send_message_batch(QueueUrl=side.urls["hidden"], Entries=entries)
        assert [entry["Id"] for entry in answer["Successful"]] == ["1"]
        refused = [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in answer["Failed"]]
        assert refused == [("0", "InvalidParameterValue", True)]


BATCHES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "eleven": [{"Id": str(index), "MessageBody": "x"} for index in range(11)],
    "one id twice": [{"Id": "1", "MessageBody": "x"}, {"Id": "1", "MessageBody": "y"}],
    "above 1 MiB together": [{"Id": str(index), "MessageBody": "x" * 300_000} for index in range(4)],
}


def refusals_agree(real: Real, batch: str) -> None:
    """Compare the answers to a batch that SQS does not take."""
    modelled, answered = (
        _outcome(side.sqs.send_message_batch, QueueUrl=side.urls["lane"], Entries=BATCHES[batch])
        for side in (Model(), real)
    )
    assert modelled == answered


# --- tables -----------------------------------------------------------------------------------------------------------

IDS = [f"n{index}" for index in range(6)]


class Step(NamedTuple):
    """One call to the ledger by one of its owners; `ending` is for a call that ends the ids."""

    kind: str
    owner: str
    ids: list[str]
    ending: Ending


def _draw_step(rng: Random) -> Step:
    kind = rng.choice(("claim", "claim", "mark", "unmark", "read", "release", "end", "delivered", "cancel", "reopen"))
    return Step(kind, rng.choice(("a", "b")), rng.sample(IDS, rng.randint(1, 4)), rng.choice(ENDINGS))


def _take(ledger: Ledger, held: dict[str, Entry], step: Step, now: datetime) -> Any:
    """Make one call to the ledger. Returns an answer that can be compared."""
    kind, ids = step.kind, step.ids
    mine = [held[id_] for id_ in ids if id_ in held]
    if kind in ("claim", "mark"):
        claims = ledger.claim(dict.fromkeys(ids), now, sending=kind == "mark")
        held |= claims.held | claims.interrupted
        return claims
    if kind == "unmark":
        return ledger.unmark(mine, now)
    if kind == "read":
        return ledger.read_all(ids)
    if kind == "release":
        return ledger.release(mine, now)
    if kind == "end":
        return ledger.end([ended(entry, step.ending, now) for entry in mine], now)
    if kind == "delivered":
        return ledger.delivered(mine, now)
    if kind == "cancel":
        return ledger.cancel(ids[0], now)
    found = ledger.read_all(ids)
    return ledger.reopen([Reopening(entry, entry.fingerprint) for entry in found.values()], now)


class Owner(NamedTuple):
    """An owner's ledger on one side, and the claims that it holds by id."""

    ledger: Ledger
    held: dict[str, Entry]


def ledgers_agree(real: Real, seed: int) -> None:
    """Compare every answer and every item of one ledger that two workers, a canceller and an operator use."""
    rng, model = Random(seed), Model()
    lease = timedelta(seconds=120)
    sides = [
        {owner: Owner(Ledger(side.dynamodb, "ledger", owner, lease), {}) for owner in ("a", "b")}
        for side in (model, real)
    ]
    now = START
    for _ in range(STEPS):
        now += timedelta(seconds=rng.choice((1, 1, 150)))
        step = _draw_step(rng)
        owners = [side[step.owner] for side in sides]
        modelled, answered = (_take(owner.ledger, owner.held, step, now) for owner in owners)
        assert modelled == answered, step
    for id_ in IDS:
        modelled, stored = (
            side.dynamodb.get_item(TableName="ledger", Key={"id": {"S": id_}}, ConsistentRead=True).get("Item")
            for side in (model, real)
        )
        assert modelled == stored


def _take_turn(turns: Turns, rng: Random, now: datetime, leases: list[Health]) -> Any:
    """Make one call to a channel's turns. Returns an answer that can be compared."""
    kind = rng.choice(("book", "book", "book", "urgent", "space", "served", "failed"))
    number, rate = rng.randint(1, 20), rng.choice((5, 20, 20, None))
    probe = rng.choice(leases) if leases and rng.random() < 0.5 else None
    if kind in ("book", "urgent"):
        return turns.book("sms", number, rate, rng.choice((0.5, 2, 5)), is_urgent=kind == "urgent")
    if kind == "space":
        return turns.space("sms", rng.choice(("schedule", "delivery")), number, rate or 20)
    if kind == "served":
        return turns.has_served("sms", probe, now)
    now_ms = int(now.timestamp() * 1000)
    certain = rng.random() < 0.5
    return turns.has_failed(
        "sms", Failure(rng.choice(IDS), now_ms - 500, now_ms, certain, rng.choice((0, 30)), probe=probe)
    )


def turns_agree(real: Real, seed: int) -> None:
    """Compare every answer and the item of one channel whose turns two processes book, whose returns they space, and
    whose rests and probes they note."""
    now = START
    sides = [[Turns(side.dynamodb, "turn", lambda: now) for _ in range(2)] for side in (Model(), real)]
    draws, leases = Random(seed), list[Health]()
    for _ in range(STEPS):
        now += timedelta(seconds=draws.choice((0, 0.05, 0.3, 6, 40)))
        process, step_seed = draws.randrange(2), draws.getrandbits(32)
        modelled, answered = (_take_turn(side[process], Random(step_seed), now, leases) for side in sides)
        assert modelled == answered, step_seed
        if isinstance(answered, Probe):
            leases.append(answered.health)
        assert sides[0][0].health("sms") == sides[1][0].health("sms")


def _put(id_: str) -> dict[str, Any]:
    condition = {"ConditionExpression": "attribute_not_exists(#id)", "ExpressionAttributeNames": {"#id": "id"}}
    return {"Put": {"TableName": "ledger", "Item": {"id": {"S": id_}}, **condition}}


class Call(NamedTuple):
    """A call of a DynamoDB client."""

    operation: str
    arguments: dict[str, Any]


WRITES = {
    "one id twice in a transaction": Call("transact_write_items", {"TransactItems": [_put("a"), _put("a")]}),
    "101 in a transaction": Call("transact_write_items", {"TransactItems": [_put(str(n)) for n in range(101)]}),
    "101 keys": Call(
        "batch_get_item",
        {"RequestItems": {"ledger": {"Keys": [{"id": {"S": str(n)}} for n in range(101)]}}},
    ),
    "one key twice": Call(
        "batch_get_item",
        {"RequestItems": {"ledger": {"Keys": [{"id": {"S": "a"}}, {"id": {"S": "a"}}]}}},
    ),
}


MORE_WRITES = {
    "26 in a batch": Call(
        "batch_write_item",
        {"RequestItems": {"ledger": [{"PutRequest": {"Item": {"id": {"S": str(n)}}}} for n in range(26)]}},
    ),
}


def calls_are_refused(real: Real, write: str) -> None:
    """Compare the answers to a call that DynamoDB does not take."""
    call = (WRITES | MORE_WRITES)[write]
    modelled, answered = (
        _outcome(getattr(side.dynamodb, call.operation), **call.arguments) for side in (Model(), real)
    )
    assert modelled == answered == "ValidationException"


def refused_transactions_agree(real: Real) -> None:
    """Check that a refused transaction names the item that stood in the way."""
    for side in (Model(), real):
        side.dynamodb.put_item(TableName="ledger", Item={"id": {"S": "b"}, "state": {"S": "delivered"}})
        put = _put("b")
        put["Put"]["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        with pytest.raises(ClientError) as refused:
            side.dynamodb.transact_write_items(TransactItems=[_put("a"), put])
        reasons: Any = refused.value.response["CancellationReasons"]  # type: ignore[typeddict-item]
        assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed"]
        assert reasons[1]["Item"]["state"] == {"S": "delivered"}


def consents_agree(real: Real, seed: int) -> None:
    """Compare the answers to a batch of keys, some of which exist."""
    rng, model = Random(seed), Model()
    for key in rng.sample(IDS, 4):
        item = {"recipient_id": {"S": key}, "night_consent": {"BOOL": rng.random() < 0.5}}
        for side in (model, real):
            side.dynamodb.put_item(TableName="consent", Item=item)
    request = {"consent": {"Keys": [{"recipient_id": {"S": key}} for key in IDS], "ConsistentRead": True}}
    modelled, stored = (
        sorted(side.dynamodb.batch_get_item(RequestItems=request)["Responses"]["consent"], key=str)
        for side in (model, real)
    )
    assert modelled == stored


def held_agree(real: Real, seed: int) -> None:
    """Compare held items that are recorded, read, and listed by their source, page by page."""
    rng, model = Random(seed), Model()
    records = [
        Held(id, "2020-11-11T12:00:00.000+00:00", f"2020-11-1{rng.randint(1, 3)}T23:00:00+00:00", "why", "advertising",
             "sms", "user-1", "2020-11-14T12:00:00+00:00", rng.choice(("sale", "shop", "")))
        for id in (f"n-{number}" for number in range(30))
    ]  # fmt: skip
    limit = rng.randint(1, 12)
    of_the_sale = sorted(each.id for each in records if each.source == "sale")
    for side in (model, real):
        assert record_held(side.dynamodb, "held", records, datetime(2020, 11, 11, tzinfo=UTC), lambda _: None, {}) == 0
        ids: list[str] = []
        after = None
        for _ in records:
            page = held_of(side.dynamodb, "held", "sale", limit, after)
            ids += page.ids
            if (after := page.after) is None:
                break
        assert sorted(ids) == of_the_sale
        assert read_held(side.dynamodb, "held", "n-3") == records[3]
        assert read_held(side.dynamodb, "held", "nobody") is None
