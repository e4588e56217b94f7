"""Sends one HTTP POST that ends by a deadline, without redirects and retries, and reports whether it was sent.

The usual clients bound each socket operation but not the whole call, and they follow redirects and retry on their own.
Here the whole call is bounded, because quiet hours may begin during it. A failed call says whether the provider may
have the request, because the next step depends on that.
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
INTERIM_ANSWERS_MAX = 20
"""A server sends one or two interim answers: https://www.rfc-editor.org/rfc/rfc9110#section-15.2"""

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
"""The names of this machine, for local use. Every other name must resolve to a public address."""

_LIBRARY_ERRORS = (OSError, http.client.HTTPException, ValueError)
"""The errors of the standard library for a failed call. A name that cannot be looked up may be a ValueError."""


class NotPublic(OSError):
    """Raised when a provider's name resolves to an address that is not on the public internet."""


class Answer(NamedTuple):
    """The answer to a POST. The names of `headers` are in lower case; `body` is cut at `RESPONSE_BYTES_MAX`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PostClient:
    """Posts to one URL, over one connection for each thread. `deadline_s` bounds a call from its start to the last
    byte. Only the look-up of the name may take longer, and then nothing is sent.

    Raises `ValueError` if the URL is not https, has a user name, is on another host than `only_host`, or is on this
    machine. If `local` is true, this machine is allowed, also by http.
    """

    def __init__(self, url: str, deadline_s: float, only_host: str | None = None, local: bool = False) -> None:
        if not re.fullmatch(r"[!-~]+", url):
            raise ValueError("url must be set, in visible ASCII characters")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # the text of the error shows the URL
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
        """Post to the URL, or to another path and query of its host (`target`). Raises `NotSent` or `NoAnswer`."""
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
                if response.status < 200:  # another protocol (101), or interim answers without end
                    raise http.client.ResponseNotReady
                if not response.isclosed():  # unread bytes would be taken for the next answer
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


class _Response(http.client.HTTPResponse):
    """A final answer. Interim ones (1xx) before it are passed over: http.client itself passes over 100 only."""

    def begin(self, **options: Any) -> None:
        super().begin(**options)
        for _ in range(INTERIM_ANSWERS_MAX):
            if self.status >= 200 or self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return
            self.headers = None  # type: ignore[assignment]  # then `begin` reads the next answer
            super().begin(**options)


class _Connection(http.client.HTTPConnection):
    """A connection whose waits all end at `deadline`."""

    response_class = _Response

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self.auto_open = 0
        self.default_port = 443 if tls else 80  # then the Host header has no port, as in AWS's signature
        self.deadline = 0.0
        self._tls = tls
        self._unsent: list[bytes] = []

    def send(self, data: Any) -> None:
        """Keep the parts that http.client writes: head and body leave together, in one system call and packet."""
        self._unsent.append(data)

    def flush(self) -> None:
        """Send the request."""
        request, self._unsent = b"".join(self._unsent), []
        self.sock.sendall(request)

    def close(self) -> None:
        self._unsent.clear()
        super().close()

    def ready(self) -> None:
        """Connect, unless the last connection is still open."""
        if self.sock is not None and select.select([self.sock], [], [], 0)[0]:
            self.close()  # readable before a request: the provider has hung up
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
    """The parts of a socket that http.client needs. Each operation gets only the time that its call has left."""

    def __init__(self, plain: socket.socket, connection: _Connection) -> None:
        self._plain = plain
        self._connection = connection

    def fileno(self) -> int:
        return self._plain.fileno()

    def bound(self) -> socket.socket:
        """Return the socket with its timeout set for one more operation."""
        self._plain.settimeout(_left_s(self._connection.deadline))
        return self._plain

    def sendall(self, data: bytes) -> None:
        self.bound().sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self, self._plain.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._plain.close()


class _Reader(io.RawIOBase):
    """Read an answer. As http.client requires, the socket stays open until the reader is closed too."""

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
    """True if an IP address is on the public internet, and so is any IPv4 address that it contains."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        wrapped = found.ipv4_mapped or found.sixtofour
        if found.is_site_local or (wrapped is not None and not is_public(str(wrapped))):
            return False
    # Python calls some reserved addresses global: old forms of IPv4 in IPv6, and NAT64's local prefix.
    return found.is_global and not found.is_multicast and not found.is_reserved


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that a network without IPv4 translates to IPv4: https://www.rfc-editor.org/rfc/rfc6052"""


def _left_s(deadline: float) -> float:
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise TimeoutError("the deadline has passed")
    return left_s
