"""The consumer: judges each notification, now or held over night, and passes it on in bundles. It ends nothing.

What may go now takes the worker's lane of its urgency: critical ones urgent, informational ones delivery, and
advertising, which comes in masses, the lane of what was released.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from aws_lambda_powertools import Logger

from .quiet_hours.consents.counting import consent_for
from .quiet_hours.errors import ConsentUnavailable, Unreadable
from .quiet_hours.notification.admission import check_campaign_ids, check_content
from .quiet_hours.notification.bundle import Item, Message, dead_letter, invalid_letters, pack, read
from .quiet_hours.notification.notification import consent_keys
from .quiet_hours.redaction import redact_errors
from .quiet_hours.rule.policy import decide, is_held, quiet_until
from .quiet_hours.rule.terms import Hold, Policy
from .quiet_hours.settings import Settings
from .quiet_hours.side_by_side import SideBySide, in_threads
from .quiet_hours.stores.backoff import TRIES_MAX, Tries, endless
from .quiet_hours.stores.clients import client_config
from .quiet_hours.stores.consents import read_each_consent
from .quiet_hours.stores.held import held_record, record_held
from .quiet_hours.stores.newest import note_newest
from .quiet_hours.stores.queues import send

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

logger = Logger()
_owed_marks: dict[str, datetime] = {}
"""Sources of which records are missing and whose mark the table has not taken yet. It outlives the invocation, so that
the next one tries again."""


@cache
def _clients() -> tuple[SQSClient, DynamoDBClient]:
    config = client_config()
    return boto3.client("sqs", config=config), boto3.client("dynamodb", config=config)


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take an SQS event and return the partial batch response: `{"batchItemFailures": [{"itemIdentifier": …}]}`."""
    sqs, dynamodb = _clients()
    settings = Settings.from_env()
    policy = settings.quiet_hours()

    def remaining_s() -> float:
        return context.get_remaining_time_in_millis() / 1000

    failed, counts = consume(
        event["Records"],
        datetime.now(UTC),
        sqs,
        dynamodb,
        settings,
        policy,
        owed=_owed_marks,
        remaining_s=remaining_s,
    )
    logger.info("judged", extra={"records": len(event["Records"]), "failed_records": len(failed), **counts})
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


class Consumed(NamedTuple):
    """The message ids of the records that must come again, and how many notifications went which way."""

    failed: list[str]
    counts: Counter[str]


class Letter(NamedTuple):
    """A dead letter, and the id of the message that it came in."""

    message: Message
    message_id: str


class Held(NamedTuple):
    """An item that the rule holds, with the rule's reason."""

    item: Item
    hold: Hold


def consume(
    records: Sequence[Mapping[str, Any]],
    now: datetime,
    sqs: SQSClient,
    dynamodb: DynamoDBClient,
    settings: Settings,
    policy: Policy,
    sleep: Callable[[float], None] = time.sleep,
    owed: MutableMapping[str, datetime] | None = None,
    remaining_s: Callable[[], float] = endless,
    side_by_side: SideBySide = in_threads,
) -> Consumed:
    """Judge the notifications in the records and pass them on. `sleep` is used between the tries of reads and writes,
    `owed` to record what is held (stores/held.py), `remaining_s` and `side_by_side` to note the newest of what has a
    collapse key (stores/newest.py).

    A record must come again if a queue did not take everything that it holds. Raises what reading consents raises:
    then nothing has been sent, and all records come again.
    """
    items, letters = _read(records, settings)
    may_go, held = _judge(items, now, dynamodb, settings, policy, sleep)
    failed: set[str] = set()
    for queue_url, lane_items in _lanes(may_go, settings).items():
        failed |= _send(lane_items, queue_url, sqs)
    not_noted = note_newest(
        dynamodb,
        settings.held_table,
        [each.item for each in held],
        lambda seed: Tries(TRIES_MAX, sleep, remaining_s, seed),
        side_by_side,
        remaining_s,
    )
    if not_noted:  # rare, so that the usual way makes no copy
        failed |= {each.item.message_id for each in held if each.item.id in not_noted}
        held = [each for each in held if each.item.id not in not_noted]
    for queue in sorted({each.hold.queue for each in held}):
        failed |= _send([each.item for each in held if each.hold.queue == queue], settings.wait_url(queue), sqs)
    not_taken = send(sqs, settings.dead_letter_queue_url, [letter.message for letter in letters])
    failed |= {letters[index].message_id for index in not_taken}
    counts = Counter(now=len(may_go), held=len(held), refused=len(letters))
    if not_noted:
        counts["not_noted"] = len(not_noted)
    if settings.record_held:  # last: nothing that sends depends on it, and what failed is recorded when it comes again
        on_wait = [held_record(item.notification, hold, now) for item, hold in held if item.message_id not in failed]
        owed = {} if owed is None else owed
        counts["held_not_recorded"] = record_held(dynamodb, settings.held_table, on_wait, now, sleep, owed)
        counts["held_marks_owed"] = len(owed)
    return Consumed(sorted(failed), counts)


