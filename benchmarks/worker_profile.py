"""`python -m benchmarks.worker_profile`: prints what the worker's CPU and its time are spent on.

First the CPU by function, for bundles of a hundred to a provider that answers at once. The calls come one after another
here, so that threads do not blur the figures, once with clients that validate their parameters and once with the
worker's own clients. Next the CPU with more and more threads. Last a timeline of bundles to a provider that takes 100
ms per call.
"""

from __future__ import annotations

import cProfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import Any, NamedTuple

from lambdas.quiet_hours.channels.channel import Outcome
from lambdas.quiet_hours.channels.webhook import WebhookChannel
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.notification.notification import Notification
from lambdas.quiet_hours.side_by_side import in_threads
from local.aws import client

from . import profiling
from .measure import counted, spent, spread
from .profiling import Part
from .worker import BUNDLE, LATENCY_MS, deliver, provider, utc_now, webhook
from .world import World, embedded, items

BUNDLES = 20
PARTS = {
    "reading the bundle": Part("bundle.py", "read"),
    "claiming": Part("ledger.py", "claim"),
    "reading the ledger": Part("ledger.py", "read_all"),
    "reading consents": Part("consents.py", "read_each_consent"),
    "booking a turn": Part("turns.py", "book"),
    "judging, before the turn": Part("delivery.py", "_may_go"),
    "judging, before the call": Part("calls.py", "_judge"),
    "the provider's call": Part("webhook.py", "send"),
    "recording": Part("ledger.py", "delivered"),
    "of these: botocore validating": Part("botocore/validate.py", "serialize_to_request"),
}
"""The function that does each part."""

CALLS = "the provider's calls"
FIRST = "of these, the first of each thread"
TABLE_CALLS = {
    "reading the ledger": ("ledger", "BatchGetItem"),
    "reading consents": ("consent", "BatchGetItem"),
    "booking a turn": ("turn", "UpdateItem"),
    "claiming": ("ledger", "TransactWriteItems"),
    "recording": ("ledger", "BatchWriteItem"),
}
"""The table and the operation of each of the worker's calls."""

WHEN = ("first begun", "last begun", "last over")


class Noting(WebhookChannel):
    """The webhook channel. It notes when each call began and ended."""

    def __init__(self, url: str) -> None:
        super().__init__({"url": url, "rate_per_s": 100_000}, utc_now, local=True)
        self.noted: list[tuple[float, float]] = []

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        began = time.perf_counter()
        outcomes = super().send(notifications)
        self.noted.append((began, time.perf_counter()))
        return outcomes


def one_after_another(function: Callable[[Any], Any], given: Sequence[Any], at_once: int) -> list[Any]:
    """`SideBySide` without threads."""
    return [function(each) for each in given]


def profiled_ms(world: World, url: str) -> dict[str, float]:
    """CPU milliseconds per notification, by part. The profiler slows everything alike."""
    profiler = cProfile.Profile(time.process_time)
    channel = webhook(url)
    for _ in range(BUNDLES):
        (bundle,) = pack(items(BUNDLE))
        profiler.enable()
        deliver(world, bundle, channel, side_by_side=one_after_another)
        profiler.disable()
    profile = profiling.read(profiler, PARTS)
    seconds = {"all of it": profile.all_s, **profile.parts_s}
    return {part: each * 1000 / BUNDLES / BUNDLE for part, each in seconds.items()}


class Step(NamedTuple):
    """A call or another step, in milliseconds since the worker had the bundle."""

    began: float
    ended: float


def timeline(world: World, url: str) -> dict[str, list[Step]]:
    """Deliver one bundle, and return when each call began and ended."""
    (bundle,) = pack(items(BUNDLE))
    channel = Noting(url)
    with counted(world.dynamodb) as calls:
        start = time.perf_counter()
        deliver(world, bundle, channel, memory=Memory(served_at={"webhook": datetime.max.replace(tzinfo=UTC)}))
        end = time.perf_counter()
    noted = {
        step: [(call.began, call.ended) for call in calls if (call.table, call.operation) == called]
        for step, called in TABLE_CALLS.items()
    }
    noted |= {CALLS: channel.noted, FIRST: sorted(channel.noted)[: channel.side_by_side], "all of it": [(start, end)]}
    return {
        name: [Step((began - start) * 1000, (ended - start) * 1000) for began, ended in pairs]
        for name, pairs in noted.items()
    }


def print_timeline(bundles: Sequence[dict[str, list[Step]]]) -> None:
    """Print the medians of several bundles, one line per step, in the order in which the steps begin."""
    ideal_ms = -(-BUNDLE // WebhookChannel.side_by_side) * LATENCY_MS
    print(f"\n{f'{LATENCY_MS} ms a call, ms since the bundle came':42}" + "".join(f"{name:>24}" for name in WHEN))
    for name in (*list(TABLE_CALLS)[:-1], CALLS, FIRST, "recording", "all of it"):
        of_bundles = [bundle[name] for bundle in bundles]
        times_ms = (
            [min(step.began for step in steps) for steps in of_bundles],
            [max(step.began for step in steps) for steps in of_bundles],
            [max(step.ended for step in steps) for steps in of_bundles],
        )
        label = f"{name}, {len(of_bundles[0])}"
        print(f"{label:42}" + "".join(f"{_text(each):>24}" for each in times_ms))
    whole_ms = median(step.ended for bundle in bundles for step in bundle["all of it"])
    print(f"share of the ideal {ideal_ms} ms: {ideal_ms / whole_ms:.3f}")


def _text(values: Sequence[float]) -> str:
    found = spread(values)
    return f"{found['median']:.0f} ({found['min']:.0f} to {found['max']:.0f})"


def main() -> None:
    with embedded() as world, provider(0) as url:
        endpoint = world.dynamodb.meta.endpoint_url
        worlds = {"validating": replace(world, dynamodb=client(endpoint, "dynamodb")), "the worker's": world}
        for _ in range(2):
            deliver(world, pack(items(BUNDLE))[0], webhook(url))
        profiles = {name: profiled_ms(each, url) for name, each in worlds.items()}
        print(f"{'profiled, CPU ms a notification':34}" + "".join(f"{name:>16}" for name in profiles))
        for part in next(iter(profiles.values())):
            print(f"{part:34}" + "".join(f"{found[part]:16.3f}" for found in profiles.values()))
        print("\nnot profiled, CPU ms a notification, median (least to most)")
        ways = {"one after another": one_after_another, "as the worker does": in_threads, "25 threads": _pool}
        for way, side_by_side in ways.items():
            for name, each in worlds.items():
                cpu_ms = []
                for _ in range(BUNDLES):
                    (bundle,) = pack(items(BUNDLE))
                    with spent() as used:
                        deliver(each, bundle, webhook(url), side_by_side=side_by_side)
                    cpu_ms.append(used.cpu_s * 1000 / BUNDLE)
                found = spread(cpu_ms)
                print(f"{way + ', ' + name:34}{found['median']:16.3f} ({found['min']:.3f} to {found['max']:.3f})")
        with provider(LATENCY_MS) as slow:
            print_timeline([timeline(world, slow) for _ in range(BUNDLES)])


def _pool(function: Callable[[Any], Any], given: Sequence[Any], at_once: int) -> list[Any]:
    """`SideBySide` with all of its threads from the start."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, given))


if __name__ == "__main__":
    main()
