"""The log channel: it only logs each notification. For first steps, and for notifications that need no provider."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..notification.json_text import to_text
from ..notification.notification import Notification
from .channel import DELIVERED, Outcome

DEADLINE_S = 1.0


class LogChannel:
    """Prints one JSON line for each notification: its id and size, never its content or address."""

    deadline_s = DEADLINE_S
    rate_per_s = None
    batch_size = 100
    side_by_side = 1
    can_resend = True

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        for notification in notifications:
            size_bytes = len(to_text(notification).encode())
            print(json.dumps({"message": "notification", "id": notification["id"], "bytes": size_bytes}))
        return [DELIVERED] * len(notifications)

    def close(self) -> None:
        pass
