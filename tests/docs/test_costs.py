"""docs/costs.md holds the output of `python -m benchmarks.cost --exact`, and the sums follow from the stated counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost, prices
from benchmarks.counts import LANES, WAYS, counts
from benchmarks.quotas import NIGHTS, QUOTAS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "costs.md"
EXACT = cost.measured(exact=True)
CPU = {
    "functions": {
        "producer_night": {"us": {"with_calls": {"median": 80}}},
        "consumer_night": {"us": {"with_calls": {"median": 70}}},
    },
    "release": {
        "one_run": {"cpu_ms_per_1000": 200},
        "sides": {"reference": {"cpu_ms_per_1000": {"median": 5000}}},
    },
}
"""The CPU in the form in which `make bench` writes it."""


def bench(**worse: float) -> dict[str, Any]:
    """The content of build/bench.json, with the exact counts but for `worse` at the scheduler in bulk."""
    paths: dict[str, Any] = {}
    for way, name in cost.BENCH_WAYS.items():
        paths[name] = {}
        for lane, lane_name in cost.BENCH_LANES.items():
            hops: dict[str, Any] = {}
            for hop_name, hop in counts(way, lane).items():
                hops[hop_name] = {
                    key: getattr(hop, key)
                    for key in ("sqs_calls", "sqs_units", "read_units", "ledger_read_units", "write_units", "turns")
                }
                if hop.poller_units:
                    hops[f"{hop_name}'s event source"] = {"sqs_units": hop.poller_units}
            paths[name][lane_name] = hops
    paths["bulk"]["night"]["scheduler"] |= worse
    return {"commit": "abc", "whole_path": paths}


def test_the_document_holds_the_tables_that_the_command_prints() -> None:
    assert "\n".join(cost.tables(EXACT)) in DOCS.read_text()
    assert cost.document(DOCS.read_text()) == DOCS.read_text()


def test_a_million_in_bulk_is_moved_for_the_price_of_its_units() -> None:
    bill = cost.hold_bills(EXACT)["this design, bulk"]
    assert bill["SQS"] == pytest.approx((7 + 15) * 1000 * prices.SQS_REQUEST.dollars)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lane", LANES)
def test_the_ledger_costs_three_write_units_whatever_the_way(way: Any, lane: Any) -> None:
    hops = counts(way, lane)
    bill = cost.path_bill(hops, EXACT, meets_rate=False)
    reads = 1000 * sum(hop.read_units + hop.ledger_read_units for hop in hops.values()) * prices.DYNAMODB_READ.dollars
    turns = 1000 * hops["worker"].turns * prices.DYNAMODB_WRITE.dollars
    assert bill["DynamoDB"] - reads - turns == pytest.approx(3e6 * prices.DYNAMODB_WRITE.dollars)


def test_full_bundles_that_meet_their_rate_pay_for_those_that_go_back() -> None:
    hops, paced = counts("bulk", "held"), EXACT.paced["webhook"]
    more = EXACT._replace(paced={cost.WEBHOOK_BY_DEFAULT: {**paced, "hand_backs": paced["hand_backs"] + 10}})
    some = EXACT._replace(paced={cost.WEBHOOK_BY_DEFAULT: paced})
    dearer, bill = cost.path_bill(hops, more), cost.path_bill(hops, some)
    # a send, a receive and a delete for each, and an invocation
    assert dearer["SQS"] - bill["SQS"] == pytest.approx(10 * 3 * 1000 * prices.SQS_REQUEST.dollars)
    assert dearer["Lambda"] - bill["Lambda"] == pytest.approx(10 * 1000 * prices.LAMBDA_REQUEST.dollars)
    worker_s = paced["worker_s"] - EXACT.paced[cost.WEBHOOK_BY_DEFAULT]["worker_s"]
    assert bill["Lambda"] > cost.path_bill(hops, EXACT)["Lambda"] and worker_s > 0
    assert cost.path_bill(counts("burst", "now"), more) == cost.path_bill(counts("burst", "now"), some)


def test_counts_and_cpu_are_those_of_the_last_run_where_it_has_them(tmp_path: Path) -> None:
    built = tmp_path / "bench.json"
    built.write_text(json.dumps(bench() | CPU | {"paced": EXACT.paced}))
    found = cost.measured(exact=False, built=built)
    assert found.cpu_us == {"producer": 80, "consumer": 70, "scheduler": 200, "the reference loop": 5000}
    assert (found.counts_from, found.cpu_from) == (f"{os.path.relpath(built, cost.ROOT)} of commit abc",) * 2

    same = found._replace(cpu_us=EXACT.cpu_us, cpu_from=EXACT.cpu_from)
    assert cost.tables(same) == cost.tables(EXACT)  # but for its CPU, this run counted what the tests assert
    dearer, exact = cost.hold_bills(found), cost.hold_bills(EXACT)
    for design in ("this design, bulk", "the reference loop"):
        assert dearer[design]["Lambda"] > exact[design]["Lambda"]
        assert dearer[design]["SQS"] == exact[design]["SQS"]

    built.write_text(json.dumps(bench(sqs_units=40) | CPU | {"paced": EXACT.paced}))
    found = cost.measured(exact=False, built=built)
    assert cost.hold_bills(found)["this design, bulk"]["SQS"] > cost.hold_bills(EXACT)["this design, bulk"]["SQS"]
    assert cost.measured(exact=True, built=built) == EXACT


@pytest.mark.parametrize("content", [None, {}, {"release": {}, "functions": {}}])
def test_what_the_last_run_has_not_measured_is_taken_from_what_is_committed(
    tmp_path: Path, content: dict[str, Any] | None
) -> None:
    built = tmp_path / "bench.json"
    if content is not None:
        built.write_text(json.dumps(content))
    assert cost.measured(exact=False, built=built) == EXACT
    assert EXACT.cpu_from.startswith("docs/benchmarks/bench.json of commit ")

    built.write_text(json.dumps(bench()))
    found = cost.measured(exact=False, built=built)
    assert found.whole_path == bench()["whole_path"] and found.cpu_us == EXACT.cpu_us
    assert (found.counts_from, found.cpu_from) == (f"{os.path.relpath(built, cost.ROOT)} of commit abc", EXACT.cpu_from)


def test_a_night_costs_each_design_as_many_times_as_much_as_it_has_millions() -> None:
    rows = {row.split(" | ")[0].strip("| "): row.strip("| ").split(" | ")[1:] for row in cost.night_bills(EXACT)}
    steps = rows["whole path: a Step Functions wait for each, held"]
    bill = cost.design_bills(EXACT)["a Step Functions wait for each, held"]
    assert [float(cell.replace(",", "")) for cell in steps] == pytest.approx(
        [sum(bill.values()) * millions for millions in (1, 10, 100)], abs=0.005
    )
    assert {name for name in rows if name.startswith("holding")} == {
        f"holding and releasing alone: {name}" for name in cost.hold_bills(EXACT)
    }


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
    bills = {name: sum(bill.values()) for name, bill in cost.hold_bills(EXACT).items()}
    assert {name: float(dollars) for name, dollars in said.items()} == {
        "the move, accepted in bulk": about(bills["this design, bulk"]),
        "the move, single sends of which the consumer gets ten at a time": about(bills["this design, burst"]),
        "the move, single sends one by one": about(bills["this design, trickle"]),
        "switching the mapping, in bulk": about(bills["switching the worker's mapping on wait, bulk"]),
        "delays of 15 minutes, in bulk": about(bills["delays of 15 minutes, bulk"]),
        "one schedule for each": about(bills["a schedule for each"]),
        "a Step Functions wait for each": about(bills["a Step Functions wait for each"]),
    }


def about(dollars: float) -> Any:
    """Allow a tenth: every full run measures the CPU anew, and a decision is not rewritten for so little."""
    return pytest.approx(dollars, rel=0.1)
