"""Counts the write units of a delivered notification, by the rule for a call whose outcome is unknown.

The worker delivers bundles on the embedded AWS to a channel that takes everything, one notification a call: no call
carries a share of another's claim. The units are those that AWS states: 1 for an item of up to 1 KB, 2 in a
transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.notification.notification import Notification

from .measure import counted
from .whole_path import DAY, units
from .worker import deliver
from .world import World, items

BUNDLE = 100
CAN_RESEND = {"keyed": True, "resend": True, "dead_letter": False}
"""Each rule, and if a call whose outcome is unknown is made again."""


@dataclass
class Taking:
    """A channel that takes everything, one notification a call."""

    can_resend: bool
    deadline_s: float = 10.0
    rate_per_s: float | None = 100_000.0
    batch_size: int = 1
    side_by_side: int = 1

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [DELIVERED] * len(notifications)

    def close(self) -> None:
        pass


def measure(world: World) -> dict[str, Any]:
    """The ledger's write units for a notification."""
    written = {}
    for rule, can_resend in CAN_RESEND.items():
        (bundle,) = pack(items(BUNDLE))
        with counted(world.dynamodb) as calls:
            deliver(world, bundle, Taking(can_resend), memory=Memory(), now=lambda: DAY)
        written[rule] = units(calls, "ledger", "TransactWriteItems", "BatchWriteItem") / BUNDLE
    return {"write_units_per_notification": written}
