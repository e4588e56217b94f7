"""CI, the commit hooks and the Makefile run the same commands with the same versions."""

from __future__ import annotations

import re
import stat
from typing import Any

import yaml

from infra.function import RUNTIME
from local import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> str:
    """The commands of a target of the Makefile."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return str(found)


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def commands(job: Any) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def python_version(job: Any) -> str:
    (version,) = (step["with"]["python-version"] for step in job["steps"] if "python-version" in step.get("with", {}))
    return str(version)


def test_ci_checks_and_then_runs_every_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    lines = script.read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == ["make check", "make test", "make test-slow"]
    assert "set -euo pipefail" in lines


def test_each_test_is_in_one_of_the_two_runs() -> None:
    assert '-m "not slow"' in recipe("test")
    assert re.search(r"-m slow$", recipe("test-slow"), re.MULTILINE)
    assert " tests/" not in recipe("test") + recipe("test-slow")


def test_the_workflow_runs_what_any_ci_runs_and_no_secret_is_in_it() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["ci"]
    assert commands(job) == [".ci/run"]
    assert python_version(job) == "3.11"
    assert job["timeout-minutes"] <= 90
    assert "secrets" not in text


def test_the_workflow_runs_the_unit_tests_on_the_python_of_the_functions() -> None:
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["deployed-python"]
    version = python_version(job)
    assert commands(job) == [f"make unit PYTHON=python{version}"]
    assert RUNTIME.name == f"python{version}"


def test_the_commit_hooks_run_the_pinned_formatter_and_linter() -> None:
    (repo,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert all(hook["language"] == "system" for hook in repo["hooks"])
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in repo["hooks"]]
    assert all(hook["entry"].startswith(".venv/bin/") for hook in repo["hooks"])
    in_makefile = [line.strip() for line in recipe("check").splitlines() if line.strip().startswith("ruff ")]
    assert [line.removesuffix(" .").removesuffix(" --check") for line in in_makefile] == hooks
    assert re.search(r"^ruff==", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)


def test_unit_tests_need_one_environment_only() -> None:
    (needs,) = re.findall(r"^unit: (.*?) ##", MAKEFILE, re.MULTILINE)
    assert needs == ".venv/.filled"
    assert "tests/unit" in recipe("unit")
