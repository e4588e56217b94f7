"""Requests and answers of a Function URL: the routes, the id in a path, a JSON body, a JSON answer.

Powertools has a resolver for the same. It is not used, because importing it brings all of Powertools' resolvers, which
takes a tenth of the CPU of a cold start (docs/benchmarks).
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..errors import Unreadable
from ..notification.json_text import to_text, unpack

ANY = "(?s:.+)"
"""An id in a route, slashes and all."""

Response = dict[str, Any]
"""An answer in the form that Lambda wants of a Function URL's function."""


class Request(NamedTuple):
    """A request, in payload format 2.0: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html"""

    method: str
    path: str
    query: Mapping[str, str]
    body: str
    is_base64: bool

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Request:
        return cls(
            method=event["requestContext"]["http"]["method"].upper(),
            path=event["rawPath"],
            query=event.get("queryStringParameters") or {},
            body=event.get("body") or "",
            is_base64=event.get("isBase64Encoded", False),
        )

    def id(self, prefix: str, suffix: str = "") -> str:
        """The variable part of the path, decoded. It may hold slashes, encoded or not.

        AWS does not say whether it decodes a path before the function gets it. A path that was decoded already must
        come out the same, so no id may hold a percent sign.
        """
        return unquote(self.path.removeprefix(prefix).removesuffix(suffix))

    def json(self) -> Any:
        """The body as one JSON value. Raises `Unreadable`.

        No request is an array. So an array comes back empty and unread, however many values it has.
        """
        try:
            text = b64decode(self.body).decode() if self.is_base64 else self.body
        except ValueError:  # not UTF-8, or not what base64 makes
            raise Unreadable("not text in UTF-8") from None
        return [] if text.lstrip("\ufeff \t\r\n").startswith("[") else unpack(text).value


Answering = Callable[[Request], Response]


class Route(NamedTuple):
    """The requests that a function answers: their method, and a regular expression for the whole path."""

    method: str
    path: re.Pattern[str]
    answer: Answering


class Api:
    """The routes of a Function URL. Any other request is answered with 404."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def route(self, method: str, path: str) -> Callable[[Answering], Answering]:
        """Let a function answer the requests of a route."""

        def register(function: Answering) -> Answering:
            self.routes.append(Route(method, re.compile(path), function))
            return function

        return register

    def resolve(self, event: Mapping[str, Any]) -> Response:
        request = Request.of(event)
        for route in self.routes:
            if request.method == route.method and route.path.fullmatch(request.path):
                return route.answer(request)
        return json_answer(404, {"statusCode": 404, "message": "Not found"})


def json_answer(status: int, body: object) -> Response:
    """A JSON answer, in the form of both APIs."""
    return {
        "statusCode": status,
        "body": to_text(body),
        "isBase64Encoded": False,
        "headers": {"Content-Type": "application/json"},
        "cookies": [],
    }


def errors(status: int, *texts: str) -> Response:
    """An answer with errors, one `field: fault` each."""
    return json_answer(status, {"errors": list(texts)})
