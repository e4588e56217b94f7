"""`make server`: a deployment behind two URLs of this machine, with a clock that can be set.

    python -m simulation.server

It runs the production handlers on the simulation's AWS, without faults, in memory: nothing is kept, and no provider is
called. `PORT` in the environment is the port. Only 127.0.0.1 is listened on. `SOURCES` names modules of sources with a
schedule of their own, separated by commas: each has `NAME`, `TIMES`, `TIMEZONE` and `handler`.

    POST /send      put a body on the notification queue
    GET /test       trigger the scheduler and the sources; the answer is the map of results
    PUT /clock      set the clock to a time with an offset, such as 2020-11-12T08:00:00+09:00
    GET /status     the clock, the messages on each queue, and how each notification has ended

The clock stands still but for the moments that the functions need. Setting it lets the time until then pass, with what
happens by itself meanwhile. Only `GET /test` triggers anything. An earlier time begins a new, empty deployment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from random import Random
from typing import Any, NamedTuple

from commands import CommandError
from commands.run import run_command
from lambdas import source
from lambdas.quiet_hours.sources import Source
from local.server import check_port_is_free
from local.start import requested_port

from .checks import Checks
from .deployment import Deployment
from .faults import Faults
from .plan import Plan
from .providers import Kind
from .queues import Msg
from .stage import REAL_KINDS, SEOUL
from .topology import LANE_BYTES_MAX
from .world import Process, World

DEFAULT_PORT = 8080
STEP_S, STEPS_MAX = 30.0, 120
"""The virtual time after which is asked if all work is done, and how often. What rests for longer goes on when the
clock is set."""

KINDS = {**REAL_KINDS, "log": Kind("resend", batch_size=100, side_by_side=1, deadline_s=1.0)}


class Unchecked(Checks):
    """Checks nothing: the promises are about notifications that a plan has made."""

    def provider_took(self, provider: str, notification: dict[str, Any], process: Process, tries_s: float) -> None:
        pass

    def wait_received(self, queue: str) -> None:
        pass

    def wait_took(self, msg: Msg) -> None:
        pass


class LocalSource(NamedTuple):
    """A source with a schedule of its own, and its function."""

    source: Source
    handler: Callable[[dict[str, Any], None], object]

    @classmethod
    def load(cls, module: str) -> LocalSource:
        """Import a source's module. Raises `CommandError` if it is none."""
        try:
            found = import_module(module)
            return cls(Source.of(found.NAME, found.TIMES, found.TIMEZONE), found.handler)
        except (ImportError, AttributeError, ValueError) as error:
            raise CommandError(f"SOURCES={module} is not the module of a source: {error}") from None


class Answer(NamedTuple):
    """The HTTP status, and what is answered as JSON."""

    status: int
    content: Any


