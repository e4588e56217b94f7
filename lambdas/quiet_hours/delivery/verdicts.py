"""The meaning of a verdict: where an item goes after its turn, and its new ledger entry. It makes no call."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from ..channels.channel import Outcome
from ..rule.terms import Drop, Hold
from ..stores.entries import Ending, Entry, ended, released
from ..stores.queues import DELAY_S_MAX

ATTEMPTS_MAX = 10
"""With the delays below, a notification that is blamed each time is dead-lettered within a quarter of an hour. Longer
delays would bring nothing: an attempt counts only while the channel delivers others (stores/health.py)."""

FIRST_RETRY_S = 15
RETRY_S_MAX = 120

MAY_HAVE_IT = "; an earlier call had no answer, so that the provider may have it"

Verdict = Outcome | Hold | Drop | None
"""The result of an item's turn: the provider's outcome, or the rule's decision; None if nothing was tried."""

Place = Literal["delivered", "ended", "dead_letter", "wait", "lane"]


class Settlement(NamedTuple):
    """The place where an item goes, its new ledger entry, the delay before its lane shows it again, and the number of
    the wait queue."""

    place: Place
    entry: Entry
    delay_s: float = 0
    queue: int = 0


def settlement(
    verdict: Verdict, entry: Entry, can_resend: bool, wait_s: float, now: datetime, *, blames: bool = True
) -> Settlement:
    """Decide what a verdict means for a claimed item.

    `wait_s`: how long its channel rests. `blames` is false where the channel may be at fault: then a failure costs no
    attempt. If a call of this turn or an earlier one may have reached the provider, the entry and its reason say so.
    """
    is_unknown = isinstance(verdict, Outcome) and verdict.kind == "unknown"
    entry = replace(entry, sending=can_resend and (entry.sending or is_unknown))
    but = MAY_HAVE_IT if entry.sending else ""
    if isinstance(verdict, Hold):
        return Settlement("wait", released(entry, sending=entry.sending), queue=verdict.queue)
    if isinstance(verdict, Drop):
        return Settlement("ended", ended(entry, verdict.reason, now, verdict.why + but))
    if verdict is None or verdict.kind in ("unavailable", "unauthorized", "misconfigured"):
        return Settlement("lane", released(entry, sending=entry.sending), max(1, wait_s))
    if verdict.kind == "delivered":
        return Settlement("delivered", entry)
    if verdict.kind == "not_in_allow_list":
        return Settlement("ended", ended(entry, "not_in_allow_list", now, verdict.reason + but))
    if verdict.kind == "rejected":
        return Settlement("dead_letter", dead_lettered(entry, verdict.reason + but, now))
    if is_unknown and not can_resend:
        return Settlement("dead_letter", dead_lettered(entry, f"unknown_outcome: {verdict.reason}", now, "unknown"))
    if not blames:
        delay_s = min(DELAY_S_MAX, max(1, wait_s))
        not_before = now + timedelta(seconds=delay_s)
        return Settlement("lane", released(entry, not_before=not_before, sending=entry.sending), delay_s)
    if entry.attempts + 1 >= ATTEMPTS_MAX:
        reason = f"attempts_exhausted: {ATTEMPTS_MAX}, the last: {verdict.reason}{but}"
        return Settlement("dead_letter", dead_lettered(entry, reason, now))
    delay_s = min(RETRY_S_MAX, FIRST_RETRY_S * 2**entry.attempts)
    not_before = now + timedelta(seconds=delay_s)
    return Settlement("lane", released(entry, entry.attempts + 1, not_before, sending=entry.sending), delay_s)


def dead_lettered(entry: Entry, reason: str, now: datetime, state: Ending = "dead_lettered") -> Entry:
    """The entry of an item that goes to dead-letter."""
    return ended(entry, state, now, reason, sending=entry.sending)


def too_late_to_send(entry: Entry, was_interrupted: bool, can_resend: bool, now: datetime) -> Entry | None:
    """The ending of a claimed item that must not be sent any more; None where it may be sent. `was_interrupted`: an
    owner died while its call may have been under way."""
    if was_interrupted and not can_resend:
        return dead_lettered(entry, "unknown_outcome: an earlier call had no answer", now, "unknown")
    if entry.attempts >= ATTEMPTS_MAX:
        return dead_lettered(entry, f"attempts_exhausted: {entry.attempts}, the last without an answer", now)
    return None


Absorption = Literal["absorbed", "absorbed_dead_lettered", "absorbed_original", "back_to_dead_letter"]


def absorption(redriven: str | None, ending: Entry, is_same: bool) -> Absorption:
    """Decide what becomes of an item that has ended already. `redriven` is the ending that a redrive of it undoes.
    `is_same`: the item may have the content that has ended.

    A redrive of an unknown outcome is more than a duplicate: it goes back to dead-letter, because nobody has said
    that it may be sent again. What has a dead letter and comes without the letter's attribute is counted apart:
    somebody may have sent the letter's body by hand, and it will not be sent. So is the original of a letter that was
    mended and then delivered.
    """
    if ending.state == "unknown" and redriven == ending.ended_at:
        return "back_to_dead_letter"
    if ending.state in ("dead_lettered", "unknown") and redriven is None:
        return "absorbed_dead_lettered"
    return "absorbed" if is_same else "absorbed_original"
