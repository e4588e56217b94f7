"""Reads a deployment: its outputs from the file that `cdk deploy --outputs-file` writes, and its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lambdas.quiet_hours.settings import Settings

from . import CommandError

_ENTRY = "NotificationQueueUrl"
"""The output by which a deployment is told from other stacks of the same app."""


def read_outputs(path: Path) -> dict[str, str]:
    """Returns the outputs of the one deployment in a CDK outputs file. Raises `CommandError` when there is not one."""
    found: list[dict[str, str]] = [each for each in json.loads(path.read_text()).values() if _ENTRY in each]
    if len(found) != 1:
        raise CommandError(f"{path} must hold the outputs of one deployment; it holds those of {len(found)}.")
    return found[0]


def deployed_settings(lambda_client: Any, function_name: str) -> Settings:
    """Returns the settings that a function was deployed with; the names of queues and tables are resolved."""
    function = lambda_client.get_function_configuration(FunctionName=function_name)
    return Settings.from_env(function["Environment"]["Variables"])
