"""Several policies in one deployment: which of them judges a notification, and that the answer says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.rule import choosing
from lambdas.quiet_hours.rule.choosing import chosen, same_clock, strictest
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import decide, may_be_held
from lambdas.quiet_hours.rule.terms import Consent, Hold, Policy, Send

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


@pytest.mark.parametrize(
    ("fields", "place", "note"),
    [
        ({"policy": "japan"}, KOREA, "no deployed policy fits its policy, so the strictest judges: "),
        ({"country": "JP"}, KOREA, "no deployed policy fits its country, so the strictest judges: "),
        ({"timezone": "Europe/London"}, KOREA, "no deployed policy fits its timezone, so the strictest judges: "),
        (
            {"country": "JP", "timezone": "Europe/London"},
            KOREA,
            "no deployed policy fits its country and timezone, so the strictest judges: ",
        ),
        ({"policy": "japan", "country": "FR"}, FRANCE, "no deployed policy fits its policy, so this one judges: "),
        ({"country": "US"}, NEW_YORK, "several policies fit, so the strictest judges: "),
        ({"policy": "united-states"}, NEW_YORK, "several policies fit, so the strictest judges: "),
        (
            {"country": "US", "timezone": "America/Phoenix"},
            NEW_YORK,
            "no deployed policy fits its timezone, so the strictest judges: ",
        ),
        (
            {"policy": "france", "timezone": "Asia/Seoul"},
            FRANCE,
            "no deployed policy fits its timezone, so this one judges: ",
        ),
    ],
)
def test_what_no_policy_fits_is_judged_by_the_strictest_that_is_left_and_the_reason_says_so(
    fields: dict[str, str], place: str, note: str
) -> None:
    choice = chosen(asked(**fields), NOW, THREE)
    assert (choice.policy.place, choice.note) == (place, note + place)
    assert decide(asked(**fields), None, NOW, THREE).why.endswith(f"; {note}{place}")


def test_the_only_policy_of_a_deployment_judges_everybody_and_says_so_to_who_asks_for_another() -> None:
    alone = named_policy("korea")
    assert decide(asked(), None, NOW, alone).why == "outside quiet hours (21:00 to 08:00 Asia/Seoul)"
    assert decide(asked(country="KR"), None, NOW, alone) == decide(asked(), None, NOW, alone)
    other = decide(asked(policy="france"), None, NOW, alone)
    assert other.why.endswith("; no deployed policy fits its policy, so this one judges: korea at Asia/Seoul")


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


def test_a_policy_is_stricter_if_it_holds_for_longer_whatever_the_order() -> None:
    names = ("us-connecticut", "united-states", "us-8-to-20", "korea", "strict", "us-texas")
    policies = {name: named_policy(name, timezone="America/Chicago") for name in names}
    left = list(policies.values())
    order = []
    while left:
        order.append(strictest(left))
        left.remove(order[-1])
    # korea holds every channel but e-mail, the others SMS only: for 13, 12.4, 12 and 11 hours a day
    assert [each.name for each in order] == [
        *("strict", "korea", "us-connecticut", "us-texas", "us-8-to-20", "united-states")
    ]
    assert strictest([policies["united-states"], named_policy("united-states")]).zone.key == "America/Chicago"


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
