"""Runs a script of examples/ as a reader does: a process of its own, read line by line, ended by Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from local import ROOT
from local.aws import child_environment

WITHIN_S = 60
"""Bounds a wait for something that takes a second or two. It decides a failure only: machines are busy."""
AGAIN_AFTER_S = 10


class Script:
    """A running script. `lines` grows with each line that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(line.rstrip("\n") for line in iter(self.process.stdout.readline, ""))

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """Return the line in which a pattern is found for the given time. Raises `AssertionError` if none comes."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            found = [line for line in self.lines if re.search(pattern, line)]
            if len(found) >= times:
                return found[times - 1]
            if ended and not self._reader.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} was not printed {times} times: {self.lines}")

    def press_ctrl_c(self) -> None:
        """Interrupt the script. Raises `AssertionError` unless it ends with 0 and prints no traceback.

        Python drops an interrupt that arrives while a destructor runs. At a terminal you would press again.
        """
        for _ in range(WITHIN_S // AGAIN_AFTER_S):
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(AGAIN_AFTER_S)
                break
        self.end()

    def end(self) -> list[str]:
        """Wait until the script has ended; return its lines. Raises `AssertionError` unless it ends with 0."""
        try:
            status = self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end: {self.lines}") from None
        self._reader.join(WITHIN_S)
        assert status == 0, self.lines
        assert not any("Traceback" in line for line in self.lines), self.lines
        return self.lines


def _listen_to_ctrl_c() -> None:
    """Undo what a shell does to its jobs in the background: they and their children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(endpoint: str, script: str, *arguments: str) -> Iterator[Script]:
    """Run examples/`script` against the embedded AWS for the time of a block."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples" / script, *arguments],
        env=child_environment(endpoint),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_listen_to_ctrl_c,
    )
    try:
        yield Script(process)
    finally:
        process.kill()
        process.wait()


def run(endpoint: str, script: str, *arguments: str) -> list[str]:
    """Run examples/`script` against the embedded AWS to its end; return its lines."""
    with running(endpoint, script, *arguments) as started:
        return started.end()
