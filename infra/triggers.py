"""The scheduler's triggers: the end of quiet hours, every minute, and the alert about a run that failed."""

from __future__ import annotations

from aws_cdk import Duration, Stack, TimeZone
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as schedules
from aws_cdk import aws_scheduler_targets as schedule_targets
from constructs import Construct

from infra.permissions import allow
from lambdas.quiet_hours.rule.terms import Policy

TRIGGER_AGE_MAX = Duration.seconds(60)
"""A late or repeated trigger is worth nothing: the next minute's trigger is the retry."""


def schedule_role(scope: Construct, name: str, function: lambda_.Function) -> iam.Role:
    """Make the role by which EventBridge Scheduler, for this account alone, invokes the function."""
    return iam.Role(
        scope,
        name,
        assumed_by=iam.ServicePrincipal(
            "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}}
        ),
        inline_policies={
            "Permissions": iam.PolicyDocument(statements=[allow(["lambda:InvokeFunction"], function.function_arn)])
        },
    )


def start_at_end_of_quiet_hours(scope: Construct, function: lambda_.Function, policy: Policy) -> None:
    """Start the function whenever a closure ends, on the closure's own clock, daylight saving included."""
    role = schedule_role(scope, "EndOfQuietHoursRole", function)
    ends = dict.fromkeys((each.end, each.zone.key) for closures in policy.closures_of_all for each in closures)
    for number, (end, zone) in enumerate(ends, 1):
        schedules.Schedule(
            scope,
            f"EndOfQuietHours{number if number > 1 else ''}",
            schedule=schedules.ScheduleExpression.cron(
                minute=str(end.minute), hour=str(end.hour), time_zone=TimeZone.of(zone)
            ),
            target=schedule_targets.LambdaInvoke(
                function,
                # The target would allow the role to invoke every version of the function too.
                role=role.without_policy_updates(),
                max_event_age=TRIGGER_AGE_MAX,
                retry_attempts=0,
            ),
        )


def start_every_minute(scope: Construct, function: lambda_.Function) -> None:
    """Start the function every minute. Only the account's default event bus takes rules with a schedule."""
    events.Rule(
        scope,
        "EveryMinute",
        schedule=events.Schedule.rate(Duration.minutes(1)),
        targets=[targets.LambdaFunction(function, retry_attempts=0, max_event_age=TRIGGER_AGE_MAX)],
    )


def report_failed_triggers(scope: Construct, function: lambda_.Function, topic_arn: str) -> None:
    """Publish on the topic, at once, when a run crashes or Lambda cannot start it in time. No run is tried again."""
    report_given_up(scope, f"{function.node.id}Triggers", function, topic_arn, TRIGGER_AGE_MAX, retries=0)


def report_given_up(
    scope: Construct, name: str, function: lambda_.Function, topic_arn: str, age_max: Duration, retries: int
) -> None:
    """Let Lambda try a failed run again so often, and publish on the topic when it gives up."""
    # L1: the L2 construct would attach a second policy to the function's role, which may publish already.
    lambda_.CfnEventInvokeConfig(
        scope,
        name,
        function_name=function.function_name,
        qualifier="$LATEST",
        maximum_event_age_in_seconds=age_max.to_seconds(),
        maximum_retry_attempts=retries,
        destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
            on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=topic_arn)
        ),
    )
