"""The protocol between the worker and a channel, and the outcomes of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..notification.notification import Notification

Kind = Literal[
    "delivered",
    "rejected",
    "retry",
    "unavailable",
    "unauthorized",
    "misconfigured",
    "forbidden",
    "unknown",
    "not_in_allow_list",
]

NOT_CALLED = ("unfit", "invalid", "simulated", "not_listed")
"""Codes of outcomes for which the provider was certainly not called. They say nothing about the channel."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one notification.

    - `delivered`: the provider has the notification.
    - `rejected`: the provider will never take it; it goes to dead-letter.
    - `retry`: not now, and the channel is not at fault. It costs an attempt.
    - `unavailable`: not now, and the channel is at fault. It costs no attempt; the channel rests for `retry_after_s`.
    - `unauthorized`: as `unavailable`, because the credentials are refused. The secret is read again as well.
    - `misconfigured`: as `unavailable`, because the channel's settings are wrong. The secret is read again as well.
    - `forbidden`: not now, because a permission or a place is missing. The whole channel may lack it, or only this
      notification may need it. So it costs an attempt, and the channel rests only if it delivers nothing else. The
      secret is read again.
    - `unknown`: the provider may have it. It is sent again if `can_resend`, and goes to dead-letter otherwise.
    - `not_in_allow_list`: this deployment may not call the address (allow_list.py). The notification ends so.

    `reason` is a code, then a sentence. It never shows a notification's data.

    `refuses_template`: the notification is `rejected` because of its template, so that others with it may be rejected
    too. After several in a row the template rests for this source.
    """

    kind: Kind
    reason: str = ""
    retry_after_s: float | None = None
    refuses_template: bool = False

    @property
    def code(self) -> str:
        """The code of the reason; empty if there is no reason."""
        return self.reason.partition(":")[0]

    @property
    def was_called(self) -> bool:
        """False if the provider was certainly not called, because of what the notification is."""
        return self.code not in NOT_CALLED


DELIVERED = Outcome("delivered")


class Channel(Protocol):
    """One way to reach people. `send` takes up to `batch_size` notifications and returns their outcomes in order."""

    @property
    def deadline_s(self) -> float:
        """The time after which a call has certainly ended, whatever the provider does. It is part of the guard."""

    @property
    def rate_per_s(self) -> float | None:
        """The number of notifications a second that the provider takes, over all workers; None for no limit."""

    @property
    def batch_size(self) -> int:
        """The number of notifications that one call takes."""

    @property
    def side_by_side(self) -> int:
        """The number of calls that one invocation makes in parallel."""

    @property
    def can_resend(self) -> bool:
        """True if a notification of unknown outcome is sent again: the provider recognises it by its id, or the
        configuration says so (`unknown_outcome`)."""

    def send(self, notifications: Sequence[Notification]) -> Sequence[Outcome]:
        """Call the provider once. Never raises for what a provider does, never retries, ends by `deadline_s`.

        `expires_at` of a notification is the end of the time in which it may reach somebody: a closure may begin then.
        Where a provider keeps trying after the call and takes a bound, the channel passes it on.
        """

    def close(self) -> None:
        """Close the connections: none stays open between two invocations."""


def ask(channel: Channel, notifications: Sequence[Notification]) -> list[Outcome]:
    """Call a channel, and return an outcome for each notification whatever the channel does: a fault in its code must
    not take other notifications with it."""
    try:
        outcomes = list(channel.send(notifications))
    except Exception as error:
        return [Outcome("unknown", f"channel_error: {type(error).__name__}")] * len(notifications)
    if len(outcomes) != len(notifications):
        return [Outcome("unknown", "channel_error: not one answer for each notification")] * len(notifications)
    return outcomes
