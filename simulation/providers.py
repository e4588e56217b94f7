"""Providers behind the `Channel` seam: they accept, reject, throttle, are away, or give no answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lambdas.quiet_hours.channels import configuration as config
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.channels.webhook import WebhookChannel

from .faults import Faults
from .world import Process, World

Rule = Literal["keyed", "dead_letter", "resend"]
"""What becomes of an unknown outcome: the provider recognises a notification that it gets again, by its id; or it does
not, and the channel's setting `unknown_outcome` decides."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a channel and its provider are like."""

    rule: Rule
    batch_size: int
    side_by_side: int
    deadline_s: float
    rate_per_s: float | None = None

    @property
    def can_resend(self) -> bool:
        """As the channels decide it."""
        if self.rule == "keyed":
            return WebhookChannel.can_resend
        return config.can_resend({"unknown_outcome": self.rule}, "simulated")


KINDS = {
    "kakao": Kind("dead_letter", batch_size=50, side_by_side=2, deadline_s=10.0, rate_per_s=8.0),
    "sms": Kind("dead_letter", batch_size=1, side_by_side=4, deadline_s=10.0),
    "push": Kind("resend", batch_size=1, side_by_side=4, deadline_s=10.0),
    "slack": Kind("dead_letter", batch_size=1, side_by_side=1, deadline_s=3.0),
    "email": Kind("resend", batch_size=1, side_by_side=3, deadline_s=10.0),
    "webhook": Kind("keyed", batch_size=1, side_by_side=5, deadline_s=10.0, rate_per_s=2.0),
}
"""Like docs/channels.md, but for times and rates. Of those without a key some are set to send again."""


@dataclass
class Provider:
    """One provider, and what it has taken. `accepted` is told of every acceptance, at its true time; `calls` has when
    each lane's calls came, with how many notifications."""

    world: World
    faults: Faults
    name: str
    kind: Kind
    accepted: Callable[[str, dict[str, Any], Process], None]
    refuses: frozenset[str] = frozenset()
    poison: frozenset[str] = frozenset()
    away: tuple[float, float] = (0.0, 0.0)
    slow_s: float = 0.3
    longest_pause_s: float = 0.0
    calls: defaultdict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))

    def channel(self, process: Process, lane: str) -> FakeChannel:
        """The provider as one invocation sees it, which works for that lane."""
        return FakeChannel(self, process, lane)


class FakeChannel:
    """The `Channel` of one invocation."""

    def __init__(self, provider: Provider, process: Process, lane: str) -> None:
        self._provider = provider
        self._process = process
        self._lane = lane
        self.deadline_s = provider.kind.deadline_s
        self.rate_per_s = provider.kind.rate_per_s
        self.batch_size = provider.kind.batch_size
        self.side_by_side = provider.kind.side_by_side
        self.can_resend = provider.kind.can_resend

    def send(self, notifications: Sequence[Any]) -> list[Outcome]:
        provider, process = self._provider, self._process
        world, rng = process.world, process.world.rng
        if provider.longest_pause_s and world.t < provider.faults.until and rng.random() < 0.5:
            provider.faults.counts["pause_before_call"] += 1
            process.pause(provider.longest_pause_s * max(rng.random(), rng.random()))
        provider.calls[self._lane].append((world.t, len(notifications)))
        if any(notification["id"] in provider.poison for notification in notifications):
            provider.faults.counts["poison"] += 1
            process.die("a notification that kills whoever sends it")

        fault = provider.faults.at_provider(world.t)
        provider.faults.at_worker += fault is not None
        if fault and world.note:
            world.note(f"{process.name}: call to {provider.name} hit by {fault}", None)
        if provider.away[0] <= world.t < provider.away[1]:
            provider.faults.counts["provider_outage"] += 1
            process.pause(rng.random())
            return [Outcome("unavailable", "http_503: away", None)] * len(notifications)
        if fault == "provider_refused":
            process.pause(rng.random() * 0.1)
            return [Outcome("unavailable", "not_connected: no connection")] * len(notifications)
        if fault == "provider_throttled":
            process.pause(rng.random() * 0.1)
            return [Outcome("unavailable", "http_429: too many", rng.choice((1.0, 5.0, 40.0)))] * len(notifications)
        if fault == "provider_unauthorized":
            process.pause(rng.random() * 0.1)
            return [Outcome("unauthorized", "http_401: credentials refused")] * len(notifications)
        if fault == "provider_forbidden":
            process.pause(rng.random() * 0.1)
            return [Outcome("forbidden", "http_403: not allowed")] * len(notifications)
        if fault == "provider_error":
            process.pause(rng.random() * 0.1)
            return [Outcome("retry", "http_500: a fault")] * len(notifications)
        if fault == "die_at_provider_before":
            process.die(f"killed before the call to {provider.name}")

        latency_s = min(self.deadline_s, provider.slow_s * max(rng.random(), rng.random()))
        if fault == "provider_timeout_before":
            process.pause(self.deadline_s)
            return [Outcome("unknown", "no_answer: nothing within the deadline")] * len(notifications)
        if fault == "provider_timeout_after":
            latency_s = self.deadline_s * max(rng.random(), rng.random())
        process.pause(latency_s)
        outcomes = [self._take(notification) for notification in notifications]
        if fault == "provider_timeout_after":
            process.pause(self.deadline_s - latency_s)
            return [Outcome("unknown", "no_answer: nothing within the deadline")] * len(notifications)
        if fault == "provider_raises":
            raise RuntimeError("a fault in the channel's code")
        if fault == "die_at_provider_after":
            process.die(f"killed after the call to {provider.name}")
        return outcomes

    def _take(self, notification: dict[str, Any]) -> Outcome:
        if notification["id"] in self._provider.refuses:
            self._provider.faults.counts["provider_rejected"] += 1
            return Outcome("rejected", "http_400: this one never")
        self._provider.accepted(self._provider.name, notification, self._process)
        return DELIVERED

    def close(self) -> None:
        pass
