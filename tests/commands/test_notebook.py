"""`make notebook`: JupyterLab starts without Docker and listens on this machine only. Shows R25."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from local import CommandError, notebook, server
from local.aws import child_environment

WITHIN_S = 60


def get(url: str) -> Any:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return json.load(answer)


def test_r25_jupyterlab_starts_without_docker_and_listens_on_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(notebook, "COPY", tmp_path / "sqs.ipynb")
    shutil.copy(notebook.NOTEBOOK, notebook.COPY)
    port = server.free_port()
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.open_browser=False"]
    with (tmp_path / "log").open("w") as log:
        lab = subprocess.Popen(
            [*notebook.command(), *options, "--IdentityProvider.token=secret"],
            env=child_environment("http://127.0.0.1:1") | folders,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                [] = get(f"http://127.0.0.1:{port}/api/sessions?token=secret")
                break
            except (urllib.error.URLError, OSError):
                assert lab.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
        found = get(f"http://127.0.0.1:{port}/api/contents/sqs.ipynb?content=0&token=secret")
        assert found["type"] == "notebook"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"http://127.0.0.1:{port}/api/sessions")
        [listening] = {line.split()[1] for line in sockets() if line.split()[1].endswith(f":{port:04X}")}
        assert listening.startswith("0100007F:")  # 127.0.0.1, as Linux writes it
    finally:
        lab.send_signal(signal.SIGTERM)
        try:
            lab.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            lab.kill()


def sockets() -> list[str]:
    """The TCP sockets of this machine that listen, as Linux lists them."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]


def test_what_is_not_installed_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "PYTHON", tmp_path / "python")

    with pytest.raises(CommandError, match="JupyterLab is not installed: `make notebook` does it"):
        notebook.main()


def test_what_runs_already_is_used_and_the_notebook_is_pointed_at_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    began: list[tuple[Any, ...]] = []
    (tmp_path / "outputs.json").write_text("{}")
    monkeypatch.setattr(notebook, "OUTPUTS", tmp_path / "outputs.json")
    monkeypatch.setattr(server, "running_in_background", lambda: server.Background(1, 4577))
    monkeypatch.setattr(notebook, "COPY", tmp_path / "sqs.ipynb")
    monkeypatch.setattr(os, "execve", lambda *arguments: began.append(arguments))
    notebook.main()

    [(python, command, env)] = began
    assert (python, command) == (notebook.PYTHON, notebook.command())
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4577"
    assert env["AWS_ACCESS_KEY_ID"] == "test"
    assert env["QUIET_HOURS_OUTPUTS"] == str(tmp_path / "outputs.json")

    assert notebook.COPY.read_bytes() == notebook.NOTEBOOK.read_bytes()
    notebook.COPY.write_text("with outputs of the reader's own")
    notebook.main()
    assert notebook.COPY.read_text() == "with outputs of the reader's own"


def test_what_does_not_run_is_started_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "COPY", tmp_path / "sqs.ipynb")
    running: list[server.Background] = []
    began: list[Any] = []
    monkeypatch.setattr(server, "running_in_background", lambda: running[0] if running else None)
    monkeypatch.setattr(notebook.start, "main", lambda: running.append(server.Background(1, 4578)))
    monkeypatch.setattr(os, "execve", lambda *arguments: began.append(arguments[2]["AWS_ENDPOINT_URL"]))
    notebook.main()

    assert began == ["http://127.0.0.1:4578"]
