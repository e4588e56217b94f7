"""Draws nights of a deployment that may call listed and simulated addresses only.

These draws have a stream of their own, so that they do not shift the other draws of a seed.
"""

from __future__ import annotations

from random import Random
from typing import get_args

from .drawing import written
from .plan import Address, Plan, Reach, Wanted

RESTRICTED = 0.12
"""The share of nights on which the deployment is restricted."""

SIMULATED: tuple[Reach, ...] = get_args(Reach)[1:-1]


def draw_recipients(plan: Plan, rng: Random) -> None:
    """On some nights, about half of the addresses are listed, and some notifications go to simulated ones."""
    if rng.random() >= RESTRICTED:
        return
    keys = sorted({each.address for each in plan.wanted})
    listed = rng.sample(keys, len(keys) // 2)
    plan.allow_list = tuple(written(key, rng) for key in listed)
    for each in plan.wanted:
        if rng.random() < 0.2:
            plan.reach[each.number] = kind = rng.choice(SIMULATED)
            _send_to(each, _simulated(each.channel, kind, each.number))
        elif each.address in listed:
            plan.reach[each.number] = "provider"


def _send_to(wanted: Wanted, address: Address) -> None:
    """Give a notification another address. Whoever is named by the address alone is then another recipient."""
    if wanted.recipient == wanted.address:
        wanted.recipient = address.key
    wanted.address = address.key
    wanted.body["address"] = address.typed


def _simulated(channel: str, kind: Reach, number: int) -> Address:
    """A simulated address of a channel, as docs/recipients.md lists them."""
    if channel in ("kakao", "sms"):
        digits = f"{SIMULATED.index(kind)}{number % 100:02}"
        return Address(f"+447700900{digits}", f"+44 7700 900{digits}")
    if channel == "slack":
        return Address(f"#{kind}.simulated.invalid", f"#{kind.title()}.simulated.invalid")
    return Address(f"{kind}+{number}@simulated.invalid", f"{kind}+{number}@Simulated.invalid")
