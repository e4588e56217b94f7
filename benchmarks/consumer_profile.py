"""`python -m benchmarks.consumer_profile`: prints the shares of the consumer's CPU, without its calls to AWS."""

from __future__ import annotations

import cProfile

from lambdas.consumer import consume
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.settings import Settings

from . import profiling
from .functions import NOTIFICATIONS, NoCost
from .profiling import Part
from .world import EVENING, items, record

ROUNDS = 20
PARTS = {
    "parsing bodies (JSON, with a check for repeated keys)": Part("/json_text.py", "unpack"),
    "checking each notification against the schema": Part("/notification.py", "accept"),
    "judging": Part("/policy.py", "decide"),
    "packing": Part("/bundle.py", "pack"),
    "reading consents": Part("/consents.py", "read_consents"),
    "sending": Part("/queues.py", "send"),
}
"""The function that does each part."""


def shares() -> dict[str, float]:
    """The share of each part, with what it calls, at night. The profiler slows small functions most."""
    settings = Settings("n", "delivery", "wait", "s", "dead-letter", "ledger", "consent", "secret")
    policy, free = settings.quiet_hours(), NoCost()
    records = [record(message.body, "notification") for message in pack(items(NOTIFICATIONS))]
    profiler = cProfile.Profile()
    for _ in range(ROUNDS):
        profiler.runcall(consume, records, EVENING, free, free, settings, policy)  # type: ignore[arg-type]
    profile = profiling.read(profiler, PARTS)
    return {name: seconds / profile.all_s for name, seconds in profile.parts_s.items()}


if __name__ == "__main__":
    for part, share in shares().items():
        print(f"{share:6.1%}  {part}")
