"""Nights with a record under the recipient, under the address, or under both. Each is stated, with its right ending.
Some find a planted mistake."""

from __future__ import annotations

from random import Random

import pytest

from simulation.checks import Violation
from simulation.exhaustive import wanted
from simulation.night import Night, without_logs
from simulation.plan import Address, Consent, ConsentChange, Plan, Request, quiet_night
from simulation.planted import PLANTS

NAMED, PHONE = "user-0", "+821012345678"
LISTED, OTHER = Address(PHONE, "010-1234-5678"), Address("kim@example.com", "Kim@Example.com")
ELSEWHERE, REQUIRED = "elsewhere", "required"
YES, NO, OPTED_OUT = Consent(night_consent=True), Consent(), Consent(night_consent=True, opted_out=True)
AGREED, REFUSED = Consent(advertising_consent=True), Consent(advertising_consent=False)

RECORDS = {
    "no record": ({}, ELSEWHERE, "in the morning"),
    "the recipient's for any address": ({NAMED: YES}, ELSEWHERE, "at night"),
    "the recipient's for this address": ({NAMED: YES._replace(addresses=(OTHER, LISTED))}, ELSEWHERE, "at night"),
    "the recipient's for another address": ({NAMED: YES._replace(addresses=(OTHER,))}, ELSEWHERE, "in the morning"),
    "the address's own": ({PHONE: YES}, ELSEWHERE, "at night"),
    "the address's own, for another one": ({PHONE: YES._replace(addresses=(OTHER,))}, ELSEWHERE, "at night"),
    "the recipient's, and the address has none": ({NAMED: YES, PHONE: NO}, ELSEWHERE, "in the morning"),
    "the address's, and the recipient has none": ({NAMED: NO, PHONE: YES}, ELSEWHERE, "in the morning"),
    "the address's, and the recipient's is for another": (
        {NAMED: NO._replace(addresses=(OTHER,)), PHONE: YES},
        ELSEWHERE,
        "at night",
    ),
    "an opt-out of the address": ({NAMED: YES, PHONE: OPTED_OUT}, ELSEWHERE, "opted_out"),
    "an opt-out of the recipient": ({NAMED: OPTED_OUT, PHONE: YES}, ELSEWHERE, "opted_out"),
    "an opt-out with consents for another address": (
        {NAMED: OPTED_OUT._replace(addresses=(OTHER,)), PHONE: YES},
        ELSEWHERE,
        "opted_out",
    ),
    "a refusal where it is kept elsewhere": ({NAMED: REFUSED}, ELSEWHERE, "opted_out"),
    "a refusal with consents for another address": (
        {NAMED: REFUSED._replace(addresses=(OTHER,))},
        ELSEWHERE,
        "opted_out",
    ),
    "no record where one is required": ({}, REQUIRED, "opted_out"),
    "a record that says nothing": ({NAMED: YES}, REQUIRED, "opted_out"),
    "a refusal": ({NAMED: REFUSED}, REQUIRED, "opted_out"),
    "a consent to advertising": ({NAMED: AGREED}, REQUIRED, "in the morning"),
    "a consent to advertising at night": ({NAMED: AGREED._replace(night_consent=True)}, REQUIRED, "at night"),
    "a consent for another address": ({NAMED: AGREED._replace(addresses=(OTHER,))}, REQUIRED, "opted_out"),
    "a consent of the address": ({PHONE: AGREED}, REQUIRED, "in the morning"),
    "a consent, and a refusal of the address": ({NAMED: AGREED, PHONE: REFUSED}, REQUIRED, "opted_out"),
    "a consent, and an address that says nothing": ({NAMED: AGREED, PHONE: NO}, REQUIRED, "in the morning"),
}
"""The records, where the consent to advertising is kept, and the right ending of advertising that is sent at 22:00."""

FINDS = {
    "worker_reads_the_recipients_key_only": ("an opt-out of the address", "never_after_opt_out"),
    "worker_reads_the_addresses_key_only": ("an opt-out of the recipient", "never_after_opt_out"),
    "takes_a_limited_consent_for_any_address": ("the recipient's for another address", "never_early"),
    "limits_an_opt_out_to_addresses": ("an opt-out with consents for another address", "never_after_opt_out"),
    "one_night_consent_of_two_is_enough": ("the recipient's, and the address has none", "never_early"),
    "worker_requires_no_advertising_consent": ("a record that says nothing", "never_without_consent"),
    "takes_a_refusal_for_nothing_said": ("a refusal where it is kept elsewhere", "never_after_opt_out"),
    "requires_a_consent_that_is_kept_elsewhere": ("no record", "conserved"),
}


def _night(case: str) -> Night:
    records, kept, _ = RECORDS[case]
    plan = quiet_night(Random(0))
    plan.advertising_consent = kept
    plan.consents = [ConsentChange(0.0, key, consent) for key, consent in records.items()]
    plan.requests = [Request(plan.begins[0] + 3600, "bundle", (wanted(0, "sms", "advertising"),))]
    return Night(1, plan=plan)


def _violations(night: Night) -> list[Violation]:
    with without_logs():
        return night.run().violations


def _ending(night: Night) -> str:
    state = str(night.deployment.tables["ledger"].items["n0"]["state"]["S"])
    if state != "delivered":
        return state
    (taken,) = night.checks.taken[0]
    return "at night" if taken.at < night.plan.ends[0] else "in the morning"


@pytest.mark.parametrize("case", RECORDS)
def test_the_records_decide_when_advertising_goes(case: str) -> None:
    night = _night(case)
    assert _violations(night) == []
    assert _ending(night) == RECORDS[case][2]


@pytest.mark.parametrize("mistake", FINDS)
def test_a_mistake_about_records_is_found_by_a_stated_night(mistake: str) -> None:
    case, invariant = FINDS[mistake]
    with next(each for each in PLANTS if each.name == mistake).planted():
        # Who trusts a wrong consent also lets a provider try for longer than it may.
        assert {each.invariant for each in _violations(_night(case))} - {"never_rings_at_night"} == {invariant}


def _named_otherwise(plan: Plan) -> dict[str, set[str]]:
    """For each recipient, the addresses with another key that notifications name for them."""
    addresses: dict[str, set[str]] = {}
    for each in plan.wanted:
        if each.recipient != each.address:
            addresses.setdefault(each.recipient, set()).add(each.address)
    return addresses


def test_the_seeds_draw_every_kind_of_record() -> None:
    plans = [Night(seed).plan for seed in range(60)]
    drawn: set[object] = set()
    for plan in plans:
        addresses = _named_otherwise(plan)
        every = set().union(*addresses.values())
        for change in plan.consents:
            consent = change.consent
            drawn.add((plan.advertising_consent, consent.advertising_consent))
            if change.recipient in every:
                drawn.add(("under the address", consent.opted_out))
            for key in addresses.get(change.recipient, ()) if consent.addresses and consent.night_consent else ():
                drawn.add(("limited", any(each.key == key for each in consent.addresses)))
            if consent.opted_out and change.written != change.recipient:
                drawn.add("an opt-out that is written otherwise")
    kept = {(setting, said) for setting in (ELSEWHERE, REQUIRED) for said in (None, True, False)}
    two_keys = {("under the address", False), ("under the address", True), ("limited", False), ("limited", True)}
    assert drawn == kept | two_keys | {"an opt-out that is written otherwise"}
