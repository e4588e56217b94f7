"""The checks of a notification's content that depend on the deployment."""

from __future__ import annotations

from ..settings import Settings
from .label import asks_for_label, label_faults
from .notification import Notification
from .sms_encoding import checks_sms, sms_faults


def checks_content(settings: Settings) -> bool:
    """True if this deployment checks any content at all."""
    return asks_for_label(settings) or checks_sms(settings)


def content_faults(notification: Notification, settings: Settings) -> list[str]:
    """Find what keeps this deployment from accepting the content: one `field: fault` each."""
    if notification["channel"] != "sms" and not asks_for_label(settings):
        return []
    return label_faults(notification, settings) + sms_faults(notification, settings)
