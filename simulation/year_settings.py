"""The deployments whose year is played: their policies and zones, and who has to judge whom."""

from __future__ import annotations

from typing import NamedTuple

from .plan import Judge


class Asking(NamedTuple):
    """What some notifications say of their policy, and the policy that has to judge them."""

    fields: dict[str, str]
    judge: Judge


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
    def judges(self) -> tuple[Judge, ...]:
        """Who judges those that ask for nothing, and then those that ask in each of the other ways."""
        return (self.judge, *(each.judge for each in self.others))

    @property
    def title(self) -> str:
        parts = [self.policy, self.zone, str(self.wait_queues), self.further_policies, "changes" if self.then else ""]
        return " ".join(filter(None, parts))


SEOUL, PARIS = Judge("korea", "Asia/Seoul"), Judge("france", "Europe/Paris")
NEW_YORK = Judge("united-states", "America/New_York")
THREE_PLACES = Setting(
    "korea",
    "Asia/Seoul",
    wait_queues=3,
    further_policies="france,united-states@America/New_York",
    others=(
        Asking({"policy": "france"}, PARIS),
        Asking({"country": "US"}, NEW_YORK),
        Asking({"timezone": "America/Detroit"}, NEW_YORK),
        Asking({"timezone": "Europe/London"}, SEOUL),
        Asking({"country": "FR", "timezone": "Asia/Tokyo"}, PARIS),
    ),
)
_ZONES = ("Chicago", "Denver", "Los_Angeles", "Anchorage")
SIX_ZONES = Setting(
    "united-states",
    "America/New_York",
    wait_queues=6,
    further_policies="united-states@" + "+".join([*(f"America/{each}" for each in _ZONES), "Pacific/Honolulu"]),
    others=(
        Asking({"country": "US", "timezone": "America/New_York"}, NEW_YORK),
        *(Asking({"timezone": f"America/{each}"}, Judge("united-states", f"America/{each}")) for each in _ZONES),
        Asking({"timezone": "Pacific/Honolulu"}, Judge("united-states", "Pacific/Honolulu")),
        # Phoenix has Denver's clock in winter only. All of them are as strict, so the first one judges it.
        Asking({"country": "US", "timezone": "America/Phoenix"}, NEW_YORK),
    ),
)
TAKEN_AWAY = THREE_PLACES._replace(
    then=Setting(
        "korea",
        "Asia/Seoul",
        9,
        others=tuple(Asking(each.fields, Judge("korea", "Asia/Seoul", 9)) for each in THREE_PLACES.others),
    )
)
"""The further policies are taken away in the middle of each night, and the night of the first one ends later."""


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
    Setting("korea", "Asia/Seoul", then=Setting("korea", "Asia/Seoul", 10)),
    Setting("strict", "America/New_York", then=Setting("korea", "America/New_York", 7)),
)
"""The policies that are played, and where. Some of them open at several times, and so need more wait queues. The last
three are changed in the middle of each night."""
