"""The worker's way with one bundle: claim, read consents, judge again, call, record.

verdicts.py decides where each item goes. An `Aftermath` collects these decisions and applies them at the end
(aftermath.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from ..channels import NotConfigured
from ..channels.channel import Channel, Outcome
from ..consents.counting import consent_for
from ..errors import ConsentUnavailable, KeysRefused, LedgerUnavailable, Unreadable
from ..notification.admission import CAMPAIGN_ID_FAULT, is_campaign_id
from ..notification.bundle import Item, Message, dead_letter, invalid_letters, pack, read
from ..notification.fingerprint import fingerprint, may_be_the_same
from ..notification.notification import consent_keys
from ..rule.policy import Consent, Policy, Send, decide, may_be_held, quiet_until
from ..settings import Settings
from ..side_by_side import SideBySide
from ..stores.clients import SERVICE_ERRORS
from ..stores.consents import read_consents
from ..stores.entries import Entry, released
from ..stores.ledger import Ledger
from ..stores.queues import DELAY_S_MAX
from .aftermath import Aftermath, Letter
from .pacing import TURN_S_MAX, WRAP_UP_S, Pacer, affordable, batch_size, interval_s
from .recording import Recorder
from .verdicts import Verdict, absorption, dead_lettered, settlement, too_late_to_send

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

REST_S = 30
"""The time that a channel rests when it refuses everything and does not say itself how long."""

SPLIT_PARTS = 10

NO_KEY = "invalid: recipient_id: DynamoDB refuses it, or the address, as a key of the consent table"

ID_REUSED = "another notification has this id; send this one with an id of its own"

MALFORMED_ENTRY = "the ledger's item of this id cannot be read; mend or delete it, then redrive"


class Delivered(NamedTuple):
    """The result for one record: whether it may be acknowledged, and how many items went which way."""

    settled: bool
    counts: Counter[str]


class Claimed(NamedTuple):
    """An item that this invocation has claimed."""

    item: Item
    entry: Entry


class Ready(NamedTuple):
    """Claimed items that may be judged, with the consents that this needs."""

    claimed: Sequence[Claimed]
    consents: Mapping[str, Consent]


class Judged(NamedTuple):
    """A claimed item after its turn."""

    item: Item
    entry: Entry
    verdict: Verdict


class Calls(NamedTuple):
    """Everything that the calls of one channel share."""

    name: str
    channel: Channel
    consents: Mapping[str, Consent]
    pacer: Pacer
    recorder: Recorder


@dataclass(frozen=True)
class Delivery:
    """One invocation of the worker, with everything that it uses.

    `channel` returns the channel of a name as it is configured now. `resting` maps a channel to the instant until
    which it is left alone. `served` maps it to the instant of its last delivery: so `forbidden` for one notification
    can be told from `forbidden` for all. Both outlive the invocation, so that the next bundle need not find out again.
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

    def deliver(self, record: Mapping[str, Any]) -> Delivered:
        """Settle one SQS record."""
        after = Aftermath()
        pacers: list[Pacer] = []
        lane = self._lane_url(record)
        items = self._read(record, after)
        came_again = int(record["attributes"]["ApproximateReceiveCount"]) > 1
        if came_again and len(items) > 1:
            after.parts = _split(items)
            after.counts["split"] = len(after.parts)
        else:
            for once_each in _rounds(items):
                _finish(pacers)
                pacers = self._settle_round(once_each, lane, after)
        settled = after.apply(lane, self.sqs, self.ledger, self.settings, self.now)
        _finish(pacers)
        return Delivered(settled, +after.counts)

    def lane(self, record: Mapping[str, Any]) -> str:
        """The lane that the record came by, for the log: delivery or schedule."""
        return "schedule" if self._lane_url(record) == self.settings.schedule_queue_url else "delivery"

    def _lane_url(self, record: Mapping[str, Any]) -> str:
        queue_name = record["eventSourceARN"].rpartition(":")[2]
        is_schedule = self.settings.schedule_queue_url.rpartition("/")[2] == queue_name
        return self.settings.schedule_queue_url if is_schedule else self.settings.delivery_queue_url

    def _read(self, record: Mapping[str, Any], after: Aftermath) -> list[Item]:
        """The record's notifications, each once. Everything else in it goes to dead-letter."""
        items: list[Item] = []
        try:
            items, invalid = read(record)
            after.letters += map(Letter, invalid_letters(invalid))
        except Unreadable as fault:
            after.letters.append(Letter(dead_letter(record["body"], f"unreadable: {fault}")))
        after.counts["refused"] = len(after.letters)
        unique = _without_repeats(items)
        after.counts["repeated"] = len(items) - len(unique)
        return unique

    def _settle_round(self, items: Sequence[Item], lane: str, after: Aftermath) -> list[Pacer]:
        """Settle items of any channel, no two of which have the same id. Returns the pacers to wait for."""
        by_channel: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            by_channel[item.notification["channel"]].append(item)
        pacers: list[Pacer] = []
        for name, group in by_channel.items():
            pacers += self._settle_channel(name, group, lane, after)
        return pacers

    def _settle_channel(self, name: str, items: list[Item], lane: str, after: Aftermath) -> list[Pacer]:
        """Bring a bundle's items of one channel to an ending, or to the place where they wait for it.

        Returns the pacer whose last interval has to be waited out, if there were calls.
        """
        if (rest_s := self._rest_s(name, self.now())) > 0:
            after.give_back(items, rest_s)
            return []
        try:
            channel = self.channel(name)
        except Exception:  # the secret cannot be read now: no item is to blame
            after.counts["secret_unavailable"] += 1
            after.give_back(items, REST_S)
            return []
        gap_s = interval_s(channel, self._invocations_at_once(lane))
        if gap_s + channel.deadline_s > TURN_S_MAX:
            channel = NotConfigured(f"{name} may be called too seldom for so many workers at once to share its rate")
            gap_s = 0
        size = batch_size(channel, gap_s)
        in_time = affordable(channel, gap_s, size, len(items), self.remaining_s())
        after.give_back(items[in_time:])
        now = self.now()
        claimed = self._claim(channel, items[:in_time], now, after)
        ready, consents = self._with_consents(claimed, now, after)
        batches = [ready[start : start + size] for start in range(0, len(ready), size)]
        recorder = Recorder(self.ledger, self.now)
        calls = Calls(name, channel, consents, Pacer(gap_s, self.now, self.sleep), recorder)
        answers = self.side_by_side(lambda batch: self._call(calls, batch), batches, channel.side_by_side)
        with suppress(Exception):  # the calls have been made: whatever this raises, their outcomes are recorded
            channel.close()
        for judged in answers:
            for each in judged:
                self._settle_item(name, channel, each, after)
        after.delivered = [entry for entry in after.delivered if entry.id not in recorder.recorded]
        return [calls.pacer] if batches else []

    def _claim(self, channel: Channel, items: Sequence[Item], now: datetime, after: Aftermath) -> list[Claimed]:
        """Claim items. Returns those that are ours to send; `after` takes the others."""
        try:
            by_id = {item.id: item for item in self._without_forged_redrives(items, after)}
            fingerprints = {id: fingerprint(item.notification) for id, item in by_id.items()}
            claims = self.ledger.claim({id: item.redriven for id, item in by_id.items()}, now, fingerprints)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            after.counts["ledger_unavailable"] += 1
            after.give_back(items, REST_S)
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
            mine = replace(entry, sending=entry.sending or (channel.can_resend and id in claims.lapsed))
            if final := too_late_to_send(mine, channel.can_resend, now):
                after.dead_letter(by_id[id], final)
            else:
                claimed.append(Claimed(by_id[id], mine))
        return claimed

    def _with_consents(self, claimed: Sequence[Claimed], now: datetime, after: Aftermath) -> Ready:
        """Read the consents that claimed items need. Where they cannot be read, all claims are given back."""
        try:
            return Ready(claimed, self._consents([each.item for each in claimed], now))
        except KeysRefused as refused:
            fit: list[Claimed] = []
            for each in claimed:
                if refused.keys.isdisjoint(consent_keys(each.item.notification)):
                    fit.append(each)
                else:
                    after.dead_letter(each.item, dead_lettered(each.entry, NO_KEY, now))
            return self._with_consents(fit, now, after)
        except (*SERVICE_ERRORS, ConsentUnavailable):
            after.counts["consent_unavailable"] += 1
            after.releases += [released(entry, sending=entry.sending) for _, entry in claimed]
            after.give_back([each.item for each in claimed], REST_S)
            return Ready([], {})

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

    def _consents(self, items: Sequence[Item], now: datetime) -> dict[str, Consent]:
        """The consents that judging these items needs."""
        quiet = quiet_until(now, self.policy) is not None
        asks = [
            item.notification
            for item in items
            if item.notification["category"] == "advertising" or (quiet and may_be_held(item.notification, self.policy))
        ]
        keys = (key for notification in asks for key in consent_keys(notification))
        return read_consents(self.dynamodb, self.settings.consent_table, keys, now)

    def _call(self, calls: Calls, batch: Sequence[Claimed]) -> list[Judged]:
        """Take one turn: judge each item at this moment, then call the provider with those that may go."""
        channel = calls.channel
        calls.pacer.wait(len(batch))
        if self._rest_s(calls.name, self.now()) > 0 or self.remaining_s() < channel.deadline_s + WRAP_UP_S:
            return [Judged(item, entry, None) for item, entry in batch]
        going, judged = self._judge(batch, calls.consents)
        if not channel.can_resend:
            going, not_ours = self._mark(going)
            going, changed = self._judge(going, calls.consents)
            judged += not_ours + changed
        outcomes = self._send(channel, [item for item, _ in going])
        judged += [Judged(item, entry, outcome) for (item, entry), outcome in zip(going, outcomes, strict=True)]
        self._rest(calls.name, outcomes)
        if channel.can_resend:
            calls.recorder.delivered([each.entry for each in judged if _kind(each.verdict) == "delivered"])
        else:
            self._unmark(judged)
        return judged

    def _judge(self, batch: Sequence[Claimed], consents: Mapping[str, Consent]) -> tuple[list[Claimed], list[Judged]]:
        """The items that may go at this moment, and the verdict on the others."""
        now = self.now()
        going: list[Claimed] = []
        judged: list[Judged] = []
        for claimed in batch:
            notification = claimed.item.notification
            decision = decide(notification, consent_for(notification, consents), now, self.policy)
            if isinstance(decision, Send):
                going.append(claimed)
            else:
                judged.append(Judged(*claimed, decision))
        return going, judged

    def _mark(self, batch: Sequence[Claimed]) -> tuple[list[Claimed], list[Judged]]:
        """Mark the claims whose call begins now, for a provider that cannot be asked twice.

        An item is not sent if it cannot be marked: it is not ours any more, or the ledger does not answer.
        """
        try:
            marked = self.ledger.mark_sending([entry for _, entry in batch], self.now())
        except (*SERVICE_ERRORS, LedgerUnavailable):
            marked = {}
        ours = [Claimed(item, marked[item.id]) for item, _ in batch if item.id in marked]
        return ours, [Judged(item, entry, None) for item, entry in batch if item.id not in marked]

    def _unmark(self, judged: Sequence[Judged]) -> None:
        """Record at once what the provider has and what it does not have: only an unknown outcome stays marked.

        If this fails, the writes at the end try again. If those fail too, the outcome is unknown.
        """
        marked = [each for each in judged if each.entry.sending]
        with suppress(*SERVICE_ERRORS, LedgerUnavailable):
            self.ledger.delivered([each.entry for each in marked if _kind(each.verdict) == "delivered"], self.now())
            not_sent = [each.entry for each in marked if _kind(each.verdict) not in ("delivered", "unknown")]
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

    def _settle_item(self, name: str, channel: Channel, judged: Judged, after: Aftermath) -> None:
        """Note where an item goes after its turn."""
        now = self.now()
        item, entry, verdict = judged
        if isinstance(verdict, Outcome) and verdict.kind != "delivered":
            after.counts[f"{verdict.kind}: {name} {verdict.reason.partition(':')[0]}"] += 1
        after.add(item, settlement(verdict, entry, channel.can_resend, self._rest_s(name, now), now))

    def _rest(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Let the channel rest, for as long as it asks, if its answer may not be one notification's fault."""
        now = self.now()
        if any(outcome.kind == "delivered" for outcome in outcomes):
            self.served[name] = now
        serves = name in self.served and now - self.served[name] <= timedelta(seconds=REST_S)
        for outcome in outcomes:
            if outcome.kind in ("unavailable", "unauthorized") or (outcome.kind == "forbidden" and not serves):
                rest_s = REST_S if outcome.retry_after_s is None else outcome.retry_after_s
                until = now + timedelta(seconds=min(DELAY_S_MAX, max(1, rest_s)))
                self.resting[name] = max(until, self.resting.get(name, until))

    def _rest_s(self, name: str, now: datetime) -> float:
        """For how long a channel is still left alone; 0 or less if it is not."""
        return (self.resting[name] - now).total_seconds() if name in self.resting else 0

    def _invocations_at_once(self, lane: str) -> int:
        is_schedule = lane == self.settings.schedule_queue_url
        return self.settings.release_concurrency if is_schedule else self.settings.delivery_concurrency


def _without_repeats(items: Sequence[Item]) -> list[Item]:
    """The items without those that repeat an earlier one. Two that have only their id in common are no repeats."""
    unique: list[Item] = []
    by_id: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        earlier = by_id[item.id]
        if not any(fingerprint(item.notification) == fingerprint(each.notification) for each in earlier):
            earlier.append(item)
            unique.append(item)
    return unique


def _rounds(items: Sequence[Item]) -> list[list[Item]]:
    """The items in rounds, with each id at most once in a round.

    There is one round, unless an id was used for different notifications: the ledger decides on them one after the
    other, and the id stays with the one that it knows.
    """
    rounds: list[list[Item]] = []
    so_far: Counter[str] = Counter()
    for item in items:
        if so_far[item.id] == len(rounds):
            rounds.append([])
        rounds[so_far[item.id]].append(item)
        so_far[item.id] += 1
    return rounds


def _finish(pacers: Iterable[Pacer]) -> None:
    for pacer in pacers:
        pacer.finish()


def _split(items: list[Item]) -> list[Message]:
    """Split a bundle that comes again, because it may have killed its worker: in parts, until the poison item stands
    alone."""
    size = ceil(len(items) / SPLIT_PARTS)
    return [message for start in range(0, len(items), size) for message in pack(items[start : start + size])]


def _kind(verdict: Verdict) -> str:
    return verdict.kind if isinstance(verdict, Outcome) else "not_sent"
