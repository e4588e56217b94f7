"""From a file in the bucket to the provider, on the embedded AWS. Shows R24."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.aws import client
from tests.helpers.pipeline import Pipeline


@pytest.mark.parametrize("name", ["봄 세일 1+1.csv", "orders.jsonl"])
def test_a_dropped_file_is_delivered_and_its_wrong_row_written_back(pipeline: Pipeline, name: str) -> None:
    """The file's name goes through S3's event as a URL's query would have it."""
    s3, bucket = client(pipeline.endpoint, "s3"), pipeline.outputs["CampaignBucketName"]
    key, ids = f"campaigns/{name}", [pipeline.new_id() for _ in range(3)]
    if name.endswith(".csv"):
        rows = [f"webhook,user-1,informational,{id},주문이 완료되었습니다" for id in ids]
        lines = ["channel,address,category,id,body", *rows, "fax,user-1,,,x"]
    else:
        notification = {
            "channel": "webhook",
            "address": "user-1",
            "category": "informational",
            "content": {"body": "x"},
        }
        lines = [json.dumps(notification | {"id": id}) for id in ids]
        lines = ["", *lines, json.dumps(notification | {"channel": "fax"})]
    s3.put_object(Bucket=bucket, Key=key, Body="\r\n".join(lines).encode("utf-8-sig"))

    def written(suffix: str) -> Any:
        there = f"reports/{key}{suffix}"
        found = s3.list_objects_v2(Bucket=bucket, Prefix=there).get("Contents", [])
        return s3.get_object(Bucket=bucket, Key=there)["Body"].read() if found else None

    report = json.loads(pipeline.wait_until(lambda: written(".report.json")))
    assert (report["accepted"], report["rejected"], report["error"]) == (3, 1, None)
    (rejected,) = map(json.loads, written(".rejected.jsonl").splitlines())
    assert (rejected["line"], rejected["row"]) == (5, lines[4])
    assert rejected["errors"][0].startswith("channel: must be one of")
    pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))
    pipeline.settle()
    assert sorted(pipeline.accepted(*ids)) == sorted(ids)
    assert not s3.list_objects_v2(Bucket=bucket, Prefix="progress/").get("Contents")
