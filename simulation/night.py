"""One night: the production handlers between simulated AWS and simulated providers, from the first arrival to the end.

`run(123)` plays the night of seed 123 and says what was violated, what failed, and how everything ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from lambdas import consumer, producer, scheduler
from lambdas.quiet_hours import timings
from lambdas.quiet_hours.channels.channel import Channel
from lambdas.quiet_hours.delivery import delivery as worker
from lambdas.quiet_hours.rule.policy import Policy
from lambdas.quiet_hours.stores import ledger as ledger_module

from . import clients, topology
from .checks import Checks, Violation
from .faults import Faults
from .functions import Function, Source, Triggers
from .plan import Plan, draw, draw_last_seconds
from .providers import KINDS, Provider
from .queues import Sqs
from .tables import DynamoDb, Table
from .world import Process, World

SETTLED_WITHIN_S = 3 * 3600.0
"""After the last fault everything has settled within this time. What takes longest is a poison notification: ten
attempts of a lease and a visibility timeout each, after up to two splits of its bundle."""

EVENTS_MAX = 200_000
"""A night has about four thousand. Something that is handed to and fro for ever is not settled."""

NOTIFICATIONS = 40

BEFORE_THE_GUARD_S = (15.5, 25.0)
"""How long before quiet hours a worker begins on nights with pauses beyond the bound: in time, as far as it knows."""

_policies: dict[Policy, Policy] = {}  # one object for equal policies: the rule remembers windows by it

LOGGERS = [module.logger for module in (consumer, producer, scheduler)]


@dataclass(frozen=True)
class Result:
    """What came of one night."""

    seed: int
    violations: list[Violation]
    faults: Counter[str]
    notifications: int
    endings: Counter[str]
    ended_at_s: float


class Night:
    """A deployment and those around it, on one virtual clock. The night ends early where one of the invariants in
    `stop_at` is broken."""

    def __init__(
        self,
        seed: int,
        plan: Plan | None = None,
        faults: Callable[[Random, float], Faults] = Faults,
        notifications: int = NOTIFICATIONS,
        pause_factor: float = 1.0,
        note: Callable[[World, str, str | None], None] | None = None,
        stop_at: Collection[str] = (),
    ) -> None:
        rng = Random(seed)
        pause_s = timings.LONGEST_PAUSE.total_seconds()
        skew_s = timings.CLOCK_SKEW.total_seconds()
        self.plan = plan or draw(rng, notifications, pause_s, skew_s)
        if plan is None:
            self.plan.record_held = seed % 3 == 0
        if pause_factor > 1:
            draw_last_seconds(self.plan, rng, pause_s * pause_factor, BEFORE_THE_GUARD_S)
        self.world = World(self.plan.start, seed)
        if note:
            self.world.note = lambda text, id_: note(self.world, text, id_)
        self.faults = faults(rng, self.plan.faults_until)
        longest_deadline_s = max(kind.deadline_s for kind in KINDS.values())
        self.checks = Checks(self.world, self.plan, KINDS, longest_deadline_s + pause_s + skew_s + 0.01)

        self.checks.claimed = self._claimed
        self._stop_at = stop_at
        self._by_id = {each.id: each for each in self.plan.wanted if each.id}

        self.queues = topology.build_queues(self.world, self.faults, self.plan.in_flight_max)
        self.tables = {
            "ledger": Table(self.world, "ledger", "id", written=self.checks.ledger_written),
            "consent": Table(self.world, "consent", "recipient_id"),
            "held": Table(self.world, "held", "id"),
        }
        for name, away in self.plan.queues_away.items():
            self.queues[name].away = away
        self._queues_by_url = {queue.url: queue for queue in self.queues.values()}
        self.settings = topology.settings_for(
            self.queues, self.plan.zone.key, self.plan.policy, self.plan.end_hour, self.plan.record_held
        )
        self.policy = _policies.setdefault(policy := self.settings.quiet_hours(), policy)
        self.providers = {name: self._provider(name) for name in KINDS}

        self.producer = self._function("producer", timings.PRODUCER_TIMEOUT_S, self._produce)
        self.consumer = self._function("consumer", timings.CONSUMER_TIMEOUT_S, self._consume)
        self.scheduler = self._function("scheduler", timings.SCHEDULER_TIMEOUT_S, self._release)
        self.worker = self._function("worker", timings.WORKER_TIMEOUT_S, self._deliver)
        self.entry = self._source("notification", self.consumer, topology.CONSUMER_BATCH, topology.CONSUMER_CONCURRENCY)
        self.lanes = [
            self._source("delivery", self.worker, 1, self.settings.delivery_concurrency),
            self._source("schedule", self.worker, 1, self.settings.release_concurrency),
        ]
        self.triggers = Triggers(self.world, self.faults, self.scheduler, jitter_s=rng.random() * 60)
        self.queues["wait"].asked = self.checks.wait_received

    # --- what AWS calls -----------------------------------------------------------------------------------------------

    def _produce(self, event: Any, process: Process, memory: dict[str, Any]) -> Any:
        _, answer = producer.accept_all(
            event,
            process.now(),
            self.sqs(process),
            self.dynamodb(process),
            self.settings,
            self.policy,
            lambda: f"made-{self.world.rng.getrandbits(64):x}",
        )
        return answer

    def _consume(self, event: Any, process: Process, memory: dict[str, Any]) -> Any:
        failed, _ = consumer.consume(
            event["Records"], process.now(), self.sqs(process), self.dynamodb(process), self.settings, self.policy
        )
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _release(self, event: Any, process: Process, memory: dict[str, Any]) -> Any:
        answer = scheduler.release(
            self.sqs(process),
            self.settings,
            self.policy,
            now=process.now,
            remaining_s=process.remaining_s,
            sleep=process.pause,
            side_by_side=process.side_by_side,
        )
        if self.world.note and answer.get("messages"):
            self.world.note(f"{process.owner} has moved {answer['released']} from wait to schedule", None)
        return answer

    def _deliver(self, event: Any, process: Process, memory: dict[str, Any]) -> Any:
        dynamodb = self.dynamodb(process)
        lease = timedelta(seconds=timings.LEASE_S)
        failed = []
        for record in event["Records"]:
            lane = record["eventSourceARN"].rpartition(":")[2]
            delivery = worker.Delivery(
                sqs=self.sqs(process),
                dynamodb=dynamodb,
                ledger=ledger_module.Ledger(dynamodb, self.settings.ledger_table, process.owner, lease),
                settings=self.settings,
                policy=self.policy,
                channel=partial(self._channel, process, lane),
                now=process.now,
                remaining_s=process.remaining_s,
                sleep=process.pause,
                side_by_side=process.side_by_side,
                resting=memory.setdefault("resting", {}),
                served=memory.setdefault("served", {}),
            )
            settled, _ = delivery.deliver(record)
            if not settled:
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}

    def _channel(self, process: Process, lane: str, name: str) -> Channel:
        return self.providers[name].channel(process, lane)

    def sqs(self, process: Process) -> Any:
        """The SQS client of a process."""
        return Sqs(process, self.faults, self._queues_by_url)

    def dynamodb(self, process: Process) -> Any:
        """The DynamoDB client of a process."""
        return DynamoDb(process, self.faults, self.tables)

    # --- how it is put together ---------------------------------------------------------------------------------------

    def _function(self, name: str, timeout_s: float, handler: Callable[..., Any]) -> Function:
        return Function(self.world, self.faults, name, timeout_s, self.plan.skew_s, handler, self.checks.handler_raised)

    def _source(self, queue: str, function: Function, batch: int, concurrency: int) -> Source:
        blocked = self.plan.blocked.get(queue, (0.0, 0.0))
        return Source(self.world, self.faults, self.queues[queue], function, batch, concurrency, blocked)

    def _provider(self, name: str) -> Provider:
        plan = self.plan
        ids = {each.number: each.id for each in plan.wanted if each.id}
        return Provider(
            self.world,
            self.faults,
            name,
            KINDS[name],
            self.checks.provider_accepted,
            refuses=frozenset(ids[number] for number in plan.refused if number in ids),
            poison=frozenset(ids[number] for number in plan.poison if number in ids),
            away=plan.away.get(name, (0.0, 0.0)),
            slow_s=plan.slow_s,
            longest_pause_s=plan.longest_pause_s,
        )

    def run(self) -> Result:
        """From the first arrival until everything has settled, or had the time to."""
        world, plan = self.world, self.plan
        for at, recipient, consent in plan.consents:
            world.at(at, clients.set_consent, self, recipient, consent)
        for request in plan.requests:
            world.at(request.at, clients.send, self, request)
            if request.again_at is not None:
                self.faults.counts["client_duplicate"] += 1
                world.at(request.again_at, clients.send, self, request)
        for at, wanted in plan.cancels:
            world.at(at, clients.cancel, self, wanted)
        for at, resend_unknown in plan.redrives:
            world.at(at, clients.redrive, self, resend_unknown)
        for at, body in plan.junk:
            world.at(at, self.queues["notification"].put, body, {})
        self.triggers.begin(plan.ends)

        over = max(
            plan.ends[-1],
            plan.faults_until,
            *(max(request.at, request.again_at or 0) for request in plan.requests),
            *(each[0] for each in plan.consents),
            *(at for at, _ in plan.cancels),
            *(at for at, _ in plan.redrives),
            *(at for at, _ in plan.junk),
        )
        world.run(over + SETTLED_WITHIN_S, lambda: self._may_stop(over))
        if self._found():
            return self._result()
        self.checks.night_over(self.queues, self.tables["ledger"].items, excuses=self.faults.at_worker)
        if plan.calm:
            self.checks.released_on_time(self.faults.counts["crash"])
        for provider in self.providers.values():
            for lane in self.lanes:
                self.checks.paced(provider, lane, self.faults)
        return self._result()

    def _result(self) -> Result:
        states = Counter(item["state"]["S"] for item in self.tables["ledger"].items.values())
        number = len(self.plan.wanted)
        return Result(self.world.seed, self.checks.violations, self.faults.counts, number, states, self.world.t)

    def _may_stop(self, over: float) -> bool:
        if self._found():
            return True
        if self.world.events > EVENTS_MAX:
            self.checks.endless(self.world.events)
            return True
        return self.world.t > over and self._settled()

    def _found(self) -> bool:
        return any(violation.invariant in self._stop_at for violation in self.checks.violations)

    def _claimed(self, id_: str) -> None:
        """Somebody cancels at the very moment at which a worker has begun."""
        after_s = self.plan.cancelled_when_claimed.pop(id_, None)
        if after_s is not None:
            self.world.at(self.world.t + after_s, clients.cancel, self, self._by_id[id_])

    def _settled(self) -> bool:
        working = (queue.messages for name, queue in self.queues.items() if name != "dead-letter")
        return not self.world.alive and not any(working)


@contextmanager
def without_logs() -> Iterator[None]:
    """The handlers' own logs would take half the time."""
    levels = [logger.log_level for logger in LOGGERS]
    for logger in LOGGERS:
        logger.setLevel("CRITICAL")
    try:
        yield
    finally:
        for logger, level in zip(LOGGERS, levels, strict=True):
            logger.setLevel(level)


def run(seed: int, **options: Any) -> Result:
    """Play one night."""
    with without_logs():
        return Night(seed, **options).run()
