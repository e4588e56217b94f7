"""Deliberate mistakes, each a small patch of behaviour. They show what the simulation is able to find.

Nights without a violation prove little unless the same nights find these mistakes. Each plant names the row of the
failure catalogue that it stands for and the invariants that it breaks. It is put into the code anew for every seed.
"""

from __future__ import annotations

from . import planted_bundles, planted_rules
from .planting import PLANTS, SEEDS_MAX

__all__ = ["CAUGHT_BY_SEED", "PLANTS", "SEEDS_MAX", "planted_bundles", "planted_rules"]

CAUGHT_BY_SEED: dict[str, int] = {}
"""The first seed whose night finds each plant. The tests begin there, and `make nights` searches from seed 0."""
