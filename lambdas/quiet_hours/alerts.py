"""What people are told: an alert is read from what comes on the alert topic, and written as Slack shows it.

Three kinds come: CloudWatch's alarms, our own messages about a failure that no metric should delay, and Lambda's record
of an invocation that ended without an answer. None of their texts is shown that could carry somebody's data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

STOPPED, CRASHED, UNKNOWN = OWN = ("ReleaseStopped", "ReleaseCrashed", "UnknownAlert")
"""The alerts that are no alarms."""

TEXT_CHARACTERS_MAX = 1_000
"""Slack takes more; a person who is woken by it reads less."""


@dataclass(frozen=True, slots=True)
class Alert:
    """`name` is also the name of its paragraph in docs/runbook.md. `over`: what it tells of has ended. `lasting`: it
    is told when it begins and when it ends, so that nothing of it is a repetition."""

    name: str
    what: str
    since: datetime
    numbers: str
    over: bool = False
    lasting: bool = False


def release_stopped(codes: Sequence[str], answer: dict[str, Any], now: datetime) -> str:
    """The message of the scheduler whose run was ended by a call that failed. `codes` are the services' own."""
    return json.dumps(
        {
            "alert": STOPPED,
            "what": "A call that failed has stopped the release. What is held stays held; the next minute tries again.",
            "since": now.isoformat(timespec="seconds"),
            "numbers": f"error {', '.join(codes)}; {answer['released']} notifications were released before it",
        }
    )


def read_alert(message: str, published: datetime) -> Alert:
    """The alert that a message on the topic stands for. What is of no known kind is one too, its text not shown."""
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
    """An alarm's state change: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html"""
    return Alert(
        name=found["AlarmName"].rpartition("-")[2],  # the stack's name stands before it
        what=str(found.get("AlarmDescription") or "An alarm without a description."),
        since=datetime.fromisoformat(found["StateChangeTime"]),
        numbers=str(found["NewStateReason"]),
        over=found["NewStateValue"] == "OK",
        lasting=True,
    )


def _failed_invocation(found: dict[str, Any], published: datetime) -> Alert:
    """Lambda's record of an asynchronous invocation that failed; its payloads and error texts are left out."""
    context, answer = found["requestContext"], found.get("responsePayload") or {}
    function = str(context["functionArn"]).partition(":function:")[2].partition(":")[0]
    error = str(answer.get("errorType", "no error named")) if isinstance(answer, dict) else "no error named"
    what = f"{function} ended without an answer: it crashed, ran out of time, or could not be started."
    return Alert(CRASHED, what, published, f"{context.get('condition', 'unknown condition')}, {error}")


def slack_message(alert: Alert, zone: ZoneInfo, runbook_url: str, dashboard_url: str) -> dict[str, Any]:
    """The JSON that an incoming webhook takes: https://docs.slack.dev/reference/messaging/attachments"""
    title = f"Over: {alert.name}" if alert.over else alert.name
    since = f"{alert.since.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    runbook = f"<{runbook_url}#{alert.name}|Runbook>" if runbook_url else f"docs/runbook.md, {_escaped(alert.name)}"
    links = " · ".join([f"<{dashboard_url}|Dashboard>"] * bool(dashboard_url) + [runbook])
    return {
        "text": f"Quiet Hours: {_escaped(title)}",
        "attachments": [
            {
                "color": "good" if alert.over else "danger",
                "text": f"{_escaped(alert.what)}\n{links}",
                "fields": [
                    {"title": "Since", "value": since, "short": True},
                    {"title": "Numbers", "value": _escaped(alert.numbers), "short": False},
                ],
                "mrkdwn_in": ["text"],
            }
        ],
    }


def _escaped(text: str) -> str:
    """Text as Slack shows it unchanged: these three would begin a link, a mention or an entity."""
    return text[:TEXT_CHARACTERS_MAX].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
