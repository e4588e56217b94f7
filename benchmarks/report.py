"""Prints the table of targets: what was promised, what was measured, and if the promise holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class Bound(NamedTuple):
    """The condition that a promised figure has to meet, and its text."""

    holds: Callable[[float], bool]
    text: str


class Target(NamedTuple):
    """A promised figure: its name, its key in the JSON, and its bound."""

    name: str
    key: str
    bound: Bound


class Verdict(NamedTuple):
    """A row of the table of targets."""

    name: str
    measured: str
    promised: str
    verdict: str


def number(value: float) -> str:
    """Write a number with three digits, or with its thousands in groups."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def at_least(least: float) -> Bound:
    return Bound(lambda value: value >= least, f"≥ {number(least)}")


def at_most(most: float) -> Bound:
    return Bound(lambda value: value <= most, f"≤ {number(most)}")


TARGETS = (
    Target("release: wall time, reference over ours, 8 ms a call", "release.at_8ms.wall_ratio", at_least(250)),
    Target("release: CPU ms per 1,000", "release.cpu_ms_per_1000", at_most(14)),
    Target("release: calls per 1,000", "release.calls_per_1000", at_most(5)),
    Target("release: billed units over the bytes' limit", "release.units_over_limit", at_most(1.25)),
    Target("release: one run of 5 minutes moves", "release.one_run.notifications", at_least(7_000_000)),
    Target("release: CPU per 1,000, largest over smallest size", "release.cpu_growth", at_most(1.2)),
    Target("worker: CPU, Powertools over ours", "worker.ratio_to_powertools", at_least(5)),
    Target("worker: share of the ideal at 100 ms", "worker.share_of_ideal_at_100ms", at_least(0.9)),
    Target("consumer: CPU over one JSON round trip", "consumer_over_json", at_most(3)),
    Target("producer: CPU over one JSON round trip", "producer_over_json", at_most(5)),
    Target("cold start: producer over its clients and Logger", "cold_start_ratio.producer", at_most(1.3)),
    Target("cold start: worker over its clients and Logger", "cold_start_ratio.worker", at_most(1.3)),
    Target("isolation: p95 during a release over idle", "isolation_p95_ratio", at_most(2)),
    Target("urgent: p95 beside anything over idle", "urgent_worst.p95_ratio", at_most(2)),
    Target("urgent: p99 beside anything over idle", "urgent_worst.p99_ratio", at_most(2)),
    Target("urgent: p99 beside anything, seconds", "urgent_worst.p99_s", at_most(10)),
    Target("paced: Lambda dollars over before, webhook", "paced_lambda_ratio.webhook", at_most(0.45)),
    Target("paced: Lambda dollars over before, Kakao", "paced_lambda_ratio.kakao", at_most(0.3)),
    Target("ledger: write units, cannot be asked twice", "write_units_per_notification.dead_letter", at_most(3)),
    Target("release: what came singly over full bundles", "trickle_release_ratio", at_most(2)),
)


def value(result: dict[str, Any], key: str) -> Any:
    """The figure at a dotted key, or None where its family was not measured."""
    found: Any = result
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def spread_text(found: dict[str, float]) -> str:
    """Write a median, with the minimum and the maximum in brackets where they differ."""
    if found["min"] == found["max"]:
        return number(found["median"])
    return f"{number(found['median'])} ({number(found['min'])} to {number(found['max'])})"


def figure_text(result: dict[str, Any], key: str) -> str:
    """Write the figure at a dotted key, with its spread if it has one."""
    found = value(result, f"{key}_spread")
    return spread_text(found) if isinstance(found, dict) else number(value(result, key) or 0)


def rows(result: dict[str, Any]) -> Iterator[Verdict]:
    """The verdict on each target whose family was measured."""
    for target in TARGETS:
        measured = value(result, target.key)
        if measured is not None:
            verdict = "holds" if target.bound.holds(measured) else "missed"
            yield Verdict(target.name, figure_text(result, target.key), target.bound.text, verdict)


def show(result: dict[str, Any], console: Console) -> None:
    """Print the targets, then the other facts by family."""
    table = Table(title=f"Benchmarks of {result['commit']}" + (" (quick)" if result["quick"] else ""))
    for heading in ("figure", "measured", "promised", ""):
        table.add_column(heading, justify="right" if heading in ("measured", "promised") else "left")
    for row in rows(result):
        table.add_row(*row, style="" if row.verdict == "holds" else "bold")
    console.print(table)
    for line in facts(result):
        console.print(f"  {line}", highlight=False)


def facts(result: dict[str, Any]) -> Iterator[str]:
    """The figures without a target, one sentence each."""
    if (ratio := value(result, "release.wall_ratio")) is not None:
        yield (
            f"Release on the embedded AWS, whose own time is in both sides: wall time, reference over ours, "
            f"{number(ratio)}."
        )
    if run := value(result, "release.one_run"):
        yield (
            f"One scheduler run of 5 minutes on one vCPU moves {run['notifications'] / 1e6:.1f} million notifications "
            f"of 400 bytes: derived from the measured {run['cpu_ms_per_1000']:.1f} ms of CPU and "
            f"{run['calls_per_1000']:.1f} calls per 1,000, {1000 * run['call_s']:g} ms a call, {run['drainers']} "
            f"drainers, and the {run['seconds']} s before it stops."
        )
    for size, grown in (value(result, "release.growth") or {}).items():
        yield (
            f"Releasing {int(size):,}: {grown['wall_s']:.2f} s here, {grown['cpu_ms_per_1000']:.1f} ms of CPU, "
            f"{grown['calls_per_1000']:.2f} calls and {grown['units_per_1000']:.1f} units per 1,000."
        )
    if result.get("worker"):
        rates = (value(result, "worker.per_second_per_core"), value(result, "worker.per_second_per_core_many_a_call"))
        yield "Worker, notifications a second a core: {:,.0f} one a call, {:,.0f} a hundred a call.".format(*rates)
    if result.get("consumer_us"):
        yield f"Consumer {result['consumer_us']:.1f} µs, producer {result['producer_us']:.1f} µs a notification."
    if (redriven := result.get("redrive_per_second")) is not None:
        yield f"Redrive: {redriven:,.0f} letters a second here."
    if "cold_start" in result:
        each = ", ".join(
            f"{name} {ms:.0f}" for name, ms in (result["cold_start"] | result["cold_start_against"]).items()
        )
        yield f"Cold start, ms of CPU: {each}. Asset: {result['asset_bytes'] / 1e6:.1f} MB."
