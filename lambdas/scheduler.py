"""The scheduler: outside quiet hours, moves everything from wait to schedule. At night it receives nothing.

Two triggers start it: a schedule at the end of quiet hours, and a rule every minute. The rule sweeps up what arrived
late and, while there is a backlog, starts one more drainer each minute: nothing has to fit into one run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config

from .quiet_hours.alerts import release_stopped
from .quiet_hours.notification.bundle import REDRIVEN, Message
from .quiet_hours.redaction import redact_errors
from .quiet_hours.rule.policy import Policy, quiet_ended, quiet_until
from .quiet_hours.settings import Settings
from .quiet_hours.side_by_side import SideBySide, in_threads
from .quiet_hours.stores.clients import SERVICE_ERRORS, error_code
from .quiet_hours.stores.queues import BATCH_MESSAGES_MAX, delete, send

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from types_boto3_sqs import SQSClient

POLL_S = 1
"""Any long poll asks all of SQS's servers; a longer one would only keep an idle run alive."""

EMPTY_RECEIVES = 3
DRAINERS = 4
STOP_BEFORE_S = 60
"""A drainer starts no round with less time than this: a receive, a send and a delete with their time-outs."""

WAIT_FOR_END_S = 5
"""A trigger that comes a breath before the end of quiet hours waits for it instead of leaving it to the next one."""

ALERT_EVERY = timedelta(minutes=15)
"""A release that fails every minute is told at once, and then again after so long; for each process of Lambda's."""

logger = Logger()
_alerted_at: datetime | None = None

_CONFIG = Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 2})


@cache
def _sqs() -> SQSClient:
    client: SQSClient = boto3.client("sqs", config=_CONFIG)
    return client


@cache
def _sns() -> Any:
    return boto3.client("sns", config=_CONFIG)  # made only when there is something to tell


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Any event in; out comes `{"released": n, "messages": m, "remaining": bool}` or `{"skipped": why}`."""
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
    """`late_s`, of which a metric is made: how long after quiet hours something was still on wait, or may have been."""
    if not (answer.get("messages") or answer.get("remaining")):
        return {}
    return {"late_s": int((now - quiet_ended(now, policy)).total_seconds())}


def _alert(codes: list[str], answer: dict[str, Any], now: datetime, settings: Settings) -> None:
    """Tell people at once, by the topic that alarms speak on. Raises where it does not take it: an alarm sees that."""
    global _alerted_at
    if _alerted_at is None or now - _alerted_at >= ALERT_EVERY:
        _sns().publish(TopicArn=settings.alert_topic, Message=release_stopped(codes, answer, now))
        _alerted_at = now


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
    """Move messages from wait to schedule until wait is empty, time runs short, a send fails, or quiet hours begin.

    `messages` counts what was sent on, `released` the notifications in it; `remaining` says that wait was not seen
    empty. A message is deleted only when SQS has taken it on schedule, so at worst one is moved twice. `on_stop` is
    given the error codes of a run that a failed call has ended, once.
    """
    started = now()
    until = quiet_until(started, policy)
    if until is not None:
        left_s = (until - started + policy.skew).total_seconds()
        if left_s > WAIT_FOR_END_S:
            return {"skipped": f"quiet hours until {until.isoformat(timespec='seconds')}"}
        sleep(left_s)

    stopped_by: list[str] = []

    def drain(most_rounds: int | None) -> tuple[int, int, bool]:
        """Rounds of receive, send, delete: how many notifications and messages went, and whether wait was empty."""
        released = messages = empty = rounds = 0
        while not stopped_by and quiet_until(now(), policy) is None and remaining_s() > STOP_BEFORE_S:
            if rounds == most_rounds or empty == EMPTY_RECEIVES:
                break
            rounds += 1
            try:
                received = _receive(sqs, settings)
                empty = 0 if received else empty + 1
                moved = [Message(message["Body"], attributes=_attributes(message)) for message in received]
                not_taken = send(sqs, settings.schedule_queue_url, moved)
                taken = [index for index in range(len(moved)) if index not in not_taken]
                released += sum(_notifications(moved[index].body) for index in taken)
                messages += len(taken)
                handles = [received[index]["ReceiptHandle"] for index in taken]
                if handles and delete(sqs, settings.wait_queue_url, handles) < len(handles):
                    logger.warning("moved but not deleted: comes again and is absorbed")
            except SERVICE_ERRORS as error:  # what was not deleted comes again; the next minute's run goes on
                stopped_by.append(error_code(error))
            else:
                stopped_by.extend(not_taken.values())
        return released, messages, empty == EMPTY_RECEIVES

    # Most minutes find nothing: one drainer looks first, the others start only where there is something to do.
    runs = [drain(EMPTY_RECEIVES)]
    if runs[0][1]:
        runs = runs + side_by_side(drain, [None] * DRAINERS, DRAINERS)
    if stopped_by:
        codes = sorted(set(stopped_by))
        logger.warning("drain stopped", extra={"codes": codes})
        on_stop(codes)
    return {
        "released": sum(released for released, _, _ in runs),
        "messages": sum(messages for _, messages, _ in runs),
        "remaining": bool(stopped_by) or not runs[-1][2],
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
    """How many notifications a body holds, for the report; what cannot be read is moved all the same, as one."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return 1
    return len(parsed) if isinstance(parsed, list) else 1
