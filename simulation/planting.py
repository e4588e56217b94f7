"""How a deliberate mistake is put into the production code and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lambdas import consumer as consumer_module
from lambdas import producer as producer_module
from lambdas import scheduler as scheduler_module
from lambdas.quiet_hours import settings as settings_module
from lambdas.quiet_hours.api import status as status_module
from lambdas.quiet_hours.delivery import aftermath as aftermath_module
from lambdas.quiet_hours.delivery import delivery as delivery_module
from lambdas.quiet_hours.delivery import verdicts as verdicts_module
from lambdas.quiet_hours.notification import admission as admission_module
from lambdas.quiet_hours.stores import ledger as ledger_module

# What is patched is no module's interface, and is not meant to be.
consumer: Any = consumer_module
producer: Any = producer_module
scheduler: Any = scheduler_module
admission: Any = admission_module
aftermath: Any = aftermath_module
delivery: Any = delivery_module
verdicts: Any = verdicts_module
ledger: Any = ledger_module
settings: Any = settings_module
status: Any = status_module

Patch = tuple[Any, str, Any]
SEEDS_MAX = 400
"""Every plant is caught within so many seeds, counted from seed 0."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A mistake: `row` says which row of the failure catalogue, `patches` what it changes.

    `caught_by` names the invariants that it breaks: only those count as having found it, so that a plant whose own code
    fails is not taken for a mistake that was seen.
    """

    name: str
    row: str
    caught_by: tuple[str, ...]
    patches: Callable[[], list[Patch]]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The production code with this mistake in it."""
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


def plant(row: str, *caught_by: str) -> Callable[[Callable[[], list[Patch]]], Callable[[], list[Patch]]]:
    """Add a mistake to the table, under its function's name."""

    def add(patches: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
        PLANTS.append(Plant(patches.__name__, row, caught_by, patches))
        return patches

    return add


def blind(send: Callable[..., dict[int, str]]) -> Callable[..., dict[int, str]]:
    """A `send` that never looks at what was not taken."""

    def blind_send(*args: Any, **options: Any) -> dict[int, str]:
        send(*args, **options)
        return {}

    return blind_send
