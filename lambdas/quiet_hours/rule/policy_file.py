"""Reads policy files: a rule set as data, with where each closure is from. docs/policies.md explains the fields.

They travel in the functions' asset, so what cannot be used is refused when the stack is synthesised, in one sentence.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard
from zoneinfo import ZoneInfo

from .closure import CATEGORIES, CHANNELS, EVERY_DAY, Closure

FOLDER = Path(__file__).resolve().parents[3] / "policies"
"""The folder of the policy files: in this repository, and in the functions' asset."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STANDINGS = ("text read", "provider's page", "secondary", "not verified", "own rule")
OPENED_BY = ("night consent", "nothing")

_SOURCE = {"citation", "date", "standing"}
_FILE = _SOURCE | {"title", "countries", "timezone", "holidays", "closures"}
_CLOSURE = _SOURCE | {
    *("name", "days", "from", "to", "set_by", "timezone"),
    *("categories", "channels", "except_channels", "opened_by"),
}
_HOLIDAYS = {"place", "made_with", "from", "to", "dates"}
_NO_PLACE = ("localtime", "Factory", "posixrules")
"""Files beside the zones: the machine's own zone, and that of a machine which has none set."""


def names(folder: Path = FOLDER) -> list[str]:
    """The policies that the folder has, by name."""
    return sorted(path.stem for path in folder.glob("*.toml"))


class PolicyFile(NamedTuple):
    """What a policy file says: its closures, and the countries whose recipients it is for."""

    closures: tuple[Closure, ...]
    countries: frozenset[str]


def read_policy(path: Path, timezone: str, hours: Mapping[str, tuple[str, str] | None]) -> PolicyFile:
    """Read a policy file. `timezone` is that of the deployment, for what names no zone of its own.

    `hours` are the deployment's settings by name: they replace from and to of the closures that they set, and None
    leaves such a closure out. Raises `ValueError` with a sentence that names the field at fault.
    """
    content = _toml(path, _FILE)
    if not isinstance(content.get("closures"), list) or not content["closures"]:
        raise ValueError(f"{path.name}: closures must be a list of at least one [[closures]]")
    holidays = read_holidays(path.parent, content["holidays"])[2] if "holidays" in content else None
    closures = []
    for number, given in enumerate(content["closures"], 1):
        where = f"{path.name}: closure {number}"
        if not isinstance(given, dict):
            raise ValueError(f"{where} must be a [[closures]] table")
        if isinstance(given.get("name"), str):
            where = f"{where} ({given['name']})"
        try:
            _refuse_unknown(given, _CLOSURE)
            window = _hours(given, hours)
            if window is not None:
                closures.append(_closure({**content, **given}, window, timezone, holidays))
        except _SetHours as fault:
            raise ValueError(str(fault)) from None
        except ValueError as fault:
            raise ValueError(f"{where}: {fault}") from None
    return PolicyFile(tuple(closures), _countries(path, content.get("countries", [])))


def _countries(path: Path, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and is_country(each) for each in value):
        raise ValueError(f"{path.name}: countries must be a list of codes such as KR (ISO 3166-1), not {value!r}")
    return frozenset(value)


def is_country(text: str) -> bool:
    """True if this has the form of a country's code, ISO 3166-1 alpha-2."""
    return len(text) == 2 and text.isascii() and text.isalpha() and text.isupper()


def read_holidays(folder: Path, place: object) -> tuple[date, date, frozenset[date]]:
    """Read a list of public holidays: from when, until when, and its dates. `make holidays` writes it."""
    if not isinstance(place, str) or not place.replace("-", "").isalnum():
        raise ValueError(f"holidays must name a list of policies/holidays such as FR, not {place!r}")
    path = folder / "holidays" / f"{place}.toml"
    if not path.is_file():
        path = FOLDER / "holidays" / f"{place}.toml"
    if not path.is_file():
        raise ValueError(f"holidays/{place}.toml is missing: `make holidays PLACE={place}` writes it")
    content = _toml(path, _HOLIDAYS)
    begins, ends, dates = content.get("from"), content.get("to"), content.get("dates")
    if not (_is_date(begins) and _is_date(ends) and isinstance(dates, list) and dates and all(map(_is_date, dates))):
        raise ValueError(f"holidays/{place}.toml must have the dates from and to, and a list of dates")
    return begins, ends, frozenset(dates)


def _is_date(value: object) -> TypeGuard[date]:
    return isinstance(value, date) and not isinstance(value, datetime)


