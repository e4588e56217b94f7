"""The alerter: posts to Slack what comes on the alert topic. A failure of its own is raised, so that Lambda tries again
and an alarm sees it, which speaks by e-mail too."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.config import Config

from .quiet_hours.alerts import read_alert, slack_message
from .quiet_hours.channels.configuration import local_use
from .quiet_hours.channels.http import PostClient
from .quiet_hours.channels.slack import WEBHOOK_HOST
from .quiet_hours.errors import NoAnswer, NotSent
from .quiet_hours.settings import Settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

POST_DEADLINE_S = 10.0
SECRET_AGE_S = 60

TOLD_AGAIN_AFTER = timedelta(minutes=15)
"""A failure that is reported every minute is posted once in this time, by each process of Lambda's. Alarms always."""

logger = Logger()
_told: dict[tuple[str, str], datetime] = {}


class AlertFailed(Exception):
    """Raised when an alert did not reach Slack. The text is a code and a sentence, without the URL."""


@cache
def _secrets() -> SecretsProvider:
    return SecretsProvider(boto_config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2}))


def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """An SNS event in: https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""
    settings = Settings.from_env()
    for record in event["Records"]:
        tell(record["Sns"]["Message"], datetime.now(UTC), settings, _slack_url(settings.channel_secret), local_use())


def tell(message: str, now: datetime, settings: Settings, slack_url: str | None, local: bool) -> None:
    """Post what one message says. `local`: the URL may be on this machine. Raises `AlertFailed` when Slack has not
    taken it."""
    alert = read_alert(message, now)
    shown = {"alert": alert.name, "over": alert.over}
    if slack_url is None:
        logger.warning('not posted: the channel secret has no {"alerts": {"slack_url": "https://…"}}', extra=shown)
        return
    told_at = _told.get((alert.name, alert.what))
    if told_at is not None and now - told_at < TOLD_AGAIN_AFTER and not alert.lasting:
        logger.info("told already", extra=shown)
        return
    shown_in_slack = slack_message(alert, ZoneInfo(settings.timezone), settings.runbook_url, settings.dashboard_url)
    _post(slack_url, shown_in_slack, local)
    _told[alert.name, alert.what] = now
    logger.info("posted", extra=shown)


def _slack_url(secret: str) -> str | None:
    """Where alerts are posted, None where nobody has said so. Raises `AlertFailed` when that cannot be known."""
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
        status = client.post({"content-type": "application/json"}, json.dumps(message).encode())[0]
    except (NotSent, NoAnswer) as fault:  # posted twice is better than not at all
        raise AlertFailed(f"no_answer: Slack did not answer within {POST_DEADLINE_S:g} s ({fault})") from None
    finally:
        client.close()
    if not 200 <= status < 300:
        raise AlertFailed(f"http_{status}: Slack answered {status}")
