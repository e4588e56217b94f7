"""The wait queues: one for each distinct opening rule, and which of them is read when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lambdas.consumer import consume
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.rule.closure import CATEGORIES, CHANNELS, EVERY_DAY, Closure
from lambdas.quiet_hours.rule.openings import opening_rules
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import decide, quiet_until, rules_of_queues
from lambdas.quiet_hours.rule.terms import Consent, Hold, Policy
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.scheduler import release, release_each, together
from tests.helpers.aws import aws, dynamodb, notification, put_consent, record, settings, sqs, take_notifications
from tests.helpers.delivery_world import SETTINGS, World, accepted
from tests.helpers.delivery_world import world as world
from tests.helpers.scheduler_world import _empty_receives_do_not_wait

__all__ = ["_empty_receives_do_not_wait", "dynamodb", "settings", "sqs"]

SEOUL = ZoneInfo("Asia/Seoul")
GUARD, SKEW = timedelta(seconds=15), timedelta(seconds=2)
LATE_KAKAO = {"kakao_closed": "20:00-09:00"}


def closure(name: str, start: str, end: str, channel: str, zone: ZoneInfo = SEOUL, **more: Any) -> Closure:
    begins, ends = time.fromisoformat(start), time.fromisoformat(end)
    fields = {"ends_next_day": ends <= begins, "channels": frozenset([channel])} | more
    return Closure(name, begins, ends, zone, frozenset(["advertising"]), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("closures", "queues"),
    [
        # one end: one queue, whatever the beginnings
        ([closure("a", "21:00", "08:00", "sms"), closure("b", "20:50", "08:00", "kakao")], 1),
        ([closure("a", "21:00", "08:00", "sms"), closure("b", "21:00", "09:00", "kakao")], 2),
        # what overlaps is one window: both hold kakao until 09:00
        ([closure("a", "21:00", "08:00", "kakao"), closure("b", "07:00", "09:00", "kakao")], 1),
        ([closure("a", "21:00", "08:00", "kakao"), closure("b", "08:00", "09:00", "kakao")], 1),
        ([closure("a", "22:00", "09:00", "kakao"), closure("b", "20:50", "08:00", "kakao")], 1),
        # two windows a day for one channel, one of them for another
        ([closure("a", "21:00", "08:00", "kakao"), closure("b", "12:00", "13:00", "kakao")], 1),
        (
            [
                closure("a", "21:00", "08:00", "kakao"),
                closure("b", "12:00", "13:00", "kakao"),
                closure("c", "21:00", "08:00", "sms"),
            ],
            2,
        ),
        # without a consent until 09:00, with one until 08:00
        (
            [closure("a", "22:00", "09:00", "kakao", consent_opens=True), closure("b", "20:50", "08:00", "kakao")],
            2,
        ),
        # another zone, another weekday, another holiday
        (
            [
                closure("a", "21:00", "08:00", "sms"),
                replace(closure("b", "21:00", "08:00", "kakao"), zone=ZoneInfo("UTC")),
            ],
            2,
        ),
        ([closure("a", "21:00", "08:00", "sms"), closure("b", "21:00", "08:00", "kakao", weekdays=frozenset([6]))], 2),
        (
            [
                closure("a", "00:00", "00:00", "sms", weekdays=frozenset(), dates=frozenset([date(2027, 1, 1)])),
                closure("b", "00:00", "00:00", "kakao", weekdays=frozenset(), dates=frozenset([date(2027, 1, 2)])),
            ],
            2,
        ),
        ([closure("a", "00:00", "00:00", each, weekdays=frozenset([6])) for each in ("sms", "kakao")], 1),
        ([], 1),
    ],
)
def test_what_opens_together_shares_a_wait_queue_and_nothing_else_does(closures: list[Closure], queues: int) -> None:
    assert len(opening_rules((tuple(closures),))) == queues


POLICIES = [
    named_policy("korea", guard=GUARD, skew=SKEW, **LATE_KAKAO),
    named_policy("korea", "22:00", "09:00", kakao_closed="20:50-08:00"),
    named_policy("korea", timezone="America/New_York", kakao_closed="12:00-13:00"),
    Policy(
        "mixed",
        (
            closure("night", "21:00", "08:00", "sms", consent_opens=True),
            closure("sunday", "00:00", "00:00", "sms", weekdays=frozenset([6])),
            closure("noon", "12:00", "13:00", "kakao"),
            closure("morning", "07:00", "10:00", "kakao", weekdays=EVERY_DAY - {0}),
            closure("mail", "18:00", "09:00", "email", ZoneInfo("Europe/Paris")),
        ),
        SEOUL,
    ),
]


US_ZONES = ("Chicago", "Denver", "Los_Angeles", "Anchorage")
SEVERAL = [
    named_policy("korea", guard=GUARD, skew=SKEW, further_policies="france,united-states@America/New_York"),
    named_policy(
        "united-states",
        timezone="America/New_York",
        further_policies="united-states@" + "+".join([*(f"America/{each}" for each in US_ZONES), "Pacific/Honolulu"]),
    ),
    # two policies that open together share a queue, and a third has two queues of its own
    named_policy("korea", kakao_closed="20:00-09:00", further_policies="strict,us-texas@America/Chicago"),
]


@pytest.mark.parametrize(("policy", "queues"), list(zip(SEVERAL, (3, 6, 3), strict=True)))
def test_policies_share_a_wait_queue_if_they_open_together_and_else_have_their_own(policy: Policy, queues: int) -> None:
    assert len(opening_rules(policy.closures_of_all)) == queues


@pytest.mark.parametrize("policy", [*POLICIES, *SEVERAL], ids=lambda each: f"{each.name} {each.hours.further_policies}")
def test_a_queue_is_read_exactly_when_what_is_on_it_may_go(policy: Policy) -> None:
    """Over two weeks with a change of the clocks: what is held leaves at the end of its own hold, and never before."""
    rules = rules_of_queues(policy, len(opening_rules(policy.closures_of_all)))
    now = datetime(2026, 10, 24, tzinfo=UTC)
    seen: set[int] = set()
    kinds = list(product(CATEGORIES, CHANNELS, (False, True), policy.policies))
    while now < datetime(2026, 11, 7, tzinfo=UTC):
        for category, channel, agreed, judge in kinds:
            asked = {"category": category, "channel": channel, "expires_at": "2099-01-01T00:00:00+00:00"}
            if policy.further:
                asked |= {"policy": judge.name, "timezone": judge.closures[0].zone.key}
            decision = decide(asked, Consent(night_consent=agreed), now, policy)
            if isinstance(decision, Hold):
                assert quiet_until(now, rules[decision.queue]) == decision.until, (now, asked, agreed)
                seen.add(decision.queue)
        now += timedelta(minutes=20)
    assert seen == set(range(len(rules)))


def test_a_queue_that_no_closure_needs_is_open_at_any_time() -> None:
    *_, unused = rules_of_queues(named_policy("korea"), 2)
    assert unused.closures == ()
    assert quiet_until(datetime(2026, 11, 27, 23, tzinfo=SEOUL), unused) is None


# --- the functions


@pytest.fixture
def two(sqs: Any, settings: Settings) -> Settings:
    """A deployment whose KakaoTalk opens an hour later than the night ends."""
    found = replace(settings, wait_queues=2, **LATE_KAKAO)  # type: ignore[arg-type]
    aws("sqs").create_queue(QueueName=found.wait_url(1).rpartition("/")[2])
    return found


NIGHT = datetime(2020, 11, 11, 22, tzinfo=SEOUL)


def ids(sqs: Any, url: str) -> list[str]:
    return sorted(each["id"] for each in take_notifications(sqs, url))


def release_all(sqs: Any, settings: Settings, now: datetime) -> dict[str, Any]:
    """Run the scheduler once, over all wait queues."""
    release_one = partial(
        release,
        sqs,
        now=lambda: now,
        remaining_s=lambda: 300,
        sleep=lambda _: None,
        side_by_side=in_threads,
    )
    return together(release_each(settings, settings.quiet_hours(), in_threads, release_one))


def test_the_consumer_puts_on_each_queue_what_opens_with_it(sqs: Any, dynamodb: Any, two: Settings) -> None:
    put_consent(dynamodb, "user-42", night_consent=True)
    wanted = [
        notification(id="kakao"),
        notification(id="agreed", recipient_id="user-42"),
        notification(id="sms", channel="sms"),
    ]
    consumed = consume([record(to_text(wanted))], NIGHT, sqs, dynamodb, two, two.quiet_hours())
    assert (consumed.failed, consumed.counts["held"]) == ([], 3)
    assert ids(sqs, two.wait_url(0)) == ["agreed", "kakao"]
    assert ids(sqs, two.wait_url(1)) == ["sms"]


def test_where_a_queue_is_missing_the_last_one_takes_what_is_held(sqs: Any, dynamodb: Any, two: Settings) -> None:
    """Synthesis refuses such settings. A hold that found no queue would come again for days."""
    one = replace(two, wait_queues=1)
    consumed = consume(
        [record(to_text([notification(id="sms", channel="sms")]))], NIGHT, sqs, dynamodb, one, one.quiet_hours()
    )
    assert (consumed.failed, ids(sqs, one.wait_queue_url)) == ([], ["sms"])


@pytest.mark.parametrize(
    ("at", "released"),
    [
        ("07:59:50", {"skipped"}),
        ("08:00:02", ["sms"]),
        ("08:59:50", ["sms"]),
        ("09:00:02", ["kakao", "sms"]),
        ("19:59:44", ["kakao", "sms"]),
        ("19:59:46", ["sms"]),
        ("20:59:44", ["sms"]),
        ("20:59:46", {"skipped"}),
    ],
)
def test_the_scheduler_drains_each_queue_by_its_own_rule(
    sqs: Any, dynamodb: Any, two: Settings, at: str, released: Any
) -> None:
    wanted = [notification(id="kakao"), notification(id="sms", channel="sms")]
    consume([record(to_text(wanted))], NIGHT, sqs, dynamodb, two, two.quiet_hours())
    now = datetime.fromisoformat(f"2020-11-12T{at}").replace(tzinfo=SEOUL)
    answer = release_all(sqs, two, now)
    if isinstance(released, set):
        assert answer.keys() == released
    else:
        assert answer == {"released": len(released), "messages": len(released), "remaining": False}
        assert ids(sqs, two.schedule_queue_url) == released


def test_what_waits_on_a_queue_that_is_used_no_more_is_released_and_judged_anew(
    sqs: Any, dynamodb: Any, two: Settings
) -> None:
    """The policy was changed at night: KakaoTalk opens at 08:00 again."""
    consume([record(to_text([notification(id="sms", channel="sms")]))], NIGHT, sqs, dynamodb, two, two.quiet_hours())
    changed = replace(two, kakao_closed="20:50-08:00")
    answer = release_all(sqs, changed, NIGHT)
    assert answer == {"released": 1, "messages": 1, "remaining": False}
    assert ids(sqs, two.schedule_queue_url) == ["sms"]


def test_the_worker_holds_again_on_the_queue_that_opens_with_it(world: World) -> None:
    changed = replace(SETTINGS, wait_queues=2, **LATE_KAKAO)  # type: ignore[arg-type]
    world.settings, world.policy = changed, changed.quiet_hours()
    world.clock.now = NIGHT
    world.sqs.messages["wait2"] = []
    number = {"category": "advertising", "address": "+821012345678"}
    world.invoke(accepted("kakao", channel="kakao", **number), accepted("sms", channel="sms", **number))
    assert (world.on("wait"), world.on("wait2")) == ([["kakao"]], [["sms"]])
