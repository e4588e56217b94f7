"""compose.yaml without a container engine: what the specification says of it, and what its parts do. Shows R25."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from local import ROOT, CommandError, server, start
from local.aws import client
from local.notebook import PYTHON
from tests.embedded.conftest import EmbeddedAws

FILE = ROOT / "compose.yaml"
# Without this module, which parses a grammar for 4 s when it is imported and which this schema does not need.
CHECK = "import sys; sys.modules['rfc3987_syntax'] = None; from check_jsonschema import main; main()"
NAME = "cc104.sqs.local"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return found


def faults(file: Path) -> str:
    """What the JSON schema of the Compose specification says against a file; empty if nothing."""
    arguments = ["--builtin-schema", "vendor.compose-spec", file]
    run = subprocess.run([PYTHON, "-c", CHECK, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def test_r25_the_compose_file_follows_the_specification() -> None:
    assert faults(FILE) == ""


def test_a_file_that_does_not_follow_the_specification_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(FILE.read_text(encoding="utf-8").replace("depends_on", "depends_upon"), encoding="utf-8")

    assert "depends_upon" in faults(file)


def test_r25_the_embedded_aws_has_a_name_that_the_notebook_uses(services: dict[str, dict[str, Any]]) -> None:
    assert services["aws"]["networks"]["default"]["aliases"] == [NAME]
    assert services["aws"]["environment"]["GATEWAY_PORT"] == "4566"
    assert services["notebook"]["environment"]["AWS_ENDPOINT_URL"] == f"http://{NAME}:4566"
    assert services["notebook"]["depends_on"] == {"aws": {"condition": "service_healthy"}}


def test_r25_both_are_reachable_from_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")


def test_r25_images_and_packages_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        build = service["build"]
        first, copy, install, *_ = build["dockerfile_inline"].splitlines()

        assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+", first)
        [lock] = re.findall(r"COPY (\S+) /tmp/", copy)
        assert (ROOT / build["context"] / lock).exists()
        assert "--require-hashes" in install
        assert f"/tmp/{lock}" in install


def test_r25_the_notebook_and_its_modules_are_in_the_folder_that_is_mounted(
    services: dict[str, dict[str, Any]],
) -> None:
    notebook = services["notebook"]
    [mounted] = notebook["volumes"]

    assert mounted == ".:/quiet-hours"
    assert "WORKDIR /quiet-hours" in notebook["build"]["dockerfile_inline"]
    [source] = re.findall(r"cp -n (\S+) build/", notebook["command"][-1])
    assert (ROOT / source).exists()


def test_r25_the_embedded_aws_answers_under_its_name_and_names_its_queues_by_it(
    embedded_aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a network of containers does for the name, a changed look-up does here."""
    look_up = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
        return look_up("127.0.0.1" if host == NAME else host, *arguments, **named)

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    port = urlsplit(embedded_aws.endpoint).port
    sqs = client(f"http://{NAME}:{port}", "sqs")
    url = sqs.create_queue(QueueName="by-name")["QueueUrl"]

    assert urlsplit(url).netloc == f"{NAME}:{port}"
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert message["Body"] == "hello"


def test_r25_the_stack_can_be_deployed_to_an_embedded_aws_that_somebody_else_has_started(
    embedded_aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`make local ENDPOINT=…` deploys there, and neither starts nor stops anything."""
    deployed_to: list[str] = []

    def deploy(endpoint: str, directory: Path, context: object) -> dict[str, str]:
        deployed_to.append(endpoint)
        raise CommandError("no further")

    monkeypatch.setattr(start.deploy, "deploy", deploy)
    monkeypatch.setattr(server, "running_in_background", lambda: None)
    monkeypatch.setattr(server, "start_in_background", lambda port: pytest.fail("it was started"))
    monkeypatch.setattr(server, "stop_in_background", lambda: pytest.fail("it was stopped"))
    monkeypatch.setenv("ENDPOINT", embedded_aws.endpoint + "/")
    with pytest.raises(CommandError, match="no further"):
        start.main()
    assert deployed_to == [embedded_aws.endpoint]


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nonsense"])
def test_r25_an_address_where_no_embedded_aws_answers_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT", endpoint)

    with pytest.raises(CommandError, match=f"No embedded AWS answers on {endpoint}"):
        start.main()
