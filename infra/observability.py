"""Observability: the alert topic and its subscribers, the alarms that publish on it, and the dashboard.

docs/runbook.md explains each alarm under its name. Metric filters make our own metrics from the functions' log lines
(docs/decisions/0006-metrics-from-log-lines.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
from infra.policies import longest_closed
from lambdas.quiet_hours.rule.terms import Policy

_MINUTE = Duration.minutes(1)
_FIVE_MINUTES = Duration.minutes(5)

DELIVERY_AGE_MAX_S = 300
"""A notification that was judged "send now" and is not sent after this long is worth waking someone for."""

RELEASE_LATE_S = 300
"""Five runs of the minute rule. A million held notifications, bundled, take one or two."""

HELD_TOO_LONG_S = 900
"""Counted from the end of the longest night, which has an hour more when clocks go back. Before that the age says
nothing: at 07:59 a notification held at 21:00 is eleven hours old, as it should be."""

URGENT_AGE_MAX_S = 60
"""SQS measures the age of the oldest message. So this alarm goes off even if no worker runs that could log a wait."""

CRITICAL_P95_S = 10
CRITICAL_P99_S = 60
"""Of the critical notifications 95 % are with the provider within 10 s of their acceptance, and 99 % within 60 s: what
GOV.UK Notify and GC Notify promise. A bundle counts once, with the longest wait in it."""

DEAD_LETTERS_MANY = 10
"""So many more dead letters within five minutes are a flood. A single one already shows in DeadLetterNotEmpty, which
stays on until somebody has cleared the queue; the alarms on the rise end when the flood does."""

REST_LONG_S = 60
"""A channel rests for 5 s first, then twice as long each time. So it has failed for over a minute before this."""

REST_WINDOW_MIN = 20
"""A resting channel is probed at least every 15 minutes, and each failed probe is a log line. An alarm that looks at
the last 20 minutes stays on from one probe to the next."""

NO_RUN_MIN = 5
UNAVAILABLE_MIN = 3
"""A shorter refusal only costs its own time: nobody needs to be woken for it."""


_LINES = {"Scheduler": "release", "Consumer": "judged", "Worker": "bundle"}
"""The message of the log line in which a function counts."""


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
    """The condition of an alarm: the metric is at `threshold` or above it in `times` of its last `of` periods.

    A period is a minute unless the metric says otherwise. With `silent` the alarm goes off when the metric is below the
    threshold, or has no value. With `above` the threshold itself is still right. `queue` tells apart the alarms of one
    name.
    """

    name: str
    metric: cloudwatch.IMetric
    threshold: float
    meaning: str
    times: int = 1
    of: int = 1
    silent: bool = False
    above: bool = False
    queue: str = ""


def _queue_rules(queues: Mapping[str, sqs.Queue], policy: Policy) -> list[_Rule]:
    def age_s(queue: str) -> cloudwatch.Metric:
        return queues[queue].metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="max")

    dead_letters = queues["DeadLetter"].metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max")
    # It does not count what SQS moves by itself after too many receives: that shows in the function's errors before.
    rise = queues["DeadLetter"].metric_number_of_messages_sent(period=_FIVE_MINUTES, statistic="sum")
    return [
        _Rule("DeadLetterNotEmpty", dead_letters, 1, "A notification could not be sent: see its reason."),
        _Rule("DeadLettersRising", rise, DEAD_LETTERS_MANY, "Many dead letters have come within five minutes."),
        _Rule("HeldTooLong", age_s("Wait"), _night_s(policy) + HELD_TOO_LONG_S, "It has waited longer than a night."),
        *(
            _Rule("HeldTooLong", age_s(name), _night_s(policy) + HELD_TOO_LONG_S, "It has waited too long.", queue=name)
            for name in queues
            if re.fullmatch("Wait[0-9]+", name)
        ),
        _Rule("UrgentLate", age_s("Urgent"), URGENT_AGE_MAX_S, "A critical notification waits for a worker."),
        _Rule("DeliveryLate", age_s("Delivery"), DELIVERY_AGE_MAX_S, "The day's lane does not keep up."),
    ]


def _function_rules(functions: Mapping[str, lambda_.Function]) -> list[_Rule]:
    runs = functions["Scheduler"].metric_invocations(period=_MINUTE)
    rules = [_Rule("ReleaseSilent", runs, 1, "Nothing starts the scheduler any more.", times=NO_RUN_MIN, silent=True)]
    for name, function in functions.items():
        errors, throttles = function.metric_errors(period=_MINUTE), function.metric_throttles(period=_MINUTE)
        rules += [
            _Rule(f"{name}Errors", errors, 1, f"The {name.lower()} failed: see its log."),
            _Rule(f"{name}Throttles", throttles, 1, "The account's Lambda concurrency is used up."),
        ]
    return rules


def _log_rules(scope: Construct, prefix: str, functions: Mapping[str, lambda_.Function]) -> list[_Rule]:
    """Return the rules over what only the functions know, and make the metrics that read it from their log lines."""
    read = _Log(scope, prefix, functions)
    return [
        _Rule(
            "ReleaseLate",
            read.most("ReleaseLate", "Scheduler", "late_s"),
            RELEASE_LATE_S,
            "Held notifications are still not released.",
            times=2,
            of=3,
        ),
        _Rule(
            "StoppedByGuard",
            read.most("StoppedByGuard", "Worker", "held"),
            1,
            "What had been cleared came to the worker when quiet hours had begun, and was held again.",
        ),
        _Rule(
            "HeldNotRecorded",
            read.most("HeldNotRecorded", "Consumer", "held_not_recorded"),
            1,
            "Held notifications could not be recorded: cancelling by source does not reach them.",
        ),
        *_dead_letter_rules(read),
        *_wait_rules(read),
        *_channel_rules(read),
    ]


def _dead_letter_rules(read: _Log) -> list[_Rule]:
    """Return an alarm for each reason of dead letters. Each ends when no more of them come."""
    return [
        _Rule(
            "DeadLettered",
            read.sum("DeadLettered", "dead_lettered", "Worker"),
            DEAD_LETTERS_MANY,
            "Providers reject many notifications, or these have been tried too often.",
        ),
        _Rule(
            "InvalidArrived",
            read.sum("InvalidArrived", "refused", "Consumer", "Worker"),
            DEAD_LETTERS_MANY,
            "A sender puts on a queue what is no valid notification.",
        ),
        _Rule(
            "UnknownOutcomes",
            read.sum("UnknownOutcomes", "unknown", "Worker"),
            1,
            "Nobody knows if the provider has these notifications, and it cannot be asked twice.",
        ),
        _Rule(
            "IdReused",
            read.most("IdReused", "Worker", "id_reused"),
            1,
            "An id was used for two notifications: the later one is on dead-letter and was not sent.",
        ),
    ]


def _wait_rules(read: _Log) -> list[_Rule]:
    """Return the alarms on the time from a critical notification's acceptance to its call."""
    wait = read.field("CriticalWaitMetric", "CriticalWait", "Worker", "urgent_wait_s", '$.lane = "urgent"', ">= 0")
    p95, p99 = (wait.metric(period=_FIVE_MINUTES, statistic=each) for each in ("p95", "p99"))
    return [
        _Rule("CriticalP95", p95, CRITICAL_P95_S, "Critical notifications are slow.", times=2, of=3, above=True),
        _Rule("CriticalP99", p99, CRITICAL_P99_S, "A critical notification took over a minute.", above=True),
    ]


