"""The hosts that a POST may call: URLs, addresses, certificates."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from lambdas.quiet_hours.channels.http import PostClient, _BoundedSocket, is_public
from lambdas.quiet_hours.errors import NotSent
from tests.helpers.http_calls import LAST_OK, OK, no_socket_is_left_behind, post
from tests.helpers.http_peer import answering, certificate, listening

__all__ = ["no_socket_is_left_behind"]

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://hooks.example.com/",
        "http://hooks.example.com/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost.example.com/",
        "https://user@hooks.example.com/",
        "https://user:canary-7@hooks.example.com/",
        "https://@hooks.example.com/",
        "https:///path",
        "https://hooks.example.com:canary-7/",
        "https://hooks.example.com:99999/",
        "https://[canary-7/",
        "https://canary-7\uff0fexample.com/",
        "https://hooks.example.com/ canary-7",
        "https://hooks.example.com/가",
        "https://hooks.example.com/\r\ncanary-7: 1",
    ],
)
def test_a_url_that_is_not_fit_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url ") as refused:
        PostClient(url, 1)
    assert "canary" not in str(refused.value)
    assert "example" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a/b?c=d#e",
        "https://10.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://localhost/",
        "http://[::1]:80/",
    ],
)
def test_https_and_in_local_use_this_machine_are_fit(url: str) -> None:
    PostClient(url, 1, local=True).close()


PRIVATE_ADDRESSES = [
    *("127.0.0.1", "10.1.2.3", "192.168.0.9", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("::1", "::ffff:10.1.2.3", "fd00::1", "fe80::1%lo", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1"),
    *("fec0::1", "::10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::a9fe:a9fe", "2001:0:7f00:1::", "240.0.0.1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "::", "2001:db8::1", "224.0.0.1", "ff02::1", "ff0e::1"),
]


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_a_public_name_that_leads_to_a_private_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The name is looked up for each connection, and the address found is the one that is called."""
    called: list[Any] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", lambda self, to: called.append(to))
    with pytest.raises(NotSent, match="NotPublic"):
        post("https://hooks.example.com/")
    assert called == []


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::1.1.1.1", "2002:101:101::1"])
def test_a_public_address_is_one_however_it_is_written(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
def test_this_machine_by_another_spelling_is_a_private_address_like_any_other(host: str) -> None:
    with listening(answering(OK)) as peer, pytest.raises(NotSent, match="NotPublic"):
        post(f"https://{host}:{peer.port}/")
    assert peer.connections == 0


def test_the_address_that_was_checked_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address when it is looked up, and to a private one when it is looked up again."""
    called: list[Any] = []
    answers = iter([("1.1.1.1", 443), ("169.254.169.254", 443)])

    def look_up(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))]

    def connect(self: socket.socket, to: Any) -> None:
        called.append(to)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(NotSent, match="ConnectionRefusedError"):
        post("https://hooks.example.com/")
    assert called == [("1.1.1.1", 443)]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9001/", "https://localhost/", "http://[::1]:80/", "https://LOCALHOST/"]
)
def test_this_machine_is_not_fit_but_in_local_use(url: str) -> None:
    PostClient(url, 1, only_host="hooks.slack.com", local=True).close()
    with pytest.raises(ValueError, match="url must not be on this machine"):
        PostClient(url, 1)


def test_only_the_host_that_is_allowed_and_this_machine_are_fit() -> None:
    for url in ("https://hooks.slack.com/services/T/B/x", "http://127.0.0.1:80/", "https://localhost/"):
        PostClient(url, 1, only_host="hooks.slack.com", local=True).close()
    for url in ("https://hooks.slack.com.example.com/", "https://example.com/?hooks.slack.com", "https://slack.com/"):
        with pytest.raises(ValueError, match=r"^url must be on hooks\.slack\.com$"):
            PostClient(url, 1, only_host="hooks.slack.com", local=True)


def test_another_path_on_the_host_can_be_asked_and_the_answer_s_body_comes_back() -> None:
    with listening(answering(OK)) as peer:
        client = PostClient(peer.url, 5, local=True)
        assert client.post({}, b"{}", "/v2/other?a=b").body == b"ok"
        client.close()
    assert peer.requests[0].startswith(b"POST /v2/other?a=b HTTP/1.1\r\n")


def test_the_host_header_has_no_port_where_it_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS checks a signature over the host without it."""
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with listening(answering(OK), context) as peer:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", peer.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        post("https://localhost/")
    assert b"\r\nHost: localhost\r\n" in peer.requests[0]


def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(answering(OK)) as peer:
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", peer.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert post(f"http://localhost:{peer.port}/")[0] == 200


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with listening(answering(OK), context) as peer, pytest.raises(NotSent, match="SSLCertVerificationError"):
        post(f"https://localhost:{peer.port}/")
    assert peer.requests == []


def test_a_certificate_for_another_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = certificate(tmp_path, "other.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with listening(answering(OK), context) as peer, pytest.raises(NotSent, match="SSLCertVerificationError"):
        post(f"https://localhost:{peer.port}/")


def test_a_trusted_certificate_is_accepted_and_its_connection_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with listening(answering(OK, LAST_OK), context) as peer:
        client = PostClient(f"https://localhost:{peer.port}/", 5, local=True)
        assert [client.post({}, b"{}" * 20_000)[0] for _ in range(2)] == [200, 200]
        client.close()
    assert (peer.connections, len(peer.requests)) == (1, 2)


def test_head_and_body_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes would be two system calls and two packets, of which a peer may read the first alone."""
    writes: list[bytes] = []
    sendall = _BoundedSocket.sendall
    monkeypatch.setattr(_BoundedSocket, "sendall", lambda self, data: (writes.append(data), sendall(self, data)))
    with listening(answering(OK)) as peer:
        assert post(peer.url, b'{"a": 1}').status == 200
    (request,) = writes
    assert request.startswith(b"POST ") and request.endswith(b'\r\n\r\n{"a": 1}')
