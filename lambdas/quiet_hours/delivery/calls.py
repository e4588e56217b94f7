"""The calls of a bundle to one channel: book a turn, claim, judge again, call, record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ..channels.channel import Channel, Outcome, ask
from ..consents.counting import consent_for
from ..errors import StoreUnavailable
from ..notification.bundle import Item
from ..notification.fields import instant
from ..notification.notification import Notification
from ..rule.policy import decide, held_from, may_be_held
from ..rule.terms import Consent, Policy, Send
from ..stores.clients import SERVICE_ERRORS
from ..stores.entries import Entry, released
from ..stores.health import FIRST_REST_S, Failure, Health
from ..stores.ledger import Ledger
from ..stores.turns import Booking, Probe, Resting, Seen, Turn, Turns
from .aftermath import Aftermath
from .claiming import Claimed, Claimer
from .pacing import LATE_TURN_S, WRAP_UP_S, ahead_s, in_a_call, in_a_turn, sleep_until
from .recording import Recorder
from .templates import Known, Templates
from .verdicts import Verdict, settlement

STORE_REST_S = 30.0
"""The time after which items come again when a table or the secret gives no answer."""

REST_KNOWN_S = 5.0
"""For how long a process believes that a channel still rests, before it looks again: a probe may have ended the
rest."""

SERVED_EVERY_S = 3.0
"""The least time between two notes that a channel delivers."""

STORE_ERRORS = (*SERVICE_ERRORS, StoreUnavailable)


@dataclass
class Memory:
    """What a worker's process remembers of the channels between its invocations. None of it gives a right to send.

    `rests_until`: by channel, the end of a rest as it was last seen, and until when that is believed. `delivered_at`:
    when this process last saw that a channel delivers. `served_at`: when that was last noted in the channel's item.
    `next_turns`: where each schedule stood when last seen. `templates`: what is known of sources and templates.
    """

    rests_until: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    delivered_at: dict[str, datetime] = field(default_factory=dict)
    served_at: dict[str, datetime] = field(default_factory=dict)
    next_turns: dict[str, Seen] = field(default_factory=dict)
    templates: dict[str, Known] = field(default_factory=dict)

    def rest(self, channel: str, seconds: float, now: datetime) -> None:
        """Remember that a channel rests for so many seconds more."""
        believed_s = min(seconds, REST_KNOWN_S)
        self.rests_until[channel] = now + timedelta(seconds=seconds), now + timedelta(seconds=believed_s)

    def see(self, channel: str, health: Health) -> None:
        """Take over when it was last noted that a channel delivers. Where a call has failed since then, the next
        delivery is noted at once."""
        if health.failed:
            self.served_at.pop(channel, None)
        elif health.served_ms:
            noted_at = datetime.fromtimestamp(health.served_ms / 1000, UTC)
            self.served_at[channel] = max(noted_at, self.served_at.get(channel, noted_at))

    def rest_s(self, channel: str, now: datetime) -> float:
        """For how long a channel rests as far as is known; 0 if it does not."""
        until, believed_until = self.rests_until.get(channel, (now, now))
        return (until - now).total_seconds() if now < believed_until else 0


class Judged(NamedTuple):
    """A claimed item after its turn. `wait_s`: how long it waits for its template; None if that does not rest."""

    item: Item
    entry: Entry
    verdict: Verdict
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The items of one call. `at`: its turn. `claimed`: their claims, if these are made. `probe`: the lease, if the
    call is to find out if the channel works again."""

    items: Sequence[Item]
    at: datetime
    claimed: Sequence[Claimed] | None = None
    probe: Health | None = None


