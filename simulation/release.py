"""Plays a release of any size in virtual time with the real scheduler, and compares it with the forecast.

    python -m simulation.release 10000000 --rate 2000 --concurrency 50

Every call takes the stated time here, and the drainers of a run wait for each other's CPU. Nothing fails; `make nights`
plays the failures. The worker is a model: it has `concurrency` bundles at once, each for `Release.bundle_s` from its
turn on.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from functools import partial
from heapq import heapreplace
from math import inf
from typing import Any, NamedTuple

from lambdas import scheduler
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S, WAIT_VISIBILITY_S

from .forecast import CALLS_A_ROUND, MINUTE_S, Forecast, Release, arguments, duration, forecast
from .night import without_logs
from .world import Process, World

END_OF_QUIET_HOURS = datetime(2020, 11, 11, 23, 0, 2, tzinfo=UTC)
"""08:00 in Seoul, and the two seconds that clocks may differ by."""

SETTINGS = Settings(
    notification_queue_url="notification",
    delivery_queue_url="delivery",
    wait_queue_url="wait",
    schedule_queue_url="schedule",
    dead_letter_queue_url="dead-letter",
    ledger_table="ledger",
    consent_table="consent",
    channel_secret="channels",
)


NOTIFICATION = '{"id":"n","channel":"webhook"}'
"""The fields of a notification that the scheduler looks at."""


class Played(NamedTuple):
    """The result of a release. `released` is the sum of the runs' answers, `moved` the notifications that arrived on
    the released lane. `most_at_once` is the highest number of runs that moved messages at the same time."""

    ended: Forecast
    released: int
    moved: int
    lane_messages: int
    left_messages: int
    killed: int
    most_at_once: int


class Stage:
    """The wait queue, the released lane with its workers, and the runs of the scheduler."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.world = World(END_OF_QUIET_HOURS, 0)
        whole, rest = divmod(release.notifications, release.bundle)
        bodies = {size: "[" + ",".join([NOTIFICATION] * size) + "]" for size in (release.bundle, rest)}
        self.bodies = [bodies[release.bundle]] * whole + ([bodies[rest]] if rest else [])
        self.visible = deque(range(len(self.bodies)))
        self.in_flight: dict[str, int] = {}
        self.policy = SETTINGS.quiet_hours()
        self.workers = [0.0] * release.concurrency
        self.next_turn_at = 0.0
        self.moved = self.lane_messages = self.runs = self.released = self.killed = self.receives = 0
        self.moving: set[int] = set()
        self.most_at_once = 0
        self.moved_s = self.delivered_s = 0.0

    def start_run(self, again: bool) -> None:
        """Start one run of the scheduler. The minute rule starts the next one as long as there is a backlog."""
        if again and (self.visible or self.in_flight):
            self.world.at(self.world.t + MINUTE_S, self.start_run, True)
        self.runs += 1
        process = Process(self.world, f"scheduler-{self.runs}", timeout_s=SCHEDULER_TIMEOUT_S)
        client: Any = Sqs(self, process, self.runs)
        run = partial(
            scheduler.release,
            client,
            SETTINGS,
            self.policy,
            now=process.now,
            remaining_s=process.remaining_s,
            sleep=process.pause,
            side_by_side=process.side_by_side,
        )
        process.start(run, partial(self._over, self.runs))

    def _over(self, run: int, answer: Any) -> None:
        self.moving.discard(run)
        if isinstance(answer, dict):
            self.released += answer["released"]
        elif isinstance(answer, Exception):
            raise answer
        else:
            self.killed += 1

    def play(self) -> Played:
        """Play from the end of quiet hours until every run is over."""
        self.world.at(0.0, self.start_run, False)
        self.world.at(self.release.first_minute_s, self.start_run, True)
        with without_logs():
            self.world.run(inf, lambda: False)
        ended = Forecast(self.moved_s, self.delivered_s, self.runs)
        left = len(self.visible) + len(self.in_flight)
        return Played(ended, self.released, self.moved, self.lane_messages, left, self.killed, self.most_at_once)


