"""docs/costs.md says what `python -m benchmarks.cost --exact` prints, and the sums are those of the stated counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost, prices
from benchmarks.counts import LANES, WAYS, counts
from benchmarks.quotas import NIGHTS, QUOTAS
from simulation.forecast import Release

DOCS = Path(__file__).resolve().parent.parent / "docs" / "costs.md"
RELEASE = Release(cost.MILLION)


def bench(**worse: float) -> dict[str, Any]:
    """build/bench.json as `make bench` writes it, with the exact counts but for `worse` at the scheduler in bulk."""
    paths: dict[str, Any] = {}
    for way, name in cost.BENCH_WAYS.items():
        paths[name] = {}
        for lane, lane_name in cost.BENCH_LANES.items():
            hops: dict[str, Any] = {}
            for hop_name, hop in counts(way, lane).items():
                hops[hop_name] = {
                    key: getattr(hop, key) for key in ("sqs_calls", "sqs_units", "read_units", "write_units")
                }
                if hop.poller_units:
                    hops[f"{hop_name}'s event source"] = {"sqs_units": hop.poller_units}
            paths[name][lane_name] = hops
    paths["bulk"]["night"]["scheduler"] |= worse
    return {"commit": "abc", "whole_path": paths}


def test_the_document_holds_the_tables_that_the_command_prints() -> None:
    assert "\n".join(cost.tables(None)) in DOCS.read_text()


def test_a_million_in_bulk_is_moved_for_the_price_of_its_units() -> None:
    bill = cost.hold_bills(None)["this design, bulk"]
    assert bill["SQS"] == pytest.approx((7 + 15) * 1000 * prices.SQS_REQUEST.dollars)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lane", LANES)
def test_the_ledger_costs_three_write_units_whatever_the_way(way: Any, lane: Any) -> None:
    bill = cost.path_bill(counts(way, lane), RELEASE)
    reads = sum(hop.read_units for hop in counts(way, lane).values()) * 1000 * prices.DYNAMODB_READ.dollars
    assert bill["DynamoDB"] - reads == pytest.approx(3e6 * prices.DYNAMODB_WRITE.dollars)


def test_a_measurement_is_taken_where_there_is_one() -> None:
    assert cost.tables(bench()) == cost.tables(None)
    assert (
        cost.hold_bills(bench(sqs_units=40))["this design, bulk"]["SQS"]
        > cost.hold_bills(None)["this design, bulk"]["SQS"]
    )


@pytest.mark.parametrize("content", [None, "{}", '{"release": {}}'])
def test_without_a_whole_path_in_it_a_measurement_is_left_alone(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "bench.json"
    if content is not None:
        path.write_text(content)
    assert cost.read_bench(path) is None
    path.write_text(json.dumps(bench()))
    assert cost.read_bench(path) == bench()


def test_every_night_names_what_is_met_first_and_what_answers_it() -> None:
    rows = cost.quota_rows()[2:]
    assert len(rows) == len(QUOTAS)
    for column, night in enumerate(NIGHTS):
        (first,) = [row for row in rows if row.split(" | ")[2 + column].startswith("**")]
        most = max(quota.need(night) / quota.limit for quota in QUOTAS)
        (quota,) = [quota for quota in QUOTAS if quota.name in first]
        assert quota.need(night) / quota.limit == most
    assert all(quota.answer for quota in QUOTAS)


def test_the_decision_to_move_is_weighed_with_the_sums_that_the_command_prints() -> None:
    """docs/decisions/0004-why-move.md has a row for each way to hold, its dollars in the last column."""
    table = (DOCS.parent / "decisions" / "0004-why-move.md").read_text().partition("| $ per million |\n")[2]
    rows = [line for line in table.partition("\n\n")[0].splitlines() if not line.startswith("|---")]
    said = {row.split(" | ")[0].strip("| "): row.split(" | ")[-1].strip("| ") for row in rows}
    bills = {name: f"{sum(bill.values()):.3f}" for name, bill in cost.hold_bills(None).items()}
    assert said == {
        "the move, accepted in bulk": bills["this design, bulk"],
        "the move, single sends of which the consumer gets ten at a time": bills["this design, burst"],
        "the move, single sends one by one": bills["this design, trickle"],
        "switching the mapping, in bulk": bills["switching the worker's mapping on wait, bulk"],
        "delays of 15 minutes, in bulk": bills["delays of 15 minutes, bulk"],
        "one schedule for each": bills["a schedule for each"],
        "a Step Functions wait for each": bills["a Step Functions wait for each"],
    }
