"""Alerts: our own message on the alert topic, and the alert that each message on the topic stands for.

Three kinds of messages come: CloudWatch's alarms, our own messages about a failure that no metric should delay, and
Lambda's record of an invocation that ended without an answer. An alert shows no text that could be somebody's data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

STOPPED, CRASHED, SOURCE, UNKNOWN = OWN = ("ReleaseStopped", "ReleaseCrashed", "SourceFailed", "UnknownAlert")
"""The alerts that are no alarms."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert. `name` is also the name of its paragraph in docs/runbook.md. `over`: its cause has ended. `lasting`: it
    comes once when it begins and once when it ends, so that it never repeats itself."""

    name: str
    what: str
    since: datetime
    numbers: str
    over: bool = False
    lasting: bool = False


def release_stopped(codes: Sequence[str], answer: dict[str, Any], now: datetime) -> str:
    """The scheduler's message about a run that a failed call has ended. `codes` are the services' error codes."""
    return json.dumps(
        {
            "alert": STOPPED,
            "what": "A call that failed has stopped the release. What is held stays held; the next minute tries again.",
            "since": now.isoformat(timespec="seconds"),
            "numbers": f"error {', '.join(codes)}; {answer['released']} notifications were released before it",
        }
    )


def read_alert(message: str, published: datetime) -> Alert:
    """The alert that a message on the topic stands for. A message of no known kind is one too, without its text."""
    try:
        found = json.loads(message)
        if "AlarmName" in found:
            return _alarm(found)
        if "alert" in found:
            since = datetime.fromisoformat(found["since"])
            return Alert(str(found["alert"]), str(found["what"]), since, str(found["numbers"]))
        if "requestContext" in found:
            return _failed_invocation(found, published)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    what = "Something was published on the alert topic that is no alert. Its text is not shown: it could be anything."
    return Alert(UNKNOWN, what, published, f"{len(message)} characters")


def _alarm(found: dict[str, Any]) -> Alert:
    """The alert of an alarm's state change: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html"""
    return Alert(
        name=found["AlarmName"].rpartition("-")[2],  # the stack's name stands before it
        what=str(found.get("AlarmDescription") or "An alarm without a description."),
        since=datetime.fromisoformat(found["StateChangeTime"]),
        numbers=str(found["NewStateReason"]),
        over=found["NewStateValue"] == "OK",
        lasting=True,
    )


def _failed_invocation(found: dict[str, Any], published: datetime) -> Alert:
    """The alert of an asynchronous invocation that failed. Its payloads and error texts are left out."""
    context, answer = found["requestContext"], found.get("responsePayload") or {}
    function = str(context["functionArn"]).partition(":function:")[2].partition(":")[0]
    error = str(answer.get("errorType", "no error named")) if isinstance(answer, dict) else "no error named"
    numbers = f"{context.get('condition', 'unknown condition')}, {error}"
    asked = found.get("requestPayload")
    if isinstance(asked, dict) and "scheduled_at" in asked:
        what = f"{function} could not accept what its source asks for. It was tried again, and will not be any more."
        return Alert(SOURCE, what, published, numbers)
    what = f"{function} ended without an answer: it crashed, ran out of time, or could not be started."
    return Alert(CRASHED, what, published, numbers)
