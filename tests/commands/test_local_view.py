"""The demo's pictures: a live one at each time of day, plain lines without a terminal, the table at the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from demo.count import ENDINGS
from demo.view import Scene, View, picture, table
from local.status import QUEUES, Depth

NOW = datetime(2020, 11, 11, 12, 0, 30, tzinfo=UTC)


def scene(start: datetime) -> Scene:
    return Scene(
        quiet=(start, start + timedelta(minutes=1)),
        depths={name: Depth(7, 1, 0) for name in QUEUES},
        lines=(1500, 2840),
        accepted=1400,
        held=600,
        waiting=100,
        delivered=800,
        dead_lettered=3,
        release_s=(2.5, 9.0),
    )


def rendered(what: object) -> str:
    console = Console(width=100, record=True, force_terminal=True)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


@pytest.mark.parametrize(
    ("start", "moment"),
    [
        (NOW + timedelta(seconds=12), "day, quiet hours begin in 12 s"),
        (NOW - timedelta(seconds=30), "NIGHT, quiet hours end in 30 s"),
        (NOW - timedelta(seconds=75), "morning, quiet hours ended 15 s ago"),
    ],
)
def test_the_picture_says_what_time_of_day_it_is(start: datetime, moment: str) -> None:
    shown = rendered(picture(scene(start), NOW))
    assert moment in shown
    assert all(name in shown for name in QUEUES)
    assert "1,500 of 2,840" in shown
    assert "600 put on wait, 100 still there" in shown
    assert "first 2.5 s, latest 9.0 s after the end of quiet hours" in shown


def test_without_a_terminal_there_is_a_plain_line_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with View() as view:
        view.show(scene(NOW))
        view.show(scene(NOW))
    [line] = capsys.readouterr().out.splitlines()
    assert "sent 1500/2840 held 600 released 500 delivered 800" in line
    assert "\x1b" not in line


def test_the_table_has_every_figure_and_marks_what_must_be_zero() -> None:
    names = ("input", "rejected", "deduplicated", "accepted", "sent_now", "held", "released", *ENDINGS)
    figures = dict.fromkeys(names, 4321) | {"early": 0, "lost": 1, "duplicates": 0}
    shown = rendered(table(figures))
    assert all(name.replace("_", " ") in shown for name in figures)
    assert shown.count("4,321") == len(names)
