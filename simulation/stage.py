"""A stage for situations: large days and nights with the real channels' rates, of which situations.py has a table.

Nothing fails on it but what a situation asks for, so that a figure shows the one thing that the situation is about.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .checks import Checks
from .deployment import Deployment
from .drawing import OTHER_TEXT, TEXT
from .faults import Faults
from .night import LATE_S, without_logs
from .plan import Outage, Plan, Wanted
from .providers import Kind
from .world import Span, World

REAL_KINDS = {
    "kakao": Kind("dead_letter", batch_size=100, side_by_side=2, deadline_s=10.0, rate_per_s=100.0),
    "sms": Kind("dead_letter", batch_size=100, side_by_side=2, deadline_s=10.0, rate_per_s=100.0),
    "push": Kind("dead_letter", batch_size=1, side_by_side=25, deadline_s=10.0, rate_per_s=100.0),
    "slack": Kind("dead_letter", batch_size=1, side_by_side=10, deadline_s=10.0, rate_per_s=1.0),
    "email": Kind("dead_letter", batch_size=1, side_by_side=25, deadline_s=10.0, rate_per_s=14.0),
    "webhook": Kind("keyed", batch_size=1, side_by_side=25, deadline_s=10.0, rate_per_s=200.0),
}
"""The channels with their own figures. A test compares them with the channels."""

SEOUL = ZoneInfo("Asia/Seoul")
NOON = datetime(2020, 11, 11, 12, 0, tzinfo=SEOUL).astimezone(UTC)
EVENING = datetime(2020, 11, 11, 20, 40, tzinfo=SEOUL).astimezone(UTC)
BUNDLE = 100
HOUR = 3600.0


class Waits(NamedTuple):
    """The seconds from acceptance to the provider's call."""

    number: int
    p95_s: float
    p99_s: float
    longest_s: float


@dataclass
class Stage:
    """A deployment with real rates on a virtual clock, and everything that happens to it.

    `account_concurrency` is the number of executions that may run at once, of all functions together.
    """

    start: datetime
    kinds: dict[str, Kind] = field(default_factory=lambda: dict(REAL_KINDS))
    skew_s: float = 0.0
    slow_s: float = 0.1
    seed: int = 0
    account_concurrency: int | None = None
    release_concurrency: int = 2

    def __post_init__(self) -> None:
        local = self.start.astimezone(SEOUL)
        begin = (local.replace(hour=21, minute=0) - local).total_seconds()
        self.begin, self.end = begin, begin + 11 * HOUR
        self.plan = Plan(SEOUL, self.start, "korea", 1, [self.begin], [self.end], 0.0)
        self.plan.concurrency = {"schedule": self.release_concurrency}
        self.plan.skew_s, self.plan.slow_s = self.skew_s, self.slow_s
        self.world = World(self.start, self.seed)
        self.faults = Faults(Random(self.seed), 0.0)
        self.faults.latency_s = 0.02
        self.checks = Checks(self.world, self.plan, self.kinds, LATE_S)
        self.deployment = Deployment(self.plan, self.world, self.faults, self.checks, 30.0, self.kinds)
        self.accepted_at: dict[int, float] = {}
        self.number = 0
        self.coming = 0
        if self.account_concurrency is not None:
            self.deployment.limit_executions(self.account_concurrency)

    def body(self, channel: str, category: str = "advertising") -> dict[str, Any]:
        """The body of the next notification, and its place in the checks."""
        number = self.number
        self.number += 1
        id_ = f"n{number}"
        body: dict[str, Any] = {
            "id": id_,
            "channel": channel,
            "category": category,
            "address": "010-1234-5678" if channel in ("kakao", "sms") else "user@example.com",
            "content": {"body": TEXT if category == "advertising" else OTHER_TEXT},
            "metadata": {"n": number},
            "source": "source-1",
        }
        wanted = Wanted(number, id_, category, channel, "user", None, body)
        self.checks.by_number[number] = wanted
        self.checks.by_id[id_].append(wanted)
        self.accepted_at[number] = self.world.t
        return body

    def accept(self, channel: str, category: str = "critical") -> None:
        """Send one notification through the producer. A sender who is throttled tries again after a second."""
        self._send({"notifications": [self.body(channel, category)]})

    def _send(self, request: dict[str, Any]) -> None:
        def answered(answer: Any) -> None:
            if isinstance(answer, BaseException):
                self.world.at(self.world.t + 1, self._send, request)

        self.deployment.producer.invoke(request, answered)

    def be_away(self, channel: str, during: Span, outage: Outage) -> None:
        """Let a provider be away."""
        self.plan.away[channel], self.plan.outages[channel] = during, outage
        provider = self.deployment.providers[channel]
        provider.away, provider.outage = during, outage

    def put(
        self,
        queue: str,
        number: int,
        channel: str,
        category: str = "advertising",
        bundle: int = BUNDLE,
        life_s: float = 3 * 24 * HOUR,
    ) -> None:
        """Put accepted notifications on a queue, in bundles. They expire after `life_s`."""
        at = self.world.time()
        fields = {
            "accepted_at": at.isoformat(timespec="milliseconds"),
            "expires_at": (at + timedelta(seconds=life_s)).isoformat(timespec="milliseconds"),
        }
        for start in range(0, number, bundle):
            bodies = [self.body(channel, category) | fields for _ in range(min(bundle, number - start))]
            text = json.dumps(bodies if bundle > 1 else bodies[0], separators=(",", ":"), ensure_ascii=False)
            self.deployment.queues[queue].put(text, {})

    def at(self, t: float, function: Callable[..., Any], *args: Any) -> None:
        """Do something at that time. The stage does not end before it."""
        self.coming += 1
        self.world.at(t, self._do, function, *args)

    def _do(self, function: Callable[..., Any], *args: Any) -> None:
        self.coming -= 1
        function(*args)

    def run(self, until: float, *, is_night: bool = True) -> None:
        """Let time pass. It ends early when every queue is empty and nothing is under way. On a day without
        `is_night` nothing is triggered."""
        if is_night:
            self.deployment.triggers.begin(self.plan.ends)
        with without_logs():
            self.world.run(until, lambda: self.world.t > (self.end if is_night else 0) and self._is_settled())

    def _is_settled(self) -> bool:
        return not self.coming and not self.world.alive and not self.left()

    def endings(self) -> Counter[str]:
        """The states of the ledger."""
        return Counter(item["state"]["S"] for item in self.deployment.tables["ledger"].items.values())

    def left(self) -> int:
        """The messages that are still on a working queue."""
        return sum(len(queue.messages) for name, queue in self.deployment.queues.items() if name != "dead-letter")

    def calls(self, channel: str) -> list[Any]:
        return self.deployment.providers[channel].calls

    def waits(self, channel: str) -> Waits:
        """How long a channel's critical notifications waited for their provider."""
        times = sorted(
            (self.checks.taken[number][0].at if self.checks.taken[number] else inf) - at
            for number, at in self.accepted_at.items()
            if (self.checks.by_number[number].channel, self.checks.by_number[number].category) == (channel, "critical")
        )
        if not times:
            return Waits(0, 0, 0, 0)
        return Waits(len(times), times[int(0.95 * (len(times) - 1))], times[int(0.99 * (len(times) - 1))], times[-1])
