"""`python -m benchmarks.worker_profile`: where the worker's CPU and its time go.

CPU by the functions that it is made of: bundles of a hundred to a provider that answers at once, one call after
another, so that threads do not blur it; first with clients that validate their parameters and then with the worker's
own. How it grows with the threads. Then time: bundles to a provider that takes 100 ms for each call, as the worker
makes them, and what happens when.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Any

from lambdas.quiet_hours.channels.channel import Outcome
from lambdas.quiet_hours.channels.webhook import WebhookChannel
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.notification.notification import Notification
from lambdas.quiet_hours.side_by_side import in_threads
from local.aws import client

from .measure import counted, spent, spread
from .worker import BUNDLE, LATENCY_MS, deliver, provider, utc_now, webhook
from .world import World, embedded, items

BUNDLES = 20
PARTS = {
    "reading the bundle": ("bundle.py", "read"),
    "claiming": ("ledger.py", "claim"),
    "reading consents": ("consents.py", "read_consents"),
    "judging": ("delivery.py", "_judge"),
    "the provider's call": ("webhook.py", "send"),
    "recording": ("ledger.py", "delivered"),
    "of these: botocore validating": ("botocore/validate.py", "serialize_to_request"),
}
"""Parts by the function that does each: the file's end, and the name."""

CALLS = "the provider's calls"
FIRST = "of these, the first of each thread"
TABLE_CALLS = {
    "claiming": "TransactWriteItems",
    "reading consents": "BatchGetItem",
    "recording": "BatchWriteItem",
}
"""What the worker does with its tables, by the operation that does it."""

WHEN = ("first begun", "last begun", "last over")


class Noting(WebhookChannel):
    """The webhook channel, with a note of when each call began and ended."""

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


def profile(world: World, url: str) -> dict[str, float]:
    """CPU milliseconds for each notification, by part, under a profiler that slows everything alike."""
    profiler = cProfile.Profile(time.process_time)
    channel = webhook(url)
    for _ in range(BUNDLES):
        (bundle,) = pack(items(BUNDLE))
        profiler.enable()
        deliver(world, bundle, channel, side_by_side=one_after_another)
        profiler.disable()
    stats: Any = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    found = {"all of it": sum(own for _, _, own, _, _ in stats.values())}
    for part, (file, name) in PARTS.items():
        found[part] = sum(
            total
            for (path, _, function), (_, _, _, total, _) in stats.items()
            if path.endswith(file) and function == name
        )
    return {part: seconds * 1000 / BUNDLES / BUNDLE for part, seconds in found.items()}


def timeline(world: World, url: str) -> dict[str, list[tuple[float, float]]]:
    """When each call of one bundle began and ended, in milliseconds since the worker had the bundle."""
    (bundle,) = pack(items(BUNDLE))
    channel = Noting(url)
    with counted(world.dynamodb) as calls:
        start = time.perf_counter()
        deliver(world, bundle, channel)
        end = time.perf_counter()
    noted = {
        step: [(call.began, call.ended) for call in calls if call.operation == operation]
        for step, operation in TABLE_CALLS.items()
    }
    noted |= {CALLS: channel.noted, FIRST: sorted(channel.noted)[: channel.side_by_side], "all of it": [(start, end)]}
    return {
        step: [((began - start) * 1000, (ended - start) * 1000) for began, ended in pairs]
        for step, pairs in noted.items()
    }


def print_timeline(bundles: Sequence[dict[str, list[tuple[float, float]]]]) -> None:
    """The medians of several bundles, a line for each step in the order in which they begin."""
    ideal_ms = -(-BUNDLE // WebhookChannel.side_by_side) * LATENCY_MS
    print(f"\n{f'{LATENCY_MS} ms a call, ms since the bundle came':42}" + "".join(f"{name:>24}" for name in WHEN))
    for step in ("claiming", "reading consents", CALLS, FIRST, "recording", "all of it"):
        pairs = [bundle[step] for bundle in bundles]
        when = (
            [min(began for began, _ in each) for each in pairs],
            [max(began for began, _ in each) for each in pairs],
            [max(ended for _, ended in each) for each in pairs],
        )
        print(f"{f'{step}, {len(pairs[0])}':42}" + "".join(f"{_text(each):>24}" for each in when))
    print(f"share of the ideal {ideal_ms} ms: {ideal_ms / median(each['all of it'][0][1] for each in bundles):.3f}")


def _text(values: Sequence[float]) -> str:
    found = spread(values)
    return f"{found['median']:.0f} ({found['min']:.0f} to {found['max']:.0f})"


def main() -> None:
    with embedded() as world, provider(0) as url:
        endpoint = world.dynamodb.meta.endpoint_url
        worlds = {"validating": replace(world, dynamodb=client(endpoint, "dynamodb")), "the worker's": world}
        for _ in range(2):
            deliver(world, pack(items(BUNDLE))[0], webhook(url))
        profiles = {name: profile(each, url) for name, each in worlds.items()}
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
    """`SideBySide` with all of its threads from the beginning."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, given))


if __name__ == "__main__":
    main()
