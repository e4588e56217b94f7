"""Draws a plan from a seed. The order of the draws is part of a seed: another order plays other nights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

from .plan import Cancel, Consent, ConsentChange, Junk, Plan, Redrive, Request, Wanted, add_second_night, quiet_night
from .providers import KINDS
from .world import Span

EDGE_S = 10.0
SOURCES = 8
RECIPIENTS = 10

SIZES, CAMPAIGN_SIZES = (1, 1, 2, 4, 8), (4, 16, 32)
PACED = tuple(name for name, kind in KINDS.items() if kind.rate_per_s)
"""Some nights have a campaign: large requests, half of them on one channel that has a rate."""

LARGE_CAMPAIGN, LARGE_CAMPAIGN_SIZE = 0.03, 224
"""The share of nights with a large campaign, and its notifications: more than two bundles."""

RUSH_BEFORE_S, RUSH_OF = 900.0, ("advertising", "advertising", "informational")
"""When a campaign by day begins before quiet hours, and the category of each of its requests: some fifty seconds of the
webhook's rate, over two lanes."""

TEXT = "(광고) x 무료수신거부 080-000-0000"
"""The body of advertising. It carries the label that the law asks for."""

OTHER_TEXT = TEXT.replace("광고", "안내")
"""The body of every other notification, of the same size. With the label it would be refused."""

TOO_MANY = "[" + ",".join(f'{{"id":"many-{n}"}}' for n in range(101)) + "]"
JUNK = ("not json", "[]", '{"id":"junk-1","channel":"sms"}', "[[", "null", TOO_MANY, "[0,null]")
"""Bodies that are no notification: each has to end on dead-letter with its reason, in one letter."""

UNDER_THE_GUARD_S = (9.5, 14.5)
"""The time before quiet hours at which a worker begins on some nights: within the guard, so it must not send any
more."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person. Senders name some of them by their id, the others by their address alone."""

    key: str
    by_id: bool


def draw(rng: Random, notifications: int, pause_s: float, skew_s: float) -> Plan:
    """Draw a night with adversity. `pause_s` and `skew_s` bound how long pauses are and how far clocks are off."""
    plan = quiet_night(rng)
    plan.policy = "strict" if rng.random() < 0.15 else "korea"
    if rng.random() < 0.03:
        add_second_night(plan)
    plan.faults_until = plan.ends[-1] + rng.choice((300.0, 900.0, 1800.0))
    recipients = [Recipient(_key(index), by_id=rng.random() < 0.85) for index in range(RECIPIENTS)]
    _draw_requests(plan, rng, recipients, notifications)
    _draw_reused_ids(plan, rng, recipients)
    _draw_consents(plan, rng)
    plan.skew_s = rng.choice((0.0, skew_s / 4, skew_s))
    if rng.random() < 0.15:
        plan.calm, plan.faults_until = True, 0.0
    else:
        _draw_adversity(plan, rng, pause_s)
    return plan


def moment(plan: Plan, rng: Random) -> float:
    """Draw when somebody does something: more often than not within seconds of an edge of quiet hours."""
    night = rng.randrange(plan.nights)
    begin, end = plan.begins[night], plan.ends[night]
    kind = rng.random()
    if kind < 0.3:
        return begin + rng.uniform(-EDGE_S, EDGE_S)
    if kind < 0.42:
        return begin + rng.uniform(-70, 0)
    if kind < 0.6:
        return end + rng.uniform(-EDGE_S, EDGE_S)
    if kind < 0.9:
        return rng.uniform(begin, end)
    return rng.uniform(begin - 1000, begin)


# --- what is sent -----------------------------------------------------------------------------------------------------


def _draw_requests(plan: Plan, rng: Random, recipients: list[Recipient], notifications: int) -> None:
    number = 0
    again = rng.choice((0.0, 0.0, 0.3))
    campaign = rng.choice(PACED) if rng.random() < 0.15 else None
    while number < notifications:
        at = moment(plan, rng)
        route = rng.choices(("producer", "sqs", "bundle", "event"), (65, 10, 15, 10))[0]
        sizes = CAMPAIGN_SIZES if campaign else SIZES
        size = 1 if route in ("sqs", "event") else min(rng.choice(sizes), notifications - number)
        channel = rng.choice(tuple(KINDS)) if rng.random() < 0.5 else campaign
        wanted = []
        for _ in range(size):
            wanted.append(_draw_wanted(plan, rng, number, recipients, channel, at, route))
            number += 1
        again_at = at + rng.choice((0.0, rng.random() * 30, 3600.0)) if rng.random() < again else None
        if any(each.id is None for each in wanted):
            again_at = None
        invalid = None
        if route == "bundle" and rng.random() < 0.2:
            invalid = rng.choice((f'{{"id":"invalid-{number}"}}', f'"{number}",0'))
            plan.letters.append(invalid if invalid.startswith("{") else f"[{invalid}]")
        plan.requests.append(Request(at, route, tuple(wanted), again_at, invalid))


