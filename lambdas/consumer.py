"""The consumer: judges each notification, now or held over night, and passes it on in bundles. It ends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config

from .quiet_hours.errors import Unreadable
from .quiet_hours.notification.bundle import InvalidItem, Item, Message, dead_letter, pack, read
from .quiet_hours.notification.deployment import checks_content, content_faults
from .quiet_hours.notification.notification import recipient_of
from .quiet_hours.redaction import redact_errors
from .quiet_hours.rule.policy import Hold, Policy, decide, may_be_held, quiet_until
from .quiet_hours.settings import Settings
from .quiet_hours.stores.consents import read_consents
from .quiet_hours.stores.held import held_record, record_held
from .quiet_hours.stores.queues import send

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

logger = Logger()


@cache
def _clients() -> tuple[SQSClient, DynamoDBClient]:
    config = Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 2})
    return boto3.client("sqs", config=config), boto3.client("dynamodb", config=config)


@redact_errors(logger)
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """An SQS event in, the partial batch response out: `{"batchItemFailures": [{"itemIdentifier": message id}]}`."""
    sqs, dynamodb = _clients()
    settings = Settings.from_env()
    failed, counts = consume(event["Records"], datetime.now(UTC), sqs, dynamodb, settings, settings.quiet_hours())
    logger.info("judged", extra={"records": len(event["Records"]), "failed_records": len(failed), **counts})
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def consume(
    records: Sequence[Mapping[str, Any]],
    now: datetime,
    sqs: SQSClient,
    dynamodb: DynamoDBClient,
    settings: Settings,
    policy: Policy,
) -> tuple[list[str], Counter[str]]:
    """Judge what stands in the records and pass it on.

    Returns the message ids of the records that must come again, since some output with an item of theirs was not
    taken, and how many notifications went which way. Raises what the consent table's client raises: then nothing has
    been sent and all of them come again.
    """
    arrived: list[tuple[str, list[Item]]] = []  # what came in which record
    items: list[Item] = []
    refused: list[tuple[Message, str]] = []
    for record in records:
        try:
            found, misfits = read(record)
        except Unreadable as fault:
            refused.append((dead_letter(record["body"], f"unreadable: {fault}"), record["messageId"]))
            continue
        found, unlabelled = _labelled(found, settings) if checks_content(settings) else (found, [])
        items += found
        arrived.append((record["messageId"], found))
        for misfit in misfits + unlabelled:
            letter = dead_letter(misfit.text, "invalid: " + "; ".join(misfit.errors), misfit.id, misfit.redriven)
            refused.append((letter, record["messageId"]))

    # Where quiet hours do not apply the consumer needs no consent; whether someone opted out the worker asks itself.
    asks = [item for item in items if may_be_held(item.notification, policy)] if quiet_until(now, policy) else []
    consents = read_consents(dynamodb, settings.consent_table, (recipient_of(item.notification) for item in asks), now)
    now_lane: list[Item] = []
    held: list[Item] = []
    holds: list[Hold] = []
    for item in items:
        consent = consents.get(recipient_of(item.notification)) if consents else None
        decision = decide(item.notification, consent, now, policy)
        if isinstance(decision, Hold):
            held.append(item)
            holds.append(decision)
        else:
            now_lane.append(item)

    left: set[int] = set()  # the identities of items that no queue took
    for queue_url, lane in ((settings.delivery_queue_url, now_lane), (settings.wait_queue_url, held)):
        messages = pack(lane)
        for index in send(sqs, queue_url, messages):
            left |= {id(item) for item in messages[index].items}
    failed = {message_id for message_id, found in arrived if left and any(id(item) in left for item in found)}
    for index in send(sqs, settings.dead_letter_queue_url, [letter for letter, _ in refused]):
        failed.add(refused[index][1])
    counts = Counter(now=len(now_lane), held=len(held), refused=len(refused))
    if settings.record_held:  # last: nothing that sends depends on it, and what failed is recorded when it comes again
        come_again = {id(item) for message_id, found in arrived if message_id in failed for item in found}
        on_wait = [(item, hold) for item, hold in zip(held, holds, strict=True) if id(item) not in come_again]
        records_of_held = [held_record(item.notification, hold, now) for item, hold in on_wait]
        counts["held_not_recorded"] = record_held(dynamodb, settings.held_table, records_of_held)
    return sorted(failed), counts


def _labelled(items: Sequence[Item], settings: Settings) -> tuple[list[Item], list[InvalidItem]]:
    """The items that may be accepted, and those whose advertising is not labelled as the policy asks.

    Also what a redrive brings back: that it is one is said by a message attribute, which anybody who sends may set.
    """
    fine, misfits = [], []
    for item in items:
        if faults := content_faults(item.notification, settings):
            misfits.append(InvalidItem(item.text, item.id, faults, item.redriven))
        else:
            fine.append(item)
    return fine, misfits
