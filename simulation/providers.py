"""Providers behind the `Channel` protocol: they accept, reject, throttle, are away, or do not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from lambdas.quiet_hours.channels import configuration as config
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.channels.webhook import WebhookChannel

from .faults import Faults
from .plan import Outage
from .world import NEVER, Process, Span, World

Rule = Literal["keyed", "dead_letter", "resend"]
"""The rule for an unknown outcome. A keyed provider recognises the id of a notification that it gets again. For the
others the channel's setting `unknown_outcome` decides."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The properties of a channel and its provider."""

    rule: Rule
    batch_size: int
    side_by_side: int
    deadline_s: float
    rate_per_s: float | None = None

    @property
    def can_resend(self) -> bool:
        """The decision that the real channels make."""
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
"""The channels of docs/channels.md, with other times and rates. Some of those without a key are set to send again."""

REFUSALS = {
    "provider_refused": Outcome("unavailable", "not_connected: no connection"),
    "provider_throttled": Outcome("unavailable", "http_429: too many"),
    "provider_unauthorized": Outcome("unauthorized", "http_401: credentials refused"),
    "provider_forbidden": Outcome("forbidden", "http_403: not allowed"),
    "provider_error": Outcome("retry", "http_500: a fault"),
}
"""The answers to a whole call, by the fault that causes them."""

TEMPLATE_REFUSED = Outcome("rejected", "solapi_1042: no such template", refuses_template=True)


def outage_outcome(outage: Outage, rule: Rule) -> Outcome:
    """The outcome that the real channels make of an outage: docs/channels.md."""
    if outage == "no_settings":
        return Outcome("misconfigured", "channel_not_configured: channel not configured")
    if outage in ("refused", "dns", "tls"):
        return Outcome("unavailable", "not_connected: no connection")
    if outage in ("503", "429"):
        return Outcome("unavailable", f"http_{outage}: away")
    if outage in ("500", "502", "504") and rule == "keyed":
        return Outcome("retry", f"http_{outage}: away")
    return Outcome("unknown", f"no_answer: {outage}")


class ProviderCall(NamedTuple):
    """A call that reached a provider, the number of notifications in it, and how many of them are critical."""

    at: float
    notifications: int
    critical: int = 0


@dataclass
class Provider:
    """One provider. It rejects the ids in `refuses`, and the ids in `poison` kill whoever sends them. It calls `took`
    for each notification that it takes, at the true time, with the seconds for which it keeps trying. `calls` are all
    calls that reached it, and `called` the ids in them."""

    world: World
    faults: Faults
    name: str
    kind: Kind
    took: Callable[[str, dict[str, Any], Process, float], None]
    refuses: frozenset[str] = frozenset()
    poison: frozenset[str] = frozenset()
    away: Span = NEVER
    outage: Outage = "503"
    template_refused: Span = NEVER
    slow_s: float = 0.3
    longest_pause_s: float = 0.0
    calls: list[ProviderCall] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    def channel(self, process: Process) -> FakeChannel:
        """The channel to the provider, for one invocation."""
        return FakeChannel(self, process)


class FakeChannel:
    """The `Channel` of one invocation."""

    def __init__(self, provider: Provider, process: Process) -> None:
        self._provider = provider
        self._process = process
        self.deadline_s = provider.kind.deadline_s
        self.rate_per_s = provider.kind.rate_per_s
        self.batch_size = provider.kind.batch_size
        self.side_by_side = provider.kind.side_by_side
        self.can_resend = provider.kind.can_resend

    def send(self, notifications: Sequence[Any]) -> list[Outcome]:
        provider, world = self._provider, self._process.world
        tries_s = [
            (datetime.fromisoformat(each["expires_at"]) - self._process.now()).total_seconds() for each in notifications
        ]
        self._pause_before_the_call()
        critical = sum(notification["category"] == "critical" for notification in notifications)
        provider.calls.append(ProviderCall(world.t, len(notifications), critical))
        provider.called.update(notification["id"] for notification in notifications)
        if any(notification["id"] in provider.poison for notification in notifications):
            provider.faults.counts["poison"] += 1
            self._process.die("a notification that kills whoever sends it")
        fault = provider.faults.at_provider(world.t)
        provider.faults.at_worker += fault is not None
        if fault and world.note:
            world.note(f"{self._process.name}: call to {provider.name} hit by {fault}", None)
        if refusal := self._refusal(fault):
            return [refusal] * len(notifications)
        if fault == "die_at_provider_before":
            self._process.die(f"killed before the call to {provider.name}")
        return self._call(notifications, tries_s, fault)

    def _pause_before_the_call(self) -> None:
        provider, rng = self._provider, self._process.world.rng
        if provider.longest_pause_s and self._process.world.t < provider.faults.until and rng.random() < 0.5:
            provider.faults.counts["pause_before_call"] += 1
            self._process.pause(provider.longest_pause_s * max(rng.random(), rng.random()))

    def _refusal(self, fault: str | None) -> Outcome | None:
        """A quick answer for all notifications of the call, of which the provider takes none."""
        provider, world = self._provider, self._process.world
        if provider.away.covers(world.t):
            provider.faults.counts["provider_outage"] += 1
            if provider.outage == "hang_after":
                return None
            self._process.pause(self.deadline_s if provider.outage == "hang_before" else world.rng.random())
            return outage_outcome(provider.outage, provider.kind.rule)
        if fault not in REFUSALS:
            return None
        self._process.pause(world.rng.random() * 0.1)
        if fault == "provider_throttled":
            return replace(REFUSALS[fault], retry_after_s=world.rng.choice((1.0, 5.0, 40.0)))
        return REFUSALS[fault]

    def _call(self, notifications: Sequence[Any], tries_s: Sequence[float], fault: str | None) -> list[Outcome]:
        """The provider takes its time, then it takes each notification or rejects it. The answer may get lost."""
        process, rng = self._process, self._process.world.rng
        no_answer = [Outcome("unknown", "no_answer: nothing within the deadline")] * len(notifications)
        latency_s = min(self.deadline_s, self._provider.slow_s * max(rng.random(), rng.random()))
        if self._provider.away.covers(process.world.t):  # it takes everything, and no answer comes
            fault = "provider_timeout_after"
        if fault == "provider_timeout_before":
            process.pause(self.deadline_s)
            return no_answer
        if fault == "provider_timeout_after":
            latency_s = self.deadline_s * max(rng.random(), rng.random())
        process.pause(latency_s)
        outcomes = [self._take(*each) for each in zip(notifications, tries_s, strict=True)]
        if fault == "provider_timeout_after":
            process.pause(self.deadline_s - latency_s)
            return no_answer
        if fault == "provider_raises":
            raise RuntimeError("a fault in the channel's code")
        if fault == "die_at_provider_after":
            process.die(f"killed after the call to {self._provider.name}")
        return outcomes

    def _take(self, notification: dict[str, Any], tries_s: float) -> Outcome:
        if notification["id"] in self._provider.refuses:
            self._provider.faults.counts["provider_rejected"] += 1
            return Outcome("rejected", "http_400: this one never")
        if "template" in notification["content"] and self._provider.template_refused.covers(self._process.world.t):
            self._provider.faults.counts["template_refused"] += 1
            return TEMPLATE_REFUSED
        self._provider.took(self._provider.name, notification, self._process, tries_s)
        return DELIVERED

    def close(self) -> None:
        pass
