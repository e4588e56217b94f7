"""The SAM CLI reads the synthesised template, without Docker, by the very commands that docs/local.md gives."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands.deployment import deployed_settings
from lambdas.quiet_hours.settings import Settings
from local import sam_env
from local.aws import shell_environment
from tests.helpers.stack_template import FUNCTIONS, ROOT
from tools.events import EVENTS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sam")]  # one process synthesises once

DOCS = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"
DOCUMENTED_ASSEMBLY = "build/sam"

SETTINGS = Settings(
    notification_queue_url="http://localhost:4566/000000000000/QuietHours-Notification",
    urgent_queue_url="http://localhost:4566/000000000000/QuietHours-Urgent",
    delivery_queue_url="http://localhost:4566/000000000000/QuietHours-Delivery",
    wait_queue_url="http://localhost:4566/000000000000/QuietHours-Wait",
    schedule_queue_url="http://localhost:4566/000000000000/QuietHours-Schedule",
    dead_letter_queue_url="http://localhost:4566/000000000000/QuietHours-DeadLetter",
    ledger_table="QuietHours-Ledger-1",
    consent_table="QuietHours-Consent-1",
    channel_secret="quiet-hours/channels",
    campaign_queue_url="http://localhost:4566/000000000000/QuietHours-Campaign",
    start="22:30",
    end="07:15",
    timezone="America/New_York",
    policy="strict",
)
ENDPOINT = "http://host.docker.internal:4566"

# SAM's own reading of a template and an environment file, up to where it would start a container.
READ_AS_SAM_DOES = """
import json, sys
from samcli.commands.local.lib.local_lambda import LocalLambdaRunner
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider

template, env_vars, *names = sys.argv[1:]
stacks, _ = SamLocalStackProvider.get_stacks(template)
provider = SamFunctionProvider(stacks)
runner = LocalLambdaRunner(None, provider, ".", ".", env_vars_values=json.load(open(env_vars)))
configs = {name: runner.get_invoke_config(provider.get(name)) for name in names}
print(json.dumps({
    name: {
        "handler": config.handler,
        "architecture": config.architecture,
        "code": str(config.code_abs_path),
        "environment": config.env_vars.resolve(),
    }
    for name, config in configs.items()
}))
"""


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack as the documented command synthesises it."""
    (line,) = re.findall(r"`(cdk synth [^`]*)`", DOCS)
    directory = tmp_path_factory.mktemp("assembly")
    env = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / "node_modules" / ".bin"), os.defpath]),
        "HOME": os.environ["HOME"],
        "CDK_DISABLE_CLI_TELEMETRY": "true",
    }
    subprocess.run(_in(directory, line), cwd=ROOT, env=env, check=True, stdin=subprocess.DEVNULL)
    return directory


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """The environment file of a stack with SETTINGS."""
    file = tmp_path / "sam-env.json"
    file.write_text(json.dumps(sam_env.sam_environment(SETTINGS, ENDPOINT)))
    return file


# --- the commands of docs/local.md


def test_sam_validates_the_template(assembly: Path, tmp_path: Path) -> None:
    done = _sam(_in(assembly, _documented("sam validate")), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is a valid SAM Template" in done.stdout


def test_sam_builds_every_function_without_docker(assembly: Path, tmp_path: Path) -> None:
    build = [*_in(assembly, _documented("sam build")), "--build-dir", str(tmp_path / "built")]
    done = _sam(build, tmp_path)
    assert done.returncode == 0, done.stderr
    for name in FUNCTIONS:
        (built,) = (tmp_path / "built").glob(f"{name}*")
        assert (built / "lambdas" / f"{name.lower()}.py").exists()
        assert (built / "aws_lambda_powertools").is_dir()


def test_sam_lacks_nothing_but_docker_for_the_documented_invoke(assembly: Path, env_file: Path, tmp_path: Path) -> None:
    command = _documented("sam local invoke")
    assert command[command.index("invoke") + 1] in FUNCTIONS
    assert (ROOT / command[command.index("-e") + 1]).parent == EVENTS
    assert ROOT / command[command.index("--env-vars") + 1] == sam_env.FILE
    command[command.index("--env-vars") + 1] = str(env_file)
    done = _sam(_in(assembly, command), tmp_path)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "Error: Running AWS SAM projects locally requires a container runtime. "
        "Do you have Docker or Finch installed and running?"
    )


