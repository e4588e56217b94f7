"""Triggers, alarms and alerts, as the template describes them to CloudFormation."""

import json
import re
from typing import Any

import pytest

from lambdas.quiet_hours import alerts
from tests.helpers.stack_template import FUNCTIONS, QUEUES, ROOT, Deployed, make_stack

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


def test_a_trigger_that_came_to_nothing_is_told_at_once(stack: Deployed) -> None:
    """A crash, a time-out, a run that could not be started: Lambda itself publishes it, with the scheduler's role."""
    invoke = stack.only("AWS::Lambda::EventInvokeConfig")
    assert stack.name(invoke["DestinationConfig"]["OnFailure"]["Destination"]) == "Alerts"
    assert ("sns:Publish", "Alerts") in stack.permissions(stack.function("Scheduler")["Role"])


def test_only_the_minute_rule_and_the_alert_topic_are_permitted_to_invoke_by_resource_policy(stack: Deployed) -> None:
    permissions = {stack.name(each["FunctionName"]): each for each in stack.all("AWS::Lambda::Permission").values()}
    assert set(permissions) == {"Scheduler", "Alerter"}
    assert permissions["Scheduler"]["Principal"] == "events.amazonaws.com"
    rule = stack.resource(permissions["Scheduler"]["SourceArn"])["Properties"]
    assert rule == _rule(stack, "ScheduleExpression")
    assert permissions["Alerter"]["Principal"] == "sns.amazonaws.com"
    assert permissions["Alerter"]["SourceArn"] == stack.outputs["AlertTopicArn"]


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
    assert rule["EventBusName"] == stack.outputs["EventBusName"]
    assert stack.resource(rule["EventBusName"])["Type"] == "AWS::Events::EventBus"
    (target,) = rule["Targets"]
    assert stack.name(target["Arn"]) == "Notification"
    assert stack.name(target["DeadLetterConfig"]["Arn"]) == "DeadLetter"
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == DAY_S


def test_what_is_published_on_the_topic_goes_to_the_notification_queue_in_sns_envelope(stack: Deployed) -> None:
    subscriptions = stack.all("AWS::SNS::Subscription").values()
    (found,) = (each for each in subscriptions if each["TopicArn"] == stack.outputs["NotificationTopicArn"])
    assert (found["Protocol"], stack.name(found["Endpoint"])) == ("sqs", "Notification")
    assert found["RawMessageDelivery"] is False
    assert stack.name(found["RedrivePolicy"]["deadLetterTargetArn"]) == "DeadLetter"
    assert "FilterPolicy" not in found


