"""The embedded AWS: the stack on this machine, with no account and no Docker."""

from __future__ import annotations

import os
from pathlib import Path

from commands import CommandError

__all__ = ["BUILD", "ROOT", "CommandError"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("QUIET_HOURS_BUILD", ROOT / "build"))
"""The directory for everything that the commands write. Tests that run side by side each set their own."""