def test_the_documented_table_has_every_event() -> None:
    named = re.findall(r"^\| `([a-z-]+\.json)` \|", DOCS, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in EVENTS.iterdir())


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`(tests/[a-z_/]+\.py)`", DOCS))))
def test_every_test_that_the_document_names_exists(file: str) -> None:
    assert (ROOT / file).exists()


# --- what a function in a container would get


def test_every_function_in_a_container_gets_the_settings_and_the_endpoint(
    assembly: Path, env_file: Path, tmp_path: Path
) -> None:
    template = assembly / "QuietHours.template.json"
    done = _sam([str(SAM_PYTHON), "-c", READ_AS_SAM_DOES, str(template), str(env_file), *FUNCTIONS], tmp_path)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    for name in FUNCTIONS:
        env = read[name]["environment"]
        assert env["AWS_ENDPOINT_URL"] == ENDPOINT
        assert Settings.from_env(env) == _reached_from_a_container(SETTINGS)
        assert read[name]["architecture"] == "x86_64"
        assert read[name]["handler"] == f"lambdas.{name.lower()}.handler"
        assert (Path(read[name]["code"]) / "lambdas" / f"{name.lower()}.py").exists()


def test_queue_urls_lead_to_the_endpoint_that_a_container_reaches() -> None:
    environment = sam_env.sam_environment(SETTINGS, ENDPOINT)
    assert environment.keys() == {"Parameters"}
    assert Settings.from_env(environment["Parameters"]) == _reached_from_a_container(SETTINGS)


def test_the_settings_are_those_of_the_running_stack() -> None:
    deployed = SimpleNamespace(
        get_function_configuration=lambda FunctionName: {
            "FunctionName": FunctionName,
            "Environment": {"Variables": SETTINGS.to_env() | {"POWERTOOLS_SERVICE_NAME": "worker"}},
        }
    )
    assert deployed_settings(deployed, "QuietHours-Worker-1") == SETTINGS


# --- what the tests above share


def _documented(command: str) -> list[str]:
    """The one command of docs/local.md that begins so, split as a shell splits it."""
    (line,) = re.findall(rf"^\.venv-sam/bin/{command} .*", DOCS, re.MULTILINE)
    command, _, _ = line.partition(" | ")
    return shlex.split(command)


def _in(assembly: Path, command: str | list[str]) -> list[str]:
    """Make a documented command work in `assembly` instead of the documented directory."""
    parts = shlex.split(command) if isinstance(command, str) else command
    placed = [re.sub(rf"^{DOCUMENTED_ASSEMBLY}(?=/|$)", str(assembly), part) for part in parts]
    assert placed != parts
    return placed


def _sam(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the SAM CLI that can reach no Docker, no account and none of the caller's settings."""
    assert SAM_PYTHON.exists(), "the SAM CLI is not installed: `make test-slow` installs it"
    env = {
        "PATH": os.defpath,
        "HOME": str(home),
        "SAM_CLI_TELEMETRY": "0",
        "DOCKER_HOST": f"unix://{home}/no-docker.sock",
        "AWS_MAX_ATTEMPTS": "1",
        **shell_environment("http://127.0.0.1:1"),
    }
    return subprocess.run(
        command, cwd=ROOT, env=env, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )


def _reached_from_a_container(settings: Settings) -> Settings:
    queues = ("notification", "urgent", "delivery", "wait", "schedule", "dead_letter", "campaign")
    there = {
        name: getattr(settings, name).replace("http://localhost:4566", ENDPOINT)
        for name in (f"{queue}_queue_url" for queue in queues)
    }
    return replace(settings, **there)
