"""The channels that are built. Each is one module behind the seam in `seam.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..notification import Notification
from . import log, webhook
from .seam import Channel, Misconfigured, Outcome

LONGEST_DEADLINE_S = max(log.DEADLINE_S, webhook.DEADLINE_S)
"""The longest that any channel's call can be in flight: what the guard before quiet hours has to cover."""


def build(name: str, config: Mapping[str, Any] | None, now: Callable[[], datetime]) -> Channel:
    """The channel of that name. `config` is its part of the channel secret, None where there is none.

    One that does not exist yet, or lacks what it needs, rejects everything with a reason that says what to set.
    """
    if name == "log":
        return log.LogChannel()
    if name != "webhook":
        return NotConfigured(f"{name} is not built in")
    if not isinstance(config, Mapping):
        return NotConfigured('the channel secret needs {"webhook": {"url": "https://…"}}')
    try:
        return webhook.WebhookChannel(config, now)
    except Misconfigured as fault:
        return NotConfigured(str(fault))


class NotConfigured:
    """Stands for a channel that cannot be used."""

    deadline_s = 0.0
    rate_per_s = None
    batch_size = 100
    side_by_side = 1
    can_resend = True

    def __init__(self, why: str) -> None:
        self._outcome = Outcome("rejected", f"channel_not_configured: channel not configured; {why}")

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._outcome] * len(notifications)

    def close(self) -> None:
        pass
