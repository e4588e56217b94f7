"""The queues: what each one carries, for how long, and where it redrives to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.names import by_name
from lambdas.quiet_hours.notification.bundle import BUNDLE_BYTES_MAX
from lambdas.quiet_hours.timings import (
    CAMPAIGN_TIMEOUT_S,
    CONSUMER_TIMEOUT_S,
    LANE_VISIBILITY_S,
    WAIT_VISIBILITY_S,
)

RETENTION = Duration.days(4)
# SQS counts it from when the message entered its first queue, so it must be longer than the sources'.
DEAD_LETTER_RETENTION = Duration.days(14)
DEAD_LETTER_BYTES_MAX = 1024 * 1024  # the most that SQS takes: what anyone could send can be kept

# Throttles and outages use up receives too, one a visibility timeout. A lane's 240 receives last for a day of outage
# and end before the queue's retention: what cannot be handled is moved to dead-letter, never dropped unseen.
LANE_RECEIVES_MAX = 240
ENTRY_RECEIVES_MAX = WAIT_RECEIVES_MAX = 1000

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html (byQueue)
SOURCES_MAX = 10

# A long file costs one receive for each run. These end before the queue forgets the message.
CAMPAIGN_RECEIVES_MAX = 150

# The rollback of a first deployment deletes queues, bucket and secret; after that they stay, even when the stack is
# deleted. Tables stay in any case (stores.py).
KEEP = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE


@dataclass(frozen=True, slots=True)
class Queues:
    """All queues of a deployment.

    `wait` is the first wait queue; a policy that opens at several times needs further ones. `urgent`, `delivery` and
    `schedule` are the worker's lanes: for critical and informational notifications, and for the bulk. `campaign`
    carries messages that name campaign files; it is `None` where none are read.
    """

    notification: sqs.Queue
    urgent: sqs.Queue
    delivery: sqs.Queue
    wait: sqs.Queue
    further_waits: tuple[sqs.Queue, ...]
    schedule: sqs.Queue
    campaign: sqs.Queue | None
    dead_letter: sqs.Queue

    @property
    def waits(self) -> tuple[sqs.Queue, ...]:
        """Every wait queue, by its number."""
        return (self.wait, *self.further_waits)

    def named(self) -> dict[str, sqs.Queue]:
        """Every queue by the name that people see."""
        found = by_name(self)
        further = found.pop("FurtherWaits")
        return found | {f"Wait{number}": queue for number, queue in enumerate(further, 2)}


def make_queues(scope: Construct, prefix: str, window_s: int, campaigns: bool, wait_queues: int = 1) -> Queues:
    """Make the queues. `window_s` is how long the consumer may wait for a fuller batch.

    Raises `ValueError` if there are more of them than may redrive to one dead-letter queue.
    """
    further = [f"Wait{number}" for number in range(2, wait_queues + 1)]
    sources = ["Notification", "Urgent", "Delivery", "Wait", *further, "Schedule", *(["Campaign"] if campaigns else [])]
    if len(sources) > SOURCES_MAX:
        raise ValueError(
            f"wait_queues must be at most {wait_queues - len(sources) + SOURCES_MAX} here, not {wait_queues}: a "
            f"dead-letter queue takes {SOURCES_MAX} named sources, and these are {len(sources)}. Leave out campaign "
            "files, or give some policies a deployment of their own"
        )
    dead_letter = _dead_letter_queue(scope, prefix, sources)

    def queue(name: str, visibility_s: int, receives_max: int, id_: str = "") -> sqs.Queue:
        return sqs.Queue(
            scope,
            id_ or name,
            queue_name=f"{prefix}-{name}",
            visibility_timeout=Duration.seconds(visibility_s),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letter, max_receive_count=receives_max),
            retention_period=RETENTION,
            max_message_size_bytes=BUNDLE_BYTES_MAX,  # one bundle fits a message, ten fit a batch
            receive_message_wait_time=Duration.seconds(20),  # a short poll may answer "empty" when it is not
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=KEEP,
        )

    return Queues(
        notification=queue("Notification", 6 * CONSUMER_TIMEOUT_S + window_s, ENTRY_RECEIVES_MAX),
        urgent=queue("Urgent", LANE_VISIBILITY_S, LANE_RECEIVES_MAX),
        delivery=queue("Delivery", LANE_VISIBILITY_S, LANE_RECEIVES_MAX),
        wait=queue("Wait", WAIT_VISIBILITY_S, WAIT_RECEIVES_MAX),
        further_waits=tuple(queue(name, WAIT_VISIBILITY_S, WAIT_RECEIVES_MAX) for name in further),
        schedule=queue("Schedule", LANE_VISIBILITY_S, LANE_RECEIVES_MAX),
        # The id "Campaign" belongs to the function.
        campaign=(
            queue("Campaign", 6 * CAMPAIGN_TIMEOUT_S, CAMPAIGN_RECEIVES_MAX, id_="CampaignFiles") if campaigns else None
        ),
        dead_letter=dead_letter,
    )


def _dead_letter_queue(scope: Construct, prefix: str, sources: Sequence[str]) -> sqs.Queue:
    """Make the queue for everything that could not be sent. Only the queues named `sources` may redrive to it."""
    # The names are given: references would be circular, because each source refers to this queue.
    source_queues = [
        sqs.Queue.from_queue_arn(
            scope, f"{name}ByName", Stack.of(scope).format_arn(service="sqs", resource=f"{prefix}-{name}")
        )
        for name in sources
    ]
    return sqs.Queue(
        scope,
        "DeadLetter",
        queue_name=f"{prefix}-DeadLetter",
        redrive_allow_policy=sqs.RedriveAllowPolicy(source_queues=source_queues),
        retention_period=DEAD_LETTER_RETENTION,
        max_message_size_bytes=DEAD_LETTER_BYTES_MAX,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        removal_policy=KEEP,
    )
