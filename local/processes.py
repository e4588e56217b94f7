"""Child processes that never outlive their purpose: each leads a group of its own, and the group ends as one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import ROOT, CommandError

_TETHER = Path(__file__).with_name("tethered.py")
_GONE_WITHIN_S = 10


def start_tethered(
    python: Path | str, module: Sequence[str], *, env: Mapping[str, str], log: Path, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module` so that it ends with us, however we end. Its output goes to `log` unless told."""
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
    """Run to the end with the output in `log`. Raises `LocalError` with the log's last lines if it fails."""
    with running(command, env=env, log=log) as process:
        finish(process, log=log, timeout_s=timeout_s)


@contextlib.contextmanager
def running(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose whole group has ended when the block is left, by an exception or an interrupt too."""
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
    """Wait for a child of `running`. Raises `LocalError` with the log's last lines if it fails or takes too long."""
    name = " ".join(str(part) for part in process.args[:2]).replace(f"{ROOT}/", "")  # type: ignore[index]
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise CommandError(f"`{name}` did not finish within {timeout_s:.0f} s. Its output ends:\n{tail(log)}") from None
    if status != 0:
        raise CommandError(f"`{name}` failed. Its output ends:\n{tail(log)}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a child and its whole group. Nothing in it has anything to save, so it is not asked first."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_GONE_WITHIN_S)
    if process.stdin is not None:
        process.stdin.close()


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, indented, for an error message."""
    text = log.read_text(errors="replace").rstrip().splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in text)


def stop_on_signals() -> None:
    """Make every polite way of ending us (SIGINT, SIGTERM, SIGHUP) an exception, so that cleaning up happens."""

    def interrupt(number: int, _frame: object) -> None:
        for ours in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ours, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleaning up
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
