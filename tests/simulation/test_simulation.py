"""The promises over simulated nights with faults, and the planted mistakes that these nights find."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from infra import queues
from lambdas.quiet_hours.notification.bundle import BUNDLE_BYTES_MAX
from simulation import __main__ as command
from simulation import exhaustive, night, runner, topology
from simulation.planted import CAUGHT_BY_SEED, PLANTS, SEEDS_MAX
from simulation.planting import Plant, delivery
from simulation.runner import Nights

ROOT = Path(__file__).parent.parent.parent
SEEDS = 500
PARTS = 20
PARTS_OF_MAKE_TEST = 10
"""`make test` plays half of the seeds, `make test-slow` the others."""

BEYOND_SEEDS = 40
RATE = "nights_per_second_per_core"


@cache
def _part(part: int) -> Nights:
    return runner.nights(range(part, SEEDS, PARTS))


PART_0 = pytest.mark.xdist_group("part 0")
"""The tests that look at part 0 share a process, so that it is played once."""


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(0, marks=PART_0),
        *range(1, PARTS_OF_MAKE_TEST),
        *(pytest.param(part, marks=pytest.mark.slow) for part in range(PARTS_OF_MAKE_TEST, PARTS)),
    ],
)
def test_nights_with_faults_break_no_promise(part: int) -> None:
    """500 seeds in all. A failure names the seed, and `make nights SEED=… TRACE=1` shows what happened."""
    assert _part(part).violations == []


@PART_0
def test_the_nights_have_every_fault_and_every_ending() -> None:
    played = _part(0)
    hit = {kind for kind, number in played.faults.items() if number}
    assert {"error_before", "error_after", "partial", "die_before", "die_after", "poison", "redrive", "cancel"} <= hit
    assert {"trigger_missed", "trigger_late", "trigger_twice", "duplicate_delivery", "lane_blocked"} <= hit
    assert set(played.endings) == {
        "delivered",
        "expired",
        "cancelled",
        "opted_out",
        "superseded",
        "not_in_allow_list",
        "dead_lettered",
        "unknown",
    }


def test_on_one_night_in_ten_nothing_fails_and_the_release_is_timed() -> None:
    calm = [seed for seed in range(200) if night.Night(seed).plan.calm]
    assert len(calm) >= 20
    failed = {kind for seed in calm[:10] for kind, number in night.run(seed).faults.items() if number}
    assert failed <= {"client_duplicate"}


@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_before_or_after_any_call_breaks_no_promise(part: int) -> None:
    points = list(exhaustive.points())
    assert len(points) > 200
    assert runner.crashes(points[part::PARTS]).violations == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_bug_is_caught_by_what_it_breaks(plant: Plant) -> None:
    """The search begins at the seed that is known to catch it. `make nights` searches from seed 0."""
    known = CAUGHT_BY_SEED[plant.name]
    caught = runner.hunt(plant, first=known)
    assert caught.seed is not None, f"{plant.name} survived {SEEDS_MAX} nights from seed {known} on"
    assert caught.invariant in plant.caught_by
    if caught.seed != known:
        warnings.warn(f"CAUGHT_BY_SEED is out of date: {plant.name} is caught by seed {caught.seed}", stacklevel=1)


def test_every_planted_bug_has_a_seed_that_catches_it() -> None:
    assert CAUGHT_BY_SEED.keys() == {plant.name for plant in PLANTS}


def test_a_plant_whose_own_code_fails_is_not_caught() -> None:
    broken = Plant("broken", "none", ("conserved",), lambda: [(delivery, "decide", lambda *_: 1 / 0)])
    assert runner.hunt(broken, first=1).seed is None  # with less traffic than seed 0, so with fewer failures to record
    declared = replace(broken, caught_by=("no_fault_in_code",))
    assert runner.hunt(declared).invariant == "no_fault_in_code"


def test_there_are_planted_bugs_enough() -> None:
    assert len({plant.name for plant in PLANTS}) == len(PLANTS) >= 25


def test_pauses_beyond_the_bound_break_the_promise() -> None:
    """The bound of I1 is tight: with pauses ten times as long, a worker sends early."""
    assert any(_sends_early(seed) for seed in range(BEYOND_SEEDS))


def _sends_early(seed: int) -> bool:
    result = night.run(seed, pause_factor=10, stop_at=["never_early"])
    return any(each.invariant == "never_early" for each in result.violations)


def test_a_seed_replays_its_night() -> None:
    """In any process. These nights once differed where a set of strings had another order."""
    told = "from simulation.timeline import print_night; [print_night(seed) for seed in (5, 12, 13, 53)]"
    playing = [_python("-c", told, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    one, other = [each.communicate(timeout=600)[0] for each in playing]
    assert "Each notification's own story:" in one
    assert one == other


def test_the_simulated_deployment_has_the_figures_of_the_stack() -> None:
    assert topology.LANE_RECEIVES_MAX == queues.LANE_RECEIVES_MAX
    assert topology.ENTRY_RECEIVES_MAX == queues.ENTRY_RECEIVES_MAX
    assert topology.WAIT_RECEIVES_MAX == queues.WAIT_RECEIVES_MAX
    assert queues.RETENTION.to_seconds() == topology.RETENTION_S
    assert queues.DEAD_LETTER_RETENTION.to_seconds() == topology.DEAD_LETTER_RETENTION_S
    assert topology.LANE_BYTES_MAX == BUNDLE_BYTES_MAX


def test_the_report_has_the_promised_keys(tmp_path: Path) -> None:
    report = runner.Report()
    report.add(runner.nights(range(2)))
    report.add(runner.Caught("survives", None, None, ""))
    report.add(runner.Crashes(2, [runner.BrokenByCrash(1, "SendMessage", "after", "conserved", "n1")]))
    report.write(tmp_path / "nights.json")
    written = json.loads((tmp_path / "nights.json").read_text())
    assert list(written) == [
        "commit",
        "seeds",
        RATE,
        "notifications",
        "faults",
        "violations",
        "planted",
        "caught_by",
        "exhaustive",
    ]
    assert written["seeds"] == 2
    assert written["planted"] == written["caught_by"] == {"survives": None}
    assert written["exhaustive"]["crash_points"] == 2
    assert report.failed and report.survivors == ["survives"]


def _simulation(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return _python("-m", "simulation", *arguments, cwd=cwd)


def _python(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_one_night_can_be_read_as_a_timeline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulation", "--seed", "5", "--trace"])
    assert command.main() == 0
    told = capsys.readouterr().out
    assert "A night in Asia/Seoul, policy korea, 40 notifications." in told
    assert "is held: it stands on wait" in told
    assert "Each notification's own story:" in told
    assert "0 violations" in told


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_what_it_has_played(tmp_path: Path, ended_by: signal.Signals) -> None:
    playing = _simulation("--seeds", "100000", "--only-seeds", "--jobs", "1", cwd=tmp_path)
    assert playing.stdout is not None
    assert "Ctrl-C" in playing.stdout.readline()
    time.sleep(1)
    playing.send_signal(ended_by)
    told, _ = playing.communicate(timeout=600)
    assert playing.returncode == 130, told
    assert json.loads((tmp_path / "build" / "nights.json").read_text())["violations"] == []
