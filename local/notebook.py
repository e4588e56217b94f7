"""`make notebook`: opens a copy of examples/sqs.ipynb in JupyterLab, beside the embedded AWS with the stack."""

from __future__ import annotations

import os
import shutil

from commands.run import run_command

from . import BUILD, ROOT, CommandError, server, shown, start
from .aws import child_environment
from .deploy import OUTPUTS

PYTHON = ROOT / ".venv-notebook" / "bin" / "python"
NOTEBOOK = ROOT / "examples" / "sqs.ipynb"
COPY = BUILD / "sqs.ipynb"
"""What JupyterLab opens. It saves by itself, and outputs do not belong into the repository."""


def command() -> list[str]:
    """Return the command that starts JupyterLab: reachable from this machine only, and asking nobody for news.

    In a container you are root, and JupyterLab would refuse to start.
    """
    return [
        *(str(PYTHON), "-m", "jupyterlab", str(COPY)),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={COPY.parent}", "--ServerApp.allow_root=True"),
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
    if not COPY.exists():
        shutil.copy(NOTEBOOK, COPY)
    print(f"Opening {shown(COPY)} in JupyterLab. Ctrl-C ends it; `make local-stop` ends the embedded AWS.", flush=True)
    env = child_environment(background.endpoint) | {"QUIET_HOURS_OUTPUTS": str(OUTPUTS)}
    os.execve(PYTHON, command(), env)  # noqa: S606 (no child: Ctrl-C goes to JupyterLab alone)


if __name__ == "__main__":
    run_command(main)
