"""Runs the embedded AWS: a ministack process on one port of this machine, with its own directory."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from . import BUILD, ROOT, CommandError, processes
from .aws import ACCESS_KEY, REGION

DEFAULT_PORT = 4566
_PYTHON = ROOT / ".venv-ministack" / "bin" / "python"
_READY_WITHIN_S = 60
_LOCK = BUILD / "local" / "server.json"


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens at the moment.

    It lies below the ports that systems give to outgoing connections, so that none of these takes it in the meantime.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise CommandError("No port of this machine from 20000 to 31999 seems to be free.")


def check_port_is_free(port: int) -> None:
    """Raise `CommandError` if somebody listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT does not matter
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise CommandError(
                f"Port {port} of this machine is already in use: end what listens there, or choose another with PORT="
                f"{port + 1}."
            ) from None


def check_runs(endpoint: str) -> None:
    """Raise `CommandError` unless an embedded AWS answers there. The real AWS does not."""
    try:
        _ask_if_ready(endpoint)
    except (urllib.error.URLError, OSError, ValueError):
        raise CommandError(f"No embedded AWS answers on {endpoint}.") from None


@dataclass(frozen=True)
class Server:
    """A ministack that ends with this process."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it and every function that it runs."""
        processes.end_group(self.process)


def start(port: int, directory: Path) -> Server:
    """Start an empty embedded AWS that ends with this process. Empties `directory` first. Raises `CommandError`."""
    env, log = _prepare(port, directory)
    process = processes.start_tethered(_PYTHON, ["ministack"], env=env, log=log)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_ready(port, process, log)
    except BaseException:
        server.stop()
        raise
    return server


def start_in_background(port: int) -> str:
    """Start the embedded AWS of `make local`, which outlives this process, and return its endpoint.

    It locks a file that names its process for as long as it lives: a stale file, or a process id that the system has
    given to another process since, is never mistaken for it. Raises `CommandError`.
    """
    env, log = _prepare(port, _LOCK.parent)
    with _LOCK.open("w") as lock, log.open("ab") as output:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            [_PYTHON, "-P", "-m", "ministack"],
            cwd=_LOCK.parent,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        json.dump({"process": process.pid, "port": port}, lock)
    try:
        _wait_until_ready(port, process, log)
    except BaseException:
        processes.end_group(process)
        raise
    return f"http://127.0.0.1:{port}"


class Background(NamedTuple):
    """The embedded AWS of `make local`."""

    process_id: int
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def running_in_background() -> Background | None:
    """Return what `start_in_background` has started, or None if nothing runs."""
    try:
        with _LOCK.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                state = json.load(lock)
                return Background(state["process"], state["port"])
    except FileNotFoundError:
        pass
    return None


def stop_in_background() -> int | None:
    """End what `start_in_background` has started. Returns the port that it had, or None if nothing ran."""
    background = running_in_background()
    if background is None:
        return None
    os.killpg(background.process_id, signal.SIGKILL)
    for _ in range(100):
        if running_in_background() is None:
            break
        time.sleep(0.05)
    shutil.rmtree(_LOCK.parent, ignore_errors=True)
    return background.port


def _prepare(port: int, directory: Path) -> tuple[dict[str, str], Path]:
    if not _PYTHON.exists():
        raise CommandError("The embedded AWS is not installed: `make setup` does it.")
    check_port_is_free(port)
    shutil.rmtree(directory, ignore_errors=True)
    scratch = directory / "tmp"
    scratch.mkdir(parents=True)
    return _environment(port, scratch), directory / "ministack.log"


def _environment(port: int, scratch: Path) -> dict[str, str]:
    """Take only PATH from the caller's environment, because ministack passes its environment on to the functions."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": f"unix://{scratch}/no-docker.sock",  # it would remove containers of others
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",  # it would also listen on a fixed port
    }


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CommandError(f"The embedded AWS ended at once. Its output ends:\n{processes.tail(log)}")
        try:
            _ask_if_ready(f"http://127.0.0.1:{port}")
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise CommandError(
        f"The embedded AWS was not ready within {_READY_WITHIN_S} s. Its output ends:\n{processes.tail(log)}"
    )


def _ask_if_ready(endpoint: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}/_ministack/ready", timeout=5):
        pass
