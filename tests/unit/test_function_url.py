"""The routes of a Function URL: requests are read and answered as Powertools' resolver does it."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response

from lambdas.quiet_hours.api import web
from lambdas.quiet_hours.errors import Unreadable
from lambdas.quiet_hours.notification.json_text import to_text
from tests.helpers.web import answered, http

ROUTES = (
    ("POST", "/notifications"),
    ("GET", f"/notifications/{web.ANY}"),
    ("POST", "/notifications/cancel"),
    ("PUT", f"/consents/{web.ANY}"),
    ("POST", f"/consents/{web.ANY}/renotified"),
    ("GET", "/consents"),
)
PATHS = (
    *("/notifications", "/notifications/", "/notifications/cancel", "/notifications/a/b", "/notifications/%41%2F"),
    *("/notifications/한글", "/notifications/a\nb", "/NOTIFICATIONS", "/consents", "/consents/", "/consents/x"),
    *("/consents/x/renotified", "/consents//renotified", "/consents/a b", "/", "", "/x"),
)


@pytest.fixture(scope="module")
def ours() -> web.Api:
    """Answers with the place of the route that it found."""
    api = web.Api()
    for place, (method, path) in enumerate(ROUTES):
        api.route(method, path)(lambda request, place=place: web.json_answer(200 + place, dict(request.query)))  # type: ignore[misc]
    return api


@pytest.fixture(scope="module")
def powertools() -> LambdaFunctionUrlResolver:
    api = LambdaFunctionUrlResolver()
    for place, (method, path) in enumerate(ROUTES):

        def answer(place: int = place) -> Response[str]:
            body = to_text(api.current_event.query_string_parameters)
            return Response(200 + place, content_type="application/json", body=body)

        api.route(path, method=[method])(lambda answer=answer: answer())
    return api


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "post"])
def test_every_request_finds_the_route_that_powertools_finds_and_gets_the_same_answer(
    ours: web.Api, powertools: LambdaFunctionUrlResolver, method: str, path: str
) -> None:
    for query in ("", "due_before=2020&x="):
        event = http(method, path, "{}", query)
        theirs: dict[str, Any] = powertools.resolve(event, None)  # type: ignore[arg-type]
        assert ours.resolve(event) == {**theirs, "headers": dict(theirs["headers"])}


@pytest.mark.parametrize("path", ["/consents/a%2Fb%20c", "/consents/a/b c"])
def test_an_id_is_the_same_where_its_path_was_decoded_before(path: str) -> None:
    assert web.Request.of(http("GET", path)).id("/consents/") == "a/b c"


@pytest.mark.parametrize("body", ['{"a": "한"}', '{"a": "한"}'.encode()])
def test_a_body_is_read_as_text_and_from_base64(body: str | bytes) -> None:
    assert web.Request.of(http("POST", "/", body)).json() == {"a": "한"}


@pytest.mark.parametrize("body", [b"\xff", b"{", "", None])
def test_a_body_that_is_not_json_in_utf_8_is_unreadable(body: str | bytes | None) -> None:
    with pytest.raises(Unreadable):
        web.Request.of(http("POST", "/", body)).json()


def test_what_is_not_base64_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        web.Request.of({**http("POST", "/", "no base64"), "isBase64Encoded": True}).json()


def test_any_other_request_is_not_found(ours: web.Api) -> None:
    assert answered(ours.resolve(http("GET", "/x"))) == (404, {"statusCode": 404, "message": "Not found"})