def test_both_topics_refuse_plain_http(stack: Deployed) -> None:
    refusing = [
        statement["Resource"]
        for policy in stack.all("AWS::SNS::TopicPolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    ]
    assert sorted(map(stack.name, refusing)) == ["Alerts", "Notifications"]


LET_IN = {"Notification": {"events", "sns"}, "DeadLetter": {"events", "sns"}, "Campaign": {"s3"}}


@pytest.mark.parametrize("name", QUEUES)
def test_queue_policies_let_in_what_the_stack_has_connected_and_no_one_else(stack: Deployed, name: str) -> None:
    allowed = [statement for statement in stack.queue_policy(name) if statement["Effect"] == "Allow"]
    sources = {statement["Principal"]["Service"].removesuffix(".amazonaws.com"): statement for statement in allowed}
    assert len(sources) == len(allowed)
    assert set(sources) == LET_IN.get(name, set())
    for statement in allowed:
        assert statement["Action"] == "sqs:SendMessage"
        assert stack.name(statement["Resource"]) == name
        assert "ArnEquals" in statement["Condition"]
    if "events" in sources:
        rule = stack.resource(sources["events"]["Condition"]["ArnEquals"]["aws:SourceArn"])["Properties"]
        assert rule == _rule(stack, "EventPattern")
    if "sns" in sources:
        assert stack.name(sources["sns"]["Condition"]["ArnEquals"]["aws:SourceArn"]) == "Notifications"


# --- alerts


def test_every_alarm_speaks_on_the_alert_topic(stack: Deployed) -> None:
    alarms = stack.all("AWS::CloudWatch::Alarm")
    assert alarms
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [stack.outputs["AlertTopicArn"]]
        assert alarm["AlarmDescription"]


def test_every_alarm_and_every_alert_has_a_paragraph_in_the_runbook_and_no_other_has(stack: Deployed) -> None:
    names = {alarm["AlarmName"].removeprefix("QuietHours-") for alarm in stack.all("AWS::CloudWatch::Alarm").values()}
    run_command = re.findall(r'<a id="(\w+)">', (ROOT / "docs" / "runbook.md").read_text())
    assert sorted(run_command) == sorted(names | set(alerts.OWN))


def test_one_dead_letter_is_an_alarm(stack: Deployed) -> None:
    alarm = _alarm(stack, "ApproximateNumberOfMessagesVisible", "DeadLetter")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")


def test_a_flood_of_dead_letters_is_an_alarm_although_the_queue_is_not_empty_anyway(stack: Deployed) -> None:
    """It is about what comes within five minutes, so it ends by itself."""
    alarm = _named(stack, "DeadLettersRising")
    assert _alarm(stack, "NumberOfMessagesSent", "DeadLetter") == alarm
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (10, "GreaterThanOrEqualToThreshold")
    assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Sum", 300, 1)
    assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize(("lane", "age_s"), [("Delivery", 300), ("Urgent", 60)])
def test_a_lane_that_falls_behind_is_an_alarm(stack: Deployed, lane: str, age_s: int) -> None:
    alarm = _alarm(stack, "ApproximateAgeOfOldestMessage", lane)
    assert (alarm["Threshold"], alarm["Statistic"]) == (age_s, "Maximum")


def test_held_messages_are_too_old_only_when_a_whole_night_has_passed(stack: Deployed, other_stack: Deployed) -> None:
    """An hour more than the longest night of the coming year; in New York one of them has an hour more by itself."""
    assert _alarm(stack, "ApproximateAgeOfOldestMessage", "Wait")["Threshold"] == (11 + 1) * 3600 + 600 + 900
    assert _alarm(other_stack, "ApproximateAgeOfOldestMessage", "Wait")["Threshold"] == (8.75 + 1 + 1) * 3600 + 900


def test_a_scheduler_that_nothing_starts_is_an_alarm_after_five_silent_minutes(stack: Deployed) -> None:
    alarm = _alarm(stack, "Invocations", "Scheduler")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")
    assert (alarm["Statistic"], alarm["Period"]) == ("Sum", 60)
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"], alarm["TreatMissingData"]) == (5, 5, "breaching")


LOGGED: dict[str, tuple[str, str, str, tuple[int, int, int]]] = {
    "ReleaseLate": ("Scheduler", "release", "late_s", (300, 2, 3)),
    "IdReused": ("Worker", "bundle", "id_reused", (1, 1, 1)),
    "StoppedByGuard": ("Worker", "bundle", "held", (1, 1, 1)),
    "ChannelUnavailable": ("Worker", "bundle", "unavailable", (1, 3, 5)),
    "SecretUnavailable": ("Worker", "bundle", "secret_unavailable", (1, 3, 5)),
    "LedgerUnavailable": ("Worker", "bundle", "ledger_unavailable", (1, 3, 5)),
    "ConsentUnavailable": ("Worker", "bundle", "consent_unavailable", (1, 3, 5)),
    "HeldNotRecorded": ("Consumer", "judged", "held_not_recorded", (1, 1, 1)),
    "ChannelResting": ("Worker", "bundle", "rest_s", (60, 1, 20)),
    "ChannelMisconfigured": ("Worker", "bundle", "misconfigured", (1, 2, 20)),
}
"""The metrics that are read from log lines, minute by minute: the function, the line's message, the field, and
(threshold, minutes, of)."""

COUNTED = {
    "DeadLettered": ({"Worker": "bundle"}, "dead_lettered", 10),
    "InvalidArrived": ({"Worker": "bundle", "Consumer": "judged"}, "refused", 10),
    "UnknownOutcomes": ({"Worker": "bundle"}, "unknown", 1),
}
"""The dead letters by their reason: the functions and their lines, the field, and how many in five minutes are too
many."""

WAITS = {"CriticalP95": ("p95", 10, 2, 3), "CriticalP99": ("p99", 60, 1, 1)}
"""The alarms on one metric, the wait of critical notifications: the statistic of five minutes, the bound in seconds,
and how often it is met, of how many times."""


@pytest.mark.parametrize("name", LOGGED)
def test_what_only_the_functions_know_is_a_metric_made_from_their_log_lines(stack: Deployed, name: str) -> None:
    function, line, field, (threshold, minutes, of) = LOGGED[name]
    filters = stack.all("AWS::Logs::MetricFilter").values()
    assert len(filters) == len(LOGGED) + sum(len(lines) for lines, _, _ in COUNTED.values()) + 1
    (found,) = (f for f in filters if f["MetricTransformations"][0]["MetricName"] == name)
    assert stack.name(found["LogGroupName"]) == f"{function} log"
    assert found["FilterPattern"] == f'{{ $.message = "{line}" && $.{field} > 0 }}'
    (transformation,) = found["MetricTransformations"]
    assert (transformation["MetricNamespace"], transformation["MetricValue"]) == ("QuietHours", f"$.{field}")
    assert "Dimensions" not in transformation  # a dimension would be a value from the line: nobody's data is one

    alarm = _named(stack, name)
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("QuietHours", name, "Maximum")
    assert alarm["Period"] == 60
    assert (alarm["Threshold"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (threshold, minutes, of)
    assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("name", COUNTED)
def test_dead_letters_are_counted_by_reason_and_the_alarm_ends_by_itself(stack: Deployed, name: str) -> None:
    lines, field, many = COUNTED[name]
    filters = [f for f in stack.all("AWS::Logs::MetricFilter").values() if _metric(f)["MetricName"] == name]
    assert {stack.name(f["LogGroupName"]): f["FilterPattern"] for f in filters} == {
        f"{function} log": f'{{ $.message = "{line}" && $.{field} > 0 }}' for function, line in lines.items()
    }
    assert {(_metric(f)["MetricNamespace"], _metric(f)["MetricValue"]) for f in filters} == {
        ("QuietHours", f"$.{field}")
    }
    alarm = _named(stack, name)
    assert (alarm["Namespace"], alarm["MetricName"]) == ("QuietHours", name)
    assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Sum", 300, 1)
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (many, "notBreaching")


@pytest.mark.parametrize("name", WAITS)
def test_a_critical_notification_that_waits_is_an_alarm(stack: Deployed, name: str) -> None:
    """95 % within 10 s and 99 % within 60 s, from acceptance to the call. A wait of nothing counts too."""
    statistic, bound_s, times, of = WAITS[name]
    (found,) = (f for f in stack.all("AWS::Logs::MetricFilter").values() if _metric(f)["MetricName"] == "CriticalWait")
    assert stack.name(found["LogGroupName"]) == "Worker log"
    assert found["FilterPattern"] == '{ $.message = "bundle" && $.lane = "urgent" && $.urgent_wait_s >= 0 }'
    assert _metric(found)["MetricValue"] == "$.urgent_wait_s"
    alarm = _named(stack, name)
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Period"]) == ("QuietHours", "CriticalWait", 300)
    assert alarm["ExtendedStatistic"] == statistic
    assert (alarm["Threshold"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (bound_s, times, of)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"


def test_each_custom_metric_is_paid_for_so_there_are_few(stack: Deployed) -> None:
    names = {_metric(each)["MetricName"] for each in stack.all("AWS::Logs::MetricFilter").values()}
    assert names == {*LOGGED, *COUNTED, "CriticalWait"}


def _metric(found: dict[str, Any]) -> dict[str, Any]:
    (transformation,) = found["MetricTransformations"]
    return dict(transformation)


def _named(stack: Deployed, name: str) -> dict[str, Any]:
    (alarm,) = (a for a in stack.all("AWS::CloudWatch::Alarm").values() if a["AlarmName"] == f"QuietHours-{name}")
    return alarm


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_a_function_that_fails_or_is_throttled_is_an_alarm(stack: Deployed, name: str, metric: str) -> None:
    alarm = _alarm(stack, metric, name)
    assert (alarm["Threshold"], alarm["Statistic"], alarm["TreatMissingData"]) == (1, "Sum", "notBreaching")


def test_the_topic_refuses_plain_http_and_takes_this_accounts_alarms(stack: Deployed) -> None:
    policies = stack.all("AWS::SNS::TopicPolicy").values()
    (topic_policy,) = (each for each in policies if each["Topics"] == [stack.outputs["AlertTopicArn"]])
    denied, allowed = sorted(topic_policy["PolicyDocument"]["Statement"], key=lambda s: s["Effect"] == "Allow")
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Action"] == "sns:Publish"
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_an_address_is_subscribed_only_when_one_is_given(stack: Deployed, other_stack: Deployed) -> None:
    """R23: the alert topic has a Lambda subscriber, and one by e-mail."""

    def told(deployed: Deployed) -> list[dict[str, Any]]:
        subscriptions = deployed.all("AWS::SNS::Subscription").values()
        return [each for each in subscriptions if each["TopicArn"] == deployed.outputs["AlertTopicArn"]]

    (slack,) = told(stack)
    assert (slack["Protocol"], stack.name(slack["Endpoint"])) == ("lambda", "Alerter")
    (email,) = (each for each in told(other_stack) if each["Protocol"] == "email")
    assert email["Endpoint"] == "ops@example.com"


def test_the_dashboard_is_named_after_stack_and_region() -> None:
    """All regions of an account share the names of dashboards: a second stack would overwrite the first one's."""
    stack = Deployed(make_stack(env="123456789012/ap-northeast-2"))
    assert stack.only("AWS::CloudWatch::Dashboard")["DashboardName"] == "QuietHours-ap-northeast-2"
    url = stack.function("Alerter")["Environment"]["Variables"]["QUIET_HOURS_DASHBOARD_URL"]
    assert url.endswith("#dashboards/dashboard/QuietHours-ap-northeast-2")


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
        if alarm.get("MetricName") == metric
        and "Dimensions" in alarm
        and stack.name(alarm["Dimensions"][0]["Value"]) == of
    )
    return alarm
