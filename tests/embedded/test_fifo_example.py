"""The recommendation worker of examples/fifo on a FIFO queue of the embedded AWS. Shows R27 and R28."""

from __future__ import annotations

import json
import time
from pathlib import Path
from uuid import uuid4

import pytest

from examples.fifo.recommend import recommendation
from local.aws import client, peek
from tests.embedded.conftest import EmbeddedAws
from tests.helpers.scripts import WITHIN_S, Script, run, running

AT_ONCE = ("--wait", "1", "--retry", "1")


class Views:
    """A FIFO queue of a test's own, with the page views that the test puts there."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.name = f"views-{uuid4()}.fifo"
        self.file = folder / "views.json"

    def send(self, *views: tuple[str, str, str]) -> list[str]:
        """Send an event, a user and an item for each view; return what the sender prints."""
        events = [dict(zip(("event", "userId", "item"), view, strict=True)) for view in views]
        self.file.write_text(json.dumps(events), encoding="utf-8")
        return run(self.endpoint, "fifo/send_views.py", self.name, "--file", str(self.file))

    def bodies(self, name: str) -> list[str]:
        url = client(self.endpoint, "sqs").get_queue_url(QueueName=name)["QueueUrl"]
        return [json.loads(message["Body"])["event"] for message in peek(self.endpoint, url)]

    def wait_until_empty(self, worker: Script) -> None:
        """Wait until every view is deleted. Raises `AssertionError` when that takes too long."""
        deadline = time.monotonic() + WITHIN_S
        while waiting := self.bodies(self.name):
            assert time.monotonic() < deadline, (waiting, worker.lines, worker.process.poll())
            time.sleep(0.05)

    @property
    def dead_letters(self) -> list[str]:
        return self.bodies(self.name.replace(".fifo", "-dead-letters.fifo"))


@pytest.fixture
def views(embedded_aws: EmbeddedAws, tmp_path: Path) -> Views:
    return Views(embedded_aws.endpoint, tmp_path)


def of(user: str, lines: list[str]) -> list[str]:
    """The events of a user, in the order in which the worker printed them."""
    return [line.split()[0] for line in lines if f" of {user}: " in line]


def test_r27_r28_the_order_is_kept_for_each_user(views: Views) -> None:
    sent = [(f"{user}-{number}", user, "coat") for number in range(4) for user in ("kim", "lee")]
    views.send(*sent)
    with running(views.endpoint, "fifo/recommend.py", views.name, *AT_ONCE) as worker:
        views.wait_until_empty(worker)
        worker.press_ctrl_c()

    for user in ("kim", "lee"):
        assert of(user, worker.lines) == [f"{user}-{number}" for number in range(4)]


def test_r28_a_duplicate_is_accepted_and_dropped_also_after_the_first_is_deleted(views: Views) -> None:
    first, second, third = views.send(("v-1", "kim", "coat"), ("v-1", "kim", "coat"), ("v-2", "kim", "scarf"))
    assert first == second != third
    with running(views.endpoint, "fifo/recommend.py", views.name, *AT_ONCE) as worker:
        worker.wait_for("^v-2 of kim")
        assert views.send(("v-1", "kim", "coat")) == [first]
        views.send(("v-3", "kim", "boots"))
        worker.wait_for("^v-3 of kim")
        worker.press_ctrl_c()

    assert of("kim", worker.lines) == ["v-1", "v-2", "v-3"]


def of_two_users(item_of_kims_first: str) -> list[tuple[str, str, str]]:
    return [
        ("first", "kim", item_of_kims_first),
        *((f"kim-{number}", "kim", "coat") for number in range(3)),
        *((f"lee-{number}", "lee", "boots") for number in range(3)),
    ]


def test_r28_a_view_that_fails_blocks_only_its_user(views: Views) -> None:
    views.send(*of_two_users("umbrella"))
    with running(views.endpoint, "fifo/recommend.py", views.name, "--wait", "1", "--retry", "900") as worker:
        worker.wait_for("^lee-2 of lee: boots goes well with coat")
        worker.press_ctrl_c()

    assert of("kim", worker.lines) == ["first"]
    assert of("lee", worker.lines) == ["lee-0", "lee-1", "lee-2"]
    assert views.bodies(views.name)[:4] == ["first", "kim-0", "kim-1", "kim-2"]


def test_r28_a_view_that_fails_three_times_is_a_dead_letter_and_its_user_goes_on(views: Views) -> None:
    views.send(*of_two_users("umbrella"))
    with running(views.endpoint, "fifo/recommend.py", views.name, "--wait", "1", "--retry", "0") as worker:
        views.wait_until_empty(worker)
        worker.press_ctrl_c()

    assert of("kim", worker.lines) == ["first", "first", "first", "kim-0", "kim-1", "kim-2"]
    assert of("lee", worker.lines) == ["lee-0", "lee-1", "lee-2"]
    assert views.dead_letters == ["first"]


def test_r28_the_committed_views_name_their_user_as_attribute_and_group_and_are_worked_on_once(views: Views) -> None:
    run(views.endpoint, "fifo/send_views.py", views.name)
    sqs = client(views.endpoint, "sqs")
    [message] = sqs.receive_message(
        QueueUrl=sqs.get_queue_url(QueueName=views.name)["QueueUrl"],
        VisibilityTimeout=0,
        MessageAttributeNames=["userId"],
        MessageSystemAttributeNames=["MessageGroupId", "MessageDeduplicationId"],
    )["Messages"]
    assert message["MessageAttributes"]["userId"]["StringValue"] == "kim"
    assert message["Attributes"] == {"MessageGroupId": "kim", "MessageDeduplicationId": "v-1"}

    with running(views.endpoint, "fifo/recommend.py", views.name, *AT_ONCE) as worker:
        views.wait_until_empty(worker)
        worker.press_ctrl_c()
    assert of("kim", worker.lines) == ["v-1", "v-3", "v-5"]
    assert of("lee", worker.lines) == ["v-2", "v-4"]


@pytest.mark.parametrize(
    ("item", "other"),
    [("coat", "scarf"), ("scarf", "coat"), ("boots", "coat"), ("gloves", "coat"), ("socks", "boots")],
)
def test_r28_what_is_recommended_is_what_others_bought_beside_it(item: str, other: str) -> None:
    assert recommendation(item) == other


def test_r28_nothing_is_recommended_for_what_nobody_bought() -> None:
    with pytest.raises(LookupError, match="nobody bought umbrella"):
        recommendation("umbrella")
