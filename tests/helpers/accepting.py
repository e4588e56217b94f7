"""Accepting one notification, at one instant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.notification.notification import Notification, accept
from tests.helpers.aws import notification

NOW = datetime(2020, 11, 11, 12, 3, 0, 123456, tzinfo=UTC)
PHONE_FAULT = "must be a Korean number such as 010-1234-5678 or an international one such as +14155550100"


def accepted(*, keep_accepted_at: bool = False, now: datetime = NOW, **fields: Any) -> Notification:
    return accept(notification(**fields), default_id="made-1", now=now, keep_accepted_at=keep_accepted_at)[0]


def errors(candidate: object) -> list[str]:
    with pytest.raises(Invalid) as invalid:
        accept(candidate, default_id="made-1", now=NOW)
    return invalid.value.errors
