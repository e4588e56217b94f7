"""Claiming a bundle's items in the ledger, and settling those that are not ours to send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from ..errors import LedgerUnavailable
from ..notification.admission import CAMPAIGN_ID_FAULT, is_campaign_id
from ..notification.bundle import Item
from ..notification.fingerprint import fingerprint, may_be_the_same
from ..settings import Settings
from ..stores.clients import SERVICE_ERRORS
from ..stores.entries import Entry, epoch_ms, released
from ..stores.ledger import Ledger, is_undone
from .aftermath import Aftermath
from .verdicts import ATTEMPTS_MAX, absorption, too_late_to_send

LEDGER_REST_S = 30

ID_REUSED = "another notification has this id; send this one with an id of its own"

MALFORMED_ENTRY = "the ledger's item of this id cannot be read; mend or delete it, then redrive"


class Claimed(NamedTuple):
    """An item that this invocation has claimed."""

    item: Item
    entry: Entry


@dataclass(frozen=True)
class Claimer:
    """Claims items for one invocation."""

    ledger: Ledger
    settings: Settings
    now: Callable[[], datetime]

    def first_look(self, can_resend: bool, items: Sequence[Item], after: Aftermath) -> list[Item]:
        """Settle the items that have ended or are another's, before a turn is booked: they take none. Returns the
        others, of which most can be claimed."""
        try:
            found = self.ledger.read_all(item.id for item in items)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            after.counts["ledger_unavailable"] += 1
            after.give_back(items, LEDGER_REST_S)
            return []
        now = self.now()
        settled = [item for item in items if item.id in found and _takes_no_turn(item, found[item.id], can_resend, now)]
        if not settled:
            return list(items)
        for item, entry in self.claim(can_resend, settled, after):  # its entry has changed since it was read
            after.releases.append(released(entry, sending=entry.sending))
            after.give_back([item])
        ids = {item.id for item in settled}
        return [item for item in items if item.id not in ids]

    def claim(
        self, can_resend: bool, items: Sequence[Item], after: Aftermath, *, sending: bool = False
    ) -> list[Claimed]:
        """Claim items. Returns those that are ours to send; `after` takes the others."""
        if not items:
            return []
        now = self.now()
        try:
            by_id = {item.id: item for item in self._without_forged_redrives(items, after)}
            fingerprints = {id: fingerprint(item.notification) for id, item in by_id.items()}
            redriven = {id: item.redriven for id, item in by_id.items()}
            claims = self.ledger.claim(redriven, now, fingerprints, sending=sending)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            after.counts["ledger_unavailable"] += 1
            after.give_back(items, LEDGER_REST_S)
            return []

        for id, left_s in claims.busy.items():
            after.give_back([by_id[id]], left_s)
        for id, ending in claims.ended.items():
            is_same = may_be_the_same(ending.fingerprint, fingerprints[id])
            after.absorb(by_id[id], ending, absorption(by_id[id].redriven, ending, is_same))
        for id in claims.reused:
            after.refuse(by_id[id], "id_reused", ID_REUSED)
        for id in claims.malformed:
            after.refuse(by_id[id], "malformed_entry", MALFORMED_ENTRY)
        claimed: list[Claimed] = []
        for id, entry in (claims.held | claims.interrupted).items():
            mine = replace(entry, sending=entry.sending or (can_resend and id in claims.lapsed))
            if final := too_late_to_send(mine, id in claims.interrupted, can_resend, now):
                after.dead_letter(by_id[id], final)
            else:
                claimed.append(Claimed(by_id[id], mine))
        return claimed

    def _without_forged_redrives(self, items: Sequence[Item], after: Aftermath) -> list[Item]:
        """The items without those that have an id of a campaign file and claim to be redriven, although the ledger does
        not know their id: whatever was dead-lettered is in the ledger. Raises what the client raises."""
        genuine: list[Item] = []
        for item in items:
            is_doubtful = item.redriven is not None and is_campaign_id(item.id) and self.settings.campaign_sender
            if is_doubtful and self.ledger.read(item.id) is None:
                after.refuse(item, "invalid", CAMPAIGN_ID_FAULT)
            else:
                genuine.append(item)
        return genuine


def _takes_no_turn(item: Item, entry: Entry, can_resend: bool, now: datetime) -> bool:
    """True if an item with this entry is not sent now: it has ended, it is another's or not yet due, it was tried too
    often, or a call for it may have been under way that cannot be made again."""
    if entry.state != "claimed":
        return not is_undone(entry, item.redriven)
    if entry.lease_until_ms > epoch_ms(now) or entry.attempts >= ATTEMPTS_MAX:
        return True
    return (entry.sending and not can_resend) or not may_be_the_same(entry.fingerprint, fingerprint(item.notification))
