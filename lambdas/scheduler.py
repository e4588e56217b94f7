"""The scheduler: outside quiet hours, moves everything from wait to schedule. At night it receives nothing.

What was held singly is joined into full bundles on the way, because a bundle is what the worker delivers at once: a
night of single messages would take a hundred times as long as the same night in bundles.

Two triggers start it: a schedule at the end of quiet hours, and a rule every minute. The rule releases what arrived
late and, while there is a backlog, starts one more run each minute: nothing has to fit into one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger

from .quiet_hours.alerts import release_stopped
from .quiet_hours.notification.bundle import REDRIVEN
from .quiet_hours.notification.joining import Received, bundles, outgoing_of, received
from .quiet_hours.redaction import redact_errors
from .quiet_hours.rule.policy import quiet_ended, quiet_until, rules_of_queues
from .quiet_hours.rule.terms import Policy
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

GATHER_S = 10
"""The longest time that a drainer keeps what it has received before it sends it on. The rest of wait's visibility
timeout is for the send and the delete."""

WAIT_FOR_END_S = 5
"""A trigger up to 5 s early waits for the end of quiet hours, instead of leaving the release to the next trigger."""

ALERT_EVERY = timedelta(minutes=15)
"""A release that fails every minute raises an alert at once and then again after this time, in each process."""

CONFIG = client_config(parameter_validation=False)
"""SQS validates what it is given, too. botocore would spend some per cent of a release's CPU on it."""

logger = Logger()
_alerted_at: datetime | None = None


@cache
def _sqs() -> SQSClient:
    client: SQSClient = boto3.client("sqs", config=CONFIG)
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
    release_one = partial(
        release,
        _sqs(),
        now=lambda: datetime.now(UTC),
        remaining_s=lambda: context.get_remaining_time_in_millis() / 1000,
        sleep=time.sleep,
        side_by_side=in_threads,
        on_stop=stopped_by.extend,
    )
    answers = release_each(settings, policy, in_threads, release_one)
    now, answer = datetime.now(UTC), together(answers)
    logger.info("release", extra=answer | _lateness(answers, now, rules_of_queues(policy, settings.wait_queues)))
    if stopped_by:
        _alert(stopped_by, answer, now, settings)
    return answer


def _lateness(answers: Sequence[dict[str, Any]], now: datetime, rules: Sequence[Policy]) -> dict[str, int]:
    """`late_s`, for a metric: how long after its quiet hours something was still on a wait queue, or may have been."""
    late = [
        int((now - quiet_ended(now, rule)).total_seconds())
        for answer, rule in zip(answers, rules, strict=True)
        if answer.get("messages") or answer.get("remaining")
    ]
    return {"late_s": max(late)} if late else {}


def _alert(codes: list[str], answer: dict[str, Any], now: datetime, settings: Settings) -> None:
    """Publish an alert at once on the topic of the alarms. Raises if the topic does not take it, which sets
    off an alarm."""
    global _alerted_at
    if _alerted_at is None or now - _alerted_at >= ALERT_EVERY:
        _sns().publish(TopicArn=settings.alert_topic, Message=release_stopped(codes, answer, now))
        _alerted_at = now


@dataclass
class Gathered:
    """The messages that a drainer has received and not sent on yet."""

    messages: list[Received] = field(default_factory=list)
    since: datetime | None = None
    bundles: float = 0
    """About the number of messages that it will be on schedule."""

    def add(self, received: Sequence[Received], now: datetime) -> None:
        """Take messages that have just been received."""
        if received and self.since is None:
            self.since = now
        self.messages += received
        self.bundles += sum(map(bundles, received))

    def is_due(self, now: datetime) -> bool:
        """True if it fills a batch, or has waited for long enough."""
        is_old = self.since is not None and now - self.since >= timedelta(seconds=GATHER_S)
        return is_old or self.bundles >= BATCH_MESSAGES_MAX


