"""The worker's way with one bundle: judge, book a turn, claim, judge again, call, record.

calls.py makes the calls. verdicts.py decides where each item goes. An `Aftermath` collects these decisions and applies
them at the end (aftermath.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from ..channels.channel import Channel
from ..consents.counting import consent_for
from ..errors import Unreadable
from ..notification.bundle import Item, Message, dead_letter, invalid_letters, pack, read
from ..notification.fingerprint import fingerprint
from ..notification.notification import consent_keys
from ..rule.policy import decide, is_held, may_be_held
from ..rule.terms import Consent, Drop, Hold, Policy
from ..settings import Settings
from ..side_by_side import SideBySide
from ..stores.backoff import TRIES_MAX, Tries
from ..stores.clients import SERVICE_ERRORS
from ..stores.consents import read_each_consent
from ..stores.health import Failure
from ..stores.ledger import Ledger
from ..stores.newest import note_newest, superseded
from ..stores.turns import Probe, Resting, Turns
from .aftermath import Aftermath, Letter
from .calls import STORE_ERRORS, STORE_REST_S, Calls, Memory
from .claiming import Claimer
from .pacing import ahead_s
from .recording import Recorder
from .templates import Templates
from .verdicts import dead_lettered, settlement

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

SPLIT_PARTS = 10

NO_KEY = "invalid: recipient_id: DynamoDB refuses it, or the address, as a key of the consent table"

LANE_OF = {"critical": "urgent", "informational": "delivery", "advertising": "schedule"}
"""The lane of each category by day."""


class Delivered(NamedTuple):
    """The result for one record: whether it may be acknowledged, how many items went which way, and the longest time
    that a critical one waited for its call; None without such a call."""

    settled: bool
    counts: Counter[str]
    urgent_wait_s: float | None = None


class Lane(NamedTuple):
    """A lane: its name, and the URL of its queue."""

    name: str
    url: str


class Wanted(NamedTuple):
    """The items that may be judged, with the consents that this needs."""

    items: Sequence[Item]
    consents: Mapping[str, Consent]


@dataclass(frozen=True)
class Delivery:
    """One invocation of the worker, with everything that it uses.

    `channel` returns the channel of a name as it is configured now. `memory` outlives the invocation, so that the next
    bundle need not find out again.
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
    memory: Memory = field(default_factory=Memory)

    def deliver(self, record: Mapping[str, Any]) -> Delivered:
        """Settle one SQS record."""
        after = Aftermath()
        lane = self.lane(record)
        items = self._read(record, after)
        came_again = int(record["attributes"]["ApproximateReceiveCount"]) > 1
        if came_again and len(items) > 1:
            after.parts = _split(items)
            after.counts["split"] = len(after.parts)
        else:
            for once_each in _rounds(self._on_its_lane(items, lane, after)):
                self._settle_round(once_each, lane, after)
        self._note_newest(after)
        settled = after.apply(lane.url, self.sqs, self.ledger, self.settings, self.now)
        return Delivered(settled, +after.counts, after.urgent_wait_s if after.urgent_wait_s >= 0 else None)

    def lane(self, record: Mapping[str, Any]) -> Lane:
        """The lane that the record came by."""
        queue_name = record["eventSourceARN"].rpartition(":")[2]
        for lane in self._lanes().values():
            if lane.url.rpartition("/")[2] == queue_name:
                return lane
        return self._lanes()["delivery"]

    def _lanes(self) -> dict[str, Lane]:
        settings = self.settings
        return {
            "urgent": Lane("urgent", settings.urgent_queue_url),
            "delivery": Lane("delivery", settings.delivery_queue_url),
            "schedule": Lane("schedule", settings.schedule_queue_url),
        }

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

    def _on_its_lane(self, items: Sequence[Item], lane: Lane, after: Aftermath) -> list[Item]:
        """Move off the urgent lane what is not critical. Returns the items that stay."""
        if lane.name != "urgent":
            return list(items)
        others: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            others[LANE_OF[item.notification["category"]]].append(item)
        stay = others.pop("urgent", [])
        for name, moved in others.items():
            after.move(moved, self._lanes()[name].url)
        return stay

    def _settle_round(self, items: Sequence[Item], lane: Lane, after: Aftermath) -> None:
        """Settle items of any channel, no two of which have the same id. One channel does not wait for another."""
        by_channel: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            by_channel[item.notification["channel"]].append(item)
        settled = self.side_by_side(
            lambda name: self._settle_channel(name, by_channel[name], lane), list(by_channel), len(by_channel)
        )
        for part in settled:
            after.merge(part)

    def _settle_channel(self, name: str, items: list[Item], lane: Lane) -> Aftermath:
        """Bring a bundle's items of one channel to an ending, or to the place where they wait for it."""
        after = Aftermath()
        if (rest_s := self.memory.rest_s(name, self.now())) > 0 and not self._holds_any(items):
            after.give_back(items, rest_s)
            return after
        turns = Turns(self.dynamodb, self.settings.turn_table, self.now, self.memory.next_turns)
        try:
            channel = self.channel(name)
        except Exception:  # the secret cannot be read now: no item is to blame
            after.counts["secret_unavailable"] += len(items)
            after.give_back(items, self._rest_without_secret(name, items[0], turns, after))
            return after
        claimer = Claimer(self.ledger, self.settings, self.now)
        templates = Templates(name, turns, self.memory.templates, self.now)
        calls = Calls(
            name=name,
            channel=channel,
            lane=lane.name,
            policy=self.policy,
            ledger=self.ledger,
            turns=turns,
            claimer=claimer,
            memory=self.memory,
            now=self.now,
            remaining_s=self.remaining_s,
            sleep=self.sleep,
            recorder=Recorder(self.ledger, self.now),
            templates=templates,
        )
        if turns.are_taken(name, ahead_s(channel, lane.name)) and not self._holds_any(items):
            calls.left += items  # a schedule only moves on: no need to ask
            calls.lacks_turns = True
        else:
            wanted = claimer.first_look(channel.can_resend, items, after)
            going = templates.without_resting(self._may_go(self._with_consents(wanted, calls, after), calls, after))
            for part in self.side_by_side(calls.make, calls.plan(going, after), channel.side_by_side):
                after.merge(part)
            with suppress(Exception):  # the calls have been made: whatever this raises, their outcomes are recorded
                channel.close()
        self._give_back_left(calls, items, after)
        templates.give_back_resting(after)
        after.delivered = [entry for entry in after.delivered if entry.id not in calls.recorder.recorded]
        return after

    def _rest_without_secret(self, name: str, item: Item, turns: Turns, after: Aftermath) -> float:
        """Let a channel rest whose secret cannot be read: to read it was a probe. Returns for how long."""
        now_ms = int(self.now().timestamp() * 1000)
        try:
            booking = turns.book(name, 1, None, 0)
            if isinstance(booking, Resting):
                rest_s = booking.delay_s
            else:
                probe = booking.health if isinstance(booking, Probe) else None
                judgement = turns.has_failed(name, Failure(item.id, now_ms, now_ms, is_certain=True, probe=probe))
                after.count_rest(judgement.begins_rest, judgement.health.rest_s)
                rest_s = judgement.wait_s
        except STORE_ERRORS:
            return STORE_REST_S
        self.memory.rest(name, rest_s, self.now())
        return rest_s

    def _holds_any(self, items: Sequence[Item]) -> bool:
        """True if something of a bundle is held now, at least without a night consent."""
        now = self.now()
        return any(is_held(item.notification, now, self.policy) for item in items)

    def _with_consents(self, items: Sequence[Item], calls: Calls, after: Aftermath) -> Wanted:
        """Read the consents that judging items needs. Where they cannot be read, the items are given back."""
        now = self.now()
        asking = [
            item
            for item in items
            # Not only for what is held now: the night may begin before the call, and a provider may try until then. Of
            # what is not asked for, another item's keys could say only a part.
            if item.notification["category"] == "advertising" or may_be_held(item.notification, now, self.policy)
        ]
        keys = (key for item in asking for key in consent_keys(item.notification))
        try:
            consents = read_each_consent(
                self.dynamodb, self.settings.consent_table, keys, now, self.sleep, self.remaining_s
            )
        except SERVICE_ERRORS:
            after.counts["consent_unavailable"] += len(items)
            after.give_back(items, STORE_REST_S)
            return Wanted([], {})
        refused = _needing(consents.refused, asking)
        for item, entry in calls.claimer.claim(calls.channel.can_resend, refused, after):
            after.dead_letter(item, dead_lettered(entry, NO_KEY, now))
        # An unreadable consent delays only who needs it.
        unread = [item for item in _needing(consents.unreadable, asking) if item not in refused]
        after.counts["consent_unavailable"] += len(unread)
        after.give_back(unread, STORE_REST_S)
        apart = {item.id for item in (*refused, *unread)}
        return Wanted([item for item in items if item.id not in apart], consents.found)

    def _may_go(self, wanted: Wanted, calls: Calls, after: Aftermath) -> list[Item]:
        """The items that may go now. What is held goes to wait, and what is dropped ends: neither takes a turn."""
        calls.consents = wanted.consents
        now = self.now()
        going: list[Item] = []
        dropped: dict[str, Drop] = {}
        for item in wanted.items:
            decision = decide(item.notification, consent_for(item.notification, wanted.consents), now, self.policy)
            if isinstance(decision, Hold):
                after.hold(item, decision.queue)
            elif isinstance(decision, Drop):
                dropped[item.id] = decision
            else:
                going.append(item)
        going, older = self._without_older(going, after)
        dropped |= older
        can_resend = calls.channel.can_resend
        unwanted = [item for item in wanted.items if item.id in dropped]
        for item, entry in calls.claimer.claim(can_resend, unwanted, after):
            after.add(item, settlement(dropped[item.id], entry, can_resend, 0, now))
        return going

    def _without_older(self, items: list[Item], after: Aftermath) -> tuple[list[Item], dict[str, Drop]]:
        """The items without those in whose place a newer one was held, and these. Where that cannot be read, the items
        with a collapse key are given back."""
        now = self.now()
        asking = [
            item
            for item in items
            if "collapse_key" in item.notification and may_be_held(item.notification, now, self.policy)
        ]
        if not asking:
            return items, {}
        given = [item.notification for item in asking]
        apart: Collection[str]
        try:
            older = {
                id: Drop("superseded", f"a newer one with its collapse key was held: {note.id}")
                for id, note in superseded(self.dynamodb, self.settings.held_table, given, self._tries).items()
            }
            apart = older
        except STORE_ERRORS:
            older = {}
            apart = {item.id for item in asking}
            after.counts["newest_unavailable"] += len(asking)
            after.give_back(asking, STORE_REST_S)
        return [item for item in items if item.id not in apart], older

    def _note_newest(self, after: Aftermath) -> None:
        """Note the newest of what is held again. What cannot be noted now goes back to its lane."""
        # Place 0: this worker's bundle says nothing about the order in which they were accepted.
        held = [item._replace(place=0) for items in after.held.values() for item in items]
        not_noted = note_newest(
            self.dynamodb, self.settings.held_table, held, self._tries, self.side_by_side, self.remaining_s
        )
        if not_noted:
            for queue, items in after.held.items():
                after.give_back([item for item in items if item.id in not_noted], STORE_REST_S)
                after.held[queue] = [item for item in items if item.id not in not_noted]

    def _tries(self, seed: str) -> Tries:
        return Tries(TRIES_MAX, self.sleep, self.remaining_s, seed)

    def _give_back_left(self, calls: Calls, items: Sequence[Item], after: Aftermath) -> None:
        """Give back what found no turn or no time, in its order, and spaced so that it comes back when it can go."""
        ids = {item.id for item in calls.left}
        left = [item for item in items if item.id in ids]
        if not left:
            return
        rest_s = self.memory.rest_s(calls.name, self.now())
        delay_s = rest_s if rest_s > 0 else calls.wait_s
        rate_per_s = calls.channel.rate_per_s
        if delay_s is None and rate_per_s is not None and calls.lacks_turns:
            try:
                delay_s = calls.turns.space(calls.name, calls.lane, len(left), rate_per_s)
            except STORE_ERRORS:
                delay_s = STORE_REST_S
        after.give_back(left, delay_s or 0)


def _needing(keys: frozenset[str], items: Sequence[Item]) -> list[Item]:
    """The items for which one of these consents counts."""
    return [item for item in items if keys and not keys.isdisjoint(consent_keys(item.notification))]


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


def _split(items: list[Item]) -> list[Message]:
    """Split a bundle that comes again, because it may have killed its worker: in parts, until the poison item stands
    alone."""
    size = ceil(len(items) / SPLIT_PARTS)
    return [message for start in range(0, len(items), size) for message in pack(items[start : start + size])]
