"""Observability: the alert topic and its subscribers, the alarms that publish on it, and the dashboard.

docs/runbook.md explains each alarm under its name. Metric filters make our own metrics from the functions' log lines
(docs/decisions/0006-metrics-from-log-lines.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.permissions import PUBLISH
from lambdas.quiet_hours.rule.policy import Policy

_MINUTE = Duration.minutes(1)

DELIVERY_AGE_MAX_S = 300
"""A notification that was judged "send now" and is not sent after this long is worth waking someone for."""

RELEASE_LATE_S = 300
"""Five runs of the minute rule. A million held notifications, bundled, take one or two."""

HELD_TOO_LONG_S = 900
"""Counted from the end of the longest night, which has an hour more when clocks go back. Before that the age says
nothing: at 07:59 a notification held at 21:00 is eleven hours old, as it should be."""

NO_RUN_MIN = 5
UNAVAILABLE_MIN = 3
"""A shorter refusal only costs its own time: nobody needs to be woken for it."""


def alert_topic(scope: Construct, email: str) -> sns.Topic:
    """Make the topic that alarms publish on. `email`, unless empty, is subscribed and must confirm."""
    topic = sns.Topic(scope, "Alerts", enforce_ssl=True)
    # Enforcing TLS replaces the topic's default policy, which is what lets alarms publish.
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=PUBLISH,
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}},
        )
    )
    if email:
        topic.add_subscription(subscriptions.EmailSubscription(email))
    return topic


def send_alerts_to(alerter: lambda_.Function, topic: sns.Topic) -> None:
    """Subscribe the alerter to the topic."""
    topic.add_subscription(subscriptions.LambdaSubscription(alerter))


def dashboard_url(scope: Construct, prefix: str) -> str:
    """Return the dashboard's address, made from its name: a reference would be circular, as it shows the functions."""
    region, name = Stack.of(scope).region, _dashboard_name(scope, prefix)
    return f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#dashboards/dashboard/{name}"


def _dashboard_name(scope: Construct, prefix: str) -> str:
    """Return the name with the region: all regions of an account share the names of dashboards."""
    return f"{prefix}-{Stack.of(scope).region}"


def make_dashboard(
    scope: Construct, prefix: str, queues: Mapping[str, sqs.Queue], alarms: Sequence[cloudwatch.Alarm]
) -> None:
    """Make the dashboard: how deep each queue is, and the state of each alarm."""
    depths = [
        queue.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max", label=name)
        for name, queue in queues.items()
    ]
    cloudwatch.Dashboard(
        scope,
        "Dashboard",
        dashboard_name=_dashboard_name(scope, prefix),
        widgets=[
            [cloudwatch.GraphWidget(title="Messages in each queue", left=depths, width=24)],
            [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=24)],
        ],
    )


def make_alarms(
    scope: Construct,
    prefix: str,
    topic: sns.ITopic,
    queues: Mapping[str, sqs.Queue],
    functions: Mapping[str, lambda_.Function],
    policy: Policy,
) -> list[cloudwatch.Alarm]:
    """Make the alarms that publish on `topic`. Both mappings go by the names that people see."""
    rules = [*_queue_rules(queues, policy), *_function_rules(functions), *_log_rules(scope, prefix, functions)]
    return [_alarm(scope, prefix, topic, rule) for rule in rules]


@dataclass(frozen=True, slots=True)
class _Rule:
    """The condition of an alarm: the metric is at `threshold` or above it in `minutes` of the last `of` minutes.

    With `silent` it goes off when the metric is below the threshold, or has no value.
    """

    name: str
    metric: cloudwatch.IMetric
    threshold: float
    meaning: str
    minutes: int = 1
    of: int = 1
    silent: bool = False


def _queue_rules(queues: Mapping[str, sqs.Queue], policy: Policy) -> list[_Rule]:
    def age_s(queue: str) -> cloudwatch.Metric:
        return queues[queue].metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="max")

    dead_letters = queues["DeadLetter"].metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max")
    return [
        _Rule("DeadLetterNotEmpty", dead_letters, 1, "A notification could not be sent: see its reason."),
        _Rule("HeldTooLong", age_s("Wait"), _night_s(policy) + HELD_TOO_LONG_S, "It has waited longer than a night."),
        _Rule("DeliveryLate", age_s("Delivery"), DELIVERY_AGE_MAX_S, "The day's lane does not keep up."),
    ]


