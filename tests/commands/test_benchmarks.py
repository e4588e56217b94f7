"""The benchmarks: each side of a comparison does its stated work, and each figure measures what its name says."""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from benchmarks import __main__ as main
from benchmarks import (
    charts,
    cold_start,
    functions,
    isolation,
    lanes,
    ledger_units,
    redrive,
    release,
    report,
    scheduler_profile,
    whole_path,
    worker,
    worker_profile,
)
from benchmarks.latent_sqs import latent
from benchmarks.markdown import rewrite
from benchmarks.measure import counted, cpu_s, headline
from benchmarks.world import EVENING, MORNING, World, candidates, items, put
from lambdas import scheduler
from lambdas.quiet_hours.notification.bundle import Message, pack
from lambdas.quiet_hours.notification.notification import accept
from lambdas.quiet_hours.settings import Settings
from simulation.situations import SITUATIONS_OF_CODES
from simulation.stage import Waits
from tests.helpers.aws import dynamodb, settings, sqs, take

__all__ = ["dynamodb", "settings", "sqs"]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def world(sqs: Any, dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(scheduler, "POLL_S", 0)  # a release ends with a dozen long polls that find nothing
    monkeypatch.setattr(release, "for_scheduler", lambda world: world)  # moto knows the queues of one region
    return World(sqs, dynamodb, settings)


@pytest.fixture
def provider() -> Iterator[tuple[str, list[str]]]:
    """A provider's URL, and the ids that have reached it."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            got.extend(each["id"] for each in (body if isinstance(body, list) else [body]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
    server.server_close()


# --- what is sent


def test_every_notification_has_the_size_that_is_claimed_and_is_what_the_producer_would_send() -> None:
    made = list(items(12))
    assert {len(item.text.encode()) for item in made} == {400}
    assert len({item.id for item in made}) == 12
    for item, candidate in zip(made, candidates(12, prefix=made[0].id.partition(":")[0]), strict=True):
        assert (item.notification, item.text) == accept(candidate, default_id="", now=EVENING)


# --- the release


@pytest.mark.parametrize("side", ["reference", "scheduler"])
def test_each_side_moves_all_that_is_held_and_leaves_nothing(world: World, side: str) -> None:
    held = 250 if side == "scheduler" else 25  # moto takes long over each of the loop's sends
    given = list(items(held))
    bodies = [message.body for message in pack(given)] if side == "scheduler" else [item.text for item in given]
    put(world.sqs, world.settings.wait_queue_url, [Message(body) for body in bodies])

    if side == "scheduler":
        moved = release.scheduler(world)
    else:
        moved = release.reference_loop(world.sqs, world.settings.wait_queue_url, world.settings.schedule_queue_url)

    assert moved == held
    arrived = [message["Body"] for message in take(world.sqs, world.settings.schedule_queue_url)]
    decoded = arrived if side == "scheduler" else [json.loads(body) for body in arrived]
    assert sorted(decoded) == sorted(bodies)
    assert not take(world.sqs, world.settings.wait_queue_url)


def test_the_calls_of_a_release_are_exact_and_empty_receives_are_apart(world: World) -> None:
    put(world.sqs, world.settings.wait_queue_url, pack(items(2_000)))
    with counted(world.sqs) as calls:
        release.scheduler(world)
    figures = release.figures(calls, 2_000)

    assert figures["calls_per_1000"] == 3  # twenty bundles: two receives, two sends, two deletes
    assert figures["units_per_1000"] == 15  # 400 KB are seven units, sent and received twice, and two deletes
    assert figures["units_limit_per_1000"] == 14  # 800 KB are thirteen units each way
    assert figures["empty_receives"] == len(calls) - 6 > 0


def test_a_loss_is_an_error_and_not_a_figure(world: World) -> None:
    put(world.sqs, world.settings.wait_queue_url, pack(items(100)))
    with counted(world.sqs) as calls:
        moved = release.scheduler(world)
    with pytest.raises(RuntimeError, match="100 notifications were moved instead of 101"):
        release._check(world, moved, 101, [], calls, str)
    with pytest.raises(RuntimeError, match="not what was held"):
        release._check(world, moved, 100, ["another"], calls, str)


@pytest.mark.parametrize(("side", "calls"), [("reference", 3 * 2 + 25 - 1), ("scheduler", 3)])
def test_against_the_stub_each_call_takes_the_stated_time(side: str, calls: int) -> None:
    with latent(20) as world:
        figures = release.run(world, 25, side)
    assert figures["calls_per_1000"] == 1000 / 25 * (3 * 2 + 25 if side == "reference" else 3)
    assert figures["wall_s"] >= calls * 0.02
    assert min(figures[name] for name in figures if name.endswith("_ms")) >= 20


def test_what_one_run_moves_follows_from_its_cpu_and_its_calls() -> None:
    waiting = release.one_run([10], [3])  # 60 ms of calls and 10 of CPU, four side by side: 17.5 ms for each thousand
    assert waiting["notifications"] == pytest.approx(1000 * 240 / 0.0175)
    busy = release.one_run([100], [3])  # 100 ms of CPU cannot be shared
    assert busy["notifications"] == pytest.approx(1000 * 240 / 0.1)


def test_every_part_of_a_release_is_timed_once_and_they_are_less_than_all_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "HELD", 300)
    profile = scheduler_profile.one_release(world)
    found = profile.parts

    assert [call.operation for call in profile.calls] == ["ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch"]
    parts = (*scheduler_profile.PARTS, scheduler_profile.OWN, scheduler_profile.REST)
    # moto answers before a request is signed and sent (tests/helpers/cheap_moto.py)
    assert {part for part in parts if found[part].cpu_s <= 0} == {scheduler_profile.WIRE, "botocore signing"}
    assert sum(found[part].wall_s for part in parts) == pytest.approx(found[scheduler_profile.ALL].wall_s)


# --- the worker


@pytest.mark.parametrize("channel", [worker.webhook, worker.ManyACall])
def test_the_worker_delivers_each_notification_once(
    world: World, provider: tuple[str, list[str]], channel: Any
) -> None:
    url, got = provider
    (bundle,) = pack(items(60))
    worker.deliver(world, bundle, channel(url))
    assert sorted(got) == sorted(item.id for item in bundle.items)
    with pytest.raises(RuntimeError, match="absorbed"):  # a bundle that was delivered before would look cheap
        worker.deliver(world, bundle, channel(url))
    assert len(got) == 60


def test_powertools_delivers_each_notification_once(world: World, provider: tuple[str, list[str]]) -> None:
    url, got = provider
    messages = [Message(item.text) for item in items(5)]
    invoke = worker.with_powertools(world, worker.webhook(url))
    invoke(messages)
    assert len(set(got)) == len(got) == 5
    invoke(messages)
    assert len(got) == 5  # its records are in the ledger's table
    assert world.dynamodb.scan(TableName="ledger")["Count"] == 5


def test_the_timeline_of_a_bundle_is_that_of_its_calls(world: World, provider: tuple[str, list[str]]) -> None:
    noted = worker_profile.timeline(world, provider[0])

    assert len(set(provider[1])) == len(noted[worker_profile.CALLS]) == 100
    (whole,) = noted["all of it"]
    assert all(0 <= step.began < step.ended <= whole.ended for steps in noted.values() for step in steps)
    first = {name: min(steps) for name, steps in noted.items()}
    *before, last = worker_profile.TABLE_CALLS
    in_order = [*before, worker_profile.CALLS, last]
    assert sorted(in_order, key=lambda name: first[name]) == in_order
    once = ("reading the ledger", "reading consents", "claiming")
    assert {name: len(noted[name]) for name in (*once, "recording")} == {**dict.fromkeys(once, 1), "recording": 4}


# --- the whole path


@pytest.mark.parametrize(
    ("way", "lane", "sqs_calls", "table_calls"),
    [
        ("bulk", "day", 1 + 2 + 1 + 4, 2 * 8),
        ("bulk", "night", 1 + 2 + 1 + 3 + 4, 2 + 2 + 2 * 8),
        ("single_trickle", "day", None, None),
    ],
)
def test_the_path_is_counted_by_hop(
    world: World,
    provider: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    lane: str,
    sqs_calls: int | None,
    table_calls: int | None,
) -> None:
    monkeypatch.setattr(World, "new_queues", lambda self: self)
    size = 200 if way == "bulk" else 3
    figures = whole_path.travel(world, way, lane, size, provider[0])

    assert len(set(provider[1])) == size
    total = figures["total"]
    if way == "bulk":
        assert (total["sqs_calls"] * size / 1000, total["table_calls"] * size / 1000) == (sqs_calls, table_calls)
        assert ("scheduler" in figures) == (lane == "night")
    else:  # a send, a receive, a send, a receive and two deletes, for each by itself
        assert total["sqs_calls"] == 6000
    assert total["write_units"] == 3000  # 2 for a claim in a transaction, 1 for the delivery
    assert figures["worker"]["read_units"] == figures["worker"]["ledger_read_units"] == 1000
    assert total["turns"] == (10 if way == "bulk" else 1000)


# --- consumer, producer, cold start


@pytest.mark.parametrize("parts_of", [functions.consumer, functions.producer])
@pytest.mark.parametrize("now", [EVENING, MORNING])
def test_every_part_of_a_function_can_be_measured_by_itself(world: World, parts_of: Any, now: Any) -> None:
    parts = parts_of(world, now)
    for name in parts.keys() - {"with_calls"}:
        parts[name]()
    assert {"json", "parse", "judge", "pack", "without_calls", "with_calls"} == parts.keys()


def test_every_function_with_a_handler_has_its_cold_start_measured() -> None:
    assert {"producer", "consumer", "scheduler", "worker"} <= set(cold_start.functions(ROOT))


@pytest.mark.parametrize("name", cold_start.CLIENTS)
def test_a_function_is_compared_with_the_clients_that_it_makes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"lambdas.{name}")
    made: list[str] = []

    def make(service: str, **_: Any) -> object:
        made.append(service)
        return object()

    monkeypatch.setattr(boto3, "client", make)
    module._clients.__wrapped__()
    assert tuple(made) == cold_start.CLIENTS[name]


# --- the JSON, the table and the charts


PROMISED = {
    "release": (
        *("release.wall_ratio", "release.cpu_ratio", "release.calls_per_1000", "release.units_per_1000"),
        *("release.units_limit_per_1000", "release.units_over_limit", "release.cpu_ms_per_1000"),
        *("release.at_8ms.wall_ratio", "release.at_8ms.reference_wall_s", "release.at_8ms.scheduler_wall_s"),
    ),
    "worker": ("worker.ratio_to_powertools", "worker.per_second_per_core", "worker.share_of_ideal_at_100ms"),
    "functions": ("consumer_over_json", "consumer_us", "producer_over_json", "producer_us"),
    "isolation": ("isolation_p95_ratio",),
}
"""The published figures by family. Each is a number with its spread beside it."""


def assert_published(result: dict[str, Any], family: str) -> None:
    for key in PROMISED[family]:
        found = report.value(result, f"{key}_spread")
        assert found["min"] <= found["median"] == report.value(result, key) <= found["max"], key
    for target in report.TARGETS:
        if target.key.partition(".")[0] == family or target.key in PROMISED[family]:
            assert report.value(result, target.key) is not None, target.key


@pytest.fixture
def quick(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Measure a family's part of the JSON as in a quick run, but on moto."""
    monkeypatch.setattr(main, "embedded", lambda: nullcontext(world))
    monkeypatch.setattr(World, "new_queues", lambda self: self)
    monkeypatch.setattr(World, "drop_queues", lambda self: None)
    return lambda family: main.families(quick=True)[family](lambda _: None)


def test_the_run_that_the_documentation_shows_has_every_family_and_says_what_it_ran_on() -> None:
    assert example().keys() >= {"release", "whole_path", "worker", "functions", "cold_start", "isolation"}
    assert example().keys() >= {"isolation_p95_ratio", "consumer_over_json", "producer_over_json", "asset_bytes"}
    assert example().keys() >= {"urgent", "paced_lambda_ratio", "write_units_per_notification"}
    assert example().keys() >= {"redrive_per_second", "trickle_release_ratio"}
    assert example().keys() >= {"commit", "machine", "at", "quick"}


def test_the_release_is_measured_under_its_keys(
    quick: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "HELD", 20)
    monkeypatch.setattr(
        release, "in_threads", worker_profile.one_after_another
    )  # moto gives one message to two threads
    result = quick("release")
    assert_published(result, "release")
    measured = result["release"]

    assert measured["calls_per_1000"] == 150 and measured["sides"]["reference"]["calls_per_1000"]["median"] == 1200
    assert measured["at_8ms"]["reference_wall_s"] >= 24 * 0.008  # two receives, twenty sends, two deletes
    assert measured["at_8ms"]["scheduler_wall_s"] >= 3 * 0.008
    for grown in measured["growth"].values():
        assert {"wall_s", "cpu_ms_per_1000", "calls_per_1000"} <= grown.keys()
        assert grown["calls_per_1000_spread"]["median"] == grown["calls_per_1000"] == 3


def test_the_worker_is_measured_under_its_keys(
    quick: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BUNDLE", 8)
    result = quick("worker")
    assert_published(result, "worker")

    assert result["worker"]["ways"].keys() == charts.WORKER_WAYS.keys()
    assert result["worker"]["ways"]["powertools"]["table_calls_per_1000"]["median"] == 2000


def test_the_consumer_and_the_producer_are_measured_under_their_keys_and_the_worse_hour_is_published(
    quick: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "NOTIFICATIONS", 100)
    monkeypatch.setattr(functions, "cpu_s", lambda part: cpu_s(part, at_least_s=1e-3))  # once is enough here
    result = quick("functions")
    assert_published(result, "functions")

    for name in ("consumer", "producer"):
        hours = [result["functions"][f"{name}_{hour}"]["over_json"]["median"] for hour in ("night", "day")]
        assert result[f"{name}_over_json"] == max(hours)


def test_the_cold_start_is_measured_under_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "functions", lambda root: ["worker"])  # a second of CPU for each
    monkeypatch.setattr(cold_start, "CLIENTS", {"worker": cold_start.CLIENTS["worker"]})
    result = main.families(quick=True)["cold_start"](lambda _: None)
    assert result["cold_start"]["worker"] > result["cold_start_against"][cold_start.BARE] > 0
    names = result["cold_start"].keys() | result["cold_start_against"].keys()
    assert result["cold_start_spread"].keys() == result["cold_start_from_source_spread"].keys() == names
    least_ms = result["cold_start_against"][cold_start.least("worker")]
    assert result["cold_start_ratio"]["worker"] == pytest.approx(result["cold_start"]["worker"] / least_ms)
    assert result["cold_start_ratio_from_source"].keys() == {"worker", "worker_spread"}
    assert result["asset_bytes"] > result["asset_zip_bytes"] > 0


def test_the_isolation_is_written_under_its_keys_by_rounds() -> None:
    rounds = [
        isolation.Round(idle=[10.0] * 20, first=[900.0], during=[10.0] * 18 + [slow] * 2) for slow in (15.0, 30.0, 20.0)
    ]
    result = isolation.figures(100_000, rounds, isolation.Codes([20_000.0] * 5, missing=5), shared_wait_s=20)
    assert_published(result, "isolation")

    assert result["isolation_p95_ratio"] == 2 and result["isolation_p95_ratio_spread"]["max"] == 3
    during, shared = result["isolation"]["during_release"], result["isolation"]["one_shared_lane"]
    assert (during["codes"], during["p95_ms"], during["slowest_of_first_codes_ms"]) == (60, 20, 900)
    assert (shared["codes"], shared["not_arrived"], shared["behind_s"]) == (5, 5, 1250)


def test_codes_are_compared_with_an_idle_system() -> None:
    figures = lanes.urgent_figures(Waits(60, 3.0, 4.0, 9.0), Waits(60, 2.0, 1.0, 5.0))
    assert (figures["p95_ratio"], figures["p99_ratio"], figures["p99_s"]) == (1.5, 4.0, 4.0)
    assert set(lanes.QUICK_SITUATIONS) < SITUATIONS_OF_CODES.keys() - {lanes.IDLE}

    slow = lanes.urgent_figures(Waits(1, 50.0, 50.0, 50.0), Waits(60, 2.0, 1.0, 5.0))
    by_name = {"another": figures, "one more": figures | {"p99_s": 5.0}, lanes.BY_PLAIN_SQS: slow}
    assert lanes.worst(by_name) == {"p95_ratio": 1.5, "p99_ratio": 4.0, "p99_s": 5.0}
    assert lanes.BY_PLAIN_SQS in SITUATIONS_OF_CODES


def test_a_backlog_that_meets_its_rate_costs_less_than_before_and_its_hand_backs_count() -> None:
    found = lanes.paced("kakao", lanes.REAL_KINDS, 60.0)
    assert found["rate_per_s"] == 100 and 0.95 <= found["of_the_rate"] <= 1.02
    assert found["before_worker_s"] == 40  # four workers, each of which took 25 a second
    assert found["hand_backs"] > 0 and found["looked_at"] > 1000
    assert found["turn_writes"] > found["invocations"] - found["hand_backs"]
    seconds_alone = found["worker_s"] / found["before_worker_s"]
    assert seconds_alone < found["lambda_ratio"] <= 0.3


def test_the_ledgers_units_are_counted_by_the_rule_for_unknown_outcomes(world: World) -> None:
    measured = ledger_units.measure(world)
    assert measured == {"write_units_per_notification": {"keyed": 3, "resend": 3, "dead_letter": 3}}


def test_a_redrive_is_measured_under_its_keys(world: World) -> None:
    found = redrive.measure(world, 120)
    assert found["letters"] == 120 and found["bundles"] == 2
    assert found["redrive_per_second"] == pytest.approx(120 / found["seconds"])
    assert found["calls_per_1000"]["TransactWriteItems"] == pytest.approx(2 * 1000 / 120)


def test_a_ratio_is_the_median_of_the_ratios_of_its_pairs() -> None:
    found = headline(ratio=[a / b for a, b in [(8.0, 2.0), (9.0, 1.0), (10.0, 2.0)]])
    assert found == {"ratio": 5, "ratio_spread": {"median": 5, "min": 4, "max": 9}}


def test_a_family_that_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(_: Any) -> dict[str, Any]:
        raise RuntimeError("nothing is delivered")

    both = {"worker": fails, "cold_start": lambda _: {"asset_bytes": 4_400_000}}
    monkeypatch.setattr(main, "families", lambda quick: both)
    monkeypatch.setattr(main, "RESULT", tmp_path / "bench.json")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    with pytest.raises(SystemExit, match="Not measured: worker: nothing is delivered"):
        main.main()
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["asset_bytes"] == 4_400_000 and written["quick"]
    assert written["commit"] and written["machine"]["cores"]

    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "worker"])
    both["worker"] = lambda _: {"worker": {}}
    main.main()
    assert json.loads((tmp_path / "bench.json").read_text())["asset_bytes"] == 4_400_000


