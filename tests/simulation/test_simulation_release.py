"""Up to ten million notifications, released by the real scheduler in virtual time, against the forecast."""

from __future__ import annotations

from functools import cache

import pytest

from infra import function
from lambdas import scheduler
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from simulation import forecast as forecasts
from simulation.forecast import Release, forecast
from simulation.release import Stage, play

TEN_MILLION = 10_000_000
RELEASES = {
    "as measured and stated": Release(TEN_MILLION, rate_per_s=4000, concurrency=50),
    "a provider at its default rate": Release(TEN_MILLION),
    "an SQS that takes its time": Release(TEN_MILLION, call_ms=250, rate_per_s=20_000, concurrency=200),
    "a scheduler with a slow core": Release(TEN_MILLION, cpu_round_ms=150, rate_per_s=20_000, concurrency=200),
    "workers that have to wait for its first runs": Release(
        2_500_000, cpu_round_ms=150, rate_per_s=20_000, concurrency=200
    ),
    "a slow provider that takes any number": Release(TEN_MILLION, provider_ms=2000, rate_per_s=1e5, concurrency=100),
    "messages of ten, in which bursts travel": Release(1_000_000, bundle=10, rate_per_s=4000, concurrency=50),
    "single messages that trickled in": Release(100_000, bundle=1, rate_per_s=4000, concurrency=50),
}


LONG = {"a provider at its default rate", "an SQS that takes its time", "a slow provider that takes any number"}
"""These take long and show what others show in part. `make test-slow` plays them."""

played_once = cache(play)
"""Two tests look at the same release, which takes seconds to play."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in RELEASES])
def test_a_release_of_any_size_ends_when_the_forecast_says_within_a_tenth(name: str) -> None:
    release = RELEASES[name]
    played, expected = played_once(release), forecast(release)

    assert played.released == release.notifications
    assert (played.moved, played.left_messages) == (release.notifications, 0)
    assert played.lane_messages <= 1.1 * release.lane_messages
    assert played.killed == 0
    assert played.ended.moved_s == pytest.approx(expected.moved_s, rel=0.1)
    assert played.ended.delivered_s == pytest.approx(expected.delivered_s, rel=0.1)


def test_each_minutes_run_joins_in_and_a_run_that_leaves_is_replaced() -> None:
    played = played_once(RELEASES["a scheduler with a slow core"])

    assert played.ended.moved_s > 2 * SCHEDULER_TIMEOUT_S, "the release fits into a run or two and shows nothing"
    assert played.most_at_once in (4, 5)  # four minutes of work, one run a minute and the schedule's


def test_a_rest_that_fills_no_bundle_is_released_too() -> None:
    played = play(Release(1234))
    assert (played.released, played.moved, played.lane_messages) == (1234, 1234, 13)


def test_a_drainer_that_never_deletes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is not deleted reappears after a minute and is moved again, so that the counts are too high."""
    monkeypatch.setattr(scheduler, "delete", lambda sqs, url, handles: len(handles))
    stage = Stage(Release(2000))
    stage.world.at(200.0, stage.visible.clear)
    stage.world.at(200.0, stage.in_flight.clear)
    assert stage.play().moved > 2000


def test_the_forecast_uses_the_size_that_the_stack_gives_the_scheduler() -> None:
    assert Release(1).cores == function.DEFAULT_MB / function.ONE_CORE_MB


@pytest.mark.parametrize(("seconds", "text"), [(104.4, "104 s"), (640, "10.7 min"), (100_000, "27.8 h")])
def test_a_duration_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert forecasts.duration(seconds) == text


@pytest.mark.parametrize("given", [["0"], ["10", "--bundle", "101"], ["10", "--rate", "0"], ["ten"]])
def test_a_command_line_that_cannot_be_played_says_so(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        forecasts.arguments("", given)
    assert "error:" in capsys.readouterr().err
