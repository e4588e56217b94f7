"""Reads a deployment: its outputs from the file that `cdk deploy --outputs-file` writes, and its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lambdas.quiet_hours.settings import Settings

from . import CommandError

_ENTRY = "NotificationQueueUrl"
"""The output that only a deployment has. A stack with two deployments puts a prefix of its own before all outputs."""


def read_outputs(path: Path, deployment: str = "") -> dict[str, str]:
    """Return the outputs of one deployment in a CDK outputs file, without their prefix.

    `deployment` is `STACK`, or `STACK/PREFIX` if the stack puts a prefix before the outputs. It may be empty if the
    file has only one deployment. Raises `CommandError` that names the deployments which the file has.
    """
    try:
        stacks: dict[str, dict[str, str]] = json.loads(path.read_text())
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    found = dict(_deployments(stacks))
    if deployment:
        if deployment not in found:
            raise CommandError(f"{path} has no deployment {deployment}; it has: {', '.join(found) or 'none'}.")
        return found[deployment]
    if len(found) != 1:
        names = f": {', '.join(found)}. Choose one with DEPLOYMENT=" if found else ""
        raise CommandError(f"{path} must hold the outputs of one deployment; it holds those of {len(found)}{names}.")
    return next(iter(found.values()))


def _deployments(stacks: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    for stack, outputs in stacks.items():
        for prefix in [name.removesuffix(_ENTRY) for name in outputs if name.endswith(_ENTRY)]:
            name = f"{stack}/{prefix}" if prefix else stack
            yield name, {each.removeprefix(prefix): outputs[each] for each in outputs if each.startswith(prefix)}


def deployed_settings(lambda_client: Any, function_name: str) -> Settings:
    """Return the settings that a function was deployed with; the names of queues and tables are resolved."""
    function = lambda_client.get_function_configuration(FunctionName=function_name)
    return Settings.from_env(function["Environment"]["Variables"])
