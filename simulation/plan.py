"""The plan of a night: who sends what to whom, and which adversity comes when. `drawing.py` draws one from a seed.

Times are seconds since 20:40 local time of the first evening. Nothing here knows how the pipeline works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from random import Random
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from .hours import is_closed, kakao_is_closed
from .world import NEVER, Span

NoConnection = Literal["refused", "dns", "tls"]
NoGoodAnswer = Literal["reset", "hang_before", "hang_after", "500", "502", "503", "504", "429", "html"]
Outage = Literal[NoConnection, NoGoodAnswer, "no_settings"]
"""How a provider is away: no connection, no answer, an error, a proxy's page instead of its answer; or the channel has
no settings."""

Reach = Literal["provider", "success", "failure", "bounce", "no-answer", "not_listed"]
"""What answers for a notification: its provider, or the worker itself, because its address is simulated or unlisted."""

BEGIN_S = 20 * 60
"""Quiet hours begin twenty minutes after the simulation does."""

NIGHTS = (
    ("Asia/Seoul", datetime(2020, 11, 11, 20, 40)),  # noqa: DTZ001  local times; the zone stands beside them
    ("Asia/Seoul", datetime(2020, 11, 11, 20, 40)),  # noqa: DTZ001
    ("Asia/Seoul", datetime(2024, 2, 28, 20, 40)),  # noqa: DTZ001  a leap day in the morning
    ("America/New_York", datetime(2026, 10, 31, 20, 40)),  # noqa: DTZ001  clocks go back: 12 hours
    ("America/New_York", datetime(2026, 3, 7, 20, 40)),  # noqa: DTZ001  clocks go forward: 10 hours
)


class Judge(NamedTuple):
    """A policy that has to judge some notifications: its zone, and when the night ends and KakaoTalk takes nothing
    (empty: until the night ends). `kakao_zone` is that of KakaoTalk, if this policy says nothing of it."""

    policy: str
    zone: str
    end_hour: int = 8
    kakao_closed: str = ""
    kakao_zone: str = ""

    def is_closed(self, now: datetime, category: str, channel: str, night_consent: bool = False) -> bool:
        """Say if this policy is closed at an instant."""
        local = now.astimezone(ZoneInfo(self.zone))
        is_brand = self.kakao_zone and (category, channel) == ("advertising", "kakao")
        if is_brand and kakao_is_closed(now.astimezone(ZoneInfo(self.kakao_zone)), self.end_hour, self.kakao_closed):
            return True
        return is_closed(self.policy, local, category, channel, night_consent, self.end_hour, self.kakao_closed)


Judges = tuple[Judge, ...]
"""Policies that judge together: nobody may send what one of them holds."""


class Change(NamedTuple):
    """Other policies are deployed in the middle of a night: the settings that count from then on, and by the number of
    each notification who has to judge it. A run that has begun goes on by the old ones, at most for `runs_on_s`."""

    at: float
    settings: dict[str, Any]
    judges: dict[int, Judges]
    runs_on_s: float = 900.0


@dataclass(slots=True)
class Wanted:
    """One notification as its sender means it. `number` travels in its metadata, whatever id it gets.

    `expires` is None if the sender leaves the expiry to the producer. `id` is None if the sender gives none.
    `recipient` and `address` are keys of the registry: of the person and of where it goes. They are the same if the
    sender names nobody. An empty `address` stands for one under which nobody files a consent.
    """

    number: int
    id: str | None
    category: str
    channel: str
    recipient: str
    expires: float | None
    body: dict[str, Any]
    address: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Notifications that are sent together, by one of the ways in. `invalid` is the text of an item among them that is
    no notification. A sender who doubts the first send sends again at `again_at`."""

    at: float
    route: str
    wanted: tuple[Wanted, ...]
    again_at: float | None = None
    invalid: str | None = None


class Address(NamedTuple):
    """An address: its key in the registry, and the same address as a person types it."""

    key: str
    typed: str


class Consent(NamedTuple):
    """One record of the registry. `expires` is when the night consent ends.

    `advertising_consent` is None if nobody has said. `addresses` are the addresses that the consents are for, each as
    somebody types it; without any, they are for all. `malformed`: its fields are stored with other types than the
    registrar's.
    """

    night_consent: bool = False
    opted_out: bool = False
    expires: float = inf
    advertising_consent: bool | None = None
    addresses: tuple[Address, ...] = ()
    malformed: bool = False


class ConsentChange(NamedTuple):
    """The record of a recipient, or of an address, from this moment on. `written` is the recipient as whoever states it
    writes it; empty: as `recipient`, the key in the registry."""

    at: float
    recipient: str
    consent: Consent
    written: str = ""


class Cancel(NamedTuple):
    """Somebody cancels a notification."""

    at: float
    wanted: Wanted


class Redrive(NamedTuple):
    """An operator redrives dead-letter, with or without the letters whose outcome is unknown: in bundles as
    `make redrive` does, or singly by AWS's own redrive, which leaves those."""

    at: float
    resend_unknown: bool
    in_bundles: bool = True


class Junk(NamedTuple):
    """A message whose body is no notification."""

    at: float
    body: str


