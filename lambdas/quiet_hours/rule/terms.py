"""The terms of the rule: consents, policies, and the decisions that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from .closure import DAY, EVERY_DAY, Closure
from .openings import Closures


class Consent(NamedTuple):
    """A recipient's consent. No record means the default: no night consent.

    `advertising_consent` None means that nobody has said. `addresses`: the keys of the addresses that a record is for,
    or none if it does not say. The rule does not read them: it is given what counts for the one address.
    """

    night_consent: bool = False
    opted_out: bool = False
    advertising_consent: bool | None = None
    addresses: tuple[str, ...] = ()


AdvertisingConsent = Literal["", "elsewhere", "required"]
"""The place of the consent to advertising, which the law asks for by day, too (Network Act art. 50(1)): elsewhere, or
here, where it is then required. Empty: nobody has said, which counts as elsewhere."""


ZONES_SHOWN_MAX = 3


class Hours(NamedTuple):
    """The deployment's settings that its policies were read with: its quiet hours, when KakaoTalk takes nothing, and
    the further policies."""

    start: str = "21:00"
    end: str = "08:00"
    kakao_closed: str = "20:50-08:00"
    further_policies: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which notifications are held and when. `zone` and `hours` are the deployment's.

    `countries` are those whose recipients it is for, if its file names any. `further` are the policies that judge
    others in the same deployment, and `deployed` are the closures of all of them, by which wait queues are numbered.
    `members` are the policies that this one stands for, if several judge together.

    `guard`: no send starts so shortly before a closure that it could still be in flight when the closure begins.
    `skew`: this clock may run so far ahead of the true time; closures last that much longer.
    `advertising_consent`: `required` ends advertising to those who have not consented to it. A refusal on record ends
    it in any case.
    Raises `ValueError` when a closure of every day leaves no time to send.
    """

    name: str
    closures: tuple[Closure, ...]
    zone: ZoneInfo
    hours: Hours = field(default_factory=Hours)
    guard: timedelta = timedelta(0)
    skew: timedelta = timedelta(0)
    advertising_consent: AdvertisingConsent = ""
    countries: frozenset[str] = frozenset()
    further: tuple[Policy, ...] = ()
    deployed: tuple[Closures, ...] = ()
    members: tuple[Policy, ...] = ()
    seen: dict[tuple[str, str], Group] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What the rule has worked out, by category and channel: one span lasts for hours, and every notification asks."""
    choices: dict[Wanted, Choice] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The policies that were chosen so far, by what the notifications wanted."""
    own_choice: Choice = field(init=False, repr=False, compare=False)
    """The choice of who asks for no policy. It is made once, because nearly every notification has it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "own_choice", Choice(self))
        for each in self.closures:
            closed = (datetime.combine(date.min, each.end) - datetime.combine(date.min, each.start)) % DAY or DAY
            if each.weekdays == EVERY_DAY and closed + self.guard + self.skew >= DAY:
                hours = f"{each.start:%H:%M} to {each.end:%H:%M}"
                raise ValueError(f"quiet hours {hours} with their guard leave no time to send")

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every policy of the deployment, this one first."""
        return (self, *self.further)

    @property
    def closures_of_all(self) -> tuple[Closures, ...]:
        """The closures of each policy of the deployment."""
        return self.deployed or (self.closures,)

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones of its own clocks. A provider's hours, which count whoever judges, have a clock of theirs."""
        return tuple(dict.fromkeys(each.zone.key for each in self.closures if not each.is_providers))

    @property
    def place(self) -> str:
        """Its name and its zones, for people."""
        zones = self.zones if len(self.zones) <= ZONES_SHOWN_MAX else [f"{len(self.zones)} zones"]
        return f"{self.name} at {', '.join(zones)}"


def together(first: Policy, further: Sequence[Policy]) -> Policy:
    """The policies of one deployment. The first judges what does not say which one it wants.

    The hours of providers are those of the first policy that has them, and they count for all: KakaoTalk takes nothing
    at night, whatever law a recipient lives under.
    """
    policies = (first, *further)
    providers = next((found for each in policies if (found := _closures(each, are_providers=True))), ())
    closures = [_closures(each, are_providers=False) + providers for each in policies]
    first, *others = (
        replace(each, closures=own, deployed=tuple(closures)) for each, own in zip(policies, closures, strict=True)
    )
    return replace(first, further=tuple(others))


def _closures(policy: Policy, *, are_providers: bool) -> Closures:
    return tuple(each for each in policy.closures if each.is_providers is are_providers)


def joined(policies: Sequence[Policy]) -> Policy:
    """One policy for what several of a deployment judge together: it lets go what all of them let go."""
    closures = tuple(dict.fromkeys(closure for each in policies for closure in each.closures))
    name = " and ".join(dict.fromkeys(each.name for each in policies))
    return replace(policies[0], name=name, closures=closures, further=(), members=tuple(policies))


@dataclass(frozen=True, slots=True)
class Send:
    """The notification may go out now."""

    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The notification waits until no closure is open any more, at `until`. `queue` is the number of the wait queue
    that is drained then, from 0."""

    until: datetime
    why: str
    queue: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """The notification has ended without being sent."""

    reason: Literal["expired", "opted_out", "superseded"]
    why: str


Decision = Send | Hold | Drop


@dataclass(slots=True)
class Group:
    """The closures that apply to notifications of one category and channel, and the newest spans."""

    closures: tuple[Closure, ...]
    category: str
    spans: list[Span] = field(default_factory=list)
    starts: dict[bool, Start] = field(default_factory=dict)
    """When the next closure begins, without a night consent and with one."""


class Start(NamedTuple):
    """The first instant after `asked_at` at which a closure begins; the answer is the same before `asked_until`."""

    asked_at: datetime
    asked_until: datetime
    begins: datetime | None


class Span(NamedTuple):
    """A span of time, `[begins, ends)`, with one judgement without a night consent, and one with it."""

    begins: datetime
    ends: datetime
    judgement: Send | Hold
    with_consent: Send | Hold


class Wanted(NamedTuple):
    """The policy that a notification asks for, as far as it says; what is judged, and in which year."""

    policy: str | None
    country: str | None
    timezone: str | None
    category: str
    channel: str
    year: int


class Choice(NamedTuple):
    """The policy that judges, and a sentence where it is not the one that was asked for, else empty."""

    policy: Policy
    note: str = ""
