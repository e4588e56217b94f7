"""The ledger: one item per notification id, so that duplicates from any hop are absorbed and nothing ends twice.

A claim is conditional and carries its owner and a lease. Only an ending absorbs duplicates. A claim that another
invocation holds means "not done, give it back". A claim that has lapsed means that its owner died. All writes that
decide something are transactions of up to a hundred puts, each with its own condition. A delivery is recorded by an
unconditional batch, because it is true whatever else happened (docs/decisions/0002-ledger-calls.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from ..errors import LedgerUnavailable
from ..notification.fields import instant
from ..notification.fingerprint import may_be_the_same
from .backoff import RECORD_TRIES_MAX, TRIES_MAX, Tries, endless, no_pause
from .clients import error_code, is_throttled, is_throttling
from .conditions import Put, absent, owned, unchanged
from .entries import MALFORMED, Entry, ended, epoch_ms, reopened
from .unprocessed import BATCH_ITEMS_MAX, BATCH_KEYS_MAX, put_batch, read_batch

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

TRANSACTION_ITEMS_MAX = 100
ROUNDS_MAX = 5

NO_FINGERPRINTS: Mapping[str, str] = MappingProxyType({})

LOOK_AGAIN_S = 30
"""The longest wait before a live claim is looked at again: its owner is mostly done long before the lease ends."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The result of claiming some ids. Each id is in exactly one of the first four, or in `reused` or `malformed`.

    `held`: ours, with its attempts so far. `interrupted`: ours, but an owner died while its call may have been under
    way. `busy`: another's, or not yet due; look at it again in so many seconds. `ended`: the ending that stands.
    `reused`: the entry of another notification that has this id; it stays as it is.
    `malformed`: entries that cannot be read or matched, which no version of this code has written.
    `lapsed`: those of `held` whose owner died. A channel that can send again marks no calls, so a call of theirs may
    have been under way too.
    """

    held: dict[str, Entry]
    interrupted: dict[str, Entry]
    busy: dict[str, float]
    ended: dict[str, Entry]
    lapsed: set[str] = field(default_factory=set)
    reused: dict[str, Entry] = field(default_factory=dict)
    malformed: set[str] = field(default_factory=set)


class Written(NamedTuple):
    """The entries that were written by id, and the ids whose entries kept changing."""

    entries: dict[str, Entry]
    left: list[str]


class Reopening(NamedTuple):
    """An ending as it was found, and the fingerprint of the notification that may be sent again."""

    found: Entry
    fingerprint: str


class Transacted(NamedTuple):
    """The puts that kept a transaction from happening, none if it has happened: by id the entry that is in the way, or
    None where another transaction was at work or DynamoDB throttles."""

    in_the_way: dict[str, Entry | None]
    throttled: bool


class Ledger:
    """The ledger as one invocation uses it: `owner` is unique to the invocation, `lease` outlives it.

    `sleep` and `remaining_s` are the invocation's: what DynamoDB throttles is tried again after pauses that end in time
    (stores/backoff.py).
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table: str,
        owner: str,
        lease: timedelta,
        sleep: Callable[[float], None] = no_pause,
        remaining_s: Callable[[], float] = endless,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._owner = owner
        self._lease = lease
        self._sleep = sleep
        self._remaining_s = remaining_s

    def _tries(self, first_id: str, tries_max: int = TRIES_MAX) -> Tries:
        return Tries(tries_max, self._sleep, self._remaining_s, f"{self._owner} {first_id}")

    def claim(
        self,
        redriven: Mapping[str, str | None],
        now: datetime,
        fingerprints: Mapping[str, str] = NO_FINGERPRINTS,
        *,
        sending: bool = False,
    ) -> Claims:
        """Claim ids, each with the dead-lettering that a redrive of it undoes, or None.

        `fingerprints` has the fingerprint of each id's notification. An id without one matches every entry. `sending`:
        mark that the calls for these claims may begin now.
        A lapsed claim is taken over and costs an attempt, because its owner died over it. Raises what the client
        raises, and `LedgerUnavailable`; claims that were made all the same lapse by themselves.
        """
        claims = Claims({}, {}, {}, {})
        interrupted: set[str] = set()
        until_ms = epoch_ms(now + self._lease)
        mine = {
            id: Entry(id, "claimed", self._owner, until_ms, sending=sending, fingerprint=fingerprints.get(id, ""))
            for id in redriven
        }

        def examine(id: str, found: Entry | None) -> Put | None:
            if found is None:
                claims.busy[id] = 1
            elif found.state == MALFORMED:
                claims.malformed.add(id)
            elif _is_of_another_notification(found, mine[id], redriven[id]):
                claims.reused[id] = found
            elif found.state != "claimed" and not is_undone(found, redriven[id]):
                claims.ended[id] = found
            elif (busy_s := self._busy_s(found, now)) > 0:
                claims.busy[id] = busy_s
            else:
                if self._is_of_another(found):
                    claims.lapsed.add(id)
                (interrupted.add if found.sending else interrupted.discard)(id)
                return unchanged(found, self._take_over(found, mine[id]))
            return None

        written = self._put_or_examine({id: absent(entry) for id, entry in mine.items()}, examine, now)
        for id, entry in written.entries.items():
            (claims.interrupted if id in interrupted else claims.held)[id] = entry
        claims.busy.update(dict.fromkeys(written.left, 1.0))
        return claims

    def _busy_s(self, found: Entry, now: datetime) -> float:
        """Return in how many seconds to look again at an entry that may not be claimed now; 0 or less if it may."""
        left_s = (found.lease_until_ms - epoch_ms(now)) / 1000
        if found.owner == self._owner:
            return 0
        return min(left_s, LOOK_AGAIN_S) if found.owner else left_s

    def _is_of_another(self, found: Entry) -> bool:
        return found.state == "claimed" and found.owner not in (self._owner, "")

    def _take_over(self, found: Entry, mine: Entry) -> Entry:
        """Our claim in place of an entry that may be claimed, with the attempts that count against it."""
        sending = mine.sending or found.sending
        if found.state != "claimed":  # a redrive starts with no attempts
            return replace(mine, sending=sending)
        attempts = found.attempts + 1 if self._is_of_another(found) else found.attempts
        return replace(mine, attempts=attempts, sending=sending)

    def unmark(self, entries: Iterable[Entry], now: datetime) -> None:
        """Mark that the calls for these claims are over and sent nothing. A claim that is no longer ours is left as it
        is."""
        self._put([owned(replace(entry, sending=False), self._owner) for entry in entries], now)

    def release(self, entries: Iterable[Entry], now: datetime) -> None:
        """Give claims back; `released` makes the entries. A claim that is no longer ours is left as it is.

        Raises what the client raises, and `LedgerUnavailable`.
        """
        self._settle(entries, now)

    def end(self, entries: Iterable[Entry], now: datetime) -> None:
        """Record endings other than deliveries; `ended` makes the entries. The rest is as for `release`."""
        self._settle(entries, now)

    def _settle(self, entries: Iterable[Entry], now: datetime) -> None:
        refused = self._put([owned(entry, self._owner) for entry in entries], now)
        if None in refused.values():
            raise LedgerUnavailable("other transactions kept writing some of the entries")

    def delivered(self, entries: Iterable[Entry], now: datetime) -> None:
        """Record deliveries, in batches and without condition. Raises what the client raises, and `LedgerUnavailable`
        when some stay unwritten: every batch has been tried then."""
        items = [ended(entry, "delivered", now).to_item(now) for entry in entries]
        tries = self._tries(items[0]["id"]["S"] if items else "", RECORD_TRIES_MAX)
        left = 0
        for start in range(0, len(items), BATCH_ITEMS_MAX):
            batch = items[start : start + BATCH_ITEMS_MAX]
            put_batch(self._dynamodb, self._table, batch, tries)
            left += len(batch)
        if left:
            raise LedgerUnavailable(f"{left} deliveries were left unprocessed after {tries.made} tries")

    def cancel(self, id: str, now: datetime) -> str:
        """Write the ending `cancelled` ahead of time. Returns the state that the id is in then.

        `claimed` means too late: a worker has it now, or a provider may have got it already. Raises what the client
        raises, and `LedgerUnavailable`.
        """
        return self.cancel_all([id], now)[id]

    def cancel_all(self, ids: Iterable[str], now: datetime) -> dict[str, str]:
        """Cancel many ids, each by itself. If this raises, some may be cancelled: call it again."""
        cancelled = {id: ended(Entry(id, "claimed"), "cancelled", now) for id in ids}
        states: dict[str, str] = {}

        def examine(id: str, found: Entry | None) -> Put | None:
            if found is None or (found.state == "claimed" and (found.owner or found.sending)):
                states[id] = "claimed"
            elif found.state != "claimed":
                states[id] = found.state
            else:
                return unchanged(found, replace(cancelled[id], fingerprint=found.fingerprint))
            return None

        written = self._put_or_examine({id: absent(entry) for id, entry in cancelled.items()}, examine, now)
        if written.left:
            raise LedgerUnavailable("the ledger entries kept changing")
        return states | dict.fromkeys(written.entries, "cancelled")

    def read_all(self, ids: Iterable[str]) -> dict[str, Entry]:
        """The entries of many ids at this moment, of those that have one. Raises what the client raises, and
        `LedgerUnavailable`."""
        keys = [{"id": {"S": id}} for id in ids]
        entries: dict[str, Entry] = {}
        for start in range(0, len(keys), BATCH_KEYS_MAX):
            batch = keys[start : start + BATCH_KEYS_MAX]
            found = read_batch(self._dynamodb, self._table, batch, self._tries(batch[0]["id"]["S"]))
            if batch:
                raise LedgerUnavailable(f"{len(batch)} entries were left unprocessed")
            entries |= {item["id"]["S"]: Entry.from_item(item) for item in found}
        return entries

    def read(self, id: str) -> Entry | None:
        """The entry of an id at this moment, or None. Raises what the client raises."""
        answer = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": id}}, ConsistentRead=True)
        return Entry.from_item(answer["Item"]) if "Item" in answer else None

    def reopen(self, endings: Iterable[Reopening], now: datetime) -> set[str]:
        """Turn endings into released claims without attempts, so that their notifications may be sent again: an
        operator's decision. Each only if its entry is still as it was found. Returns the ids that are reopened.

        Raises what the client raises, and `LedgerUnavailable`: some may be reopened then.
        """
        return self._replace([(found, reopened(found, fingerprint)) for found, fingerprint in endings], now)

    def expire(self, endings: Iterable[Entry], now: datetime) -> set[str]:
        """Record that dead-lettered notifications have expired instead: an operator's decision. The rest is as for
        `reopen`."""
        reason = "an operator has dropped it, because it had expired"
        return self._replace(
            [(found, ended(found, "expired", now, reason, sending=found.sending)) for found in endings], now
        )

    def _replace(self, changes: Sequence[tuple[Entry, Entry]], now: datetime) -> set[str]:
        """Put entries in place of those that were found, if these have not changed. Returns the ids that are put."""
        in_the_way = self._put([unchanged(found, entry) for found, entry in changes], now)
        return {entry.id for _, entry in changes} - in_the_way.keys()

    def _put_or_examine(
        self, puts: Mapping[str, Put], examine: Callable[[str, Entry | None], Put | None], now: datetime
    ) -> Written:
        """Make puts by id, and examine each entry that is in the way, or None where another transaction is at work on
        it. `examine` returns the put to try next, or None if there is none."""
        entries: dict[str, Entry] = {}
        seen: dict[str, Entry | None] = {}
        waiting = dict(puts)
        for _ in range(ROUNDS_MAX):
            in_the_way = self._put(waiting.values(), now)
            entries |= {id: put.entry for id, put in waiting.items() if id not in in_the_way}
            waiting = {}
            for id, found in in_the_way.items():
                if found is not None and found == seen.get(id):
                    # Its condition failed although nothing has changed: no condition of ours can hold for this item.
                    found = replace(found, state=MALFORMED)
                seen[id] = found
                if (put := examine(id, found)) is not None:
                    waiting[id] = put
            if not waiting:
                break
        return Written(entries, list(waiting))

    def _put(self, puts: Iterable[Put], now: datetime) -> dict[str, Entry | None]:
        """Make each put whose condition holds. Returns the others by id: the entry that is in the way, or None where
        another transaction was at work on it in every round.

        A put that fails takes no neighbour with it: the others of its transaction are sent again by themselves. What is
        in conflict or throttled is sent again after a pause. Raises `LedgerUnavailable` if some stay throttled.
        """
        refused: dict[str, Entry | None] = {}
        waiting = list(puts)
        groups = [waiting[i : i + TRANSACTION_ITEMS_MAX] for i in range(0, len(waiting), TRANSACTION_ITEMS_MAX)]
        tries = self._tries(waiting[0].entry.id if waiting else "")
        while groups:
            left: list[list[Put]] = []
            throttled = busy = False
            for group in groups:
                in_the_way, was_throttled = self._transact(group, now)
                if in_the_way:
                    refused |= {id: entry for id, entry in in_the_way.items() if entry is not None}
                    left.append([put for put in group if put.entry.id not in in_the_way])
                    left.append([put for put in group if put.entry.id in in_the_way and put.entry.id not in refused])
                    throttled |= was_throttled
                    busy |= None in in_the_way.values()
            groups = [group for group in left if group]
            if groups and not tries.again(at_once=not busy):
                if throttled:
                    raise LedgerUnavailable(f"DynamoDB has throttled the ledger {tries.made} times")
                break
        return refused | {put.entry.id: None for group in groups for put in group}

    def _transact(self, puts: Sequence[Put], now: datetime) -> Transacted:
        try:
            self._dynamodb.transact_write_items(TransactItems=[put.request(self._table, now) for put in puts])  # type: ignore[misc]
        except ClientError as error:
            if is_throttled(error):
                return Transacted({put.entry.id: None for put in puts}, throttled=True)
            if error_code(error) != "TransactionCanceledException":
                raise
            reasons: list[Any] = error.response.get("CancellationReasons", [])
            refused: dict[str, Entry | None] = {}
            throttled = False
            for put, reason in zip(puts, reasons, strict=False):
                code = reason.get("Code")
                if code in ("ConditionalCheckFailed", "TransactionConflict") or is_throttling(code):
                    refused[put.entry.id] = Entry.from_item(reason["Item"]) if "Item" in reason else None
                    throttled |= is_throttling(code)
                elif code not in (None, "None"):
                    raise LedgerUnavailable(str(code)) from None
            if not refused:
                raise LedgerUnavailable("a transaction was cancelled without a reason") from None
            return Transacted(refused, throttled)
        return Transacted({}, throttled=False)


def _is_of_another_notification(found: Entry, mine: Entry, redriven: str | None) -> bool:
    """True if an entry belongs to another notification than the one to claim.

    A redrive of this very ending may have other content, because an operator may have mended the letter. So may a
    redrive of an ending before a delivery: the mended letter was delivered, and this is the original one.
    """
    is_its_redrive = found.state in ("dead_lettered", "unknown") and redriven == found.ended_at
    if is_its_redrive or _is_delivered_since(found, redriven):
        return False
    return not may_be_the_same(found.fingerprint, mine.fingerprint)


def _is_delivered_since(found: Entry, redriven: str | None) -> bool:
    """True if an entry was delivered after the ending that a redrive wants to undo."""
    before, after = instant(redriven or ""), instant(found.ended_at)
    return found.state == "delivered" and before is not None and after is not None and before < after


def is_undone(found: Entry, redriven: str | None) -> bool:
    """True if a redrive undoes exactly this ending."""
    return found.state == "dead_lettered" and redriven == found.ended_at
