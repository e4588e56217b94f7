"""Several policies in one deployment on the embedded AWS, their windows set around now: Seoul, New York and Paris.

The deployment is one of its own. Its policy files say the hours of each place; a test writes them anew, and with them
the functions' code, as a deployment does.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from fakes.process import Provider
from fakes.secret import secret
from infra import asset
from lambdas.quiet_hours.settings import Settings
from local import deploy, server
from local.aws import client, peek
from local.clock import FUNCTIONS
from tests.helpers.notifications import advertising
from tests.helpers.pipeline import Pipeline

pytestmark = pytest.mark.slow

SEOUL, NEW_YORK, PARIS = ZONES = ("Asia/Seoul", "America/New_York", "Europe/Paris")
NAMES = {SEOUL: "seoul", NEW_YORK: "new-york", PARIS: "paris"}
ASKS = {SEOUL: {}, NEW_YORK: {"timezone": "America/Detroit"}, PARIS: {"policy": "paris"}}
"""The ways in which the notifications of each place say where their recipient lives."""

MINUTE = timedelta(minutes=1)
TRIES = 4
"""Windows are whole minutes, soon. On a machine so busy that one has passed before it was used, the next is later."""

HEAD = 'title = "{zone}"\ncitation = "a test"\ndate = 2026-11-28\nstanding = "own rule"\ntimezone = "{zone}"\n'
CLOSURE = """
[[closures]]
name = "{name}"
from = "{begin}"
to = "{end}"
categories = ["advertising"]
channels = {channels}
opened_by = "nothing"
"""


class Window(NamedTuple):
    """When a place is closed, and for which channels."""

    begin: datetime
    end: datetime
    channels: tuple[str, ...] = ("webhook",)


class Places:
    """The deployment, and its policy files."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self.pipeline = pipeline
        self.folder = folder

    def close(self, windows: dict[str, list[Window]]) -> None:
        """Deploy other hours of the places."""
        write(self.folder, windows)
        code = zipped(asset.build(policy_folder=str(self.folder)))
        functions, names = self.pipeline.lambda_, [self.pipeline.outputs[f"{each}FunctionName"] for each in FUNCTIONS]
        for name in names:
            functions.update_function_code(FunctionName=name, ZipFile=code)
        for name in names:
            functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def waiting(self, number: str) -> list[str]:
        """The ids on a wait queue: `""`, `2` or `3`."""
        bodies = [
            json.loads(each["Body"])
            for each in peek(self.pipeline.endpoint, self.pipeline.outputs[f"WaitQueueUrl{number}"])
        ]
        return [item["id"] for body in bodies for item in (body if isinstance(body, list) else [body])]


def write(folder: Path, windows: dict[str, list[Window]]) -> None:
    for zone, closed in windows.items():
        place = ZoneInfo(zone)
        closures = [
            CLOSURE.format(
                name=f"night {number}",
                begin=f"{each.begin.astimezone(place):%H:%M}",
                end=f"{each.end.astimezone(place):%H:%M}",
                channels=json.dumps(each.channels),
            )
            for number, each in enumerate(closed, 1)
        ]
        (folder / f"{NAMES[zone]}.toml").write_text("".join([HEAD.format(zone=zone), *closures]), encoding="utf-8")


def zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return file.getvalue()


def whole_minute(at: datetime) -> datetime:
    """The first whole minute that is not before an instant."""
    return (at + MINUTE - timedelta(microseconds=1)).replace(second=0, microsecond=0)


def some_day(hour: int) -> list[Window]:
    begin = datetime(2026, 11, 28, hour, tzinfo=UTC)
    return [Window(begin, begin + timedelta(hours=1))]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder, files = tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("policies")
    write(files, {zone: some_day(hour) for hour, zone in enumerate(ZONES)})
    started = server.start(server.free_port(), folder)
    provider = Provider(folder / "received.jsonl", server.free_port(), module="fakes.server")
    try:
        provider.start()
        context = {
            "policyFolder": str(files),
            "policy": "seoul",
            "furtherPolicies": "new-york,paris",
            "waitQueues": "3",
            "advertisingLabel": "false",
            "smsEncoding": "unicode",
        }
        arguments = [part for key, value in context.items() for part in ("-c", f"{key}={value}")]
        outputs = deploy.deploy(started.endpoint, folder / "deploy", arguments)
        pipeline = Pipeline(started.endpoint, outputs, provider, folder)
        client(started.endpoint, "secretsmanager").put_secret_value(
            SecretId=outputs["ChannelSecretName"], SecretString=json.dumps(secret(provider.host_url))
        )
        yield Places(pipeline, files)
    finally:
        provider.stop()
        started.stop()


