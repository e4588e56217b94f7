"""The surroundings of a worker in memory: a clock that tests move, lanes that keep their delays, one provider.

DynamoDB is moto's. SQS is a model of its own, because moto's delays pass in real time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.delivery import Delivery
from lambdas.quiet_hours.rule.terms import Policy
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import SideBySide
from lambdas.quiet_hours.stores.entries import Entry
from lambdas.quiet_hours.stores.health import Health
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.queues import BATCH_BYTES_MAX
from lambdas.quiet_hours.stores.turns import Turns
from lambdas.quiet_hours.timings import LANE_VISIBILITY_S, LEASE_S, WORKER_TIMEOUT_S
from tests.helpers.aws import DAY, Faulty, make_table, one_after_another, record

SETTINGS = Settings(
    notification_queue_url="https://sqs/1/notification",
    urgent_queue_url="https://sqs/1/urgent",
    delivery_queue_url="https://sqs/1/delivery",
    wait_queue_url="https://sqs/1/wait",
    schedule_queue_url="https://sqs/1/schedule",
    dead_letter_queue_url="https://sqs/1/dead-letter",
    ledger_table="ledger",
    consent_table="consent",
    turn_table="turn",
    held_table="held",
    channel_secret="quiet-hours/channels",
)
LANES = ("urgent", "delivery", "wait", "schedule", "dead-letter")
DEAD_LETTER_BYTES_MAX, QUEUE_BYTES_MAX = 1024 * 1024, 64 * 1024

REJECTED = Outcome("rejected", "http_400: the webhook answered 400")
RETRY = Outcome("retry", "http_500: the webhook answered 500")
UNAVAILABLE = Outcome("unavailable", "http_503: the webhook answered 503")
UNKNOWN = Outcome("unknown", "no_answer: the webhook did not answer")


class Killed(BaseException):
    """The end of the worker's process. Its code cannot catch this exception."""


@dataclass
class Clock:
    now: datetime = DAY

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Sent:
    """A message on one of the queues."""

    body: str
    attributes: dict[str, str]
    delay_s: int
    visible_at: datetime
    message_id: str
    receives: int = 0

    @property
    def ids(self) -> list[str]:
        body = json.loads(self.body)
        return [each["id"] for each in (body if isinstance(body, list) else [body])]


@dataclass
class Queues:
    """The calls of SQS that the worker uses. `faults` has a function for a queue's name: it gets the entries of a batch
    and returns the places of those that are refused, or raises."""

    clock: Clock
    faults: dict[str, Callable[[Sequence[Any]], Sequence[int]]] = field(default_factory=dict)
    messages: dict[str, list[Sent]] = field(default_factory=lambda: {name: [] for name in LANES})
    calls: Counter[str] = field(default_factory=Counter)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:
        name = QueueUrl.rpartition("/")[2]
        self.calls[name] += 1
        assert 1 <= len(Entries) <= 10
        sizes = [len(entry["MessageBody"].encode()) for entry in Entries]
        assert sum(sizes) <= BATCH_BYTES_MAX
        assert max(sizes) <= (DEAD_LETTER_BYTES_MAX if name == "dead-letter" else QUEUE_BYTES_MAX)
        refused = self.faults.get(name, lambda _: [])(Entries)
        for place, entry in enumerate(Entries):
            attributes = {key: value["StringValue"] for key, value in entry.get("MessageAttributes", {}).items()}
            assert all(attributes.values()), "SQS takes no empty attribute"
            delay_s = entry.get("DelaySeconds", 0)
            assert 0 <= delay_s <= 900
            if place not in refused:
                visible_at = self.clock() + timedelta(seconds=delay_s)
                self.put(name, Sent(entry["MessageBody"], attributes, delay_s, visible_at, self._new_id()))
        return {
            "Successful": [{"Id": entry["Id"]} for place, entry in enumerate(Entries) if place not in refused],
            "Failed": [
                {"Id": Entries[place]["Id"], "Code": "InternalError", "SenderFault": False} for place in refused
            ],
        }

    def put(self, name: str, sent: Sent) -> None:
        self.messages[name].append(sent)

    def _new_id(self) -> str:
        return f"message-{sum(map(len, self.messages.values()))}-{sum(self.calls.values())}"


