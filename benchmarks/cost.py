"""What a million notifications cost, by service and by design, and which quota a night meets first.

    python -m benchmarks.cost              # counts from build/bench.json, where `make bench` has left one
    python -m benchmarks.cost --exact      # the counts that the tests assert: what docs/costs.md shows

Counts are measured, dollars inferred: counts times prices (`benchmarks/prices.py`). Lambda's seconds are a model: the
measured CPU, and the stated time for each call that is made while nothing else goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lambdas.quiet_hours.channels.webhook import RATE_PER_S
from lambdas.scheduler import DRAINERS, EMPTY_RECEIVES, POLL_S
from simulation.forecast import Release, duration, forecast

from . import prices
from .counts import LANES, WAYS, Hop, Lane, Way, counts
from .quotas import quota_rows

BENCH = Path("build/bench.json")
MILLION = 1_000_000
SERVICES = ("SQS", "Lambda", "DynamoDB", "EventBridge Scheduler", "Step Functions")

CALL_S = 0.020
"""Stated: what a call to SQS or DynamoDB takes to answer."""

GB = {"producer": 1.0, "consumer": 1.0, "scheduler": 1.0, "worker": 1769 / 1024}
CPU_US = {"producer": 70.0, "consumer": 60.0, "scheduler": 24.0, "worker": 950.0}
"""CPU for each notification on a whole core, calls included, from a `make bench` on two busy cores."""

REFERENCE_CALLS = 1200
REFERENCE_CPU_US = 2900.0
"""The reference loop: a receive and a delete for every ten, a send for each, one after another (`make bench`)."""

DELAYS_A_NIGHT = 11 * 4
"""SQS delays a message by 15 minutes at most: so often is it received, sent and deleted from 21:00 to 08:00."""

BENCH_WAYS: dict[Way, str] = {
    "bulk": "bulk",
    "window": "single_high_rate_window",
    "burst": "single_high_rate",
    "trickle": "single_trickle",
}
BENCH_LANES: dict[Lane, str] = {"now": "day", "held": "night"}

Bill = dict[str, float]
"""Dollars per million notifications, by service."""


def hops_from(bench: dict[str, Any] | None, way: Way, lane: Lane) -> dict[str, Hop]:
    """The hops of a way: the exact ones, or with the calls and units that `make bench` has measured."""
    exact = counts(way, lane)
    if bench is None:
        return exact
    measured = bench["whole_path"][BENCH_WAYS[way]][BENCH_LANES[lane]]
    found = {}
    for name, hop in exact.items():
        poller = measured.get(f"{name}'s event source", {"sqs_units": 0})
        found[name] = hop._replace(
            sqs_calls=measured[name]["sqs_calls"],
            sqs_units=measured[name]["sqs_units"],
            write_units=measured[name]["write_units"],
            read_units=measured[name]["read_units"],
            poller_units=poller["sqs_units"],
        )
    return found


def path_bill(hops: dict[str, Hop], release: Release) -> Bill:
    """From acceptance to delivery."""
    bill = dict.fromkeys(SERVICES, 0.0)
    for name, hop in hops.items():
        bill["SQS"] += thousands((hop.sqs_units + hop.poller_units) * prices.SQS_REQUEST.dollars)
        bill["DynamoDB"] += thousands(hop.write_units * prices.DYNAMODB_WRITE.dollars)
        bill["DynamoDB"] += thousands(hop.read_units * prices.DYNAMODB_READ.dollars)
        bill["Lambda"] += thousands(hop.invocations * prices.LAMBDA_REQUEST.dollars)
        bill["Lambda"] += thousands(seconds(name, hop, release) * GB[name] * prices.LAMBDA_GB_S.dollars)
    return bill


def seconds(name: str, hop: Hop, release: Release) -> float:
    """How long the function runs for 1,000 notifications. The scheduler's drainers wait for SQS at the same time; the
    worker waits for the provider's pace."""
    if name == "worker":
        calls = (hop.sqs_calls + hop.ledger_calls + hop.consent_calls) / hop.invocations
        bundle = release._replace(bundle=1000 // hop.invocations, ledger_ms=calls * CALL_S * 1000)
        return hop.invocations * bundle.bundle_s
    cpu_s = CPU_US[name] / 1000 / (GB[name] * 1024 / 1769)
    if name == "scheduler":
        return max(cpu_s, hop.sqs_calls * CALL_S / DRAINERS)
    return cpu_s + (hop.sqs_calls + hop.ledger_calls + hop.consent_calls) * CALL_S


def thousands(per_1000: float) -> float:
    """For a million, from what a thousand cost."""
    return per_1000 * MILLION / 1000


def lambda_dollars(seconds_per_1000: float, gb: float = 1.0) -> float:
    return thousands(seconds_per_1000 * gb * prices.LAMBDA_GB_S.dollars)


def hold_bills(bench: dict[str, Any] | None) -> dict[str, Bill]:
    """Putting a million aside and releasing them to the worker's lane, by design. What comes before and after is left
    out: judging, and delivering with a ledger, which each of them needs as much."""
    bills, request = {}, prices.SQS_REQUEST.dollars
    for way in WAYS:
        hops = hops_from(bench, way, "held")
        put, move = hops["consumer"].sqs_units, hops["scheduler"]
        moving = lambda_dollars(seconds("scheduler", move, Release(0)))
        bills[f"this design, {way}"] = _bill(SQS=thousands(put + move.sqs_units) * request, Lambda=moving)
    full = hops_from(bench, "bulk", "held")
    put, moved = full["consumer"].sqs_units, full["scheduler"].sqs_units
    bills["switching the worker's mapping on wait, bulk"] = _bill(SQS=thousands(put) * request, Lambda=0.0)
    again = thousands(put + moved * DELAYS_A_NIGHT) * request
    bills["delays of 15 minutes, bulk"] = _bill(SQS=again, Lambda=bills["this design, bulk"]["Lambda"] * DELAYS_A_NIGHT)
    loop_s = REFERENCE_CALLS * CALL_S + REFERENCE_CPU_US / 1000 * 1769 / 1024
    bills["the reference loop"] = _bill(SQS=thousands(1000 + REFERENCE_CALLS) * request, Lambda=lambda_dollars(loop_s))
    calling = lambda_dollars(1000 * CALL_S)
    bills["a schedule for each"] = _bill(
        SQS=MILLION * request, Lambda=calling, EventBridge=MILLION * prices.SCHEDULE.dollars
    )
    bills["a Step Functions wait for each"] = _bill(
        SQS=MILLION * request, Lambda=calling, Steps=2 * MILLION * prices.TRANSITION.dollars
    )
    return bills


def design_bills(bench: dict[str, Any] | None, release: Release) -> dict[str, Bill]:
    """The whole path of a million by design, sent at once and held. The other designs have one message for each
    notification from end to end. Schedules and waits are made at night: by day both are this one's single sends."""
    hold = hold_bills(bench)
    burst, alone = hops_from(bench, "burst", "held"), hops_from(bench, "trickle", "held")["worker"]
    judged = {
        "producer": burst["producer"],
        "consumer": burst["consumer"]._replace(sqs_calls=0, sqs_units=0),
        "worker": alone,
    }
    reference = {
        "producer": Hop(invocations=1000, sqs_calls=1000, sqs_units=1000),
        "consumer": Hop(
            invocations=100, sqs_calls=100 + 1000, sqs_units=100
        ),  # ten received, a worker invoked for each
        "worker": Hop(invocations=1000, sqs_calls=1000, sqs_units=1000),  # which deletes it
    }
    plain = path_bill(reference, release)
    return {
        "this design, accepted in bulk, at once": path_bill(hops_from(bench, "bulk", "now"), release),
        "this design, accepted in bulk, held": path_bill(hops_from(bench, "bulk", "held"), release),
        "this design, accepted singly, at once": path_bill(hops_from(bench, "burst", "now"), release),
        "this design, accepted singly, held": path_bill(burst, release),
        "the reference design (no ledger, no consents), at once": plain,
        "the reference design (no ledger, no consents), held": _sum(plain, hold["the reference loop"]),
        "a schedule for each, held": _sum(path_bill(judged, release), hold["a schedule for each"]),
        "a Step Functions wait for each, held": _sum(
            path_bill(judged, release), hold["a Step Functions wait for each"]
        ),
    }


def _sum(one: Bill, other: Bill) -> Bill:
    return {service: one[service] + other[service] for service in SERVICES}


def _bill(SQS: float, Lambda: float, EventBridge: float = 0.0, Steps: float = 0.0) -> Bill:
    return dict(zip(SERVICES, (SQS, Lambda, 0.0, EventBridge, Steps), strict=True))


def tables(bench: dict[str, Any] | None) -> list[str]:
    """Everything that is printed, as Markdown."""
    release = Release(MILLION)
    paths = {f"{way}, {LANES[lane]}": path_bill(hops_from(bench, way, lane), release) for way in WAYS for lane in LANES}
    fast = Release(MILLION, rate_per_s=2000)
    paths["bulk, held; a provider that takes 2,000 a second"] = path_bill(hops_from(bench, "bulk", "held"), fast)
    lines = ["### Holding a million and releasing them", "", *bill_table("design", hold_bills(bench)), ""]
    lines += ["### The whole path of a million, by design", "", *bill_table("design", design_bills(bench, release)), ""]
    lines += [
        "### The whole path of a million in this design, from acceptance to delivery",
        "",
        *bill_table("accepted", paths),
        "",
    ]
    lines += [f"Beside that, the minute rule costs ${idle_dollars():.2f} a month when nothing is held.", ""]
    lines += ["### A night of one, ten and a hundred million", "", *night_table(), ""]
    lines += ["### What each needs to be delivered within an hour", "", *quota_rows(), ""]
    lines += [f"### Prices, us-east-1, collected by {prices.COLLECTED_BY}", "", *price_table()]
    return lines


def bill_table(first: str, bills: dict[str, Bill]) -> list[str]:
    """One row each; services that nobody pays for are left out."""
    services = [name for name in SERVICES if any(bill[name] for bill in bills.values())]
    rows = [f"| {first} | {' | '.join(f'{name} $' for name in services)} | all $ |", "|---" * (len(services) + 2) + "|"]
    for name, bill in bills.items():
        cells = [f"{bill[service]:.3f}" for service in services]
        rows.append(f"| {name} | {' | '.join(cells)} | **{sum(bill.values()):.3f}** |")
    return rows


def night_table() -> list[str]:
    """What becomes of it with the default settings."""
    rows = ["| held | messages on wait | on the released lane after | with the provider after |", "|---|---|---|---|"]
    for notifications in (MILLION, 10 * MILLION, 100 * MILLION):
        release = Release(notifications)
        ends = forecast(release)
        moved, delivered = duration(ends.moved_s), duration(ends.delivered_s)
        rows.append(f"| {notifications:,} | {release.messages:,} | {moved} | {delivered} |")
    return [
        *rows,
        "",
        f"The last column is what the webhook's default rate allows ({RATE_PER_S:g} a second, half for the release),",
        "if no night came in between.",
    ]


def idle_dollars() -> float:
    """What the minute rule costs in 30 days in which nothing is held: 13 hours a day of runs that find nothing."""
    runs = 30 * 13 * 60
    run = EMPTY_RECEIVES * prices.SQS_REQUEST.dollars + EMPTY_RECEIVES * POLL_S * prices.LAMBDA_GB_S.dollars
    return runs * (run + prices.LAMBDA_REQUEST.dollars)


def price_table() -> list[str]:
    rows = (f"| {price.dollars * MILLION:,.3f} | {price.unit} | {price.source} |" for price in prices.PRICES)
    return ["| dollars per million | of | stated at |", "|---|---|---|", *rows]


def read_bench(path: Path) -> dict[str, Any] | None:
    """What `make bench` wrote, if it did and has the whole path in it."""
    if not path.exists():
        return None
    bench: dict[str, Any] = json.loads(path.read_text())
    return bench if "whole_path" in bench else None


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Dollars per million notifications.")
    parser.add_argument("--exact", action="store_true", help="the counts that the tests assert, not build/bench.json")
    bench = None if parser.parse_args().exact else read_bench(BENCH)
    said = (
        f"{BENCH} of commit {bench.get('commit', 'unknown')}" if bench else "benchmarks/counts.py (asserted by tests)"
    )
    print(f"Counts: {said}. Dollars are inferred from them.", file=sys.stderr)
    print("\n".join(tables(bench)))


if __name__ == "__main__":
    main()