def draw_large_campaign(plan: Plan, rng: Random) -> None:
    """Now and then, so much is held for one channel that it is released in several full bundles, on which all workers
    of the lane are at work."""
    if rng.random() >= LARGE_CAMPAIGN:
        return
    channel = rng.choice(PACED)
    members = [Recipient(f"member-{index}", by_id=True) for index in range(RECIPIENTS)]
    at = rng.uniform(plan.begins[0], plan.ends[0])
    first = len(plan.wanted)
    for start in range(first, first + LARGE_CAMPAIGN_SIZE, max(CAMPAIGN_SIZES)):
        numbers = range(start, start + max(CAMPAIGN_SIZES))
        wanted = [_draw_wanted(plan, rng, n, members, channel, at, "producer", "advertising") for n in numbers]
        plan.requests.append(Request(at, "producer", tuple(wanted)))


def draw_rush(plan: Plan, rng: Random) -> None:
    """A campaign by day on the slowest channel, and critical notifications on it and on another one meanwhile."""
    members = [Recipient(f"rushed-{index}", by_id=True) for index in range(RECIPIENTS)]
    at, number = plan.begins[0] - RUSH_BEFORE_S, len(plan.wanted)
    for category in RUSH_OF:
        numbers = range(number, number + max(CAMPAIGN_SIZES))
        wanted = [_draw_wanted(plan, rng, n, members, "webhook", at, "producer", category) for n in numbers]
        plan.requests.append(Request(at, "producer", tuple(wanted)))
        number += max(CAMPAIGN_SIZES)
    for channel in ("webhook", "sms", "webhook"):
        code_at = at + rng.uniform(3, 30)
        route = rng.choice(("producer", "sqs"))
        code = _draw_wanted(plan, rng, number, members, channel, code_at, route, "critical")
        plan.requests.append(Request(code_at, route, (code,)))
        number += 1


def draw_misplaced(plan: Plan, rng: Random) -> None:
    """Somebody puts bundles of any category on the urgent lane."""
    for index, request in enumerate(plan.requests):
        has_ids = all(each.id for each in request.wanted)
        if request.route == "bundle" and has_ids and request.invalid is None and rng.random() < 0.5:
            plan.requests[index] = replace(request, route="urgent")


def _draw_reused_ids(plan: Plan, rng: Random, recipients: list[Recipient]) -> None:
    """Some senders use an id that another notification has: before it, while it is on its way, after it, by any way
    in."""
    if rng.random() >= 0.3:
        return
    number = len(plan.wanted)
    for first in rng.sample([each for each in plan.wanted if each.id], 3):
        place = next(n for n, request in enumerate(plan.requests) if first in request.wanted)
        request = plan.requests[place]
        at = max(1.0, request.at + rng.choice((-3600.0, -1.0, 0.0, 1.0, 30.0, 3600.0, 12 * 3600.0)) * rng.random())
        route = rng.choice(("producer", "sqs", "bundle", "event"))
        other = _draw_wanted(plan, rng, number, recipients, None, at, route)
        body = {**other.body, "id": first.id, "content": {"body": f"{other.body['content']['body']} {number}"}}
        other = replace(other, id=first.id, body=body)
        number += 1
        if request.route == "bundle" and rng.random() < 0.5:
            plan.requests[place] = replace(request, wanted=(*request.wanted, other))
        else:
            plan.requests.append(Request(at, route, (other,)))


def _draw_wanted(
    plan: Plan,
    rng: Random,
    number: int,
    recipients: list[Recipient],
    channel: str | None,
    at: float,
    route: str,
    category: str | None = None,
) -> Wanted:
    channel = channel or rng.choice(tuple(KINDS))
    category = category or rng.choices(("advertising", "informational", "critical"), (75, 15, 10))[0]
    which = rng.randrange(len(recipients))
    recipient = recipients[which]
    typed, address = _typed_address(channel, which), _canonical_address(channel, which)
    key = recipient.key if recipient.by_id else address
    written_id = written(key, rng) if recipient.by_id else ""
    expires = None
    if rng.random() < 0.15:
        expires = at + rng.choice((60.0, 600.0, rng.random() * 43_200))
    id_ = None if route != "producer" and rng.random() < 0.3 else f"n{number}"
    body: dict[str, Any] = {
        "channel": channel,
        "address": typed,
        "content": {"body": TEXT if category == "advertising" else OTHER_TEXT},
    }
    body["metadata"] = {"n": number}
    body["source"] = f"source-{number % SOURCES}"
    if id_:
        body["id"] = id_
    if category != "advertising" or rng.random() < 0.5:
        body["category"] = category
    if written_id:
        body["recipient_id"] = written_id
    if expires is not None:
        body["expires_at"] = (plan.start + timedelta(seconds=expires)).isoformat(timespec="milliseconds")
    return Wanted(number, id_, category, channel, key, expires, body, address)


