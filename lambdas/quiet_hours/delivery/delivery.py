"""What the worker does with one bundle: claim, read consent, judge again, call, record; and where the rest goes.

Everything that happens to an item is first collected in an `Aftermath` and then applied in one fixed order, so that
a crash between any two steps leaves the item to come again rather than lost (docs/decisions/0003-order-of-writes.md).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from ..channels import NotConfigured
from ..channels.channel import Channel, Outcome
from ..errors import ConsentUnavailable, LedgerUnavailable, Unreadable
from ..notification.bundle import InvalidItem, Item, Message, dead_letter, pack, read
from ..notification.notification import recipient_of
from ..rule.policy import Consent, Drop, Hold, Policy, Send, decide, may_be_held, quiet_until
from ..settings import Settings
from ..side_by_side import SideBySide
from ..stores.clients import SERVICE_ERRORS
from ..stores.consents import read_consents
from ..stores.entries import Ending, Entry, ended, released
from ..stores.ledger import Ledger
from ..stores.queues import DELAY_S_MAX, send
from ..timings import WORKER_TIMEOUT_S
from .pacing import Pacer
from .recording import Recorder

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

ATTEMPTS_MAX = 10
"""With the delays below, about an hour of answers that blame the notification before it is dead-lettered."""

FIRST_RETRY_S = 15
REST_S = 30
"""How long a channel is left alone that refuses everything, unless it says itself how long."""

WRAP_UP_S = 10
"""Kept free at the end of an invocation for recording and handing back."""

TURN_S_MAX = WORKER_TIMEOUT_S - 2 * WRAP_UP_S
"""The longest that one call and the interval after it may take, so that every invocation has time for at least one."""

SPLIT_PARTS = 10
LANE_SHARE = 0.5
"""Each lane's part of a provider's rate: the release can never take the day's half."""

CALL_S = 1.0
"""How long an invocation's share of a rate may be saved up for one call: so a call with many is no burst."""

Verdict = Outcome | Hold | Drop | None
"""What came of an item at its turn; None where nothing was tried."""

Claimed = tuple[Item, Entry]
Judged = tuple[Item, Entry, Verdict]


@dataclass
class Aftermath:
    """What is to be done about a bundle's items, decided and not yet applied."""

    letters: list[tuple[Message, Entry | None]] = field(default_factory=list)
    delivered: list[Entry] = field(default_factory=list)
    endings: list[Entry] = field(default_factory=list)
    releases: list[Entry] = field(default_factory=list)
    held: list[Item] = field(default_factory=list)
    back: defaultdict[int, list[Item]] = field(default_factory=lambda: defaultdict(list))
    pacers: list[Pacer] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def give_back(self, items: Sequence[Item], delay_s: float = 0) -> None:
        """Items that go back to their lane, to be seen again after the delay."""
        self.back[min(DELAY_S_MAX, ceil(delay_s))] += items
        self.counts["given_back"] += len(items)

    def dead_letter(
        self, item: Item, entry: Entry, reason: str, now: datetime, state: Ending = "dead_lettered"
    ) -> None:
        ending = ended(entry, state, now, reason, sending=entry.sending)
        self.letters.append((dead_letter(item.text, reason, item.id, ending.ended_at), ending))
        self.counts[state] += 1


