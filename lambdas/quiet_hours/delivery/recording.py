"""Recording deliveries while the bundle's other calls are still under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from ..errors import LedgerUnavailable
from ..stores.clients import SERVICE_ERRORS
from ..stores.entries import Entry
from ..stores.ledger import Ledger
from ..stores.unprocessed import BATCH_ITEMS_MAX


class Recorder:
    """Records deliveries in full batches, as soon as there are enough for one, in the thread that completed it.

    It costs no more writes than recording all of them at the end, hides most of them behind the calls, and a crash
    leaves less to be sent again. After a failure it stops: whatever is not in `recorded` is left to the end.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self.recorded: set[str] = set()
        self._ledger = ledger
        self._now = now
        self._lock = threading.Lock()
        self._waiting: list[Entry] = []
        self._failed = False

    def delivered(self, entries: Sequence[Entry]) -> None:
        """Take note of deliveries. Never raises for what the ledger can do."""
        with self._lock:
            self._waiting += entries
            # Not before one more is there: whoever completes a batch is the last of those who call side by side, and
            # the write would make it later still. The next one is the first of them again.
            whole = (len(self._waiting) - 1) // BATCH_ITEMS_MAX * BATCH_ITEMS_MAX
            batches, self._waiting = self._waiting[:whole], self._waiting[whole:]
        if not batches or self._failed:
            return
        try:
            self._ledger.delivered(batches, self._now())
        except (*SERVICE_ERRORS, LedgerUnavailable):
            self._failed = True
        else:
            self.recorded.update(entry.id for entry in batches)
