"""Deliberate mistakes, each a small patch of behaviour, each to be found: what the simulation can see.

A night that finds nothing proves little unless the same nights find these. Each plant names the row of the failure
catalogue that it stands for and the invariants that it breaks, and is put on afresh for every seed.
"""

from __future__ import annotations

from . import planted_bundles, planted_rules
from .planting import PLANTS, SEEDS_MAX

__all__ = ["PLANTS", "SEEDS_MAX", "planted_bundles", "planted_rules"]
