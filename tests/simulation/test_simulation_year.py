"""A year of nights under several policies: each change of the clocks, weekday and holiday, and planted mistakes."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from simulation import hours, year
from simulation.night import without_logs
from simulation.planted_closures import CLOSURE_PLANTS
from simulation.year import Part, Scene, play, play_part, scenes
from simulation.year_settings import SETTINGS, Setting

EVERY = 40
"""Of the nights that are like most others, every so many."""


def _is_special(scene: Scene) -> bool:
    """The clocks change in it, it is longer or shorter than the one before, or it is about a holiday."""
    begins = scene.begins.astimezone(ZoneInfo(scene.setting.zone))
    days = [begins.date() + timedelta(days=each) for each in (0, 1)]
    is_holiday = scene.setting.policy == "france" and any(map(hours.is_french_holiday, days))
    return is_holiday or _has_a_change(scene)


def _has_a_change(scene: Scene) -> bool:
    """Clocks change in it. The nights of other policies are played with the first one's, over a whole day."""
    ends = scene.begins + timedelta(days=1) if scene.setting.others else scene.ends
    places = [ZoneInfo(judge.zone) for judges in scene.setting.judges for judge in judges]
    return any(scene.begins.astimezone(each).utcoffset() != ends.astimezone(each).utcoffset() for each in places)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.title)
def test_every_change_of_the_clocks_and_holiday_and_some_other_nights_keep_all_promises(setting: Setting) -> None:
    nights = list(enumerate(scenes(setting)))
    every = 3 * EVERY if setting.others else EVERY  # many more notifications and queues
    chosen = [each for each in nights if _is_special(each[1]) or each[0] % every == 0]
    changes = sum(map(_has_a_change, (scene for _, scene in nights)))
    zones = {judge.zone for judges in setting.judges for judge in judges}
    assert changes == 0 if zones == {"Asia/Seoul"} else changes >= 2
    with without_logs():
        assert [broken for seed, scene in chosen for broken in play(scene, seed)] == []


PARTS = [Part(setting, first, 8) for setting in SETTINGS for first in range(4 if setting.others else 8)]
"""Parts of the year. Where several policies stand side by side, they have half of the nights: those take long."""


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.setting.title}-{part.first}")
def test_the_nights_of_a_year_keep_all_promises(part: Part) -> None:
    nights, broken = play_part(part)
    assert nights > 30
    assert broken == []


FOUND_LATE = ("a_holiday_is_missed", "an_offset_is_kept_over_a_change")
"""Mistakes that only some days of a year show: a month or more is played until one is found."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in FOUND_LATE else name for name in CLOSURE_PLANTS]
)
def test_a_planted_mistake_about_closures_is_found_within_the_year(name: str) -> None:
    assert year.is_found(name)


def test_the_year_has_what_makes_policies_hard() -> None:
    """Sundays, two or three closed days in a row, and nights of one hour more and less."""
    lengths = {(each.ends - each.begins) / timedelta(hours=1) for each in scenes(Setting("france", "Europe/Paris"))}
    assert lengths >= {10, 34, 58, 57, 59}
    assert {
        (each.ends - each.begins) / timedelta(hours=1) for each in scenes(Setting("us-texas", "America/Chicago"))
    } == {
        *(12, 15),  # a night, and one before a Sunday
        *(14, 16),  # the same when the clocks change
    }