def half(entries: Sequence[Any]) -> Sequence[int]:
    """A fault for `Queues`: every second entry of a batch is refused."""
    return range(1 if len(entries) > 1 else 0, len(entries), 2)


def unreachable(entries: Sequence[Any]) -> Sequence[int]:
    raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, "SendMessageBatch")


class ProviderCall(NamedTuple):
    """A call that reached the provider, and the ids in it."""

    at: datetime
    ids: list[str]


@dataclass
class Provider:
    """A channel and the provider behind it. `answer` decides for each notification. `got` are the calls so far."""

    clock: Clock
    answer: Callable[[dict[str, Any]], Outcome] = lambda _: DELIVERED
    deadline_s: float = 10.0
    rate_per_s: float | None = None
    batch_size: int = 1
    side_by_side: int = 1
    can_resend: bool = True
    takes_s: float = 0.0
    got: list[ProviderCall] = field(default_factory=list)
    closed: int = 0

    def send(self, notifications: Sequence[Any]) -> Sequence[Outcome]:
        self.got.append(ProviderCall(self.clock(), [notification["id"] for notification in notifications]))
        self.clock.sleep(self.takes_s)
        return [self.answer(notification) for notification in notifications]

    def close(self) -> None:
        self.closed += 1

    @property
    def ids(self) -> list[str]:
        return [id for call in self.got for id in call.ids]


@dataclass
class World:
    """The worker of one deployment. Each `invoke` is an invocation of its own, and `memory` is that of the
    process."""

    dynamodb: Any
    clock: Clock
    sqs: Queues
    provider: Provider
    policy: Policy
    settings: Settings = SETTINGS
    side_by_side: SideBySide = one_after_another
    channel: Callable[[str], Any] | None = None
    memory: Memory = field(default_factory=Memory)
    remaining_s: float = WORKER_TIMEOUT_S
    faults: dict[str, Callable[..., Any]] = field(default_factory=dict)
    invocations: int = 0

    def delivery(self) -> Delivery:
        self.invocations += 1
        dynamodb: Any = Faulty(self.dynamodb, **self.faults)
        ends_at = self.clock() + timedelta(seconds=self.remaining_s)

        def remaining_s() -> float:
            return (ends_at - self.clock()).total_seconds()

        lease = timedelta(seconds=LEASE_S)
        return Delivery(
            sqs=self.sqs,  # type: ignore[arg-type]
            dynamodb=dynamodb,
            ledger=Ledger(dynamodb, "ledger", f"worker-{self.invocations}", lease, self.clock.sleep, remaining_s),
            settings=self.settings,
            policy=self.policy,
            channel=self.channel or (lambda _: self.provider),
            now=self.clock,
            remaining_s=remaining_s,
            sleep=self.clock.sleep,
            side_by_side=self.side_by_side,
            memory=self.memory,
        )

    def invoke(
        self, *notifications: Any, lane: str = "delivery", receives: int = 1, **attributes: str
    ) -> tuple[bool, Counter[str]]:
        """Deliver one bundle of these notifications (a single one as an object). Returns the result of
        `Delivery.deliver`."""
        body = notifications[0] if len(notifications) == 1 else list(notifications)
        return self.receive(json.dumps(body, ensure_ascii=False), lane, receives, attributes)

    def receive(
        self, body: str, lane: str = "delivery", receives: int = 1, attributes: dict[str, str] | None = None
    ) -> tuple[bool, Counter[str]]:
        settled, counts, _ = self.delivery().deliver(
            record(body, "message-0", self.clock(), attributes, lane, receives)
        )
        return settled, counts

    def run(self, lane: str = "delivery", for_s: float = 86_400, invocations_max: int = 1000) -> None:
        """Be the lane's event source, one invocation at a time, until the lane is empty or the time is over."""
        end = self.clock() + timedelta(seconds=for_s)
        for _ in range(invocations_max):
            waiting = self.sqs.messages[lane]
            if not waiting:
                return
            sent = min(waiting, key=lambda each: each.visible_at)
            if max(self.clock.now, sent.visible_at) > end:
                self.clock.now = end
                return
            self.clock.now = max(self.clock.now, sent.visible_at)
            sent.receives += 1
            hidden_until = self.clock() + timedelta(seconds=LANE_VISIBILITY_S)
            try:
                arrived = record(sent.body, sent.message_id, self.clock(), sent.attributes, lane, sent.receives)
                settled = self.delivery().deliver(arrived).settled
            except Killed:
                settled = False
                self.memory = Memory()
            if settled:
                waiting.remove(sent)
            else:
                sent.visible_at = hidden_until
        raise AssertionError(f"the lane is not empty after {invocations_max} invocations")

    def put(self, *notifications: Any, lane: str = "delivery") -> None:
        """Put a bundle on a lane."""
        body = json.dumps(list(notifications), ensure_ascii=False)
        self.sqs.put(lane, Sent(body, {}, 0, self.clock(), f"bundle-{len(self.sqs.messages[lane])}"))

    def entry(self, id: str) -> Entry | None:
        item = self.dynamodb.get_item(TableName="ledger", Key={"id": {"S": id}}, ConsistentRead=True).get("Item")
        return Entry.from_item(item) if item else None

    def entries(self) -> dict[str, Entry]:
        """The whole ledger."""
        items = self.dynamodb.scan(TableName="ledger", ConsistentRead=True)["Items"]
        return {item["id"]["S"]: Entry.from_item(item) for item in items}

    def states(self) -> dict[str, str]:
        """The ledger's states by id. A claim that was given back is "released"."""
        return {
            id: "released" if entry.state == "claimed" and not entry.owner else entry.state
            for id, entry in self.entries().items()
        }

    def state(self, id: str) -> str:
        """The ledger's state of one id, or "" if it has none."""
        return self.states().get(id, "")

    def on(self, queue: str) -> list[list[str]]:
        """The ids of each message on a queue."""
        return [sent.ids for sent in self.sqs.messages[queue]]

    def letter(self) -> Sent:
        (letter,) = self.sqs.messages["dead-letter"]
        return letter


