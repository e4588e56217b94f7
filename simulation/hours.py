"""The hours of the policies once more, as comparisons of what the clock on the wall shows. The checks use them.

They share no code with the production code, on purpose: no closures, no windows, no list of holidays.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

KAKAO_CLOSED_FROM = time(20, 50)

_STATES = {
    "united-states": (time(21), time(8)),
    "us-8-to-20": (time(20), time(8)),
    "us-connecticut": (time(20), time(9)),
    "us-kentucky": (time(21), time(10)),
    "us-texas": (time(21), time(9)),
}
"""When each of them closes and opens."""


def is_closed(
    policy: str,
    local: datetime,
    category: str,
    channel: str,
    night_consent: bool = False,
    end_hour: int = 8,
    kakao_closed: str = "",
) -> bool:
    """Say if a policy lets nobody send this at this local time. `end_hour`: when quiet hours end in Korea.
    `kakao_closed` is empty if KakaoTalk opens then, too."""
    now = local.time()
    if policy in ("korea", "strict"):
        held = category != "critical" if policy == "strict" else category == "advertising" and channel != "email"
        at_night = held and not night_consent and _between(now, time(21), time(end_hour))
        is_brand = (category, channel) == ("advertising", "kakao")
        return at_night or (is_brand and kakao_is_closed(local, end_hour, kakao_closed))
    if (category, channel) != ("advertising", "sms"):
        return False
    if policy == "france":
        day = local.date()
        return _between(now, time(22), time(8)) or day.weekday() == 6 or is_french_holiday(day)
    if policy == "us-texas" and local.weekday() == 6 and now < time(12):
        return True
    return _between(now, *_STATES[policy])


def kakao_is_closed(local: datetime, end_hour: int = 8, kakao_closed: str = "") -> bool:
    """Say if KakaoTalk takes no brand messages at this local time."""
    begin, end = KAKAO_CLOSED_FROM, time(end_hour)
    if kakao_closed:
        begin, end = (time.fromisoformat(text) for text in kakao_closed.split("-"))
    return _between(local.time(), begin, end)


def is_french_holiday(day: date) -> bool:
    """Say if a day is a public holiday in France."""
    fixed = {(1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)}
    return (day.month, day.day) in fixed or (day - easter(day.year)).days in (1, 39, 50)


def easter(year: int) -> date:
    """Easter Sunday (https://en.wikipedia.org/wiki/Date_of_Easter, the anonymous Gregorian algorithm)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 19 * m) // 433
    month = (h + m - 7 * n + 90) // 25
    return date(year, month, 1) + timedelta(days=(h + m - 7 * n + 33 * month + 19) % 32 - 1)


def _between(now: time, begin: time, end: time) -> bool:
    return begin <= now < end if begin < end else now >= begin or now < end
