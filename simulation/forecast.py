"""Forecasts when a release ends, from the size of the backlog, the time of a round of calls and the runs per minute.

    python -m simulation.forecast 10000000 --rate 2000 --concurrency 50

The scheduler receives and deletes ten messages by a call each, and sends them on by a call for ten bundles: small
messages are joined into full bundles on the way. A run has four drainers that share the CPU
of one process. A run starts at the end of quiet hours and at every minute after it, and works until it has a minute
left. `simulation/release.py` plays the same release with the real scheduler in virtual time and compares.
"""

from __future__ import annotations

import argparse
from math import ceil
from typing import NamedTuple

from lambdas.quiet_hours.channels.webhook import RATE_PER_S, WebhookChannel
from lambdas.quiet_hours.notification.bundle import BUNDLE_ITEMS_MAX
from lambdas.quiet_hours.notification.joining import JOINED_ITEMS_MAX
from lambdas.quiet_hours.stores.queues import BATCH_MESSAGES_MAX
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import DRAINERS, STOP_BEFORE_S

MINUTE_S = 60.0
CALLS_A_ROUND = 3


class Release(NamedTuple):
    """A backlog, and the figures of what moves and delivers it.

    - `bundle`: notifications per message on wait. It is 100, or 1 where they were sent singly over a long time.
    - `call_ms`: the time of a call to SQS (stated).
    - `cpu_round_ms`: the CPU of a round's three calls on one whole core (`make bench`:
      `release.sides.scheduler.cpu_ms_per_1000`, on a busy machine).
    - `cores`: the share of a core that Lambda gives the scheduler (1,024 MB of 1,769).
    - `first_minute_s`: when the minute rule first fires after the schedule.
    - `concurrency`, `rate_per_s`: the workers of the released lane, and the provider's rate.
    - `provider_ms`, `ledger_ms`: the time of a call to the provider, and of a bundle's ledger and consent calls.
    """

    notifications: int
    bundle: int = BUNDLE_ITEMS_MAX
    call_ms: float = 20.0
    cpu_round_ms: float = 24.0
    cores: float = 1024 / 1769
    first_minute_s: float = 30.0
    concurrency: int = 2
    rate_per_s: float = RATE_PER_S
    provider_ms: float = 100.0
    ledger_ms: float = 120.0

    @property
    def messages(self) -> int:
        """The number of messages on wait."""
        return ceil(self.notifications / self.bundle)

    @property
    def lane_bundle(self) -> int:
        """Notifications per message on the released lane, after the scheduler has joined small ones."""
        return BUNDLE_ITEMS_MAX if self.bundle <= JOINED_ITEMS_MAX else self.bundle

    @property
    def lane_messages(self) -> int:
        """The number of messages on the released lane."""
        return ceil(self.notifications / self.lane_bundle)

    @property
    def bundle_s(self) -> float:
        """The time that a worker has a bundle of the released lane."""
        return self.delivery_s(self.lane_bundle)

    def delivery_s(self, bundle: int) -> float:
        """The time that a worker has so many notifications: that of its calls, once it has its turn."""
        return ceil(bundle / WebhookChannel.side_by_side) * self.provider_ms / 1000 + self.ledger_ms / 1000

    @property
    def delivered_per_s(self) -> float:
        """The notifications a second that all workers deliver: as many as they can, and no more than the rate."""
        return min(self.rate_per_s, self.concurrency * self.lane_bundle / self.bundle_s)


class Forecast(NamedTuple):
    """Seconds from the end of quiet hours until wait is empty, and until the provider has everything; the `runs` that
    moved it."""

    moved_s: float
    delivered_s: float
    runs: int


def forecast(release: Release) -> Forecast:
    """Forecast when the backlog is moved, and when it is delivered."""
    joined = release.lane_messages / max(1, release.messages)
    calls = CALLS_A_ROUND - 1 + joined
    round_cpu_s = release.cpu_round_ms / 1000 / release.cores * calls / CALLS_A_ROUND
    round_s = max(calls * release.call_ms / 1000 + round_cpu_s, DRAINERS * round_cpu_s)
    rate_per_s = DRAINERS * BATCH_MESSAGES_MAX / round_s
    works_s = SCHEDULER_TIMEOUT_S - STOP_BEFORE_S
    lane_per_s = release.delivered_per_s / release.bundle  # in messages as wait has them

    left = float(release.messages)
    starts, now = [0.0], 0.0
    delivered_s = left / lane_per_s
    next_start = release.first_minute_s
    while True:
        working = [start for start in starts if now < start + works_s]
        change = min([next_start, *(start + works_s for start in working)])
        moves = rate_per_s * len(working)
        if moves and left <= moves * (change - now):
            break
        left -= moves * (change - now)
        now = change
        delivered_s = max(delivered_s, now + left / lane_per_s)  # before, the workers may have lacked messages
        if now == next_start:
            starts.append(now)
            next_start += MINUTE_S
    moved_s = now + left / moves
    return Forecast(moved_s, max(moved_s, delivered_s) + release.bundle_s, len(starts))


def arguments(text: str, argv: list[str] | None = None) -> Release:
    """Parse the command line into a release."""
    plain = Release(0)
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("notifications", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--bundle", type=int, default=plain.bundle, help="notifications per message")
    parser.add_argument("--call-ms", type=float, default=plain.call_ms, help="time of a call to SQS")
    parser.add_argument(
        "--cpu-ms", type=float, default=plain.cpu_round_ms, help="CPU of a round's three calls on one core"
    )
    parser.add_argument("--concurrency", type=int, default=plain.concurrency, help="releaseConcurrency")
    parser.add_argument("--rate", type=float, default=plain.rate_per_s, help="the provider's rate_per_s")
    given = parser.parse_args(argv)
    if given.notifications < 1 or not 1 <= given.bundle <= BUNDLE_ITEMS_MAX or given.concurrency < 1:
        parser.error(f"notifications and concurrency must be at least 1, --bundle from 1 to {BUNDLE_ITEMS_MAX}")
    if min(given.call_ms, given.cpu_ms, given.rate) <= 0:
        parser.error("--call-ms, --cpu-ms and --rate must be above 0")
    return plain._replace(
        notifications=given.notifications,
        bundle=given.bundle,
        call_ms=given.call_ms,
        cpu_round_ms=given.cpu_ms,
        concurrency=given.concurrency,
        rate_per_s=given.rate,
    )


def duration(seconds: float) -> str:
    """Say a duration as a person does."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """Print a forecast."""
    release = arguments("Forecast when a release ends.")
    expected = forecast(release)
    print(f"{release.notifications:,} notifications in {release.messages:,} messages:")
    print(f"in {release.lane_messages:,} on the released lane after {duration(expected.moved_s)},")
    print(f"by {expected.runs} runs of the scheduler,")
    print(f"with the provider after {duration(expected.delivered_s)}.")


if __name__ == "__main__":
    main()
