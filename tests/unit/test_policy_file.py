"""Policy files: closures as data, what each of the shipped ones holds, and what a wrong file is told."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import CATEGORIES, CHANNELS, Closure, decide
from lambdas.quiet_hours.rule.policy_file import FOLDER, names, read_holidays
from lambdas.quiet_hours.rule.terms import Consent, Hold, Policy, Send
from lambdas.quiet_hours.rule.windows import opens_at
from tests.helpers.policy_files import OWN, write


def held_until(policy: Policy, local: str, consent: bool = False, **fields: str) -> str | None:
    """Until when a notification is held that is judged at this local time of its policy's first closure."""
    zone = policy.closures[0].zone
    asked = {"category": "advertising", "channel": "sms", "expires_at": "2099-01-01T00:00:00+00:00"} | fields
    decision = decide(asked, Consent(night_consent=consent), datetime.fromisoformat(local).replace(tzinfo=zone), policy)
    return f"{decision.until:%Y-%m-%dT%H:%M}" if isinstance(decision, Hold) else None


# --- the shipped ones


@pytest.mark.parametrize(
    ("name", "zone", "local", "until"),
    [
        ("united-states", "America/New_York", "2026-11-27T20:59", None),
        ("united-states", "America/New_York", "2026-11-27T21:00", "2026-11-28T08:00"),
        ("united-states", "America/New_York", "2026-11-28T07:59", "2026-11-28T08:00"),
        ("united-states", "America/New_York", "2026-11-28T08:00", None),
        ("united-states", "America/New_York", "2026-11-01T01:30", "2026-11-01T08:00"),  # the clocks go back
        ("us-8-to-20", "America/New_York", "2026-11-27T20:00", "2026-11-28T08:00"),
        ("us-connecticut", "America/New_York", "2026-11-28T08:30", "2026-11-28T09:00"),
        ("us-kentucky", "America/New_York", "2026-11-28T09:59", "2026-11-28T10:00"),
        ("us-texas", "America/Chicago", "2026-11-27T21:00", "2026-11-28T09:00"),
        ("us-texas", "America/Chicago", "2026-11-28T21:00", "2026-11-29T12:00"),  # the night before a Sunday
        ("us-texas", "America/Chicago", "2026-11-29T11:59", "2026-11-29T12:00"),
        ("us-texas", "America/Chicago", "2026-11-29T12:00", None),
        ("us-texas", "America/Chicago", "2026-11-30T08:00", "2026-11-30T09:00"),
        ("france", "Asia/Seoul", "2026-11-27T21:59", None),  # its file names its zone
        ("france", "Asia/Seoul", "2026-11-27T22:00", "2026-11-28T08:00"),
        ("france", "Asia/Seoul", "2026-11-28T22:00", "2026-11-30T08:00"),  # Saturday evening
        ("france", "Asia/Seoul", "2026-11-29T12:00", "2026-11-30T08:00"),  # Sunday
        ("france", "Asia/Seoul", "2026-12-24T22:00", "2026-12-26T08:00"),  # Christmas is a Friday
        ("france", "Asia/Seoul", "2026-11-11T12:00", "2026-11-12T08:00"),
        ("france", "Asia/Seoul", "2027-05-15T22:00", "2027-05-18T08:00"),  # Whit Sunday, then Whit Monday
    ],
)
@pytest.mark.parametrize("consent", [False, True])
def test_a_policy_holds_in_its_own_hours(name: str, zone: str, local: str, until: str | None, consent: bool) -> None:
    """No consent opens the closures of these."""
    assert held_until(named_policy(name, timezone=zone), local, consent) == until


@pytest.mark.parametrize("name", names())
def test_every_shipped_policy_names_its_sources(name: str) -> None:
    policy = named_policy(name, guard=timedelta(seconds=15), skew=timedelta(seconds=2))
    for closure in policy.closures:
        assert closure.citation
        assert closure.standing in ("text read", "provider's page", "secondary", "own rule")


def test_only_what_was_read_is_cited_without_a_word_on_how_sure_it_is() -> None:
    for name in names():
        policy = named_policy(name)
        for closure in policy.closures:
            at = datetime(2026, 11, 29, 3, tzinfo=closure.zone)
            (category, *_), channel = sorted(closure.categories), next(iter(closure.channels or {"sms"}))
            asked = {"category": category, "channel": channel, "expires_at": "2099-01-01T00:00:00+00:00"}
            decision = decide(asked, None, at, policy)
            assert isinstance(decision, Hold), name
            assert closure.citation in decision.why
            assert (f"; {closure.standing})" in decision.why) == (closure.standing != "text read"), name


