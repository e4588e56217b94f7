"""AWS clients: how they are configured, and what they raise."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

SERVICE_ERRORS = (BotoCoreError, ClientError)
"""What a boto3 client raises when a call did not succeed, or may not have."""


def error_code(error: Exception) -> str:
    """The service's own code for an error, else the error's type: fit for logs, free of anybody's data."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "ClientError"))
    return type(error).__name__
