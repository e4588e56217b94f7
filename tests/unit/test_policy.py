"""The rule, as a table of instants. Shows R1 (held from 21:00 to 08:00 without night consent, sent after) and R5 (the
policy decides whether a run may act)."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.quiet_hours.notification.notification import CHANNELS
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import CATEGORIES, Closure, decide, held_from, quiet_ended, quiet_until
from lambdas.quiet_hours.rule.terms import Consent, Drop, Hold, Policy, Send

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")

NIGHT = datetime(2020, 11, 11, 23, 0, tzinfo=SEOUL)
NOON = datetime(2020, 11, 11, 12, 0, tzinfo=SEOUL)


def night(*arguments: Any, **more: Any) -> Policy:
    """`korea` without KakaoTalk's own hours: one closure."""
    return named_policy("korea", *arguments, **{"kakao_closed": "never"} | more)


def advert(**fields: Any) -> dict[str, Any]:
    return {"category": "advertising", "channel": "kakao", "expires_at": "2099-01-01T00:00:00+09:00"} | fields


def seoul(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SEOUL)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


UNTIL_8 = "quiet hours until 2020-11-12 08:00 Asia/Seoul"
ACT = "night (Network Act art. 50(3); Enforcement Decree art. 61(2) exempts e-mail)"
KAKAO = "KakaoTalk's hours (Naver Cloud SENS, guide for brand messages; Solapi, status 3108; provider's page)"


# --- when


@pytest.mark.parametrize(
    ("now", "held_until"),
    [
        ("2020-11-11T12:00:00", None),
        ("2020-11-11T20:59:59.999999", None),
        ("2020-11-11T21:00:00", "2020-11-12T08:00:00"),
        ("2020-11-11T21:00:00.000001", "2020-11-12T08:00:00"),
        ("2020-11-11T23:59:59.999999", "2020-11-12T08:00:00"),
        ("2020-11-12T00:00:00", "2020-11-12T08:00:00"),
        ("2020-11-12T07:59:59.999999", "2020-11-12T08:00:00"),
        ("2020-11-12T08:00:00", None),
        ("2020-12-31T22:00:00", "2021-01-01T08:00:00"),
    ],
)
def test_r1_advertising_is_held_from_21_to_8_and_sent_before_and_after(now: str, held_until: str | None) -> None:
    decision = decide(advert(channel="sms"), None, seoul(now), named_policy("korea"))
    if held_until is None:
        assert isinstance(decision, Send)
    else:
        assert isinstance(decision, Hold)
        assert decision.until == seoul(held_until)


@pytest.mark.parametrize(
    ("start", "end", "now", "held_until"),
    [
        ("12:00", "13:30", "2020-11-11T11:59:59.999999", None),
        ("12:00", "13:30", "2020-11-11T12:00:00", "2020-11-11T13:30:00"),
        ("12:00", "13:30", "2020-11-11T13:29:59.999999", "2020-11-11T13:30:00"),
        ("12:00", "13:30", "2020-11-11T13:30:00", None),
        ("12:00", "13:30", "2020-11-11T00:00:00", None),
        ("00:00", "06:00", "2020-11-11T23:59:59.999999", None),
        ("00:00", "06:00", "2020-11-12T00:00:00", "2020-11-12T06:00:00"),
        ("22:00", "00:00", "2020-11-11T23:59:59.999999", "2020-11-12T00:00:00"),
        ("22:00", "00:00", "2020-11-12T00:00:00", None),
        ("08:01", "08:00", "2020-11-11T08:00:00", None),
        ("08:01", "08:00", "2020-11-11T08:00:59.999999", None),
        ("08:01", "08:00", "2020-11-11T08:01:00", "2020-11-12T08:00:00"),
    ],
)
def test_a_window_need_not_cross_midnight(start: str, end: str, now: str, held_until: str | None) -> None:
    assert quiet_until(seoul(now), night(start, end)) == (seoul(held_until) if held_until else None)


