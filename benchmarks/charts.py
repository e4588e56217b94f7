"""`python -m benchmarks.charts [FILE]`: draws the charts and tables of docs/benchmarks from build/bench.json.

The tables stand in its README between `<!-- NAME -->` and `<!-- end -->`. The rest of the page is left as it is. The
command also copies the figures to docs/benchmarks/bench.json, and rewrites docs/costs.md, which takes the CPU from
there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from local import BUILD, ROOT

from . import cost, report
from .cold_start import CLIENTS
from .markdown import COLUMNS, rewrite, table
from .report import figure_text, number, spread_text
from .svg import Row, bars

DOCS = ROOT / "docs" / "benchmarks"
Result = dict[str, Any]
PARTS = ("parse", "judge", "pack", "calls")
WORKER_WAYS = {
    "one_a_call": "worker, one a call",
    "many_a_call": "worker, a hundred a call",
    "powertools": "Powertools, one after another",
    "one_a_call_100ms": "worker, one a call, 100 ms",
    "many_a_call_100ms": "worker, a hundred a call, 100 ms",
}
HOPS = ("producer", "consumer's event source", "consumer", "scheduler", "worker's event source", "worker")


def release_chart(result: Result) -> str:
    sides = result["release"]["sides"]
    rows = [
        Row(name, [sides[side]["wall_s"]["median"]], f"{sides[side]['wall_s']['median']:.3g} s")
        for side, name in (("reference", "the published loop"), ("scheduler", "the scheduler"))
    ]
    return bars(
        f"Releasing {result['release']['held']:,} notifications of 400 bytes",
        f"Wall time to the last one moved, one embedded AWS; ratio {result['release']['wall_ratio']:.0f}",
        rows,
    )


def growth_chart(result: Result) -> str:
    sizes = result["release"]["growth"]
    rows = [
        Row(
            f"{int(size):,}",
            [each["cpu_ms_per_1000"]],
            f"{each['cpu_ms_per_1000']:.1f} ms, {each['calls_per_1000']:.1f} calls",
        )
        for size, each in sizes.items()
    ]
    return bars("What a release costs as it grows", "CPU of the scheduler, ms for each 1,000; calls beside it", rows)


def whole_path_chart(result: Result) -> str:
    rows = [
        Row(
            f"{way.replace('_', ' ')}, {lane}",
            [
                found[lane].get(hop, {}).get("sqs_calls", 0) + found[lane].get(hop, {}).get("table_calls", 0)
                for hop in HOPS
            ],
            number(found[lane]["total"]["sqs_calls"] + found[lane]["total"]["table_calls"]),
        )
        for way, found in result["whole_path"].items()
        for lane in ("day", "night")
    ]
    return bars(
        "Calls from acceptance to delivery", "SQS and DynamoDB calls for each 1,000 notifications, by hop", rows, HOPS
    )


def worker_chart(result: Result) -> str:
    ways = result["worker"]["ways"]
    rows = [
        Row(
            name,
            [ways[way]["cpu_ms_per_notification"]["median"]],
            f"{ways[way]['cpu_ms_per_notification']['median']:.2f} ms",
        )
        for way, name in WORKER_WAYS.items()
    ]
    return bars(
        "What the worker costs", "CPU for each notification, the ledger's calls and the provider's included", rows
    )


def functions_chart(result: Result) -> str:
    rows = []
    for name in ("consumer", "producer"):
        for hour in ("night", "day"):
            us = result["functions"][f"{name}_{hour}"]["us"]
            parts = [max(0.0, us[part]["median"]) for part in PARTS]
            rows.append(Row(f"{name}, {hour}", parts, f"{sum(parts):.1f} µs"))
        json_us = result["functions"][f"{name}_night"]["us"]["json"]["median"]
        rows.append(Row(f"JSON, {name}'s bytes", [json_us], f"{json_us:.1f} µs"))
    return bars("Consumer and producer", "CPU for each notification, by part, against one JSON round trip", rows, PARTS)


def cold_start_chart(result: Result) -> str:
    found = result["cold_start_against"] | result["cold_start"]
    rows = [Row(name, [ms], f"{ms:.0f} ms") for name, ms in sorted(found.items(), key=lambda each: float(each[1]))]
    return bars("Cold start", "CPU from the start of a process to a function that is ready", rows)


def isolation_chart(result: Result) -> str:
    names = {"idle": "idle", "during_release": "during the release", "one_shared_lane": "with one shared lane"}
    rows = []
    for key, name in names.items():
        each = result["isolation"][key]
        least = "more than " if each["not_arrived"] else ""
        rows.append(Row(name, [each["p95_ms"]], f"{least}{each['p95_ms']:,.0f} ms"))
    subtitle = f"95th percentile from send to provider while {result['isolation']['released']:,} others are released"
    return bars("A password code during a release", subtitle, rows)


class Chart(NamedTuple):
    """A chart of the page: the family of figures that it needs, and the function that draws it as SVG."""

    family: str
    draw: Callable[[Result], str]


CHARTS = {
    "release": Chart("release", release_chart),
    "growth": Chart("release", growth_chart),
    "whole-path": Chart("whole_path", whole_path_chart),
    "worker": Chart("worker", worker_chart),
    "functions": Chart("functions", functions_chart),
    "cold-start": Chart("cold_start", cold_start_chart),
    "isolation": Chart("isolation", isolation_chart),
}
"""Each chart by the name of its file."""


def run_lines(result: Result) -> list[str]:
    machine = result["machine"]
    run = (
        f"Commit `{result['commit']}`, {result['at'][:10]}, {'quick' if result['quick'] else 'full'} run; "
        f"{machine['cores']} cores ({machine['processor']}), load {machine['load_average']:.1f} at the "
        f"start, Python {machine['python']}."
    )
    return wrap(run, COLUMNS)


def targets_table(result: Result) -> list[str]:
    return table(("figure", "measured", "promised", ""), report.rows(result))


def release_table(result: Result) -> list[str]:
    sides = result["release"]["sides"]
    names = {
        "wall_s": "wall s",
        "cpu_ms_per_1000": "CPU ms per 1,000",
        "calls_per_1000": "calls per 1,000",
        "units_per_1000": "billed units per 1,000",
        "units_limit_per_1000": "units that its bytes and deletes need",
        "empty_receives": "empty receives, apart",
    }
    rows = [
        [name, *(spread_text(sides[side][key]) for side in ("reference", "scheduler"))] for key, name in names.items()
    ]
    at_8ms = [figure_text(result, f"release.at_8ms.{side}_wall_s") for side in ("reference", "scheduler")]
    rows += [
        ["wall s, 8 ms a call", *at_8ms],
        ["**ratio of wall time, 8 ms a call**", "", figure_text(result, "release.at_8ms.wall_ratio")],
        ["ratio of wall time, embedded AWS", "", figure_text(result, "release.wall_ratio")],
    ]
    return table(("moving 2,000", "the published loop", "the scheduler"), rows)


def growth_table(result: Result) -> list[str]:
    keys = ("wall_s", "cpu_ms_per_1000", "calls_per_1000", "units_per_1000")
    rows = (
        [f"{int(size):,}", *(figure_text(each, key) for key in keys)]
        for size, each in result["release"]["growth"].items()
    )
    return table(("notifications", "wall s", "CPU ms per 1,000", "calls per 1,000", "units per 1,000"), rows)


def one_run_lines(result: Result) -> list[str]:
    return wrap(next(report.facts({"release": {"one_run": result["release"]["one_run"]}})), COLUMNS)


COUNTED = {
    "sqs_calls": "SQS calls",
    "sqs_units": "SQS units",
    "table_calls": "table calls",
    "read_units": "consent read units",
    "ledger_read_units": "ledger read units",
    "write_units": "ledger write units",
    "turns": "turn write units",
}
"""What is counted of each hop, and its heading."""


def whole_path_table(result: Result) -> list[str]:
    rows = (
        [way.replace("_", " "), lane, *(number(found[lane]["total"][key]) for key in COUNTED)]
        for way, found in result["whole_path"].items()
        for lane in ("day", "night")
    )
    return table(("per 1,000", "lane", *COUNTED.values()), rows)


def bulk_night_table(result: Result) -> list[str]:
    hops = result["whole_path"]["bulk"]["night"]
    rows = ([hop, *(number(found[key]) for key in COUNTED)] for hop, found in hops.items())
    return table(("bulk, night, per 1,000", *COUNTED.values()), rows)


def worker_table(result: Result) -> list[str]:
    ways = result["worker"]["ways"]
    keys = ("cpu_ms_per_notification", "wall_ms_per_notification", "table_calls_per_1000")
    rows = ([name, *(spread_text(ways[way][key]) for key in keys)] for way, name in WORKER_WAYS.items())
    return table(("", "CPU ms a notification", "wall ms a notification", "table calls per 1,000"), rows)


def functions_table(result: Result) -> list[str]:
    headings = ("µs a notification", "JSON round trip", "parse", "judge", "pack", "rest", "calls")
    columns = ("json", "parse", "judge", "pack", "rest", "calls", "without_calls")
    measured = {name: each for name, each in result["functions"].items() if isinstance(each, dict)}
    rows = (
        [
            name.replace("_", ", "),
            *(number(each["us"][column]["median"]) for column in columns),
            spread_text(each["over_json"]),
        ]
        for name, each in measured.items()
    )
    return table((*headings, "all but calls", "over JSON"), rows)


def cold_start_table(result: Result) -> list[str]:
    of_source = result["cold_start_from_source_spread"]
    rows = [[name, *map(spread_text, (each, of_source[name]))] for name, each in result["cold_start_spread"].items()]
    for name in CLIENTS:
        keys = (f"cold_start_ratio.{name}", f"cold_start_ratio_from_source.{name}")
        rows.append([f"**{name} over its clients and Logger**", *(figure_text(result, key) for key in keys)])
    return table(("CPU ms", "byte code in the asset", "none"), rows)


def isolation_table(result: Result) -> list[str]:
    names = {"idle": "idle", "during_release": "during the release", "one_shared_lane": "one shared lane"}
    keys = ("codes", "median_ms", "p95_ms", "not_arrived")
    rows = ([name, *(figure_text(result["isolation"][which], key) for key in keys)] for which, name in names.items())
    return table(("", "codes", "median ms", "p95 ms", "not arrived in time"), rows)


def urgent_table(result: Result) -> list[str]:
    keys = ("p95_s", "p99_s", "p95_ratio", "p99_ratio")
    rows = ([name, *(number(each[key]) for key in keys)] for name, each in result["urgent"].items())
    return table(("beside", "p95 s", "p99 s", "p95 over idle", "p99 over idle"), rows)


def paced_table(result: Result) -> list[str]:
    return cost.paced_table(result["paced"])


def ledger_table(result: Result) -> list[str]:
    units = result["write_units_per_notification"]
    rows = [[rule.replace("_", " "), number(each)] for rule, each in units.items()]
    return table(("rule for an unknown outcome", "ledger write units a notification"), rows)


def redrive_lines(result: Result) -> list[str]:
    redriven = result["redrive"]
    calls = ", ".join(f"{number(each)} {name}" for name, each in redriven["calls_per_1000"].items())
    return wrap(
        f"{redriven['letters']:,} letters in {redriven['seconds']:.0f} s: {number(redriven['redrive_per_second'])} a "
        f"second, in {redriven['bundles']:,} bundles. For 1,000 letters: {1000 * redriven['cpu_s_per_1000']:.0f} ms of "
        f"CPU, and the calls {calls}.",
        COLUMNS,
    )


class Block(NamedTuple):
    """A table or paragraph of the page: the family that it needs, if any, and the function that writes its lines."""

    family: str | None
    write: Callable[[Result], list[str]]


BLOCKS = {
    "run": Block(None, run_lines),
    "targets": Block(None, targets_table),
    "release": Block("release", release_table),
    "growth": Block("release", growth_table),
    "one-run": Block("release", one_run_lines),
    "whole-path": Block("whole_path", whole_path_table),
    "bulk-night": Block("whole_path", bulk_night_table),
    "worker": Block("worker", worker_table),
    "functions": Block("functions", functions_table),
    "cold-start": Block("cold_start", cold_start_table),
    "isolation": Block("isolation", isolation_table),
    "urgent": Block("urgent", urgent_table),
    "paced": Block("paced", paced_table),
    "ledger": Block("write_units_per_notification", ledger_table),
    "redrive": Block("redrive", redrive_lines),
}
"""Each block by the name in its marks."""


def tables(result: Result) -> dict[str, list[str]]:
    """The lines of each block whose family was measured, by the name in its marks."""
    return {
        name: block.write(result) for name, block in BLOCKS.items() if block.family is None or block.family in result
    }


def main() -> None:
    """Draw the families that were measured."""
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD / "bench.json"
    if not source.exists():
        sys.exit(f"{source} does not exist: `make bench` writes it.")
    result = json.loads(source.read_text())
    drawn = {name: chart for name, chart in CHARTS.items() if chart.family in result}
    for name, chart in drawn.items():
        (DOCS / f"{name}.svg").write_text(chart.draw(result))
    (DOCS / "bench.json").write_text(source.read_text())
    readme = DOCS / "README.md"
    text = readme.read_text()
    for name, lines in tables(result).items():
        text = rewrite(text, name, lines)
    readme.write_text(text)
    if {"functions", "release", "paced"} <= result.keys():
        cost.DOCS.write_text(cost.document(cost.DOCS.read_text()))
    print(f"Drawn in {DOCS.relative_to(ROOT)}: {', '.join(drawn)}; and the tables of its README.")


if __name__ == "__main__":
    main()