class Local:
    """A deployment on a virtual clock, which begins empty at `now`."""

    def __init__(self, now: datetime, sources: Sequence[LocalSource] = ()) -> None:
        self._sources = sources
        self._begin(now)

    def _begin(self, now: datetime) -> None:
        self._ran = {each.source.name: each.source.slot(now) for each in self._sources}
        plan = Plan(SEOUL, now, "korea", 1, [], [], faults_until=0.0, slow_s=0.1)
        self.world = World(now, seed=0)
        faults = Faults(Random(0), 0.0)
        checks = Unchecked(self.world, plan, KINDS, late_s=0.0)
        self.deployment = Deployment(plan, self.world, faults, checks, jitter_s=0.0, kinds=KINDS)

    @property
    def now(self) -> datetime:
        """The time that the clock shows."""
        return self.world.time().astimezone(SEOUL)

    def send(self, body: bytes) -> Answer:
        """Put a body on the notification queue, whatever it is, and let the functions work on it."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return Answer(400, {"error": "the body must be UTF-8"})
        if not 0 < len(body) <= LANE_BYTES_MAX:
            return Answer(400, {"error": f"the body must have 1 to {LANE_BYTES_MAX} bytes"})
        message = self.deployment.queues["notification"].put(text, {})
        self._settle()
        return Answer(200, {"message_id": message.id})

    def test(self) -> Answer:
        """Trigger the scheduler and the sources, and let the functions work on what they bring."""
        results: dict[str, Any] = {}

        def note(name: str, answer: Any) -> None:
            results[name] = answer if isinstance(answer, dict) else {"error": f"{type(answer).__name__}: {answer}"}

        self.deployment.scheduler.invoke({}, partial(note, "scheduler"))
        for each in self._sources:
            process = Process(self.world, each.source.name)
            process.start(partial(self._run, each, process), partial(note, each.source.name))
        self._settle()
        return Answer(200, results)

    def _run(self, each: LocalSource, process: Process) -> dict[str, Any]:
        """Run a source if a time of its own has come since its last run. One that fails runs again the next time."""
        slot = each.source.slot(process.now())
        if slot == self._ran[each.source.name]:
            return {"skipped": f"none of its times has come since {slot.until.isoformat()}"}
        sqs, settings = self.deployment.sqs(process), self.deployment.settings
        result = source.run(each.source, slot, lambda asked: each.handler(asked, None), process.now(), sqs, settings)
        self._ran[each.source.name] = slot
        return result

    def set_clock(self, body: bytes) -> Answer:
        """Let time pass until then. An earlier time begins anew."""
        try:
            wanted = datetime.fromisoformat(body.decode().strip())
            if wanted.tzinfo is None:
                raise ValueError
        except ValueError:
            return Answer(400, {"error": "the body must be a time with an offset: 2020-11-12T08:00:00+09:00"})
        t = self.world.seconds(wanted)
        if t < self.world.t:
            self._begin(wanted)
        else:
            self.world.run(t, lambda: False)
            self.world.t = t
        return self.status()

    def status(self) -> Answer:
        """The clock, the messages on each queue, and the state of each notification in the ledger."""
        ledger = self.deployment.tables["ledger"].items
        queues = {name: len(queue.messages) for name, queue in self.deployment.queues.items()}
        states = {id_: item["state"]["S"] for id_, item in ledger.items()}
        return Answer(200, {"now": self.now.isoformat(timespec="seconds"), "queues": queues, "notifications": states})

    def _settle(self) -> None:
        """Let time pass until no function works and no queue holds work. Wait is none: the scheduler empties it."""
        for _ in range(STEPS_MAX):
            self.world.run(self.world.t + STEP_S, self._is_settled)
            if self._is_settled():
                return

    def _is_settled(self) -> bool:
        queues = self.deployment.queues.items()
        busy = any(queue.messages for name, queue in queues if name not in ("wait", "dead-letter"))
        return not busy and not self.world.alive


class Server(HTTPServer):
    """Serves one deployment, one request at a time: all of it runs in this thread."""

    def __init__(self, port: int, local: Local) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.local = local


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        self._answer(self.server.local.send(self._body()) if self.path == "/send" else _NOT_FOUND)

    def do_PUT(self) -> None:
        self._answer(self.server.local.set_clock(self._body()) if self.path == "/clock" else _NOT_FOUND)

    def do_GET(self) -> None:
        asked = {"/test": self.server.local.test, "/status": self.server.local.status}.get(self.path)
        self._answer(asked() if asked else _NOT_FOUND)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _answer(self, answer: Answer) -> None:
        body = json.dumps(answer.content, ensure_ascii=False).encode() + b"\n"
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_NOT_FOUND = Answer(404, {"error": "there are POST /send, GET /test, PUT /clock and GET /status"})


def main() -> None:
    """Serve until the process ends. Raises `CommandError` if the port is taken."""
    port = requested_port() or DEFAULT_PORT
    check_port_is_free(port)
    modules = [each.strip() for each in os.environ.get("SOURCES", "").split(",") if each.strip()]
    local = Local(datetime.now(UTC), [LocalSource.load(module) for module in modules])
    with Server(port, local) as server:
        clock = f"{local.now:%Y-%m-%d %H:%M:%S %Z}"
        print(f"http://127.0.0.1:{port} answers. Its clock shows {clock}. Ctrl-C ends it.", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    run_command(main)