@dataclass
class Run:
    """The work of one drainer so far: the messages moved, the notifications in them, the empty receives in a row."""

    messages: int = 0
    released: int = 0
    empty_receives: int = 0
    gathered: Gathered = field(default_factory=Gathered)

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

    def look(self) -> Run:
        """Make as many rounds as show that wait is empty. What they gather may not be moved yet."""
        run = Run()
        with self._stopping():
            for _ in range(EMPTY_RECEIVES):
                if self._may_go_on():
                    self._round(run)
        return run

    def drain(self, gathered: Gathered) -> Run:
        """Make rounds until wait is empty, a call fails, time runs short, or quiet hours begin. Then move what is left
        of what was gathered."""
        run = Run(gathered=gathered)
        with self._stopping():
            while self._may_go_on() and not run.saw_wait_empty:
                self._round(run)
            if not self.stopped_by:
                self._move(run)
        return run

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop at a call that fails: what was not deleted comes again, and the next minute's run goes on."""
        try:
            yield
        except SERVICE_ERRORS as error:
            self.stopped_by.append(error_code(error))

    def _may_go_on(self) -> bool:
        if self.stopped_by or quiet_until(self.now(), self.policy) is not None:
            return False
        return self.remaining_s() > STOP_BEFORE_S

    def _round(self, run: Run) -> None:
        """Receive once. Move what was gathered if there is enough of it, or nothing more to wait for."""
        received = _receive(self.sqs, self.settings)
        run.empty_receives = 0 if received else run.empty_receives + 1
        run.gathered.add(received, self.now())
        if not received or run.gathered.is_due(self.now()):
            self._move(run)

    def _move(self, run: Run) -> None:
        """Send on what was gathered, then delete it from wait.

        A message is deleted only when schedule has taken every bundle that holds any part of it.
        """
        gathered, run.gathered = run.gathered.messages, Gathered()
        outgoing = outgoing_of(gathered)
        not_taken = send(self.sqs, self.settings.schedule_queue_url, [each.message for each in outgoing])
        stays = {place for index in not_taken for place in outgoing[index].places}
        run.released += sum(each.notifications for index, each in enumerate(outgoing) if index not in not_taken)
        taken = [received.handle for place, received in enumerate(gathered) if place not in stays]
        run.messages += len(taken)
        for start in range(0, len(taken), BATCH_MESSAGES_MAX):
            self._delete(taken[start : start + BATCH_MESSAGES_MAX])
        self.stopped_by.extend(not_taken.values())

    def _delete(self, handles: Sequence[str]) -> None:
        if delete(self.sqs, self.settings.wait_queue_url, handles) < len(handles):
            logger.warning("moved but not deleted: comes again and is absorbed")


def release_each(
    settings: Settings,
    policy: Policy,
    side_by_side: SideBySide,
    release_one: Callable[[Settings, Policy], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Release each wait queue by its own rule. Returns the answer for each, in their order.

    They are released at the same time, so that none waits for another one's backlog. `release_one` is `release` for the
    queue that its settings name.
    """
    rules = rules_of_queues(policy, settings.wait_queues)
    return list(
        side_by_side(
            lambda queue: release_one(replace(settings, wait_queue_url=settings.wait_url(queue)), rules[queue]),
            range(settings.wait_queues),
            settings.wait_queues,
        )
    )


def together(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One answer for all wait queues. It is `skipped` only if no queue was open."""
    released = [answer for answer in answers if "skipped" not in answer]
    if not released:
        return {"skipped": "; ".join(dict.fromkeys(answer["skipped"] for answer in answers))}
    return {
        "released": sum(answer["released"] for answer in released),
        "messages": sum(answer["messages"] for answer in released),
        "remaining": any(answer["remaining"] for answer in released),
    }


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

    # Most minutes find nothing: one drainer looks first, the others start only if it has found something.
    drainer = Drainer(sqs, settings, policy, now, remaining_s)
    first = drainer.look()
    runs = [first]
    if first.messages or first.gathered.messages:
        begin_with = [first.gathered, *(Gathered() for _ in range(DRAINERS - 1))]
        runs += side_by_side(drainer.drain, begin_with, DRAINERS)
    if drainer.stopped_by:
        codes = sorted(set(drainer.stopped_by))
        logger.warning("drain stopped", extra={"codes": codes})
        on_stop(codes)
    return {
        "released": sum(run.released for run in runs),
        "messages": sum(run.messages for run in runs),
        "remaining": bool(drainer.stopped_by) or not runs[-1].saw_wait_empty,
    }


def _receive(sqs: SQSClient, settings: Settings) -> list[Received]:
    answer = sqs.receive_message(
        QueueUrl=settings.wait_queue_url,
        MaxNumberOfMessages=BATCH_MESSAGES_MAX,
        WaitTimeSeconds=POLL_S,
        MessageAttributeNames=[REDRIVEN],
    )
    return [received(message) for message in answer.get("Messages", [])]