def _function_rules(functions: Mapping[str, lambda_.Function]) -> list[_Rule]:
    runs = functions["Scheduler"].metric_invocations(period=_MINUTE)
    rules = [_Rule("ReleaseSilent", runs, 1, "Nothing starts the scheduler any more.", minutes=NO_RUN_MIN, silent=True)]
    for name, function in functions.items():
        errors, throttles = function.metric_errors(period=_MINUTE), function.metric_throttles(period=_MINUTE)
        rules += [
            _Rule(f"{name}Errors", errors, 1, f"The {name.lower()} failed: see its log."),
            _Rule(f"{name}Throttles", throttles, 1, "The account's Lambda concurrency is used up."),
        ]
    return rules


def _log_rules(scope: Construct, prefix: str, functions: Mapping[str, lambda_.Function]) -> list[_Rule]:
    """Return the rules over what only the functions know, and make the metrics that read it from their log lines."""

    def logged(name: str, function: str, line: str, field: str) -> cloudwatch.Metric:
        """Make a metric of a field in a function's log lines, for the lines where it is above zero."""
        found = logs.MetricFilter(
            scope,
            f"{name}Metric",
            log_group=functions[function].log_group,
            filter_pattern=logs.FilterPattern.literal(f'{{ $.message = "{line}" && $.{field} > 0 }}'),
            metric_namespace=prefix,
            metric_name=name,
            metric_value=f"$.{field}",
        )
        return found.metric(period=_MINUTE, statistic="max")

    late_s = logged("ReleaseLate", "Scheduler", "release", "late_s")
    stopped = logged("StoppedByGuard", "Worker", "bundle", "held")
    dropped = logged("HeldNotRecorded", "Consumer", "judged", "held_not_recorded")
    dropped_means = "Held notifications could not be recorded: cancelling by source does not reach them."
    stopped_means = "What had been cleared came to the worker when quiet hours had begun, and was held again."
    reused = logged("IdReused", "Worker", "bundle", "id_reused")
    reused_means = "An id was used for two notifications: the later one is on dead-letter and was not sent."
    rules = [
        _Rule("IdReused", reused, 1, reused_means),
        _Rule("ReleaseLate", late_s, RELEASE_LATE_S, "Held notifications are still not released.", minutes=2, of=3),
        _Rule("StoppedByGuard", stopped, 1, stopped_means),
        _Rule("HeldNotRecorded", dropped, 1, dropped_means),
    ]
    for name, field, meaning in (
        ("ChannelUnavailable", "unavailable", "A provider refuses what it is sent, or cannot be reached."),
        ("SecretUnavailable", "secret_unavailable", "The worker cannot read the channels' credentials."),
        ("LedgerUnavailable", "ledger_unavailable", "The worker cannot use the ledger, and sends nothing."),
        ("ConsentUnavailable", "consent_unavailable", "The worker cannot read consents, and sends nothing."),
    ):
        metric = logged(name, "Worker", "bundle", field)
        rules.append(_Rule(name, metric, 1, meaning, minutes=UNAVAILABLE_MIN, of=UNAVAILABLE_MIN + 2))
    return rules


def _alarm(scope: Construct, prefix: str, topic: sns.ITopic, rule: _Rule) -> cloudwatch.Alarm:
    missing, operator = cloudwatch.TreatMissingData, cloudwatch.ComparisonOperator
    alarm = cloudwatch.Alarm(
        scope,
        rule.name,
        alarm_name=f"{prefix}-{rule.name}",  # alerts.py takes the alert's name from behind the last hyphen
        alarm_description=rule.meaning,
        metric=rule.metric,
        threshold=rule.threshold,
        comparison_operator=(
            operator.LESS_THAN_THRESHOLD if rule.silent else operator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        ),
        datapoints_to_alarm=rule.minutes,
        evaluation_periods=max(rule.of, rule.minutes),
        treat_missing_data=missing.BREACHING if rule.silent else missing.NOT_BREACHING,
    )
    alarm.add_alarm_action(actions.SnsAction(topic))
    alarm.add_ok_action(actions.SnsAction(topic))
    return alarm


def _night_s(policy: Policy) -> int:
    """Return how long quiet hours last at the most: an hour more than by the wall clock, when clocks go back."""
    start, end = (datetime.combine(date.min, each) for each in (policy.start, policy.end))
    return int(((end - start) % timedelta(days=1) + timedelta(hours=1)).total_seconds())
