"""Deploys the stack to the embedded AWS with the real CDK CLI, and reads what a deployment says of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lambdas.quiet_hours.settings import Settings

from . import BUILD, ROOT, processes
from .aws import ACCOUNT, REGION, child_environment

STACK = "QuietHours"
OUTPUTS = BUILD / "outputs.json"
"""The outputs of what `make local` has deployed."""

_CDK = ROOT / "node_modules" / ".bin" / "cdk"
_COMMAND_S = 600


def deploy(endpoint: str, directory: Path, context: Sequence[str]) -> dict[str, str]:
    """Deploys, and returns the stack's outputs, which are also in `directory`/outputs.json.

    `context` holds arguments for the CDK: `["-c", "timezone=UTC", …]`. Raises `CommandError` with the end of the CDK's
    output.
    """
    directory.mkdir(parents=True, exist_ok=True)
    assembly, outputs, log = directory / "cdk.out", directory / "outputs.json", directory / "cdk.log"
    env = child_environment(endpoint) | {"CI": "true", "CDK_DISABLE_CLI_TELEMETRY": "true"}
    quiet = ["--no-notices", "--no-color"]

    # Bootstrap needs no synthesised app (--app ''), so both run at once. The deployment reads what synth has written.
    bootstrap: list[str | Path] = [_CDK, "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", "", *quiet]
    with processes.running(bootstrap, env=env, log=directory / "bootstrap.log") as bootstrapping:
        processes.run(
            [_CDK, "synth", STACK, "--quiet", "-o", assembly, *quiet, *context], env=env, log=log, timeout_s=_COMMAND_S
        )
        processes.finish(bootstrapping, log=directory / "bootstrap.log", timeout_s=_COMMAND_S)
    direct = ["--method", "direct", "--require-approval", "never"]
    processes.run(
        [_CDK, "deploy", STACK, "--app", assembly, *direct, "--outputs-file", outputs, *quiet],
        env=env,
        log=log,
        timeout_s=_COMMAND_S,
    )
    return read_outputs(outputs)


def read_outputs(path: Path) -> dict[str, str]:
    """Returns the stack's outputs in a CDK outputs file."""
    found: dict[str, str] = json.loads(path.read_text())[STACK]
    return found


def deployed_settings(lambda_client: Any, function_name: str) -> Settings:
    """Returns the settings that a function was deployed with; the names of queues and tables are resolved."""
    function = lambda_client.get_function_configuration(FunctionName=function_name)
    return Settings.from_env(function["Environment"]["Variables"])
