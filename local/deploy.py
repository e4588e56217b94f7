"""Deploys the stack to the embedded AWS with the real CDK CLI, as `cdk deploy` deploys it to an account."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from commands.deployment import read_outputs

from . import BUILD, ROOT, processes
from .aws import ACCOUNT, REGION, child_environment

STACK = "QuietHours"
OUTPUTS = BUILD / "outputs.json"
"""The outputs of what `make local` has deployed."""

_CDK = ROOT / "node_modules" / ".bin" / "cdk"
_QUIET = ("--no-notices", "--no-color")
_COMMAND_S = 600


def deploy(endpoint: str, directory: Path, context: Sequence[str], assembly: Path | None = None) -> dict[str, str]:
    """Deploy and return the stack's outputs, which are also in `directory`/outputs.json.

    `context` holds arguments for the CDK: `["-c", "timezone=UTC", …]`. With an `assembly`, deploy what `synthesise`
    wrote there instead. Raises `CommandError`, with the end of the CDK's output.
    """
    directory.mkdir(parents=True, exist_ok=True)
    outputs, log = directory / "outputs.json", directory / "cdk.log"
    env = _environment(endpoint)

    # Bootstrapping needs no synthesised app (--app ''), so both go at once; the deployment reads what synth wrote.
    bootstrap: list[str | Path] = [_CDK, "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", "", *_QUIET]
    with processes.running(bootstrap, env=env, log=directory / "bootstrap.log") as bootstrapping:
        assembly = assembly or synthesise(endpoint, directory / "cdk.out", log, context)
        processes.finish(bootstrapping, log=directory / "bootstrap.log", timeout_s=_COMMAND_S)
    direct = ["--method", "direct", "--require-approval", "never"]
    processes.run(
        [_CDK, "deploy", STACK, "--app", assembly, *direct, "--outputs-file", outputs, *_QUIET],
        env=env,
        log=log,
        timeout_s=_COMMAND_S,
    )
    return read_outputs(outputs)


def synthesise(endpoint: str, assembly: Path, log: Path, context: Sequence[str]) -> Path:
    """Write the stack's cloud assembly into a directory and return it. Raises `CommandError`."""
    context = [*context, "-c", f"stackName={STACK}", "-c", "env="]  # whatever cdk.json says about an account
    context += ["-c", "checkCampaignSender=false"]  # here SQS names an account as the sender, not a role
    command: list[str | Path] = [_CDK, "synth", STACK, "--quiet", "-o", assembly, *_QUIET, *context]
    processes.run(command, env=_environment(endpoint), log=log, timeout_s=_COMMAND_S)
    return assembly


def _environment(endpoint: str) -> dict[str, str]:
    return child_environment(endpoint) | {"CI": "true", "CDK_DISABLE_CLI_TELEMETRY": "true"}
