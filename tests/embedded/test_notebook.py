"""examples/sqs.ipynb runs from top to bottom on the embedded AWS. Shows R26."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from local.aws import child_environment
from local.notebook import NOTEBOOK, PYTHON
from tests.helpers.pipeline import Pipeline

# nbclient executes it as JupyterLab does, with a kernel of its own.
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
source, executed = sys.argv[1:]
notebook = nbformat.read(source, 4)
NotebookClient(notebook, timeout=300, resources={"metadata": {"path": "examples"}}).execute()
nbformat.write(notebook, executed)
"""


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


@pytest.fixture(scope="module")
def executed(deployed: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each cell of code printed."""
    folder = tmp_path_factory.mktemp("notebook")
    env = child_environment(deployed.endpoint) | {
        "QUIET_HOURS_OUTPUTS": str(deployed.folder / "deploy" / "outputs.json"),
        **{f"JUPYTER_{name}_DIR": str(folder) for name in ("CONFIG", "DATA", "RUNTIME")},
        "IPYTHONDIR": str(folder),
    }
    run = subprocess.run(
        [PYTHON, "-c", EXECUTE, NOTEBOOK, folder / "executed.ipynb"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    deployed.forget_quiet_hours()
    assert run.returncode == 0, run.stderr
    cells = json.loads((folder / "executed.ipynb").read_text(encoding="utf-8"))["cells"]
    return [printed(cell) for cell in cells if cell["cell_type"] == "code"]


def of(executed: list[str], begins: str) -> str:
    [text] = [text for text in executed if text.startswith(begins)]
    return text


def test_r26_a_queue_is_created_with_a_delay_and_listed(executed: list[str]) -> None:
    created = next(text for text in executed if "delay: 2 s" in text)
    url = created.splitlines()[0]

    assert "/notes-" in url
    assert any(url in text.splitlines() for text in executed if text != created)


def test_r26_a_batch_prints_what_failed(executed: list[str]) -> None:
    sent, failed = of(executed, "sent: ").splitlines()

    assert sent == "sent: ['1', '2']"
    assert failed.startswith("failed: 3 InvalidParameterValue ")


def test_r26_messages_are_received_with_their_author_and_deleted(executed: list[str]) -> None:
    assert sorted(of(executed, "Hello").splitlines()) == ["Hello, mars (Kim)", "Hello, moon", "Hello, world"]
    assert of(executed, "left: ") == "left: 0\n"


def test_r26_the_pipeline_holds_releases_and_delivers(executed: list[str]) -> None:
    assert of(executed, "held: 1") == "held: 1 - state: not_recorded\n"
    assert "quiet hours until" in of(executed, "{")
    assert of(executed, "held: 0") == "held: 0\n"
    assert executed[-1] == "delivered\n"


def test_the_committed_notebook_has_no_output_and_names_the_queues_of_compose() -> None:
    text = Path(NOTEBOOK).read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]

    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)
    assert "http://cc104.sqs.local:4566" in text
