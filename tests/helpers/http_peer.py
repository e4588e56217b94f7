"""A peer on 127.0.0.1 that a test tells, byte by byte, how to treat its clients."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Talk = Callable[["Peer", socket.socket], None]


@dataclass
class Peer:
    """Records what has arrived. `stop` is set when the test is over; a talk that takes long must watch it."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    closed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?kind=test"

    def read_request(self, connection: socket.socket) -> bytes | None:
        """Read and record one whole request; None when the client has hung up."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (part := connection.recv(65536)):
                return None
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def wait_for_hang_up(self) -> None:
        """Wait until the peer has closed one more connection."""
        assert self.closed.acquire(timeout=20), "the peer did not hang up"

    def dribble(self, connection: socket.socket, data: bytes, every_s: float = 0.02) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            if self.stop.wait(every_s):
                return


def answering(*answers: bytes) -> Talk:
    """Answer the requests of a connection in turn, and every later one with the last answer."""

    def talk(peer: Peer, connection: socket.socket) -> None:
        turn = 0
        while peer.read_request(connection) is not None:
            connection.sendall(answers[min(turn, len(answers) - 1)])
            turn += 1

    return talk


def once(answer: bytes) -> Talk:
    """Answer one request and hang up."""

    def talk(peer: Peer, connection: socket.socket) -> None:
        if peer.read_request(connection) is not None:
            connection.sendall(answer)

    return talk


@contextmanager
def listening(talk: Talk, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """Run `talk` for each client, in a thread of its own, until the block ends."""
    peer = Peer()
    threads: list[threading.Thread] = []
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
                open_connections.append(connection)
            talk(peer, connection)
        with suppress(OSError):
            connection.close()
        peer.closed.release()

    def accept() -> None:
        while not peer.stop.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(20)
                peer.connections += 1
                open_connections.append(connection)
                threads.append(threading.Thread(target=serve, args=[connection], daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(0.01)  # the end of the block waits as long
        peer.port = listener.getsockname()[1]
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield peer
        finally:
            peer.stop.set()
            accepting.join()
    for connection in open_connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            connection.close()
    for thread in threads:
        thread.join(20)


def certificate(directory: Path, host: str = "localhost") -> tuple[ssl.SSLContext, Path]:
    """Make a self-signed certificate: the server's context, and the file that makes a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names: list[x509.GeneralName] = [x509.DNSName(host), x509.IPAddress(ip_address("127.0.0.1"))]
    if host != "localhost":
        names = [x509.DNSName(host)]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = directory / f"{host}.pem", directory / f"{host}.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public
