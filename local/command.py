"""Runs a command's `main` and ends it with one sentence where something is in its way."""

from __future__ import annotations

import sys
from collections.abc import Callable

from . import CommandError
from .processes import stop_on_signals


def run_command(main: Callable[[], object]) -> None:
    """Run a command's `main`, and end with the one sentence of a `LocalError` instead of a traceback."""
    stop_on_signals()
    try:
        main()
    except CommandError as error:
        sys.exit(str(error))
