"""Faults that once broke a promise, each forced in a small night of its own.

Seeds found them (2, 15 and 27 a conflict in the ledger, 1776 the burst), but these seeds play other nights by now. So
each test states the night, plants the mistake to see that this night finds it, and then plays the code as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from lambdas.quiet_hours.stores.backoff import TRIES_MAX
from simulation import night
from simulation.exhaustive import wanted
from simulation.faults import Faults
from simulation.plan import BEGIN_S, Plan, Request, quiet_night
from simulation.planted import PLANTS
from simulation.world import Span

EVENING_S = BEGIN_S - 600


class Conflicts(Faults):
    """Some transactions of the night, by their number, conflict with another one. Nothing else fails."""

    def __init__(self, rng: Random, transactions: Collection[int] = ()) -> None:
        super().__init__(rng, 0.0)
        self._refused = transactions
        self._seen = 0

    def at_call(self, operation: str, t: float) -> str | None:
        self._seen += operation == "TransactWriteItems"
        refused = operation == "TransactWriteItems" and self._seen in self._refused
        return "partial" if refused else None


def _evening(*requests: Request) -> Plan:
    plan = quiet_night(Random(0))
    plan.requests = list(requests)
    return plan


def _one_by_sms() -> Plan:
    """A night with one notification. The first transaction is its claim, which marks the call."""
    return _evening(Request(EVENING_S, "sqs", (wanted(0, "sms", "critical"),)))


def _broken(plan: Plan, conflicts: Collection[int] = (), mistake: str | None = None) -> set[str]:
    """Play this night, with a mistake planted if one is named. Returns the invariants that it breaks."""

    def play() -> set[str]:
        result = night.run(1, plan=plan, faults=lambda rng, _: Conflicts(rng, conflicts))
        return {each.invariant for each in result.violations}

    if mistake is None:
        return play()
    plant = next(each for each in PLANTS if each.name == mistake)
    with plant.planted():
        return play()


ALL_AT_THE_CLAIM = range(1, 1 + TRIES_MAX)
ALL_AT_THE_ENDING = range(3, 3 + TRIES_MAX)
"""The second transaction removes the mark of the refused call."""


def test_a_conflict_at_the_claim_loses_nothing() -> None:
    """The notification was neither sent nor given back, and its bundle was acknowledged."""
    assert _broken(_one_by_sms(), ALL_AT_THE_CLAIM, "drops_what_another_has_claimed") == {"conserved"}
    assert _broken(_one_by_sms(), ALL_AT_THE_CLAIM) == set()


def test_a_conflict_at_an_ending_loses_nothing() -> None:
    """The conflict was taken for another worker's claim. No ending was written, and the bundle was acknowledged."""
    plan = _one_by_sms()
    plan.refused = frozenset([0])
    assert _broken(plan, ALL_AT_THE_ENDING, "takes_a_conflict_for_a_write") == {"conserved"}
    assert _broken(plan, ALL_AT_THE_ENDING) == set()


def test_two_workers_with_a_full_bundle_each_keep_to_the_pace() -> None:
    """A lane had been backed up and moved again. Then each worker sent its whole bundle in one call, at the same
    time."""
    bundles = [tuple(wanted(40 * part + n, "kakao", "informational") for n in range(40)) for part in range(2)]
    plan = _evening(*(Request(EVENING_S + 60 * part, "bundle", each) for part, each in enumerate(bundles)))
    plan.blocked["delivery"] = Span(EVENING_S - 60, EVENING_S + 120)
    assert _broken(plan, mistake="sends_a_whole_bundle_in_one_call") == {"paced"}
    assert _broken(plan) == set()