def _toml(path: Path, allowed: set[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path.name} is not TOML: {fault}") from None
    try:
        _refuse_unknown(content, allowed)
    except ValueError as fault:
        raise ValueError(f"{path.name}: {fault}") from None
    return content


def _refuse_unknown(given: Mapping[str, Any], allowed: set[str]) -> None:
    if unknown := sorted(given.keys() - allowed):
        raise ValueError(f"{unknown[0]} is an unknown field; allowed are {', '.join(sorted(allowed))}")


def _hours(given: Mapping[str, Any], settings: Mapping[str, tuple[str, str] | None]) -> tuple[str, str] | None:
    """The hours of a closure, as the file or the setting that it names has them; None if the setting leaves it out."""
    set_by = given.get("set_by")
    if set_by is None:
        return given.get("from", ""), given.get("to", "")
    if set_by not in settings:
        raise ValueError(f"set_by must be {' or '.join(settings)}, not {set_by!r}")
    window = settings[set_by]
    if window is not None and window[0] == window[1]:
        raise _SetHours(f"quiet hours must not start and end at the same time ({window[0]})")
    return window


class _SetHours(ValueError):
    """Raised when the hours that a setting gives cannot be: the file is not to blame."""


def _closure(
    given: Mapping[str, Any], window: tuple[str, str], timezone: str, holidays: frozenset[date] | None
) -> Closure:
    start, end = (wall_time(name, text) for name, text in zip(("from", "to"), window, strict=True))
    ends_next_day = window[1] == "24:00" or end <= start
    if start == end and window[1] != "24:00":
        raise ValueError(f"must not begin and end at the same time ({window[0]}); a whole day is 00:00 to 24:00")
    weekdays, on_holidays = _days(given.get("days", ["every"]))
    if on_holidays and holidays is None:
        raise ValueError('days has holidays, but the file names no list of them: holidays = "FR"')
    if not _is_date(given.get("date")):
        raise ValueError(f"date must be a day such as 2026-11-27, not {given.get('date')!r}")
    opened_by = _one_of("opened_by", given, OPENED_BY)
    return Closure(
        name=_text("name", given),
        start=start,
        end=end,
        zone=read_zone(given.get("timezone", timezone)),
        categories=frozenset(_several("categories", given, CATEGORIES)),
        ends_next_day=ends_next_day,
        weekdays=weekdays,
        dates=holidays if on_holidays and holidays else frozenset(),
        channels=frozenset(_several("channels", given, CHANNELS)) if "channels" in given else None,
        except_channels=frozenset(_several("except_channels", given, CHANNELS) if "except_channels" in given else ()),
        consent_opens=opened_by == "night consent",
        citation=_text("citation", given),
        standing=_one_of("standing", given, STANDINGS),
        set_by=given.get("set_by", ""),
    )


def _days(value: object) -> tuple[frozenset[int], bool]:
    """The weekdays that are named, and whether holidays are."""
    allowed = (*WEEKDAYS, "every", "weekdays", "holidays")
    if not isinstance(value, list) or not value or any(each not in allowed for each in value):
        raise ValueError(f"days must be a list of {', '.join(allowed)}, not {value!r}")
    found = {WEEKDAYS.index(each) for each in value if each in WEEKDAYS}
    found |= EVERY_DAY if "every" in value else set(range(5)) if "weekdays" in value else set()
    return frozenset(found), "holidays" in value


def read_zone(timezone: object) -> ZoneInfo:
    """The zone of a name. Raises `ValueError` for a name that is none, or that differs from machine to machine."""
    if timezone in _NO_PLACE or (isinstance(timezone, str) and timezone.startswith(("posix/", "right/"))):
        raise ValueError(
            f"timezone must be an IANA name such as Asia/Seoul, not {timezone!r}, which differs from machine to machine"
        )
    try:
        return ZoneInfo(timezone)  # type: ignore[arg-type]
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        raise ValueError(f"timezone must be an IANA name such as Asia/Seoul, not {timezone!r}") from None


def wall_time(name: str, text: object) -> time:
    """A time of day. 24:00 is the end of a day, where a window ends."""
    if text == "24:00" and name == "to":
        return time(0)
    try:
        if not isinstance(text, str) or len(text) != len("21:00"):
            raise ValueError
        return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007  a time of day has no offset
    except ValueError:
        raise ValueError(f"{name} must be HH:MM between 00:00 and 23:59, not {text!r}") from None


def _text(name: str, given: Mapping[str, Any]) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"{name} must be a text, not {value!r}")
    return value


def _one_of(name: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> str:
    value = given.get(name)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def _several(name: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> Iterable[str]:
    value = given.get(name)
    if not isinstance(value, list) or not value or any(each not in allowed for each in value):
        raise ValueError(f"{name} must be a list of {', '.join(allowed)}, not {value!r}")
    return value
