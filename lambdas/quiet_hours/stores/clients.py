"""AWS clients: how they are configured, and what they raise."""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SERVICE_ERRORS = (BotoCoreError, ClientError)
"""The exceptions of a boto3 client whose call did not succeed, or may not have."""


def client_config(connect_timeout_s: float = 1, read_timeout_s: float = 5, attempts: int = 2, **options: Any) -> Config:
    """The configuration of a function's AWS clients.

    `attempts` counts the first call and its retries. All attempts together must end well before the function does, so
    that it can still hand back what it has. `options` are further arguments of botocore's `Config`.
    """
    return Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": attempts},
        **options,
    )


def error_code(error: Exception) -> str:
    """The service's own code for an error, else the error's type: fit for logs, free of anybody's data."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "ClientError"))
    return type(error).__name__


_THROTTLED = frozenset(
    {
        *("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"),
        *("ThrottlingError", "ProvisionedThroughputExceeded"),  # the same, as the reason of a cancelled transaction
    }
)


def is_throttled(error: Exception) -> bool:
    """True if DynamoDB did nothing of a call because there were too many: it may be made again after a pause."""
    return is_throttling(error_code(error))


def is_throttling(code: str) -> bool:
    """True for the codes of such an error, or of such a reason for cancelling a transaction."""
    return code in _THROTTLED
