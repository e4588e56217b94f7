"""An entry of the ledger: its fields, its endings, and the item that it is in DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from ..notification.bundle import REASON_CHARACTERS_MAX

KEEP = timedelta(days=30)
"""Longer than any message can live: 3 days to its expiry, 14 in dead-letter, 4 on each of three queues after that."""

Ending = Literal[
    "delivered",
    "expired",
    "cancelled",
    "opted_out",
    "superseded",
    "not_in_allow_list",
    "dead_lettered",
    "unknown",
]
ENDINGS: tuple[Ending, ...] = get_args(Ending)

MALFORMED = "malformed"
"""The state of an entry whose item cannot be read. It is never written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The state of one id in the ledger.

    A claim without an owner has been released: anyone may claim it, but not before `lease_until_ms`, so that a
    duplicate cannot cut short the wait before a retry.

    `sending` marks a claim whose notification a provider may have: a call may have begun whose answer is not known. A
    channel that cannot send again writes the mark before each call. For the others it is written only when such a claim
    is given back, because the claim's owner knows. `ended_at` is the instant of an ending, ISO 8601.

    `fingerprint` is that of the notification. It is empty where none was claimed under this id (cancelled ahead), and
    in an entry that is older than fingerprints.
    """

    id: str
    state: str
    owner: str = ""
    lease_until_ms: int = 0
    attempts: int = 0
    sending: bool = False
    ended_at: str = ""
    reason: str = ""
    fingerprint: str = ""

    def to_item(self, now: datetime) -> dict[str, Any]:
        item: dict[str, Any] = {"id": {"S": self.id}, "state": {"S": self.state}}
        for name in ("owner", "ended_at", "reason", "fingerprint"):
            if value := getattr(self, name):
                item[name] = {"S": value}
        item["lease_until_ms"] = {"N": str(self.lease_until_ms)}
        item["attempts"] = {"N": str(self.attempts)}
        if self.sending:
            item["sending"] = {"BOOL": True}
        item["expires"] = {"N": str(int((now + KEEP).timestamp()))}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Entry:
        """The entry of an item. It is `MALFORMED` if the item has no state, a claim without lease or attempts, or a
        number that is none: nobody could say then whether its notification may be sent."""
        state = item.get("state", {}).get("S", MALFORMED)
        if state == "claimed" and not item.keys() >= {"lease_until_ms", "attempts"}:
            state = MALFORMED
        try:
            lease_until_ms = int(item.get("lease_until_ms", {"N": "0"})["N"])
            attempts = int(item.get("attempts", {"N": "0"})["N"])
        except (KeyError, ValueError):
            state, lease_until_ms, attempts = MALFORMED, 0, 0
        return cls(
            id=item["id"]["S"],
            state=state,
            owner=item.get("owner", {}).get("S", ""),
            lease_until_ms=lease_until_ms,
            attempts=attempts,
            sending=item.get("sending", {}).get("BOOL", False),
            ended_at=item.get("ended_at", {}).get("S", ""),
            reason=item.get("reason", {}).get("S", ""),
            fingerprint=item.get("fingerprint", {}).get("S", ""),
        )


def ended(entry: Entry, state: Ending, now: datetime, reason: str = "", *, sending: bool = False) -> Entry:
    """Return the entry of a notification that has ended in `state`.

    `sending`: a provider may have it all the same, and a redrive must not forget that. A long reason is cut.
    """
    ended_at = now.isoformat(timespec="milliseconds")
    return Entry(
        entry.id,
        state,
        attempts=entry.attempts,
        sending=sending,
        ended_at=ended_at,
        reason=reason[:REASON_CHARACTERS_MAX],
        fingerprint=entry.fingerprint,
    )


def released(
    entry: Entry, attempts: int | None = None, not_before: datetime | None = None, *, sending: bool = False
) -> Entry:
    """The claim once it is given back, with so many attempts and not to be claimed before that instant. `sending`: a
    provider may have it all the same."""
    return Entry(
        entry.id,
        "claimed",
        lease_until_ms=0 if not_before is None else epoch_ms(not_before),
        attempts=entry.attempts if attempts is None else attempts,
        sending=sending,
        fingerprint=entry.fingerprint,
    )


def reopened(ending: Entry, fingerprint: str) -> Entry:
    """The released claim that an ending becomes when an operator lets its notification be sent again.

    It starts with no attempts. That a provider may have it is kept, except for an unknown outcome: sending that again
    in spite of it is what the operator decides.
    """
    sending = ending.sending and ending.state != "unknown"
    return released(Entry(ending.id, "claimed", fingerprint=fingerprint), sending=sending)


def epoch_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
