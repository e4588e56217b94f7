"""The outcomes that several channels share, and the text of a notification."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

from ..errors import CallFailed, NotSent, Unfit
from ..notification.notification import Notification
from .channel import Outcome


def call_failed(fault: CallFailed, provider: str, deadline_s: float) -> Outcome:
    """Return the outcome of a call that failed."""
    if isinstance(fault, NotSent):
        return Outcome("unavailable", f"not_connected: no connection to {provider} ({fault})")
    return Outcome("unknown", f"no_answer: {provider} did not answer within {deadline_s:g} s ({fault})")


def answered(code_prefix: str, provider: str, status: int, word: str) -> str:
    """Return the reason for an answer that is an error. `word`: the provider's own code for it, empty if none."""
    return f"{code_prefix}_{word or status}: " + f"{provider} answered {status} {word}".rstrip()


def unauthorized(reason: str, check: str = "its credentials in the channel secret") -> Outcome:
    """Return the outcome for refused credentials, which may be right in a minute. `reason`: a code, then the answer.
    `check`: what an operator should look at."""
    return Outcome("unauthorized", f"{reason}; check {check}")


def forbidden(reason: str, check: str = "its credentials in the channel secret") -> Outcome:
    """Return the outcome for a missing permission, which perhaps only this notification needs. Arguments as above."""
    return Outcome("forbidden", f"{reason}; check {check}")


def unfit(fault: Unfit) -> Outcome:
    """Return the outcome of a notification that the channel cannot carry."""
    return Outcome("rejected", f"unfit: {fault}")


def body_of(notification: Notification) -> str:
    """Return the text to send. Raises `Unfit` if there is only a template."""
    body: str | None = notification["content"].get("body")
    if body is None:
        raise Unfit(f"content.body is required: {notification['channel']} has no templates")
    return body


def retry_after_s(retry_after: str, now: datetime) -> float | None:
    """Return how many seconds a Retry-After header asks to wait. It is a number of seconds or a date."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - now).total_seconds()
    except (TypeError, ValueError):
        return None
