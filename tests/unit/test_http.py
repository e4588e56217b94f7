"""One POST with a deadline, on real sockets: when it ends, what it tells, and what it leaves behind."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambdas.quiet_hours.channels.http import RESPONSE_BYTES_MAX, PostClient
from lambdas.quiet_hours.errors import NoAnswer, NotSent
from tests.helpers.http_calls import DEADLINE_S, ENOUGH_S, LAST_OK, OK, no_socket_is_left_behind, post
from tests.helpers.http_peer import Peer, answering, certificate, listening, once

__all__ = ["no_socket_is_left_behind"]

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

SLACK_S = 8
"""A busy machine may add this to a deadline. Every peer here would go on for twenty seconds."""


def ends_in_time(
    url: str, error: type[Exception], body: bytes = b"{}", deadline_s: float = DEADLINE_S, slack_s: float = SLACK_S
) -> None:
    client = PostClient(url, deadline_s, local=True)
    started = time.monotonic()
    with pytest.raises(error):
        client.post({}, body)
    took_s = time.monotonic() - started
    client.close()
    assert deadline_s * 0.9 < took_s < deadline_s + slack_s


# --- what is sent, what comes back


def test_a_post_arrives_whole_and_its_answer_comes_back() -> None:
    answer = b"HTTP/1.1 202 Accepted\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    with listening(answering(answer)) as peer:
        status, headers, _ = post(peer.url, "주문".encode())
    assert (status, headers["retry-after"]) == (202, "7")
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /hook?kind=test http/1.1"
    assert {f"host: 127.0.0.1:{peer.port}", "content-type: application/json", "content-length: 6"} <= set(lines)
    assert body.decode() == "주문"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    moved = f"HTTP/1.1 {status} Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(answering(moved)) as peer:
        assert post(peer.url)[0] == status
    assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_nothing_is_repeated(status: int) -> None:
    with listening(answering(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())) as peer:
        assert post(peer.url)[0] == status
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        LAST_OK,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 20_000,
        b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
)
def test_an_answer_is_read_however_it_is_framed(answer: bytes) -> None:
    with listening(once(answer)) as peer:
        assert post(peer.url)[0] in (200, 204)


# --- the deadline


def never_answers(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    peer.stop.wait(20)


def dribbles_headers(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    peer.dribble(connection, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000)


def dribbles_body(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    peer.dribble(connection, b"x" * 1000)


def dribbles_chunks(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.dribble(connection, b"1\r\nx\r\n" * 1000)


def goes_on_and_on_with_interim_answers(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    while not peer.stop.wait(0.05):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def hints_slowly(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    while not peer.stop.wait(0.2):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        *(never_answers, dribbles_headers, dribbles_body, dribbles_chunks),
        *(goes_on_and_on_with_interim_answers, hints_slowly),
    ],
)
def test_the_deadline_bounds_the_whole_call_and_not_each_part_of_it(
    talk: Callable[[Peer, socket.socket], None],
) -> None:
    with listening(talk) as peer:
        ends_in_time(peer.url, NoAnswer)


def does_not_read(peer: Peer, connection: socket.socket) -> None:
    peer.stop.wait(20)


def reads_slowly(peer: Peer, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while connection.recv(16_384) and not peer.stop.wait(0.05):
        pass


@pytest.mark.parametrize("talk", [does_not_read, reads_slowly])
@pytest.mark.parametrize("tls", [False, True])
def test_the_deadline_bounds_a_request_that_is_not_read(
    talk: Callable[[Peer, socket.socket], None], tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with listening(talk, context if tls else None) as peer:
        url = f"https://localhost:{peer.port}/" if tls else peer.url
        ends_in_time(url, NoAnswer, b"x" * 50_000_000)


def test_the_deadline_bounds_a_handshake_that_does_not_end() -> None:
    with listening(does_not_read) as peer:
        ends_in_time(f"https://127.0.0.1:{peer.port}/", NotSent)


def test_what_connecting_takes_the_handshake_no_longer_has(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def slow(self: socket.socket, address: Any) -> None:
        time.sleep(3.9)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", slow)
    with listening(does_not_read) as peer:
        ends_in_time(f"https://127.0.0.1:{peer.port}/", NotSent, deadline_s=4, slack_s=3.5)


def test_nothing_is_sent_when_looking_up_the_name_took_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def slow(*arguments: Any, **more: Any) -> Any:
        time.sleep(0.3)
        return look_up(*arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with listening(answering(OK)) as peer:
        with pytest.raises(NotSent):
            post(peer.url, deadline_s=0.2)
        time.sleep(0.05)
        assert (peer.connections, peer.requests) == (0, [])


# --- whether it was sent


def test_a_refused_connection_means_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent, match="ConnectionRefusedError"):
        post(f"http://127.0.0.1:{port}/")


def test_a_name_that_leads_nowhere_means_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotSent, match="gaierror"):
        post("https://hooks.example.com/")


def test_a_name_that_cannot_be_looked_up_at_all_means_not_sent() -> None:
    with pytest.raises(NotSent):
        post(f"https://{'a' * 70}.example.com/")


def resets(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "talk",
    [
        resets,
        once(b""),
        once(b"HTTP/1.1 20"),
        once(b"not HTTP at all\r\n\r\n"),
        once(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 1000 + b"\r\n"),
        once(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"),
        once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
)
def test_no_whole_answer_means_that_nobody_knows(talk: Callable[[Peer, socket.socket], None]) -> None:
    with listening(talk) as peer, pytest.raises(NoAnswer):
        post(peer.url)


def test_an_interim_answer_is_passed_over_and_the_next_request_gets_its_own_answer() -> None:
    def talk(peer: Peer, connection: socket.socket) -> None:
        while peer.read_request(connection) is not None:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.05)
            connection.sendall(f"HTTP/1.1 {200 + len(peer.requests)} OK\r\nContent-Length: 0\r\n\r\n".encode())

    with listening(talk) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)
        assert [client.post({}, b"{}").status for _ in range(2)] == [201, 202]
        client.close()
    assert peer.connections == 1


# --- connections


def test_a_connection_is_used_again() -> None:
    with listening(answering(OK)) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)
        assert [client.post({}, b"{}")[0] for _ in range(3)] == [200] * 3
        client.close()
    assert (peer.connections, len(peer.requests)) == (1, 3)


@pytest.mark.parametrize("answer", [OK, LAST_OK])
def test_a_peer_that_has_hung_up_meanwhile_is_called_anew(answer: bytes) -> None:
    with listening(once(answer)) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)
        for _ in range(3):
            assert client.post({}, b"{}")[0] == 200
            peer.wait_for_hang_up()
        client.close()
    assert (peer.connections, len(peer.requests)) == (3, 3)


def test_after_a_failure_the_next_call_begins_with_a_connection_of_its_own() -> None:
    """Nor is what comes late taken for its answer."""

    def talk(peer: Peer, connection: socket.socket) -> None:
        peer.read_request(connection)
        if peer.connections == 1:
            time.sleep(2.1)
            connection.sendall(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.sendall(OK)

    with listening(talk) as peer:
        client = PostClient(peer.url, 2, local=True)
        with pytest.raises(NoAnswer):
            client.post({}, b"{}")
        time.sleep(0.2)
        assert client.post({}, b"{}")[0] == 200
        client.close()


def test_each_call_has_a_deadline_of_its_own() -> None:
    with listening(answering(OK)) as peer:
        client = PostClient(peer.url, 3, local=True)
        for pause_s in (1.6, 1.6, 0):
            assert client.post({}, b"{}")[0] == 200
            time.sleep(pause_s)
        client.close()


def test_of_a_large_answer_only_the_beginning_is_read() -> None:
    sent: list[int] = []

    def talk(peer: Peer, connection: socket.socket) -> None:
        peer.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        sent.append(0)
        while not peer.stop.is_set():
            connection.sendall(b"x" * 65_536)
            sent[-1] += 65_536

    with listening(talk) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)
        assert [client.post({}, b"{}")[0] for _ in range(2)] == [200, 200]
        client.close()
    assert peer.connections == 2
    assert max(sent) < 100 * RESPONSE_BYTES_MAX, "sockets buffer some"


def test_what_is_left_unread_is_not_the_next_answer() -> None:
    """The rest of it may come only then."""

    def talk(peer: Peer, connection: socket.socket) -> None:
        while peer.read_request(connection) is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {2 * RESPONSE_BYTES_MAX}\r\n\r\n".encode()
            connection.sendall(head + b"x" * RESPONSE_BYTES_MAX)

    with listening(talk) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)
        assert [client.post({}, b"{}")[0] for _ in range(2)] == [200, 200]
        client.close()
    assert peer.connections == 2


def test_a_closed_poster_can_be_used_and_closed_again() -> None:
    hung_up = threading.Semaphore(0)

    def talk(peer: Peer, connection: socket.socket) -> None:
        answering(OK)(peer, connection)
        hung_up.release()

    with listening(talk) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)
        for _ in range(2):
            assert client.post({}, b"{}")[0] == 200
            client.close()
            assert hung_up.acquire(timeout=ENOUGH_S)


def test_twenty_five_threads_each_get_their_own_answers() -> None:
    def talk(peer: Peer, connection: socket.socket) -> None:
        while (request := peer.read_request(connection)) is not None:
            body = request.partition(b"\r\n\r\n")[2]
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Echo: " + body + b"\r\nContent-Length: 2\r\n\r\nok")

    wrong: list[str] = []
    with listening(talk) as peer:
        client = PostClient(peer.url, ENOUGH_S, local=True)

        def run(thread: int) -> None:
            for n in range(4):
                text = f"{thread}-{n}"
                if client.post({}, text.encode())[1]["x-echo"] != text:
                    wrong.append(text)

        threads = [threading.Thread(target=run, args=[n]) for n in range(25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        assert client.post({}, b"after")[1]["x-echo"] == "after"
        client.close()
    assert wrong == []
    assert (peer.connections, len(peer.requests)) == (26, 101)