def _key(which: int) -> str:
    """The key of a person in the registry: a number that the sender counts, a phone number or an e-mail address."""
    return (f"user-{which}", f"+82107777{5000 + which}", f"member{which}@example.com")[which % 3]


def written(key: str, rng: Random) -> str:
    """A key of the registry as somebody may write it."""
    if key.startswith("+82"):
        local = f"0{key[3:5]}-{key[5:9]}-{key[9:]}"
        return rng.choice((key, local, local.replace("-", ""), f"+82 {local[1:]}"))
    return rng.choice((key, key.title())) if "@" in key else key


def _typed_address(channel: str, which: int) -> str:
    """An address as a person types it."""
    typed = {"email": f"User{which}@Example.com", "slack": f"#Room-{which}", "webhook": f"Home{which}@Example.com"}
    number = f"010-1234-{5000 + which}"
    return number if channel in ("kakao", "sms") else typed.get(channel, f"token-{which}")


def _canonical_address(channel: str, which: int) -> str:
    """The key in the registry of whoever has this address. A webhook gets its address as it was typed, but the consent
    that counts is under the same key as everywhere."""
    canonical = {
        "email": f"user{which}@example.com",
        "slack": f"#room-{which}",
        "webhook": f"home{which}@example.com",
    }
    number = f"+82101234{5000 + which}"
    return number if channel in ("kakao", "sms") else canonical.get(channel, f"token-{which}")


def _draw_consents(plan: Plan, rng: Random) -> None:
    keys = sorted({each.recipient for each in plan.wanted})
    for key in keys:
        if rng.random() < 0.5:
            plan.consents.append(ConsentChange(0.0, key, _draw_consent(plan, rng), written(key, rng)))


def _draw_consent(plan: Plan, rng: Random) -> Consent:
    consent = Consent(night_consent=rng.random() < 0.5, opted_out=rng.random() < 0.2)
    if rng.random() < 0.2:
        consent = consent._replace(expires=rng.uniform(0, plan.ends[-1]))
    return consent


# --- adversity --------------------------------------------------------------------------------------------------------


def _draw_adversity(plan: Plan, rng: Random, pause_s: float) -> None:
    """Switch each kind of adversity on or off for the whole seed."""
    begin, end = rng.choice(plan.begins), rng.choice(plan.ends)
    _draw_changes_of_consent(plan, rng)
    _draw_cancels(plan, rng, end)
    _draw_cancels_at_the_claim(plan, rng)
    _draw_refused(plan, rng)
    _draw_poison(plan, rng)
    _draw_redrives(plan, rng, end)
    _draw_absent_providers(plan, rng, end)
    _draw_absent_queue(plan, rng, end)
    _draw_blocked_lane(plan, rng, begin, pause_s)
    _draw_blocked_release(plan, rng, end)
    _draw_slowness(plan, rng, pause_s)
    _draw_junk(plan, rng)
    if rng.random() < 0.15:
        draw_last_seconds(plan, rng, pause_s, UNDER_THE_GUARD_S)


def _draw_changes_of_consent(plan: Plan, rng: Random) -> None:
    if rng.random() < 0.4:
        wanted = plan.wanted
        for _ in range(rng.randint(1, 8)):
            recipient = rng.choice(wanted).recipient
            at = max(1.0, moment(plan, rng))
            text = written(recipient, rng)
            plan.consents.append(ConsentChange(at, recipient, _draw_consent(plan, rng), text))


def _draw_cancels(plan: Plan, rng: Random, end: float) -> None:
    """Somebody cancels, most often while the release is under way."""
    if rng.random() < 0.4:
        wanted = plan.wanted
        for each in rng.sample(wanted, min(6, len(wanted))):
            at = end + rng.uniform(-1, 8) if rng.random() < 0.7 else moment(plan, rng)
            if each.id:
                plan.cancels.append(Cancel(max(1.0, at), each))


def _draw_cancels_at_the_claim(plan: Plan, rng: Random) -> None:
    """Somebody cancels while a worker is at the notification."""
    if rng.random() < 0.3:
        wanted = plan.wanted
        for each in rng.sample(wanted, min(4, len(wanted))):
            if each.id:
                plan.cancelled_when_claimed[each.id] = rng.choice((0.0, 0.3, 3.0, 15.0)) * rng.random()


