"""The Makefile on a machine that lacks something: one clear sentence each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from local import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that `make setup` needs, in a directory of another name, with nothing installed."""
    folder = tmp_path / "another name"
    folder.mkdir()
    for name in ("Makefile", "package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PIP_", "UV_"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that is not make's own."""
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    return line


def test_make_alone_lists_the_commands(clone: Path) -> None:
    listed = make(clone).stdout
    assert "make demo" in listed
    assert "make test" in listed


def test_without_a_python_that_is_new_enough_one_sentence_says_so(clone: Path) -> None:
    old = clone / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = make(clone, "demo", "PYTHON=./old-python no-such-python")
    assert result.returncode != 0
    assert sentence(result).startswith("Python 3.11 or newer with venv and pip is needed")
    assert "./old-python no-such-python" in sentence(result)


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [("x86_64", "x86_64"), ("amd64", "x86_64"), ("arm64", "arm64"), ("aarch64", "arm64")],
)
def test_sam_env_synthesises_for_this_machines_architecture(clone: Path, machine: str, architecture: str) -> None:
    uname = clone / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text(f"#!/bin/sh\necho {machine}\n")
    uname.chmod(0o755)
    path = os.pathsep.join([str(uname.parent), os.environ["PATH"]])
    result = make(clone, "--dry-run", "sam-env", "CONTEXT=-c architecture=yours", PATH=path)
    (synth,) = re.findall(r"cdk synth .*", result.stdout)
    assert re.findall(r"architecture=(\w+)", synth) == [architecture, "yours"], "the CDK takes the last one"


@pytest.mark.slow
def test_without_a_network_one_sentence_says_what_could_not_be_had(clone: Path) -> None:
    nowhere = "http://127.0.0.1:9/simple"  # the discard port: refused at once
    result = make(clone, "demo", PIP_INDEX_URL=nowhere, PIP_CONFIG_FILE=os.devnull, UV_DEFAULT_INDEX=nowhere)
    assert result.returncode != 0
    assert "requirements/uv.txt: is the network up and the package registry reachable?" in sentence(result)
