"""Starts child processes that never outlive their use. Each leads a process group, and the whole group ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import ROOT, CommandError

_TETHER = Path(__file__).with_name("tethered.py")
_GONE_WITHIN_S = 10


def start_tethered(
    python: Path | str, module: Sequence[str], *, env: Mapping[str, str], log: Path, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module` so that it ends with this process, however this one ends. Its standard error goes to
    `log`, and its standard output too unless `stdout` is given."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [python, "-P", _TETHER, *module],
            cwd=log.parent,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=output if stdout is None else stdout,
            stderr=output,
            start_new_session=True,
        )


def run(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path, timeout_s: float) -> None:
    """Run a command with its output in `log`. Raises `CommandError` with the log's last lines if it fails."""
    with running(command, env=env, log=log) as process:
        finish(process, log=log, timeout_s=timeout_s)


@contextlib.contextmanager
def running(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a child in a block. Its whole group ends with the block, also after an exception or an interrupt."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


def finish(process: subprocess.Popen[bytes], *, log: Path, timeout_s: float) -> None:
    """Wait for a child of `running`. Raises `CommandError` with the log's last lines if it fails or takes too long."""
    name = " ".join(str(part) for part in process.args[:2]).replace(f"{ROOT}/", "")  # type: ignore[index]
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise CommandError(f"`{name}` did not finish within {timeout_s:.0f} s. Its output ends:\n{tail(log)}") from None
    if status != 0:
        raise CommandError(f"`{name}` failed. Its output ends:\n{tail(log)}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and its whole group. None of them has anything to save, so none is asked first."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_GONE_WITHIN_S)
    if process.stdin is not None:
        process.stdin.close()


def tail(log: Path, lines: int = 15) -> str:
    """Return the end of a log, indented, for an error message."""
    text = log.read_text(errors="replace").rstrip().splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in text)
