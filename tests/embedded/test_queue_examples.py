"""The queue lessons of examples/queues, each for what it teaches. Shows R17 to R22."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from examples.queues import consumer, polling, producer, watch_queue
from local.aws import client, peek
from tests.embedded.conftest import EmbeddedAws
from tests.helpers.scripts import WITHIN_S, run, running


class Queue:
    """A queue of a test's own, which it sends to and looks into."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.name = f"lesson-{uuid4()}"
        self.sqs = client(endpoint, "sqs")

    def create(self, **attributes: str) -> None:
        self.sqs.create_queue(QueueName=self.name, Attributes=attributes)

    @property
    def url(self) -> str:
        return str(self.sqs.get_queue_url(QueueName=self.name)["QueueUrl"])

    def attributes(self) -> dict[str, str]:
        found: dict[str, str] = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return found

    def status(self) -> dict[str, int]:
        found = self.attributes()
        return {label: int(found[name]) for label, name in watch_queue.STATUS.items()}

    def send(self, **record: str) -> None:
        self.sqs.send_message(QueueUrl=self.url, MessageBody=json.dumps(record))

    def messages(self) -> list[dict[str, Any]]:
        return peek(self.endpoint, self.url)


@pytest.fixture
def queue(embedded_aws: EmbeddedAws) -> Queue:
    return Queue(embedded_aws.endpoint)