@pytest.mark.parametrize(
    ("start", "end", "now", "held_until"),
    [
        # 15 s before quiet hours nothing may start any more, and the hold is until the end of those to come.
        ("21:00", "08:00", "2020-11-11T20:59:44.999999", None),
        ("21:00", "08:00", "2020-11-11T20:59:45", "2020-11-12T08:00:00"),
        # 2 s after them this clock may still be ahead of the true time.
        ("21:00", "08:00", "2020-11-12T08:00:00", "2020-11-12T08:00:00"),
        ("21:00", "08:00", "2020-11-12T08:00:01.999999", "2020-11-12T08:00:00"),
        ("21:00", "08:00", "2020-11-12T08:00:02", None),
        # The guard reaches back over midnight, the skew forward.
        ("00:00", "06:00", "2020-11-11T23:59:44.999999", None),
        ("00:00", "06:00", "2020-11-11T23:59:45", "2020-11-12T06:00:00"),
        ("22:00", "00:00", "2020-11-12T00:00:01.999999", "2020-11-12T00:00:00"),
        ("22:00", "00:00", "2020-11-12T00:00:02", None),
        # One window's skew meets the next one's guard: the later end counts.
        ("08:01", "08:00", "2020-11-11T08:00:01.999999", "2020-11-11T08:00:00"),
        ("08:01", "08:00", "2020-11-11T08:00:02", None),
        ("08:01", "08:00", "2020-11-11T08:00:45", "2020-11-12T08:00:00"),
    ],
)
def test_the_guard_begins_quiet_hours_early_and_the_skew_ends_them_late(
    start: str, end: str, now: str, held_until: str | None
) -> None:
    policy = night(start, end, guard=timedelta(seconds=15), skew=timedelta(seconds=2))
    assert quiet_until(seoul(now), policy) == (seoul(held_until) if held_until else None)


@pytest.mark.parametrize(
    ("start", "end", "first_quiet", "first_free", "until"),
    [
        # 2026-03-08: 02:00 EST is 03:00 EDT. The usual night is ten hours long.
        ("21:00", "08:00", "2026-03-08T02:00:00", "2026-03-08T12:00:00", "2026-03-08T08:00:00-04:00"),
        # A start or an end that the clocks skip: the reading that keeps quiet longer.
        ("02:30", "08:00", "2026-03-08T06:30:00", "2026-03-08T12:00:00", "2026-03-08T08:00:00-04:00"),
        ("21:00", "02:30", "2026-03-08T02:00:00", "2026-03-08T07:30:00", "2026-03-08T03:30:00-04:00"),
        # They begin or end as the hour is skipped: 03:00 EDT is one second after 01:59:59 EST.
        ("03:00", "08:00", "2026-03-08T07:00:00", "2026-03-08T12:00:00", "2026-03-08T08:00:00-04:00"),
        ("21:00", "03:00", "2026-03-08T02:00:00", "2026-03-08T07:00:00", "2026-03-08T03:00:00-04:00"),
        # 2026-11-01: 02:00 EDT is 01:00 EST. The usual night is twelve hours long.
        ("21:00", "08:00", "2026-11-01T01:00:00", "2026-11-01T13:00:00", "2026-11-01T08:00:00-05:00"),
        # A start or an end that comes twice: the first for the start, the second for the end.
        ("01:30", "08:00", "2026-11-01T05:30:00", "2026-11-01T13:00:00", "2026-11-01T08:00:00-05:00"),
        ("21:00", "01:30", "2026-11-01T01:00:00", "2026-11-01T06:30:00", "2026-11-01T01:30:00-05:00"),
        ("01:15", "01:45", "2026-11-01T05:15:00", "2026-11-01T06:45:00", "2026-11-01T01:45:00-05:00"),
        ("01:00", "08:00", "2026-11-01T05:00:00", "2026-11-01T13:00:00", "2026-11-01T08:00:00-05:00"),
        ("02:00", "08:00", "2026-11-01T07:00:00", "2026-11-01T13:00:00", "2026-11-01T08:00:00-05:00"),
    ],
)
@pytest.mark.parametrize(
    ("guard", "skew"),
    [(timedelta(0), timedelta(0)), (timedelta(seconds=15), timedelta(seconds=2))],
    ids=["exact", "with guard and skew"],
)
@pytest.mark.parametrize("clock", [UTC, NEW_YORK, SEOUL], ids=str)
def test_quiet_hours_are_right_when_new_york_changes_its_clocks(
    start: str, end: str, first_quiet: str, first_free: str, until: str, guard: timedelta, skew: timedelta, clock: Any
) -> None:
    policy = night(start, end, "America/New_York", guard, skew)
    begin, free = utc(first_quiet) - guard, utc(first_free) + skew
    breath = timedelta(microseconds=1)
    assert quiet_until((begin - breath).astimezone(clock), policy) is None
    assert quiet_until(free.astimezone(clock), policy) is None
    ends = set()
    instant = begin
    while instant < free:  # nothing in between may be free, whatever the clocks on the wall show
        ends.add(quiet_until(instant.astimezone(clock), policy))
        instant += timedelta(minutes=5)
    ends.add(quiet_until((free - breath).astimezone(clock), policy))
    assert [end and end.isoformat() for end in ends] == [until]


