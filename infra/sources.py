"""Sources with a schedule of their own: what starts a function of the user's, and accepts what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from aws_cdk import Annotations, Duration, Stack, TimeZone
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as schedules
from aws_cdk import aws_scheduler_targets as schedule_targets
from constructs import Construct

from infra.function import pipeline_function
from infra.permissions import PUBLISH, SEND, allow
from infra.queues import Queues
from infra.triggers import report_given_up, schedule_role
from lambdas.quiet_hours.sources import Source
from lambdas.quiet_hours.timings import SOURCE_TIMEOUT_S

LATE_MAX = Duration.hours(1)
"""A run that could not be started for so long is given up."""

TRIES = 3
ANSWERS_WITHIN = Duration.seconds(SOURCE_TIMEOUT_S - 60)
LEFT_OUT_DAYS = 731

LEFT_OUT = (
    "{name} does not run on {day}: the clocks of {zone} leave out {time} on that day. Its next run is about the time "
    "since the last one."
)


def make_source(
    scope: Construct,
    source: Source,
    function: lambda_.IFunction,
    *,
    code: lambda_.Code,
    environment: Mapping[str, str],
    architecture: str,
    queues: Queues,
    alert_topic_arn: str,
) -> lambda_.Function:
    """Make the function that asks `function`, and a schedule for each of the source's times.

    Raises `ValueError` if the user's function may take longer than it is waited for.
    """
    timeout = function.timeout if isinstance(function, lambda_.Function) else None
    if timeout and timeout.to_seconds() > ANSWERS_WITHIN.to_seconds():
        limit = ANSWERS_WITHIN.to_seconds()
        raise ValueError(f"the function of the source {source.name} may take {limit} s, not {timeout.to_seconds()} s")
    described = {
        "name": source.name,
        "times": [f"{each:%H:%M}" for each in source.times],
        "timezone": source.zone.key,
        "function": function.function_arn,
    }
    asking = pipeline_function(
        scope,
        "Source",
        code=code,
        environment={**environment, "QUIET_HOURS_SOURCE": Stack.of(scope).to_json_string(described)},
        timeout_s=SOURCE_TIMEOUT_S,
        permissions=[
            allow(["lambda:InvokeFunction"], function.function_arn),
            allow(SEND, queues.notification.queue_arn, queues.dead_letter.queue_arn),
            allow(PUBLISH, alert_topic_arn),
        ],
        architecture=architecture,
    )
    _start_at_its_times(scope, source, asking)
    report_given_up(scope, "Tries", asking, alert_topic_arn, LATE_MAX, retries=TRIES - 1)
    _warn_of_days_without(scope, source)
    return asking


def _start_at_its_times(scope: Construct, source: Source, function: lambda_.Function) -> None:
    """Start the function at each local time. A late or repeated start brings the same `scheduled_at`."""
    role = schedule_role(scope, "ScheduleRole", function)
    for at in source.times:
        schedules.Schedule(
            scope,
            f"At{at:%H%M}",
            schedule=schedules.ScheduleExpression.cron(
                minute=str(at.minute), hour=str(at.hour), time_zone=TimeZone.of(source.zone.key)
            ),
            target=schedule_targets.LambdaInvoke(
                function,
                role=role.without_policy_updates(),
                input=schedules.ScheduleTargetInput.from_object(
                    {"scheduled_at": schedules.ContextAttribute.scheduled_time}
                ),
                max_event_age=LATE_MAX,
            ),
        )


def _warn_of_days_without(scope: Construct, source: Source) -> None:
    """Warn of the next day on which the clocks leave out one of the source's times."""
    today = datetime.now(UTC).date()
    for day in (today + timedelta(days=ahead) for ahead in range(LEFT_OUT_DAYS)):
        there = {at.time() for at in source.slots_on(day)}
        for at in set(source.times) - there:
            text = LEFT_OUT.format(name=source.name, day=day, zone=source.zone.key, time=f"{at:%H:%M}")
            Annotations.of(scope).add_warning_v2("quiet-hours:source", text)
            return
