"""The embedded AWS: the stack on this machine, with no account and no Docker."""

from __future__ import annotations

import os
from pathlib import Path

from commands import CommandError

__all__ = ["BUILD", "ROOT", "CommandError", "shown"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("QUIET_HOURS_BUILD", ROOT / "build"))
"""The directory for everything that the commands write. Tests that run side by side each set their own."""


def shown(path: Path) -> Path:
    """Returns a path as a command prints it: from the repository on if it is inside."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
