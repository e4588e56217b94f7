"""The checks of the promises: whenever a provider takes a notification, at every write to the ledger, and at the end.

They share no code with the production code, on purpose. The rule is a comparison of local times here, and a consent is
a list of what was written when (`records.py`).
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lambdas.quiet_hours.stores.health import REFUSALS_MAX
from lambdas.quiet_hours.timings import WAIT_VISIBILITY_S

from .collapsing import Held
from .plan import Consent, Plan, Wanted
from .providers import Kind, Provider, ProviderCall
from .queues import Msg, Queue
from .records import Records
from .world import Process, Span, World

ENDINGS = (
    *("delivered", "expired", "cancelled", "opted_out", "superseded", "not_in_allow_list"),
    *("dead_lettered", "unknown"),
)
BEGUN_ANEW = (("dead_lettered", "claimed"), ("dead_lettered", "expired"))
"""The state changes that may follow an ending: a redrive, and an operator who drops what has expired. An operator may
also let an unknown outcome be sent again."""

RELEASED_WITHIN_S = 65.0
"""A minute, and the time of the calls."""

CRASH_COSTS_S = WAIT_VISIBILITY_S + 60
"""The delay that one crash may add. The messages that a scheduler had received stay hidden for so long. Then the next
minute's run finds them."""

CRITICAL_WITHIN_S = 10.0
CALLS_END_S = 60.0
"""After this time no call is under way that began before an outage was found."""

PROBES, PROBES_EVERY_S = 16, 120.0
"""More probes than a rest allows that doubles from five seconds to fifteen minutes, with a new rest after each crash of
a probe and each delivery that is reported late."""

CLOSED_AT_LEAST_S = 7200
"""No closure is shorter, so it is enough to look so often."""

CLOCK_READ_S = 0.02
"""The calls of a clock, and times in milliseconds."""

LATE_TURN_S = 1.0
"""A call may begin so long after its turn. What is later is given up."""

MAY_HAVE_IT = "the provider may have it"
"""Part of the reason of an ending after an unanswered call, where the ending is not the provider's own answer."""

NOT_SENT = ("expired", "opted_out", "superseded", "not_in_allow_list")
WITH_LETTER = ("dead_lettered", "unknown")
OWN_ANSWER = "simulated: "
"""Part of the reason of an ending that is the worker's own answer for a simulated address."""

FEWEST_FAULTS_TO_EXHAUST = 7
"""Ten attempts, less three. So many may pass until the poison in a bundle of a hundred stands alone."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: its name, the time, and what happened."""

    invariant: str
    t: float
    detail: str


class Taken(NamedTuple):
    """A provider took a notification, under this id."""

    id: str
    at: float


