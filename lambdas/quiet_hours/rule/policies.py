"""The policies that come with the project."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import cast, get_args
from zoneinfo import ZoneInfo

from .policy import CATEGORIES, AdvertisingConsent, Policy

_NO_PLACE = ("localtime", "Factory", "posixrules")
"""Files beside the zones: the machine's own zone, and that of a machine which has none set."""


def named_policy(
    name: str,
    start: str = "21:00",
    end: str = "08:00",
    timezone: str = "Asia/Seoul",
    guard: timedelta = timedelta(0),
    skew: timedelta = timedelta(0),
    advertising_consent: str = "",
) -> Policy:
    """One of the two policies that come with the project.

    `korea`: advertising only, e-mail exempt (Network Act art. 50(3), Enforcement Decree art. 61(2)).
    `strict`: every category but `critical`, on every channel.
    Raises `ValueError` with a sentence that names the fault and what is allowed.
    """
    if name == "korea":
        held, exempt = frozenset({"advertising"}), frozenset({"email"})
    elif name == "strict":
        held, exempt = frozenset(CATEGORIES) - {"critical"}, frozenset[str]()
    else:
        raise ValueError(f"policy must be korea or strict, not {name!r}")
    if timezone in _NO_PLACE or timezone.startswith(("posix/", "right/")):
        raise ValueError(
            f"timezone must be an IANA name such as Asia/Seoul, not {timezone!r}, which differs from machine to machine"
        )
    if advertising_consent not in get_args(AdvertisingConsent):
        raise ValueError(f"advertising consent must be elsewhere or required, not {advertising_consent!r}")
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"timezone must be an IANA name such as Asia/Seoul, not {timezone!r}") from None
    return Policy(
        name,
        _wall_time("start", start),
        _wall_time("end", end),
        zone,
        held,
        exempt,
        guard,
        skew,
        cast(AdvertisingConsent, advertising_consent),
    )


def zone_warning(timezone: str, start: str, end: str, today: date) -> str | None:
    """A sentence about a zone that is probably not the one meant, None where it is right.

    The signs of `Etc/GMT+9` and its like are those of POSIX: it lies nine hours west of Greenwich, and Seoul is east.
    """
    if not re.fullmatch(r"Etc/GMT[+-](?!0\b)[0-9]{1,2}", timezone):
        return None
    zone = ZoneInfo(timezone)
    offset = datetime.combine(today, time(12), zone).strftime("%z")
    hours = " to ".join(
        f"{datetime.combine(today, _wall_time(name, text), zone).astimezone(UTC):%H:%M}"
        for name, text in (("start", start), ("end", end))
    )
    return (
        f"timezone {timezone} is UTC{offset[:3]}:{offset[3:]}, because the signs of these names are reversed. "
        f"Quiet hours from {start} to {end} are {hours} UTC today. A name such as Asia/Seoul says what is meant."
    )


def _wall_time(field: str, text: str) -> time:
    try:
        if len(text) != len("21:00"):
            raise ValueError
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007  a time of day has no offset
    except ValueError:
        raise ValueError(f"{field} must be HH:MM between 00:00 and 23:59, not {text!r}") from None
