"""The deployments whose year is played: their policies and zones, and who has to judge whom."""

from __future__ import annotations

from typing import NamedTuple

from .plan import Judge, Judges


class Asking(NamedTuple):
    """What some notifications say of their policy, and the policies that have to judge them together."""

    fields: dict[str, str]
    judges: Judges


class Setting(NamedTuple):
    """A policy in a zone, and the deployment's settings: when the night ends, when KakaoTalk takes nothing (empty: from
    20:50 to the end of the night), and the number of wait queues that this needs.

    `others` are the ways in which some notifications ask for one of the `further_policies`. `then` is what is deployed
    in the middle of each night; its `others` stand in the same order.
    """

    policy: str
    zone: str
    end_hour: int = 8
    kakao_closed: str = ""
    wait_queues: int = 1
    further_policies: str = ""
    others: tuple[Asking, ...] = ()
    then: Setting | None = None

    @property
    def judge(self) -> Judge:
        return Judge(self.policy, self.zone, self.end_hour, self.kakao_closed)

    @property
    def judges(self) -> tuple[Judges, ...]:
        """Who judges those that ask for nothing, and then those that ask in each of the other ways."""
        return ((self.judge,), *(each.judges for each in self.others))

    @property
    def title(self) -> str:
        then = f"then {self.then.policy} until {self.then.end_hour} {self.then.further_policies}" if self.then else ""
        parts = [self.policy, self.zone, str(self.wait_queues), self.further_policies, then.strip()]
        return " ".join(filter(None, parts))


SEOUL, PARIS = Judge("korea", "Asia/Seoul"), Judge("france", "Europe/Paris", kakao_zone="Asia/Seoul")
NEW_YORK = Judge("united-states", "America/New_York", kakao_zone="Asia/Seoul")
THREE_PLACES = Setting(
    "korea",
    "Asia/Seoul",
    wait_queues=3,
    further_policies="france,united-states@America/New_York",
    others=(
        Asking({"policy": "france"}, (PARIS,)),
        Asking({"country": "US"}, (NEW_YORK,)),
        Asking({"timezone": "America/Detroit"}, (NEW_YORK,)),
        Asking({"country": "US", "timezone": "Asia/Seoul"}, (NEW_YORK, SEOUL)),
        Asking({"country": "FR", "timezone": "Asia/Tokyo"}, (PARIS, SEOUL)),
    ),
)
_ZONES = ("Chicago", "Denver", "Los_Angeles", "Anchorage")
_US = tuple(
    Judge("united-states", zone)
    for zone in ("America/New_York", *(f"America/{each}" for each in _ZONES), "Pacific/Honolulu")
)
SIX_ZONES = Setting(
    "united-states",
    "America/New_York",
    wait_queues=6,
    further_policies="united-states@" + "+".join(each.zone for each in _US[1:]),
    others=(
        *(Asking({"country": "US", "timezone": each.zone}, (each,)) for each in _US),
        # Phoenix has Denver's clock in winter only.
        Asking({"country": "US", "timezone": "America/Phoenix"}, _US),
    ),
)
_LATER = (Judge("korea", "Asia/Seoul", 9),)
TAKEN_AWAY = THREE_PLACES._replace(
    then=Setting("korea", "Asia/Seoul", 9, others=tuple(Asking(each.fields, _LATER) for each in THREE_PLACES.others))
)
"""The further policies are taken away in the middle of each night, and the night of the first one ends later."""

_IN_THE_MIDDLE = THREE_PLACES._replace(
    then=Setting(
        "korea",
        "Asia/Seoul",
        further_policies="united-states@America/New_York",
        others=(
            Asking({"policy": "france"}, (SEOUL, NEW_YORK)),
            *THREE_PLACES.others[1:4],
            Asking({"country": "FR", "timezone": "Asia/Tokyo"}, (SEOUL,)),
        ),
    )
)
"""The second of three policies is taken away, so that the third one gets its queue."""

SETTINGS = (
    Setting("korea", "Asia/Seoul"),
    Setting("strict", "America/New_York"),
    Setting("united-states", "America/Los_Angeles"),
    Setting("us-texas", "America/Chicago"),
    Setting("france", "Europe/Paris"),
    Setting("korea", "Asia/Seoul", 8, "20:00-09:00", 2),
    Setting("korea", "America/New_York", 9, "20:50-08:00", 2),
    THREE_PLACES,
    SIX_ZONES,
    TAKEN_AWAY,
    _IN_THE_MIDDLE,
    Setting("korea", "Asia/Seoul", then=Setting("korea", "Asia/Seoul", 10)),
    Setting("strict", "America/New_York", then=Setting("korea", "America/New_York", 7)),
)
"""The policies that are played, and where. Some of them open at several times, and so need more wait queues. The last
four are changed in the middle of each night."""
