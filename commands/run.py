"""Runs a command, which ends with one sentence if it cannot do its work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from . import CommandError


def run_command(main: Callable[[], object]) -> None:
    """Runs a command's `main`. A `CommandError` ends the process with its sentence and no traceback."""
    stop_on_signals()
    try:
        main()
    except CommandError as error:
        sys.exit(str(error))


def stop_on_signals() -> None:
    """Turns SIGINT, SIGTERM and SIGHUP into an exception, so that everything is cleaned up."""

    def interrupt(number: int, _frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the clean-up
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
