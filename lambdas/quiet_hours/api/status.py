"""The state of a notification, and cancelling notifications: the answers of the producer's API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..consents.counting import consent_under
from ..errors import Invalid, LedgerUnavailable
from ..notification.fields import ID_FAULT, is_id, text_check, time_fault
from ..notification.json_text import RepeatedKeys
from ..rule.policy import decide
from ..rule.terms import Hold, Policy, Send
from ..settings import Settings
from ..stores.clients import SERVICE_ERRORS
from ..stores.consents import read_consents
from ..stores.entries import ENDINGS, MALFORMED, Entry
from ..stores.held import (
    INDEX_LAG,
    SHARDS,
    Held,
    Position,
    held_of,
    is_incomplete,
    is_record_key,
    read_held,
    source_key,
)
from ..stores.ledger import TRANSACTION_ITEMS_MAX, Ledger

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

CANCELS_MAX = 1000
"""In one request: ten transactions, and about a hundred kilobytes of answer."""

_source_fault = text_check(128)

Answer = tuple[int, dict[str, Any]]

_CANNOT_BE_SEEN = (
    "nothing is recorded of this id: it was accepted and no worker has claimed it yet, or it was never accepted"
)
_NOR_IF_HELD = "; what is held is recorded only where recordHeld is on"


def look_up(
    id: str, now: datetime, dynamodb: DynamoDBClient, ledger: Ledger, settings: Settings, policy: Policy
) -> Answer:
    """The state of a notification and its reason: 200, or 404 if nothing is recorded of it.

    The ledger takes precedence, because the record of a held notification stays when it has been released. Raises what
    the client raises.
    """
    entry = ledger.read(id)
    kept = read_held(dynamodb, settings.held_table, id) if settings.record_held else None
    answer: dict[str, Any] = {"id": id, "state": "not_recorded", "why": "", "until": None, "attempts": 0}
    if entry is not None:
        answer |= _of_ledger(entry, now)
    elif kept is not None:
        answer |= _of_held(kept, now)
    else:
        answer["why"] = _CANNOT_BE_SEEN + ("" if settings.record_held else _NOR_IF_HELD)
        return 404, answer
    if kept is not None:
        answer |= {"held_at": kept.held_at, "source": kept.source or None}
        if answer["state"] not in ENDINGS:
            answer |= _judged(kept, now, dynamodb, settings, policy)
    return 200, answer


def _of_ledger(entry: Entry, now: datetime) -> dict[str, Any]:
    found: dict[str, Any] = {"state": entry.state, "attempts": entry.attempts}
    if entry.state == MALFORMED:
        return found | {"why": "the ledger's item of this id cannot be read: its notification goes to dead-letter"}
    if entry.state != "claimed":
        return found | {"why": entry.reason or f"it is {entry.state}", "ended_at": entry.ended_at}
    live = entry.lease_until_ms > now.timestamp() * 1000
    if entry.owner:
        why = "a worker has it now" if live else "its worker has not come back: the next one takes it over"
        return found | {"why": why}
    until = datetime.fromtimestamp(entry.lease_until_ms / 1000, now.tzinfo).isoformat(timespec="seconds")
    why = "a worker has given it back: it is tried again later, or held for the night"
    if entry.sending:
        why += "; a call for it had no answer, so that its provider may have it"
    return found | {"state": "waiting", "until": until if live else None, "why": why}


def _of_held(kept: Held, now: datetime) -> dict[str, Any]:
    if now < datetime.fromisoformat(kept.until):
        return {"state": "held", "why": kept.why, "until": kept.until}
    return {"state": "released", "why": "its quiet hours are over: it is on its way to a worker", "until": kept.until}


def _judged(kept: Held, now: datetime, dynamodb: DynamoDBClient, settings: Settings, policy: Policy) -> dict[str, Any]:
    """The rule's decision at this moment, without the consent that it rests on.

    Whoever may send may name any recipient. So the answer says what the decision means for this notification, as
    accepting it does, and nothing else of the recipient's record.
    """
    names = ("category", "channel", "expires_at", "policy", "country", "timezone")
    notification = {name: value for name in names if (value := getattr(kept, name))}
    keys = [kept.recipient_id, kept.address] if kept.address else [kept.recipient_id]
    consents = read_consents(dynamodb, settings.consent_table, keys, now)
    decision = decide(notification, consent_under(keys, consents), now, policy)
    until = decision.until.isoformat(timespec="seconds") if isinstance(decision, Hold) else None
    word = "hold" if isinstance(decision, Hold) else "send" if isinstance(decision, Send) else decision.reason
    return {"rule": {"decision": word, "until": until, "why": decision.why}}


def requested_cancels(request: object) -> list[str] | tuple[str, Position | None]:
    """The notifications that a request cancels: some ids, or a source and where to continue. Raises `Invalid`."""
    if not isinstance(request, dict) or isinstance(request, RepeatedKeys):
        raise Invalid(['request: must be {"ids": [...]} or {"source": "..."} as a JSON object'])
    if request.keys() == {"ids"}:
        ids = request["ids"]
        if not isinstance(ids, list) or not 1 <= len(ids) <= CANCELS_MAX:
            raise Invalid([f"ids: must be an array of 1 to {CANCELS_MAX} ids"])
        if wrong := [index for index, id in enumerate(ids) if not is_id(id)]:
            raise Invalid([f"ids: number {wrong[0]} {ID_FAULT}"])
        return ids
    if "source" not in request or not request.keys() <= {"source", "after"}:
        raise Invalid(["request: must have ids alone, or source, and after where an earlier answer gave a next"])
    if fault := _source_fault(request["source"]):
        raise Invalid([f"source: {fault}"])
    if not source_key(request["source"]):
        raise Invalid(["source: must not be blank"])
    after = request.get("after")
    if after is None:
        return request["source"], None
    position = _position(after) if isinstance(after, str) else None
    if position is None:
        raise Invalid(["after: must be the `next` of an earlier answer"])
    return request["source"], position


def _position(text: str) -> Position | None:
    """Read a `next`: a shard, an instant and an id, the last two empty at the beginning of a shard.

    An earlier version's has no shard. It is a place in the index of that version.
    """
    *shards, until, id = text.split(",") if text.count(",") in (1, 2) else ["", "", ""]
    shard = None
    if shards:
        if not re.fullmatch("[0-9]{1,2}", shards[0]) or int(shards[0]) >= SHARDS:
            return None
        shard = int(shards[0])
        if not until and not id:
            return Position(shard)
    return None if time_fault(until) or not is_record_key(id) else Position(shard, until, id)


def _next(position: Position) -> str:
    parts = (position.until, position.id) if position.shard is None else map(str, position)
    return ",".join(parts)


def cancel(ids: Iterable[str], now: datetime, ledger: Ledger) -> list[dict[str, Any]]:
    """Cancel notifications. Returns the result for each id, in the order given.

    `{"id", "outcome", "state"}`: `cancelled`, and no provider has it or will get it; `too_late`, a worker has it now,
    or a call for it had no answer; `ended` before, in that state; `not_known`, the ledger gave no answer: ask again.
    An id that was never seen is cancelled ahead of its arrival.
    """
    unique = list(dict.fromkeys(ids))
    states: dict[str, str] = {}
    for start in range(0, len(unique), TRANSACTION_ITEMS_MAX):
        part = unique[start : start + TRANSACTION_ITEMS_MAX]
        try:
            states |= ledger.cancel_all(part, now)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            states |= dict.fromkeys(part, "")
    states = {id: "" if state == MALFORMED else state for id, state in states.items()}
    outcomes = {"cancelled": "cancelled", "claimed": "too_late", "": "not_known"}
    return [{"id": id, "outcome": outcomes.get(states[id], "ended"), "state": states[id] or None} for id in unique]


def cancel_source(
    source: str,
    after: Position | None,
    now: datetime,
    dynamodb: DynamoDBClient,
    ledger: Ledger,
    settings: Settings,
) -> Answer:
    """Cancel what is held of one source, up to `CANCELS_MAX` at a time. `next` is where the next page begins, or None.

    `complete` says that this was the last page and that no record of the source is missing, of what was held before
    the first page's `held_before`; otherwise `why` says what is missing. Answers 409 if held notifications are not
    recorded. Raises what the client raises.
    """
    if not settings.record_held:
        return 409, {"errors": ["source: what is held is not recorded; set recordHeld to true, or cancel by ids"]}
    page = held_of(dynamodb, settings.held_table, source, CANCELS_MAX, after)
    why = None
    if page.after is not None:
        why = "there are more: send next back as after"
    elif is_incomplete(dynamodb, settings.held_table, source, now):
        why = "some of what is held of this source could not be recorded: cancel those by their ids"
    return 200, {
        "results": cancel(page.ids, now, ledger),
        "next": _next(page.after) if page.after else None,
        "complete": why is None,
        "why": why,
        "held_before": (now - INDEX_LAG).astimezone(UTC).isoformat(timespec="seconds"),
    }
