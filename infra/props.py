"""What a deployment of Quiet Hours decides: the properties of the construct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aws_cdk import aws_events as events
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import Policy

ADVERTISING_CONSENT = ("elsewhere", "required")
"""Where consent to advertising by day may be kept."""


@dataclass(frozen=True, slots=True)
class SharedBus:
    """An event bus that belongs to somebody else, and which of its events are for this deployment.

    `sources` are values of the events' `source` field. Two deployments on one bus must not name the same source:
    both would send its notifications. Raises `ValueError` when `sources` is empty.
    """

    bus: events.IEventBus
    sources: Sequence[str]

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("SharedBus needs at least one source: without one it would take everybody's events")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHoursProps:
    """The properties of `QuietHours`. Every one has a default; `cdk.json` holds the same defaults."""

    policy: Policy = field(default_factory=lambda: named_policy("korea"))
    """When quiet hours are, and what is held in them: `named_policy("strict", "22:00", "07:00", "Asia/Tokyo")`."""

    consumer_concurrency: int = 2
    """How many consumers run at once for each queue that feeds them; 2 to 1,000."""

    delivery_concurrency: int = 2
    """How many workers the day's lane has; 2 to 1,000."""

    release_concurrency: int = 2
    """How many workers the morning's lane has; 2 to 1,000."""

    batching_window_s: int = 0
    """How long the consumer may wait for a fuller batch; 0 to 300. A password code waits for as long, too."""

    alert_email: str = ""
    """Who gets an e-mail when an alarm goes off; empty: nobody."""

    record_held: bool = False
    """Record what is held, for questions and for cancelling by source. It costs two writes for each notification."""

    advertising_label: bool = True
    """Refuse advertising without its label. The policy `korea` asks for one."""

    sender_name: str = ""
    """The name that advertising must have in its text; empty: none is checked, and the CDK warns."""

    advertising_consent: str = "elsewhere"
    """Where consent to advertising by day is kept: `required` ends advertising to those who have none here; with
    `elsewhere` the senders see to it, and under the policy `korea` the CDK warns."""

    runbook_url: str = ""
    """Where docs/runbook.md is shown, for the links in alerts; empty: alerts name the file."""

    local_endpoint: bool = False
    """Declare `AWS_ENDPOINT_URL` for every function: `sam local invoke` can set only what is declared."""

    event_bus: SharedBus | None = None
    """A bus of yours that requests come from. Without one, the deployment has a bus of its own."""

    topics: Sequence[sns.ITopic] = ()
    """Topics of yours. The notification queue is subscribed to each, with raw message delivery."""

    queues: Sequence[sqs.IQueue] = ()
    """Queues of yours that the consumer reads, beside the notification queue. Standard and FIFO queues both work.

    - The visibility timeout must be at least 180 s, six times the consumer's timeout.
    - A dead-letter queue of your own takes messages that keep failing. Bodies that cannot be read go to our
      dead-letter queue, as those from the notification queue do.
    - The retention should be more than three days, which is how long a notification may live.
    - A FIFO queue keeps duplicates out and hands over each message group in order, but the order ends there. The
      consumer passes on every message that it can, so a message that failed comes again after its group's later
      messages may have gone. The queues behind the consumer keep no order either.
    """

    def __post_init__(self) -> None:
        if self.advertising_consent not in ADVERTISING_CONSENT:
            raise ValueError(
                f"advertising_consent must be {' or '.join(ADVERTISING_CONSENT)}, not {self.advertising_consent!r}"
            )