def until_it_works(attempt: Callable[[float], bool]) -> None:
    """Try with windows that begin or end later and later. Raises `AssertionError` if a machine is too busy for all."""
    for number in range(TRIES):
        if attempt(60.0 * 2**number):
            return
    raise AssertionError(f"this machine was too busy {TRIES} times")


def test_seoul_new_york_and_paris_are_each_released_by_their_own_clock(places: Places) -> None:
    pipeline = places.pipeline
    ids: dict[str, list[str]] = {}
    ends: dict[str, datetime] = {}

    def all_are_held(lead_s: float) -> bool:
        soon = whole_minute(datetime.now(UTC) + timedelta(seconds=lead_s))
        ends.update((zone, soon + number * MINUTE) for number, zone in enumerate(ZONES))
        places.close({zone: [Window(end - timedelta(hours=2), end)] for zone, end in ends.items()})
        ids.update((zone, [pipeline.new_id() for _ in range(3)]) for zone in ZONES)
        answer = pipeline.produce(*(advertising(id, **ASKS[zone]) for zone in ZONES for id in ids[zone]))
        said = {each["id"]: each for each in answer["accepted"]}
        if any(each["decision"] == "send" for each in said.values()):
            return False
        for zone in ZONES:
            assert {said[id]["policy"] for id in ids[zone]} == {f"{NAMES[zone]} at {zone}"}
            assert {datetime.fromisoformat(said[id]["until"]) for id in ids[zone]} == {ends[zone]}
        return True

    until_it_works(all_are_held)
    queue = dict(zip(ZONES, ("", "2", "3"), strict=True))
    for zone in (NEW_YORK, PARIS):
        pipeline.wait_until(
            lambda zone=zone: set(places.waiting(queue[zone])) >= set(ids[zone]) or datetime.now(UTC) >= ends[zone]
        )
    asked = [id for zone in ZONES for id in ids[zone]]
    pipeline.wait_until(lambda: pipeline.release() and sorted(set(pipeline.accepted(*asked))) == sorted(asked), 900)
    pipeline.settle()
    arrived = {arrival.id: arrival.at for arrival in pipeline.received(*asked)}
    assert sorted(pipeline.accepted(*asked)) == sorted(asked)
    for zone in ZONES:
        assert min(arrived[id] for id in ids[zone]) >= ends[zone], zone


def test_kakao_is_held_from_its_own_hour_on_while_sms_goes_until_the_guard(places: Places) -> None:
    """KakaoTalk is closed already, and the night begins soon."""
    pipeline = places.pipeline
    guard = Settings.from_env(_environment(pipeline)).quiet_hours().guard
    night: list[datetime] = []
    ids: list[str] = []

    def sends(id: str, channel: str) -> bool:
        given = advertising(id, channel=channel, address="010-1234-5678", content={"body": "(광고) 특가"})
        (said,) = pipeline.produce(given)["accepted"]
        return bool(said["decision"] == "send")

    def sms_has_gone(lead_s: float) -> bool:
        night[:] = [whole_minute(datetime.now(UTC) + guard + timedelta(seconds=lead_s))]
        until = night[0] + timedelta(hours=2)
        begun = datetime.now(UTC) - timedelta(minutes=10)
        places.close(
            {SEOUL: [Window(begun, until, ("kakao",)), Window(night[0], until, ("sms", "kakao"))]}
            | {zone: some_day(hour) for hour, zone in enumerate((NEW_YORK, PARIS))}
        )
        ids[:] = [pipeline.new_id() for _ in range(3)]
        assert not sends(ids[0], "kakao")
        if not sends(ids[1], "sms"):
            return False
        while datetime.now(UTC) < night[0] - guard:
            time.sleep(0.2)
        return bool(pipeline.accepted(ids[1]))

    until_it_works(sms_has_gone)
    assert not sends(ids[2], "sms")
    pipeline.wait_until(lambda: {ids[0], ids[2]} <= set(places.waiting("")))
    pipeline.settle()
    assert pipeline.accepted(*ids) == [ids[1]]
    (arrival,) = pipeline.received(ids[1])
    assert arrival.at < night[0]


def _environment(pipeline: Pipeline) -> dict[str, Any]:
    """The scheduler's settings, with a policy that stands on this machine."""
    name = pipeline.outputs["SchedulerFunctionName"]
    variables = pipeline.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    return {**variables, "QUIET_HOURS_POLICY": "korea", "QUIET_HOURS_FURTHER_POLICIES": ""}
