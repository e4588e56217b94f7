"""One HTTP POST that is over by a deadline, with no redirects and no retries, and that knows whether it was sent.

The usual clients bound each socket operation but not the whole call, and follow or repeat on their own. Here the sum
counts, because quiet hours may begin meanwhile, and whether the provider may have the request decides what is done.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import NoAnswer, NotSent

RESPONSE_BYTES_MAX = 256 * 1024
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
"""This machine, for local use. Any other name must lead to a public address, whatever it resolves to."""

_LIBRARY_ERRORS = (OSError, http.client.HTTPException, ValueError)
"""What the standard library raises when a call fails; a name that cannot be looked up may be a ValueError."""


class NotPublic(OSError):
    """Raised when a provider's name leads to an address that is not on the public internet."""


class Answer(NamedTuple):
    """What came back: names of `headers` in lower case, of `body` at most `RESPONSE_BYTES_MAX` bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PostClient:
    """Keeps a connection for each thread to one URL. `deadline_s` bounds a call from its start to the last byte; only
    looking up the name may take longer, and then nothing is sent.

    Raises `ValueError` when the URL is not https, or carries a user name, or is on another host than `only_host`, or on
    this machine. Where `local` is true, this machine is allowed, by http too.
    """

    def __init__(self, url: str, deadline_s: float, only_host: str | None = None, local: bool = False) -> None:
        if not re.fullmatch(r"[!-~]+", url):
            raise ValueError("url must be set, in visible ASCII characters")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its text shows the URL
            raise ValueError("url has a host or a port that cannot be read") from None
        here = parts.hostname in LOCAL_HOSTS
        if parts.hostname is None or parts.username is not None:
            raise ValueError("url must name a host and carry no user name")
        if here and not local:
            raise ValueError("url must not be on this machine: that is for local use only")
        if parts.scheme != "https" and not (parts.scheme == "http" and here):
            raise ValueError("url must begin with https:// (http:// is for this machine only)")
        if only_host is not None and parts.hostname != only_host and not here:
            raise ValueError(f"url must be on {only_host}")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = port or (443 if self._tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._deadline_s = deadline_s
        self._local = threading.local()
        self._connections: list[_Connection] = []

    def post(self, headers: Mapping[str, str], body: bytes, target: str | None = None) -> Answer:
        """Post to the URL, or to another path and query on its host (`target`). Raises `NotSent` or `NoAnswer`."""
        deadline = monotonic() + self._deadline_s
        connection = self._connection()
        connection.deadline = deadline
        try:
            connection.ready()
        except _LIBRARY_ERRORS as error:
            connection.close()
            raise NotSent(type(error).__name__) from None
        try:
            connection.request("POST", target or self._target, body=body, headers=dict(headers))
            connection.flush()
            with connection.getresponse() as response:
                answer = response.read(RESPONSE_BYTES_MAX)
                if response.status < 200:  # the answer is still to come, and http.client would not wait for it
                    raise http.client.ResponseNotReady
                if not response.isclosed():  # what is left unread would be taken for the next answer
                    connection.close()
        except _LIBRARY_ERRORS as error:
            connection.close()
            raise NoAnswer(type(error).__name__) from None
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, answer)

    def close(self) -> None:
        """Close every thread's connection."""
        while self._connections:
            self._connections.pop().close()
        self._local = threading.local()

    def _connection(self) -> _Connection:
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _Connection(self._host, self._port, self._tls)
            self._local.connection = connection
            self._connections.append(connection)
        return connection


class _Connection(http.client.HTTPConnection):
    """A connection all of whose waiting together ends at `deadline`."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self.auto_open = 0
        self.default_port = 443 if tls else 80  # no port in the Host header: AWS's signature is over a host without
        self.deadline = 0.0
        self._tls = tls
        self._unsent: list[bytes] = []

    def send(self, data: Any) -> None:
        """Keep what http.client would write in parts: head and body leave together, in one system call and packet."""
        self._unsent.append(data)

    def flush(self) -> None:
        """Write the request."""
        request, self._unsent = b"".join(self._unsent), []
        self.sock.sendall(request)

    def close(self) -> None:
        self._unsent.clear()
        super().close()

    def ready(self) -> None:
        """Be connected: still, or anew where the provider has hung up meanwhile."""
        if self.sock is not None and select.select([self.sock], [], [], 0)[0]:
            self.close()  # readable while nothing was asked: hung up
        if self.sock is None:
            self.connect()

    def connect(self) -> None:
        last_error: OSError = OSError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            if self.host not in LOCAL_HOSTS and not is_public(str(address[0])):
                last_error = NotPublic("not a public address")
                continue
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(_left_s(self.deadline))
                plain.connect(address)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                plain.settimeout(_left_s(self.deadline))
                wrapped = self._tls.wrap_socket(plain, server_hostname=self.host) if self._tls else plain
            except OSError as error:
                plain.close()
                last_error = error
            else:
                self.sock = _BoundedSocket(wrapped, self)
                return
        raise last_error


class _BoundedSocket:
    """What http.client needs of a socket, each operation given only the time that its call has left."""

    def __init__(self, plain: socket.socket, connection: _Connection) -> None:
        self._plain = plain
        self._connection = connection

    def fileno(self) -> int:
        return self._plain.fileno()

    def bound(self) -> socket.socket:
        """The socket, for one more operation."""
        self._plain.settimeout(_left_s(self._connection.deadline))
        return self._plain

    def sendall(self, data: bytes) -> None:
        self.bound().sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self, self._plain.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._plain.close()


class _Reader(io.RawIOBase):
    """Reads an answer. The socket stays open for it until both have been closed, as http.client relies on."""

    def __init__(self, sock: _BoundedSocket, raw: socket.SocketIO) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.bound()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet, and so is an IPv4 address that is wrapped in it."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        wrapped = found.ipv4_mapped or found.sixtofour
        if found.is_site_local or (wrapped is not None and not is_public(str(wrapped))):
            return False
    # Python calls some reserved addresses global: IPv4 ones written as IPv6 in old ways, and NAT64's local prefix.
    return found.is_global and not found.is_multicast and not found.is_reserved


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""A network without IPv4 translates these: https://www.rfc-editor.org/rfc/rfc6052"""


def _left_s(deadline: float) -> float:
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise TimeoutError("the deadline has passed")
    return left_s
