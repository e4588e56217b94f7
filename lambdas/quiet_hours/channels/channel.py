"""The seam between the worker and a provider: what a channel promises, and what can come of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..notification.notification import Notification


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one notification.

    - `delivered`: the provider has it.
    - `rejected`: it never will; the notification goes to dead-letter.
    - `retry`: not now, and it is the notification's fault or nobody's: costs an attempt.
    - `unavailable`: not now, and it is the channel's fault: costs no attempt, the channel rests `retry_after_s`.
    - `unauthorized`: the same, for credentials that are refused: the secret is read again as well.
    - `forbidden`: not now, for want of a permission: the channel's, or only one that this notification needs. So it
      costs an attempt, and the channel rests only where it delivers nothing else. The secret is read again.
    - `unknown`: the provider may have it. Channels that can be asked twice are; others dead-letter it.

    `reason` is a code, then a sentence; it never shows a notification's data.
    """

    kind: Literal["delivered", "rejected", "retry", "unavailable", "unauthorized", "forbidden", "unknown"]
    reason: str = ""
    retry_after_s: float | None = None


DELIVERED = Outcome("delivered")


class Channel(Protocol):
    """One way to reach people. `send` gets at most `batch_size` notifications and answers for each, in order."""

    @property
    def deadline_s(self) -> float:
        """When a call has ended for certain, whatever the provider does: part of the guard."""

    @property
    def rate_per_s(self) -> float | None:
        """How many notifications a second the provider takes, over all workers; None for as many as there are."""

    @property
    def batch_size(self) -> int:
        """How many notifications one call takes."""

    @property
    def side_by_side(self) -> int:
        """How many calls one invocation makes at once."""

    @property
    def can_resend(self) -> bool:
        """Whether a notification is sent again when nobody knows what came of it: the provider recognises it by its id,
        or the configuration says so (`unknown_outcome`)."""

    def send(self, notifications: Sequence[Notification]) -> Sequence[Outcome]:
        """Call the provider once. Never raises for what a provider can do, never retries, is over by `deadline_s`."""

    def close(self) -> None:
        """Let go of connections: nothing is left running between two invocations."""