@dataclass
class Checks:
    """The observer of one night.

    `late_s` is how long after its judgement a provider may take a notification. `accepted` are the notifications that
    their senders know to be accepted, by id. `reopened` counts how often an operator let an id with an unknown outcome
    be sent again. `claimed` is called for each first claim.
    """

    world: World
    plan: Plan
    kinds: dict[str, Kind]
    late_s: float
    violations: list[Violation] = field(default_factory=list)
    accepted: dict[str, Wanted] = field(default_factory=dict)
    accepted_numbers: set[int] = field(default_factory=set)
    reopened: Counter[str] = field(default_factory=Counter)
    taken: defaultdict[int, list[Taken]] = field(default_factory=lambda: defaultdict(list))
    records: Records = field(default_factory=Records)
    held: Held = field(init=False)
    ended: dict[str, str] = field(default_factory=dict)
    claimed_at: dict[str, float] = field(default_factory=dict)
    by_number: dict[int, Wanted] = field(default_factory=dict)
    by_id: defaultdict[str, list[Wanted]] = field(default_factory=lambda: defaultdict(list))
    cancelled: set[str] = field(default_factory=set)
    claimed: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self.held = Held(self.plan.requests)
        self.by_number = {each.number: each for each in self.plan.wanted}
        for each in self.plan.wanted:
            if each.id:
                self.by_id[each.id].append(each)

    def _broken(self, invariant: str, detail: str) -> None:
        self.violations.append(Violation(invariant, self.world.t, detail))
        if self.world.note:
            self.world.note(f"VIOLATION of {invariant}: {detail}", None)

    def note_accepted(self, id_: str, wanted: Wanted) -> None:
        """A sender knows that its notification is accepted under this id."""
        self.accepted_numbers.add(wanted.number)
        self.accepted.setdefault(id_, wanted)

    # --- while it runs ------------------------------------------------------------------------------------------------

    def provider_took(self, provider: str, notification: dict[str, Any], process: Process, tries_s: float) -> None:
        """Check what may never be true when a provider takes a notification. It may keep trying for `tries_s`."""
        t = self.world.t
        id_ = notification["id"]
        wanted = self.by_number[notification["metadata"]["n"]]
        if self.world.note:
            self.world.note(f"{provider}'s provider takes it from {process.owner}", id_)
        since = process.began_at
        who = f"{id_} ({wanted.category} by {wanted.channel} to {wanted.recipient} at {notification['address']})"
        if (reach := self.plan.reached(wanted)) != "provider":
            self._broken("only_listed", f"{who} reached its provider, and its address is {reach}")
        self._check_consent(wanted, who, since)
        self._check_validity(wanted, who, since, tries_s)
        if wanted.expires is not None and t > wanted.expires + self.late_s:
            self._broken("never_expired", f"{who} had expired")
        if newer := self.held.newer(wanted, notification, since):
            self._broken("collapsed", f"{who} went out although #{newer[0]}, which is newer, was held with it")
        before = self.taken[wanted.number]
        allowed_again = self.reopened[id_]
        if self.kinds[provider].rule != "dead_letter":
            if any(other.id != id_ for other in before):
                self._broken("effectively_once", f"{who} went out before as {before[0].id}")
        elif len(before) > allowed_again:
            self._broken("effectively_once", f"{who} was accepted before, and the provider knows no repeats")
        if others := [each for each in self.by_id.get(id_, []) if each is not wanted and self.taken[each.number]]:
            self._broken("ids_kept", f"{who} went out, and so did #{others[0].number}, which has the same id")
        if ending := self.ended.get(id_):
            self._broken("never_after_ending", f"{who} was called for although the ledger says {ending}")
        if id_ in self.cancelled:
            self._broken("cancelled_is_cancelled", f"{who} reached its provider after the answer that it is cancelled")
        before.append(Taken(id_, t))

    def _check_consent(self, wanted: Wanted, who: str, since: float) -> None:
        """Check that a worker may have read, since its claim, a consent by which this may go now."""
        t = self.world.t
        read = self.records.read(wanted, since, t)
        if self.plan.is_closed(wanted, t, night_consent=True):
            self._broken("never_when_closed", f"{who} reached its provider at a time that no consent opens")
        elif self.plan.is_closed(wanted, t) and not any(each.night_consent(since, self.late_s) for each in read):
            self._broken("never_early", f"{who} reached its provider in quiet hours")
        if wanted.category != "advertising":
            return
        if all(each.opted_out for each in read):
            self._broken("never_after_opt_out", f"{who} had opted out before the claim")
        if self._requires_consent and not any(each.advertising_consent for each in read):
            self._broken("never_without_consent", f"{who} had not consented to advertising before the claim")

    def _check_validity(self, wanted: Wanted, who: str, since: float, tries_s: float) -> None:
        """Check that a provider that keeps trying gives up before this may not go any more."""
        t = self.world.t
        until = t + tries_s - CLOCK_READ_S
        consents = any(each.night_consent(since, self.late_s) for each in self.records.read(wanted, since, t))
        times = (*range(int(t) + CLOSED_AT_LEAST_S, int(until), CLOSED_AT_LEAST_S), until) if until > t else ()
        if any(self.plan.is_closed(wanted, at, consents, deployed_at=t) for at in times):
            self._broken("never_rings_at_night", f"{who} may still be tried {tries_s:.0f} s later, in quiet hours")

    def cancel_answered(self, id_: str, outcome: str) -> None:
        """The API has answered a cancellation."""
        if outcome == "cancelled":
            self.cancelled.add(id_)
            if id_ in self.accepted and self._is_taken(id_):
                self._broken("cancelled_is_cancelled", f"{id_} is answered as cancelled, and its provider has it")
        if self.world.note:
            self.world.note(f"the API answers a cancellation: {outcome}", id_)

    def ledger_written(self, before: dict[str, Any] | None, item: dict[str, Any], process: Process) -> None:
        """Check that an ending stays, but for a redrive."""
        id_, state = item["id"]["S"], item["state"]["S"]
        was = before["state"]["S"] if before else ""
        if (was, state) == ("unknown", "claimed") and process.name == "redrive":
            self.reopened[id_] += 1
        elif was in ENDINGS and state != was and (was, state) not in BEGUN_ANEW:
            self._broken("ends_once", f"{id_} was {was} and became {state}")
        if state in ENDINGS:
            self.ended[id_] = state
        else:
            self.ended.pop(id_, None)
            taken_over = before is None or was != "claimed" or before.get("owner") != item.get("owner")
            if "owner" in item and taken_over:
                self.claimed_at[id_] = self.world.t
                if self.claimed:
                    self.claimed(id_)
        if self.world.note:
            self.world.note(_ledger_line(item, process), id_)

    def wait_took(self, msg: Msg) -> None:
        """Somebody has put a message on the wait queue."""
        self.held.note(msg.body, self.by_number, self.world.t)

    def wait_received(self, queue: str) -> None:
        """Somebody receives from a wait queue. With several of them, or with several policies one after
        the other, year.py checks what they release."""
        if self.plan.wait_queues == 1 and not self.plan.change and self._is_quiet(self.world.t):
            self._broken("wait_untouched", f"{queue} was received from in quiet hours")

    def handler_raised(self, name: str, error: BaseException) -> None:
        """A function raised. Errors of AWS may be raised; any other is a fault in the code."""
        if type(error).__module__.startswith("botocore") or type(error).__name__ == "ConsentUnavailable":
            return
        self._broken("no_fault_in_code", f"{name} raised {type(error).__name__}: {error}")

    def endless(self, events: int) -> None:
        """The night does not end."""
        self._broken("settled", f"{events} events and still going to and fro")

    # --- when it is over ----------------------------------------------------------------------------------------------

    def night_over(
        self, queues: dict[str, Queue], ledger: dict[str, dict[str, Any]], excuses: int, called: list[set[str]]
    ) -> None:
        """Check that everything settled, and that every accepted notification ended in exactly one way."""
        for name, queue in queues.items():
            if name != "dead-letter" and queue.messages:
                self._broken("settled", f"{len(queue.messages)} messages are still on {name}")
        letters = list(queues["dead-letter"].messages.values())
        letters_by_id = self._letters_by_id(letters)
        self._ids_kept(ledger, letters_by_id)
        self._conserved(ledger, letters_by_id)
        self._ended(ledger)
        for id_ in sorted(self.cancelled):
            if (state := ledger[id_]["state"]["S"] if id_ in ledger else "nothing") != "cancelled":
                self._broken("cancelled_is_cancelled", f"{id_} was answered as cancelled and the ledger says {state}")
        for body in self.plan.letters:
            if not any(msg.body == body for msg in letters):
                self._broken("conserved", f"what could not be read is not on dead-letter: {body[:60]}")
        self._blameless(ledger, excuses, called)
        if not excuses:
            self._templates_rest(ledger)

    def _letters_by_id(self, letters: list[Msg]) -> defaultdict[str, list[Msg]]:
        by_id: defaultdict[str, list[Msg]] = defaultdict(list)
        for msg in letters:
            if "reason" not in msg.attributes:
                self._broken("has_reason", f"a dead letter without a reason: {msg.body[:60]}")
            by_id[msg.attributes.get("notification_id", {}).get("StringValue", "")].append(msg)
        return by_id

    def _ids_kept(self, ledger: dict[str, dict[str, Any]], letters: defaultdict[str, list[Msg]]) -> None:
        """Check that each id is of one notification, and that a letter says so of each other one that was sent under
        it. An id that was cancelled is of none. From here on `accepted` has the notification that an id is of."""
        for id_, sent in self.by_id.items():
            if len(sent) == 1:
                continue
            reused = {_number(msg) for msg in letters[id_] if _letter_reason(msg).startswith("id_reused: ")}
            left = [each for each in sent if each.number not in reused]
            accepted = [each for each in left if each.number in self.accepted_numbers]
            state = ledger[id_]["state"]["S"] if id_ in ledger else "nothing"
            if not left:
                self._broken("ids_kept", f"every notification that was sent as {id_} was refused")
            elif len(accepted) > 1 and state != "cancelled":
                numbers = ", ".join(f"#{each.number}" for each in accepted)
                self._broken("ids_kept", f"{numbers} were accepted as {id_}, and no letter says that one was not sent")
            self.accepted.pop(id_, None)
            for each in sorted(accepted, key=lambda each: not self.taken[each.number])[:1]:
                self.accepted[id_] = each

    def _conserved(self, ledger: dict[str, dict[str, Any]], letters: defaultdict[str, list[Msg]]) -> None:
        """Check that each accepted notification has an ending, and that the ending is true."""
        for id_, wanted in self.accepted.items():
            state = ledger[id_]["state"]["S"] if id_ in ledger else "nothing"
            reach = self.plan.reached(wanted)
            if state not in ENDINGS:
                self._broken("conserved", f"{id_} was accepted and the ledger says {state}")
            elif state in WITH_LETTER and not any(_undoes(msg, ledger[id_]) for msg in letters[id_]):
                self._broken("conserved", f"{id_} is {state} and no letter says so")
            elif state == "delivered" and not self.taken[wanted.number] and reach not in ("success", "bounce"):
                self._broken("conserved", f"{id_} is recorded as delivered and no provider has it")
            elif state == "not_in_allow_list" and reach != "not_listed":
                self._broken("only_listed", f"{id_} is recorded as not listed, and its address is {reach}")
            elif state == "opted_out" and not self._may_be_unwanted(wanted):
                self._broken("conserved", f"{id_} is recorded as opted out and nobody did")
            elif state == "superseded" and not self.held.may_be_superseded(wanted):
                self._broken("collapsed", f"{id_} is recorded as superseded and no newer one was sent")
            elif state in NOT_SENT and self._is_taken(id_) and MAY_HAVE_IT not in _reason(ledger[id_]):
                self._broken("conserved", f"{id_} is {state}, its provider has it, and nothing says that it may")
            elif state == "expired" and not self._has_expired(wanted):
                self._broken("conserved", f"{id_} is recorded as expired before its time")

    def _ended(self, ledger: dict[str, dict[str, Any]]) -> None:
        """Check that whatever was begun has ended, and that only the right channels give up an unknown outcome."""
        for id_, item in ledger.items():
            asked = self.accepted.get(id_)
            if item["state"]["S"] == "unknown" and asked and self.kinds[asked.channel].rule != "dead_letter":
                self._broken("unknown_by_rule", f"{id_} may be sent again by {asked.channel} and was given up")
            if id_ not in self.accepted and item["state"]["S"] not in ENDINGS:
                self._broken("conserved", f"{id_} was begun and the ledger says {item['state']['S']}")

    def released_on_time(self, crashes: int) -> None:
        """Check a night without other faults: the first held notification reaches its provider within a minute of the
        end of quiet hours, and within two minutes more for each crash."""
        within_s = RELEASED_WITHIN_S + crashes * CRASH_COSTS_S
        for end in self.plan.ends:
            held = [each for request in self.plan.requests if request.at < end - 120 for each in request.wanted]
            times = (taken.at for each in held for taken in self.taken[each.number])
            first = min((t for t in times if t >= end), default=None)
            if first is not None and first > end + within_s:
                self._broken("released_on_time", f"the first left {first - end:.0f} s after the end of quiet hours")

    def _blameless(self, ledger: dict[str, dict[str, Any]], excuses: int, called: list[set[str]]) -> None:
        """Check that no notification runs out of attempts through another's fault, and that what a provider took is
        recorded as delivered."""
        poison = {each.id for each in self.plan.wanted if each.number in self.plan.poison}
        refused = {each.id for each in self.plan.wanted if each.number in self.plan.refused}
        for id_, item in ledger.items():
            reason = _reason(item)
            wanted = self.accepted.get(id_)
            never_answers = wanted is not None and self.plan.reached(wanted) == "no-answer"
            simulated = OWN_ANSWER in reason or never_answers
            exhausted = reason.startswith("attempts_exhausted") and not simulated
            if exhausted and id_ not in poison and excuses < FEWEST_FAULTS_TO_EXHAUST:
                self._broken("blameless", f"{id_} ran out of attempts, though nothing was wrong with it")
            if reason.startswith("channel_not_configured"):
                self._broken("blameless", f"{id_} is given up because its channel has no settings")
            if reason.startswith("http_400") and id_ not in refused:
                self._broken("blameless", f"{id_} is recorded as rejected, and its provider never did")
            state = item["state"]["S"]
            silent = (
                wanted and wanted.channel in self.plan.away and self.plan.outages.get(wanted.channel) == "hang_after"
            )
            # A notification that kills its worker takes the others' calls with it, which were about to begin.
            if simulated and wanted and self.plan.reached(wanted) not in ("failure", "no-answer"):
                self._broken("only_listed", f"{id_} is given up as simulated, and it is not")
            if not (excuses or poison or simulated or any(id_ in each for each in called)) and state == "unknown":
                self._broken("blameless", f"{id_} is recorded as unknown, and no provider was called for it")
            if wanted and not (excuses or poison or silent) and state != "delivered" and self.taken[wanted.number]:
                self._broken("blameless", f"{id_} was taken by its provider and is recorded as {state}")

    def _templates_rest(self, ledger: dict[str, dict[str, Any]]) -> None:
        """Check that a template that is refused for a while costs a source a few notifications and not its night."""
        given_up: Counter[tuple[str, str]] = Counter()
        for id_, item in ledger.items():
            if _reason(item).startswith("solapi_1042") and (wanted := self.accepted.get(id_)):
                given_up[wanted.channel, wanted.body["source"]] += 1
        for (channel, source), number in given_up.items():
            if number >= REFUSALS_MAX:
                self._broken("blameless", f"{number} of {source} by {channel} are given up for their template")

    def paced(self, provider: Provider) -> None:
        """Check a provider's calls, from all lanes together, in any second and any ten seconds: at most the rate, and
        one call. A call carries at most as many notifications as the provider takes in a second, or one.

        A call may be late for its turn, by a pause more than is noticed, and two workers' clocks differ by twice the
        skew. Critical ones may be early: so each counts as one more. So does a probe of a rest, which has no turn.
        """
        rate = provider.kind.rate_per_s
        if rate is None:
            return
        late_s = LATE_TURN_S + self.plan.longest_pause_s + 2 * self.plan.skew_s
        for length_s in (1.0, 10.0):
            for window in _windows(provider.calls, length_s):
                if window.notifications > rate * (length_s + late_s) + max(1.0, rate) + 1 + window.critical:
                    what = f"{window.notifications} for {provider.name} within {length_s:g} s"
                    self._broken("paced", f"{what}, at {rate:g}/s")
                    return

    def critical_on_time(self) -> None:
        """Check a night without faults: a critical notification reaches its provider within ten seconds of its
        acceptance, and within the time that the critical ones before it take at the provider's rate."""
        asked: defaultdict[str, list[float]] = defaultdict(list)
        for request in sorted(self.plan.requests, key=lambda each: each.at):
            for each in request.wanted:
                if each.category != "critical":
                    continue
                asked[each.channel].append(request.at)
                rate = self.kinds[each.channel].rate_per_s
                ahead = sum(at > request.at - CRITICAL_WITHIN_S for at in asked[each.channel])
                within_s = CRITICAL_WITHIN_S + (ahead / rate if rate else 0)
                if any(taken.at > request.at + within_s for taken in self.taken[each.number][:1]):
                    late_s = self.taken[each.number][0].at - request.at
                    self._broken("critical_on_time", f"#{each.number} by {each.channel} waited {late_s:.0f} s")

    def left_alone(self, provider: Provider) -> None:
        """Check that a provider that is away is left alone: a minute after the first call that finds it away it gets
        some probes, each of one notification."""
        away = self.plan.away.get(provider.name)
        calls = [each for each in provider.calls if away and away.begin <= each.at < away.end]
        if away is None or not calls:
            return
        found = calls[0].at + CALLS_END_S
        during = [each for each in calls if each.at >= found]
        most = PROBES + (away.end - found) / PROBES_EVERY_S
        if sum(each.notifications for each in during) > most:
            what = f"{sum(each.notifications for each in during)} in {len(during)} calls"
            self._broken(
                "left_alone", f"{provider.name} was away for {away.end - away.begin:.0f} s and was sent {what}"
            )

    # --- the rule, once more ------------------------------------------------------------------------------------------

    def _is_quiet(self, t: float) -> bool:
        """Say if something is held now, by the local clock."""
        now = self.world.time(t)
        return any(self.plan.judge.is_closed(now, "advertising", channel) for channel in ("kakao", "sms"))

    def consent_written(self, key: str, consent: Consent) -> None:
        """There is a record in the registry from now on."""
        self.records.write(self.world.t, key, consent)

    def _may_be_unwanted(self, wanted: Wanted) -> bool:
        """Say if a worker may have read at any time that this notification is advertising that is not wanted."""
        return wanted.category == "advertising" and any(
            each.opted_out or (self._requires_consent and not each.advertising_consent)
            for each in self.records.read(wanted, 0.0, self.world.t)
        )

    @property
    def _requires_consent(self) -> bool:
        return self.plan.advertising_consent == "required"

    def _is_taken(self, id_: str) -> bool:
        """Say if its provider has it, and no operator has asked since to send it again."""
        sent = self.by_id.get(id_) or [self.accepted[id_]]
        return any(self.taken[each.number] for each in sent) and id_ not in self.reopened

    def _has_expired(self, wanted: Wanted) -> bool:
        return wanted.expires is not None and self.world.t >= wanted.expires - self.late_s


