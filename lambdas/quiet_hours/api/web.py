"""Requests and answers of a Function URL: the id in a path, a JSON body, a JSON answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response

from ..errors import Unreadable
from ..notification.json_text import to_text, unpack

ANY = "(?s:.+)"
"""An id in a route, slashes and all."""


def json_answer(status: int, body: object) -> Response[str]:
    """A JSON answer, in the form of both APIs."""
    return Response(status, content_type="application/json", body=to_text(body))


def errors(status: int, *texts: str) -> Response[str]:
    """An answer with errors, one `field: fault` each."""
    return json_answer(status, {"errors": list(texts)})


def path_id(api: LambdaFunctionUrlResolver, prefix: str, suffix: str = "") -> str:
    """The variable part of the path, decoded. It may hold slashes, encoded or not.

    AWS does not say whether it decodes a path before the function gets it. A path that was decoded already must come
    out the same, so no id may hold a percent sign.
    """
    return unquote(api.current_event.path.removeprefix(prefix).removesuffix(suffix))


def json_body(api: LambdaFunctionUrlResolver) -> Any:
    """The body as one JSON value. Raises `Unreadable`.

    No request is an array. So an array comes back empty and unread, however many values it has.
    """
    try:
        text = api.current_event.decoded_body or ""
    except ValueError:  # not UTF-8, or not what base64 makes
        raise Unreadable("not text in UTF-8") from None
    return [] if text.lstrip("\ufeff \t\r\n").startswith("[") else unpack(text).value
