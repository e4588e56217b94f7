"""Plays lanes and turns in virtual time, with the production handlers on the simulation (simulation/stage.py).

- `urgent`: how long critical SMS wait for their provider beside something else, and beside an idle system;
- `paced`: what a backlog costs that meets its channel's rate, messages that go back to their lane included;
- `trickle_release_ratio`: the forecast for a million that came singly over that for a million in full bundles, until
  the provider has them at the webhook's default rate; `trickle_move_ratio`: until they are on the released lane.

Virtual time does not depend on the machine. So once is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch

from simulation.forecast import Release, forecast
from simulation.providers import Kind
from simulation.situations import SITUATIONS_OF_CODES, WEBHOOK_AT_100
from simulation.stage import BUNDLE, NOON, REAL_KINDS, Stage, Waits
from simulation.tables import DynamoDb

from . import prices

IDLE = "idle"
BY_PLAIN_SQS = "a code by plain SQS, behind 500 singles"
"""This has a bound of its own: the promise is for what comes through the producer."""
QUICK_SITUATIONS = (
    "campaign of 10,000 e-mails by day",
    "redrive of 10,000 letters",
    "7,750 Kakao are held again at 21:00",
)
"""The situations that are played within seconds."""

WORKER_GB = 1769 / 1024
BEFORE_WORKERS, BEFORE_LANES = 2, 2
"""Before, each of two workers of each of two lanes kept to its part of the rate, and slept between its calls."""

WEBHOOK_BY_DEFAULT = "webhook_at_its_default_rate"
PACED: dict[str, tuple[str, dict[str, Kind]]] = {
    "webhook": ("webhook", WEBHOOK_AT_100),
    "kakao": ("kakao", REAL_KINDS),
    "email": ("email", REAL_KINDS),
    WEBHOOK_BY_DEFAULT: ("webhook", REAL_KINDS),
}
"""The channels whose rate a backlog meets. The webhook's rate is 100 a second, as it is Kakao's."""


def measure_urgent(situations: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Play some of `SITUATIONS_OF_CODES`, on all cores, and compare each with an idle system."""
    found: dict[str, Waits] = {}
    with get_context("spawn").Pool() as pool:
        for name, waits in pool.imap_unordered(_play, [IDLE, *situations]):
            say(f"urgent: {name}")
            found[name] = waits
    figures = {name: urgent_figures(found[name], found[IDLE]) for name in situations}
    return {"urgent": figures, "urgent_worst": worst(figures)}


def worst(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The largest of each figure over the situations of which the promise speaks."""
    promised = [each for name, each in figures.items() if name != BY_PLAIN_SQS]
    return {key: max(each[key] for each in promised) for key in ("p95_ratio", "p99_ratio", "p99_s")}


def _play(name: str) -> tuple[str, Waits]:
    return name, SITUATIONS_OF_CODES[name]()


def urgent_figures(waits: Waits, idle: Waits) -> dict[str, float]:
    """The percentiles beside those of an idle system. Each code counts, also one that never came: it waits forever."""
    return {
        "codes": waits.number,
        "p95_ratio": waits.p95_s / idle.p95_s,
        "p99_ratio": waits.p99_s / idle.p99_s,
        "p95_s": waits.p95_s,
        "p99_s": waits.p99_s,
        "longest_s": waits.longest_s,
    }


def measure_paced(seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Let a backlog meet each channel's rate for so long, and compare the worker's Lambda dollars with those of a pace
    that is divided by lanes and workers."""
    found = {}
    for name, (channel, kinds) in PACED.items():
        say(f"paced: {name}")
        found[name] = paced(channel, kinds, seconds)
    singles, bundles = forecast(Release(1_000_000, bundle=1)), forecast(Release(1_000_000))
    return {
        "paced": found,
        "paced_lambda_ratio": {name: each["lambda_ratio"] for name, each in found.items()},
        "trickle_release_ratio": singles.delivered_s / bundles.delivered_s,
        "trickle_move_ratio": singles.moved_s / bundles.moved_s,
    }


def paced(channel: str, kinds: dict[str, Kind], seconds: float) -> dict[str, float]:
    """The figures of a channel for 1,000 notifications. `hand_backs` are bundles that found no turn. `looked_at` are
    the notifications of which the ledger and the consents were read, some of them more than once."""
    rate_per_s = kinds[channel].rate_per_s
    assert rate_per_s is not None
    stage = Stage(NOON, kinds=dict(kinds))
    stage.at(1.0, stage.put, "schedule", round(rate_per_s * seconds * 1.5), channel)
    with counted_reads() as reads:
        stage.run(seconds, is_night=False)
    calls, worker = stage.calls(channel), stage.deployment.worker
    delivered = sum(call.notifications for call in calls)
    steady = sum(call.notifications for call in calls if call.at >= 20)
    per_1000 = 1000 / delivered
    now = worker_dollars(worker.busy_s * per_1000, worker.invocations * per_1000)
    before_s = 1000 * BEFORE_WORKERS * BEFORE_LANES / rate_per_s
    return {
        "rate_per_s": rate_per_s,
        "of_the_rate": steady / rate_per_s / (seconds - 20),
        "worker_s": worker.busy_s * per_1000,
        "before_worker_s": before_s,
        "lambda_ratio": now / worker_dollars(before_s, 1000 / BUNDLE),
        "invocations": worker.invocations * per_1000,
        "hand_backs": worker.invocations * per_1000 - 1000 / BUNDLE,
        "looked_at": reads["ledger"] * per_1000,
        "turn_writes": reads["UpdateItem"] * per_1000,
    }


def worker_dollars(seconds: float, invocations: float) -> float:
    """The dollars that Lambda bills for the worker."""
    return seconds * WORKER_GB * prices.LAMBDA_GB_S.dollars + invocations * prices.LAMBDA_REQUEST.dollars


@contextmanager
def counted_reads() -> Iterator[Counter[str]]:
    """Count, in the simulation, the items that are read by table, and the writes to the turn table."""
    found: Counter[str] = Counter()
    read, update = DynamoDb.batch_get_item, DynamoDb.update_item

    def counting_read(self: DynamoDb, *, RequestItems: dict[str, Any]) -> Any:
        found.update({table: len(asked["Keys"]) for table, asked in RequestItems.items()})
        return read(self, RequestItems=RequestItems)

    def counting_update(self: DynamoDb, **asked: Any) -> Any:
        found["UpdateItem"] += 1
        return update(self, **asked)

    with (
        patch.object(DynamoDb, "batch_get_item", counting_read),
        patch.object(DynamoDb, "update_item", counting_update),
    ):
        yield found