def accepted(id: str = "a", **fields: Any) -> dict[str, Any]:
    """A notification as it travels on the lanes, accepted shortly before noon."""
    return {
        "id": id,
        "category": "informational",
        "channel": "webhook",
        "address": "user-42",
        "content": {"body": "주문하신 상품이 출발했습니다"},
        "accepted_at": "2020-11-11T02:59:00.000+00:00",
        "expires_at": "2020-11-14T02:59:00.000+00:00",
    } | fields


def many(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [accepted(f"id-{n}", **fields) for n in range(count)]


def consent(world: World, recipient: str, **flags: bool) -> None:
    item = {"recipient_id": {"S": recipient}} | {name: {"BOOL": value} for name, value in flags.items()}
    world.dynamodb.put_item(TableName="consent", Item=item)


def works(world: World, channel: str = "webhook") -> None:
    """Let the channel have delivered a moment ago: so a failure counts against its notification, at first."""
    Turns(world.dynamodb, world.settings.turn_table, world.clock).has_served(channel, None, world.clock())


def deliver_others(world: World) -> None:
    """Let the channel deliver others all the time: so each failure is its notification's."""
    call = world.provider.send

    def send(notifications: Any) -> Any:
        works(world)
        return call(notifications)

    world.provider.send = send  # type: ignore[method-assign]


def health(world: World, channel: str = "webhook") -> Health:
    """The channel's health, as its item has it."""
    return Turns(world.dynamodb, world.settings.turn_table, world.clock).health(channel)


def make_tables() -> None:
    for table in ("ledger", "consent", "turn"):
        make_table(table)


@pytest.fixture
def world(dynamodb: Any) -> World:
    make_tables()
    clock = Clock()
    return World(dynamodb, clock, Queues(clock), Provider(clock), SETTINGS.quiet_hours())


def answers(**by_id: Outcome) -> Callable[[dict[str, Any]], Outcome]:
    return lambda notification: by_id.get(notification["id"], DELIVERED)


def down(*_: Any, **__: Any) -> Any:
    raise ReadTimeoutError(endpoint_url="dynamodb")
