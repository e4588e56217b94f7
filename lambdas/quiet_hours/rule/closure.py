"""A closure: a time in which some notifications are held."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

CATEGORIES = ("advertising", "informational", "critical")
CHANNELS = ("kakao", "sms", "email", "push", "slack", "webhook", "log")
EVERY_DAY = frozenset(range(7))
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Closure:
    """A time in which some notifications are held: `[start, end)` of some days in `zone`.

    `start` belongs to a day of `weekdays` (Monday is 0) or of `dates`. The end is on the day after where
    `ends_next_day` says so. `channels` None means every channel; `except_channels` are left out. `consent_opens` says
    that a night consent opens it; without that, nothing does. `citation` names where it is from, and `standing` says
    how sure that is. `set_by` is the setting that may replace its hours. Raises `ValueError` when it is empty.
    """

    name: str
    start: time
    end: time
    zone: ZoneInfo
    categories: frozenset[str]
    ends_next_day: bool = False
    weekdays: frozenset[int] = EVERY_DAY
    dates: frozenset[date] = frozenset()
    channels: frozenset[str] | None = None
    except_channels: frozenset[str] = frozenset()
    consent_opens: bool = False
    citation: str = ""
    standing: str = ""
    set_by: str = ""

    def __post_init__(self) -> None:
        if self.start >= self.end and not self.ends_next_day:
            raise ValueError(f"{self.name}: must end after it begins ({self.start:%H:%M} to {self.end:%H:%M})")

    @property
    def hours(self) -> str:
        """Its days, hours and zone, for people."""
        end = "24:00" if self.ends_next_day and self.end == time(0) else f"{self.end:%H:%M}"
        names = [_DAYS[day] for day in sorted(self.weekdays)] if self.weekdays != EVERY_DAY else []
        days = ", ".join([*names, *(["holidays"] if self.dates else [])])
        return f"{days}{' ' if days else ''}{self.start:%H:%M} to {end} {self.zone.key}"

    @property
    def is_providers(self) -> bool:
        """True for the hours of a provider, which count under every policy of a deployment."""
        return self.set_by == "kakaoClosed"

    def applies(self, category: str, channel: str) -> bool:
        """True if it closes at some time for these notifications."""
        if category not in self.categories or channel in self.except_channels:
            return False
        return self.channels is None or channel in self.channels


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
