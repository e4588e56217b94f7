"""Calculates the cost of a million notifications, by service and by design, and the quota that a night meets first.

    python -m benchmarks.cost              # counts and CPU from build/bench.json, where `make bench` has left one
    python -m benchmarks.cost --exact      # the counts that the tests assert, CPU from docs/benchmarks/bench.json
    python -m benchmarks.cost --write      # the same into docs/costs.md

Counts and CPU are measured. Dollars are inferred: counts times prices (`benchmarks/prices.py`). Lambda's seconds are a
model: the measured CPU, and the stated time for each call during which nothing else happens. Where full bundles meet
their channel's rate, the worker's time is that of the simulation (`benchmarks/lanes.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from lambdas.quiet_hours.channels.webhook import RATE_PER_S
from lambdas.quiet_hours.delivery.calls import SERVED_EVERY_S
from lambdas.scheduler import DRAINERS, EMPTY_RECEIVES, POLL_S
from local import BUILD, ROOT
from simulation.forecast import Release, duration, forecast

from . import prices, report
from .counts import LANES, NOTE_READ_UNITS, NOTE_WRITE_UNITS, WAYS, Hop, Lane, Way, counts
from .lanes import WEBHOOK_BY_DEFAULT, worker_dollars
from .markdown import COLUMNS, rewrite, table
from .quotas import NIGHTS, quota_rows

BUILT = BUILD / "bench.json"
COMMITTED = ROOT / "docs" / "benchmarks" / "bench.json"
DOCS = ROOT / "docs" / "costs.md"
MILLION = 1_000_000
SERVICES = ("SQS", "Lambda", "DynamoDB", "EventBridge Scheduler", "Step Functions")

CALL_S = 0.020
"""The time of a call to SQS or DynamoDB. It is stated, not measured."""

GB = {"producer": 1.0, "consumer": 1.0, "scheduler": 1.0, "worker": 1769 / 1024}

CPU_AT = {
    "producer": "functions.producer_night.us.with_calls.median",
    "consumer": "functions.consumer_night.us.with_calls.median",
    "scheduler": "release.one_run.cpu_ms_per_1000",
    "the reference loop": "release.sides.reference.cpu_ms_per_1000.median",
}
"""The keys of bench.json for the CPU per notification on a whole core, calls included, in microseconds. The worker has
no key: its CPU is hidden behind its waiting."""

REFERENCE_CALLS = 1200
"""Calls of the reference loop: a receive and a delete per ten, a send each, one after another (`make bench`)."""

FULL_BUNDLES = 10
"""The full bundles of a thousand notifications."""

DELAYS_A_NIGHT = 11 * 4
"""SQS delays a message by at most 15 minutes. So often a message is received, sent and deleted from 21:00 to 08:00."""

BENCH_WAYS: dict[Way, str] = {
    "bulk": "bulk",
    "window": "single_high_rate_window",
    "burst": "single_high_rate",
    "trickle": "single_trickle",
}
BENCH_LANES: dict[Lane, str] = {"now": "day", "held": "night"}

Bill = dict[str, float]
"""Dollars per million notifications, by service."""


class Measured(NamedTuple):
    """The figures behind the sums: `whole_path` as `make bench` has counted it, or None for the exact counts; the CPU
    by the names of `CPU_AT`; by channel, what a backlog costs that meets the channel's rate; and the file that each is
    from."""

    whole_path: dict[str, Any] | None
    cpu_us: Mapping[str, float]
    paced: Mapping[str, Mapping[str, float]]
    counts_from: str
    cpu_from: str


def measured(exact: bool, built: Path = BUILT) -> Measured:
    """Read the figures from the file of the last run. Where it lacks them, or where `exact` counts are wanted, take
    them from `benchmarks/counts.py` and from the file that the documentation shows."""
    run = json.loads(built.read_text()) if built.exists() and not exact else {}
    whole_path = run.get("whole_path")
    has_cpu = all(report.value(run, key) is not None for key in (*CPU_AT.values(), "paced"))
    path, source = (built, run) if has_cpu else (COMMITTED, json.loads(COMMITTED.read_text()))
    return Measured(
        whole_path,
        {name: report.value(source, key) for name, key in CPU_AT.items()},
        source["paced"],
        _said(built, run) if whole_path else "benchmarks/counts.py (asserted by tests)",
        _said(path, source),
    )


def _said(path: Path, run: dict[str, Any]) -> str:
    return f"{os.path.relpath(path, ROOT)} of commit {run.get('commit', 'unknown')}"


def hops_from(given: Measured, way: Way, lane: Lane) -> dict[str, Hop]:
    """The hops of a way, with the exact counts or with the calls and units that `make bench` has measured."""
    exact = counts(way, lane)
    if given.whole_path is None:
        return exact
    counted = given.whole_path[BENCH_WAYS[way]][BENCH_LANES[lane]]
    found = {}
    for name, hop in exact.items():
        poller = counted.get(f"{name}'s event source", {"sqs_units": 0})
        found[name] = hop._replace(
            sqs_calls=counted[name]["sqs_calls"],
            sqs_units=counted[name]["sqs_units"],
            write_units=counted[name]["write_units"],
            ledger_read_units=counted[name]["ledger_read_units"],
            read_units=counted[name]["read_units"],
            turns=counted[name]["turns"],
            poller_units=poller["sqs_units"],
        )
    return found


def path_bill(hops: dict[str, Hop], given: Measured, *, meets_rate: bool = True) -> Bill:
    """The bill from acceptance to delivery. `meets_rate`: full bundles come faster than the provider takes them."""
    bill = dict.fromkeys(SERVICES, 0.0)
    for name, counted in hops.items():
        is_paced = meets_rate and name == "worker" and counted.invocations == FULL_BUNDLES
        paced = given.paced[WEBHOOK_BY_DEFAULT]
        hop = paced_hop(counted, paced) if is_paced else counted
        seconds_per_1000 = paced["worker_s"] if is_paced else seconds(name, hop, given.cpu_us)
        bill["SQS"] += thousands((hop.sqs_units + hop.poller_units) * prices.SQS_REQUEST.dollars)
        bill["DynamoDB"] += thousands((hop.write_units + hop.turns) * prices.DYNAMODB_WRITE.dollars)
        bill["DynamoDB"] += thousands((hop.ledger_read_units + hop.read_units) * prices.DYNAMODB_READ.dollars)
        bill["Lambda"] += thousands(hop.invocations * prices.LAMBDA_REQUEST.dollars)
        bill["Lambda"] += thousands(seconds_per_1000 * GB[name] * prices.LAMBDA_GB_S.dollars)
    return bill


def paced_hop(hop: Hop, paced: Mapping[str, float]) -> Hop:
    """The worker's hop for full bundles that meet their channel's rate. A bundle that finds no turn goes back to its
    lane: that is a send, a receive and a delete, and mostly its ledger entries and consents are read once more."""
    invocations = hop.invocations + paced["hand_backs"]
    return hop._replace(
        invocations=invocations,
        sqs_calls=hop.sqs_calls + paced["hand_backs"],
        sqs_units=hop.sqs_units + paced["hand_backs"],
        poller_units=hop.poller_units + 2 * paced["hand_backs"],
        ledger_read_units=hop.ledger_read_units * paced["looked_at"] / 1000,
        read_units=hop.read_units * paced["looked_at"] / 1000,
        turns=paced["turn_writes"],
    )


def seconds(name: str, hop: Hop, cpu_us: Mapping[str, float]) -> float:
    """The running time of the function for 1,000 notifications. The scheduler's drainers wait for SQS at the same time,
    and the worker waits for its provider."""
    if name == "worker":
        calls = (hop.sqs_calls + hop.ledger_calls + hop.consent_calls + hop.turns) / hop.invocations
        worker = Release(MILLION, ledger_ms=calls * CALL_S * 1000)
        return hop.invocations * worker.delivery_s(round(1000 / hop.invocations))
    cpu_s = cpu_us[name] / 1000 / (GB[name] * 1024 / 1769)
    if name == "scheduler":
        return max(cpu_s, hop.sqs_calls * CALL_S / DRAINERS)
    return cpu_s + (hop.sqs_calls + hop.ledger_calls + hop.consent_calls) * CALL_S


def thousands(per_1000: float) -> float:
    """Convert a figure per thousand into one per million."""
    return per_1000 * MILLION / 1000


def lambda_dollars(seconds_per_1000: float, gb: float = 1.0) -> float:
    return thousands(seconds_per_1000 * gb * prices.LAMBDA_GB_S.dollars)


def reference_loop_s(cpu_us: Mapping[str, float]) -> float:
    """The running time of the published loop for 1,000. Every call waits for the one before it."""
    return REFERENCE_CALLS * CALL_S + cpu_us["the reference loop"] / 1000 * 1769 / 1024


def hold_bills(given: Measured) -> dict[str, Bill]:
    """The bill for holding a million and releasing them to the worker's lane, by design. It leaves out judging before
    and delivering after, since every design needs both."""
    bills, request = {}, prices.SQS_REQUEST.dollars
    for way in WAYS:
        hops = hops_from(given, way, "held")
        put, move = hops["consumer"].sqs_units, hops["scheduler"]
        moving = lambda_dollars(seconds("scheduler", move, given.cpu_us))
        bills[f"this design, {way}"] = _bill(SQS=thousands(put + move.sqs_units) * request, Lambda=moving)
    full = hops_from(given, "bulk", "held")
    put, moved = full["consumer"].sqs_units, full["scheduler"].sqs_units
    bills["switching the worker's mapping on wait, bulk"] = _bill(SQS=thousands(put) * request, Lambda=0.0)
    again = thousands(put + moved * DELAYS_A_NIGHT) * request
    bills["delays of 15 minutes, bulk"] = _bill(SQS=again, Lambda=bills["this design, bulk"]["Lambda"] * DELAYS_A_NIGHT)
    looping = lambda_dollars(reference_loop_s(given.cpu_us))
    bills["the reference loop"] = _bill(SQS=thousands(1000 + REFERENCE_CALLS) * request, Lambda=looping)
    calling = lambda_dollars(1000 * CALL_S)
    bills["a schedule for each"] = _bill(
        SQS=MILLION * request, Lambda=calling, EventBridge=MILLION * prices.SCHEDULE.dollars
    )
    bills["a Step Functions wait for each"] = _bill(
        SQS=MILLION * request, Lambda=calling, Steps=2 * MILLION * prices.TRANSITION.dollars
    )
    return bills


def design_bills(given: Measured) -> dict[str, Bill]:
    """The bill for the whole path of a million by design, sent at once and held. The other designs have one message per
    notification from end to end. They make schedules and waits at night only: by day both are single sends."""
    hold = hold_bills(given)
    burst, alone = hops_from(given, "burst", "held"), hops_from(given, "trickle", "now")["worker"]
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
    plain, waiting = path_bill(reference, given), path_bill(judged, given)

    def ours(way: Way, lane: Lane) -> Bill:
        return path_bill(hops_from(given, way, lane), given)

    return {
        "this design, accepted in bulk, at once": ours("bulk", "now"),
        "this design, accepted in bulk, held": ours("bulk", "held"),
        "this design, accepted singly, at once": ours("burst", "now"),
        "this design, accepted singly, held": ours("burst", "held"),
        "the reference design (no ledger, no consents), at once": plain,
        "the reference design (no ledger, no consents), held": _sum(plain, hold["the reference loop"]),
        "a schedule for each, held": _sum(waiting, hold["a schedule for each"]),
        "a Step Functions wait for each, held": _sum(waiting, hold["a Step Functions wait for each"]),
    }


def _sum(one: Bill, other: Bill) -> Bill:
    return {service: one[service] + other[service] for service in SERVICES}


def _bill(SQS: float, Lambda: float, EventBridge: float = 0.0, Steps: float = 0.0) -> Bill:
    return dict(zip(SERVICES, (SQS, Lambda, 0.0, EventBridge, Steps), strict=True))


def tables(given: Measured) -> list[str]:
    """The printed text, as Markdown."""
    paths = {f"{way}, {LANES[lane]}": path_bill(hops_from(given, way, lane), given) for way in WAYS for lane in LANES}
    bulk = hops_from(given, "bulk", "held")
    paths["bulk, held; a provider that takes whatever comes"] = path_bill(bulk, given, meets_rate=False)
    cpu = ", ".join(f"{name} {report.number(us)}" for name, us in given.cpu_us.items())
    lines = [*wrap(f"CPU in µs a notification, from {given.cpu_from}: {cpu}.", COLUMNS), ""]
    lines += ["### Holding a million and releasing them", "", *bill_table("design", hold_bills(given)), ""]
    lines += ["### The whole path of a million, by design", "", *bill_table("design", design_bills(given)), ""]
    lines += [
        "### The whole path of a million in this design, from acceptance to delivery",
        "",
        *bill_table("accepted", paths),
        "",
    ]
    lines += [
        f"Beside that, the minute rule costs ${idle_dollars():.2f} a month when nothing is held, and the notes that a",
        f"channel delivers at most ${note_dollars():.2f} a month for a channel that delivers day and night.",
        "",
    ]
    lines += ["### A backlog that meets its channel's rate", "", *paced_table(given.paced), ""]
    lines += ["### A night of one, ten and a hundred million", "", *night_table(), "", *night_bills(given), ""]
    lines += ["### What each needs to be delivered within an hour", "", *quota_rows(), ""]
    lines += [f"### Prices, us-east-1, collected by {prices.COLLECTED_BY}", "", *price_table()]
    return lines


def bill_table(first: str, bills: dict[str, Bill]) -> list[str]:
    """One row each; services that nobody pays for are left out."""
    services = [name for name in SERVICES if any(bill[name] for bill in bills.values())]
    rows = (
        [name, *(f"{bill[service]:.3f}" for service in services), f"**{sum(bill.values()):.3f}**"]
        for name, bill in bills.items()
    )
    return table([first, *(f"{name} $" for name in services), "all $"], rows)


def night_table() -> list[str]:
    """Say how such a night ends with the default settings."""
    rows = ["| held | messages on wait | on the released lane after | with the provider after |", "|---|---|---|---|"]
    for notifications in NIGHTS:
        release = Release(notifications)
        ends = forecast(release)
        moved, delivered = duration(ends.moved_s), duration(ends.delivered_s)
        rows.append(f"| {notifications:,} | {release.messages:,} | {moved} | {delivered} |")
    return [
        *rows,
        "",
        f"The last column is what the webhook's default rate allows ({RATE_PER_S:g} a second, for all lanes together),",
        "if no night came in between.",
    ]


def night_bills(given: Measured) -> list[str]:
    """The cost of such a night by design. Every sum grows with the number of notifications."""
    bills = {f"holding and releasing alone: {name}": bill for name, bill in hold_bills(given).items()}
    bills = {f"whole path: {name}": bill for name, bill in design_bills(given).items()} | bills
    rows = (
        [name, *(f"{sum(bill.values()) * night / MILLION:,.2f}" for night in NIGHTS)]
        for name, bill in bills.items()
        if not name.endswith("at once")
    )
    loop_h = thousands(reference_loop_s(given.cpu_us)) / 3600
    return [
        *table(["held", *(f"{night // MILLION} million $" for night in NIGHTS)], rows),
        "",
        "Discounts for quantity are left out. Whether such a night can be done is another question: one reference loop",
        f"would take {loop_h:.1f} h for each million, and a run of Lambda's ends after 15 minutes.",
    ]


def idle_dollars() -> float:
    """The cost of the minute rule in 30 days in which nothing is held: 13 hours a day of runs that find nothing."""
    runs = 30 * 13 * 60
    run = EMPTY_RECEIVES * prices.SQS_REQUEST.dollars + EMPTY_RECEIVES * POLL_S * prices.LAMBDA_GB_S.dollars
    return runs * (run + prices.LAMBDA_REQUEST.dollars)


def note_dollars() -> float:
    """The cost of 30 days in which a channel's health is noted as often as it can be."""
    note = NOTE_WRITE_UNITS * prices.DYNAMODB_WRITE.dollars + NOTE_READ_UNITS * prices.DYNAMODB_READ.dollars
    return 30 * 24 * 3600 / SERVED_EVERY_S * note


