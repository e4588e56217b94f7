"""The scheduler: outside quiet hours, moves everything from wait to schedule. At night it receives nothing.

Two triggers start it: a schedule at the end of quiet hours, and a rule every minute. The rule releases what arrived
late and, while there is a backlog, starts one more run each minute: nothing has to fit into one run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger

from .quiet_hours.alerts import release_stopped
from .quiet_hours.notification.bundle import REDRIVEN, Message
from .quiet_hours.redaction import redact_errors
from .quiet_hours.rule.policy import Policy, quiet_ended, quiet_until
from .quiet_hours.settings import Settings
from .quiet_hours.side_by_side import SideBySide, in_threads
from .quiet_hours.stores.clients import SERVICE_ERRORS, client_config, error_code
from .quiet_hours.stores.queues import BATCH_MESSAGES_MAX, delete, send

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from types_boto3_sqs import SQSClient

POLL_S = 1
"""Any long poll asks all of SQS's servers. A longer one would only keep an idle run alive."""

EMPTY_RECEIVES = 3
DRAINERS = 4
STOP_BEFORE_S = 60
"""No round starts with less time left than this: it is enough for a receive, a send and a delete that time out."""

WAIT_FOR_END_S = 5
"""A trigger up to 5 s early waits for the end of quiet hours, instead of leaving the release to the next trigger."""

ALERT_EVERY = timedelta(minutes=15)
"""A release that fails every minute raises an alert at once and then again after this time, in each process."""

logger = Logger()
_alerted_at: datetime | None = None


@cache
def _sqs() -> SQSClient:
    client: SQSClient = boto3.client("sqs", config=client_config())
    return client


