"""The properties of the construct: everything that a deployment of Quiet Hours decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aws_cdk import aws_events as events
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from infra.policies import WAIT_QUEUES_MAX, check_opens, check_queues
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy_file import FOLDER
from lambdas.quiet_hours.rule.terms import Policy
from lambdas.quiet_hours.settings import EUC_KR, SMS_ENCODINGS

NAME_CHARACTERS_MAX = 100


class PropertyRefused(ValueError):
    """Raised when a property of the construct has a value that is not allowed. `allowed` says what is. The value is
    shown only where it cannot be somebody's address."""

    def __init__(self, name: str, allowed: str, value: object, is_shown: bool = True) -> None:
        super().__init__(f"{name} must be {allowed}" + (f", not {value!r}" if is_shown else ""))
        self.name = name
        self.allowed = allowed
        self.is_shown = is_shown


@dataclass(frozen=True, slots=True)
class SharedBus:
    """An event bus that belongs to somebody else, and which of its events are for this deployment.

    `sources` are values of the events' `source` field. Two deployments on one bus must not name the same source:
    both would send its notifications. Raises `ValueError` when `sources` is empty or one text.
    """

    bus: events.IEventBus
    sources: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.sources, str):  # it would be taken for a sequence of its letters
            raise ValueError(f"sources must be a sequence of texts such as ['shop'], not the text {self.sources!r}")
        if not self.sources:
            raise ValueError("SharedBus needs at least one source: without one it would take everybody's events")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHoursProps:
    """The properties of `QuietHours`. Every one has a default; `cdk.json` holds the same defaults.

    Raises `ValueError` for a value that is not allowed. Its text begins with the property's name.
    """

    policy: Policy = field(default_factory=lambda: named_policy("korea"))
    """The quiet hours, and what is held in them: `named_policy("strict", "22:00", "07:00", "Asia/Tokyo")`.

    Only a policy that `named_policy` returns for a name, a start, an end, a zone, KakaoTalk's hours and further
    policies is accepted. The functions get these values and read the policies' files, which are part of their asset.
    """

    policy_folder: str = ""
    """A folder with policy files of yours, beside those of this project; empty: none (docs/policies.md)."""

    wait_queues: int = 1
    """The number of wait queues: one for each opening rule that the policies have (docs/policies.md); 1 to 6. One that
    they do not need any more is drained at any time, and what was on it is judged anew."""

    consumer_concurrency: int = 2
    """The number of consumers that run at once for each queue that feeds them; 2 to 1,000."""

    urgent_concurrency: int = 2
    """The number of workers of the urgent lane, which is for critical notifications; 2 to 1,000."""

    delivery_concurrency: int = 2
    """The number of workers of the delivery lane, which is for informational notifications; 2 to 1,000."""

    release_concurrency: int = 2
    """The number of workers of the schedule lane: what is released, and advertising by day; 2 to 1,000."""

    account_concurrency: int = 10
    """The functions that the account may run at once; 10 to 1,000,000. A new account has ten. If more than that could
    run here, the CDK warns: event sources reserve nothing, so Lambda throttles them all."""

    campaigns: bool = True
    """Read campaign files. Without them there is no bucket, no queue and no function for them."""

    batching_window_s: int = 0
    """The seconds that the consumer may wait for a fuller batch; 0 to 300. A password code waits as long, too."""

    alert_email: str = ""
    """The address that gets an e-mail when an alarm goes off; empty: nobody."""

    record_held: bool = False
    """Record what is held, for questions and for cancelling by source. It costs two writes and a read
    for each notification."""

    advertising_label: bool = True
    """Refuse advertising without its label. The policy `korea` asks for one."""

    sender_name: str = ""
    """The name that advertising must have in its text; empty: none is checked, and the CDK warns."""

    sms_encoding: str = EUC_KR
    """The characters that the SMS provider carries: `euc-kr` (Solapi) or `unicode` (AWS). Others are refused."""

    check_campaign_sender: bool = True
    """Refuse ids of campaign files from every sender but the campaign function. SQS names the sender of a message. What
    stands in for SQS on a laptop names no roles: the check is off there."""

    advertising_consent: str = "elsewhere"
    """The place of the consent to advertising by day: `required` ends advertising to those who have none here; with
    `elsewhere` the senders see to it, and under the policy `korea` the CDK warns."""

    recipients: str = ""
    """`listed` restricts the deployment: it calls only the addresses on the allow-list in the channel secret, and
    answers for simulated ones itself (docs/recipients.md). Empty: it calls everybody."""

    runbook_url: str = ""
    """The place where docs/runbook.md is shown, for the links in alerts; empty: alerts name the file."""

    architecture: str = "arm64"
    """The processor that the functions run on: `arm64`, or `x86_64`, which costs a quarter more. Their code is pure
    Python and runs on both."""

    local_endpoint: bool = False
    """Declare `AWS_ENDPOINT_URL` for every function: `sam local invoke` can set only what is declared."""

    event_bus: SharedBus | None = None
    """A bus of yours that requests come from. Without one, the deployment has a bus of its own."""

    topics: Sequence[sns.ITopic] = ()
    """Topics of yours. The notification queue is subscribed to each. SNS's envelope stays around the message.

    Two deployments must not name the same topic: each would send what is published on it.
    """

    queues: Sequence[sqs.IQueue] = ()
    """Queues of yours that the consumer reads, beside the notification queue. Standard and FIFO queues both work.

    - Two deployments must not name the same queue: each would get some of its messages, and judge them by its own
      policy and consents.
    - The visibility timeout must be at least 180 s, six times the consumer's timeout.
    - A dead-letter queue of your own takes messages that keep failing. Bodies that cannot be read go to our
      dead-letter queue, as those from the notification queue do.
    - The retention should be more than three days, which is how long a notification may live.
    - A FIFO queue keeps duplicates out and hands over each message group in order, but the order ends there. The
      consumer passes on every message that it can, so a message that failed comes again after its group's later
      messages may have gone. The queues behind the consumer keep no order either.
    """

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if not rule.allows(value):
                raise PropertyRefused(name, rule.allowed, value, rule.is_shown)
        _check_policy(self.policy, self.policy_folder, self.wait_queues)


