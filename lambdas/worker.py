"""The worker: the only one that calls a provider, and the only one that records an ending.

One bundle an invocation. Claim, read consent, judge again just before each call, call, record; what is not settled
goes back to the lane it came from, to wait, or to dead-letter. A bundle is acknowledged only when all of it is.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import cache
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.config import Config

from .quiet_hours import channels
from .quiet_hours.channels.channel import Channel
from .quiet_hours.delivery.delivery import Delivery
from .quiet_hours.settings import Settings
from .quiet_hours.side_by_side import in_threads
from .quiet_hours.stores.ledger import Ledger
from .quiet_hours.timings import LEASE_S

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

SECRET_AGE_S = 60


class HandlerFailed(Exception):
    """Raised when a fault in the code ended a bundle: it comes again. The text is the type of what was raised."""


logger = Logger()
_resting: dict[str, datetime] = {}
_served: dict[str, datetime] = {}
_channels: dict[str, tuple[Any, Channel]] = {}


CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2}, parameter_validation=False)
"""Validating a transaction of a hundred puts against its model costs more than sending it; DynamoDB does it anyway, and
what it refuses is not done (docs/decisions/0005-what-the-worker-costs.md)."""


@cache
def _clients() -> tuple[Any, Any, SecretsProvider]:
    sqs, dynamodb = boto3.client("sqs", config=CONFIG), boto3.client("dynamodb", config=CONFIG)
    return sqs, dynamodb, SecretsProvider(boto_config=CONFIG)


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """An SQS event in, the partial batch response out: `{"batchItemFailures": [{"itemIdentifier": message id}]}`."""
    sqs, dynamodb, _ = _clients()
    settings = Settings.from_env()
    failed = []
    for record in event["Records"]:
        delivery = Delivery(
            sqs=sqs,
            dynamodb=dynamodb,
            ledger=Ledger(dynamodb, settings.ledger_table, context.aws_request_id, timedelta(seconds=LEASE_S)),
            settings=settings,
            policy=settings.quiet_hours(),
            channel=lambda name: _channel(settings.channel_secret, name),
            now=_utc_now,
            remaining_s=lambda: context.get_remaining_time_in_millis() / 1000,
            sleep=time.sleep,
            side_by_side=in_threads,
            resting=_resting,
            served=_served,
        )
        try:
            settled, counts = delivery.deliver(record)
        except Exception as error:
            # Lambda prints what is raised, and an exception's text may show somebody's data: only where it was stays.
            at = [f"{frame.name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)]
            logger.error("bundle failed", extra={"error": type(error).__name__, "at": at})
            raise HandlerFailed(type(error).__name__) from None
        # What a provider did not take now, whatever it said: of this and of the counts, metrics are made.
        refusals = [name for name in counts if name.startswith(("unavailable: ", "unauthorized: ", "forbidden: "))]
        unavailable = sum(counts[name] for name in refusals)
        shown = {"lane": delivery.lane(record), "settled": settled, "unavailable": unavailable, **counts}
        logger.info("bundle", extra=shown)
        if any(not name.startswith("unavailable: ") for name in refusals):
            # The credentials may have been changed: the next bundle reads them again.
            _clients()[2].clear_cache()  # type: ignore[no-untyped-call]
        if not settled:
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _channel(secret: str, name: str) -> Channel:
    """The channel as the secret configures it now; the secret is read at most once a minute."""
    config = None
    if name != "log":
        configs: Any = _clients()[2].get(secret, max_age=SECRET_AGE_S, transform="json")
        config = configs.get(name)
    if name not in _channels or _channels[name][0] != config:
        _channels[name] = config, channels.build(name, config, _utc_now, _channel_client)
    return _channels[name][1]


def _channel_client(service: str, region: str | None, endpoint_url: str | None) -> Any:
    """A client for one of AWS's own channels. It tries once: what could not be sent goes back to its lane."""
    config = Config(retries={"total_max_attempts": 1})
    make: Any = boto3.client
    return make(service, region, endpoint_url=endpoint_url, config=config)


def _utc_now() -> datetime:
    return datetime.now(UTC)
