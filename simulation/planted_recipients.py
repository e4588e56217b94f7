"""Planted mistakes in the allow-list of a restricted deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lambdas.quiet_hours.channels import allow_list
from lambdas.quiet_hours.channels.channel import Outcome

from .planting import Patch, calls, plant


def _calling_where(calls_it: Callable[[Any, Outcome], bool]) -> list[Patch]:
    """Let a restricted channel call the provider for some notifications for which it should answer itself."""
    own_answer = allow_list.Restricted._own_answer

    def answer(self: Any, notification: Any) -> Outcome | None:
        right = own_answer(self, notification)
        return None if right is not None and calls_it(notification, right) else right

    return [(allow_list.Restricted, "_own_answer", answer)]


@plant("a simulated address is called at the provider", "only_listed")
def calls_simulated_addresses() -> list[Patch]:
    return _calling_where(lambda notification, answer: answer.code == "simulated")


@plant("what is critical passes the allow-list", "only_listed")
def critical_passes_the_allow_list() -> list[Patch]:
    return _calling_where(lambda notification, answer: notification["category"] == "critical")


@plant("the probe of a rest passes the allow-list", "only_listed")
def probe_passes_the_allow_list() -> list[Patch]:
    make = calls.Calls._make_at_its_turn

    def unrestricted(self: Any, call: Any, after: Any) -> None:
        restricted = self.channel
        self.channel = getattr(restricted, "_channel", restricted) if call.probe else restricted
        try:
            make(self, call, after)
        finally:
            self.channel = restricted

    return [(calls.Calls, "_make_at_its_turn", unrestricted)]


@plant("an address is listed as somebody types it", "only_listed")
def compares_the_list_as_it_was_typed() -> list[Patch]:
    return [(allow_list, "listed", lambda config: frozenset(config["addresses"]))]


@plant("what is not listed is recorded as delivered", "conserved")
def records_as_delivered_what_is_not_listed() -> list[Patch]:
    return [(allow_list, "NOT_LISTED", Outcome("delivered", "not_listed: nobody was called"))]
