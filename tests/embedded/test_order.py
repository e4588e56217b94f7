"""examples/fifo/send_in_order.py keeps the order that the pipeline does not keep. Shows R27."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.helpers.notifications import order
from tests.helpers.pipeline import Pipeline
from tests.helpers.scripts import running


def steps(folder: Path, *notifications: dict[str, Any]) -> tuple[str, ...]:
    file = folder / "steps.json"
    file.write_text(json.dumps(notifications), encoding="utf-8")
    return ("--file", str(file), "--every", "0.2")


def outputs(pipeline: Pipeline) -> str:
    return str(pipeline.folder / "deploy" / "outputs.json")


def test_r27_a_sender_that_waits_for_each_ending_keeps_the_order_also_if_one_fails_for_now(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    ids = [pipeline.new_id(end) for end in (":flaky", ":packed", ":sent")]
    pipeline.provider.answer({"id_ends": ":flaky", "status": 500, "times": 1})
    file = steps(tmp_path, *map(order, ids))

    with running(pipeline.endpoint, "fifo/send_in_order.py", outputs(pipeline), *file) as sender:
        sender.process.wait(240)
        assert sender.end() == [f"{id}: delivered" for id in ids]
    assert [arrival.id for arrival in pipeline.received(*ids)] == [ids[0], *ids]


def test_r27_what_follows_a_notification_that_ends_undelivered_is_not_sent(pipeline: Pipeline, tmp_path: Path) -> None:
    ids = [pipeline.new_id(end) for end in (":poison", ":sent")]
    pipeline.provider.answer({"id_ends": ":poison", "status": 410})
    file = steps(tmp_path, *map(order, ids))

    with running(pipeline.endpoint, "fifo/send_in_order.py", outputs(pipeline), *file) as sender:
        assert sender.process.wait(240) == 1
        sender.wait_for(f"{ids[0]}: dead_lettered")
        sender.wait_for("The rest is not sent")
    assert not pipeline.received(ids[1])


def test_r27_what_is_rejected_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    file = steps(tmp_path, order("first", channel="pigeon"))

    with running(pipeline.endpoint, "fifo/send_in_order.py", outputs(pipeline), *file) as sender:
        assert sender.process.wait(240) == 1
        sender.wait_for("^first: .*channel")
