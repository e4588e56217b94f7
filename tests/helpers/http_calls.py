"""Calling a peer on this machine, with a look at the sockets that are left."""

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
DEADLINE_S = 0.4


@pytest.fixture(autouse=True)
def no_socket_is_left_behind() -> Any:
    before = open_sockets()
    yield
    deadline = time.monotonic() + 20  # only a socket that is never closed waits so long
    while open_sockets() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the peer's threads end on their own
    assert open_sockets() <= before


def open_sockets() -> int:
    found = 0
    for descriptor in range(3, 256):
        with suppress(OSError):
            found += stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    return found


def post(url: str, body: bytes = b"{}", deadline_s: float = DEADLINE_S) -> Answer:
    client = PostClient(url, deadline_s, local=True)
    try:
        return client.post({"content-type": "application/json"}, body)
    finally:
        client.close()
