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
    """Records deliveries in full batches while other calls are still under way.

    This needs no more writes than to record all of them at the end, hides most of the writes behind the calls, and
    leaves less to be sent again after a crash. It stops at the first failure: whatever is not in `recorded` is recorded
    at the end.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self.recorded: set[str] = set()
        self._ledger = ledger
        self._now = now
        self._lock = threading.Lock()
        self._waiting: list[Entry] = []
        self.has_failed = False

    def delivered(self, entries: Sequence[Entry], *, at_once: bool = False) -> None:
        """Take note of deliveries, and write the batches that are full, or everything. A failure of the ledger is not
        raised."""
        with self._lock:
            self._waiting += entries
            # Flush when the next delivery arrives: the thread that fills a batch is usually the slowest, and the write
            # would make it later still. The next one is usually the fastest.
            whole = len(self._waiting) if at_once else (len(self._waiting) - 1) // BATCH_ITEMS_MAX * BATCH_ITEMS_MAX
            batches, self._waiting = self._waiting[:whole], self._waiting[whole:]
        if not batches or self.has_failed:
            return
        try:
            self._ledger.delivered(batches, self._now())
        except (*SERVICE_ERRORS, LedgerUnavailable):
            self.has_failed = True
        else:
            self.recorded.update(entry.id for entry in batches)
