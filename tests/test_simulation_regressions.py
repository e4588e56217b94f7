"""Nights that once broke a promise, each with the fault that it found.

A seed is the same night only as long as `simulation/plan.py` draws the same, so each fault is also kept as a planted
bug: the seed shows that it is gone, the plant that it would be found again.
"""

from __future__ import annotations

import pytest

from simulation import night
from simulation.planted import PLANTS

# DynamoDB refused a write with TransactionConflict, which was taken for a claim lost. The mark before a call: the
# item was neither sent nor given back. An ending: it was never written. Either way the bundle was acknowledged.
LOST_BY_A_CONFLICT = (2, 15, 27)
WOULD_BE_FOUND_AGAIN = ("loses_what_it_could_not_mark", "takes_a_conflict_for_a_write")

# Two workers each sent a whole bundle in one call in the same instant, ten within a second at four a second. What a
# call may have is held by `test_a_call_has_no_more_than_may_go_in_a_second`.
A_BURST_IN_ONE_CALL = 1776


@pytest.mark.parametrize("seed", LOST_BY_A_CONFLICT)
def test_a_conflict_in_the_ledger_loses_nothing(seed: int) -> None:
    assert night.run(seed).violations == []


def test_what_was_lost_by_a_conflict_would_be_found_again() -> None:
    """`test_simulation.py` hunts every planted bug."""
    assert set(WOULD_BE_FOUND_AGAIN) <= {plant.name for plant in PLANTS}


def test_calls_with_many_keep_to_the_pace() -> None:
    assert night.run(A_BURST_IN_ONE_CALL).violations == []
