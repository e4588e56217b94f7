"""Draws what makes a recipient's consent differ from that of an address: two records for one notification, consents for
some addresses only, and consents to advertising.

These draws have a stream of their own, so that they do not shift the other draws of a seed.
"""

from __future__ import annotations

from random import Random

from .drawing import moment, written
from .plan import Address, Consent, ConsentChange, Plan, Wanted


def draw_records(plan: Plan, rng: Random) -> None:
    """Switch each of these on or off for the whole seed."""
    if rng.random() < 0.3:
        _name_somebody_else(plan, rng)
    if rng.random() < 0.4:
        _file_under_addresses(plan, rng)
    if rng.random() < 0.4:
        _limit_to_addresses(plan, rng)
    plan.advertising_consent = "required" if rng.random() < 0.15 else "elsewhere"
    if plan.advertising_consent == "required":
        _give_records_to_most(plan, rng)
    if plan.advertising_consent == "required" or rng.random() < 0.3:
        _say_advertising_consent(plan, rng)


def _name_somebody_else(plan: Plan, rng: Random) -> None:
    """Some senders name one person, and give the address of another one."""
    naming = [each for each in plan.wanted if each.recipient != each.address]
    for each in rng.sample(naming, min(8, len(naming))):
        other = rng.choice([other for other in plan.wanted if other.channel == each.channel])
        each.address = other.address
        each.body["address"] = other.body["address"]


def _file_under_addresses(plan: Plan, rng: Random) -> None:
    """Somebody states a consent or an opt-out under an address, although notifications name another recipient."""
    for address in sorted({_address(each) for each in plan.wanted if each.recipient != each.address}):
        if rng.random() < 0.4:
            at = 0.0 if rng.random() < 0.6 else max(1.0, moment(plan, rng))
            consent = Consent(night_consent=rng.random() < 0.6, opted_out=rng.random() < 0.4)
            plan.consents.append(ConsentChange(at, address.key, consent, address.typed))


def _limit_to_addresses(plan: Plan, rng: Random) -> None:
    """Consents are for some addresses only: of those that notifications name for this recipient, or for another one."""
    addresses = _addresses(plan)
    recorded = {change.recipient for change in plan.consents}
    for key in addresses:
        if key not in recorded and rng.random() < 0.4:
            plan.consents.append(ConsentChange(0.0, key, Consent(night_consent=True), written(key, rng)))
    every = sorted(set().union(*addresses.values()))
    for index, change in enumerate(plan.consents):
        if change.recipient in addresses and rng.random() < 0.7:
            pool = addresses[change.recipient] if rng.random() < 0.8 else every
            chosen = tuple(rng.sample(pool, min(len(pool), rng.choice((1, 1, 2)))))
            plan.consents[index] = change._replace(consent=change.consent._replace(addresses=chosen))


def _give_records_to_most(plan: Plan, rng: Random) -> None:
    """Give most people a record, because one is required."""
    recorded = {change.recipient for change in plan.consents}
    for key in sorted({each.recipient for each in plan.wanted} - recorded):
        if rng.random() < 0.8:
            plan.consents.append(ConsentChange(0.0, key, Consent(), written(key, rng)))


def _say_advertising_consent(plan: Plan, rng: Random) -> None:
    for index, change in enumerate(plan.consents):
        said = rng.choice((True, True, True, True, False, None))
        plan.consents[index] = change._replace(consent=change.consent._replace(advertising_consent=said))


def _addresses(plan: Plan) -> dict[str, list[Address]]:
    """The addresses that notifications name for each recipient who has a key apart from them."""
    addresses: dict[str, list[Address]] = {}
    for key in sorted({each.recipient for each in plan.wanted if each.recipient != each.address}):
        addresses[key] = sorted({_address(each) for each in plan.wanted if each.recipient == key})
    return addresses


def _address(wanted: Wanted) -> Address:
    return Address(wanted.address, wanted.body["address"])