@dataclass(frozen=True, slots=True)
class _Rule:
    allowed: str
    allows: Callable[[object], bool]
    is_shown: bool = True


def _whole_number(lowest: int, highest: int) -> _Rule:
    return _Rule(
        f"a whole number from {lowest} to {highest}",
        lambda value: type(value) is int and lowest <= value <= highest,
    )


def _one_of(*values: str) -> _Rule:
    return _Rule(" or ".join(values), lambda value: value in values)


def _text(allowed: str, pattern: str) -> _Rule:
    return _Rule(allowed, lambda value: isinstance(value, str) and (not value or bool(re.fullmatch(pattern, value))))


def _is_name(value: object) -> bool:
    return (
        isinstance(value, str) and len(value) <= NAME_CHARACTERS_MAX and value.isprintable() and value == value.strip()
    )


_SWITCH = _Rule("true or false", lambda value: isinstance(value, bool))
_CONCURRENCY = _whole_number(2, 1000)  # what an SQS event source takes as its MaximumConcurrency

_RULES = {
    "wait_queues": _whole_number(1, WAIT_QUEUES_MAX),
    "consumer_concurrency": _CONCURRENCY,
    "urgent_concurrency": _CONCURRENCY,
    "delivery_concurrency": _CONCURRENCY,
    "release_concurrency": _CONCURRENCY,
    "account_concurrency": _whole_number(10, 1_000_000),
    "campaigns": _SWITCH,
    "batching_window_s": _whole_number(0, 300),
    "alert_email": _text("one e-mail address or empty", r"[^@\s]+@[^@\s]+"),
    "record_held": _SWITCH,
    "advertising_label": _SWITCH,
    "sender_name": _Rule(f"empty or a name of up to {NAME_CHARACTERS_MAX} characters", _is_name),
    "sms_encoding": _one_of(*SMS_ENCODINGS),
    "check_campaign_sender": _SWITCH,
    "advertising_consent": _one_of("elsewhere", "required"),
    "recipients": _Rule(
        "listed or empty (addresses are listed by make channels-set CHANNEL=recipients)",
        lambda value: value in ("listed", ""),
        is_shown=False,
    ),
    "runbook_url": _text("one https:// URL without a fragment or empty", r"https://[^\s<>|#]+"),
    "architecture": _one_of("arm64", "x86_64"),
    "policy_folder": _Rule("the path of a folder or empty", lambda value: value == "" or Path(str(value)).is_dir()),
    "local_endpoint": _SWITCH,
}


def _check_policy(policy: Policy, folder: str, wait_queues: int) -> None:
    """Raise `ValueError` unless the functions can build this policy from its name, its zone and the hours it was given,
    it opens in time, and it has the wait queues that it needs."""
    supported = (
        "policy must be one that named_policy returns for a name, a start and an end in whole minutes, and a zone; "
        "closures, guard and skew of your own do not reach the functions: write a policy file"
    )
    try:
        built = named_policy(
            policy.name,
            policy.hours.start,
            policy.hours.end,
            policy.zone.key,
            kakao_closed=policy.hours.kakao_closed,
            further_policies=policy.hours.further_policies,
            folder=Path(folder).resolve() if folder else FOLDER,
        )
    except ValueError as error:
        raise ValueError(f"{supported}: {error}") from None
    if policy != built:
        raise ValueError(supported)
    check_opens(policy, datetime.now(UTC))
    check_queues(policy, wait_queues)