@dataclass(frozen=True)
class Delivery:
    """One invocation of the worker, with everything that it uses.

    `channel` gives the channel of a name as configured now. `resting` maps a channel to the instant until which it is
    left alone, `served` to that of its last delivery, by which what is forbidden to one notification is told from what
    is forbidden to all. Both outlive the invocation, so that the next bundle does not have to find out again.
    """

    sqs: SQSClient
    dynamodb: DynamoDBClient
    ledger: Ledger
    settings: Settings
    policy: Policy
    channel: Callable[[str], Channel]
    now: Callable[[], datetime]
    remaining_s: Callable[[], float]
    sleep: Callable[[float], None]
    side_by_side: SideBySide
    resting: MutableMapping[str, datetime]
    served: MutableMapping[str, datetime] = field(default_factory=dict)

    def deliver(self, record: Mapping[str, Any]) -> tuple[bool, Counter[str]]:
        """Settle one SQS record. Returns whether it may be acknowledged, and what happened to how many items."""
        after = Aftermath()
        try:
            items, misfits = read(record)
        except Unreadable as fault:
            items, misfits = [], []
            after.letters.append((dead_letter(record["body"], f"unreadable: {fault}"), None))
        after.letters += [(_misfit_letter(misfit), None) for misfit in misfits]
        after.counts["refused"] = len(after.letters)

        unique: dict[str, Item] = {}
        for item in items:
            unique.setdefault(item.id, item)
        after.counts["repeated"] = len(items) - len(unique)
        came_again = int(record["attributes"]["ApproximateReceiveCount"]) > 1
        if came_again and len(unique) > 1:
            parts = self._split(list(unique.values()))
            after.counts["split"] = len(parts)
        else:
            parts = []
            by_channel: defaultdict[str, list[Item]] = defaultdict(list)
            for item in unique.values():
                by_channel[item.notification["channel"]].append(item)
            for name, group in by_channel.items():
                self._settle(name, group, self._lane(record), after)
        settled = self._apply(after, parts, self._lane(record))
        for pacer in after.pacers:
            pacer.finish()
        return settled, +after.counts

    def lane(self, record: Mapping[str, Any]) -> str:
        """Which lane the record came by, for the log: delivery or schedule."""
        return "schedule" if self._lane(record) == self.settings.schedule_queue_url else "delivery"

    def _lane(self, record: Mapping[str, Any]) -> str:
        queue_name = record["eventSourceARN"].rpartition(":")[2]
        is_schedule = self.settings.schedule_queue_url.rpartition("/")[2] == queue_name
        return self.settings.schedule_queue_url if is_schedule else self.settings.delivery_queue_url

    def _split(self, items: list[Item]) -> list[Message]:
        """A bundle that comes again may have killed its worker: in parts, until what did it stands alone."""
        size = ceil(len(items) / SPLIT_PARTS)
        return [message for start in range(0, len(items), size) for message in pack(items[start : start + size])]

    def _settle(self, name: str, items: list[Item], lane: str, after: Aftermath) -> None:
        """Bring a bundle's items of one channel to an ending, or to where they wait for it."""
        now = self.now()
        if (rest_s := self._rest_s(name, now)) > 0:
            after.give_back(items, rest_s)
            return
        try:
            channel = self.channel(name)
        except Exception:  # the secret cannot be read now: nobody's fault here
            after.counts["secret_unavailable"] += 1
            after.give_back(items, REST_S)
            return
        interval_s = self._interval_s(channel, lane)
        if interval_s + channel.deadline_s > TURN_S_MAX:
            channel = NotConfigured(f"{name} may be called too seldom for so many workers at once to share its rate")
            interval_s = 0
        batch_size = _batch_size(channel, interval_s)
        affordable = self._affordable(channel, interval_s, batch_size, len(items))
        after.give_back(items[affordable:])
        ready, consents = self._claim(channel, items[:affordable], after)
        batches = [ready[start : start + batch_size] for start in range(0, len(ready), batch_size)]
        pacer = Pacer(interval_s, self.now, self.sleep)
        recorder = Recorder(self.ledger, self.now)
        answers = self.side_by_side(
            lambda batch: self._call(name, channel, pacer, recorder, batch, consents), batches, channel.side_by_side
        )
        with suppress(Exception):  # the calls have been made: whatever this does, what came of them is recorded
            channel.close()
        for answer in answers:
            for item, entry, verdict in answer:
                self._file(name, channel, item, entry, verdict, after)
        after.delivered = [entry for entry in after.delivered if entry.id not in recorder.recorded]
        if batches:
            after.pacers.append(pacer)

    def _claim(
        self, channel: Channel, items: Sequence[Item], after: Aftermath
    ) -> tuple[list[Claimed], dict[str, Consent]]:
        """Claim items and read the consents that they need. Returns those that are ours to send, and the consents."""
        now = self.now()
        by_id = {item.id: item for item in items}
        try:
            claims = self.ledger.claim({id: item.redriven for id, item in by_id.items()}, now)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            after.counts["ledger_unavailable"] += 1
            after.give_back(items, REST_S)
            return [], {}

        for id, left_s in claims.busy.items():
            after.give_back([by_id[id]], left_s)
        for id, entry in claims.ended.items():
            self._absorb(by_id[id], entry, after)
        ready = []
        for id, entry in (claims.held | claims.interrupted).items():
            if channel.can_resend:
                ready.append((by_id[id], replace(entry, sending=entry.sending or id in claims.lapsed)))
            elif not entry.sending:
                ready.append((by_id[id], entry))
            else:
                after.dead_letter(by_id[id], entry, "unknown_outcome: an earlier call had no answer", now, "unknown")
        for item, entry in [(item, entry) for item, entry in ready if entry.attempts >= ATTEMPTS_MAX]:
            after.dead_letter(item, entry, f"attempts_exhausted: {entry.attempts}, the last without an answer", now)
        ready = [(item, entry) for item, entry in ready if entry.attempts < ATTEMPTS_MAX]
        try:
            return ready, self._consents([item for item, _ in ready], now)
        except (*SERVICE_ERRORS, ConsentUnavailable):
            after.counts["consent_unavailable"] += 1
            after.releases += [released(entry, sending=entry.sending) for _, entry in ready]
            after.give_back([item for item, _ in ready], REST_S)
            return [], {}

    def _call(
        self,
        name: str,
        channel: Channel,
        pacer: Pacer,
        recorder: Recorder,
        batch: Sequence[Claimed],
        consents: Mapping[str, Consent],
    ) -> list[Judged]:
        """One turn at the provider: judge each item at this very moment, then call it with those that may go."""
        pacer.wait(len(batch))
        if self._rest_s(name, self.now()) > 0 or self.remaining_s() < channel.deadline_s + WRAP_UP_S:
            return [(item, entry, None) for item, entry in batch]
        going, judged = self._judge(batch, consents)
        if not channel.can_resend:
            going, not_ours = self._mark(going)
            going, changed = self._judge(going, consents)
            judged += not_ours + changed
        outcomes = self._send(channel, [item for item, _ in going])
        judged += [(item, entry, outcome) for (item, entry), outcome in zip(going, outcomes, strict=True)]
        self._rest(name, outcomes)
        if channel.can_resend:
            recorder.delivered([entry for _, entry, v in judged if isinstance(v, Outcome) and v.kind == "delivered"])
        else:
            self._unmark(judged)
        return judged

    def _judge(self, batch: Sequence[Claimed], consents: Mapping[str, Consent]) -> tuple[list[Claimed], list[Judged]]:
        """What may go at this moment, and the verdict on the rest."""
        now = self.now()
        going: list[Claimed] = []
        judged: list[Judged] = []
        for item, entry in batch:
            decision = decide(item.notification, consents.get(recipient_of(item.notification)), now, self.policy)
            if isinstance(decision, Send):
                going.append((item, entry))
            else:
                judged.append((item, entry, decision))
        return going, judged

    def _mark(self, batch: Sequence[Claimed]) -> tuple[list[Claimed], list[Judged]]:
        """Note for a provider that cannot be asked twice what it may have after a crash. What cannot be marked is not
        ours any more, or the ledger is away: it is not sent."""
        try:
            marked = self.ledger.mark_sending([entry for _, entry in batch], self.now())
        except (*SERVICE_ERRORS, LedgerUnavailable):
            marked = {}
        ours = [(item, marked[item.id]) for item, _ in batch if item.id in marked]
        return ours, [(item, entry, None) for item, entry in batch if item.id not in marked]

    def _unmark(self, judged: Sequence[Judged]) -> None:
        """Record at once what the provider has and what it has not: only what it leaves open stays marked.

        Where this fails the writes at the end are tried; where those fail too, the outcome is unknown.
        """
        marked = [(entry, v.kind if isinstance(v, Outcome) else "not_sent") for _, entry, v in judged if entry.sending]
        with suppress(*SERVICE_ERRORS, LedgerUnavailable):
            self.ledger.delivered([entry for entry, kind in marked if kind == "delivered"], self.now())
            not_sent = [entry for entry, kind in marked if kind not in ("delivered", "unknown")]
            self.ledger.mark_sending(not_sent, self.now(), sending=False)

    def _send(self, channel: Channel, items: Sequence[Item]) -> Sequence[Outcome]:
        if not items:
            return []
        try:
            outcomes = list(channel.send([item.notification for item in items]))
        except Exception as error:  # a fault in the channel's code must not take the bundle's other items with it
            return [Outcome("unknown", f"channel_error: {type(error).__name__}")] * len(items)
        if len(outcomes) != len(items):
            return [Outcome("unknown", "channel_error: not one answer for each notification")] * len(items)
        return outcomes

    def _rest(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Leave the channel alone after an answer that need not be a notification's fault, for as long as it asks."""
        now = self.now()
        if any(outcome.kind == "delivered" for outcome in outcomes):
            self.served[name] = now
        serves = name in self.served and now - self.served[name] <= timedelta(seconds=REST_S)
        for outcome in outcomes:
            if outcome.kind in ("unavailable", "unauthorized") or (outcome.kind == "forbidden" and not serves):
                rest_s = REST_S if outcome.retry_after_s is None else outcome.retry_after_s
                until = now + timedelta(seconds=min(DELAY_S_MAX, max(1, rest_s)))
                self.resting[name] = max(until, self.resting.get(name, until))

    def _file(self, name: str, channel: Channel, item: Item, entry: Entry, verdict: Verdict, after: Aftermath) -> None:
        """Decide what a verdict means for the item, its claim and its place.

        Where a call of an earlier turn may have reached the provider, or this one, whatever follows says so.
        """
        now = self.now()
        if isinstance(verdict, Outcome) and verdict.kind != "delivered":
            after.counts[f"{verdict.kind}: {name} {verdict.reason.partition(':')[0]}"] += 1
        is_unknown = isinstance(verdict, Outcome) and verdict.kind == "unknown"
        entry = replace(entry, sending=channel.can_resend and (entry.sending or is_unknown))
        but = "; an earlier call had no answer, so that the provider may have it" if entry.sending else ""
        if isinstance(verdict, Hold):
            after.releases.append(released(entry, sending=entry.sending))
            after.held.append(item)
            after.counts["held"] += 1
        elif isinstance(verdict, Drop):
            after.endings.append(ended(entry, verdict.reason, now, verdict.why + but))
            after.counts[verdict.reason] += 1
        elif verdict is None or verdict.kind in ("unavailable", "unauthorized"):
            after.releases.append(released(entry, sending=entry.sending))
            after.give_back([item], max(1, self._rest_s(name, now)))
        elif verdict.kind == "delivered":
            after.delivered.append(entry)
            after.counts["delivered"] += 1
        elif verdict.kind == "rejected":
            after.dead_letter(item, entry, verdict.reason + but, now)
        elif verdict.kind == "unknown" and not channel.can_resend:
            after.dead_letter(item, entry, f"unknown_outcome: {verdict.reason}", now, "unknown")
        elif entry.attempts + 1 >= ATTEMPTS_MAX:
            after.dead_letter(item, entry, f"attempts_exhausted: {ATTEMPTS_MAX}, the last: {verdict.reason}{but}", now)
        else:
            # After the rest: where only this one is forbidden, its neighbours have gone before it is tried again.
            delay_s = min(DELAY_S_MAX, FIRST_RETRY_S * 2**entry.attempts + max(0, self._rest_s(name, now)))
            not_before = now + timedelta(seconds=delay_s)
            after.releases.append(released(entry, entry.attempts + 1, not_before, sending=entry.sending))
            after.give_back([item], delay_s)

    def _absorb(self, item: Item, entry: Entry, after: Aftermath) -> None:
        """A notification that has ended already. Only a redrive of an unknown outcome is more than a duplicate: it is
        put back where it came from, because nobody has said that it may be sent again."""
        if entry.state == "unknown" and item.redriven == entry.ended_at:
            reason = "unknown_outcome: to send it again, redrive with RESEND_UNKNOWN=1"
            after.letters.append((dead_letter(item.text, reason, item.id, entry.ended_at), None))
        else:
            after.counts["absorbed"] += 1

    def _apply(self, after: Aftermath, parts: list[Message], lane: str) -> bool:
        """Dead letters, then the ledger, then the queues. Anything that fails lets the whole bundle come again."""
        letters = [message for message, _ in after.letters]
        letters_left = send(self.sqs, self.settings.dead_letter_queue_url, letters)
        endings = [e for i, (_, e) in enumerate(after.letters) if e is not None and i not in letters_left]
        try:
            self.ledger.delivered(after.delivered, self.now())
            self.ledger.end(after.endings + endings, self.now())
            self.ledger.release(after.releases, self.now())
        except (*SERVICE_ERRORS, LedgerUnavailable):
            after.counts["ledger_unavailable"] += 1
            return False
        left = [send(self.sqs, self.settings.wait_queue_url, pack(after.held)), send(self.sqs, lane, parts)]
        left += [send(self.sqs, lane, pack(items), delay_s) for delay_s, items in after.back.items()]
        return not letters_left and not any(left)

    def _consents(self, items: Sequence[Item], now: datetime) -> dict[str, Consent]:
        quiet = quiet_until(now, self.policy) is not None
        asks = [
            item.notification
            for item in items
            if item.notification["category"] == "advertising" or (quiet and may_be_held(item.notification, self.policy))
        ]
        return read_consents(self.dynamodb, self.settings.consent_table, map(recipient_of, asks), now)

    def _rest_s(self, name: str, now: datetime) -> float:
        return (self.resting[name] - now).total_seconds() if name in self.resting else 0

    def _interval_s(self, channel: Channel, lane: str) -> float:
        """How far apart this invocation's notifications are, so that all that may run at once keep the lane's share."""
        if channel.rate_per_s is None:
            return 0
        is_schedule = lane == self.settings.schedule_queue_url
        at_once = self.settings.release_concurrency if is_schedule else self.settings.delivery_concurrency
        return at_once / (channel.rate_per_s * LANE_SHARE)

    def _affordable(self, channel: Channel, interval_s: float, batch_size: int, wanted: int) -> int:
        """How many items surely end within the time left, even if every call takes all of its deadline."""
        left_s = self.remaining_s() - WRAP_UP_S
        at_once = channel.side_by_side * batch_size
        while wanted and wanted * interval_s + ceil(wanted / at_once) * channel.deadline_s > left_s:
            wanted -= 1
        return wanted


def _batch_size(channel: Channel, interval_s: float) -> int:
    """How many notifications a call takes: of a paced channel, at most what may go in `CALL_S`, or one."""
    if interval_s == 0:
        return channel.batch_size
    return max(1, min(channel.batch_size, floor(CALL_S / interval_s + 1e-9)))


def _misfit_letter(misfit: InvalidItem) -> Message:
    return dead_letter(misfit.text, "invalid: " + "; ".join(misfit.errors), misfit.id, misfit.redriven)
