"""What a handler raises, without what it says: Lambda prints an exception, and its text may show somebody's data."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import HandlerFailed
from .stores.clients import error_code

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

R = TypeVar("R")


def redact_errors(logger: Logger) -> Callable[[Callable[[Any, Any], R]], Callable[[Any, Any], R]]:
    """Have a handler raise `HandlerFailed`, and log where in the code the fault was."""

    def decorate(handler: Callable[[Any, Any], R]) -> Callable[[Any, Any], R]:
        @wraps(handler)
        def call(event: Any, context: Any) -> R:
            try:
                return handler(event, context)
            except Exception as error:
                at = [f"{frame.name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)]
                logger.error("failed", extra={"error": error_code(error), "at": at})
                raise HandlerFailed(error_code(error)) from None

        return call

    return decorate
