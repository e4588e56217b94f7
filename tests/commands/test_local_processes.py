"""No process is left running, however its starter ends. A command that cannot work says why in one sentence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local import ROOT, CommandError, processes, server, shown, start


def alive(process_id: int) -> bool:
    """True if a process runs. A process that has ended and still waits for its parent does not."""
    try:
        os.kill(process_id, 0)
        stat = Path(f"/proc/{process_id}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def children_of(process_id: int) -> list[int]:
    """All descendants of a process, as the system knows them now."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [process_id]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def wait_until(holds: Callable[[], object], within_s: float = 240) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the process table of Linux")


def test_a_tethered_process_ends_with_its_whole_group_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = f"""
import os, subprocess, sys, time
from pathlib import Path
from local import processes
sleeper = Path({str(tmp_path)!r})
code = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
(sleeper / "patient.py").write_text(code)
env = dict(os.environ, PYTHONPATH=str(sleeper))
child = processes.start_tethered(sys.executable, ["patient"], env=env, log=sleeper / "log", stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode(), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        family = [int(part) for part in parent.stdout.readline().split()]
        assert len(family) == 2
        assert all(map(alive, family))
        parent.kill()
    wait_until(lambda: not any(map(alive, family)))


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "QUIET_HOURS_BUILD": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "demo.run"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as demo:
        # The embedded AWS, the receiver, two CDK CLIs, and what the CDK starts: Python and a Node of its own.
        wait_until(lambda: len(children_of(demo.pid)) >= 6 or demo.poll() is not None)
        family = children_of(demo.pid)
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=120)
    assert len(family) >= 6, errors
    assert demo.returncode == 128 + number
    assert "Traceback" not in errors
    wait_until(lambda: not any(map(alive, family)))


def test_a_command_that_fails_says_how_its_output_ends(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="the reason"):
        processes.run(["sh", "-c", "echo the reason; exit 3"], env=os.environ, log=tmp_path / "log", timeout_s=10)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="did not finish within 0 s"):
        processes.run(["sleep", "600"], env=os.environ, log=tmp_path / "log", timeout_s=0.1)


def test_a_port_in_use_gets_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CommandError) as caught:
            server.start(port, tmp_path / "aws")
    assert str(port) in str(caught.value)
    assert f"PORT={port + 1}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("port", ["x", "80", "70000", "４５６６"])
def test_a_port_that_is_none_is_refused(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(CommandError, match="PORT must be a number from 1024 to 65535"):
        start.requested_port()


def test_what_runs_in_the_background_is_found_and_ended_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "local" / "server.json"
    monkeypatch.setattr(server, "_LOCK", lock)
    assert server.running_in_background() is None
    assert server.stop_in_background() is None

    port = server.free_port()
    assert server.start_in_background(port) == f"http://127.0.0.1:{port}"
    process_id, its_port = server.running_in_background() or (0, 0)
    assert its_port == port
    stale = lock.read_text()
    assert server.stop_in_background() == port
    wait_until(lambda: not alive(process_id))

    # A file that was left behind names a process id that may be somebody else's by now: ours, here.
    lock.parent.mkdir()
    lock.write_text(stale.replace(str(process_id), str(os.getpid())))
    assert server.running_in_background() is None
    assert server.stop_in_background() is None


def test_a_path_is_printed_from_the_repository_on_and_whole_outside_of_it(tmp_path: Path) -> None:
    assert str(shown(ROOT / "build" / "outputs.json")) == "build/outputs.json"
    assert shown(tmp_path / "outputs.json") == tmp_path / "outputs.json"