class _Window(NamedTuple):
    """The notifications that a provider was asked to take in this time, and how many of them are critical."""

    during: Span
    notifications: int
    critical: int


def _windows(calls: list[ProviderCall], length_s: float) -> Iterator[_Window]:
    """For each call, the window of this length that ends with it."""
    first = total = critical = 0
    for call in calls:
        total += call.notifications
        critical += call.critical
        begin = call.at - length_s
        while calls[first].at < begin:
            total -= calls[first].notifications
            critical -= calls[first].critical
            first += 1
        yield _Window(Span(begin, call.at), total, critical)


def _within(times: list[float], begins: float, ends: float) -> int:
    return bisect_right(times, ends) - bisect_left(times, begins)


def _reason(item: dict[str, Any]) -> str:
    return str(item.get("reason", {}).get("S", ""))


def _letter_reason(msg: Msg) -> str:
    return str(msg.attributes.get("reason", {}).get("StringValue", ""))


def _number(msg: Msg) -> int:
    """The number of the notification in a dead letter."""
    return int(json.loads(msg.body)["metadata"]["n"])


def _undoes(msg: Msg, item: dict[str, Any]) -> bool:
    return bool(msg.attributes.get("dead_lettered_at", {}).get("StringValue") == item.get("ended_at", {}).get("S"))


def _ledger_line(item: dict[str, Any], process: Process) -> str:
    state = item["state"]["S"]
    if state == "claimed" and "owner" not in item:
        return f"{process.owner or process.name} gives its claim back, {item['attempts']['N']} attempts so far"
    if state == "claimed":
        what = "notes that a call may begin" if "sending" in item else "claims it"
        return f"{process.owner or process.name} {what}"
    reason = item.get("reason", {}).get("S", "")
    return f"ledger: {state}" + (f" ({reason})" if reason else "")
