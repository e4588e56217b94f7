"""Calls to a peer on this machine, and a check that no socket is left open."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import Any

import pytest

from lambdas.quiet_hours.channels.http import Answer, PostClient

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST_OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
DEADLINE_S = 1.0
"""For calls that run into their deadline: long enough to connect and send on a busy machine."""

ENOUGH_S = 20.0
"""For calls that are answered."""


@pytest.fixture(autouse=True)
def no_socket_is_left_behind() -> Any:
    before = open_sockets()
    yield
    deadline = time.monotonic() + ENOUGH_S
    while open_sockets() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # until the peer's threads have ended
    assert open_sockets() <= before


def open_sockets() -> int:
    found = 0
    for descriptor in range(3, 256):
        with suppress(OSError):
            found += stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    return found


def post(url: str, body: bytes = b"{}", deadline_s: float = ENOUGH_S) -> Answer:
    client = PostClient(url, deadline_s, local=True)
    try:
        return client.post({"content-type": "application/json"}, body)
    finally:
        client.close()
