"""The policies by name, each read from its file in policies/."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import cast, get_args
from zoneinfo import ZoneInfo

from .choosing import same_clock
from .policy_file import FOLDER, names, read_policy, read_zone, wall_time
from .terms import AdvertisingConsent, Hours, Policy, together

NEVER = "never"

YEAR = 2026
"""The year in which the clocks of two zones are compared, to find a policy that is named twice."""


@lru_cache(maxsize=64)  # so that what a policy has worked out outlives an invocation
def named_policy(
    name: str,
    start: str = "21:00",
    end: str = "08:00",
    timezone: str = "Asia/Seoul",
    guard: timedelta = timedelta(0),
    skew: timedelta = timedelta(0),
    advertising_consent: str = "",
    kakao_closed: str = Hours().kakao_closed,
    folder: Path = FOLDER,
    further_policies: str = "",
) -> Policy:
    """The policy of a name, from policies/NAME.toml, with the further policies of the deployment.

    `start` and `end` replace the hours of closures that are set by `quietHours`, and `kakao_closed` those that are
    set by `kakaoClosed`: `HH:MM-HH:MM`, or `never` to leave them out. `timezone` counts for what names no zone.
    `further_policies` are names with a comma between, each with zones of its own if `@` stands behind it:
    `france,united-states@America/New_York+America/Chicago`. A policy is then deployed once for each zone.
    Raises `ValueError` with a sentence that names the fault and what is allowed.
    """
    hours = Hours(start, end, kakao_closed, further_policies)
    first = _one_policy(name, hours, timezone, guard, skew, advertising_consent, folder)
    further: list[Policy] = []
    for text in further_policies.split(",") if further_policies else ():
        further_name, at, zones = text.strip().partition("@")
        for zone in zones.split("+") if at else (timezone,):
            one = _one_policy(further_name, hours, zone.strip(), guard, skew, advertising_consent, folder)
            if at and one.zone.key not in one.zones:
                raise ValueError(f"policy {further_name} names its own timezone: it takes none behind an @")
            if any(other.name == one.name and _is_same_place(other, one) for other in (first, *further)):
                raise ValueError(f"policy {one.place} is deployed already: name it once")
            further.append(one)
    return together(first, further) if further else first


def _is_same_place(one: Policy, other: Policy) -> bool:
    return len(one.zones) == len(other.zones) and all(
        same_clock(mine, theirs, YEAR) for mine, theirs in zip(one.zones, other.zones, strict=True)
    )


def _one_policy(
    name: str,
    hours: Hours,
    timezone: str,
    guard: timedelta,
    skew: timedelta,
    advertising_consent: str,
    folder: Path,
) -> Policy:
    path = next((each / f"{name}.toml" for each in (folder, FOLDER) if name in names(each)), None)
    if path is None:
        known = sorted({*names(folder), *names(FOLDER)})
        raise ValueError(f"policy must be one of {', '.join(known)}, not {name!r}")
    if advertising_consent not in get_args(AdvertisingConsent):
        raise ValueError(f"advertising consent must be elsewhere or required, not {advertising_consent!r}")
    zone = read_zone(timezone)
    wall_time("start", hours.start)
    wall_time("end", hours.end)
    set_by = {"quietHours": (hours.start, hours.end), "kakaoClosed": _kakao_hours(hours.kakao_closed)}
    closures, countries = read_policy(path, timezone, set_by)
    if not closures:
        raise ValueError(f"policy {name} has no closure left: kakaoClosed={NEVER} takes away the only one")
    consent = cast(AdvertisingConsent, advertising_consent)
    return Policy(name, closures, zone, hours, guard, skew, consent, countries)


def _kakao_hours(text: str) -> tuple[str, str] | None:
    if text == NEVER:
        return None
    found = re.fullmatch(r"([0-2][0-9]:[0-5][0-9])-([0-2][0-9]:[0-5][0-9])", text)
    if found is None or max(found.groups()) > "23:59":
        raise ValueError(f"kakao closed must be HH:MM-HH:MM or {NEVER}, not {text!r}")
    return found[1], found[2]


def zone_warning(timezone: str, start: str, end: str, today: date) -> str | None:
    """A sentence about a zone that is probably not the one meant, None where it is right.

    The signs of `Etc/GMT+9` and its like are those of POSIX: it lies nine hours west of Greenwich, and Seoul is east.
    """
    if not re.fullmatch(r"Etc/GMT[+-](?!0\b)[0-9]{1,2}", timezone):
        return None
    zone = ZoneInfo(timezone)
    offset = datetime.combine(today, time(12), zone).strftime("%z")
    hours = " to ".join(
        f"{datetime.combine(today, wall_time(name, text), zone).astimezone(UTC):%H:%M}"
        for name, text in (("start", start), ("end", end))
    )
    return (
        f"timezone {timezone} is UTC{offset[:3]}:{offset[3:]}, because the signs of these names are reversed. "
        f"Quiet hours from {start} to {end} are {hours} UTC today. A name such as Asia/Seoul says what is meant."
    )
