"""`python -m benchmarks.consumer_profile`: where the consumer's CPU goes, calls apart, as shares of all of it."""

from __future__ import annotations

import cProfile
import pstats
from typing import Any

from lambdas.consumer import consume
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.settings import Settings

from .functions import NOTIFICATIONS, NoCost
from .world import EVENING, items, record

ROUNDS = 20
PARTS = {
    "taking bodies apart (json with a look for repeated keys)": ("bundle.py", "unpack"),
    "checking each notification against the schema": ("notification.py", "accept"),
    "judging": ("policy.py", "decide"),
    "packing": ("bundle.py", "pack"),
    "asking for consents": ("consents.py", "read_consents"),
    "sending": ("queues.py", "send"),
}
"""Parts by the function that does each: its file, and its name."""


def shares() -> dict[str, float]:
    """The share of each part, what it calls included, by night; under a profiler that slows small functions most."""
    settings = Settings("n", "delivery", "wait", "s", "dead-letter", "ledger", "consent", "secret")
    policy, free = settings.quiet_hours(), NoCost()
    records = [record(message.body, "notification") for message in pack(items(NOTIFICATIONS))]
    profiler = cProfile.Profile()
    for _ in range(ROUNDS):
        profiler.runcall(consume, records, EVENING, free, free, settings, policy)  # type: ignore[arg-type]
    stats: Any = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    all_s = sum(own for _, _, own, _, _ in stats.values())
    found = {}
    for part, (file, name) in PARTS.items():
        found[part] = 0.0
        for (path, _, function), (_, _, _, total, _) in stats.items():
            if path.endswith(f"/{file}") and function == name:
                found[part] += total / all_s
    return found


if __name__ == "__main__":
    for part, share in shares().items():
        print(f"{share:6.1%}  {part}")
