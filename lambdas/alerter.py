"""The alerter: posts to Slack what comes on the alert topic.

It raises its own failures: Lambda then tries again, and an alarm goes off, which also sends e-mail.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SecretsProvider

from .quiet_hours.alerts import Alert, read_alert
from .quiet_hours.channels.configuration import local_use
from .quiet_hours.channels.http import PostClient
from .quiet_hours.channels.slack import WEBHOOK_HOST, escape
from .quiet_hours.errors import AlertFailed, NoAnswer, NotSent
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import Settings
from .quiet_hours.stores.clients import client_config

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

POST_DEADLINE_S = 10.0
SECRET_AGE_S = 60

TEXT_CHARACTERS_MAX = 1_000
"""Slack takes more, but a person who is woken by an alert reads less."""

REPEAT_AFTER = timedelta(minutes=15)
"""A failure that is reported every minute is posted once in this time, by each process. Every alarm is posted."""

logger = Logger()
_posted_at: dict[tuple[str, str], datetime] = {}


@cache
def _secrets() -> SecretsProvider:
    return SecretsProvider(boto_config=client_config(connect_timeout_s=2))


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Post each message of an SNS event: https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""
    settings = Settings.from_env()
    for record in event["Records"]:
        slack_url = _slack_url(settings.channel_secret)
        post_alert(record["Sns"]["Message"], datetime.now(UTC), settings, slack_url, local_use())


def post_alert(message: str, now: datetime, settings: Settings, slack_url: str | None, local: bool) -> None:
    """Post the alert of one message. `local`: the URL may be on this machine. Raises `AlertFailed` when Slack has not
    taken it."""
    alert = read_alert(message, now)
    shown = {"alert": alert.name, "over": alert.over}
    if slack_url is None:
        logger.warning('not posted: the channel secret has no {"alerts": {"slack_url": "https://…"}}', extra=shown)
        return
    posted_at = _posted_at.get((alert.name, alert.what))
    if posted_at is not None and now - posted_at < REPEAT_AFTER and not alert.lasting:
        logger.info("posted already", extra=shown)
        return
    in_slack = slack_message(alert, ZoneInfo(settings.timezone), settings.runbook_url, settings.dashboard_url)
    _post(slack_url, in_slack, local)
    _posted_at[alert.name, alert.what] = now
    logger.info("posted", extra=shown)


def slack_message(alert: Alert, zone: ZoneInfo, runbook_url: str, dashboard_url: str) -> dict[str, Any]:
    """The alert as an incoming webhook takes it: https://docs.slack.dev/reference/messaging/attachments"""
    title = f"Over: {alert.name}" if alert.over else alert.name
    since = f"{alert.since.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    runbook = f"<{runbook_url}#{alert.name}|Runbook>" if runbook_url else f"docs/runbook.md, {_shown(alert.name)}"
    links = " · ".join([f"<{dashboard_url}|Dashboard>"] * bool(dashboard_url) + [runbook])
    return {
        "text": f"Quiet Hours: {_shown(title)}",
        "attachments": [
            {
                "color": "good" if alert.over else "danger",
                "text": f"{_shown(alert.what)}\n{links}",
                "fields": [
                    {"title": "Since", "value": since, "short": True},
                    {"title": "Numbers", "value": _shown(alert.numbers), "short": False},
                ],
                "mrkdwn_in": ["text"],
            }
        ],
    }


def _shown(text: str) -> str:
    return escape(text[:TEXT_CHARACTERS_MAX])


def _slack_url(secret: str) -> str | None:
    """The URL to post alerts to, or None if none is set. Raises `AlertFailed` when the secret cannot be read."""
    try:
        found: Any = _secrets().get(secret, max_age=SECRET_AGE_S, transform="json")
        return None if "alerts" not in found else str(found["alerts"]["slack_url"])
    except Exception as error:  # its text could show what the secret holds
        raise AlertFailed(f"secret_unavailable: alerts.slack_url cannot be read ({type(error).__name__})") from None


def _post(url: str, message: dict[str, Any], local: bool) -> None:
    try:
        client = PostClient(url, POST_DEADLINE_S, WEBHOOK_HOST, local)
    except ValueError as fault:
        raise AlertFailed(f"not_configured: alerts.slack_{fault}") from None
    try:
        status = client.post({"content-type": "application/json"}, json.dumps(message).encode()).status
    except (NotSent, NoAnswer) as fault:  # posted twice is better than not at all
        raise AlertFailed(f"no_answer: Slack did not answer within {POST_DEADLINE_S:g} s ({fault})") from None
    finally:
        client.close()
    if not 200 <= status < 300:
        raise AlertFailed(f"http_{status}: Slack answered {status}")
