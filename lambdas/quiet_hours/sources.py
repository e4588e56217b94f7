"""Sources: functions of the user's that run at local times of their own and say what is to be sent.

A source runs for a slot, which is one of its times on one date. Whenever and however often it is started, it runs for
the latest slot, and what it asks for gets the same ids. So a retry sends nothing twice.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .errors import Invalid, SourceFailed
from .notification.admission import admit
from .notification.bundle import InvalidItem, Item
from .notification.fields import is_id
from .notification.json_text import to_text
from .settings import Settings

DAYS_BACK = 4
"""Two slots lie within so many days, even where the clocks leave out a time or a whole day."""


class Slot(NamedTuple):
    """One run of a source. It is about `[since, until)`: from the source's slot before to this one."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Source:
    """A source, and when it runs: at each of `times` on each day in `zone`."""

    name: str
    times: tuple[time, ...]
    zone: ZoneInfo

    @classmethod
    def of(cls, name: str, times: Sequence[str], timezone: str) -> Source:
        """Return the source for times such as `10:00`. Raises `ValueError` with a sentence."""
        if not re.fullmatch("[A-Za-z][A-Za-z0-9]{0,39}", name):
            raise ValueError(f"a source's name must be 1 to 40 letters and digits, a letter first, not {name!r}")
        wrong = [each for each in times if not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", each)]
        if wrong or not times or isinstance(times, str):
            raise ValueError(f"a source's times must be a list such as ['10:00', '18:30'], not {times!r}")
        try:
            zone = ZoneInfo(timezone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"a source's timezone must be an IANA name such as Asia/Seoul, not {timezone!r}") from None
        return cls(name, tuple(time.fromisoformat(each) for each in sorted(set(times))), zone)

    def slot(self, now: datetime) -> Slot:
        """Return the latest slot that has come. The time itself belongs to its slot."""
        today = now.astimezone(self.zone).date()
        days = [today - timedelta(days=back) for back in range(DAYS_BACK, -1, -1)]
        passed = [at for day in days for at in self.slots_on(day) if at.astimezone(UTC) <= now]
        return Slot(*passed[-2:])

    def slots_on(self, day: date) -> list[datetime]:
        """Return the source's instants on a day, as EventBridge Scheduler has them: a time that the clocks leave out is
        left out, and one that comes twice counts once, the first time.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
        """
        local = [datetime.combine(day, each, self.zone) for each in self.times]
        return [at for at in local if _exists(at)]


def _exists(at: datetime) -> bool:
    """False for a local time, or a day, that the clocks leave out: it comes back from UTC as another one."""
    return at.astimezone(UTC).astimezone(at.tzinfo).replace(tzinfo=None) == at.replace(tzinfo=None)


class Asked(NamedTuple):
    """The notifications that a source asks for, and those that are not valid."""

    items: list[Item]
    invalid: list[InvalidItem]


def read_answer(answer: object, source: Source, slot: Slot, now: datetime, settings: Settings) -> Asked:
    """Accept what a source's function has returned, an array of notifications. Raises `SourceFailed` for anything else.

    A notification without an id gets one of the source, the slot's local date and time, the channel and the address.
    """
    if not isinstance(answer, list):
        raise SourceFailed("the function did not return an array of notifications")
    items: list[Item] = []
    invalid: list[InvalidItem] = []
    times: Counter[str] = Counter()
    for place, candidate in enumerate(answer):
        brings_id = isinstance(candidate, dict) and "id" in candidate
        id = "" if brings_id else _id(source, slot, candidate, times)
        try:
            items.append(admit(candidate, default_id=id, now=now, settings=settings, place=place))
        except Invalid as fault:
            if brings_id and is_id(candidate["id"]):
                id = candidate["id"]
            invalid.append(InvalidItem(to_text(candidate), id, fault.errors, is_nameless=not brings_id))
    return Asked(items, invalid)


def _id(source: Source, slot: Slot, candidate: Any, times: Counter[str]) -> str:
    """Make the id of a notification that brings none. It stays the same even if the content has changed meanwhile.

    Several for one address in one run are numbered.
    """
    to = [candidate.get("channel"), candidate.get("address")] if isinstance(candidate, dict) else []
    digest = sha256(json.dumps(to).encode()).hexdigest()[:32]
    times[digest] += 1
    number = f":{times[digest]}" if times[digest] > 1 else ""
    return f"source:{source.name}:{slot.until:%Y-%m-%dT%H:%M}:{digest}{number}"