def test_where_a_skipped_hour_makes_two_nights_overlap_the_later_end_counts() -> None:
    """The first ends half an hour after the second has begun, so it is not the end of both."""
    policy = night("03:00", "02:30", "America/New_York")
    for now in ("2026-03-08T06:59:59", "2026-03-08T07:00:00", "2026-03-08T07:29:59"):
        until = quiet_until(utc(now), policy)
        assert until is not None
        assert until.day == 9


@examples(deadline=None, max_examples=300)
@given(
    start=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    end=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    zone=st.sampled_from(["Asia/Seoul", "America/New_York", "Europe/London", "Australia/Lord_Howe", "UTC"]),
    day=st.sampled_from(["2026-03-08", "2026-11-01", "2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04"]),
    into=st.timedeltas(timedelta(0), timedelta(days=2)),
)
def test_whenever_the_clock_on_the_wall_reads_inside_the_window_it_is_quiet(
    start: time, end: time, zone: str, day: str, into: timedelta
) -> None:
    if start == end:
        return
    policy = night(f"{start:%H:%M}", f"{end:%H:%M}", zone)
    now = utc(day) - timedelta(days=1) + into
    wall = now.astimezone(ZoneInfo(zone)).time()
    inside = start <= wall < end if start < end else wall >= start or wall < end
    until = quiet_until(now, policy)
    if inside:
        assert until is not None
    elif zone in ("Asia/Seoul", "UTC"):  # no clock changes there: then it is quiet at no other time
        assert until is None
    assert until is None or until > now


@pytest.mark.parametrize("call", [quiet_until, lambda now, policy: decide(advert(), None, now, policy)])
def test_a_time_without_an_offset_is_an_error(call: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="offset"):
        call(datetime(2020, 11, 11, 22, 0), named_policy("korea"))


# --- who


@pytest.mark.parametrize("night_consent", [False, True])
@pytest.mark.parametrize("opted_out", [False, True])
@pytest.mark.parametrize("recorded", [False, True])
def test_every_category_channel_consent_policy_and_time(recorded: bool, opted_out: bool, night_consent: bool) -> None:
    consent = Consent(night_consent, opted_out) if recorded else None
    for category, channel, policy, now in product(CATEGORIES, CHANNELS, ("korea", "strict"), (NIGHT, NOON)):
        decision = decide(advert(category=category, channel=channel), consent, now, named_policy(policy))

        held_by = {
            "korea": category == "advertising" and channel != "email",
            "strict": category in ("advertising", "informational"),
        }
        if recorded and opted_out and category == "advertising":
            expected: type = Drop
        elif now == NOON or not held_by[policy]:
            expected = Send
        elif recorded and night_consent:  # KakaoTalk itself takes no advertising at night
            expected = Hold if (category, channel) == ("advertising", "kakao") else Send
        else:
            expected = Hold
        assert type(decision) is expected, (category, channel, policy, now)
        assert decision.why
        assert "\n" not in decision.why
        if isinstance(decision, Drop):
            assert decision.reason == "opted_out"
        if isinstance(decision, Hold):
            assert decision.until == seoul("2020-11-12T08:00")


