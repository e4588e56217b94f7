"""What tells people: the alert topic, the alarms that speak on it, the dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

_MINUTE = Duration.minutes(1)

DELIVERY_AGE_MAX_S = 300
"""What is judged "send now" and is still not sent after this long is worth waking someone for."""


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


def watch(
    stack: Stack, topic: sns.ITopic, queues: Mapping[str, sqs.Queue], functions: Mapping[str, lambda_.Function]
) -> None:
    """Alarms on `topic` and a dashboard. Both mappings go by the names that people see."""
    dead_letters = queues["DeadLetter"].metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max")
    delivery_age_s = queues["Delivery"].metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="max")
    alarms = [
        _alarm(stack, "DeadLetterNotEmpty", dead_letters, 1, "A notification could not be sent: see its `reason`."),
        _alarm(stack, "DeliveryLate", delivery_age_s, DELIVERY_AGE_MAX_S, "The day's lane does not keep up."),
    ]
    for name, function in functions.items():
        errors, throttles = function.metric_errors(period=_MINUTE), function.metric_throttles(period=_MINUTE)
        alarms += [
            _alarm(stack, f"{name}Errors", errors, 1, f"The {name.lower()} failed: see its log."),
            _alarm(stack, f"{name}Throttles", throttles, 1, "The account's Lambda concurrency is used up."),
        ]
    for alarm in alarms:
        alarm.add_alarm_action(actions.SnsAction(topic))

    depths = [
        queue.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="max", label=name)
        for name, queue in queues.items()
    ]
    cloudwatch.Dashboard(
        stack,
        "Dashboard",
        widgets=[
            [cloudwatch.GraphWidget(title="Messages in each queue", left=depths, width=24)],
            [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=alarms, width=24)],
        ],
    )


def _alarm(stack: Stack, name: str, metric: cloudwatch.IMetric, at_least: int, meaning: str) -> cloudwatch.Alarm:
    return cloudwatch.Alarm(
        stack,
        name,
        metric=metric,
        threshold=at_least,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        evaluation_periods=1,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        alarm_description=meaning,
    )
