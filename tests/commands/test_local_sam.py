"""What `make sam-env` writes, and the check of what `sam local invoke` prints. Neither needs SAM or Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest
from moto import mock_aws

from lambdas.quiet_hours.files.uploads import uploads
from local import ROOT
from local.sam_env import CAMPAIGN_BUCKET, put_campaign_file

NOW = datetime(2020, 11, 11, 3, 0, tzinfo=UTC)
DOCS = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")


def check(output: str) -> subprocess.CompletedProcess[str]:
    """Run the check as the command in docs/local.md does."""
    (module,) = set(re.findall(r"\| \.venv/bin/python -m ([\w.]+)", DOCS))
    command = [sys.executable, "-m", module]
    return subprocess.run(command, cwd=ROOT, input=output, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("answer", ['{"batchItemFailures": []}', "null", '{"skipped": "quiet hours"}\n'])
def test_an_answer_is_printed_and_the_check_succeeds(answer: str) -> None:
    done = check(answer)
    assert (done.returncode, json.loads(done.stdout)) == (0, json.loads(answer))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "The function gave no answer. It printed nothing: it timed out, or never began."),
        ("\n", "The function gave no answer. It printed nothing: it timed out, or never began."),
        ("Task timed out after 2.00 seconds", "It printed: Task timed out after 2.00 seconds"),
        (
            '{"errorMessage": "KeyError", "errorType": "HandlerFailed"}',
            "The function failed with HandlerFailed: KeyError",
        ),
    ],
)
def test_a_time_out_and_an_error_fail_the_check_with_a_sentence(output: str, said: str) -> None:
    done = check(output)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def s3() -> Any:
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


def test_the_campaign_event_names_a_file_as_it_is_in_the_bucket(s3: Any) -> None:
    event = put_campaign_file(s3, NOW)
    (upload,) = uploads(event["Records"][0]["body"])
    file = s3.head_object(Bucket=upload.bucket, Key=unquote_plus(upload.key))
    assert upload.bucket == CAMPAIGN_BUCKET
    assert (upload.size, f'"{upload.etag}"') == (file["ContentLength"], file["ETag"])


def test_each_campaign_file_is_another_one_so_that_no_report_stands_for_it(s3: Any) -> None:
    events = [put_campaign_file(s3, NOW + timedelta(microseconds=later)) for later in (0, 1)]
    first, second = (uploads(event["Records"][0]["body"])[0] for event in events)
    assert first.etag != second.etag
    assert first.sequencer < second.sequencer


def test_the_line_that_forwards_the_port_takes_it_from_the_sourced_file_and_does_not_block(tmp_path: Path) -> None:
    """The stand-in for socat ends only after the next line of the shell."""
    (line,) = re.findall(r"^ *(PORT=.*socat .*)$", DOCS, re.MULTILINE)
    socat = tmp_path / "socat"
    socat.write_text(
        f'#!/bin/sh\nfor _ in $(seq 500); do [ -e "{tmp_path}/on" ] && break; sleep 0.05; done\necho "$@"\n'
    )
    socat.chmod(0o755)
    script = f'{line}\ntouch "{tmp_path}/on"\nwait'
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "AWS_ENDPOINT_URL": "http://127.0.0.1:4711"}
    done = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["TCP-LISTEN:4711,bind=172.17.0.1,fork,reuseaddr", "TCP:127.0.0.1:4711"]
