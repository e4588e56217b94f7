"""The OpenAPI document: up to date, complete, and true of the handlers: schemathesis calls them by it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis import checks

from lambdas import producer, registrar
from lambdas.quiet_hours.api.web import ANY
from lambdas.quiet_hours.notification import notification
from lambdas.quiet_hours.settings import Settings
from tests.helpers.aws import dynamodb, settings, sqs
from tests.helpers.web import http
from tools import openapi

__all__ = ["dynamodb", "settings", "sqs"]

EXAMPLES = 30


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A Function URL for both functions, as WSGI: the request as Lambda hands it over, the answer as it comes back."""
    path, _, query = environ["REQUEST_URI"].partition("?")
    if path == "/openapi.json":
        start_response("200 OK", [("content-type", "application/json")])
        # Signatures are checked by Lambda's front door, which is not here.
        return [json.dumps({name: part for name, part in openapi.document().items() if name != "security"}).encode()]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    handler = registrar.handler if path.startswith("/consents") else producer.handler
    answer = handler(http(environ["REQUEST_METHOD"], path, body, query), None)  # type: ignore[arg-type]
    headers = [(name, str(value)) for name, value in answer["headers"].items()]
    start_response(f"{answer['statusCode']} -", headers)
    return [answer["body"].encode()]


schema = schemathesis.openapi.from_wsgi("/openapi.json", application)


@pytest.fixture(autouse=True)
def deployed(monkeypatch: pytest.MonkeyPatch, sqs: Any, dynamodb: Any, settings: Settings) -> Iterator[None]:
    for name, value in replace(settings, record_held=True).to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(producer, "_clients", lambda: (sqs, dynamodb))
    monkeypatch.setattr(registrar, "_client", lambda: dynamodb)
    for logger in (producer.logger, registrar.logger):
        monkeypatch.setattr(logger, "info", lambda *_, **__: None)
    return iter([None])


def test_the_file_is_what_the_command_makes() -> None:
    """When this fails what is taken or answered has changed: `make openapi` makes the file again."""
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text()


def test_it_has_every_route_of_both_functions_and_no_other() -> None:
    routes = {
        (route.method.lower(), re.sub(re.escape(ANY), "{}", route.path.pattern))
        for api in (producer.api, registrar.api)
        for route in api.routes
    }
    documented = {
        (method, re.sub(r"\{\w+\}", "{}", path))
        for path, item in openapi.document()["paths"].items()
        for method in item.keys() & {"get", "put", "post", "delete"}
    }
    assert documented == routes


def test_the_schema_of_a_notification_has_the_fields_of_the_validator() -> None:
    properties = openapi.document()["components"]["schemas"]["Notification"]["properties"]
    assert list(properties) == list(notification._FIELDS)


@schema.parametrize()
@hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
def test_every_answer_is_as_documented(case: Any) -> None:
    wanted = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    # One wrong item among right ones is no wrong request: notifications are answered one by one.
    if case.path != "/notifications":
        wanted.append(checks.negative_data_rejection)
    case.call_and_validate(checks=wanted)