def test_someone_without_a_record_has_not_consented_to_the_night() -> None:
    assert decide(advert(), None, NIGHT, named_policy("korea")) == decide(
        advert(), Consent(), NIGHT, named_policy("korea")
    )


def test_opting_out_stops_advertising_and_nothing_else() -> None:
    out = Consent(night_consent=True, opted_out=True)
    assert isinstance(decide(advert(), out, NOON, named_policy("korea")), Drop)
    for category in ("informational", "critical"):
        assert isinstance(decide(advert(category=category), out, NOON, named_policy("korea")), Send)


@pytest.mark.parametrize(
    ("expires_at", "expired"),
    [
        ("2020-11-11T12:00:00.000001+09:00", False),
        ("2020-11-11T12:00:00+09:00", True),
        ("2020-11-11T03:00:00Z", True),
        ("2020-11-11T11:59:59.999999+09:00", True),
    ],
)
def test_what_has_expired_ends_whatever_its_category_and_consent(expires_at: str, expired: bool) -> None:
    for category, consent in product(CATEGORIES, (None, Consent(True, False), Consent(False, True))):
        decision = decide(advert(category=category, expires_at=expires_at), consent, NOON, named_policy("strict"))
        assert (isinstance(decision, Drop) and decision.reason == "expired") == expired


@pytest.mark.parametrize(
    ("consent", "now", "fields", "why"),
    [
        (None, NOON, {"channel": "sms"}, "outside quiet hours (21:00 to 08:00 Asia/Seoul)"),
        (
            None,
            NOON,
            {},
            "outside quiet hours (21:00 to 08:00 Asia/Seoul and 20:50 to 08:00 Asia/Seoul)",
        ),
        (None, NIGHT, {"channel": "sms"}, f"{UNTIL_8}, and no night consent: {ACT}"),
        (None, NIGHT, {}, f"{UNTIL_8}, and no night consent: {ACT}; and whatever the consent: {KAKAO}"),
        (Consent(night_consent=True), NIGHT, {}, f"{UNTIL_8}, whatever the consent: {KAKAO}"),
        (None, NIGHT.replace(hour=20, minute=55), {}, f"{UNTIL_8}, whatever the consent: {KAKAO}"),
        (
            Consent(night_consent=True),
            NIGHT,
            {"channel": "sms"},
            "quiet hours, but the recipient has consented to the night",
        ),
        (None, NIGHT, {"channel": "email"}, "advertising by email is never held under policy korea"),
        (None, NIGHT, {"category": "critical"}, "critical by kakao is never held under policy korea"),
        (Consent(opted_out=True), NOON, {}, "the recipient has opted out of advertising"),
        (None, NOON, {"expires_at": "2020-11-11T00:00:00+09:00"}, "expired at 2020-11-11T00:00:00+09:00"),
    ],
)
def test_every_decision_explains_itself(
    consent: Consent | None, now: datetime, fields: dict[str, str], why: str
) -> None:
    assert decide(advert(**fields), consent, now, named_policy("korea")).why == why


# --- what no policy can be


def test_a_window_that_starts_when_it_ends_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"must not start and end at the same time \(21:00\)"):
        named_policy("korea", "21:00", "21:00")


