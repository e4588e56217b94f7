"""`make server`: the local server with a clock that can be set. Shows R6 and R8."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from local import ROOT
from local.server import free_port
from simulation.server import Local, LocalSource, Server
from tests.helpers.notifications import advertising, order

EVENING, MORNING = "2020-11-11T21:30:00+09:00", "2020-11-12T08:00:00+09:00"
SKIPPED = {"scheduler": {"skipped": f"quiet hours until {MORNING}"}}
RELEASED_ONE = {"scheduler": {"released": 1, "messages": 1, "remaining": False}}


@pytest.fixture
def local() -> Local:
    return Local(datetime.fromisoformat(EVENING))


def send(local: Local, notification: dict[str, Any]) -> None:
    assert local.send(json.dumps(notification).encode()).status == 200


def set_clock(local: Local, time: str) -> dict[str, Any]:
    status, content = local.set_clock(time.encode())
    assert status == 200
    return dict(content)


def test_r8_what_is_held_in_the_evening_is_released_when_the_clock_is_set_to_the_morning(local: Local) -> None:
    send(local, advertising("held"))
    assert local.test() == (200, SKIPPED)
    assert local.status().content["queues"]["wait"] == 1
    set_clock(local, MORNING)
    assert local.status().content["queues"]["wait"] == 1, "only GET /test triggers the scheduler"
    assert local.test() == (200, RELEASED_ONE)
    assert local.status().content["notifications"] == {"held": "delivered"}


@pytest.mark.parametrize("channel", ["kakao", "sms", "email", "push", "slack", "webhook", "log"])
def test_an_order_message_is_delivered_at_night_by_every_channel(local: Local, channel: str) -> None:
    addresses = {"kakao": "010-1234-5678", "sms": "010-1234-5678", "email": "kim@example.com", "slack": "#orders"}
    addresses["push"] = "arn:aws:sns:us-east-1:123456789012:endpoint/GCM/app/5e3e9847-3183-3f18-a7e8-671c3a57d4b3"
    send(local, order("paid", channel=channel, address=addresses.get(channel, "me")))
    assert local.status().content["notifications"] == {"paid": "delivered"}


def test_a_body_that_is_no_notification_goes_to_dead_letter(local: Local) -> None:
    assert local.send(b"what is this?").status == 200
    assert local.status().content["queues"]["dead-letter"] == 1


def test_the_clock_stands_still_while_nothing_works(local: Local) -> None:
    assert local.now == local.now == datetime.fromisoformat(EVENING)
    send(local, order("paid"))
    assert (local.now - datetime.fromisoformat(EVENING)).total_seconds() < 60


def test_what_expires_while_the_clock_goes_on_is_not_sent(local: Local) -> None:
    send(local, advertising("brief", expires_at="2020-11-12T02:00:00+09:00"))
    set_clock(local, MORNING)
    local.test()
    assert local.status().content["notifications"] == {"brief": "expired"}


def test_an_earlier_time_begins_anew(local: Local) -> None:
    send(local, advertising("held"))
    before = set_clock(local, "2020-11-11T12:00:00+09:00")
    assert before["now"] == "2020-11-11T12:00:00+09:00"
    assert set(before["queues"].values()) == {0}
    assert before["notifications"] == {}


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda local: local.send(b""), "the body must have 1 to 65536 bytes"),
        (lambda local: local.send(b"x" * 65537), "the body must have 1 to 65536 bytes"),
        (lambda local: local.send(b"\xff"), "the body must be UTF-8"),
        (lambda local: local.set_clock(b"8 o'clock"), "the body must be a time with an offset"),
        (lambda local: local.set_clock(b"2020-11-12T08:00:00"), "the body must be a time with an offset"),
    ],
)
def test_what_cannot_be_is_answered_with_a_sentence(local: Local, ask: Callable[[Local], Any], said: str) -> None:
    status, content = ask(local)
    assert status == 400
    assert content["error"].startswith(said)


# --- sources with a schedule of their own


DIGEST = LocalSource.load("examples.order_digest.digest")


def test_r6_the_map_of_results_has_each_source_which_runs_once_for_each_of_its_times() -> None:
    local = Local(datetime.fromisoformat("2020-11-12T09:59:00+09:00"), [DIGEST])
    nothing = {"released": 0, "messages": 0, "remaining": False}
    early = {"skipped": "none of its times has come since 2020-11-11T10:00:00+09:00"}
    assert local.test().content == {"scheduler": nothing, "OrderDigest": early}
    set_clock(local, "2020-11-12T10:07:00+09:00")
    ran = {"until": "2020-11-12T10:00:00+09:00", "accepted": 2, "invalid": 0}
    assert local.test().content == {"scheduler": nothing, "OrderDigest": ran}
    assert list(local.status().content["notifications"].values()) == ["delivered"] * 2
    late = {"skipped": "none of its times has come since 2020-11-12T10:00:00+09:00"}
    assert local.test().content == {"scheduler": nothing, "OrderDigest": late}


def test_a_source_that_fails_stops_nothing_else_and_runs_again() -> None:
    answers = iter([None, []])
    failing = LocalSource(DIGEST.source, lambda asked, context: next(answers))
    local = Local(datetime.fromisoformat(EVENING), [failing, DIGEST._replace(source=replace(DIGEST.source, name="B"))])
    send(local, advertising("held"))
    set_clock(local, "2020-11-12T10:00:00+09:00")
    results = local.test().content
    assert results["OrderDigest"] == {"error": "SourceFailed: the function did not return an array of notifications"}
    assert (results["scheduler"]["released"], results["B"]["accepted"]) == (1, 2)
    assert local.test().content["OrderDigest"]["accepted"] == 0


@pytest.mark.parametrize("module", ["examples.nothing", "json", "examples.own_stack"])
def test_a_module_that_is_no_source_is_one_sentence(module: str) -> None:
    env = {"PATH": os.defpath, "PORT": str(free_port()), "PYTHONPATH": str(ROOT), "SOURCES": module}
    command = [sys.executable, "-m", "simulation.server"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"SOURCES={module} is not the module of a source: ")


# --- over HTTP


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of the command, which runs in a process of its own."""
    free = free_port()
    env = {"PATH": os.defpath, "PORT": str(free), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "simulation.server"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert f"http://127.0.0.1:{free} answers" in process.stdout.readline().decode()
        yield free
        process.terminate()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_r8_the_commands_of_the_document_show_what_it_says(port: int) -> None:
    docs = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(curl .*?)```", docs, re.DOTALL)
    command = ["/bin/sh", "-ec", script.replace("localhost:8080", f"127.0.0.1:{port}")]
    env = {"PATH": os.defpath, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    _, _, at_night, _, by_day, status = map(json.loads, done.stdout.splitlines())
    assert (at_night, by_day) == (SKIPPED, RELEASED_ONE)
    text = " ".join(docs.split())
    assert all(f"`{json.dumps(answer)}`" in text for answer in (at_night, by_day))
    assert status["notifications"] == {"sale-1": "delivered"}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/send"), ("POST", "/test"), ("GET", "/"), ("PUT", "/send"), ("POST", "/clock")]
)
def test_other_requests_are_not_found(port: int, method: str, path: str) -> None:
    assert ask(port, method, path, None if method == "GET" else b"{}")[0] == 404


def test_a_port_that_is_taken_is_one_sentence(port: int) -> None:
    env = {"PATH": os.defpath, "PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "simulation.server"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} of this machine is already in use")


def test_only_this_machine_can_reach_it() -> None:
    with Server(0, Local(datetime.fromisoformat(EVENING))) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
