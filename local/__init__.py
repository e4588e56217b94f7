"""The embedded AWS: the stack on this machine, with no account and no Docker."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("QUIET_HOURS_BUILD", ROOT / "build"))
"""Where everything goes that is made here; tests that run side by side give each its own."""


class CommandError(Exception):
    """Raised when something on this machine is in the way; the text is the sentence that the user gets."""