def test_a_missed_target_is_said_to_be_missed() -> None:
    result = example()
    result["worker"]["ratio_to_powertools"] = 4.9
    result["consumer_over_json"] = 2.9
    verdicts = {row.name: row.verdict for row in report.rows(result)}
    assert verdicts["worker: CPU, Powertools over ours"] == "missed"
    assert verdicts["consumer: CPU over one JSON round trip"] == "holds"


def test_charts_and_tables_are_drawn_from_the_json() -> None:
    result = example()
    for chart in charts.CHARTS.values():
        assert chart.family in result
        assert re.fullmatch(r"<svg .*</svg>\n", chart.draw(result), re.DOTALL)
    readme = (ROOT / "docs" / "benchmarks" / "README.md").read_text()
    tables = charts.tables(result)
    for name, lines in tables.items():
        readme = rewrite(readme, name, lines)
    assert set(re.findall(r"<!-- (?!end)([a-z-]+) -->", readme)) == tables.keys()


def test_a_family_that_was_not_measured_is_left_alone() -> None:
    result = {name: figure for name, figure in example().items() if name not in ("release", "isolation")}
    names = charts.tables(result).keys()
    assert "release" not in names and "isolation" not in names and "worker" in names


def example() -> dict[str, Any]:
    """The figures of the run that the documentation shows."""
    return json.loads((ROOT / "docs" / "benchmarks" / "bench.json").read_text())
