"""A backlog larger than one run, and a provider with a rate limit; counted at the receiver."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from lambdas.quiet_hours.delivery.pacing import LATE_TURN_S
from lambdas.quiet_hours.notification.bundle import Message
from lambdas.quiet_hours.notification.notification import accept
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import STOP_BEFORE_S
from local.aws import client
from tests.helpers.notifications import advertising, order
from tests.helpers.pipeline import Pipeline

FIRST_HELD = 1500
RUNS_AT_ONCE = 3

RATE_PER_S = 30
PACED = 150
"""Notifications on each lane: together ten seconds' worth of the rate."""

LATE_S = 3.0
"""The rate bounds when calls start. On a busy machine a call may reach the receiver this much later than others. At
twice the rate the ten seconds would still be five: too many by 30."""


@contextmanager
def scheduler_timeout(pipeline: Pipeline, timeout_s: int) -> Iterator[None]:
    """Give the scheduler another timeout for the duration of a block."""
    name = pipeline.outputs["SchedulerFunctionName"]
    pipeline.lambda_.update_function_configuration(FunctionName=name, Timeout=timeout_s)
    try:
        yield
    finally:
        pipeline.lambda_.update_function_configuration(FunctionName=name, Timeout=SCHEDULER_TIMEOUT_S)


def hold(pipeline: Pipeline, ids: list[str]) -> None:
    """Put notifications on wait as the consumer does with single ones: each in a bundle of its own."""
    now = datetime.now(UTC)
    texts = [accept(advertising(id), default_id=id, now=now)[1] for id in ids]
    assert not send(pipeline.sqs, pipeline.outputs["WaitQueueUrl"], [Message(f"[{text}]") for text in texts])


def test_r9_a_backlog_that_needs_many_runs_several_at_once_is_released_once_each(pipeline: Pipeline) -> None:
    """A run stops after a second, to end in time; the next runs take over what it leaves."""
    ids: list[str] = []
    answers: list[dict[str, Any]] = []
    with pipeline.without_minute_rule(), ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        with scheduler_timeout(pipeline, STOP_BEFORE_S + 1):
            while not pipeline.on("Wait"):  # a fast machine needs more, until three runs cannot finish it
                new = [pipeline.new_id() for _ in range(max(FIRST_HELD, len(ids)))]
                hold(pipeline, new)
                ids += new
                answers += pool.map(lambda _: pipeline.release(), range(RUNS_AT_ONCE))
            while pipeline.on("Wait"):
                answers += pool.map(lambda _: pipeline.release(), range(RUNS_AT_ONCE))
            assert all(answer["remaining"] for answer in answers), "a run that had to stop says that it saw no end"
        assert pipeline.release() == {"released": 0, "messages": 0, "remaining": False}

    assert len(answers) >= 2 * RUNS_AT_ONCE
    assert sum(answer["released"] for answer in answers) == len(ids)
    pipeline.wait_until(lambda: set(ids) <= set(pipeline.accepted()))
    pipeline.settle()
    wanted = set(ids)
    assert Counter(id for id in pipeline.accepted() if id in wanted) == Counter(ids)


def test_a_provider_limited_to_n_a_second_is_never_sent_more_by_any_number_of_workers(pipeline: Pipeline) -> None:
    """Two lanes are full, with two workers each. In T seconds all of them together start T times the rate, and one
    call, which carries one notification here."""
    with channel_secret(pipeline, {"url": pipeline.provider.url, "rate_per_s": RATE_PER_S}):
        lanes = {name: [pipeline.new_id() for _ in range(PACED)] for name in ("Delivery", "Schedule")}
        for name, ids in lanes.items():
            put_bundles(pipeline, name, ids)
        everything = {id for ids in lanes.values() for id in ids}
        pipeline.wait_until(lambda: everything <= set(pipeline.accepted()))

    at = arrivals_s(pipeline, everything)
    assert len(at) == 2 * PACED, "sent twice"
    assert worst(at, RATE_PER_S) <= RATE_PER_S * LATE_TURN_S + 1


def test_a_code_overtakes_a_campaign_on_its_own_channel(pipeline: Pipeline) -> None:
    with channel_secret(pipeline, {"url": pipeline.provider.url, "rate_per_s": RATE_PER_S}):
        campaign, codes = ([pipeline.new_id() for _ in range(number)] for number in (20 * RATE_PER_S, 3))
        put_bundles(pipeline, "Schedule", campaign)
        pipeline.wait_until(lambda: pipeline.received(*campaign))
        pipeline.produce(*(order(id, category="critical") for id in codes))
        pipeline.wait_until(lambda: set(campaign) <= set(pipeline.accepted()))
    order_of_arrival = [id for id in pipeline.accepted() if id in {*campaign, *codes}]
    assert not set(codes) & set(order_of_arrival[-RATE_PER_S:])


@contextmanager
def channel_secret(pipeline: Pipeline, webhook: dict[str, Any]) -> Iterator[None]:
    """Configure the webhook for the duration of a block. New workers read the secret, before and after."""
    secrets = client(pipeline.endpoint, "secretsmanager")
    name = pipeline.outputs["WorkerFunctionName"]
    before = secrets.get_secret_value(SecretId=pipeline.outputs["ChannelSecretName"])["SecretString"]
    variables = pipeline.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

    def configure(secret: str, mark: str) -> None:
        pipeline.settle()
        secrets.put_secret_value(SecretId=pipeline.outputs["ChannelSecretName"], SecretString=secret)
        environment = {"Variables": variables | {"TEST_MARK": mark}}
        pipeline.lambda_.update_function_configuration(FunctionName=name, Environment=environment)
        pipeline.lambda_.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    configure(json.dumps({"webhook": webhook}), "paced")
    try:
        yield
    finally:
        configure(before, "as before")


def put_bundles(pipeline: Pipeline, lane: str, ids: list[str]) -> None:
    """Put bundles of ten on a lane, so that every worker gets some."""
    now = datetime.now(UTC)
    texts = [accept(order(id), default_id=id, now=now)[1] for id in ids]
    bundles = [Message("[" + ",".join(texts[start : start + 10]) + "]") for start in range(0, len(texts), 10)]
    assert not send(pipeline.sqs, pipeline.outputs[f"{lane}QueueUrl"], bundles)


def arrivals_s(pipeline: Pipeline, ids: set[str]) -> list[float]:
    """The times at which they reached the provider."""
    return sorted(arrival.at.timestamp() for arrival in pipeline.received() if arrival.id in ids)


def worst(at: list[float], rate_per_s: float) -> float:
    """The largest number of arrivals beyond the rate, over every span of time."""
    return max(
        last - first + 1 - rate_per_s * (at[last] - at[first] + LATE_S)
        for first in range(len(at))
        for last in range(first, len(at))
    )
