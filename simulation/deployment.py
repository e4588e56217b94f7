"""The deployment of one night: the production handlers between simulated AWS and simulated providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from lambdas import consumer, producer, scheduler
from lambdas.quiet_hours import channels, timings
from lambdas.quiet_hours.channels.channel import Channel
from lambdas.quiet_hours.delivery import delivery as worker
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.rule.terms import Policy
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores import ledger as ledger_module

from . import topology
from .checks import Checks
from .faults import Faults, client_error
from .functions import Function, Limit, Source, Triggers
from .plan import Plan
from .providers import KINDS, Kind, Provider
from .queues import Sqs
from .tables import DynamoDb, Table
from .world import NEVER, Process, World

_policies: dict[Policy, Policy] = {}


def _shared_policy(settings: Settings) -> Policy:
    """The policy of these settings. Equal policies are one object: the rule keeps what it has computed by object."""
    policy = settings.quiet_hours()
    return _policies.setdefault(policy, policy)


class Deployment:
    """Queues, tables, functions, event sources, triggers and providers on one virtual clock, observed by `checks`."""

    def __init__(
        self,
        plan: Plan,
        world: World,
        faults: Faults,
        checks: Checks,
        jitter_s: float,
        kinds: Mapping[str, Kind] = KINDS,
    ) -> None:
        self.kinds = kinds
        self.plan = plan
        self.world = world
        self.faults = faults
        self.checks = checks

        self.queues = topology.build_queues(world, faults, plan.in_flight_max, plan.wait_queues)
        self._queues_by_url = {queue.url: queue for queue in self.queues.values()}
        for name, away in plan.queues_away.items():
            self.queues[name].away = away
        for number in range(plan.wait_queues):
            queue = f"wait{number + 1 if number else ''}"
            self.queues[queue].asked = partial(checks.wait_received, queue)
            self.queues[queue].took = checks.wait_took
        self.tables = {
            "ledger": Table(world, "ledger", "id", written=checks.ledger_written, ttl="expires"),
            "consent": Table(world, "consent", "recipient_id"),
            "held": Table(world, "held", "id"),
            "turn": Table(world, "turn", "channel"),
        }
        self.settings = topology.settings_for(self.queues, plan)
        self.policy = _shared_policy(self.settings)
        self.providers = {name: self._provider(name) for name in kinds}

        self.producer = self._function("producer", timings.PRODUCER_TIMEOUT_S, self._produce)
        self.consumer = self._function("consumer", timings.CONSUMER_TIMEOUT_S, self._consume)
        self.scheduler = self._function("scheduler", timings.SCHEDULER_TIMEOUT_S, self._release)
        self.worker = self._function("worker", timings.WORKER_TIMEOUT_S, self._deliver)
        self.entry = self._source("notification", self.consumer, topology.CONSUMER_BATCH, topology.CONSUMER_CONCURRENCY)
        self.lanes = [
            self._source(lane, self.worker, 1, plan.concurrency.get(lane, topology.LANE_CONCURRENCY))
            for lane in ("urgent", "delivery", "schedule")
        ]
        self.redriving = 0
        self.triggers = Triggers(world, faults, self.scheduler, jitter_s)

    def deploy(self, settings: Mapping[str, Any]) -> None:
        """Deploy other settings. What runs already goes on by the old ones."""
        self.settings = replace(self.settings, **settings)
        self.policy = _shared_policy(self.settings)

    # --- how it is put together ---------------------------------------------------------------------------------------

    def _function(self, name: str, timeout_s: float, handler: Callable[..., Any]) -> Function:
        return Function(self.world, self.faults, name, timeout_s, self.plan.skew_s, handler, self.checks.handler_raised)

    def _source(self, queue: str, function: Function, batch: int, concurrency: int) -> Source:
        blocked = self.plan.blocked.get(queue, NEVER)
        return Source(self.world, self.faults, self.queues[queue], function, batch, concurrency, blocked)

    def _provider(self, name: str) -> Provider:
        plan = self.plan
        ids = {each.number: each.id for each in plan.wanted if each.id}
        return Provider(
            self.world,
            self.faults,
            name,
            self.kinds[name],
            self.checks.provider_took,
            refuses=frozenset(ids[number] for number in plan.refused if number in ids),
            poison=frozenset(ids[number] for number in plan.poison if number in ids),
            away=plan.away.get(name, NEVER),
            outage=plan.outages.get(name, "503"),
            template_refused=plan.template_refused,
            slow_s=plan.slow_s,
            longest_pause_s=plan.longest_pause_s,
        )

    def limit_executions(self, most: int) -> None:
        """Let all functions share so many executions at once, as those of an account do."""
        limit = Limit(most)
        for function in (self.producer, self.consumer, self.scheduler, self.worker):
            function.limit = limit

    # --- what a process uses ------------------------------------------------------------------------------------------

    def sqs(self, process: Process) -> Any:
        """The SQS client of a process."""
        return Sqs(process, self.faults, self._queues_by_url)

    def dynamodb(self, process: Process) -> Any:
        """The DynamoDB client of a process."""
        return DynamoDb(process, self.faults, self.tables)

    def ledger(self, process: Process, owner: str, lease: timedelta) -> ledger_module.Ledger:
        """The ledger as a process uses it."""
        dynamodb, table = self.dynamodb(process), self.settings.ledger_table
        return ledger_module.Ledger(dynamodb, table, owner, lease, process.pause, process.remaining_s)

    def _channel(self, process: Process, name: str) -> Channel:
        if self.plan.secret_away.covers(self.world.t):
            self.faults.counts["secret_away"] += 1
            raise client_error("GetSecretValue", "InternalServiceError")
        channel = self.providers[name].channel(process)
        if self.settings.recipients != "listed":
            return channel
        return channels.restricted(channel, {"addresses": list(self.plan.allow_list or ())})

    # --- the functions' handlers --------------------------------------------------------------------------------------

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
            event["Records"],
            process.now(),
            self.sqs(process),
            self.dynamodb(process),
            self.settings,
            self.policy,
            sleep=process.pause,
            remaining_s=process.remaining_s,
            side_by_side=process.side_by_side,
        )
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _release(self, event: Any, process: Process, memory: dict[str, Any]) -> Any:
        release_one = partial(
            scheduler.release,
            self.sqs(process),
            now=process.now,
            remaining_s=process.remaining_s,
            sleep=process.pause,
            side_by_side=process.side_by_side,
        )
        answers = scheduler.release_each(self.settings, self.policy, process.side_by_side, release_one)
        answer = scheduler.together(answers)
        if self.world.note and answer.get("messages"):
            self.world.note(f"{process.owner} has moved {answer['released']} from wait to schedule", None)
        return answer

    def _deliver(self, event: Any, process: Process, memory: dict[str, Any]) -> Any:
        failed = []
        for record in event["Records"]:
            process.began_at = self.world.t
            delivery = worker.Delivery(
                sqs=self.sqs(process),
                dynamodb=self.dynamodb(process),
                ledger=self.ledger(process, process.owner, timedelta(seconds=timings.LEASE_S)),
                settings=self.settings,
                policy=self.policy,
                channel=partial(self._channel, process),
                now=process.now,
                remaining_s=process.remaining_s,
                sleep=process.pause,
                side_by_side=process.side_by_side,
                memory=memory.setdefault("memory", Memory()),
            )
            if not delivery.deliver(record).settled:
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}
