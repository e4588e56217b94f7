"""The rest of one source's template: a provider that refuses a template refuses the whole night of whoever uses it.

After some refusals in a row, the source and template rest like a channel (stores/health.py): what is of both goes back
to its lane, and one notification probes after each rest. Nothing else waits for it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ..channels.channel import Outcome
from ..errors import TurnsUnavailable
from ..notification.bundle import Item
from ..notification.notification import Notification
from ..stores.clients import SERVICE_ERRORS
from ..stores.health import PROBE_LEASE_S, Health, Refusals
from ..stores.turns import NoTurn, Probe, Resting, Turns
from .aftermath import Aftermath

KNOWN_S = 5.0
"""For how long a process believes what it has read of a source and template."""

KNOWN_MAX = 1000
"""The most of them that a process remembers."""

TABLE_ERRORS = (*SERVICE_ERRORS, TurnsUnavailable)


class Known(NamedTuple):
    """What a process has last seen of a source and template, and until when it believes that."""

    health: Health
    until: datetime


class Lease(NamedTuple):
    """The item that probes a source and template, and its lease."""

    id: str
    health: Health


@dataclass
class Templates:
    """The sources and templates in a bundle's items of one channel. `known` outlives the bundle.

    A pair is the key of a source and template. `resting` collects the items whose pair rests.
    """

    channel: str
    turns: Turns
    known: MutableMapping[str, Known]
    now: Callable[[], datetime]
    resting: defaultdict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    probes: dict[str, Lease] = field(default_factory=dict)

    def without_resting(self, items: Sequence[Item]) -> list[Item]:
        """The items whose pair does not rest, and one of each pair whose rest is over: it probes."""
        going: list[Item] = []
        for item in items:
            pair = pair_of(item.notification)
            if pair is None or self._may_go(pair, item):
                going.append(item)
            else:
                self.resting[pair].append(item)
        return going

    def rest_s(self, item: Item) -> float:
        """For how long an item's pair rests as far as is known; 0 if it does not, or if the item probes it."""
        pair = pair_of(item.notification)
        lease = self.probes.get(pair) if pair else None
        return 0 if pair is None or (lease and lease.id == item.id) else self._rest_s(pair)

    def note(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> dict[str, float]:
        """Note what a call says about its pairs. Returns the ids that go back to their lane although they were
        rejected, with their waits."""
        by_pair: defaultdict[str, list[tuple[str, Outcome]]] = defaultdict(list)
        for item, outcome in zip(items, outcomes, strict=True):
            if pair := pair_of(item.notification):
                by_pair[pair].append((item.id, outcome))
        waits: dict[str, float] = {}
        for pair, answers in by_pair.items():
            refused = [id for id, outcome in answers if outcome.refuses_template]
            if any(outcome.kind == "delivered" and outcome.was_called for _, outcome in answers):
                self._has_served(pair)
            elif refused:
                waits |= self._has_refused(pair, refused)
            elif not any(outcome.was_called for _, outcome in answers):
                self._has_not_called(pair, [id for id, _ in answers])
        return waits

    def give_back_resting(self, after: Aftermath) -> None:
        """Give back what rests: for the rest of its pair, as it is known after the bundle's calls."""
        for pair, items in self.resting.items():
            after.give_back(items, max(1, self._rest_s(pair)))

    def _may_go(self, pair: str, item: Item) -> bool:
        if self._rest_s(pair) > 0:
            return False
        known = self.known.get(pair)
        if known is not None and self.now() < known.until and not known.health.rests:
            return True
        try:
            booking = self.turns.book(pair, 1, None, 0)  # without a rate: it says only if the pair rests
        except TABLE_ERRORS:
            self._learn(pair, Health())  # the turn of the call decides: without the table there is none
            return True
        if isinstance(booking, Resting):
            self._learn(pair, Health(rest_until_ms=self._now_ms() + round(booking.delay_s * 1000)))
            return False
        if isinstance(booking, Probe):
            self.probes[pair] = Lease(item.id, booking.health)
        self._learn(pair, Health() if isinstance(booking, NoTurn) else booking.health)
        return True

    def _has_served(self, pair: str) -> None:
        """Note a delivery. It costs a write only where refusals are known, or where it ends a rest."""
        known, lease = self.known.get(pair), self.probes.get(pair)
        if lease is None and not (known and known.health.refused):
            return
        try:
            self.turns.has_served(pair, lease and lease.health, self.now())
        except TABLE_ERRORS:
            return
        self._learn(pair, Health())

    def _has_not_called(self, pair: str, ids: Sequence[str]) -> None:
        """Note that a probe has called nobody, so that the next bundle can probe at once."""
        lease = self.probes.get(pair)
        if lease is None or lease.id not in ids:
            return
        with suppress(*TABLE_ERRORS):
            self.turns.has_not_called(pair, lease.health)
            self._learn(pair, replace(lease.health, rest_until_ms=self._now_ms()))

    def _has_refused(self, pair: str, ids: Sequence[str]) -> dict[str, float]:
        lease = self.probes.get(pair)
        try:
            refused = self.turns.has_refused(pair, Refusals(ids, self._now_ms(), lease and lease.health))
        except TABLE_ERRORS:
            # Without the table nothing rests: what is refused is dead-lettered. A probe comes again after its lease.
            return dict.fromkeys(ids, PROBE_LEASE_S) if lease else {}
        self._learn(pair, refused.health)
        return {id: refused.wait_s for id in ids if id not in refused.dead_lettered}

    def _learn(self, pair: str, health: Health) -> None:
        if len(self.known) >= KNOWN_MAX:
            self.known.clear()
        self.known[pair] = Known(health, self.now() + timedelta(seconds=KNOWN_S))

    def _rest_s(self, pair: str) -> float:
        known = self.known.get(pair)
        if known is None or self.now() >= known.until:
            return 0
        return max(0, (known.health.rest_until_ms - self._now_ms()) / 1000)

    def _now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)


def pair_of(notification: Notification) -> str | None:
    """Return the key of a notification's channel, source and template; None if it has no template. It is of bounded
    size, and shows nobody's text."""
    template = notification["content"].get("template")
    if template is None:
        return None
    named = json.dumps([notification.get("source", ""), template])
    return f"{notification['channel']}#{hashlib.sha256(named.encode()).hexdigest()[:32]}"
