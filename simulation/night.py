"""One night from the first arrival to the end: a plan, the deployment that it happens to, and the checks.

`run(123)` plays the night of seed 123 and returns the broken invariants, the faults and the endings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from lambdas import consumer, producer, scheduler
from lambdas.quiet_hours.timings import CLOCK_SKEW, LONGEST_PAUSE

from . import clients
from .checks import Checks, Violation
from .deployment import Deployment
from .drawing import draw, draw_large_campaign, draw_last_seconds, draw_misplaced, draw_rush
from .drawing_consents import draw_records
from .drawing_recipients import draw_recipients
from .drawing_world import draw_collapse_keys, draw_world
from .faults import Faults
from .plan import Plan
from .providers import KINDS
from .world import World

SETTLED_WITHIN_S = 3 * 3600.0
"""Everything has settled within this time after the last fault. A poison notification takes longest: ten attempts of a
lease and a visibility timeout each, after up to two splits of its bundle."""

EVENTS_MAX = 250_000
"""A night has some thousand events. One with a large campaign, whose provider is away for an hour and a half, has some
60,000. A night with so many goes on for ever."""

NOTIFICATIONS = 40
MISPLACED = 0.15
"""The share of nights on which somebody puts notifications on a lane that is not theirs."""

PAUSE_S, SKEW_S = LONGEST_PAUSE.total_seconds(), CLOCK_SKEW.total_seconds()
LATE_S = max(kind.deadline_s for kind in KINDS.values()) + PAUSE_S + SKEW_S + 0.01
"""The longest time from the worker's judgement to the moment at which the provider takes the notification."""

BEFORE_THE_GUARD_S = (15.5, 25.0)
"""The time before quiet hours at which a worker begins on nights with pauses beyond the bound: before the guard."""

LOGGERS = [module.logger for module in (consumer, producer, scheduler)]


@dataclass(frozen=True)
class Result:
    """The result of one night."""

    seed: int
    violations: list[Violation]
    faults: Counter[str]
    notifications: int
    endings: Counter[str]
    ended_at_s: float


class Night:
    """A plan on a virtual clock. Without a `plan` the seed draws one. The night ends early where one of the invariants
    in `stop_at` is broken. `note` gets each event as a sentence, with the id of its notification if it has one."""

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
        self.plan = plan or draw(rng, notifications, PAUSE_S, SKEW_S)
        if plan is None:
            self.plan.record_held = seed % 3 == 0
            self.plan.advertising_label = seed % 2 == 0
            draw_large_campaign(self.plan, Random(f"campaign {seed}"))
            draw_records(self.plan, Random(f"records {seed}"))
            draw_world(self.plan, Random(f"world {seed}"))
            draw_collapse_keys(self.plan, Random(f"collapse keys {seed}"))
            rush = Random(f"rush {seed}")
            if self.plan.calm:
                draw_rush(self.plan, rush)
            elif rush.random() < MISPLACED:
                draw_misplaced(self.plan, rush)
            draw_recipients(self.plan, Random(f"recipients {seed}"))
        if pause_factor > 1:
            draw_last_seconds(self.plan, rng, PAUSE_S * pause_factor, BEFORE_THE_GUARD_S)
        self.world = World(self.plan.start, seed)
        if note:
            self.world.note = lambda text, id_: note(self.world, text, id_)
        self.faults = faults(rng, self.plan.faults_until)
        self.checks = Checks(self.world, self.plan, KINDS, LATE_S)
        self.checks.claimed = self._cancel_what_is_claimed
        self.deployment = Deployment(self.plan, self.world, self.faults, self.checks, jitter_s=rng.random() * 60)
        self._by_id = {each.id: each for each in self.plan.wanted if each.id}
        self._stop_at = stop_at

    def run(self) -> Result:
        """Play from the first arrival until everything has settled or has had the time to."""
        self._schedule_the_plan()
        over_at = self.plan.over_at
        self.world.run(over_at + SETTLED_WITHIN_S, lambda: self._may_stop(over_at))
        if not self._is_found():
            self._check_the_end()
        endings = Counter(item["state"]["S"] for item in self.deployment.tables["ledger"].items.values())
        number = len(self.plan.wanted)
        return Result(self.world.seed, self.checks.violations, self.faults.counts, number, endings, self.world.t)

    def _schedule_the_plan(self) -> None:
        world, plan, deployment = self.world, self.plan, self.deployment
        for change in plan.consents:
            world.at(change.at, clients.set_consent, deployment, change.recipient, change.consent, change.written)
        for request in plan.requests:
            world.at(request.at, clients.send, deployment, request)
            if request.again_at is not None:
                self.faults.counts["client_duplicate"] += 1
                world.at(request.again_at, clients.send, deployment, request)
        for cancel in plan.cancels:
            world.at(cancel.at, clients.cancel, deployment, cancel.wanted)
        for redrive in plan.redrives:
            world.at(redrive.at, clients.redrive, deployment, redrive)
        for junk in plan.junk:
            world.at(junk.at, deployment.queues["notification"].put, junk.body, {})
        if plan.change:
            world.at(plan.change.at, deployment.deploy, plan.change.settings)
        deployment.triggers.begin(plan.ends)

    def _check_the_end(self) -> None:
        deployment, checks = self.deployment, self.checks
        called = [provider.called for provider in deployment.providers.values()]
        checks.night_over(deployment.queues, deployment.tables["ledger"].items, self.faults.at_worker, called)
        if self.plan.calm:
            checks.released_on_time(self.faults.counts["crash"])
            if not self.faults.counts["crash"]:
                checks.critical_on_time()
        for provider in deployment.providers.values():
            checks.paced(provider)
            checks.left_alone(provider)

    def _may_stop(self, over_at: float) -> bool:
        world = self.world
        if self.checks.violations and self._is_found():
            return True
        if world.events > EVENTS_MAX:
            self.checks.endless(world.events)
            return True
        return world.t > over_at and self._is_settled()

    def _is_found(self) -> bool:
        return any(violation.invariant in self._stop_at for violation in self.checks.violations)

    def _is_settled(self) -> bool:
        queues = self.deployment.queues
        working = (queue.messages for name, queue in queues.items() if name != "dead-letter")
        return not self.world.alive and not self.deployment.redriving and not any(working)

    def _cancel_what_is_claimed(self, id_: str) -> None:
        """Somebody cancels at the very moment at which a worker has begun."""
        after_s = self.plan.cancelled_when_claimed.pop(id_, None)
        if after_s is not None:
            self.world.at(self.world.t + after_s, clients.cancel, self.deployment, self._by_id[id_])


@contextmanager
def without_logs() -> Iterator[None]:
    """Silence the handlers' logs, which would take half of the time."""
    levels = [logger.log_level for logger in LOGGERS]
    for logger in LOGGERS:
        logger.setLevel("CRITICAL")
    try:
        yield
    finally:
        for logger, level in zip(LOGGERS, levels, strict=True):
            logger.setLevel(level)


def run(seed: int, **options: Any) -> Result:
    """Play one night. The options are those of `Night`."""
    with without_logs():
        return Night(seed, **options).run()