@cache
def _sns() -> Any:
    return boto3.client("sns", config=client_config())  # made only when there is an alert


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take any event; answer `{"released": n, "messages": m, "remaining": bool}` or `{"skipped": why}`."""
    settings = Settings.from_env()
    policy = settings.quiet_hours()
    stopped_by: list[str] = []
    answer = release(
        _sqs(),
        settings,
        policy,
        now=lambda: datetime.now(UTC),
        remaining_s=lambda: context.get_remaining_time_in_millis() / 1000,
        sleep=time.sleep,
        side_by_side=in_threads,
        on_stop=stopped_by.extend,
    )
    now = datetime.now(UTC)
    logger.info("release", extra=answer | _lateness(answer, now, policy))
    if stopped_by:
        _alert(stopped_by, answer, now, settings)
    return answer


def _lateness(answer: dict[str, Any], now: datetime, policy: Policy) -> dict[str, int]:
    """`late_s`, for a metric: how long after quiet hours something was still on wait, or may have been."""
    if not (answer.get("messages") or answer.get("remaining")):
        return {}
    return {"late_s": int((now - quiet_ended(now, policy)).total_seconds())}


def _alert(codes: list[str], answer: dict[str, Any], now: datetime, settings: Settings) -> None:
    """Publish an alert at once on the topic of the alarms. Raises if the topic does not take it, which sets
    off an alarm."""
    global _alerted_at
    if _alerted_at is None or now - _alerted_at >= ALERT_EVERY:
        _sns().publish(TopicArn=settings.alert_topic, Message=release_stopped(codes, answer, now))
        _alerted_at = now


@dataclass
class Run:
    """The work of one drainer so far: the messages sent on, the notifications in them, the empty receives in a row."""

    messages: int = 0
    released: int = 0
    empty_receives: int = 0

    @property
    def saw_wait_empty(self) -> bool:
        return self.empty_receives == EMPTY_RECEIVES


@dataclass(frozen=True)
class Drainer:
    """Move messages from wait to schedule, in one thread or several. The first call that fails stops all of them:
    `stopped_by` holds the error codes."""

    sqs: SQSClient
    settings: Settings
    policy: Policy
    now: Callable[[], datetime]
    remaining_s: Callable[[], float]
    stopped_by: list[str] = field(default_factory=list)

    def drain(self, rounds_max: int | None) -> Run:
        """Make rounds until wait is empty, a call fails, time runs short, or quiet hours begin."""
        run = Run()
        rounds = 0
        while self._may_go_on() and rounds != rounds_max and not run.saw_wait_empty:
            rounds += 1
            try:
                self._round(run)
            except SERVICE_ERRORS as error:  # what was not deleted comes again; the next minute's run goes on
                self.stopped_by.append(error_code(error))
        return run

    def _may_go_on(self) -> bool:
        if self.stopped_by or quiet_until(self.now(), self.policy) is not None:
            return False
        return self.remaining_s() > STOP_BEFORE_S

    def _round(self, run: Run) -> None:
        """Receive, send, delete: only what schedule has taken is deleted from wait."""
        received = _receive(self.sqs, self.settings)
        run.empty_receives = 0 if received else run.empty_receives + 1
        messages = [Message(message["Body"], attributes=_attributes(message)) for message in received]
        not_taken = send(self.sqs, self.settings.schedule_queue_url, messages)
        taken = [index for index in range(len(messages)) if index not in not_taken]
        run.released += sum(_notifications(messages[index].body) for index in taken)
        run.messages += len(taken)
        self._delete([received[index]["ReceiptHandle"] for index in taken])
        self.stopped_by.extend(not_taken.values())

    def _delete(self, handles: Sequence[str]) -> None:
        if handles and delete(self.sqs, self.settings.wait_queue_url, handles) < len(handles):
            logger.warning("moved but not deleted: comes again and is absorbed")


def release(
    sqs: SQSClient,
    settings: Settings,
    policy: Policy,
    *,
    now: Callable[[], datetime],
    remaining_s: Callable[[], float],
    sleep: Callable[[float], None],
    side_by_side: SideBySide,
    on_stop: Callable[[list[str]], object] = lambda codes: None,
) -> dict[str, Any]:
    """Move messages from wait to schedule until wait is empty, time runs short, a call fails, or quiet hours begin.

    `messages` counts what was sent on, `released` the notifications in it; `remaining` says that wait was not seen
    empty. A message is deleted only when SQS has taken it on schedule, so at worst one is moved twice. `on_stop` gets
    the error codes of a run that a failed call has ended, once.
    """
    started = now()
    until = quiet_until(started, policy)
    if until is not None:
        left_s = (until - started + policy.skew).total_seconds()
        if left_s > WAIT_FOR_END_S:
            return {"skipped": f"quiet hours until {until.isoformat(timespec='seconds')}"}
        sleep(left_s)

    # Most minutes find nothing: one drainer looks first, the others start only if it has moved something.
    drainer = Drainer(sqs, settings, policy, now, remaining_s)
    first = drainer.drain(EMPTY_RECEIVES)
    runs = [first, *side_by_side(drainer.drain, [None] * DRAINERS, DRAINERS)] if first.messages else [first]
    if drainer.stopped_by:
        codes = sorted(set(drainer.stopped_by))
        logger.warning("drain stopped", extra={"codes": codes})
        on_stop(codes)
    return {
        "released": sum(run.released for run in runs),
        "messages": sum(run.messages for run in runs),
        "remaining": bool(drainer.stopped_by) or not runs[-1].saw_wait_empty,
    }


def _receive(sqs: SQSClient, settings: Settings) -> list[Any]:
    answer = sqs.receive_message(
        QueueUrl=settings.wait_queue_url,
        MaxNumberOfMessages=BATCH_MESSAGES_MAX,
        WaitTimeSeconds=POLL_S,
        MessageAttributeNames=[REDRIVEN],
    )
    return list(answer.get("Messages", []))


def _attributes(message: Any) -> dict[str, str]:
    return {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}


def _notifications(body: str) -> int:
    """Count the notifications in a body, for the report. A body that cannot be read is moved too, and counts as
    one."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return 1
    return len(parsed) if isinstance(parsed, list) else 1
