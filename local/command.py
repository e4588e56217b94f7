"""Runs a command, which ends with one sentence if it cannot do its work."""

from __future__ import annotations

import sys
from collections.abc import Callable

from . import CommandError
from .processes import stop_on_signals


def run_command(main: Callable[[], object]) -> None:
    """Run a command's `main`. A `CommandError` ends the process with its sentence and no traceback."""
    stop_on_signals()
    try:
        main()
    except CommandError as error:
        sys.exit(str(error))