@dataclass
class Plan:
    """A night, or two in a row. On a calm night nothing fails, so everything held has to leave on time.

    `cancelled_when_claimed` has, by id, how long after the first claim somebody cancels. `letters` are the bodies that
    have to end on dead-letter. `refused` and `poison` are numbers of notifications; `away`, `queues_away` and `blocked`
    say when a channel's provider, a queue's sends and a lane's event source do not work, and `outages` how the provider
    does not. `template_refused` is when every provider refuses the template that some notifications have. Nobody can
    read the channels' settings while the secret is away. `concurrency` is that of each lane.
    `kakao_closed` is empty if KakaoTalk opens when the night ends. `wait_queues` is their number.
    `advertising_consent` says where that consent is kept: elsewhere, or in the registry, where it is then required.
    `judges` are the policies that have to judge the notifications of these numbers; `policy` judges the others. The
    last of them opens at `last_opens`, if that is not the last of `ends`.
    `allow_list` has the addresses that may be called, each as somebody types it; None: everybody may be called. Then
    `reach` says what answers for a notification, by its number; a missing one is not listed.
    """

    zone: ZoneInfo
    start: datetime
    policy: str
    nights: int
    begins: list[float]
    ends: list[float]
    faults_until: float
    requests: list[Request] = field(default_factory=list)
    consents: list[ConsentChange] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)
    cancelled_when_claimed: dict[str, float] = field(default_factory=dict)
    redrives: list[Redrive] = field(default_factory=list)
    junk: list[Junk] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    refused: frozenset[int] = frozenset()
    poison: frozenset[int] = frozenset()
    away: dict[str, Span] = field(default_factory=dict)
    outages: dict[str, Outage] = field(default_factory=dict)
    template_refused: Span = NEVER
    secret_away: Span = NEVER
    concurrency: dict[str, int] = field(default_factory=dict)
    queues_away: dict[str, Span] = field(default_factory=dict)
    blocked: dict[str, Span] = field(default_factory=dict)
    slow_s: float = 0.3
    longest_pause_s: float = 0.0
    skew_s: float = 0.0
    in_flight_max: int = 120_000
    calm: bool = False
    record_held: bool = False
    advertising_label: bool = True
    advertising_consent: str = "elsewhere"
    allow_list: tuple[str, ...] | None = None
    reach: dict[int, Reach] = field(default_factory=dict)
    end_hour: int = 8
    kakao_closed: str = ""
    wait_queues: int = 1
    further_policies: str = ""
    judges: dict[int, Judges] = field(default_factory=dict)
    change: Change | None = None
    last_opens: float = 0.0

    @property
    def judge(self) -> Judge:
        """The policy that judges whoever asks for no other one."""
        return Judge(self.policy, self.zone.key, self.end_hour, self.kakao_closed)

    def is_closed(
        self, wanted: Wanted, t: float, night_consent: bool = False, deployed_at: float | None = None
    ) -> bool:
        """Say if nobody may send this at this time. While runs of two deployments go on, either of them may.

        `deployed_at`: as far as what is deployed at that time lets one know.
        """
        known = t if deployed_at is None else deployed_at
        deployed = [self.judges.get(wanted.number, (self.judge,))]
        if self.change and known >= self.change.at:
            then = self.change.judges[wanted.number]
            deployed = [then] if known >= self.change.at + self.change.runs_on_s else [*deployed, then]
        now = self.start + timedelta(seconds=t)
        return all(
            any(each.is_closed(now, wanted.category, wanted.channel, night_consent) for each in judges)
            for judges in deployed
        )

    @property
    def wanted(self) -> list[Wanted]:
        return [each for request in self.requests for each in request.wanted]

    def reached(self, wanted: Wanted) -> Reach:
        """What answers for a notification."""
        return "provider" if self.allow_list is None else self.reach.get(wanted.number, "not_listed")

    @property
    def over_at(self) -> float:
        """The time at which the last thing on the plan has happened."""
        times = [self.ends[-1], self.last_opens, self.faults_until]
        for request in self.requests:
            times += [request.at, request.again_at or 0.0]
        times += [each.at for each in self.consents]
        times += [each.at for each in self.cancels]
        times += [each.at for each in self.redrives]
        times += [each.at for each in self.junk]
        return max(times)


def quiet_night(rng: Random) -> Plan:
    """A night on which nothing happens yet."""
    zone_name, evening = NIGHTS[0] if rng.random() < 0.7 else rng.choice(NIGHTS)
    zone = ZoneInfo(zone_name)
    start = evening.replace(tzinfo=zone).astimezone(UTC)
    plan = Plan(zone, start, "korea", 1, [BEGIN_S], [], 0.0)
    plan.ends = [_seconds(plan, evening + timedelta(days=1), hour=8)]
    return plan


def add_second_night(plan: Plan) -> None:
    """Let a plan of one night go on over the next one."""
    evening = plan.start.astimezone(plan.zone).replace(tzinfo=None)
    plan.nights = 2
    plan.begins.append(_seconds(plan, evening + timedelta(days=1), hour=21))
    plan.ends.append(_seconds(plan, evening + timedelta(days=2), hour=8))


def _seconds(plan: Plan, day: datetime, hour: int) -> float:
    local = day.replace(hour=hour, minute=0, tzinfo=plan.zone)
    return (local.astimezone(UTC) - plan.start).total_seconds()
