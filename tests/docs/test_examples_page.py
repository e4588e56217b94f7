"""The pages on the examples give commands that the scripts take, and the scripts need what the pages say."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, code

SCRIPTS = sorted(
    path
    for folder in ("queues", "fifo")
    for path in (ROOT / "examples" / folder).glob("*.py")
    if path.stem != "__init__"
)
COMMANDS = sorted(
    match[1]
    for page in ("docs/examples.md", "docs/fifo.md")
    for line in code(PAGES[page])
    if (match := re.match(r"\.venv/bin/python (examples/[^#]+)", line))
)


class Reached(Exception):
    """The script has read its arguments and wants a client."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_is_one_that_its_script_takes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(service: str) -> None:
        raise Reached

    script, *arguments = command.split()
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("boto3.client", client)
    monkeypatch.setattr("sys.argv", [script, *arguments])
    monkeypatch.setattr(
        "pathlib.Path.read_text", lambda path, encoding: '{"QuietHours": {"ProducerFunctionName": "p"}}'
    )
    with pytest.raises(Reached):
        module.main()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_documented_with_a_command(script: Path) -> None:
    name = script.relative_to(ROOT).as_posix()

    assert any(command.startswith(name) for command in COMMANDS)
    assert f"python {name}" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_needs_boto3_and_nothing_else(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"boto3"}