def test_a_window_that_leaves_no_time_to_send_is_an_error() -> None:
    whole = timedelta(seconds=58)
    named_policy("korea", "08:00", "07:59", guard=whole, skew=timedelta(seconds=1))
    with pytest.raises(ValueError, match="quiet hours 08:00 to 07:59 with their guard leave no time to send"):
        named_policy("korea", "08:00", "07:59", guard=whole, skew=timedelta(seconds=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "japan"},
            "policy must be one of france, korea, strict, united-states, us-8-to-20, us-connecticut, us-kentucky, "
            "us-texas, not 'japan'",
        ),
        ({"kakao_closed": "20:50"}, "kakao closed must be HH:MM-HH:MM or never, not '20:50'"),
        ({"kakao_closed": "20:50-24:30"}, "kakao closed must be HH:MM-HH:MM or never, not '20:50-24:30'"),
        ({"timezone": "Seoul"}, "timezone must be an IANA name such as Asia/Seoul, not 'Seoul'"),
        ({"timezone": ""}, "timezone must be an IANA name such as Asia/Seoul, not ''"),
        ({"timezone": "Asia"}, "timezone must be an IANA name such as Asia/Seoul, not 'Asia'"),
        ({"timezone": "../../etc/passwd"}, "timezone must be an IANA name such as Asia/Seoul, not '../../etc/passwd'"),
        ({"start": "24:00"}, "start must be HH:MM between 00:00 and 23:59, not '24:00'"),
        ({"start": "9:00"}, "start must be HH:MM between 00:00 and 23:59, not '9:00'"),
        ({"start": "21:00:00"}, "start must be HH:MM between 00:00 and 23:59, not '21:00:00'"),
        ({"end": "08:60"}, "end must be HH:MM between 00:00 and 23:59, not '08:60'"),
        ({"end": ""}, "end must be HH:MM between 00:00 and 23:59, not ''"),
        ({"end": "8 am"}, "end must be HH:MM between 00:00 and 23:59, not '8 am'"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        named_policy(**({"name": "korea"} | arguments))


def test_r6_several_policies_live_side_by_side() -> None:
    seoul_night = named_policy("korea")
    new_york_night = named_policy("strict", "22:00", "06:00", "America/New_York", kakao_closed="never")
    nine_in_the_evening_in_seoul = seoul("2020-11-11T21:00")  # 07:00 in New York
    assert quiet_until(nine_in_the_evening_in_seoul, seoul_night) is not None
    assert quiet_until(nine_in_the_evening_in_seoul, new_york_night) is None


def test_a_policy_of_ones_own_holds_what_it_names() -> None:
    lunch = Closure(
        "lunch", time(12), time(13), SEOUL, frozenset({"informational"}), except_channels=frozenset({"slack"})
    )
    own = Policy("lunch", (lunch,), SEOUL)
    assert isinstance(decide(advert(category="informational"), None, NOON, own), Hold)
    assert isinstance(decide(advert(category="informational", channel="slack"), None, NOON, own), Send)
    assert isinstance(decide(advert(), None, NOON, own), Send)


# --- from when on it would be held again


GUARDED = replace(named_policy("korea"), guard=timedelta(seconds=15))
NIGHT_CONSENT = Consent(night_consent=True)


@pytest.mark.parametrize(
    ("given", "consent", "now", "begins"),
    [
        (advert(channel="sms"), None, "2020-11-11T12:00:00", "2020-11-11T20:59:45"),
        (advert(channel="sms"), Consent(), "2020-11-11T08:00:00", "2020-11-11T20:59:45"),
        (advert(channel="sms"), None, "2020-11-11T20:59:44.999999", "2020-11-11T20:59:45"),
        (advert(channel="sms"), NIGHT_CONSENT, "2020-11-11T12:00:00", None),
        (advert(channel="kakao"), None, "2020-11-11T12:00:00", "2020-11-11T20:49:45"),
        (advert(channel="kakao"), NIGHT_CONSENT, "2020-11-11T12:00:00", "2020-11-11T20:49:45"),
        (advert(channel="email"), None, "2020-11-11T12:00:00", None),
        (advert(category="informational"), None, "2020-11-11T12:00:00", None),
        (advert(category="critical"), None, "2020-11-11T12:00:00", None),
    ],
)
def test_it_is_known_from_when_on_a_notification_would_be_held(
    given: dict[str, Any], consent: Consent | None, now: str, begins: str | None
) -> None:
    expected = None if begins is None else seoul(begins)
    for policy in (GUARDED, replace(GUARDED)):  # found anew, and remembered
        assert [held_from(given, consent, seoul(now), policy) for _ in range(2)] == [expected] * 2


def test_what_was_found_for_one_evening_does_not_count_for_another() -> None:
    for day in (11, 13, 12, 11, 14):
        now = seoul(f"2020-11-{day}T12:00:00")
        assert held_from(advert(channel="sms"), None, now, GUARDED) == seoul(f"2020-11-{day}T20:59:45")


def test_a_closure_in_three_days_is_seen_while_the_notification_lives() -> None:
    """A notification lives for three days, and some closures come once a week."""
    sunday = Closure("sundays", time(0), time(23), SEOUL, frozenset({"advertising"}), weekdays=frozenset({6}))
    policy = Policy("sundays", (sunday,), SEOUL)
    thursday = seoul("2020-11-12T12:00:00")
    for hours in range(60):
        assert held_from(advert(), None, thursday + timedelta(hours=hours), policy) == seoul("2020-11-15T00:00:00")


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2021, 1, 1), timezones=st.sampled_from([SEOUL, NEW_YORK, UTC])),
    st.sampled_from(["korea", "strict", "united-states", "france"]),
    st.sampled_from(["sms", "kakao"]),
    st.sampled_from([None, NIGHT_CONSENT]),
)
@examples(max_examples=200, deadline=None)
def test_it_goes_until_then_and_is_held_from_then_on(
    now: datetime, name: str, channel: str, consent: Consent | None
) -> None:
    policy = replace(named_policy(name, timezone="America/New_York"), guard=timedelta(seconds=15))
    given = advert(channel=channel)
    begins = held_from(given, consent, now, policy)
    if isinstance(decide(given, consent, now, policy), Send) and begins is not None:
        assert isinstance(decide(given, consent, begins - timedelta(microseconds=1), policy), Send)
        assert isinstance(decide(given, consent, begins, policy), Hold)


