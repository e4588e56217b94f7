"""Finds the AWS quota that a night meets first, and the setting that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lambdas.quiet_hours.channels.webhook import RATE_PER_S
from lambdas.quiet_hours.stores.queues import BATCH_MESSAGES_MAX
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import DRAINERS, STOP_BEFORE_S
from simulation.forecast import MINUTE_S, Release

HOUR_S = 3600.0
WRITE_UNITS = 3
"""Per delivery at the first attempt: the claim, in a transaction, and the record (docs/decisions/0002)."""

NIGHTS = (1_000_000, 10_000_000, 100_000_000)


class Quota(NamedTuple):
    """A limit, by default that of AWS, and the `need` of a night that is to be delivered within an hour."""

    name: str
    limit: float
    need: Callable[[int], float]
    answer: str


def workers(notifications: int) -> float:
    """The workers needed at once, if only the provider's 100 ms and the ledger take time."""
    unpaced_s = Release(0, concurrency=1, rate_per_s=1e9).bundle_s
    return notifications / Release(0).bundle * unpaced_s / HOUR_S


def _write_units_s(notifications: int) -> float:
    return notifications * WRITE_UNITS / HOUR_S


def _in_flight(notifications: int) -> float:
    """Messages in flight: on wait those that the drainers of all runs have received, on the released lane one per
    worker."""
    runs = (SCHEDULER_TIMEOUT_S - STOP_BEFORE_S) / MINUTE_S + 1
    return max(runs * DRAINERS * BATCH_MESSAGES_MAX, workers(notifications))


QUOTAS = (
    Quota(
        "the webhook's default rate: notifications a second",
        RATE_PER_S,
        lambda n: n / HOUR_S,
        "`rate_per_s` in the channel secret, once the provider agrees",
    ),
    Quota("workers on the released lane by default", 2, workers, "`releaseConcurrency`"),
    Quota("Lambda: executions at once in a new account", 10, workers, "a quota increase; 1,000 is usual"),
    Quota("event source mapping: MaximumConcurrency", 1000, workers, "none above it: a second mapping and lane"),
    Quota(
        "event source mapping: invocations within the first minute (5, then 300 more a minute)",
        305,
        workers,
        "nothing: it grows by itself, and the hour gets some minutes longer",
    ),
    Quota(
        "DynamoDB: write units a second of a table that never had more",
        4000,
        _write_units_s,
        "warm throughput on the ledger table before the first such night; until then claims are throttled and go back",
    ),
    Quota("DynamoDB: write units a second of a table", 40_000, _write_units_s, "a quota increase"),
    Quota("SQS: messages in flight on a queue", 120_000, _in_flight, "not met: bundles are few, and workers bounded"),
)


def quota_rows() -> list[str]:
    """The table of needs and limits. `!` marks a need above its limit, and the most exceeded one is bold."""
    heads = " | ".join(f"{night // 1_000_000} million" for night in NIGHTS)
    rows = [f"| quota or setting | limit | {heads} | what answers it |", "|---" * (len(NIGHTS) + 3) + "|"]
    first = {night: max(QUOTAS, key=lambda quota: quota.need(night) / quota.limit) for night in NIGHTS}
    for quota in QUOTAS:
        cells = []
        for night in NIGHTS:
            need = quota.need(night)
            text = f"{need:,.0f}" if need >= 10 else f"{need:.1f}"
            cells.append(f"**{text}**" if quota is first[night] else f"{text} !" if need > quota.limit else text)
        rows.append(f"| {quota.name} | {quota.limit:,.0f} | {' | '.join(cells)} | {quota.answer} |")
    return rows
