"""What tells people: the alert topic and who listens to it, the alarms that speak on it, the dashboard.

Each alarm is explained in docs/runbook.md under its name. Metrics of our own are made from the functions' log lines by
metric filters (docs/decisions/0006-metrics-from-log-lines.md).
"""

from __future__ import annotations

from collections.abc import Mapping
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

from lambdas.quiet_hours.rule.policy import Policy

_MINUTE = Duration.minutes(1)

DELIVERY_AGE_MAX_S = 300
"""What is judged "send now" and is still not sent after this long is worth waking someone for."""

RELEASE_LATE_S = 300
"""Five runs of the minute rule. A million held notifications, bundled, take one or two."""

HELD_TOO_LONG_S = 900
"""Beyond the longest night, with the hour that some have more. The age says nothing before: at 07:59 what was held
at 21:00 is eleven hours old, and rightly so."""

NO_RUN_MIN = 5
UNAVAILABLE_MIN = 3
"""A provider that refuses for half a minute costs half a minute, and nobody's sleep."""


def alert_topic(stack: Stack, email: str) -> sns.Topic:
    """The topic that alarms are published on; `email`, unless empty, is subscribed and must confirm."""
    topic = sns.Topic(stack, "Alerts", enforce_ssl=True)
    # Enforcing TLS replaces the topic's default policy, which is what lets alarms publish.
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
        )
    )
    if email:
        topic.add_subscription(subscriptions.EmailSubscription(email))
    return topic


def tell(topic: sns.Topic, alerter: lambda_.Function) -> None:
    """Let the alerter hear what is published on the topic."""
    topic.add_subscription(subscriptions.LambdaSubscription(alerter))


def dashboard_url(stack: Stack) -> str:
    """Where the dashboard is. By its name: a reference would close a circle, because it shows the functions."""
    console = f"https://{stack.region}.console.aws.amazon.com/cloudwatch/home?region={stack.region}"
    return f"{console}#dashboards/dashboard/{stack.stack_name}"


def watch(
    stack: Stack,
    topic: sns.ITopic,
    queues: Mapping[str, sqs.Queue],
    functions: Mapping[str, lambda_.Function],
    policy: Policy,
) -> None:
    """Alarms on `topic` and a dashboard. Both mappings go by the names that people see."""

    def alarm(
        name: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        meaning: str,
        *,
        minutes: int = 1,
        of: int = 1,
        silent: bool = False,
    ) -> cloudwatch.Alarm:
        """Goes off when the metric is at `threshold` or above it in `minutes` of the last `of` minutes; with `silent`,
        when it is below, or says nothing."""
        missing, operator = cloudwatch.TreatMissingData, cloudwatch.ComparisonOperator
        made = cloudwatch.Alarm(
            stack,
            name,
            alarm_name=f"{stack.stack_name}-{name}",
            alarm_description=meaning,
            metric=metric,
            threshold=threshold,
            comparison_operator=operator.LESS_THAN_THRESHOLD if silent else operator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            datapoints_to_alarm=minutes,
            evaluation_periods=max(of, minutes),
            treat_missing_data=missing.BREACHING if silent else missing.NOT_BREACHING,
        )
        made.add_alarm_action(actions.SnsAction(topic))
        made.add_ok_action(actions.SnsAction(topic))
        return made

    def age_s(queue: str) -> cloudwatch.Metric:
        return queues[queue].metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="max")

    def logged(name: str, function: str, line: str, field: str) -> cloudwatch.Metric:
        """What a function's log lines say in a field, where they say something above zero."""
        found = logs.MetricFilter(
            stack,
            f"{name}Metric",
            log_group=functions[function].log_group,
            filter_pattern=logs.FilterPattern.literal(f'{{ $.message = "{line}" && $.{field} > 0 }}'),
            metric_namespace=stack.stack_name,
            metric_name=name,
            metric_value=f"$.{field}",
        )
        return found.metric(period=_MINUTE, statistic="max")

    dead_letters = queues["DeadLetter"].metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max")
    runs = functions["Scheduler"].metric_invocations(period=_MINUTE)
    late_s = logged("ReleaseLate", "Scheduler", "release", "late_s")
    alarms = [
        alarm("DeadLetterNotEmpty", dead_letters, 1, "A notification could not be sent: see its reason."),
        alarm("ReleaseLate", late_s, RELEASE_LATE_S, "Held notifications are still not released.", minutes=2, of=3),
        alarm("ReleaseSilent", runs, 1, "Nothing starts the scheduler any more.", minutes=NO_RUN_MIN, silent=True),
        alarm("HeldTooLong", age_s("Wait"), _night_s(policy) + HELD_TOO_LONG_S, "Something was held for over a night."),
        alarm("DeliveryLate", age_s("Delivery"), DELIVERY_AGE_MAX_S, "The day's lane does not keep up."),
        alarm(
            "StoppedByGuard",
            logged("StoppedByGuard", "Worker", "bundle", "held"),
            1,
            "What had been cleared came to the worker when quiet hours had begun, and was held again.",
        ),
    ]
    for name, field, meaning in (
        ("ChannelUnavailable", "unavailable", "A provider refuses what it is sent, or cannot be reached."),
        ("SecretUnavailable", "secret_unavailable", "The worker cannot read the channels' credentials."),
        ("LedgerUnavailable", "ledger_unavailable", "The worker cannot use the ledger, and sends nothing."),
        ("ConsentUnavailable", "consent_unavailable", "The worker cannot read consents, and sends nothing."),
    ):
        metric = logged(name, "Worker", "bundle", field)
        alarms.append(alarm(name, metric, 1, meaning, minutes=UNAVAILABLE_MIN, of=UNAVAILABLE_MIN + 2))
    for name, function in functions.items():
        errors, throttles = function.metric_errors(period=_MINUTE), function.metric_throttles(period=_MINUTE)
        alarms += [
            alarm(f"{name}Errors", errors, 1, f"The {name.lower()} failed: see its log."),
            alarm(f"{name}Throttles", throttles, 1, "The account's Lambda concurrency is used up."),
        ]

    depths = [
        queue.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max", label=name)
        for name, queue in queues.items()
    ]
    cloudwatch.Dashboard(
        stack,
        "Dashboard",
        dashboard_name=stack.stack_name,
        widgets=[
            [cloudwatch.GraphWidget(title="Messages in each queue", left=depths, width=24)],
            [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms, width=24)],
        ],
    )


def _night_s(policy: Policy) -> int:
    """How long quiet hours last at the most: where the clocks go back in them, an hour more."""
    start, end = (datetime.combine(date.min, each) for each in (policy.start, policy.end))
    return int(((end - start) % timedelta(days=1) + timedelta(hours=1)).total_seconds())
