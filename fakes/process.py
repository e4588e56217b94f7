"""Runs a receiver as a process: starts it, tells it how to answer, reads its book."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from local import ROOT, CommandError, processes


@dataclass(frozen=True, slots=True)
class Arrival:
    """One notification that reached the receiver. `accepted`: the receiver answered 2xx."""

    id: str
    at: datetime
    status: int
    body: str
    provider: str = "webhook"

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300


@dataclass
class Provider:
    """A receiver process, which ends with this one, and its book. `module`: one webhook receiver, or `fakes.server` for
    the fakes of all providers.

    After a stop and a start it has the same port and the same book, like a provider that was down.
    """

    book: Path
    port: int = 0
    module: str = "fakes.receiver"
    _process: subprocess.Popen[bytes] | None = None
    _read_bytes: int = 0
    _arrivals: list[Arrival] = field(default_factory=list)

    @property
    def host_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.host_url}/notifications"

    def start(self) -> None:
        """Start it without rules. Raises `CommandError` if it does not start."""
        self.book.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        log = self.book.with_suffix(".log")
        module = [self.module, str(self.book), str(self.port)]
        self._process = processes.start_tethered(sys.executable, module, env=env, log=log, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        self._process.stdout.close()
        if not said.strip().isdigit():
            self.stop()
            raise CommandError(f"The receiver did not start. Its output ends:\n{processes.tail(log)}")
        self.port = int(said)

    def stop(self) -> None:
        """End it: from now on connections are refused."""
        if self._process is not None:
            processes.end_group(self._process)
            self._process = None

    def answer(self, *rules: dict[str, Any]) -> None:
        """Set the rules of the answers, as `fakes.receiver` describes them. Without any it answers 200."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/rules", method="PUT", data=json.dumps(rules).encode()
        )
        opener.open(request, timeout=10).close()

    def arrivals(self) -> list[Arrival]:
        """Return everything that has arrived so far, in the order of the answers."""
        if self.book.exists():
            with self.book.open("rb") as book:
                book.seek(self._read_bytes)
                new = book.read()
            whole = new[: new.rfind(b"\n") + 1]  # the last line may be incomplete
            self._read_bytes += len(whole)
            for line in whole.splitlines():
                entry = json.loads(line)
                at = datetime.fromisoformat(entry["at"])
                self._arrivals.append(Arrival(entry["id"], at, entry["status"], entry["body"], entry["provider"]))
        return self._arrivals
