"""The functions log nothing of what people send. Here they run on the embedded AWS, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from local.aws import client
from tests.helpers.canary_paths import canary
from tests.helpers.leaks import CANARIES, EMAIL, PHONE, TEXT, leaks, shows
from tests.helpers.pipeline import Pipeline


def log_lines(pipeline: Pipeline) -> Iterator[str]:
    """Everything that any function has logged."""
    for page in pipeline.logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            for events in pipeline.logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"] for event in events["events"])


def test_no_canary_is_in_any_log_nor_in_a_dead_letters_attributes(pipeline: Pipeline) -> None:
    ids = {name: pipeline.new_id() for name in ("delivered", "refused", "no-channel", "invalid", "row")}
    refused, invalid = {"channel": "webhook", "address": "me"}, {"address": TEXT, "content": {"body": PHONE, EMAIL: 1}}
    soon = (datetime.now(UTC) + timedelta(seconds=45)).isoformat()
    pipeline.produce(canary(id=ids["delivered"], **refused), canary(id=ids["no-channel"], expires_at=soon))
    pipeline.wait_until(lambda: pipeline.accepted(ids["delivered"]))
    pipeline.provider.answer({"status": 400})
    pipeline.produce(canary(id=ids["refused"], **refused))
    pipeline.put(canary(id=ids["invalid"]) | invalid)
    unreadable = f"{TEXT} {PHONE} {EMAIL}"
    pipeline.put(unreadable)
    columns, row = (
        "channel,address,category,id,body,variables.name",
        f"webhook,{PHONE},critical,{ids['row']},{TEXT},{EMAIL}",
    )
    client(pipeline.endpoint, "s3").put_object(
        Bucket=pipeline.outputs["CampaignBucketName"],
        Key=f"campaigns/{ids['row']}.csv",
        Body=f"{columns}\n{row}\n{PHONE},{EMAIL},{TEXT}\n".encode(),
    )

    letters: list[dict[str, Any]] = [
        pipeline.wait_until(
            lambda one=ids[name]: pipeline.dead_letter(notification_id=one), what=f"{name} dead-letters"
        )
        for name in ("refused", "invalid", "row")
    ]
    pipeline.wait_until(lambda: pipeline.state(ids["no-channel"]) == "expired")
    letters.append(pipeline.wait_until(lambda: pipeline.dead_letter(body=unreadable)))
    pipeline.settle()
    assert any("canary-text" in letter["Body"] for letter in letters)  # a dead letter's body is the notification

    lines = list(log_lines(pipeline))
    for said in ('"message":"accepted"', '"message":"judged"', '"message":"bundle"', '"message":"campaign"'):
        assert any(said in line for line in lines), said
    attributes = [json.dumps(letter["MessageAttributes"]) for letter in letters]
    assert leaks("\n".join([*lines, *attributes])) == []
    server_log = (pipeline.folder / "ministack.log").read_text(errors="replace")
    assert [name for name in CANARIES if shows(name, server_log)] == []
