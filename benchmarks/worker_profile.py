"""`python -m benchmarks.worker_profile`: where the worker's CPU goes, by the functions that it is made of.

Bundles of a hundred to a provider that answers at once, one call after another, so that threads do not blur it; first
with clients that validate their parameters and then with the worker's own. And how it grows with the threads.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from lambdas.quiet_hours.bundle import pack
from lambdas.quiet_hours.side_by_side import in_threads
from local.aws import client

from .measure import spent, spread
from .worker import BUNDLE, deliver, provider, webhook
from .world import World, embedded, items

BUNDLES = 20
PARTS = {
    "reading the bundle": ("bundle.py", "read"),
    "claiming": ("ledger.py", "claim"),
    "reading consents": ("consent.py", "read_consents"),
    "judging": ("delivery.py", "_judge"),
    "the provider's call": ("webhook.py", "send"),
    "recording": ("ledger.py", "delivered"),
    "of these: botocore validating": ("botocore/validate.py", "serialize_to_request"),
}
"""Parts by the function that does each: the file's end, and the name."""


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


def _pool(function: Callable[[Any], Any], given: Sequence[Any], at_once: int) -> list[Any]:
    """`SideBySide` with all of its threads from the beginning."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, given))


if __name__ == "__main__":
    main()