@pytest.mark.parametrize("setting", ["20:00-08:00", "20:50-09:00", "never"])
def test_a_setting_names_the_hours_of_the_provider_in_use(setting: str) -> None:
    policy = named_policy("korea", kakao_closed=setting)
    _, _, end = setting.partition("-")
    at = "2020-11-11T20:00" if setting == "20:00-08:00" else "2020-11-11T20:50"
    expected = None if setting == "never" else f"2020-11-12T{end}"
    assert held_until(policy, at, consent=True, channel="kakao") == expected
    assert held_until(policy, at, channel="sms") is None


def test_an_alimtalk_is_not_meant_by_kakaotalks_hours() -> None:
    for name in ("korea", "strict"):
        assert held_until(named_policy(name), "2020-11-11T20:55", channel="kakao", category="informational") is None


# --- one's own


def test_a_file_of_ones_own_holds_what_it_says(tmp_path: Path) -> None:
    policy = named_policy("acme", folder=write(tmp_path))
    friday, saturday = "2026-11-27T18:00", "2026-11-28T18:00"
    assert held_until(policy, friday) == "2026-11-28T09:00"
    assert held_until(policy, friday, consent=True) is None
    assert held_until(policy, friday, channel="email") is None
    assert held_until(policy, friday, category="informational") is None
    assert held_until(policy, saturday) is None  # a night belongs to the day on which it begins
    assert held_until(policy, "2026-11-28T08:59") == "2026-11-28T09:00"
    at = datetime(2026, 11, 27, 19, tzinfo=ZoneInfo("Asia/Seoul"))
    asked = {"category": "advertising", "channel": "sms", "expires_at": "2099-01-01T00:00:00+00:00"}
    decision = decide(asked, None, at, policy)
    cited = "evening (Acme's marketing handbook, chapter 4; own rule)"
    assert decision.why == f"quiet hours until 2026-11-28 09:00 Asia/Seoul, and no night consent: {cited}"


def test_a_file_of_ones_own_comes_before_one_of_the_project(tmp_path: Path) -> None:
    write(tmp_path, name="france")
    assert [each.name for each in named_policy("france", folder=tmp_path).closures] == ["evening"]
    assert [each.name for each in named_policy("korea", folder=tmp_path).closures] == ["night", "KakaoTalk's hours"]


def test_several_closures_open_at_the_end_of_the_last_that_follows_without_a_gap(tmp_path: Path) -> None:
    lunch = OWN + '\n[[closures]]\nname = "lunch"\nfrom = "09:00"\nto = "10:00"\ncategories = ["advertising"]\n'
    policy = named_policy("acme", folder=write(tmp_path, lunch + 'opened_by = "nothing"\n'))
    assert held_until(policy, "2026-11-27T18:00") == "2026-11-28T10:00"
    assert held_until(policy, "2026-11-27T18:00", consent=True) is None
    assert held_until(policy, "2026-11-28T09:30", consent=True) == "2026-11-28T10:00"
    assert held_until(policy, "2026-11-27T18:00", channel="email") is None


@pytest.mark.parametrize(
    "zone",
    [
        "Australia/Lord_Howe",  # whose clocks change by half an hour
        *(pytest.param(zone, marks=pytest.mark.slow) for zone in ("Europe/Paris", "America/New_York", "Asia/Seoul")),
    ],
)
def test_no_minute_of_a_year_differs_from_the_clock_on_the_wall(zone: str) -> None:
    """France's rules in several zones, minute by minute around each midnight and each hour otherwise."""
    policy = named_policy("france")
    closures = tuple(_in_zone(each, zone) for each in policy.closures)
    policy = Policy("france", closures, ZoneInfo(zone))
    days = read_holidays(FOLDER, "FR")[2]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    while now.year == 2026:
        local = now.astimezone(ZoneInfo(zone))
        closed = local.hour >= 22 or local.hour < 8 or local.weekday() == 6 or local.date() in days
        found = opens_at(now, closures, policy)
        assert (found is not None) == closed, local
        now += timedelta(minutes=30)


def _in_zone(closure: Closure, zone: str) -> Closure:
    return replace(closure, zone=ZoneInfo(zone))


# --- what a wrong file is told


def changed(old: str, new: str) -> str:
    assert old in OWN
    return OWN.replace(old, new)


