"""What a seed decides before a night begins: who sends what to whom, and which adversity comes when.

Times are seconds since 20:40 local time of the first evening. Nothing here knows how the pipeline works.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from .providers import KINDS

BEGIN_S = 20 * 60
"""Quiet hours begin twenty minutes after the simulation does."""

EDGE_S = 10.0
SOURCES = 8

SIZES, CAMPAIGN_SIZES = (1, 1, 2, 4, 8), (4, 16, 32)
PACED = tuple(name for name, kind in KINDS.items() if kind.rate_per_s)
"""Some nights are a campaign's: much at once, and half of the requests by one channel that has a rate."""

TEXT = "(광고) x 무료수신거부 080-000-0000"
"""What all of them say: it is labelled as advertising has to be."""

NIGHTS = (
    ("Asia/Seoul", datetime(2020, 11, 11, 20, 40)),  # noqa: DTZ001  local times; the zone stands beside them
    ("Asia/Seoul", datetime(2020, 11, 11, 20, 40)),  # noqa: DTZ001
    ("Asia/Seoul", datetime(2024, 2, 28, 20, 40)),  # noqa: DTZ001  a leap day in the morning
    ("America/New_York", datetime(2026, 10, 31, 20, 40)),  # noqa: DTZ001  clocks go back: 12 hours
    ("America/New_York", datetime(2026, 3, 7, 20, 40)),  # noqa: DTZ001  clocks go forward: 10 hours
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whose consent counts, by the key that the consent table has for them."""

    key: str
    by_id: bool


@dataclass(slots=True)
class Wanted:
    """One notification as its sender means it; `number` travels in its metadata, whatever id it gets.

    `expires` is a time or None for what the producer sets. `id` is None until somebody has given it one.
    """

    number: int
    id: str | None
    category: str
    channel: str
    recipient: str
    expires: float | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """Some notifications that are sent together, by one of the ways in; `misfit` is no notification and among them."""

    at: float
    route: str
    wanted: tuple[Wanted, ...]
    again_at: float | None = None
    misfit: str | None = None


@dataclass
class Plan:
    """A night, or two in a row. On a calm one nothing goes wrong: then all that was held leaves on time."""

    zone: ZoneInfo
    start: datetime
    policy: str
    nights: int
    begins: list[float]
    ends: list[float]
    faults_until: float
    requests: list[Request] = field(default_factory=list)
    consents: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    cancels: list[tuple[float, Wanted]] = field(default_factory=list)
    cancelled_when_claimed: dict[str, float] = field(default_factory=dict)
    redrives: list[tuple[float, bool]] = field(default_factory=list)
    junk: list[tuple[float, str]] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    refused: frozenset[int] = frozenset()
    poison: frozenset[int] = frozenset()
    away: dict[str, tuple[float, float]] = field(default_factory=dict)
    queues_away: dict[str, tuple[float, float]] = field(default_factory=dict)
    blocked: dict[str, tuple[float, float]] = field(default_factory=dict)
    slow_s: float = 0.3
    longest_pause_s: float = 0.0
    skew_s: float = 0.0
    in_flight_max: int = 120_000
    calm: bool = False
    record_held: bool = False
    end_hour: int = 8

    @property
    def wanted(self) -> list[Wanted]:
        return [each for request in self.requests for each in request.wanted]


def draw(rng: Random, notifications: int, pause_s: float, skew_s: float) -> Plan:
    """A night with adversity. `pause_s` and `skew_s` are the bounds that pauses and clocks stay within."""
    plan = quiet_night(rng)
    plan.policy = "strict" if rng.random() < 0.15 else "korea"
    if rng.random() < 0.03:
        plan = _longer(plan)
    plan.faults_until = plan.ends[-1] + rng.choice((300.0, 900.0, 1800.0))
    recipients = [Recipient(f"user-{index}", by_id=rng.random() < 0.85) for index in range(10)]
    _draw_requests(plan, rng, recipients, notifications)
    _draw_consents(plan, rng)
    plan.skew_s = rng.choice((0.0, skew_s / 4, skew_s))
    if rng.random() < 0.15:
        plan.calm, plan.faults_until = True, 0.0
    else:
        _draw_adversity(plan, rng, pause_s)
    return plan


def quiet_night(rng: Random) -> Plan:
    """A night on which nothing happens yet."""
    zone_name, evening = NIGHTS[0] if rng.random() < 0.7 else rng.choice(NIGHTS)
    zone = ZoneInfo(zone_name)
    start = evening.replace(tzinfo=zone).astimezone(UTC)
    plan = Plan(zone, start, "korea", 1, [BEGIN_S], [], 0.0)
    plan.ends = [_seconds(plan, evening + timedelta(days=1), hour=8)]
    return plan


def _longer(plan: Plan) -> Plan:
    evening = plan.start.astimezone(plan.zone).replace(tzinfo=None)
    plan.nights = 2
    plan.begins.append(_seconds(plan, evening + timedelta(days=1), hour=21))
    plan.ends.append(_seconds(plan, evening + timedelta(days=2), hour=8))
    return plan


def _seconds(plan: Plan, day: datetime, hour: int) -> float:
    local = day.replace(hour=hour, minute=0, tzinfo=plan.zone)
    return (local.astimezone(UTC) - plan.start).total_seconds()


def _moment(plan: Plan, rng: Random) -> float:
    """When somebody does something: more often than not within seconds of an edge of quiet hours."""
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


def _draw_requests(plan: Plan, rng: Random, recipients: list[Recipient], notifications: int) -> None:
    number = 0
    again = rng.choice((0.0, 0.0, 0.3))
    campaign = rng.choice(PACED) if rng.random() < 0.15 else None
    while number < notifications:
        at = _moment(plan, rng)
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
        misfit = f'{{"id":"misfit-{number}"}}' if route == "bundle" and rng.random() < 0.2 else None
        plan.requests.append(Request(at, route, tuple(wanted), again_at, misfit))
        if misfit:
            plan.letters.append(misfit)


def _draw_wanted(
    plan: Plan, rng: Random, number: int, recipients: list[Recipient], channel: str | None, at: float, route: str
) -> Wanted:
    channel = channel or rng.choice(tuple(KINDS))
    category = rng.choices(("advertising", "informational", "critical"), (75, 15, 10))[0]
    which = rng.randrange(len(recipients))
    address, canonical = _address(channel, which)
    key = recipients[which].key if recipients[which].by_id else canonical
    expires = None
    if rng.random() < 0.15:
        expires = at + rng.choice((60.0, 600.0, rng.random() * 43_200))
    id_ = None if route != "producer" and rng.random() < 0.3 else f"n{number}"
    body: dict[str, Any] = {"channel": channel, "address": address, "content": {"body": TEXT}}
    body["metadata"] = {"n": number}
    body["source"] = f"source-{number % SOURCES}"
    if id_:
        body["id"] = id_
    if category != "advertising" or rng.random() < 0.5:
        body["category"] = category
    if recipients[which].by_id:
        body["recipient_id"] = key
    if expires is not None:
        body["expires_at"] = (plan.start + timedelta(seconds=expires)).isoformat(timespec="milliseconds")
    return Wanted(number, id_, category, channel, key, expires, body)


def _address(channel: str, which: int) -> tuple[str, str]:
    """An address as somebody types it, and the one form that it has in the system."""
    if channel in ("kakao", "sms"):
        return f"010-1234-{5000 + which}", f"+82101234{5000 + which}"
    if channel == "email":
        return f"User{which}@Example.com", f"user{which}@example.com"
    if channel == "slack":
        return f"#Room-{which}", f"#room-{which}"
    return f"token-{which}", f"token-{which}"


def _draw_consents(plan: Plan, rng: Random) -> None:
    keys = sorted({each.recipient for each in plan.wanted})
    for key in keys:
        if rng.random() < 0.5:
            plan.consents.append((0.0, key, _consent(plan, rng)))


def _consent(plan: Plan, rng: Random) -> dict[str, Any]:
    consent: dict[str, Any] = {"night_consent": rng.random() < 0.5, "opted_out": rng.random() < 0.2}
    if rng.random() < 0.2:
        consent["expires"] = rng.uniform(0, plan.ends[-1])
    return consent


def _draw_adversity(plan: Plan, rng: Random, pause_s: float) -> None:
    """Each kind is on or off for the whole seed."""
    wanted = plan.wanted
    begin, end = rng.choice(plan.begins), rng.choice(plan.ends)
    if rng.random() < 0.4:
        for _ in range(rng.randint(1, 8)):
            each = rng.choice(wanted)
            plan.consents.append((max(1.0, _moment(plan, rng)), each.recipient, _consent(plan, rng)))
    if rng.random() < 0.4:
        for each in rng.sample(wanted, min(6, len(wanted))):
            at = end + rng.uniform(-1, 8) if rng.random() < 0.7 else _moment(plan, rng)
            if each.id:
                plan.cancels.append((max(1.0, at), each))
    if rng.random() < 0.3:
        for each in rng.sample(wanted, min(4, len(wanted))):
            if each.id:
                plan.cancelled_when_claimed[each.id] = rng.choice((0.0, 0.3, 3.0, 15.0)) * rng.random()
    if rng.random() < 0.4:
        early = [each for request in plan.requests if request.at < plan.begins[0] for each in request.wanted]
        pool = early if len(early) > 3 and rng.random() < 0.6 else wanted
        plan.refused = frozenset(each.number for each in rng.sample(pool, min(4, len(pool))))
    if rng.random() < 0.2:
        together = [each for request in plan.requests if len(request.wanted) > 1 for each in request.wanted]
        plan.poison = frozenset([rng.choice(together or wanted).number])
    if rng.random() < 0.4:
        plan.redrives = [(plan.ends[0] - 5 * 3600, rng.random() < 0.3)]
        if rng.random() < 0.5:
            plan.redrives.append((end + rng.random() * 600, rng.random() < 0.3))
    if rng.random() < 0.25:
        for channel in rng.sample(tuple(KINDS), rng.randint(1, 3)):
            plan.away[channel] = (end - rng.random() * 600, end + rng.random() * 1200)
    if rng.random() < 0.25:
        queue = rng.choice(("delivery", "wait", "schedule", "schedule", "dead-letter"))
        at = max(1.0, _moment(plan, rng) if queue != "schedule" else end - rng.random() * 30)
        plan.queues_away[queue] = (at, at + rng.uniform(10, 200))
    if rng.random() < 0.5:
        lane = rng.choice(("delivery", "delivery", "notification"))
        until = rng.choice((rng.uniform(-20, 0), rng.uniform(-14, -8), rng.uniform(0, 300), rng.uniform(0, 300)))
        plan.blocked[lane] = (begin - rng.uniform(20, 80), begin + until)
        if until < 0 and rng.random() < 0.7:  # what is sent in the last seconds is still in flight when they are over
            plan.slow_s, plan.longest_pause_s = 12.0, pause_s
    if rng.random() < 0.15:
        plan.blocked["schedule"] = (end, end + rng.choice((600.0, 1800.0)))
    if plan.nights == 2 and rng.random() < 0.5:  # a release that backs up into the next evening
        plan.blocked["schedule"] = (plan.ends[0], plan.begins[1] + rng.uniform(-20, 300))
    if rng.random() < 0.5 and not plan.longest_pause_s:
        plan.longest_pause_s = rng.choice((pause_s / 3, pause_s))
    if rng.random() < 0.2:
        plan.slow_s = rng.choice((3.0, 12.0))
    if rng.random() < 0.1:
        plan.in_flight_max = 3
    if rng.random() < 0.3:
        for body in rng.sample(JUNK, 2):
            plan.junk.append((_moment(plan, rng), body))
            plan.letters.append(body)
    if rng.random() < 0.15:
        draw_last_seconds(plan, rng, pause_s, (9.5, 14.5))


def draw_last_seconds(plan: Plan, rng: Random, pause_s: float, left_s: tuple[float, float]) -> None:
    """What was cleared in time comes to the worker at the last moment, `left_s` before quiet hours, stands still there
    for up to `pause_s`, and is sent slowly."""
    begin = rng.choice(plan.begins)
    plan.blocked["delivery"] = (begin - 80, begin - rng.uniform(*left_s))
    plan.slow_s, plan.longest_pause_s = 100.0, pause_s
    for index in rng.sample(range(len(plan.requests)), min(5, len(plan.requests))):
        plan.requests[index] = replace(plan.requests[index], at=begin - rng.uniform(17, 70))


JUNK = ("not json", "[]", '{"id":"junk-1","channel":"sms"}', "[[", "null")
"""Bodies that are no notification: each has to end on dead-letter with its reason."""