def wait_until(holds: Callable[[], Any]) -> None:
    """Wait until `holds()` is true. Raises `AssertionError` when that takes too long."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


# --- create ---


def test_r17_a_queue_is_created_with_a_delay_and_a_retention(queue: Queue) -> None:
    printed = run(queue.endpoint, "queues/create_queue.py", queue.name, "--delay", "900", "--retention", "3600")

    found = queue.attributes()
    assert (found["DelaySeconds"], found["MessageRetentionPeriod"]) == ("900", "3600")
    assert printed[0] == queue.url
    assert {"  DelaySeconds = 900 s", "  MessageRetentionPeriod = 3600 s"} <= set(printed)

    queue.send(job="anything")
    assert queue.status() == {"visible": 0, "in flight": 0, "delayed": 1}
    assert "Messages" not in queue.sqs.receive_message(QueueUrl=queue.url)


def test_r17_creating_it_again_changes_nothing_and_with_another_delay_is_refused(queue: Queue) -> None:
    queue.create(DelaySeconds="5", MessageRetentionPeriod="86400")
    assert run(queue.endpoint, "queues/create_queue.py", queue.name)[0] == queue.url

    with running(queue.endpoint, "queues/create_queue.py", queue.name, "--delay", "6") as again:
        again.wait_for("already exists with another delay")
        assert again.process.wait(WITHIN_S) == 1
    assert queue.attributes()["DelaySeconds"] == "5"


# --- status ---


def test_r18_the_status_is_printed_again_and_again_until_ctrl_c(queue: Queue) -> None:
    queue.create()
    for number in range(3):
        queue.send(number=str(number))
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody="later", DelaySeconds=900)
    queue.sqs.receive_message(QueueUrl=queue.url, VisibilityTimeout=900)

    with running(queue.endpoint, "queues/watch_queue.py", queue.name, "--every", "0.1") as watch:
        watch.wait_for("2 visible, 1 in flight, 1 delayed")
        queue.send(number="4")
        watch.wait_for("3 visible, 1 in flight, 1 delayed", times=2)
        watch.press_ctrl_c()


def test_r18_it_is_printed_every_second(monkeypatch: pytest.MonkeyPatch, queue: Queue) -> None:
    queue.create()
    pauses: list[float] = []

    def first_pause(seconds: float) -> None:
        pauses.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", first_pause)
    monkeypatch.setattr("boto3.client", lambda service: client(queue.endpoint, service))
    monkeypatch.setattr("sys.argv", ["watch_queue.py", queue.name])
    with pytest.raises(KeyboardInterrupt):
        watch_queue.main()
    assert pauses == [1]


# --- producers ---


@pytest.mark.parametrize(("speed", "delay_s"), [("slow", 10), ("fast", 2)])
def test_r19_a_producer_delays_each_message_and_rests_as_long(
    monkeypatch: pytest.MonkeyPatch, queue: Queue, speed: str, delay_s: int
) -> None:
    queue.create()
    delays, pauses = [], []
    sqs = client(queue.endpoint, "sqs")

    class Recording:
        def get_queue_url(self, **request: Any) -> Any:
            return sqs.get_queue_url(**request)

        def send_message(self, **request: Any) -> Any:
            delays.append(request["DelaySeconds"])
            return sqs.send_message(**request)

    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("boto3.client", lambda service: Recording())
    monkeypatch.setattr("sys.argv", ["producer.py", speed, queue.name])
    producer.main()

    records = json.loads(producer.RECORDS.read_text(encoding="utf-8"))
    assert delays == pauses == [delay_s] * len(records)
    assert queue.status()["visible"] == 0


def test_r19_the_messages_are_the_records_of_the_file_with_their_attributes(queue: Queue, tmp_path: Path) -> None:
    queue.create()
    records = [{"job_type": "resize", "file": "겨울.jpg"}, {"job_type": "report", "day": "2026-11-27"}]
    file = tmp_path / "records.json"
    file.write_text(json.dumps(records), encoding="utf-8")

    run(queue.endpoint, "queues/producer.py", "slow", queue.name, "--file", str(file), "--delay", "0")

    found = queue.messages()
    assert [json.loads(message["Body"]) for message in found] == records
    assert [
        {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} for message in found
    ] == [{"JobType": "resize", "Producer": "slow"}, {"JobType": "report", "Producer": "slow"}]


def test_r19_ctrl_c_ends_a_producer_while_it_rests(queue: Queue) -> None:
    queue.create()
    with running(queue.endpoint, "queues/producer.py", "slow", queue.name, "--delay", "900") as slow:
        slow.wait_for("sent .*: resize")
        slow.press_ctrl_c()

    assert queue.status() == {"visible": 0, "in flight": 0, "delayed": 1}


# --- consumers ---


@pytest.mark.parametrize(("speed", "visibility_s"), [("slow", 20), ("fast", 5)])
def test_r20_a_consumer_hides_a_message_for_longer_than_its_work_takes_and_polls_long(
    monkeypatch: pytest.MonkeyPatch, speed: str, visibility_s: int
) -> None:
    asked: list[dict[str, Any]] = []

    class Recording:
        def get_queue_url(self, **request: Any) -> Any:
            return {"QueueUrl": "https://queue"}

        def receive_message(self, **request: Any) -> Any:
            asked.append(request)
            raise KeyboardInterrupt

    monkeypatch.setattr("boto3.client", lambda service: Recording())
    monkeypatch.setattr("sys.argv", ["consumer.py", speed, "jobs"])
    with pytest.raises(KeyboardInterrupt):
        consumer.main()

    [request] = asked
    assert (request["VisibilityTimeout"], request["WaitTimeSeconds"]) == (visibility_s, 10)
    assert consumer.SPEEDS[speed].work_s < visibility_s


def test_r20_a_consumer_survives_empty_receives_reads_the_attributes_if_any_and_deletes(queue: Queue) -> None:
    queue.create()
    with running(queue.endpoint, "queues/consumer.py", "fast", queue.name, "--wait", "1", "--work", "0") as fast:
        fast.wait_for("nothing to do", times=2)
        run(queue.endpoint, "queues/producer.py", "fast", queue.name, "--delay", "0")
        received = fast.wait_for("^received resize from fast, time 1: ")
        queue.send(note="without attributes")
        fast.wait_for("^received a job from somebody, time 1: ")
        fast.wait_for("^deleted", times=7)
        fast.press_ctrl_c()

    assert "'file': 'coat-front.jpg'" in received
    assert sum(queue.status().values()) == 0


def test_r20_a_consumer_that_is_stopped_at_its_work_loses_nothing(queue: Queue) -> None:
    queue.create()
    queue.send(job="long")
    arguments = ("--visibility", "1", "--wait", "1")
    with running(queue.endpoint, "queues/consumer.py", "slow", queue.name, *arguments, "--work", "900") as slow:
        slow.wait_for("received .* time 1: ")
        slow.press_ctrl_c()

    with running(queue.endpoint, "queues/consumer.py", "fast", queue.name, *arguments, "--work", "0") as fast:
        fast.wait_for("received .* time 2: ")
        fast.wait_for("^deleted")
        fast.press_ctrl_c()


# --- batch ---


def test_r21_batches_take_a_tenth_of_the_calls_and_name_what_failed(queue: Queue) -> None:
    printed = run(queue.endpoint, "queues/batch.py", queue.name, "--messages", "25")

    assert printed[0].startswith("letter 25 was not sent: InvalidParameterValue: ")
    assert printed[1:] == [
        "sent 24 messages with 3 calls instead of 25",
        "received and deleted 24 messages with 3 and 3 calls",
    ]
    assert sum(queue.status().values()) == 0


# --- polling ---


def test_r22_a_long_poll_waits_for_the_message_and_short_polls_come_back_empty(queue: Queue) -> None:
    short, long = run(queue.endpoint, "queues/polling.py", queue.name, "--pause", "0.1")

    assert int(short.split()[2]) > 1
    assert long == "long polling: 1 calls, 0 of them empty"
    assert polling.SHORT_S == 0 < polling.DELAY_S < polling.LONG_S
    assert sum(queue.status().values()) == 0


# --- visibility, dead letters and redrive ---


def test_r22_a_message_that_fails_three_times_is_a_dead_letter_and_the_redrive_brings_it_back(queue: Queue) -> None:
    printed = run(queue.endpoint, "queues/redrive.py", queue.name, "--visibility", "1")

    order = "an order that fails"
    assert printed == [
        *(f"{order}: receive {number} of 3" for number in (1, 2, 3)),
        f"{order}: found on the dead-letter queue",
        f"{order}: received again after the redrive, and deleted",
    ]
    letters = Queue(queue.endpoint)
    letters.name = f"{queue.name}-dead-letters"
    assert not queue.messages()
    assert not letters.messages()
