"""Puts a deliberate mistake into the production code and takes it out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lambdas import consumer as consumer_module
from lambdas import producer as producer_module
from lambdas import scheduler as scheduler_module
from lambdas.quiet_hours import settings as settings_module
from lambdas.quiet_hours import timings as timings_module
from lambdas.quiet_hours.api import status as status_module
from lambdas.quiet_hours.consents import counting as counting_module
from lambdas.quiet_hours.delivery import aftermath as aftermath_module
from lambdas.quiet_hours.delivery import calls as calls_module
from lambdas.quiet_hours.delivery import claiming as claiming_module
from lambdas.quiet_hours.delivery import delivery as delivery_module
from lambdas.quiet_hours.delivery import verdicts as verdicts_module
from lambdas.quiet_hours.notification import admission as admission_module
from lambdas.quiet_hours.notification import bundle as bundle_module
from lambdas.quiet_hours.stores import health as health_module
from lambdas.quiet_hours.stores import ledger as ledger_module
from lambdas.quiet_hours.stores import newest as newest_module
from lambdas.quiet_hours.stores import turns as turns_module

# The patched names are private to their modules, so the modules are `Any` here.
consumer: Any = consumer_module
producer: Any = producer_module
scheduler: Any = scheduler_module
admission: Any = admission_module
bundle: Any = bundle_module
counting: Any = counting_module
aftermath: Any = aftermath_module
calls: Any = calls_module
claiming: Any = claiming_module
delivery: Any = delivery_module
health: Any = health_module
turns: Any = turns_module
verdicts: Any = verdicts_module
ledger: Any = ledger_module
newest: Any = newest_module
settings: Any = settings_module
status: Any = status_module
timings: Any = timings_module

Patch = tuple[Any, str, Any]
"""An object, the name of an attribute of it, and the value that the attribute gets."""

SEEDS_MAX = 600
"""The number of nights within which every plant has to be caught."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A mistake. `failure` names what it stands for, and `patches` returns the changes to the code.

    `caught_by` names the invariants that the mistake breaks. Only these count, so that a plant whose own code fails is
    not taken for one that was found.
    """

    name: str
    failure: str
    caught_by: tuple[str, ...]
    patches: Callable[[], list[Patch]]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Put the mistake into the production code for the length of a block."""
        undo: list[Patch] = []
        try:
            for target, attribute, value in self.patches():
                undo.append((target, attribute, getattr(target, attribute)))
                setattr(target, attribute, value)
            yield
        finally:
            for target, attribute, value in reversed(undo):
                setattr(target, attribute, value)


PLANTS: list[Plant] = []


def plant(failure: str, *caught_by: str) -> Callable[[Callable[[], list[Patch]]], Callable[[], list[Patch]]]:
    """Add a mistake to `PLANTS`, under its function's name."""

    def add(patches: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
        PLANTS.append(Plant(patches.__name__, failure, caught_by, patches))
        return patches

    return add


def judging(decide: Callable[..., Any]) -> list[Patch]:
    """Let the worker judge otherwise: when it begins with a bundle, and before each call."""
    return [(delivery, "decide", decide), (calls, "decide", decide)]


def blind(send: Callable[..., dict[int, str]]) -> Callable[..., dict[int, str]]:
    """Return a `send` that ignores the messages that SQS did not take."""

    def blind_send(*args: Any, **options: Any) -> dict[int, str]:
        send(*args, **options)
        return {}

    return blind_send
