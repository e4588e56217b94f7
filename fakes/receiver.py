"""A provider on this machine: an HTTP server that knows nothing of the system, and records what it gets and when.

    python -m fakes.receiver FILE [PORT]

Prints its port. Every POST becomes one JSON line in FILE: `id` (the webhook-id header), `at` (UTC, when it arrived),
`status` (of the answer), `body`. `PUT /rules` with a JSON array sets the rules of the answers from then on. The first
rule that matches an id applies; without any the answer is 200:

    {"id_ends": ":poison",     the ids that it matches; missing = all
     "status": 503,            the answer; missing = 200
     "retry_after_s": 2,       a Retry-After header
     "delay_s": 0.5,           wait before answering
     "hang_up": true,          act as `status` says, but close the connection instead of answering
     "times": 3}               how often it applies; missing = always
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO


class Receiver(ThreadingHTTPServer):
    """Listens on 127.0.0.1; `port` 0 takes a free one. Writes to `book`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, book: TextIO, handler: type[Handler] | None = None) -> None:
        super().__init__(("127.0.0.1", port), handler or Handler)
        self._book = book
        self._lock = threading.Lock()
        self._rules: list[dict[str, Any]] = []

    def set_rules(self, rules: list[dict[str, Any]]) -> None:
        """Replace all rules."""
        with self._lock:
            self._rules = rules

    def rule_for(self, notification_id: str) -> dict[str, Any]:
        """Return the rule that matches, and count its use; an empty rule if none matches."""
        with self._lock:
            for rule in self._rules:
                if notification_id.endswith(rule.get("id_ends", "")) and rule.get("times", 1) > 0:
                    if "times" in rule:
                        rule["times"] -= 1
                    return rule
        return {}

    def write_down(
        self, notification_id: str, at: datetime, status: int, body: bytes, provider: str = "webhook"
    ) -> None:
        """Write one line at once, because readers follow the file."""
        line = {"provider": provider, "id": notification_id, "at": at.isoformat(timespec="microseconds")}
        text = json.dumps(line | {"status": status, "body": body.decode(errors="replace")}, ensure_ascii=False)
        with self._lock:
            self._book.write(text + "\n")
            self._book.flush()


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open for many requests."""

    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # status, headers and body leave together
    timeout = 120

    def do_POST(self) -> None:
        at = datetime.now(UTC)
        body = self._body()
        notification_id = self.headers.get("webhook-id", "")
        rule = self.server.rule_for(notification_id)
        status = rule.get("status", 200)
        time.sleep(rule.get("delay_s", 0))
        self.server.write_down(notification_id, at, status, body)
        if rule.get("hang_up"):
            self.close_connection = True
            return
        self._answer(status, {"Retry-After": str(rule["retry_after_s"])} if "retry_after_s" in rule else {})

    def do_PUT(self) -> None:
        body = self._body()
        if self.path != "/rules":
            self._answer(404, {})
            return
        self.server.set_rules(json.loads(body))
        self._answer(204, {})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass  # the book has everything


def serve(make: Callable[[int, TextIO], Receiver]) -> None:
    """Serve, as the command line says, until the process ends."""
    path, port = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with path.open("a", encoding="utf-8") as book, make(port, book) as receiver:
        print(receiver.server_address[1], flush=True)
        receiver.serve_forever()


if __name__ == "__main__":
    serve(Receiver)
