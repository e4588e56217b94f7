"""The policies by name, each read from its file in policies/."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import cast, get_args
from zoneinfo import ZoneInfo

from .policy import AdvertisingConsent, Hours, Policy
from .policy_file import FOLDER, names, read_closures, read_zone, wall_time

NEVER = "never"


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
) -> Policy:
    """The policy of a name, from policies/NAME.toml.

    `start` and `end` replace the hours of its closures that are set by `quietHours`, and `kakao_closed` those that are
    set by `kakaoClosed`: `HH:MM-HH:MM`, or `never` to leave them out. `timezone` counts for what names no zone.
    Raises `ValueError` with a sentence that names the fault and what is allowed.
    """
    path = next((each / f"{name}.toml" for each in (folder, FOLDER) if name in names(each)), None)
    if path is None:
        known = sorted({*names(folder), *names(FOLDER)})
        raise ValueError(f"policy must be one of {', '.join(known)}, not {name!r}")
    if advertising_consent not in get_args(AdvertisingConsent):
        raise ValueError(f"advertising consent must be elsewhere or required, not {advertising_consent!r}")
    zone = read_zone(timezone)
    wall_time("start", start)
    wall_time("end", end)
    hours = {"quietHours": (start, end), "kakaoClosed": _kakao_hours(kakao_closed)}
    closures = read_closures(path, timezone, hours)
    set_to = Hours(start, end, kakao_closed)
    return Policy(name, closures, zone, set_to, guard, skew, cast(AdvertisingConsent, advertising_consent))


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
