"""SQS as AWS documents it: it delivers at least once, in any order, and an empty answer may be wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from math import inf
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from .calls import Client
from .faults import SHORT_POLL_EMPTY_RATE, Faults, client_error
from .world import NEVER, Process, Span, World

BATCH_MAX = 10
SHUFFLED_MAX = 1000
"""The number of messages that a shuffle mixes."""

SEEN_TIMES = 4
"""A receive looks at so many times the messages that it may take, since some go to dead-letter instead."""

BATCH_BYTES_MAX = 1024 * 1024
REGION, ACCOUNT = "ap-northeast-2", "000000000000"


@dataclass(slots=True)
class Msg:
    """One message. `receipt` is the handle of its last receive; older handles delete nothing."""

    id: str
    body: str
    attributes: dict[str, Any]
    sent_at: float
    visible_at: float
    count: int = 0
    receipt: str = ""


@dataclass
class Queue:
    """One standard queue. It refuses sends while it is `away`.

    It calls `arrived` with the time at which a message becomes visible, `took` and `seen` for each message that is put
    on it, `asked` at each receive, and `dropped` for each message that has become too old.
    """

    world: World
    faults: Faults
    name: str
    visibility_s: float
    retention_s: float
    bytes_max: int = BATCH_BYTES_MAX
    in_flight_max: int = 120_000
    away: Span = NEVER
    receives_max: float = inf
    dead_letter: Queue | None = None
    arrived: Callable[[float], None] | None = None
    seen: Callable[[Queue, Msg, str], None] | None = None
    asked: Callable[[], None] | None = None
    took: Callable[[Msg], None] | None = None
    dropped: Callable[[Msg], None] | None = None
    messages: dict[str, Msg] = field(default_factory=dict)
    _ready: dict[str, Msg] = field(default_factory=dict)
    _hidden: list[tuple[float, int, Msg]] = field(default_factory=list)
    _oldest: deque[Msg] = field(default_factory=deque)
    _number: int = 0
    _order: int = 0

    @property
    def url(self) -> str:
        return f"https://sqs.{REGION}.simulated/{ACCOUNT}/{self.name}"

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"

    def put(self, body: str, attributes: dict[str, Any], delay_s: float = 0, by: str = "") -> Msg:
        """Take a message. It is visible after the delay."""
        t = self.world.t
        self._number += 1
        msg = Msg(f"{self.name}-{self._number}", body, attributes, t, t + delay_s)
        self._add(msg, by)
        return msg

    def _add(self, msg: Msg, by: str) -> None:
        self.messages[msg.id] = msg
        self._oldest.append(msg)
        self._hide(msg)
        if self.took:
            self.took(msg)
        if self.seen:
            self.seen(self, msg, by)
        if self.arrived:
            self.arrived(msg.visible_at)

    def receive(self, most: int) -> list[Msg]:
        """Hand out up to `most` visible messages and hide each for the visibility timeout."""
        if self.asked:
            self.asked()
        if not self.messages:
            return []
        t, faults = self.world.t, self.faults
        self._end_of_retention()
        self._show()
        if not self._ready:
            return []
        is_shuffled = faults.hits("reordered", t)
        visible = list(islice(self._ready.values(), SHUFFLED_MAX if is_shuffled else SEEN_TIMES * most))
        if is_shuffled:
            self.world.rng.shuffle(visible)
        room = self.in_flight_max - (len(self.messages) - len(self._ready))
        taken: list[Msg] = []
        for msg in visible:
            if len(taken) == min(most, room):
                break
            del self._ready[msg.id]
            if msg.count >= self.receives_max and self.dead_letter:
                del self.messages[msg.id]
                self.dead_letter._add(msg, f"{self.name} after {msg.count} receives")
                continue
            msg.count += 1
            msg.receipt = f"{msg.id}#{msg.count}"
            msg.visible_at = t + self.visibility_s
            if faults.hits("duplicate_delivery", t):
                msg.visible_at = t + self.world.rng.random() * 5
            self._hide(msg)
            if self.arrived:
                self.arrived(msg.visible_at)
            taken.append(msg)
        return taken

    def check_taking(self, operation: str) -> None:
        """Refuse a send while the queue is away."""
        if self.away.covers(self.world.t):
            self.faults.counts["queue_away"] += 1
            raise client_error(operation, "ServiceUnavailable")

    def delete(self, receipt: str) -> None:
        """Delete a message. If it was received again meanwhile, it stays, and no error is reported."""
        msg = self.messages.get(receipt.rpartition("#")[0])
        if msg and msg.receipt == receipt and not self.faults.hits("delete_missed", self.world.t):
            del self.messages[msg.id]
            self._ready.pop(msg.id, None)

    def visible(self) -> int:
        """The number of messages that can be received now."""
        self._show()
        return len(self._ready)

    def _hide(self, msg: Msg) -> None:
        self._order += 1
        heappush(self._hidden, (msg.visible_at, self._order, msg))

    def _show(self) -> None:
        """Note which of the hidden messages are visible by now."""
        while self._hidden and self._hidden[0][0] <= self.world.t:
            visible_at, _, msg = heappop(self._hidden)
            if self.messages.get(msg.id) is msg and msg.visible_at == visible_at:
                self._ready[msg.id] = msg

    def _end_of_retention(self) -> None:
        """Forget what is too old. Messages stand here in the order in which they entered their first queue."""
        oldest = self.world.t - self.retention_s
        while self._oldest and (self._oldest[0].sent_at <= oldest or self._oldest[0].id not in self.messages):
            msg = self._oldest.popleft()
            if self.messages.pop(msg.id, None) is not None:
                self._ready.pop(msg.id, None)
                if self.dropped:
                    self.dropped(msg)


def size_bytes(body: str, attributes: dict[str, Any]) -> int:
    """The size of a message: its body, and the names, types and values of its attributes."""
    return len(body.encode()) + sum(
        len((name + value["DataType"] + value["StringValue"]).encode()) for name, value in attributes.items()
    )


class Sqs(Client):
    """The boto3 SQS client of one process, with the calls that the project uses."""

    exceptions = SimpleNamespace(ClientError=ClientError)

    def __init__(self, process: Process, faults: Faults, queues: dict[str, Queue]) -> None:
        super().__init__(process, faults)
        self._queues = queues

    def send_message(
        self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0, MessageAttributes: Any = None
    ) -> dict[str, Any]:
        queue = self._queues[QueueUrl]

        def effect(partial: bool) -> dict[str, Any]:
            queue.check_taking("SendMessage")
            if size_bytes(MessageBody, MessageAttributes or {}) > queue.bytes_max:
                raise client_error("SendMessage", "InvalidParameterValue")
            msg = queue.put(MessageBody, MessageAttributes or {}, DelaySeconds, self._process.name)
            return {"MessageId": msg.id}

        return self._call("SendMessage", effect)  # type: ignore[no-any-return]

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        queue = self._queues[QueueUrl]
        _check_batch("SendMessageBatch", Entries)
        sizes = [size_bytes(entry["MessageBody"], entry.get("MessageAttributes", {})) for entry in Entries]
        if sum(sizes) > BATCH_BYTES_MAX:
            raise client_error("SendMessageBatch", "AWS.SimpleQueueService.BatchRequestTooLong")

        def effect(partial: bool) -> dict[str, Any]:
            queue.check_taking("SendMessageBatch")
            refused = self._faults.half(len(Entries)) if partial else ()
            answer: dict[str, Any] = {"Successful": [], "Failed": []}
            for index, entry in enumerate(Entries):
                if sizes[index] > queue.bytes_max:
                    answer["Failed"].append(_failed(entry, "InvalidParameterValue", sender_fault=True))
                elif index in refused:
                    answer["Failed"].append(_failed(entry, "InternalError", sender_fault=False))
                else:
                    attributes = entry.get("MessageAttributes", {})
                    delay_s = entry.get("DelaySeconds", 0)
                    msg = queue.put(entry["MessageBody"], attributes, delay_s, self._process.name)
                    answer["Successful"].append({"Id": entry["Id"], "MessageId": msg.id})
            return answer

        return self._call("SendMessageBatch", effect)  # type: ignore[no-any-return]

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        WaitTimeSeconds: int = 0,
        MessageAttributeNames: Any = (),
    ) -> dict[str, Any]:
        queue, world = self._queues[QueueUrl], self._process.world

        def effect(partial: bool) -> dict[str, Any]:
            if WaitTimeSeconds == 0:
                if len(queue.messages) - queue.visible() >= queue.in_flight_max:
                    raise client_error("ReceiveMessage", "OverLimit")
                if queue.messages and world.rng.random() < SHORT_POLL_EMPTY_RATE:
                    return {}
                taken = queue.receive(MaxNumberOfMessages)
            else:
                if queue.messages and self._faults.hits("false_empty", world.t):
                    return {}
                taken = queue.receive(MaxNumberOfMessages)
                if not taken:  # a real long poll returns with the first arrival, this one only at its end
                    self._process.pause(WaitTimeSeconds)
                    taken = queue.receive(MaxNumberOfMessages)
            return {"Messages": [_received(msg, MessageAttributeNames) for msg in taken]} if taken else {}

        return self._call("ReceiveMessage", effect)  # type: ignore[no-any-return]

    def delete_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        queue = self._queues[QueueUrl]
        _check_batch("DeleteMessageBatch", Entries)

        def effect(partial: bool) -> dict[str, Any]:
            refused = self._faults.half(len(Entries)) if partial else ()
            answer: dict[str, Any] = {"Successful": [], "Failed": []}
            for index, entry in enumerate(Entries):
                if index in refused:
                    answer["Failed"].append(_failed(entry, "InternalError", sender_fault=False))
                else:
                    queue.delete(entry["ReceiptHandle"])
                    answer["Successful"].append({"Id": entry["Id"]})
            return answer

        return self._call("DeleteMessageBatch", effect)  # type: ignore[no-any-return]


def _check_batch(operation: str, entries: list[dict[str, Any]]) -> None:
    if not entries:
        raise client_error(operation, "AWS.SimpleQueueService.EmptyBatchRequest")
    if len(entries) > BATCH_MAX:
        raise client_error(operation, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
    if len({entry["Id"] for entry in entries}) < len(entries):
        raise client_error(operation, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")


def _failed(entry: dict[str, Any], code: str, *, sender_fault: bool) -> dict[str, Any]:
    return {"Id": entry["Id"], "Code": code, "SenderFault": sender_fault}


def _received(msg: Msg, names: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"MessageId": msg.id, "ReceiptHandle": msg.receipt, "Body": msg.body}
    everything = "All" in names
    attributes = {name: value for name, value in msg.attributes.items() if everything or name in names}
    if attributes:
        message["MessageAttributes"] = attributes
    return message