# --- how long ago they ended


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        ("2020-11-11T07:59:59", "2020-11-10T08:00:00"),
        ("2020-11-11T08:00:00", "2020-11-11T08:00:00"),
        ("2020-11-11T20:00:00", "2020-11-11T08:00:00"),
        ("2020-11-12T00:00:00", "2020-11-11T08:00:00"),
    ],
)
def test_quiet_hours_ended_last_at_their_last_end(now: str, ended: str) -> None:
    assert quiet_ended(seoul(now), named_policy("korea")) == seoul(ended)


@pytest.mark.parametrize("day", ["2020-03-08", "2020-11-01"])  # the clocks go forward, and back
def test_quiet_hours_end_by_the_wall_clock_where_the_clocks_change(day: str) -> None:
    policy = named_policy("korea", timezone="America/New_York")
    noon = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=NEW_YORK)
    assert quiet_ended(noon, policy) == noon.replace(hour=8)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2021, 1, 1), timezones=st.sampled_from([SEOUL, NEW_YORK, UTC])))
@examples(max_examples=200, deadline=None)
def test_the_last_end_is_never_ahead_and_never_more_than_a_day_and_an_hour_ago(now: datetime) -> None:
    ended = quiet_ended(now, named_policy("korea", timezone="America/New_York"))
    assert timedelta(0) <= now.astimezone(UTC) - ended <= timedelta(hours=25)
