"""Several wait queues: one for each opening rule of the policy, in the stack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Annotations, Match

from infra.function import ENVIRONMENT_BYTES_MAX
from infra.props import QuietHoursProps
from infra.queues import SOURCES_MAX
from infra.quiet_hours import QuietHours
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.settings import Settings
from tests.helpers.stack_template import Deployed, make_stack

pytestmark = pytest.mark.xdist_group("stack")

LATE_KAKAO = {"kakaoClosed": "20:00-09:00", "waitQueues": "2"}


@pytest.fixture(scope="module")
def made() -> Stack:
    return make_stack(**LATE_KAKAO)


@pytest.fixture(scope="module")
def two(made: Stack) -> Deployed:
    return Deployed(made)


def _queue(deployed: Deployed, output: str) -> dict[str, Any]:
    return deployed.all("AWS::SQS::Queue")[deployed.outputs[output]["Ref"]]


def test_a_second_wait_queue_is_like_the_first_and_its_url_follows_from_it(two: Deployed) -> None:
    first, second = (_queue(two, f"WaitQueueUrl{number}") for number in ("", "2"))
    assert second.pop("QueueName") == f"{first.pop('QueueName')}2"
    assert second == first
    variables = two.function("Consumer")["Environment"]["Variables"]
    settings = Settings.from_env(variables | {"QUIET_HOURS_WAIT_QUEUE_URL": "https://sqs/1/QuietHours-Wait"})
    assert settings.wait_url(1) == "https://sqs/1/QuietHours-Wait2"
    assert settings.wait_queues == 2


def test_it_may_redrive_to_dead_letter(two: Deployed) -> None:
    allowed = json.dumps(_queue(two, "DeadLetterQueueUrl")["RedriveAllowPolicy"])
    assert ":QuietHours-Wait2" in allowed


@pytest.mark.parametrize(
    ("function", "actions"),
    [
        ("Consumer", {"sqs:SendMessage"}),
        ("Worker", {"sqs:SendMessage"}),
        ("Scheduler", {"sqs:ReceiveMessage", "sqs:DeleteMessage"}),
        ("Producer", set()),
    ],
)
def test_each_function_may_do_with_it_what_it_may_do_with_the_first(
    two: Deployed, function: str, actions: set[str]
) -> None:
    arn = {"Fn::GetAtt": [two.outputs["WaitQueueUrl2"]["Ref"], "Arn"]}
    (_, role), *_ = [
        (name, role)
        for name, role in two.all("AWS::IAM::Role").items()
        if two.function(function)["Role"]["Fn::GetAtt"][0] == name
    ]
    statements = [
        each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"] if _names(each, arn)
    ]
    allowed = {action for each in statements for action in _list(each["Action"])}
    assert allowed == actions


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names(statement: dict[str, Any], arn: Any) -> bool:
    return arn in _list(statement["Resource"])


def test_it_has_an_alarm_of_the_same_name_and_each_end_starts_the_scheduler(two: Deployed) -> None:
    names = {each["AlarmName"] for each in two.all("AWS::CloudWatch::Alarm").values()}
    assert {"QuietHours-HeldTooLong", "QuietHours-Wait2-HeldTooLong"} <= names
    starts = {
        (each["ScheduleExpression"], each["ScheduleExpressionTimezone"])
        for each in two.all("AWS::Scheduler::Schedule").values()
    }
    assert starts == {("cron(0 8 * * ? *)", "Asia/Seoul"), ("cron(0 9 * * ? *)", "Asia/Seoul")}


def test_synthesis_prints_the_queues_and_their_rules(made: Stack) -> None:
    Annotations.from_stack(made).has_info(
        "*",
        Match.string_like_regexp(
            r"Wait opens after night \(21:00 .*\) and KakaoTalk's hours \(20:00 .*\); Wait2 opens after night .*"
        ),
    )


def test_several_policies_are_deployed_with_a_queue_each_and_every_end_starts_the_scheduler() -> None:
    made = make_stack(furtherPolicies="france,united-states@America/New_York", waitQueues="3")
    deployed = Deployed(made)
    variables = deployed.function("Scheduler")["Environment"]["Variables"]
    assert variables["QUIET_HOURS_FURTHER_POLICIES"] == "france,united-states@America/New_York"
    starts = [
        (each["ScheduleExpression"], each["ScheduleExpressionTimezone"])
        for each in deployed.all("AWS::Scheduler::Schedule").values()
    ]
    assert sorted(starts) == [
        ("cron(0 0 * * ? *)", "Europe/Paris"),
        ("cron(0 8 * * ? *)", "America/New_York"),
        ("cron(0 8 * * ? *)", "Asia/Seoul"),
        ("cron(0 8 * * ? *)", "Europe/Paris"),
    ]
    Annotations.from_stack(made).has_info(
        "*",
        Match.string_like_regexp(
            r"korea at Asia/Seoul judges who names it or KR or its zone; france at Europe/Paris judges who names it or "
            r"FR or its zone; .*; what names no policy, country or timezone is judged by korea at Asia/Seoul"
        ),
    )


def test_several_policies_without_the_queues_that_they_need_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policies open at several times.*they need wait_queues to be 3 \(-c waitQ"):
        make_stack(furtherPolicies="france,united-states@America/New_York", waitQueues="2")


def test_six_zones_of_one_policy_fit_a_deployment_without_campaign_files() -> None:
    zones = ("America/Chicago", "America/Denver", "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu")
    policy = named_policy(
        "united-states", timezone="America/New_York", further_policies=f"united-states@{'+'.join(zones)}"
    )
    props = QuietHoursProps(policy=policy, wait_queues=6, campaigns=False)
    queues = QuietHours(Stack(App(), "Stack"), "QuietHours", props).queues
    assert len(queues.waits) == 6
    with pytest.raises(ValueError, match="wait_queues must be at most 5 here, not 6"):
        QuietHours(Stack(App(), "Other"), "QuietHours", QuietHoursProps(policy=policy, wait_queues=6))


def test_a_wrong_list_of_policies_is_refused_with_the_key_that_holds_it() -> None:
    with pytest.raises(ValueError, match=r"furtherPolicies japan: policy must be one of .*, not 'japan'"):
        make_stack(furtherPolicies="japan")


def test_one_policy_with_one_opening_rule_looks_as_before(stack: Deployed) -> None:
    waits = [name for name in stack.outputs if name.startswith("WaitQueueUrl")]
    assert waits == ["WaitQueueUrl"]
    assert len(stack.all("AWS::Scheduler::Schedule")) == 1


def test_a_policy_that_needs_more_queues_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"it needs wait_queues to be 2 \(-c waitQueues=2\), not 1: Wait opens after"):
        QuietHoursProps(policy=named_policy("korea", kakao_closed="20:00-09:00"))


def test_more_sources_than_a_dead_letter_queue_takes_are_refused() -> None:
    props = QuietHoursProps(wait_queues=6)
    sentence = rf"wait_queues must be at most 5 here, not 6: a dead-letter queue takes {SOURCES_MAX} named sources"
    with pytest.raises(ValueError, match=sentence):
        QuietHours(Stack(App(), "Stack"), "QuietHours", props)
    QuietHours(Stack(App(), "Other"), "QuietHours", QuietHoursProps(wait_queues=6, campaigns=False))


def test_an_environment_that_lambda_would_refuse_is_refused_before() -> None:
    props = QuietHoursProps(runbook_url="https://wiki.example.com/" + "x" * ENVIRONMENT_BYTES_MAX)
    with pytest.raises(ValueError, match=r"environment may take \d+ bytes, and Lambda allows 4096: shorten senderName"):
        QuietHours(Stack(App(), "Stack"), "QuietHours", props)


def test_a_queue_that_is_used_no_more_stays_until_it_is_taken_out() -> None:
    kept = make_stack(waitQueues="2")
    assert "WaitQueueUrl2" in Deployed(kept).outputs
    Annotations.from_stack(kept).has_info("*", Match.string_like_regexp(r".*Wait2 is used no more and is drained"))
