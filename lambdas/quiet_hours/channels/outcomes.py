"""What several channels make of a call in the same way: failures, refused credentials, being asked to wait, content."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

from ..errors import CallFailed, NotSent, Unfit
from ..notification.notification import Notification
from .channel import Outcome


def call_failed(fault: CallFailed, provider: str, deadline_s: float) -> Outcome:
    """The outcome of a call that failed."""
    if isinstance(fault, NotSent):
        return Outcome("unavailable", f"not_connected: no connection to {provider} ({fault})")
    return Outcome("unknown", f"no_answer: {provider} did not answer within {deadline_s:g} s ({fault})")


def unauthorized(reason: str, check: str = "its credentials in the channel secret") -> Outcome:
    """Refused credentials, which may be right in a minute. `reason` is a code, then what was answered; `check` is what
    to look at."""
    return Outcome("unauthorized", f"{reason}; check {check}")


def forbidden(reason: str, check: str = "its credentials in the channel secret") -> Outcome:
    """Refused for want of a permission, which may be this notification's alone. The arguments are as above."""
    return Outcome("forbidden", f"{reason}; check {check}")


def unfit(fault: Unfit) -> Outcome:
    """A notification that the channel cannot carry."""
    return Outcome("rejected", f"unfit: {fault}")


def body_of(notification: Notification) -> str:
    """The text to send. Raises `Unfit` where there is only a template."""
    body: str | None = notification["content"].get("body")
    if body is None:
        raise Unfit(f"content.body is required: {notification['channel']} has no templates")
    return body


def retry_after_s(retry_after: str, now: datetime) -> float | None:
    """How long a Retry-After header asks to wait; it is a number of seconds or a date."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - now).total_seconds()
    except (TypeError, ValueError):
        return None