@dataclass
class Calls:
    """The calls to one channel for a bundle's items.

    `lane` is the lane's name. `left` collects the items that find no turn or no time; `wait_s` is how long they should
    wait, if that is known. With `lacks_turns` no further turn is booked.
    """

    name: str
    channel: Channel
    lane: str
    policy: Policy
    ledger: Ledger
    turns: Turns
    claimer: Claimer
    memory: Memory
    now: Callable[[], datetime]
    remaining_s: Callable[[], float]
    sleep: Callable[[float], None]
    recorder: Recorder
    templates: Templates
    consents: Mapping[str, Consent] = field(default_factory=dict)
    left: list[Item] = field(default_factory=list)
    wait_s: float | None = None
    lacks_turns: bool = False

    def plan(self, items: Sequence[Item], after: Aftermath) -> Iterable[Call]:
        """The calls to make, in order: a generator that books turns as it is asked for calls.

        A turn is for several calls at once where these carry less than the provider takes in a second. A channel that
        can send again claims for them together, which costs less. Any other claims at each call, so that a crash leaves
        no more in doubt than what the call holds.
        """
        calls = self._plan(items, after)
        return list(calls) if len(items) <= in_a_call(self.channel) else calls

    def _plan(self, items: Sequence[Item], after: Aftermath) -> Iterator[Call]:
        size, call_size, rate = in_a_turn(self.channel), in_a_call(self.channel), self.channel.rate_per_s
        for start in range(0, len(items), size):
            turn, group = self._turn(items[start : start + size], after)
            if turn is None:
                continue
            claimed = self._claim(group, after) if self.channel.can_resend else None
            number = len(group) if claimed is None else len(claimed)
            for first in range(0, number, call_size):
                at = turn.at + timedelta(seconds=first / rate if rate else 0)
                part = None if claimed is None else claimed[first : first + call_size]
                sleep_until(at, self.now, self.sleep)  # here, so that nobody asks for later calls before their time
                yield Call(group[first : first + call_size] if part is None else [each.item for each in part], at, part)

    def make(self, call: Call) -> Aftermath:
        """Make one call at its turn, and say what becomes of its items."""
        after = Aftermath()
        if self._is_late(call.at):  # the calls before it took long: it needs a turn of its own
            again = self._book(len(call.items))
            if not isinstance(again, Turn):
                self._give_up(call, after)
                return after
            call = replace(call, at=again.at)
        self._make_at_its_turn(call, after)
        return after

    def _turn(self, items: Sequence[Item], after: Aftermath) -> tuple[Turn | None, Sequence[Item]]:
        """Book a turn for all items. If the channel's rest is over, the first of them probes it, and the others get a
        turn if it delivers. Returns the turn, None if there is none now, and the items that it is for."""
        while items:
            if self.lacks_turns or self._must_stop() or self._rest_known():
                break
            booking = self._book(len(items))
            if isinstance(booking, Turn):
                return booking, items
            if not isinstance(booking, Probe):
                self.lacks_turns = True
                break
            self._make_at_its_turn(Call(items[:1], self.now(), probe=booking.health), after)
            items = items[1:]
        self.left += items
        return None, ()

    def _book(self, notifications: int) -> Booking | None:
        """Book a turn; None if the table gives no answer: no table, no send."""
        try:
            booking = self.turns.book(
                self.name,
                notifications,
                self.channel.rate_per_s,
                ahead_s(self.channel, self.lane),
                is_urgent=self.lane == "urgent",
            )
        except STORE_ERRORS:
            self.wait_s = STORE_REST_S
            return None
        if isinstance(booking, Resting):
            self.memory.rest(self.name, booking.delay_s, self.now())
        elif isinstance(booking, Turn):
            self.memory.see(self.name, booking.health)
        return booking

    def _make_at_its_turn(self, call: Call, after: Aftermath) -> None:
        sleep_until(call.at, self.now, self.sleep)
        if self._must_stop() or (call.probe is None and self._rest_known()):
            self._give_up(call, after)
            return
        claimed = self._claim(call.items, after) if call.claimed is None else call.claimed
        judged_at = self.now()
        going, judged = self._judge(claimed, judged_at)
        if (
            going
            and self._is_late(call.at)
            and call.probe is None
            and isinstance(again := self._book(len(going)), Turn)
        ):
            # The claim took long. With the claims in hand the next turn needs no more: no slow ledger stops everything.
            call = replace(call, at=again.at)
            sleep_until(call.at, self.now, self.sleep)
            judged_at = self.now()
            going, changed = self._judge(going, judged_at)
            judged += changed
        if self._is_late(call.at) or self._must_stop():
            self._give_up(replace(call, claimed=going), after)
            going = []
        began = self.now()
        outcomes = self._send([item for item, _ in going], judged_at, after)
        waits = self.templates.note([item for item, _ in going], outcomes)
        for (item, entry), outcome in zip(going, outcomes, strict=True):
            verdict = Outcome("misconfigured", outcome.reason) if item.id in waits else outcome
            judged.append(Judged(item, entry, verdict, waits.get(item.id)))
        blames, wait_s = self._note_health(going, outcomes, began, call.probe, after)
        self._record(judged)
        for each in judged:
            self._settle(each, blames, wait_s, after)

    def _claim(self, items: Sequence[Item], after: Aftermath) -> list[Claimed]:
        return self.claimer.claim(self.channel.can_resend, items, after, sending=not self.channel.can_resend)

    def _judge(self, claimed: Sequence[Claimed], now: datetime) -> tuple[list[Claimed], list[Judged]]:
        """The items that may go at this moment, and the verdict on the others."""
        going: list[Claimed] = []
        judged: list[Judged] = []
        for each in claimed:
            notification = each.item.notification
            decision = decide(notification, consent_for(notification, self.consents), now, self.policy)
            if not isinstance(decision, Send):
                judged.append(Judged(*each, decision))
            elif rest_s := self.templates.rest_s(each.item):  # an earlier call of this bundle has found it out
                judged.append(Judged(*each, None, rest_s))
            else:
                going.append(each)
        return going, judged

    def _give_up(self, call: Call, after: Aftermath) -> None:
        """Give up a call's turn. Its claims are released, and none of its calls has begun."""
        claimed = call.claimed or ()
        after.releases += [released(entry, sending=entry.sending and self.channel.can_resend) for _, entry in claimed]
        self.left += call.items if call.claimed is None else [item for item, _ in claimed]

    def _send(self, items: Sequence[Item], judged_at: datetime, after: Aftermath) -> Sequence[Outcome]:
        if not items:
            return []
        for item in items:
            self._note_wait(item, after)
        return ask(self.channel, [self._valid(item.notification, judged_at) for item in items])

    def _valid(self, notification: Notification, judged_at: datetime) -> Notification:
        """The notification as its channel gets it. Its provider may keep trying after the call, so it expires at the
        latest when it would be held again. That is asked for the moment at which it was found that it may go: a moment
        later, the next closure may already have begun."""
        if not may_be_held(notification, judged_at, self.policy):
            return notification
        until = held_from(notification, consent_for(notification, self.consents), judged_at, self.policy)
        if until is None or datetime.fromisoformat(notification["expires_at"]) <= until:
            return notification
        return {**notification, "expires_at": until.isoformat(timespec="milliseconds")}

    def _note_wait(self, item: Item, after: Aftermath) -> None:
        """Note how long a critical notification has waited for its call."""
        accepted_at = instant(item.notification["accepted_at"])
        if item.notification["category"] == "critical" and accepted_at is not None:
            after.urgent_wait_s = max(after.urgent_wait_s, (self.now() - accepted_at).total_seconds(), 0)

    def _note_health(
        self,
        going: Sequence[Claimed],
        outcomes: Sequence[Outcome],
        began: datetime,
        probe: Health | None,
        after: Aftermath,
    ) -> tuple[bool, float]:
        """Note what a call says about the channel. Returns if a failure counts against its items, and how long those
        wait that it does not count against."""
        failure = self._failure(going, outcomes, began, probe)
        now = self.now()
        try:
            if failure is not None:
                judgement = self.turns.has_failed(self.name, failure)
                if judgement.begins_rest or (probe and judgement.health.rests):  # once a rest, over all workers
                    after.count_rest(judgement.begins_rest, judgement.health.rest_s)
                if judgement.health.rests:
                    self.memory.rest(self.name, judgement.wait_s, now)
                return judgement.blames, judgement.wait_s
            if probe and outcomes and not any(each.was_called for each in outcomes):
                self.turns.has_not_called(self.name, probe)
            if not _says_that_it_works(outcomes):
                return True, FIRST_REST_S
            self.memory.delivered_at[self.name] = now
            if probe or self._served_is_old(now):
                self.memory.served_at[self.name] = now
                self.turns.has_served(self.name, probe, now)
                self.memory.rests_until.pop(self.name, None)
        except STORE_ERRORS:
            return False, FIRST_REST_S
        return True, FIRST_REST_S

    def _failure(
        self, going: Sequence[Claimed], outcomes: Sequence[Outcome], began: datetime, probe: Health | None
    ) -> Failure | None:
        """The failure that a call's outcomes are, if they say that the channel is or may be at fault."""
        at_fault = [each for each in outcomes if each.kind in ("unavailable", "unauthorized", "misconfigured")]
        said = [each for each in outcomes if _says_something(each)]
        if not at_fault and (not said or _says_that_it_works(outcomes)):
            return None
        blamed = (at_fault or said)[0]
        unanswered = all(each.kind == "unknown" for each in said)
        asks_s = max((each.retry_after_s or 0 for each in at_fault), default=0)
        rate = self.channel.rate_per_s
        delivered_at = self.memory.delivered_at.get(self.name)
        return Failure(
            id=next(each.item.id for each, outcome in zip(going, outcomes, strict=True) if outcome is blamed),
            began_ms=_ms(began),
            ended_ms=_ms(self.now()),
            is_certain=bool(at_fault) or (unanswered and not self.channel.can_resend),
            asks_s=max(asks_s, 1 / rate if rate else 0),
            served_ms=0 if delivered_at is None else _ms(delivered_at),
            probe=probe,
        )

    def _served_is_old(self, now: datetime) -> bool:
        served_at = self.memory.served_at.get(self.name)
        return served_at is None or now - served_at >= timedelta(seconds=SERVED_EVERY_S)

    def _record(self, judged: Sequence[Judged]) -> None:
        """Record deliveries. For a channel that cannot send again, record at once what the provider has and what it
        does not have: only an unknown outcome stays marked."""
        delivered = [each.entry for each in judged if _kind(each.verdict) == "delivered"]
        self.recorder.delivered(delivered, at_once=not self.channel.can_resend)
        if not self.channel.can_resend:
            not_sent = [each.entry for each in judged if _kind(each.verdict) not in ("delivered", "unknown")]
            with suppress(*STORE_ERRORS):  # the writes at the end try again; if they fail, the outcome is unknown
                self.ledger.unmark(not_sent, self.now())

    def _settle(self, judged: Judged, blames: bool, wait_s: float, after: Aftermath) -> None:
        """Note where an item goes after its turn."""
        item, entry, verdict, template_wait_s = judged
        wait_s = wait_s if template_wait_s is None else template_wait_s
        if isinstance(verdict, Outcome) and verdict.kind not in ("delivered", "not_in_allow_list"):
            after.counts[f"{verdict.kind}: {self.name} {verdict.reason.partition(':')[0]}"] += 1
        after.add(item, settlement(verdict, entry, self.channel.can_resend, wait_s, self.now(), blames=blames))

    def _is_late(self, at: datetime) -> bool:
        return self.now() - at > timedelta(seconds=LATE_TURN_S)

    def _must_stop(self) -> bool:
        """True if no call may begin: the time is short, or the ledger does not record what was delivered."""
        return self.recorder.has_failed or self.remaining_s() < self.channel.deadline_s + WRAP_UP_S

    def _rest_known(self) -> bool:
        return self.memory.rest_s(self.name, self.now()) > 0


def _says_something(outcome: Outcome) -> bool:
    """True if an outcome says something about the channel. A fault in its code says nothing about its provider."""
    return outcome.was_called and outcome.code != "channel_error"


def _says_that_it_works(outcomes: Sequence[Outcome]) -> bool:
    """True if the provider has taken something, or has refused it for what it is."""
    return any(each.kind in ("delivered", "rejected") and _says_something(each) for each in outcomes)


def _kind(verdict: Verdict) -> str:
    return verdict.kind if isinstance(verdict, Outcome) else "not_sent"


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
