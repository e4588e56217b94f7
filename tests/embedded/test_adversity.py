"""Processes die at the worst moment, on the embedded AWS; the result is counted at the provider."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from lambdas.quiet_hours.timings import LEASE_S
from local import ROOT
from local.aws import child_environment
from tests.helpers.notifications import advertising, order
from tests.helpers.pipeline import Pipeline

SIDE_BY_SIDE = 25
"""The number of calls that the webhook channel makes at once."""

DIE_BEFORE_DELETE = """
import json, os, sys, time
from datetime import UTC, datetime
import boto3
from lambdas import scheduler
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads

scheduler.delete = lambda *args: os._exit(9)
settings = Settings(**json.loads(sys.argv[1]))
scheduler.release(
    boto3.client("sqs"), settings, settings.quiet_hours(),
    now=lambda: datetime.now(UTC), remaining_s=lambda: 300, sleep=time.sleep, side_by_side=in_threads,
)
"""
"""The real scheduler, killed after its first send and before the delete that belongs to it."""


def test_a_worker_that_is_killed_in_the_middle_of_a_bundle_loses_nothing(pipeline: Pipeline) -> None:
    """The bundle comes again, in parts. Only calls that were open when the worker died can reach the provider twice.

    The lane's visibility timeout is shortened, so that the bundle comes again sooner than after six minutes. Its claims
    are still live then: the workers give the parts back until the leases have lapsed.
    """
    ids = [pipeline.new_id() for _ in range(60)]
    delivery = {"QueueUrl": pipeline.outputs["DeliveryQueueUrl"]}
    visibility = pipeline.sqs.get_queue_attributes(**delivery, AttributeNames=["VisibilityTimeout"])["Attributes"]
    pipeline.provider.answer({"delay_s": 4})  # three waves of calls: 12 s in which to kill the worker
    pipeline.sqs.set_queue_attributes(**delivery, Attributes={"VisibilityTimeout": "10"})
    try:
        pipeline.produce(*map(order, ids))
        pipeline.wait_until(lambda: pipeline.received(*ids))
        assert pipeline.kill("Worker") >= 1
        before = set(pipeline.accepted(*ids))
        assert len(before) < len(ids), "the worker was not killed in the middle"
        pipeline.provider.answer()
        pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids), within_s=5 * LEASE_S)
        pipeline.settle()
    finally:
        pipeline.sqs.set_queue_attributes(**delivery, Attributes=visibility)

    accepted = pipeline.accepted(*ids)
    twice = {id for id in ids if accepted.count(id) > 1}
    assert len(accepted) - len(ids) == len(twice) <= 2 * SIDE_BY_SIDE
    assert {pipeline.state(id) for id in ids} == {"delivered"}
    assert not any(pipeline.dead_letter(notification_id=id) for id in ids)


def test_a_scheduler_that_dies_between_send_and_delete_moves_twice_what_is_delivered_once(pipeline: Pipeline) -> None:
    ids = [pipeline.new_id() for _ in range(40)]
    pipeline.night()
    pipeline.produce(*map(advertising, ids))
    pipeline.wait_until(lambda: set(ids) <= set(pipeline.ids_on("Wait")))
    on_wait = [message["MessageId"] for message in pipeline.on("Wait")]

    with pipeline.without_minute_rule():
        pipeline.day()
        settings = pipeline.settings()
        arguments = json.dumps({name: getattr(settings, name) for name in settings.__dataclass_fields__})
        died = subprocess.run(
            [sys.executable, "-c", DIE_BEFORE_DELETE, arguments],
            cwd=ROOT,
            env=child_environment(pipeline.endpoint),
            check=False,
            timeout=300,
        )
        assert died.returncode == 9
        pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))
        assert [message["MessageId"] for message in pipeline.on("Wait")] == on_wait, "it was deleted before it died"

    pipeline.wait_until(lambda: pipeline.release()["remaining"] is False and not pipeline.on("Wait"))
    pipeline.settle()
    assert sorted(pipeline.accepted(*ids)) == sorted(ids)


def test_schedulers_that_run_at_once_release_each_notification_once(pipeline: Pipeline) -> None:
    ids = [pipeline.new_id() for _ in range(300)]
    pipeline.night()
    pipeline.produce(*map(advertising, ids))
    pipeline.wait_until(lambda: set(ids) <= set(pipeline.ids_on("Wait")))

    pipeline.day()
    with ThreadPoolExecutor(max_workers=2) as pool:
        answers = list(pool.map(lambda _: pipeline.release(), range(2)))
    assert all("skipped" not in answer for answer in answers)
    pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))
    pipeline.settle()
    assert sorted(pipeline.accepted(*ids)) == sorted(ids)
