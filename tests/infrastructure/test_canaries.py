"""A phone number, an e-mail address and a text, planted in everything that people send, leave the functions only as
notifications: in no log line, error, alert or attribute of a dead letter, whatever happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.canary_paths import CANARIES
from tests.helpers.stack_template import FUNCTIONS, ROOT, Deployed

pytestmark = pytest.mark.xdist_group("stack")  # in one process: the functions are driven once


class Ran(NamedTuple):
    printed: str
    found: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What the functions printed, and what else left them."""
    out = tmp_path_factory.mktemp("canaries") / "found.json"
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env = ours | {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "ap-northeast-2",
        "AWS_CONFIG_FILE": os.devnull,
        "POWERTOOLS_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-m", "tests.helpers.canary_paths", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Ran(done.stdout + done.stderr, json.loads(out.read_text()))


FAILS = {
    "producer: a bug": "Failed: ValueError",
    "producer: url, a bug": "Failed: ValueError",
    "producer: status, a table's client raises": "Failed: ValueError",
    "producer: cancel, a table's client raises": "Failed: ValueError",
    "registrar: a bug": "Failed: ValueError",
    "consumer: no consents": "Failed: ValueError",
    "consumer: a bug": "Failed: ValueError",
    "scheduler: a bug": "Failed: ValueError",
    "scheduler: stopped, nobody told": "Failed: ValueError",
    "worker: ledger 's client raises": "BundleFailed: ValueError",
    "worker: consent 's client raises": "BundleFailed: ValueError",
    "worker: a bug": "BundleFailed: ValueError",
    "campaign: s3 raises": "Failed: ValueError",
    "campaign: a bug": "Failed: ValueError",
    "alerter: refused for good": "AlertFailed: http_404: Slack answered 404",
    "alerter: no url": "AlertFailed: secret_unavailable: alerts.slack_url cannot be read (TypeError)",
}


def test_every_handler_was_driven_through_its_success_and_its_failures(ran: Ran) -> None:
    outcomes = ran.found["outcomes"]
    assert {path.partition(":")[0].capitalize() for path in outcomes} == set(FUNCTIONS)
    assert {path: said for path, said in outcomes.items() if said != "answered"} == FAILS
    for function in FUNCTIONS:
        assert [path for path, said in outcomes.items() if path.startswith(function.lower()) and said == "answered"]


def test_the_paths_ended_where_they_were_meant_to(ran: Ran) -> None:
    """A path that was never reached would show no canary either."""
    reasons = {letter["reason"].partition(":")[0] for letter in ran.found["letters"]}
    assert reasons == {"unreadable", "invalid", "http_400", "channel_not_configured", "unknown_outcome"}
    assert [json.loads(alert)["alert"] for alert in ran.found["alerts"]] == ["ReleaseStopped"]
    assert [json.loads(post)["text"] for post in ran.found["slack"]] == [
        "Quiet Hours: ReleaseCrashed",
        "Quiet Hours: UnknownAlert",
        "Quiet Hours: ReleaseCrashed",
    ]
    for line in ("accepted", "judged", "release", "drain stopped", "bundle", "bundle failed", "campaign", "posted"):
        assert f'"message":"{line}"' in ran.printed, line
    for field in (
        "secret_unavailable",
        "unavailable: webhook http_429",
        "unknown: webhook no_answer",
        "retry: webhook http_500",
    ):
        assert f'"{field}":1' in ran.printed, field


@pytest.mark.parametrize("canary", CANARIES)
def test_no_canary_is_in_what_a_function_prints_or_raises(ran: Ran, canary: str) -> None:
    lines = [line for line in ran.printed.splitlines() if canary in line]
    assert lines == []


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize("place", ["outcomes", "letters", "alerts", "slack", "reports"])
def test_no_canary_is_in_an_error_a_dead_letters_attribute_or_an_alert(ran: Ran, place: str, canary: str) -> None:
    assert ran.found[place]
    assert canary not in json.dumps(ran.found[place], ensure_ascii=False)


def test_every_metric_that_is_made_from_log_lines_finds_its_line_in_what_the_functions_print(
    ran: Ran, stack: Deployed
) -> None:
    """Whoever renames a line's message or field would silence an alarm."""
    lines = [json.loads(line) for line in ran.printed.splitlines() if line.startswith('{"level"')]
    filters = stack.all("AWS::Logs::MetricFilter").values()
    assert filters
    for each in filters:
        pattern = re.fullmatch(r'\{ \$\.message = "(.+)" && \$\.(\w+) > 0 \}', each["FilterPattern"])
        assert pattern is not None
        message, field = pattern.groups()
        found = [line[field] for line in lines if line["message"] == message and line.get(field, 0) > 0]
        assert found and all(isinstance(value, int) for value in found), each["FilterPattern"]


def test_the_canaries_are_alive() -> None:
    """They are in what people send, in forms that would be found."""
    sent = (Path(__file__).parent.parent / "helpers" / "canary_paths.py").read_text()
    assert all(canary in sent for canary in CANARIES)
