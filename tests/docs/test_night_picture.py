"""The picture of a night in the README shows what the simulation plays."""

from __future__ import annotations

import pytest

from simulation.plan import BEGIN_S
from tools import night_picture
from tools.night_picture import Seen

END_S = BEGIN_S + 11 * 3600


@pytest.fixture(scope="module")
def seen() -> Seen:
    return night_picture.play()


def test_the_file_is_what_the_command_draws(seen: Seen) -> None:
    """When this fails the night has changed: `python -m tools.night_picture` draws it again."""
    assert night_picture.FILE.read_text(encoding="utf-8") == night_picture.draw(seen)


def test_everything_accepted_is_sent_and_what_was_held_is_sent_in_the_morning(seen: Seen) -> None:
    released = seen.sent["released"]
    assert sum(number for _, number in released) == len(seen.held)
    assert sum(number for _, number in seen.sent["at_once"]) == len(seen.arrived) - len(seen.held)
    assert min(at for at, _ in released) > END_S
    assert max(number for _, number in seen.waiting) == len(seen.held)
