"""Keeping to a provider's rate: how far ahead each lane may book turns, and how large a call may be.

stores/turns.py books the turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from math import floor
from types import MappingProxyType

from ..channels.channel import Channel
from ..stores.ledger import TRANSACTION_ITEMS_MAX

WRAP_UP_S = 10
"""The time kept free at the end of an invocation, for recording and handing back."""

AHEAD_S: Mapping[str, float] = MappingProxyType({"urgent": 5.0, "delivery": 2.0, "schedule": 0.9})
"""How far ahead each lane may book turns. So the bulk never owns the near future, and what is urgent always finds a
turn; a share that one lane does not use is used by the others."""

ONE_BY_ONE_AHEAD_S = 0.5
"""The same for the schedule lane where one turn holds several calls: it keeps its worker busy for as long as it lasts,
so a second worker that waited all the time would cost as much as the first."""

LATE_TURN_S = 1.0
"""A turn that is later than this is given up. It is never made up for in a burst."""

TURN_S = 1.0
"""One booking is for at most so many notifications as the provider takes in this time, or for one."""


def ahead_s(channel: Channel, lane: str) -> float:
    """Return how far ahead a lane may book turns of a channel."""
    if lane == "schedule" and in_a_call(channel) < in_a_turn(channel):
        return ONE_BY_ONE_AHEAD_S
    return AHEAD_S[lane]


def in_a_turn(channel: Channel) -> int:
    """Return how many notifications one booking is for."""
    if channel.rate_per_s is None:
        return TRANSACTION_ITEMS_MAX
    return max(1, min(TRANSACTION_ITEMS_MAX, floor(channel.rate_per_s * TURN_S + 1e-9)))


def in_a_call(channel: Channel) -> int:
    """Return how many notifications one call carries."""
    return max(1, min(channel.batch_size, in_a_turn(channel)))


def sleep_until(instant: datetime, now: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
    """Sleep until the clock shows that instant."""
    left_s = (instant - now()).total_seconds()
    if left_s > 0:
        sleep(left_s)
