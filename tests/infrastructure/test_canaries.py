"""A phone number, an e-mail address and a text are planted in everything that people send.

They leave the functions only in notifications. No log line, error, alert or dead letter's attribute shows them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from tests.helpers.canary_paths import canary as canary_notification
from tests.helpers.leaks import CANARIES, leaks, shows
from tests.helpers.stack_template import FUNCTIONS, ROOT, Deployed

pytestmark = pytest.mark.xdist_group("stack")  # in one process: the functions are driven once


class Ran(NamedTuple):
    printed: str
    found: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The functions' output, and everything else that left them."""
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
    "producer: a bug": "HandlerFailed: ValueError",
    "producer: url, a bug": "HandlerFailed: ValueError",
    "producer: status, a table's client raises": "HandlerFailed: ValueError",
    "producer: cancel, a table's client raises": "HandlerFailed: ValueError",
    "registrar: a bug": "HandlerFailed: ValueError",
    "consumer: no consents": "HandlerFailed: ValueError",
    "consumer: a bug": "HandlerFailed: ValueError",
    "scheduler: a bug": "HandlerFailed: ValueError",
    "scheduler: stopped, nobody told": "HandlerFailed: ValueError",
    "worker: ledger 's client raises": "HandlerFailed: ValueError",
    "worker: consent 's client raises": "HandlerFailed: ValueError",
    "worker: turn 's client raises": "HandlerFailed: ValueError",
    "worker: a bug": "HandlerFailed: ValueError",
    "campaign: s3 raises": "HandlerFailed: ValueError",
    "campaign: a bug": "HandlerFailed: ValueError",
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
    """Without this, a path that is never reached would pass the tests below."""
    reasons = {letter["reason"].partition(":")[0] for letter in ran.found["letters"]}
    assert reasons == {"unreadable", "invalid", "http_400", "unknown_outcome", "id_reused"}
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
        "misconfigured: webhook channel_not_configured",
        "unknown: webhook no_answer",
        "retry: webhook http_500",
    ):
        assert f'"{field}":1' in ran.printed, field


def test_no_canary_is_in_what_a_function_prints_or_raises(ran: Ran) -> None:
    assert leaks(ran.printed) == []


@pytest.mark.parametrize("place", ["outcomes", "letters", "alerts", "slack", "reports"])
def test_no_canary_is_in_an_error_a_dead_letters_attribute_or_an_alert(ran: Ran, place: str) -> None:
    assert ran.found[place]
    assert leaks(json.dumps(ran.found[place], ensure_ascii=False)) == []


def test_every_metric_that_is_made_from_log_lines_finds_its_line_in_what_the_functions_print(
    ran: Ran, stack: Deployed
) -> None:
    """A renamed message or field would silence an alarm."""
    lines = [json.loads(line) for line in ran.printed.splitlines() if line.startswith('{"level"')]
    filters = stack.all("AWS::Logs::MetricFilter").values()
    assert filters
    for each in filters:
        pattern = re.fullmatch(
            r'\{ \$\.message = "(.+?)"(?: && \$\.(\w+) = "(\w+)")? && \$\.(\w+) (>=?) 0 \}', each["FilterPattern"]
        )
        assert pattern is not None, each["FilterPattern"]
        message, name, value, field, compared = pattern.groups()
        found = [
            line[field]
            for line in lines
            if line["message"] == message and field in line and (name is None or line[name] == value)
        ]
        counted = [number for number in found if number > 0 or compared == ">="]
        assert counted, each["FilterPattern"]
        assert all(isinstance(number, int | float) for number in found), each["FilterPattern"]


@pytest.mark.parametrize("canary", CANARIES)
def test_every_canary_is_in_what_people_send_in_a_form_that_the_search_finds(canary: str) -> None:
    assert shows(canary, json.dumps(canary_notification()))