def _draw_refused(plan: Plan, rng: Random) -> None:
    """A provider rejects some notifications for good, now and then those of the evening."""
    if rng.random() < 0.4:
        early = [each for request in plan.requests if request.at < plan.begins[0] for each in request.wanted]
        pool = early if len(early) > 3 and rng.random() < 0.6 else plan.wanted
        plan.refused = frozenset(each.number for each in rng.sample(pool, min(4, len(pool))))


def _draw_poison(plan: Plan, rng: Random) -> None:
    """One notification kills every worker that sends it; if possible it has neighbours in a bundle."""
    if rng.random() < 0.2:
        together = [each for request in plan.requests if len(request.wanted) > 1 for each in request.wanted]
        plan.poison = frozenset([rng.choice(together or plan.wanted).number])


def _draw_redrives(plan: Plan, rng: Random, end: float) -> None:
    if rng.random() < 0.4:
        plan.redrives = [Redrive(plan.ends[0] - 5 * 3600, resend_unknown=rng.random() < 0.3)]
        if rng.random() < 0.5:
            plan.redrives.append(Redrive(end + rng.random() * 600, resend_unknown=rng.random() < 0.3))


def _draw_absent_providers(plan: Plan, rng: Random, end: float) -> None:
    """Providers are away over a release."""
    if rng.random() < 0.25:
        for channel in rng.sample(tuple(KINDS), rng.randint(1, 3)):
            plan.away[channel] = Span(end - rng.random() * 600, end + rng.random() * 1200)


def _draw_absent_queue(plan: Plan, rng: Random, end: float) -> None:
    """SQS takes nothing for one queue."""
    if rng.random() < 0.25:
        queue = rng.choice(("delivery", "wait", "schedule", "schedule", "dead-letter"))
        at = max(1.0, moment(plan, rng) if queue != "schedule" else end - rng.random() * 30)
        plan.queues_away[queue] = Span(at, at + rng.uniform(10, 200))


def _draw_blocked_lane(plan: Plan, rng: Random, begin: float, pause_s: float) -> None:
    """A lane backs up before quiet hours begin, and moves again shortly before or after that."""
    if rng.random() < 0.5:
        lane = rng.choice(("delivery", "delivery", "notification"))
        until = rng.choice((rng.uniform(-20, 0), rng.uniform(-14, -8), rng.uniform(0, 300), rng.uniform(0, 300)))
        plan.blocked[lane] = Span(begin - rng.uniform(20, 80), begin + until)
        if lane == "delivery":
            plan.blocked["schedule"] = plan.blocked[lane]  # advertising takes this lane by day
        if until < 0 and rng.random() < 0.7:  # what is sent in the last seconds is still in flight when they are over
            plan.slow_s, plan.longest_pause_s = 12.0, pause_s


def _draw_blocked_release(plan: Plan, rng: Random, end: float) -> None:
    """The released lane stands still after the release; now and then until the next evening."""
    if rng.random() < 0.15:
        plan.blocked["schedule"] = Span(end, end + rng.choice((600.0, 1800.0)))
    if plan.nights == 2 and rng.random() < 0.5:
        plan.blocked["schedule"] = Span(plan.ends[0], plan.begins[1] + rng.uniform(-20, 300))


def _draw_slowness(plan: Plan, rng: Random, pause_s: float) -> None:
    """Processes pause before a call, providers answer slowly, wait allows few messages in flight."""
    if rng.random() < 0.5 and not plan.longest_pause_s:
        plan.longest_pause_s = rng.choice((pause_s / 3, pause_s))
    if rng.random() < 0.2:
        plan.slow_s = rng.choice((3.0, 12.0))
    if rng.random() < 0.1:
        plan.in_flight_max = 3


def _draw_junk(plan: Plan, rng: Random) -> None:
    if rng.random() < 0.3:
        for body in rng.sample(JUNK, 2):
            plan.junk.append(Junk(moment(plan, rng), body))
            plan.letters.append(body)


def draw_last_seconds(plan: Plan, rng: Random, pause_s: float, left_s: tuple[float, float]) -> None:
    """Let notifications that were judged in time reach the worker at the last moment, `left_s` before quiet hours. The
    worker pauses for up to `pause_s`, and its provider is slow."""
    begin = rng.choice(plan.begins)
    plan.blocked["delivery"] = plan.blocked["schedule"] = Span(begin - 80, begin - rng.uniform(*left_s))
    plan.slow_s, plan.longest_pause_s = 100.0, pause_s
    for index in rng.sample(range(len(plan.requests)), min(5, len(plan.requests))):
        plan.requests[index] = replace(plan.requests[index], at=begin - rng.uniform(17, 70))