def _channel_rules(read: _Log) -> list[_Rule]:
    """Return the alarms on channels that deliver nothing, and on what the worker needs to deliver."""
    lasting = [
        _Rule(
            "ChannelResting",
            read.most("ChannelResting", "Worker", "rest_s"),
            REST_LONG_S,
            "A channel delivers nothing and rests.",
            of=REST_WINDOW_MIN,
        ),
        _Rule(
            "ChannelMisconfigured",
            read.most("ChannelMisconfigured", "Worker", "misconfigured"),
            1,
            "A channel's settings, credentials or account are refused: it rests until somebody mends them.",
            times=2,
            of=REST_WINDOW_MIN,
        ),
    ]
    return lasting + [
        _Rule(name, read.most(name, "Worker", field), 1, meaning, times=UNAVAILABLE_MIN, of=UNAVAILABLE_MIN + 2)
        for name, field, meaning in (
            ("ChannelUnavailable", "unavailable", "A provider refuses what it is sent, or cannot be reached."),
            ("SecretUnavailable", "secret_unavailable", "The worker cannot read the channels' credentials."),
            ("LedgerUnavailable", "ledger_unavailable", "The worker cannot use the ledger, and sends nothing."),
            ("ConsentUnavailable", "consent_unavailable", "The worker cannot read consents, and sends nothing."),
        )
    ]


