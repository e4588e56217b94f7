"""The worker: the only function that calls a provider, and the only one that records an ending.

One invocation delivers one bundle: judge, book a turn, claim, judge again just before each call, call, record. An item
that has not ended goes back to its lane, to the wait queue or to dead-letter. The bundle is acknowledged only when
every item has its place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.config import Config

from .quiet_hours import channels
from .quiet_hours.channels.channel import Channel
from .quiet_hours.delivery.calls import Memory
from .quiet_hours.delivery.delivery import Delivery
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import Settings
from .quiet_hours.side_by_side import in_threads
from .quiet_hours.stores.clients import client_config
from .quiet_hours.stores.ledger import Ledger
from .quiet_hours.timings import LEASE_S

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

SECRET_AGE_S = 60

logger = Logger()
_memory = Memory()


class Built(NamedTuple):
    """A channel, and what it was built from: its part of the secret, and the allow-list's if that counts here."""

    parts: tuple[Any, Any]
    channel: Channel


_channels: dict[str, Built] = {}

CONFIG = client_config(connect_timeout_s=2, parameter_validation=False)
"""botocore takes more CPU to validate a transaction of a hundred puts than to send it. DynamoDB validates it too, and
does nothing of what it refuses (docs/decisions/0005-what-the-worker-costs.md)."""


@cache
def _clients() -> tuple[Any, Any, SecretsProvider]:
    sqs, dynamodb = boto3.client("sqs", config=CONFIG), boto3.client("dynamodb", config=CONFIG)
    # All of one session. Powertools would make a session of its own, which reads botocore's data again at a cold start.
    return sqs, dynamodb, SecretsProvider(boto3_client=boto3.client("secretsmanager", config=CONFIG))


def _secrets() -> SecretsProvider:
    _, _, secrets = _clients()
    return secrets


@redact_errors(logger, "bundle failed")
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take an SQS event and return the partial batch response: `{"batchItemFailures": [{"itemIdentifier": …}]}`."""
    sqs, dynamodb, _ = _clients()
    settings = Settings.from_env()
    failed = []

    def remaining_s() -> float:
        return context.get_remaining_time_in_millis() / 1000

    for record in event["Records"]:
        delivery = Delivery(
            sqs=sqs,
            dynamodb=dynamodb,
            ledger=Ledger(
                dynamodb,
                settings.ledger_table,
                context.aws_request_id,
                timedelta(seconds=LEASE_S),
                time.sleep,
                remaining_s,
            ),
            settings=settings,
            policy=settings.quiet_hours(),
            channel=lambda name: _channel(settings, name),
            now=_utc_now,
            remaining_s=remaining_s,
            sleep=time.sleep,
            side_by_side=in_threads,
            memory=_memory,
        )
        settled, counts, urgent_wait_s = delivery.deliver(record)
        # Metrics are made of these counts. `unavailable`: everything that a provider did not take now; `misconfigured`:
        # the part of it that only an operator can mend.
        shown: dict[str, float]
        slips = counts["secret_unavailable"] + _sum(counts, "unauthorized: ", "misconfigured: ", "forbidden: ")
        shown = {"unavailable": slips + _sum(counts, "unavailable: "), "misconfigured": slips, **counts}
        if urgent_wait_s is not None:
            shown["urgent_wait_s"] = round(urgent_wait_s, 3)
        logger.info("bundle", extra={"lane": delivery.lane(record).name, "settled": settled, **shown})
        if slips:
            # The credentials may have been changed: the next bundle reads them again.
            _secrets().clear_cache()  # type: ignore[no-untyped-call]
        if not settled:
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _sum(counts: Mapping[str, int], *prefixes: str) -> int:
    return sum(number for name, number in counts.items() if name.startswith(prefixes))


def _channel(settings: Settings, name: str) -> Channel:
    """The channel as the secret configures it now; the secret is read at most once a minute. The channel `log` reaches
    nobody, so it needs neither secret nor allow-list."""
    if name == "log":
        return channels.build(name, None, _utc_now, _channel_client)
    secret: Any = _secrets().get(settings.channel_secret, max_age=SECRET_AGE_S, transform="json")
    is_restricted = settings.recipients == "listed"
    parts = secret.get(name), secret.get("recipients") if is_restricted else None
    if name not in _channels or _channels[name].parts != parts:
        channel = channels.build(name, parts[0], _utc_now, _channel_client)
        _channels[name] = Built(parts, channels.restricted(channel, parts[1]) if is_restricted else channel)
    return _channels[name].channel


def _channel_client(service: str, region: str | None, endpoint_url: str | None) -> Any:
    """A client for one of AWS's own channels. It tries once: what could not be sent goes back to its lane."""
    config = Config(retries={"total_max_attempts": 1})
    make: Any = boto3.client
    return make(service, region, endpoint_url=endpoint_url, config=config)


def _utc_now() -> datetime:
    return datetime.now(UTC)
