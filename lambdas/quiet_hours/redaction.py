"""Logs of the handlers: each line carries the request id, and no error shows anybody's data.

Lambda prints an exception that a handler raises, and its text may show what somebody sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AlertFailed, HandlerFailed, SourceFailed
from .stores.clients import error_code

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

R = TypeVar("R")
Handler = Callable[[Any, Any], R]


def redact_errors(logger: Logger, message: str = "failed") -> Callable[[Handler[R]], Handler[R]]:
    """Make a handler raise `HandlerFailed` in place of any error, and log `message` with the place in the code.

    `AlertFailed` and `SourceFailed` stay: their texts are our own. While the handler runs, each line that `logger`
    writes carries `function_request_id`, under the name that Powertools gives it. A caller that is not Lambda may give
    no request id.
    """

    def decorate(handler: Handler[R]) -> Handler[R]:
        @wraps(handler)
        def call(event: Any, context: Any) -> R:
            logger.append_keys(function_request_id=getattr(context, "aws_request_id", None))
            try:
                return handler(event, context)
            except (AlertFailed, SourceFailed):
                raise
            except Exception as error:
                at = [f"{frame.name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)]
                logger.error(message, extra={"error": error_code(error), "at": at})
                raise HandlerFailed(error_code(error)) from None

        return call

    return decorate
