"""`make notebook`: opens examples/sqs.ipynb in JupyterLab, with the embedded AWS and the stack running beside it."""

from __future__ import annotations

import os

from commands.run import run_command

from . import ROOT, CommandError, server, start
from .aws import child_environment
from .deploy import OUTPUTS

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
NOTEBOOK = ROOT / "examples" / "sqs.ipynb"


def command() -> list[str]:
    """Return the command that starts JupyterLab: reachable from this machine only, and asking nobody for news.

    In a container you are root, and JupyterLab would refuse to start.
    """
    return [
        *(str(PYTHON), "-m", "jupyterlab", str(NOTEBOOK)),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={ROOT}", "--ServerApp.allow_root=True"),
        *("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
    ]


def main() -> None:
    """Start the embedded AWS with the stack unless both are there, then become JupyterLab. Raises `CommandError`."""
    if not PYTHON.exists():
        raise CommandError("JupyterLab is not installed: `make notebook` does it.")
    if server.running_in_background() is None or not OUTPUTS.exists():
        start.main()
    background = server.running_in_background()
    if background is None:
        raise CommandError("The embedded AWS has ended.")
    print("Opening JupyterLab. Ctrl-C ends it; `make local-stop` ends the embedded AWS.", flush=True)
    env = child_environment(background.endpoint) | {"QUIET_HOURS_OUTPUTS": str(OUTPUTS)}
    os.execve(PYTHON, command(), env)  # noqa: S606 (no child: Ctrl-C goes to JupyterLab alone)


if __name__ == "__main__":
    run_command(main)
