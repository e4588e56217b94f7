"""Lambda: functions in environments that are used again, event sources that poll, and triggers, which may fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .faults import Faults, client_error
from .queues import Msg, Queue
from .world import NEVER, Process, Span, World


@dataclass(slots=True)
class Environment:
    """A process that Lambda keeps between invocations. It has its own clock, and its modules remember things."""

    skew_s: float
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass
class Limit:
    """The executions of an account: how many may run at once, and how many do."""

    most: int
    running: int = 0
    throttled: int = 0

    def take(self) -> bool:
        """Take one of them, if one is free."""
        if self.running >= self.most:
            self.throttled += 1
            return False
        self.running += 1
        return True


@dataclass
class Function:
    """A function. `handler(event, process, memory)` is its handler; `broken` is told of each exception that ends it.
    `busy_s` is the time of all invocations together. `limit` is that of the account, if it has one."""

    world: World
    faults: Faults
    name: str
    timeout_s: float
    skew_s: float
    handler: Callable[[Any, Process, dict[str, Any]], Any]
    broken: Callable[[str, BaseException], None]
    invocations: int = 0
    busy_s: float = 0.0
    limit: Limit | None = None
    _idle: list[Environment] = field(default_factory=list)

    def invoke(self, event: Any, done: Callable[[Any], None] | None = None) -> None:
        """Invoke it once. `done` gets the value that it returned, or the exception that ended it."""
        world = self.world
        if self.limit and not self.limit.take():
            if done:
                world.at(world.t, done, client_error("Invoke", "TooManyRequestsException"))
            return
        self.invocations += 1
        environment = self._idle.pop() if self._idle else Environment(world.rng.uniform(-self.skew_s, self.skew_s))
        process = Process(world, self.name, environment.skew_s, self.timeout_s)
        process.owner = f"{self.name}-{self.invocations}"
        process.start(
            partial(self.handler, event, process, environment.memory),
            partial(self._finished, environment, done, world.t),
        )

    def _finished(
        self, environment: Environment, done: Callable[[Any], None] | None, begun_at: float, result: Any
    ) -> None:
        self.busy_s += self.world.t - begun_at
        if self.limit:
            self.limit.running -= 1
        if not isinstance(result, BaseException):
            self._idle.append(environment)
        elif isinstance(result, Exception):
            self.broken(self.name, result)
        if done:
            done(result)


@dataclass
class Source:
    """An event source mapping. It hands the messages of a queue to a function, at most `batch_size` at a time and in at
    most `concurrency` invocations at once. Nobody polls while it is `blocked`.

    `deaths` are the times at which an invocation ended without an answer.
    """

    world: World
    faults: Faults
    queue: Queue
    function: Function
    batch_size: int
    concurrency: int
    blocked: Span = NEVER
    running: int = 0
    deaths: list[float] = field(default_factory=list)
    _next_poll_at: float = -1.0

    def __post_init__(self) -> None:
        self.queue.arrived = self.wake

    def wake(self, at: float) -> None:
        """Poll the queue soon after that time."""
        self.world.at(max(at, self.world.t) + 0.001 + self.world.rng.random() * 0.1, self._poll)

    def _poll(self) -> None:
        t = self.world.t
        if self.blocked.covers(t):
            if self._next_poll_at < self.blocked.end:
                self._next_poll_at = self.blocked.end
                self.world.at(self.blocked.end, self._poll)
                self.faults.counts["lane_blocked"] += 1
            return
        while self.running < self.concurrency and (batch := self.queue.receive(self.batch_size)):
            if self.faults.hits("invoke_throttled", t):
                continue  # a throttled invoke still counts as a receive, and the messages stay hidden
            self.running += 1
            event = {"Records": [_record(self.queue, msg) for msg in batch]}
            # Another receiver may have a message by then, so deletes use the handles of this receive.
            receipts = {msg.id: msg.receipt for msg in batch}
            self.function.invoke(event, partial(self._answered, receipts))

    def _answered(self, receipts: dict[str, str], result: Any) -> None:
        self.running -= 1
        if isinstance(result, BaseException):
            self.deaths.append(self.world.t)
        failed = _failed(receipts, result)
        for (
            message_id,
            receipt,
        ) in receipts.items():  # no set: a delete may draw, so the order counts
            if message_id not in failed:
                self.queue.delete(receipt)
        self.wake(self.world.t)


def _failed(receipts: dict[str, str], result: Any) -> set[str]:
    """The messages that come again: those that a well-formed answer names, or all of them after any other answer."""
    if not isinstance(result, dict):
        return set(receipts)
    failed = {entry["itemIdentifier"] for entry in result["batchItemFailures"]}
    return failed if failed <= receipts.keys() else set(receipts)


def _record(queue: Queue, msg: Msg) -> dict[str, Any]:
    """A message as Lambda hands it to a function."""
    return {
        "messageId": msg.id,
        "receiptHandle": msg.receipt,
        "body": msg.body,
        "attributes": {
            "ApproximateReceiveCount": str(msg.count),
            "SentTimestamp": str(int((queue.world.start_s + msg.sent_at) * 1000)),
        },
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in msg.attributes.items()
        },
        "eventSourceARN": queue.arn,
    }


@dataclass
class Triggers:
    """The triggers of the scheduler: a rule every minute, and a schedule at each end of quiet hours."""

    world: World
    faults: Faults
    scheduler: Function
    jitter_s: float
    minute_rule: bool = True

    def begin(self, ends: list[float]) -> None:
        """Start the rule now, and the schedule at `ends`, the true times at which it is due."""
        if self.minute_rule:
            self.world.at(self.jitter_s, self._minute)
        for end in ends:
            self._fire(end + self.world.rng.choice((0.0, 0.2, self.world.rng.random() * 59)), end)

    def _minute(self) -> None:
        t = self.world.t
        self.world.at(t + 60, self._minute)
        self._fire(t, t)

    def _fire(self, at: float, due: float) -> None:
        faults, rng = self.faults, self.world.rng
        if faults.hits("trigger_missed", due):
            return
        if faults.hits("trigger_late", due):
            at += rng.random() * 60
        if faults.hits("trigger_twice", due):
            self.world.at(at + rng.random() * 3, self.scheduler.invoke, {})
        if at <= self.world.t:
            self.scheduler.invoke({})
        else:
            self.world.at(at, self.scheduler.invoke, {})