class Sqs:
    """The SQS client of one run."""

    def __init__(self, stage: Stage, process: Process, run: int) -> None:
        self._stage, self._process, self._run = stage, process, run
        self._cpu_free_at = 0.0
        self._cpu_s = stage.release.cpu_round_ms / 1000 / stage.release.cores / CALLS_A_ROUND
        self._call_s = stage.release.call_ms / 1000

    def _spend(self, call_s: float) -> None:
        """Use a call's CPU as soon as the other drainers of the run leave it free, then wait for the answer."""
        t = self._process.world.t
        self._cpu_free_at = max(t, self._cpu_free_at) + self._cpu_s
        self._process.pause(self._cpu_free_at - t + call_s)

    def receive_message(self, *, MaxNumberOfMessages: int, WaitTimeSeconds: int, **_: Any) -> dict[str, Any]:
        stage = self._stage
        self._spend(self._call_s)
        if not stage.visible:
            self._process.pause(WaitTimeSeconds)
            return {}
        stage.moving.add(self._run)
        stage.most_at_once = max(stage.most_at_once, len(stage.moving))
        messages = []
        for _place in range(min(MaxNumberOfMessages, len(stage.visible))):
            number = stage.visible.popleft()
            stage.receives += 1
            handle = f"{number}#{stage.receives}"
            stage.in_flight[handle] = number
            messages.append({"Body": stage.bodies[number], "ReceiptHandle": handle})
        stage.world.at(stage.world.t + WAIT_VISIBILITY_S, self._reappear, [each["ReceiptHandle"] for each in messages])
        return {"Messages": messages}

    def _reappear(self, handles: list[str]) -> None:
        stage = self._stage
        stage.visible.extend(stage.in_flight.pop(handle) for handle in handles if handle in stage.in_flight)

    def send_message_batch(self, *, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        self._spend(self._call_s)
        stage, t = self._stage, self._process.world.t
        stage.lane_messages += len(Entries)
        stage.moved_s = t
        for entry in Entries:
            notifications = entry["MessageBody"].count(NOTIFICATION)
            stage.moved += notifications
            turn_at = max(t, stage.workers[0], stage.next_turn_at)
            stage.next_turn_at = turn_at + notifications / stage.release.rate_per_s
            over = turn_at + stage.release.bundle_s * notifications / stage.release.lane_bundle
            heapreplace(stage.workers, over)
            stage.delivered_s = max(stage.delivered_s, over)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def delete_message_batch(self, *, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        self._spend(self._call_s)
        for entry in Entries:
            self._stage.in_flight.pop(entry["ReceiptHandle"], None)
        return {"Successful": Entries}


def play(release: Release) -> Played:
    """Play a release to its end."""
    return Stage(release).play()


def main() -> None:
    """Play a release and print it beside its forecast."""
    release = arguments("Play a release in virtual time.")
    begun = time.process_time()
    expected, played = forecast(release), play(release)
    print(f"{release.notifications:,} notifications in {release.messages:,} messages, {release.call_ms:g} ms a call,")
    print(f"{release.cpu_round_ms:g} ms of a core's CPU a round, {release.cores:.2f} of a core a run")
    print(f"{'':34}{'forecast':>12}{'played':>12}")
    for text, name in (("wait empty after", "moved_s"), ("the provider has the last after", "delivered_s")):
        times = (getattr(each, name) for each in (expected, played.ended))
        print(f"{text:34}" + "".join(f"{duration(seconds):>12}" for seconds in times))
    print(f"runs of the scheduler: {played.ended.runs}, at most {played.most_at_once} of them moving at once")
    more = played.moved - release.notifications
    print(f"moved {played.moved:,} notifications ({more:+} of those held) in {played.lane_messages:,} messages,")
    print(f"{played.left_messages} messages left on wait")
    print(f"played in {time.process_time() - begun:.1f} s of CPU")


if __name__ == "__main__":
    main()
