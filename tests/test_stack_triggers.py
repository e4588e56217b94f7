"""What starts the functions and what tells people, as CloudFormation would be told to make them."""

import json
from typing import Any

import pytest

from tests.stack_template import FUNCTIONS, QUEUES, Deployed

pytestmark = pytest.mark.xdist_group("stack")

DAY_S = 24 * 3600


# --- the scheduler's two triggers


def test_the_schedule_fires_at_the_end_of_quiet_hours_on_the_policys_clock(
    stack: Deployed, other_stack: Deployed
) -> None:
    schedule = stack.only("AWS::Scheduler::Schedule")
    assert schedule["ScheduleExpression"] == "cron(0 8 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "Asia/Seoul"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert stack.name(schedule["Target"]["Arn"]) == "Scheduler"

    schedule = other_stack.only("AWS::Scheduler::Schedule")
    assert schedule["ScheduleExpression"] == "cron(15 7 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "America/New_York"


def test_the_schedules_role_may_invoke_the_scheduler_and_is_for_this_account_alone(stack: Deployed) -> None:
    role = stack.only("AWS::Scheduler::Schedule")["Target"]["RoleArn"]
    assert stack.permissions(role) == {("lambda:InvokeFunction", "Scheduler")}
    (trust,) = stack.resource(role)["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_a_rule_starts_the_scheduler_every_minute(stack: Deployed) -> None:
    rule = _rule(stack, "ScheduleExpression")
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert rule["State"] == "ENABLED"
    (target,) = rule["Targets"]
    assert stack.name(target["Arn"]) == "Scheduler"


def test_a_late_trigger_is_dropped_and_never_retried(stack: Deployed) -> None:
    """The next minute's trigger is the retry; a queue of old ones would only start needless drainers."""
    never = {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert stack.only("AWS::Scheduler::Schedule")["Target"]["RetryPolicy"] == never
    assert _rule(stack, "ScheduleExpression")["Targets"][0]["RetryPolicy"] == never
    invoke = stack.only("AWS::Lambda::EventInvokeConfig")
    assert stack.name(invoke["FunctionName"]) == "Scheduler"
    assert (invoke["MaximumRetryAttempts"], invoke["MaximumEventAgeInSeconds"]) == (0, 60)


def test_only_the_minute_rule_is_permitted_to_invoke_by_resource_policy(stack: Deployed) -> None:
    permission = stack.only("AWS::Lambda::Permission")
    assert stack.name(permission["FunctionName"]) == "Scheduler"
    assert permission["Principal"] == "events.amazonaws.com"
    assert stack.resource(permission["SourceArn"])["Properties"] == _rule(stack, "ScheduleExpression")


# --- the ways in


@pytest.mark.parametrize("name", ["Producer", "Registrar"])
def test_a_function_url_asks_for_a_signature(stack: Deployed, name: str) -> None:
    url = stack.resource(stack.outputs[f"{name}Url"])["Properties"]
    assert url["AuthType"] == "AWS_IAM"
    assert stack.name(url["TargetFunctionArn"]) == name
    assert len(stack.all("AWS::Lambda::Url")) == 2


def test_requested_events_go_to_the_notification_queue_and_are_retried_for_a_day(stack: Deployed) -> None:
    rule = _rule(stack, "EventPattern")
    assert rule["EventPattern"] == {"detail-type": ["NotificationRequested"]}
    assert "EventBusName" not in rule
    (target,) = rule["Targets"]
    assert stack.name(target["Arn"]) == "Notification"
    assert stack.name(target["DeadLetterConfig"]["Arn"]) == "DeadLetter"
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == DAY_S


@pytest.mark.parametrize("name", QUEUES)
def test_queue_policies_let_in_that_rule_and_no_one_else(stack: Deployed, name: str) -> None:
    allowed = [statement for statement in stack.queue_policy(name) if statement["Effect"] == "Allow"]
    if name not in ("Notification", "DeadLetter"):
        assert allowed == []
        return
    (statement,) = allowed
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert stack.name(statement["Resource"]) == name
    assert list(statement["Condition"]) == ["ArnEquals"]
    rule = stack.resource(statement["Condition"]["ArnEquals"]["aws:SourceArn"])["Properties"]
    assert rule == _rule(stack, "EventPattern")


# --- alerts


def test_every_alarm_speaks_on_the_alert_topic(stack: Deployed) -> None:
    alarms = stack.all("AWS::CloudWatch::Alarm")
    assert alarms
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [stack.outputs["AlertTopicArn"]]


def test_one_dead_letter_is_an_alarm(stack: Deployed) -> None:
    alarm = _alarm(stack, "ApproximateNumberOfMessagesVisible", "DeadLetter")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")


def test_a_day_lane_that_falls_behind_is_an_alarm(stack: Deployed) -> None:
    alarm = _alarm(stack, "ApproximateAgeOfOldestMessage", "Delivery")
    assert (alarm["Threshold"], alarm["Statistic"]) == (300, "Maximum")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_a_function_that_fails_or_is_throttled_is_an_alarm(stack: Deployed, name: str, metric: str) -> None:
    alarm = _alarm(stack, metric, name)
    assert (alarm["Threshold"], alarm["Statistic"], alarm["TreatMissingData"]) == (1, "Sum", "notBreaching")


def test_the_topic_refuses_plain_http_and_takes_this_accounts_alarms(stack: Deployed) -> None:
    topic_policy = stack.only("AWS::SNS::TopicPolicy")
    assert topic_policy["Topics"] == [stack.outputs["AlertTopicArn"]]
    denied, allowed = sorted(topic_policy["PolicyDocument"]["Statement"], key=lambda s: s["Effect"] == "Allow")
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Action"] == "sns:Publish"
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_an_address_is_subscribed_only_when_one_is_given(stack: Deployed, other_stack: Deployed) -> None:
    assert stack.all("AWS::SNS::Subscription") == {}
    subscription = other_stack.only("AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")


def test_the_dashboard_shows_how_deep_every_queue_is(stack: Deployed) -> None:
    body = json.dumps(stack.only("AWS::CloudWatch::Dashboard")["DashboardBody"])
    for name in QUEUES:
        assert json.dumps({"Fn::GetAtt": [stack.outputs[f"{name}QueueUrl"]["Ref"], "QueueName"]}) in body


def _rule(stack: Deployed, kind: str) -> dict[str, Any]:
    (rule,) = (rule for rule in stack.all("AWS::Events::Rule").values() if kind in rule)
    return rule


def _alarm(stack: Deployed, metric: str, of: str) -> dict[str, Any]:
    (alarm,) = (
        alarm
        for alarm in stack.all("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == metric and stack.name(alarm["Dimensions"][0]["Value"]) == of
    )
    return alarm