def paced_table(paced: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The worker's part of a million, by channel, beside that of a pace divided by lanes and workers."""
    heads = ("channel", "a second", "of the rate used", "bundles that go back", "Lambda $ before", "now", "ratio")
    rows = [
        [
            name.replace("_", " "),
            f"{each['rate_per_s']:g}",
            f"{each['of_the_rate']:.0%}",
            f"{each['hand_backs'] / FULL_BUNDLES:.1f} for each",
            f"{thousands(worker_dollars(each['before_worker_s'], FULL_BUNDLES)):.3f}",
            f"{thousands(worker_dollars(each['worker_s'], FULL_BUNDLES + each['hand_backs'])):.3f}",
            f"**{each['lambda_ratio']:.2f}**",
        ]
        for name, each in paced.items()
    ]
    return table(heads, rows)


def price_table() -> list[str]:
    rows = (f"| {price.dollars * MILLION:,.3f} | {price.unit} | {price.source} |" for price in prices.PRICES)
    return ["| dollars per million | of | stated at |", "|---|---|---|", *rows]


def document(text: str) -> str:
    """The text of docs/costs.md with the current tables."""
    return rewrite(text, "costs", tables(measured(exact=True)))


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description="Dollars per million notifications.")
    parser.add_argument("--exact", action="store_true", help="the counts that the tests assert, not build/bench.json")
    parser.add_argument("--write", action="store_true", help="the same, into docs/costs.md")
    arguments = parser.parse_args()
    given = measured(exact=arguments.exact or arguments.write)
    print(f"Counts: {given.counts_from}. CPU: {given.cpu_from}. Dollars are inferred from them.", file=sys.stderr)
    if arguments.write:
        DOCS.write_text(document(DOCS.read_text()))
    else:
        print("\n".join(tables(given)))


if __name__ == "__main__":
    main()