WRONG = {
    "not TOML": (OWN + "x =", r"acme\.toml is not TOML: Invalid value .*"),
    "unknown field of the file": ("colour = 1\n" + OWN, r"acme\.toml: colour is an unknown field; allowed are .*"),
    "unknown field of a closure": (OWN + "chanels = []", r".*: chanels is an unknown field; allowed are .*"),
    "no closures": (OWN.partition("[[")[0], r"acme\.toml: closures must be a list of at least one \[\[closures\]\]"),
    "closures are no list": (OWN.partition("[[")[0] + "closures = 3", r"acme\.toml: closures must be a list .*"),
    "empty window": (changed('"09:00"', '"18:00"'), r".*must not begin and end at the same time \(18:00\); .*"),
    "no from": (changed('from = "18:00"\n', ""), r".*: from must be HH:MM between 00:00 and 23:59, not ''"),
    "24:00 as a beginning": (changed('"18:00"', '"24:00"'), r".*: from must be HH:MM between 00:00 .*'24:00'"),
    "no such hour": (changed('"09:00"', '"9 am"'), r".*: to must be HH:MM between 00:00 and 23:59, not '9 am'"),
    "a number for an hour": (changed('"09:00"', "9"), r".*: to must be HH:MM between 00:00 and 23:59, not 9"),
    "no such day": (changed("weekdays", "friday"), r".*: days must be a list of mon, .*, not \['friday'\]"),
    "no day": (changed('["weekdays"]', "[]"), r".*: days must be a list of mon, .*, not \[\]"),
    "no such category": (changed('["advertising"]', '["ads"]'), r".*: categories must be a list of .*'ads'.*"),
    "no such channel": (changed('["email"]', '["fax"]'), r".*: except_channels must be a list of kakao, .*'fax'.*"),
    "no such consent": (changed("night consent", "consent"), r".*: opened_by must be one of night consent, nothing.*"),
    "no citation": (changed('citation = "Acme\'s marketing handbook, chapter 4"\n', ""), r".*: citation must be .*"),
    "no date": (changed("date = 2026-11-27\n", ""), r".*: date must be a day such as 2026-11-27, not None"),
    "no standing": (changed('"own rule"', '"sure"'), r".*: standing must be one of text read, .*, not 'sure'"),
    "no name": (changed('name = "evening"\n', ""), r"acme\.toml: closure 1: name must be a text, not None"),
    "no such zone": (OWN + 'timezone = "Paris"', r".*: timezone must be an IANA name such as Asia/Seoul, not 'Paris'"),
    "a zone of a wrong type": (OWN + "timezone = 9", r".*: timezone must be an IANA name such as Asia/Seoul, not 9"),
    "holidays of no list": (
        changed('"weekdays"', '"holidays"'),
        r".*: days has holidays, but the file names no.*",
    ),
    "a list that is missing": (
        'holidays = "XX"\n' + OWN,
        r".*/XX\.toml is missing: `make holidays PLACE=XX`.*",
    ),
    "a list elsewhere": ('holidays = "../FR"\n' + OWN, r".*holidays must name a list of policies/holidays.*"),
    "a setting that is none": (OWN + 'set_by = "bedtime"', r".*: set_by must be quietHours or kakaoClosed, .*"),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_in_one_sentence_that_names_the_fault(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        named_policy("acme", folder=write(tmp_path, text))
    assert re.fullmatch(sentence, str(raised.value), re.DOTALL), raised.value
    assert str(raised.value).startswith("acme.toml") or "holidays" in str(raised.value)


def test_every_channel_is_meant_by_a_closure_that_names_none(tmp_path: Path) -> None:
    every = OWN.replace('except_channels = ["email"]\n', "").replace('["advertising"]', '["informational"]')
    policy = named_policy("acme", folder=write(tmp_path, every))
    for channel in CHANNELS:
        for category in CATEGORIES:
            held = held_until(policy, "2026-11-27T18:00", channel=channel, category=category)
            assert (held is not None) == (category == "informational")


def test_by_day_the_answer_names_the_hours_that_do_not_apply_now() -> None:
    at = datetime(2026, 11, 27, 12, tzinfo=ZoneInfo("Europe/Paris"))
    asked = {"category": "advertising", "channel": "sms", "expires_at": "2099-01-01T00:00:00+00:00"}
    hours = "22:00 to 08:00 Europe/Paris and Sun, holidays 00:00 to 24:00 Europe/Paris"
    assert decide(asked, None, at, named_policy("france")) == Send(f"outside quiet hours ({hours})")