def _read(records: Sequence[Mapping[str, Any]], settings: Settings) -> tuple[list[Item], list[Letter]]:
    """Return the notifications in the records, and a dead letter for everything else."""
    items: list[Item] = []
    letters: list[Letter] = []
    for record in records:
        try:
            found, invalid = read(record)
        except Unreadable as fault:
            letters.append(Letter(dead_letter(record["body"], f"unreadable: {fault}"), record["messageId"]))
            continue
        allowed, foreign = check_campaign_ids(found, record, settings)
        accepted, refused = check_content(allowed, settings)
        items += accepted
        letters += [Letter(each, record["messageId"]) for each in invalid_letters(invalid + foreign + refused)]
    return items, letters


def _judge(
    items: Sequence[Item],
    now: datetime,
    dynamodb: DynamoDBClient,
    settings: Settings,
    policy: Policy,
    sleep: Callable[[float], None],
) -> tuple[list[Item], list[Held]]:
    """The items that may go out now, and those that are held.

    Outside quiet hours the consumer needs no consent. The worker itself asks whether someone has opted out. Raises
    `ConsentUnavailable` if no consent can be read, or what the client raises.
    """
    asks = [item for item in items if is_held(item.notification, now, policy)] if quiet_until(now, policy) else []
    keys = {key for item in asks for key in consent_keys(item.notification)}
    consents = read_each_consent(dynamodb, settings.consent_table, keys, now, sleep)
    unreadable = consents.unreadable
    if unreadable and unreadable >= keys - consents.refused:
        raise ConsentUnavailable("no consent could be read", unreadable)
    unread = {item.id for item in asks if not unreadable.isdisjoint(consent_keys(item.notification))}
    may_go: list[Item] = []
    held: list[Held] = []
    for item in items:
        if item.id in unread:
            may_go.append(item)  # the worker asks again, until it gets an answer: so nobody else waits for it
            continue
        # Where DynamoDB refuses a key there is no consent. The worker, which asks again, dead-letters such an item.
        consent = consent_for(item.notification, consents.found) if consents.found else None
        decision = decide(item.notification, consent, now, policy)
        if isinstance(decision, Hold):
            held.append(Held(item, decision))
        else:
            may_go.append(item)
    return may_go, held


def _lanes(items: Sequence[Item], settings: Settings) -> dict[str, list[Item]]:
    """Sort what may go now by the queue of its lane. The most urgent lane is the first."""
    lanes: dict[str, list[Item]] = {
        queue_url: []
        for queue_url in (settings.urgent_queue_url, settings.delivery_queue_url, settings.schedule_queue_url)
    }
    for item in items:
        lanes[_lane_url(item, settings)].append(item)
    return lanes


def _lane_url(item: Item, settings: Settings) -> str:
    """The queue of an item's lane. What is redriven is not urgent any more: an operator brings back thousands at once,
    and the codes of today must not wait behind them."""
    category = item.notification["category"]
    if category == "critical" and item.redriven is None:
        return settings.urgent_queue_url
    return settings.schedule_queue_url if category == "advertising" else settings.delivery_queue_url


def _send(items: Sequence[Item], queue_url: str, sqs: SQSClient) -> set[str]:
    """Put items on a queue. Returns the ids of the messages that hold an item which the queue did not take."""
    messages = pack(items)
    return {item.message_id for index in send(sqs, queue_url, messages) for item in messages[index].items}
