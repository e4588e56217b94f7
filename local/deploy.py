"""Deploys the stack to the embedded AWS with the real CDK CLI, as `cdk deploy` deploys it to an account."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from . import ROOT, CommandError, processes
from .aws import ACCOUNT, REGION, child_environment

STACK = "QuietHours"
_ENTRY = "NotificationQueueUrl"
"""The output by which a deployment is told from other stacks of the same app."""

_CDK = ROOT / "node_modules" / ".bin" / "cdk"
_COMMAND_S = 600


def deploy(endpoint: str, directory: Path, context: Sequence[str]) -> dict[str, str]:
    """Deploy and return the stack's outputs, which are also in `directory`/outputs.json.

    `context` holds arguments for the CDK: `["-c", "timezone=UTC", …]`. Raises `CommandError`, with the end of the CDK's
    output.
    """
    context = [*context, "-c", f"stackName={STACK}", "-c", "env="]  # whatever cdk.json says about an account
    directory.mkdir(parents=True, exist_ok=True)
    assembly, outputs, log = directory / "cdk.out", directory / "outputs.json", directory / "cdk.log"
    env = child_environment(endpoint) | {"CI": "true", "CDK_DISABLE_CLI_TELEMETRY": "true"}
    quiet = ["--no-notices", "--no-color"]

    # Bootstrapping needs no synthesised app (--app ''), so both go at once; the deployment reads what synth wrote.
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
    """Return the outputs of the one deployment in a CDK outputs file. Raises `CommandError` when there is not one."""
    found: list[dict[str, str]] = [each for each in json.loads(path.read_text()).values() if _ENTRY in each]
    if len(found) != 1:
        raise CommandError(f"{path} must hold the outputs of one deployment; it holds those of {len(found)}.")
    return found[0]
