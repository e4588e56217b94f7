"""Every handler's log lines carry the id of the request that they belong to, whether it succeeds or fails."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider

from lambdas import alerter, campaign, consumer, producer, registrar, scheduler, worker
from lambdas.quiet_hours.errors import HandlerFailed
from lambdas.quiet_hours.settings import Settings
from tests.helpers.aws import dynamodb, notification, record, settings, sqs
from tools.events import url_event

__all__ = ["dynamodb", "settings", "sqs"]

CONTEXT: Any = SimpleNamespace(
    aws_request_id="8f7b0e5c-1c3d-4a55-9d40-0c5f1e9f3a17", get_remaining_time_in_millis=lambda: 300_000
)
Logged = Callable[[ModuleType, Any], list[dict[str, Any]]]


@pytest.fixture
def logged(settings: Settings, sqs: Any, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Logged:
    """Call a function's handler and returns the lines that it has logged."""
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    for module in (producer, consumer):
        monkeypatch.setattr(module, "_clients", lambda: (sqs, dynamodb))
    monkeypatch.setattr(worker, "_clients", lambda: (sqs, dynamodb, SecretsProvider(boto3_client=None)))
    monkeypatch.setattr(registrar, "_client", lambda: dynamodb)
    monkeypatch.setattr(scheduler, "_sqs", lambda: sqs)
    monkeypatch.setattr(scheduler, "POLL_S", 0)  # an empty receive does not wait
    monkeypatch.setattr(alerter, "_slack_url", lambda secret: None)

    def call(function: ModuleType, event: Any) -> list[dict[str, Any]]:
        lines = io.StringIO()
        monkeypatch.setattr(function.logger.registered_handler, "stream", lines)
        function.handler(event, CONTEXT)
        return [json.loads(line) for line in lines.getvalue().splitlines()]

    return call


CONSENT = json.dumps({"night_consent": True, "opted_out": False, "evidence": "web form"})
SUCCESSES = {
    "producer": (producer, {"notifications": [notification(id="n-1")]}),
    "producer through its URL": (producer, url_event("DELETE", "/notifications/n-1")),
    "registrar": (registrar, url_event("PUT", "/consents/user-42", CONSENT)),
    "consumer": (consumer, {"Records": [record(json.dumps(notification(id="n-1")))]}),
    "scheduler": (scheduler, {"source": "aws.scheduler"}),
    "worker": (worker, {"Records": [record("[]", queue="delivery")]}),
    "alerter": (alerter, {"Records": [{"Sns": {"Message": "anything"}}]}),
}


@pytest.mark.parametrize("name", SUCCESSES)
def test_each_line_has_the_request_id(logged: Logged, name: str) -> None:
    lines = logged(*SUCCESSES[name])
    assert lines
    assert {line.get("function_request_id") for line in lines} == {CONTEXT.aws_request_id}


@pytest.mark.parametrize("function", [campaign, consumer, worker, alerter])
def test_so_has_the_line_about_an_error(function: ModuleType, settings: Settings, monkeypatch: Any) -> None:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    lines = io.StringIO()
    monkeypatch.setattr(function.logger.registered_handler, "stream", lines)
    with pytest.raises(HandlerFailed, match=r"^KeyError$"):
        function.handler({}, CONTEXT)
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert (line["error"], line["function_request_id"]) == ("KeyError", CONTEXT.aws_request_id)
    assert line["message"] == ("bundle failed" if function is worker else "failed")


def test_the_next_request_has_its_own(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(*SUCCESSES["consumer"])
    monkeypatch.setattr(CONTEXT, "aws_request_id", "the next one")
    assert {line["function_request_id"] for line in logged(*SUCCESSES["consumer"])} == {"the next one"}
