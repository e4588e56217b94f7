"""An invocation of the scheduler on queues in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambdas import scheduler
from lambdas.quiet_hours.notification.bundle import Message
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import release
from tests.helpers.aws import one_after_another, take

MORNING = datetime.fromisoformat("2020-11-12T08:00:10+09:00").astimezone(UTC)


@pytest.fixture(autouse=True)
def _empty_receives_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "POLL_S", 0)


@dataclass
class Run:
    """One invocation of the scheduler, with a clock that `sleep` moves."""

    settings: Settings
    clock: datetime = MORNING
    left_s: float = SCHEDULER_TIMEOUT_S
    side_by_side: Any = one_after_another
    slept_s: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0  # as time.sleep does
        self.slept_s.append(seconds)
        self.clock += timedelta(seconds=seconds)

    def __call__(self, sqs: Any) -> dict[str, Any]:
        return release(
            sqs,
            self.settings,
            self.settings.quiet_hours(),
            now=lambda: self.clock,
            remaining_s=lambda: self.left_s,
            sleep=self.sleep,
            side_by_side=self.side_by_side,
        )


@pytest.fixture
def run(settings: Settings) -> Run:
    return Run(settings)


@pytest.fixture
def hold(sqs: Any, settings: Settings) -> Callable[[int], list[str]]:
    """Put messages of two notifications each on wait. Returns their bodies in alphabetical order."""

    def call(messages: int) -> list[str]:
        bodies = [f'[{{"id":"a-{n:03}"}}, {{"id":"b-{n:03}"}}]' for n in range(messages)]
        assert not send(sqs, settings.wait_queue_url, map(Message, bodies))
        return bodies

    return call


def bodies(sqs: Any, queue_url: str) -> list[str]:
    return sorted(message["Body"] for message in take(sqs, queue_url))


def waiting(sqs: Any, settings: Settings) -> int:
    """The number of messages on wait, with those in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=settings.wait_queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def make_visible(sqs: Any, settings: Settings) -> None:
    """Make received messages on wait visible at once, as if their visibility timeout had passed."""
    sqs.set_queue_attributes(QueueUrl=settings.wait_queue_url, Attributes={"VisibilityTimeout": "0"})
