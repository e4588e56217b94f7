"""The ledger: one item per notification id, so that duplicates from any hop are absorbed and nothing ends twice.

A claim is conditional and carries its owner and a lease. Only an ending absorbs duplicates; a claim that another
invocation holds means "not done, give it back", and one that has lapsed means that its owner died. All writes that
decide something are transactions of up to a hundred puts, each with its own condition; a delivery is recorded by an
unconditional batch, because it is true whatever else happened (docs/decisions/0002-ledger-calls.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from ..errors import LedgerUnavailable

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

TRANSACTION_ITEMS_MAX = 100
BATCH_ITEMS_MAX = 25
ROUNDS_MAX = 5

KEEP = timedelta(days=30)
"""Longer than any message can live: 3 days to its expiry, 14 in dead-letter, 4 on each of three queues after that."""

LOOK_AGAIN_S = 30
"""When to come back to a claim that is live: its owner is nearly always done long before its lease is."""

Ending = Literal["delivered", "expired", "cancelled", "opted_out", "dead_lettered", "unknown"]
ENDINGS: tuple[Ending, ...] = ("delivered", "expired", "cancelled", "opted_out", "dead_lettered", "unknown")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of one id. A claim without an owner has been released: anyone may claim it, but not before
    `lease_until_ms`, so that a duplicate cannot cut short the wait before a retry.

    `sending` marks a claim of which a provider may have got something: a call whose answer is not known may have
    begun. For channels that cannot be asked twice it is written before each call; for the others only when such a
    claim is given back, since whoever has a claim knows. `ended_at` is the instant of an ending, ISO 8601.
    """

    id: str
    state: str
    owner: str = ""
    lease_until_ms: int = 0
    attempts: int = 0
    sending: bool = False
    ended_at: str = ""
    reason: str = ""

    def to_item(self, now: datetime) -> dict[str, Any]:
        item: dict[str, Any] = {"id": {"S": self.id}, "state": {"S": self.state}}
        for name in ("owner", "ended_at", "reason"):
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
        return cls(
            id=item["id"]["S"],
            state=item["state"]["S"],
            owner=item.get("owner", {}).get("S", ""),
            lease_until_ms=int(item.get("lease_until_ms", {}).get("N", "0")),
            attempts=int(item.get("attempts", {}).get("N", "0")),
            sending=item.get("sending", {}).get("BOOL", False),
            ended_at=item.get("ended_at", {}).get("S", ""),
            reason=item.get("reason", {}).get("S", ""),
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """What came of claiming some ids; each is in exactly one of these.

    `held`: ours, with its attempts so far. `interrupted`: ours, but an owner died while its call may have been under
    way. `busy`: another's, or not yet due: to be looked at again in so many seconds. `ended`: how. `lapsed`: those of
    `held` whose owner died. Channels that can be asked twice mark no calls: there one may have been under way as well.
    """

    held: dict[str, Entry]
    interrupted: dict[str, Entry]
    busy: dict[str, float]
    ended: dict[str, Entry]
    lapsed: set[str] = field(default_factory=set)


class Ledger:
    """The ledger as one invocation uses it: `owner` is unique to the invocation, `lease` outlives it."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, owner: str, lease: timedelta) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._owner = owner
        self._lease = lease

    def claim(self, redriven: Mapping[str, str | None], now: datetime) -> Claims:
        """Claim ids, each with the dead-lettering that a redrive of it undoes, or None.

        A claim that lapsed is taken over and costs an attempt: its owner died over it. Raises what the client
        raises, and `LedgerUnavailable`; claims that were made all the same lapse by themselves.
        """
        claims = Claims({}, {}, {}, {})
        mine = {id: Entry(id, "claimed", self._owner, self._lease_end_ms(now)) for id in redriven}
        waiting = {id: _absent(entry) for id, entry in mine.items()}
        for _ in range(ROUNDS_MAX):
            failed = self._put(waiting.values(), now)
            for id, put in waiting.items():
                if id not in failed:
                    taken = put.entry
                    (claims.interrupted if taken.sending else claims.held)[id] = taken
            waiting = {}
            for id, found in failed.items():
                if found is None:
                    claims.busy[id] = 1
                elif found.state != "claimed" and not (
                    found.state == "dead_lettered" and redriven[id] == found.ended_at
                ):
                    claims.ended[id] = found
                elif found.lease_until_ms > _ms(now) and found.owner != self._owner:
                    left_s = (found.lease_until_ms - _ms(now)) / 1000
                    claims.busy[id] = min(left_s, LOOK_AGAIN_S) if found.owner else left_s
                else:
                    if found.state == "claimed" and found.owner not in (self._owner, ""):
                        claims.lapsed.add(id)
                    waiting[id] = _unchanged(found, self._take_over(found, mine[id]))
            if not waiting:
                return claims
        claims.busy.update(dict.fromkeys(waiting, 1.0))
        return claims

    def _take_over(self, found: Entry, mine: Entry) -> Entry:
        if found.state != "claimed":  # a redrive starts afresh
            return replace(mine, sending=found.sending)
        if found.owner in (self._owner, ""):
            return replace(mine, attempts=found.attempts, sending=found.sending)
        return replace(mine, attempts=found.attempts + 1, sending=found.sending)

    def mark_sending(self, entries: Iterable[Entry], now: datetime, *, sending: bool = True) -> dict[str, Entry]:
        """Note that calls for these claims may begin now, or with `sending` False that they are over and nothing was
        sent. Returns those that are still ours, as they are now."""
        marked = [replace(entry, sending=sending) for entry in entries]
        failed = self._put([_owned(entry, self._owner) for entry in marked], now)
        return {entry.id: entry for entry in marked if entry.id not in failed}

    def release(self, entries: Iterable[Entry], now: datetime) -> None:
        """Give claims back; `released` makes the entries. What is no longer ours is left as it is.

        Raises what the client raises, and `LedgerUnavailable`.
        """
        self._settle(entries, now)

    def end(self, entries: Iterable[Entry], now: datetime) -> None:
        """Record endings other than deliveries; `ended` makes the entries. The rest is as for `release`."""
        self._settle(entries, now)

    def _settle(self, entries: Iterable[Entry], now: datetime) -> None:
        refused = self._put([_owned(entry, self._owner) for entry in entries], now)
        if None in refused.values():
            raise LedgerUnavailable("another transaction was at work on some entries all the time")

    def delivered(self, entries: Iterable[Entry], now: datetime) -> None:
        """Record deliveries, in batches and without condition. Raises `LedgerUnavailable` when some stay unwritten."""
        items = [ended(entry, "delivered", now).to_item(now) for entry in entries]
        for start in range(0, len(items), BATCH_ITEMS_MAX):
            requests: list[Any] = [{"PutRequest": {"Item": item}} for item in items[start : start + BATCH_ITEMS_MAX]]
            for _ in range(ROUNDS_MAX):
                answer = self._dynamodb.batch_write_item(RequestItems={self._table: requests})
                requests = list(answer.get("UnprocessedItems", {}).get(self._table, []))
                if not requests:
                    break
            else:
                raise LedgerUnavailable(f"{len(requests)} deliveries were left unprocessed {ROUNDS_MAX} times")

    def cancel(self, id: str, now: datetime) -> str:
        """Write the ending `cancelled` ahead of time. Returns the state that the id is in then.

        `claimed` means too late: a worker has it now, or a provider may have got it already. Raises what the client
        raises, and `LedgerUnavailable`.
        """
        return self.cancel_all([id], now)[id]

    def cancel_all(self, ids: Iterable[str], now: datetime) -> dict[str, str]:
        """`cancel` for many at once, each by itself. Where this raises, some may be cancelled: ask again."""
        cancelled = {id: ended(Entry(id, "claimed"), "cancelled", now) for id in ids}
        waiting = {id: _absent(entry) for id, entry in cancelled.items()}
        states: dict[str, str] = {}
        for _ in range(ROUNDS_MAX):
            failed = self._put(waiting.values(), now)
            states |= dict.fromkeys(waiting.keys() - failed.keys(), "cancelled")
            waiting = {}
            for id, found in failed.items():
                if found is None or (found.state == "claimed" and (found.owner or found.sending)):
                    states[id] = "claimed"
                elif found.state != "claimed":
                    states[id] = found.state
                else:
                    waiting[id] = _unchanged(found, cancelled[id])
            if not waiting:
                return states
        raise LedgerUnavailable("the ledger entries kept changing")

    def read(self, id: str) -> Entry | None:
        """What the ledger says of an id at this moment, or None. Raises what the client raises."""
        answer = self._dynamodb.get_item(TableName=self._table, Key={"id": {"S": id}}, ConsistentRead=True)
        return Entry.from_item(answer["Item"]) if "Item" in answer else None

    def reopen_unknown(self, id: str, dead_lettered_at: str, now: datetime) -> bool:
        """The operator's word that a notification with an unknown outcome may be sent again by a redrive."""
        found = Entry(id, "unknown", ended_at=dead_lettered_at)
        put = _unchanged(found, Entry(id, "dead_lettered", ended_at=dead_lettered_at, reason="reopened by an operator"))
        return not self._put([put], now)

    def _lease_end_ms(self, now: datetime) -> int:
        return _ms(now + self._lease)

    def _put(self, puts: Iterable[_Put], now: datetime) -> dict[str, Entry | None]:
        """Make each put whose condition holds. Returns the others: the entry that stood in the way, or None where
        another transaction was at work on it in every round. No put takes a neighbour with it: those that did not
        stand in the way are sent again by themselves."""
        refused: dict[str, Entry | None] = {}
        waiting = list(puts)
        groups = [waiting[i : i + TRANSACTION_ITEMS_MAX] for i in range(0, len(waiting), TRANSACTION_ITEMS_MAX)]
        for _ in range(ROUNDS_MAX):
            left: list[list[_Put]] = []
            for group in groups:
                if in_the_way := self._transact(group, now):
                    refused |= {id: entry for id, entry in in_the_way.items() if entry is not None}
                    left.append([put for put in group if put.entry.id not in in_the_way])
                    left.append([put for put in group if put.entry.id in in_the_way and put.entry.id not in refused])
            groups = [group for group in left if group]
        return refused | {put.entry.id: None for group in groups for put in group}

    def _transact(self, puts: Sequence[_Put], now: datetime) -> dict[str, Entry | None]:
        try:
            self._dynamodb.transact_write_items(TransactItems=[put.request(self._table, now) for put in puts])  # type: ignore[misc]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "TransactionCanceledException":
                raise
            reasons: list[Any] = error.response.get("CancellationReasons", [])
            refused: dict[str, Entry | None] = {}
            for put, reason in zip(puts, reasons, strict=False):
                if reason.get("Code") in ("ConditionalCheckFailed", "TransactionConflict"):
                    refused[put.entry.id] = Entry.from_item(reason["Item"]) if "Item" in reason else None
                elif reason.get("Code") not in (None, "None"):
                    raise LedgerUnavailable(str(reason["Code"])) from None
            if not refused:
                raise LedgerUnavailable("a transaction was cancelled without a reason") from None
            return refused
        return {}


@dataclass(frozen=True, slots=True)
class _Put:
    """An entry to write, and the condition under which it may be written."""

    entry: Entry
    condition: str
    names: Mapping[str, str]
    values: Mapping[str, Any]

    def request(self, table: str, now: datetime) -> dict[str, Any]:
        put: dict[str, Any] = {
            "TableName": table,
            "Item": self.entry.to_item(now),
            "ConditionExpression": self.condition,
            "ExpressionAttributeNames": self.names,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if self.values:
            put["ExpressionAttributeValues"] = self.values
        return {"Put": put}


def ended(entry: Entry, state: Ending, now: datetime, reason: str = "", *, sending: bool = False) -> Entry:
    """The entry as it stands once the notification has ended so. `sending` where a provider may have got it all the
    same: a redrive of it must not forget that."""
    ended_at = now.isoformat(timespec="milliseconds")
    return Entry(entry.id, state, attempts=entry.attempts, sending=sending, ended_at=ended_at, reason=reason)


def released(
    entry: Entry, attempts: int | None = None, not_before: datetime | None = None, *, sending: bool = False
) -> Entry:
    """The claim as it stands once it is given back: with so many attempts, not to be claimed before that instant.
    `sending` where a provider may have got it all the same."""
    lease_until_ms = 0 if not_before is None else _ms(not_before)
    return Entry(entry.id, "claimed", "", lease_until_ms, entry.attempts if attempts is None else attempts, sending)


def _absent(entry: Entry) -> _Put:
    return _Put(entry, "attribute_not_exists(#id)", {"#id": "id"}, {})


def _owned(entry: Entry, owner: str) -> _Put:
    names = {"#owner": "owner", "#state": "state"}
    values = {":owner": {"S": owner}, ":claimed": {"S": "claimed"}}
    return _Put(entry, "#owner = :owner AND #state = :claimed", names, values)


def _unchanged(found: Entry, entry: Entry) -> _Put:
    """Only if the entry is still as it was found: nobody claimed, released or ended it in between, no call began."""
    names = {"#state": "state"}
    values: dict[str, Any] = {":state": {"S": found.state}}
    conditions = ["#state = :state"]
    if found.state != "claimed":
        names["#ended"], values[":ended"] = "ended_at", {"S": found.ended_at}
        conditions.append("#ended = :ended")
    else:
        names["#lease"], values[":lease"] = "lease_until_ms", {"N": str(found.lease_until_ms)}
        names["#attempts"], values[":attempts"] = "attempts", {"N": str(found.attempts)}
        conditions += ["#lease = :lease", "#attempts = :attempts"]
        names["#sending"] = "sending"
        if found.sending:
            values[":sending"] = {"BOOL": True}
            conditions.append("#sending = :sending")
        else:
            conditions.append("attribute_not_exists(#sending)")
    return _Put(entry, " AND ".join(conditions), names, values)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
