"""Several policies in one deployment: which of them judges a notification, and that the answer says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.rule import choosing
from lambdas.quiet_hours.rule.choosing import chosen, same_clock, strictest
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import decide, may_be_held, quiet_until, rules_of_queues
from lambdas.quiet_hours.rule.terms import Consent, Hold, Policy, Send, Wanted

NOW = datetime(2026, 11, 28, 3, tzinfo=UTC)
"""Noon in Seoul, 22:00 in New York, 04:00 in Paris."""

US = "united-states@America/New_York+America/Chicago"
THREE = named_policy("korea", further_policies=f"france, {US}")
KOREA, FRANCE = "korea at Asia/Seoul", "france at Europe/Paris"
NEW_YORK, CHICAGO = "united-states at America/New_York", "united-states at America/Chicago"


def asked(**fields: str) -> dict[str, Any]:
    return {"category": "advertising", "channel": "sms", "expires_at": "2099-01-01T00:00:00+00:00"} | fields


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, KOREA),
        ({"policy": "korea"}, KOREA),
        ({"policy": "france"}, FRANCE),
        ({"policy": "united-states", "timezone": "America/Chicago"}, CHICAGO),
        ({"policy": "united-states", "timezone": "America/Detroit"}, NEW_YORK),
        ({"country": "KR"}, KOREA),
        ({"country": "FR"}, FRANCE),
        ({"country": "US", "timezone": "America/New_York"}, NEW_YORK),
        ({"timezone": "America/Winnipeg"}, CHICAGO),
        ({"timezone": "Europe/Berlin"}, FRANCE),
        ({"timezone": "Asia/Tokyo"}, KOREA),
        # a policy that is named counts, wherever the recipient lives
        ({"policy": "france", "country": "US"}, FRANCE),
    ],
)
def test_a_notification_chooses_its_policy_by_name_country_or_zone(fields: dict[str, str], place: str) -> None:
    choice = chosen(asked(**fields), NOW, THREE)
    assert (choice.policy.place, choice.note) == (place, "")


US_BOTH = "united-states at America/New_York, America/Chicago"


@pytest.mark.parametrize(
    ("fields", "place", "why"),
    [
        ({"country": "US"}, US_BOTH, "several policies fit"),
        ({"policy": "united-states"}, US_BOTH, "several policies fit"),
        ({"country": "US", "timezone": "America/Phoenix"}, US_BOTH, "no policy fits its timezone"),
        (
            {"country": "US", "timezone": "Asia/Seoul"},
            "korea and united-states at Asia/Seoul, America/New_York, America/Chicago",
            "no policy fits its country and timezone",
        ),
        (
            {"policy": "france", "timezone": "Asia/Seoul"},
            "korea and france at Asia/Seoul, Europe/Paris",
            "no policy fits its policy and timezone",
        ),
    ],
)
def test_policies_that_are_left_judge_together_and_the_reason_says_so(
    fields: dict[str, str], place: str, why: str
) -> None:
    choice = chosen(asked(**fields), NOW, THREE)
    assert (choice.policy.place, choice.note) == (place, f"{why}, so all of these judge: {place}")
    assert decide(asked(**fields), None, NOW, THREE).why.endswith(f"; {choice.note}")


@pytest.mark.parametrize(
    ("fields", "place", "note"),
    [
        ({"policy": "japan", "country": "FR"}, FRANCE, "no policy fits its policy, so this one judges: "),
        (
            {"policy": "france", "timezone": "Europe/London"},
            FRANCE,
            "no policy fits its timezone, so this one judges: ",
        ),
        # Seoul, Paris and the United States together never open: on Sundays France is the strictest for SMS
        ({"policy": "japan"}, FRANCE, "no policy fits its policy, so the strictest judges: "),
        ({"country": "JP"}, FRANCE, "no policy fits its country, so the strictest judges: "),
        (
            {"country": "JP", "timezone": "Europe/London"},
            FRANCE,
            "no policy fits its country and timezone, so the strictest judges: ",
        ),
    ],
)
def test_what_no_policy_fits_is_judged_by_the_strictest_if_all_together_would_never_open(
    fields: dict[str, str], place: str, note: str
) -> None:
    choice = chosen(asked(**fields), NOW, THREE)
    assert (choice.policy.place, choice.note) == (place, note + place)
    assert decide(asked(**fields), None, NOW, THREE).why.endswith(f"; {note}{place}")


def test_what_several_zones_judge_together_goes_when_the_last_of_them_opens() -> None:
    """It waits on the queue of a zone that is closed, so nobody receives it in vain."""
    rules = rules_of_queues(THREE, 4)
    now, queues = NOW, []
    while isinstance(decision := decide(asked(country="US"), None, now, THREE), Hold):
        assert decision.until.isoformat() == "2026-11-28T09:00:00-05:00"  # 08:00 in Chicago
        queues.append(decision.queue)
        now = quiet_until(now, rules[decision.queue]) or now + timedelta(days=1)
    assert now == datetime.fromisoformat("2026-11-28T08:00:00-06:00")
    assert queues == [wait_of("America/Chicago")]
    at_seven = datetime.fromisoformat("2026-11-28T07:30:00-06:00")
    only_chicago = decide(asked(country="US"), None, at_seven, THREE)
    assert isinstance(only_chicago, Hold) and only_chicago.queue == wait_of("America/Chicago")
    evening = datetime.fromisoformat("2026-11-28T20:30:00-06:00")  # 21:30 in New York, and Chicago is open
    only_new_york = decide(asked(country="US"), None, evening, THREE)
    assert isinstance(only_new_york, Hold) and only_new_york.queue == wait_of("America/New_York")


def wait_of(timezone: str) -> int:
    night = datetime.fromisoformat("2026-11-28T23:30:00-06:00")
    decision = decide(asked(timezone=timezone), None, night, THREE)
    assert isinstance(decision, Hold)
    return decision.queue


def test_the_hours_of_kakaotalk_count_under_every_policy_and_by_one_clock() -> None:
    policy = named_policy("korea", further_policies=f"{US},france,strict@Europe/London")
    evening = datetime.fromisoformat("2026-11-28T20:55:00+09:00")
    morning = datetime.fromisoformat("2026-11-28T08:00:00+09:00")
    for fields in ({}, {"country": "FR"}, {"timezone": "America/Chicago"}, {"policy": "strict"}):
        brand = {**asked(**fields), "channel": "kakao"}
        assert isinstance(decide(brand, Consent(night_consent=True), evening, policy), Hold), fields
        assert isinstance(decide(brand, Consent(night_consent=True), morning, policy), Send), fields
    other_first = named_policy("france", timezone="Europe/Paris", further_policies="korea@Asia/Seoul")
    assert isinstance(decide({**asked(), "channel": "kakao"}, None, evening, other_first), Hold)
    assert chosen(asked(timezone="Europe/Paris"), NOW, other_first).note == ""


def test_the_strictest_is_that_for_the_kind_of_notification_that_is_judged() -> None:
    sunday = datetime.fromisoformat("2026-11-29T12:00:00+01:00")
    assert isinstance(decide(asked(country="BE"), None, sunday, THREE), Hold)
    push = {**asked(country="BE"), "channel": "push"}
    assert chosen(push, sunday, THREE).policy.zones[0] == "Asia/Seoul"


def test_the_only_policy_of_a_deployment_judges_everybody_and_says_so_to_who_asks_for_another() -> None:
    alone = named_policy("korea")
    assert decide(asked(), None, NOW, alone).why == "outside quiet hours (21:00 to 08:00 Asia/Seoul)"
    assert decide(asked(country="KR"), None, NOW, alone) == decide(asked(), None, NOW, alone)
    other = decide(asked(policy="france"), None, NOW, alone)
    assert other.why.endswith("; no policy fits its policy, so this one judges: korea at Asia/Seoul")


def test_r6_each_recipient_is_judged_by_the_clock_of_its_own_place() -> None:
    """At the same instant it is noon in Seoul, evening in Chicago, night in New York and Paris."""
    assert isinstance(decide(asked(country="KR"), None, NOW, THREE), Send)
    held = {
        name: decide(asked(timezone=name), None, NOW, THREE)
        for name in ("America/New_York", "America/Chicago", "Europe/Paris")
    }
    assert {
        name: decision.until.isoformat() if isinstance(decision, Hold) else None for name, decision in held.items()
    } == {
        "America/New_York": "2026-11-28T08:00:00-05:00",
        "America/Chicago": "2026-11-28T08:00:00-06:00",
        "Europe/Paris": "2026-11-28T08:00:00+01:00",
    }
    queues = [decision.queue for decision in held.values() if isinstance(decision, Hold)]
    assert len(set(queues)) == 3
    assert 0 not in queues  # that is Seoul's


def test_a_night_consent_opens_only_what_the_recipients_own_policy_lets_it_open() -> None:
    night_in_seoul = datetime(2026, 11, 28, 14, tzinfo=UTC)
    agreed = Consent(night_consent=True)
    assert isinstance(decide(asked(country="KR"), agreed, night_in_seoul, THREE), Send)
    assert isinstance(decide(asked(timezone="America/New_York"), agreed, NOW, THREE), Hold)


def test_whether_something_may_be_held_depends_on_its_own_policy() -> None:
    push = {**asked(), "channel": "push"}
    assert may_be_held(push, NOW, THREE)
    assert not may_be_held({**push, "country": "FR"}, NOW, THREE)


def test_zones_are_the_same_clock_only_if_they_agree_on_every_day_of_the_year() -> None:
    assert same_clock("America/Detroit", "America/New_York", 2026)
    assert not same_clock("America/Phoenix", "America/Denver", 2026)  # the same in winter
    assert not same_clock("Asia/Jerusalem", "Europe/Athens", 2026)  # the clocks change two days apart
    assert not same_clock("Asia/Pyongyang", "Asia/Seoul", 2017)
    assert same_clock("Asia/Pyongyang", "Asia/Seoul", 2026)
    assert not same_clock("America/Havana", "America/New_York", 2026)  # the clocks change an hour apart


def test_a_policy_is_stricter_if_it_holds_for_longer_whatever_the_order() -> None:
    names = ("us-connecticut", "united-states", "us-8-to-20", "korea", "strict", "us-texas", "france")
    left = [named_policy(name, timezone="America/Chicago") for name in names]
    wanted = Wanted(None, None, None, "advertising", "sms", 2026)
    order = []
    while left:
        order.append(strictest(left, wanted))
        left.remove(order[-1])
    # no consent opens those of France and of the states
    assert [each.name for each in order] == [
        *("us-connecticut", "us-texas", "us-8-to-20", "france", "united-states", "korea", "strict")
    ]


def test_senders_cannot_fill_the_memory_with_names_of_policies() -> None:
    policy = named_policy("korea", further_policies="france", end="07:59")
    for number in range(choosing.CHOICES_KEPT + 10):
        chosen(asked(policy=f"p{number}"), NOW, policy)
    assert len(policy.choices) <= choosing.CHOICES_KEPT


def test_a_policy_is_deployed_once_for_each_zone_that_stands_behind_it() -> None:
    assert [each.place for each in THREE.policies] == [KOREA, FRANCE, NEW_YORK, CHICAGO]
    assert THREE.hours.further_policies == f"france, {US}"


@pytest.mark.parametrize(
    ("further", "fault"),
    [
        ("japan", "policy must be one of .*, not 'japan'"),
        ("france,", "policy must be one of .*, not ''"),
        ("korea", "policy korea at Asia/Seoul is deployed already: name it once"),
        ("korea@ROK", "policy korea at ROK is deployed already: name it once"),
        (f"{US}+America/Chicago", "policy united-states at America/Chicago is deployed already: name it once"),
        ("france@Asia/Tokyo", "policy france names its own timezone: it takes none behind an @"),
        ("united-states@America/Springfield", "timezone must be an IANA name .*, not 'America/Springfield'"),
        ("united-states@", "timezone must be an IANA name .*, not ''"),
    ],
)
def test_a_wrong_list_of_further_policies_gets_a_sentence_that_names_the_fault(further: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        named_policy("korea", further_policies=further)


def test_every_policy_of_a_deployment_has_its_guard_skew_and_settings() -> None:
    policy: Policy = named_policy(
        "korea",
        end="09:00",
        guard=timedelta(seconds=15),
        skew=timedelta(seconds=2),
        advertising_consent="required",
        further_policies="strict@America/New_York",
    )
    (strict,) = policy.further
    assert (strict.guard, strict.skew, strict.advertising_consent) == (policy.guard, policy.skew, "required")
    assert {each.end.hour for each in strict.closures if each.set_by == "quietHours"} == {9}
