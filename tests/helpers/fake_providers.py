"""The fakes of the providers, run in this process on a real socket, and the records that they write."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from fakes.server import Fakes
from lambdas.quiet_hours.channels.channel import Channel, Outcome
from lambdas.quiet_hours.notification.notification import Notification, accept

_NOBODY = socket.socket()
_NOBODY.bind(("127.0.0.1", 0))
"""It has a port and does not listen: connections are refused, and no other process gets the port."""


@dataclass
class Running:
    """All fakes behind `url`."""

    server: Fakes
    book: io.StringIO

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def anew(self) -> Running:
        """Remove all rules and records, and return itself."""
        self.rules()
        self.book.truncate(0)
        self.book.seek(0)
        return self

    def rules(self, *rules: dict[str, Any]) -> None:
        self.server.set_rules(list(rules))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.book.getvalue().splitlines()]

    @property
    def taken(self) -> list[str]:
        """The ids that a provider has accepted, in order, with duplicates."""
        return [line["id"] for line in self.lines if line["status"] == 200]

    @property
    def bodies(self) -> list[Any]:
        """Each notification's request, read as JSON."""
        return [json.loads(line["body"]) for line in self.lines]


@contextmanager
def fakes() -> Iterator[Running]:
    book = io.StringIO()
    with Fakes(0, book) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        serving.start()
        try:
            yield Running(server, book)
        finally:
            server.shutdown()
            serving.join()


def now() -> datetime:
    return datetime.now(UTC)


def notification(channel: str, id: str, address: str, content: dict[str, Any], **fields: Any) -> Notification:
    given = {"channel": channel, "id": id, "address": address, "content": content, "category": "informational"}
    return accept(given | fields, default_id=id, now=now())[0]


def send(channel: Channel, *notifications: Notification) -> list[Outcome]:
    """One call, and the connections closed after it, as the worker does."""
    try:
        return list(channel.send(list(notifications)))
    finally:
        channel.close()


@cache
def session() -> boto3.session.Session:
    """The one session for all tests: loading the services' models takes longer than most tests."""
    return boto3.session.Session("test", "test", region_name="us-east-1")


def aws_client(service: str, region: str | None, endpoint_url: str | None) -> Any:
    """Make a client as the worker does, with keys for tests."""
    config = Config(retries={"total_max_attempts": 1})
    make: Any = session().client
    return make(service, region, endpoint_url=endpoint_url, config=config)


def no_clients(*_: Any) -> Any:
    raise AssertionError("only AWS's own channels have clients")


def nobody_there() -> str:
    """A URL of this machine where nothing listens."""
    return f"http://127.0.0.1:{_NOBODY.getsockname()[1]}"