@dataclass(frozen=True, slots=True)
class _Log:
    """Makes metrics of the fields in the functions' log lines. Each custom metric costs money: there are few."""

    scope: Construct
    prefix: str
    functions: Mapping[str, lambda_.Function]

    def field(
        self, id_: str, name: str, function: str, field: str, only: str = "", counts: str = "> 0"
    ) -> logs.MetricFilter:
        """Make a metric of a field, of the lines whose value of it `counts`. `only` is a further condition on them."""
        conditions = [f'$.message = "{_LINES[function]}"', *([only] if only else []), f"$.{field} {counts}"]
        return logs.MetricFilter(
            self.scope,
            id_,
            log_group=self.functions[function].log_group,
            filter_pattern=logs.FilterPattern.literal("{ " + " && ".join(conditions) + " }"),
            metric_namespace=self.prefix,
            metric_name=name,
            metric_value=f"$.{field}",
        )

    def most(self, name: str, function: str, field: str) -> cloudwatch.Metric:
        """Make a metric of the highest value in each minute."""
        return self.field(f"{name}Metric", name, function, field).metric(period=_MINUTE, statistic="max")

    def sum(self, name: str, field: str, *functions: str) -> cloudwatch.Metric:
        """Make one metric of the sum over several functions in each five minutes."""
        filters = [self.field(f"{name}By{function}", name, function, field) for function in functions]
        return filters[0].metric(period=_FIVE_MINUTES, statistic="sum")


def _alarm(scope: Construct, prefix: str, topic: sns.ITopic, rule: _Rule) -> cloudwatch.Alarm:
    missing, operator = cloudwatch.TreatMissingData, cloudwatch.ComparisonOperator
    breaching = (
        operator.LESS_THAN_THRESHOLD
        if rule.silent
        else operator.GREATER_THAN_THRESHOLD
        if rule.above
        else operator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
    )
    alarm = cloudwatch.Alarm(
        scope,
        f"{rule.name}{rule.queue}",
        alarm_name="-".join(
            filter(None, (prefix, rule.queue, rule.name))
        ),  # alerts.py takes the alert's name from behind the last hyphen
        alarm_description=rule.meaning,
        metric=rule.metric,
        threshold=rule.threshold,
        comparison_operator=breaching,
        datapoints_to_alarm=rule.times,
        evaluation_periods=max(rule.of, rule.times),
        treat_missing_data=missing.BREACHING if rule.silent else missing.NOT_BREACHING,
    )
    alarm.add_alarm_action(actions.SnsAction(topic))
    alarm.add_ok_action(actions.SnsAction(topic))
    return alarm


def _night_s(policy: Policy) -> int:
    """Return how long something is held at the most, and an hour: clocks go back in other years on other days."""
    longest = max(longest_closed(each, datetime.now(UTC)) for each in policy.policies)
    return int((longest + timedelta(hours=1)).total_seconds())
