"""The functions as Lambda runs them: the built asset under the real runtime client, with the events of events/.

AWS is the embedded one. The interpreter sees the asset and the packages of Lambda's own runtime, and nothing else of
this project's environment: a dependency that the asset lacks is missing here too.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import distribution, requires
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from fakes.process import Provider
from infra import asset
from lambdas.quiet_hours.files.uploads import Upload, uploads
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.settings import CAMPAIGN_REPORTS, Settings
from lambdas.quiet_hours.timings import (
    ALERTER_TIMEOUT_S,
    CAMPAIGN_TIMEOUT_S,
    CONSUMER_TIMEOUT_S,
    PRODUCER_TIMEOUT_S,
    REGISTRAR_TIMEOUT_S,
    SCHEDULER_TIMEOUT_S,
    WORKER_TIMEOUT_S,
)
from local import server
from local.aws import client, shell_environment
from local.deploy import STACK
from local.sam_env import put_campaign_file, sam_environment
from tests.helpers.aws import take, take_notifications, text_attributes
from tests.helpers.deployment import make_deployment
from tests.helpers.http_peer import Peer, answering, listening
from tests.helpers.stack_template import ROOT
from tools.events import CAMPAIGN_FILE, COUPON, EVENTS, LOGIN_CODE, NIGHT_SALE, ORDER_PAID, accepted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("runtime"),
]

STARTED_WITHIN_S = 120
"""Bounds a failure only: a machine may be busy."""
LOCAL_DOCS = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
NO_FAILURES: dict[str, Any] = {"batchItemFailures": []}


def event(name: str) -> bytes:
    return (EVENTS / f"{name}.json").read_bytes()


# --- what each function answers


def test_the_producer_puts_one_notification_on_its_queue(functions: Functions, embedded: Embedded) -> None:
    answer = functions.producer.invoke(event("producer-one"))
    assert answer == {"accepted": [{"id": ORDER_PAID["id"], "decision": "send", "until": None}], "rejected": []}
    assert embedded.ids("notification") == [ORDER_PAID["id"]]


def test_the_producer_answers_for_each_of_many(functions: Functions, embedded: Embedded) -> None:
    answer = functions.producer.invoke(event("producer-many"))
    ids = [each["id"] for each in answer["accepted"]]
    assert ids[:2] == [ORDER_PAID["id"], NIGHT_SALE["id"]]
    assert [each["index"] for each in answer["rejected"]] == [3]
    assert embedded.ids("notification") == ids


def test_the_producer_answers_its_function_url_in_http(functions: Functions, embedded: Embedded) -> None:
    answer = functions.producer.invoke(event("producer-url"))
    assert answer["statusCode"] == 202
    ids = [each["id"] for each in json.loads(answer["body"])["accepted"]]
    assert len(ids) == 3
    assert embedded.ids("notification") == ids


def test_the_producer_says_what_is_known_of_a_notification(functions: Functions, embedded: Embedded) -> None:
    answer = functions.producer.invoke(event("producer-url-status"))
    known = json.loads(answer["body"])
    assert (answer["statusCode"], known["id"], known["state"]) == (404, ORDER_PAID["id"], "not_recorded")


def test_the_registrar_keeps_a_consent_and_its_history(functions: Functions, embedded: Embedded) -> None:
    assert functions.registrar.invoke(event("registrar-put"))["statusCode"] == 200
    answer = functions.registrar.invoke(event("registrar-get"))
    kept = json.loads(answer["body"])
    assert (answer["statusCode"], kept["recipient_id"], kept["night_consent"]) == (200, "+821012345678", True)
    assert [each["event"] for each in kept["history"]] == ["changed"]


def test_the_consumer_passes_on_what_it_can_read(functions: Functions, embedded: Embedded) -> None:
    assert functions.consumer.invoke(event("consumer-messages")) == NO_FAILURES
    assert embedded.ids("delivery") == [ORDER_PAID["id"]]
    assert embedded.ids("schedule")[0] == NIGHT_SALE["id"]
    (letter,) = embedded.take("dead_letter")
    assert text_attributes(letter)["reason"].startswith("unreadable: ")


def test_the_consumer_passes_on_what_comes_from_the_event_bus(functions: Functions, embedded: Embedded) -> None:
    assert functions.consumer.invoke(event("consumer-event-bus")) == NO_FAILURES
    assert embedded.ids("delivery") == [ORDER_PAID["id"]]


@pytest.mark.parametrize("name", ["scheduler-end-of-quiet-hours", "scheduler-every-minute"])
def test_the_scheduler_releases_whatever_triggers_it(functions: Functions, embedded: Embedded, name: str) -> None:
    embedded.put("wait", NIGHT_SALE, ORDER_PAID)
    assert functions.scheduler.invoke(event(name)) == {"released": 2, "messages": 1, "remaining": False}
    assert embedded.ids("schedule") == [NIGHT_SALE["id"], ORDER_PAID["id"]]
    assert embedded.take("wait") == []


def test_the_scheduler_releases_nothing_at_night(runtime: Runtime, embedded: Embedded) -> None:
    embedded.put("wait", NIGHT_SALE)
    with runtime("scheduler", embedded.night()) as scheduler:
        answer = scheduler.invoke(event("scheduler-every-minute"))
    assert answer.keys() == {"skipped"}
    assert answer["skipped"].startswith("quiet hours until ")
    assert embedded.ids("wait") == [NIGHT_SALE["id"]]


def test_the_worker_delivers_the_day_lane(functions: Functions, embedded: Embedded) -> None:
    assert functions.worker.invoke(event("worker-delivery")) == NO_FAILURES
    assert embedded.state(ORDER_PAID["id"]) == "delivered"
    assert f'"id": "{ORDER_PAID["id"]}"' in functions.worker.log()


def test_the_worker_delivers_the_urgent_lane(functions: Functions, embedded: Embedded) -> None:
    assert functions.worker.invoke(event("worker-urgent")) == NO_FAILURES
    assert embedded.state(LOGIN_CODE["id"]) == "delivered"


def test_the_worker_delivers_what_was_released_and_absorbs_it_when_it_comes_again(
    functions: Functions, embedded: Embedded, provider: Provider
) -> None:
    assert functions.worker.invoke(event("worker-schedule")) == NO_FAILURES
    assert functions.worker.invoke(event("worker-schedule")) == NO_FAILURES
    (arrival,) = provider.arrivals()
    assert arrival.id == COUPON["id"]
    assert json.loads(arrival.body)["content"] == COUPON["content"]
    assert embedded.state(COUPON["id"]) == "delivered"


def test_the_worker_gives_back_what_goes_to_a_channel_that_is_not_configured(
    runtime: Runtime, embedded: Embedded
) -> None:
    embedded.secrets.create_secret(Name="empty", SecretString="{}")
    with runtime("worker", replace(embedded.day(), channel_secret="empty")) as worker:
        assert worker.invoke(event("worker-schedule")) == NO_FAILURES
        assert '"misconfigured: webhook channel_not_configured":1' in worker.log()
    assert embedded.take("dead_letter") == []
    assert embedded.state(COUPON["id"]) == "claimed"


def test_the_worker_hands_back_what_its_remaining_time_does_not_allow(
    runtime: Runtime, embedded: Embedded, provider: Provider
) -> None:
    """The runtime client counts the time: of 15 s the provider call could take 10, and 10 are kept free."""
    with runtime("worker", embedded.day(), timeout_s=15) as worker:
        assert worker.invoke(event("worker-schedule")) == NO_FAILURES
    assert embedded.ids("schedule") == [COUPON["id"]]
    assert provider.arrivals() == []


def test_what_the_document_puts_on_wait_is_what_the_scheduler_releases(
    functions: Functions, embedded: Embedded, tmp_path: Path
) -> None:
    (snippet,) = re.findall(r"```python\n( +# \. build/local\.env.*?WaitQueueUrl.*?)```", LOCAL_DOCS, re.DOTALL)
    (tmp_path / "build").mkdir()
    outputs = {STACK: {"WaitQueueUrl": embedded.settings.wait_queue_url}}
    (tmp_path / "build" / "outputs.json").write_text(json.dumps(outputs))
    (tmp_path / "events").symlink_to(EVENTS)
    command = [sys.executable, "-c", dedent(snippet)]
    subprocess.run(command, cwd=tmp_path, env=shell_environment(embedded.endpoint), timeout=60, check=True)
    answer = functions.scheduler.invoke(event("scheduler-every-minute"))
    assert f"`{json.dumps(answer)}`" in LOCAL_DOCS
    assert embedded.ids("schedule") == [ORDER_PAID["id"], NIGHT_SALE["id"]]


def test_the_campaign_accepts_the_file_that_its_event_names(functions: Functions, embedded: Embedded) -> None:
    (upload,) = uploads(json.loads(event("campaign-file"))["Records"][0]["body"])
    embedded.s3.create_bucket(Bucket=upload.bucket)
    embedded.s3.put_object(Bucket=upload.bucket, Key=upload.key, Body=CAMPAIGN_FILE)
    assert functions.campaign.invoke(event("campaign-file")) == NO_FAILURES
    assert len(embedded.ids("notification")) == 1
    assert embedded.report(upload) == (1, 0, None)


def test_the_campaign_accepts_the_file_that_make_sam_env_puts_and_reads_it_once(
    functions: Functions, embedded: Embedded
) -> None:
    made = put_campaign_file(embedded.s3, datetime.now(UTC))
    (upload,) = uploads(made["Records"][0]["body"])
    for accepted_now in (1, 0):
        assert functions.campaign.invoke(json.dumps(made).encode()) == NO_FAILURES
        assert len(embedded.ids("notification")) == accepted_now
        assert embedded.report(upload) == (1, 0, None)


def test_the_alerter_posts_an_alarm_to_slack(functions: Functions, slack: Peer) -> None:
    assert functions.alerter.invoke(event("alerter-alarm")) is None
    (request,) = slack.requests
    assert json.loads(request.partition(b"\r\n\r\n")[2])["text"] == "Quiet Hours: DeadLetterNotEmpty"


def test_every_file_of_events_is_answered_above() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert {path.stem for path in EVENTS.iterdir() if f'"{path.stem}"' not in tests} == set()


# --- errors


@pytest.mark.parametrize(
    ("name", "said", "where"),
    [("consumer", ("HandlerFailed", "KeyError"), "redaction"), ("worker", ("HandlerFailed", "KeyError"), "redaction")],
)
def test_an_error_has_lambdas_shape_and_does_not_end_the_function(
    functions: Functions, name: str, said: tuple[str, str], where: str
) -> None:
    function: Function = getattr(functions, name)
    answer = function.invoke(b"{}")
    assert answer.keys() == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert (answer["errorType"], answer["errorMessage"]) == said
    assert f"/{where}.py" in answer["stackTrace"][0]
    assert function.invoke(b'{"Records": []}') == NO_FAILURES


def test_a_function_whose_aws_never_answers_is_ended_at_its_time_out(
    runtime: Runtime, embedded: Embedded, silence: str
) -> None:
    with runtime("consumer", embedded.day(), timeout_s=2, endpoint=silence) as consumer:
        consumer.invoke(b"{}")  # so that the start does not count
        began = time.monotonic()
        answer = consumer.invoke(event("consumer-messages"))
        took_s = time.monotonic() - began
    assert answer == "Task timed out after 2.00 seconds"
    assert took_s >= 2


def test_a_dependency_that_the_asset_lacks_is_an_import_error(
    runtime: Runtime, embedded: Embedded, tmp_path: Path
) -> None:
    """Therefore no dependency is missing where the functions above answer."""
    shutil.copytree(asset.build() / "lambdas", tmp_path / "asset" / "lambdas")
    with runtime("producer", embedded.day(), code=tmp_path / "asset") as producer:
        answer = producer.invoke(event("producer-one"))
    assert answer["errorType"] == "Runtime.ImportModuleError"
    assert "No module named 'aws_lambda_powertools'" in answer["errorMessage"]


# --- a function under the runtime client


@dataclass(frozen=True)
class Function:
    """A running function. It takes one invocation at a time: two at once would end the emulator."""

    port: int
    log_file: Path

    def invoke(self, payload: bytes) -> Any:
        """The function's answer or its error, read from JSON."""
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, payload), timeout=300) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:  # a function that does not start
            body = error.read()
        try:
            return json.loads(body)
        except ValueError:  # the emulator reports a timeout in plain text
            return body.decode()

    def log(self) -> str:
        """Its output so far."""
        return self.log_file.read_text()


@dataclass(frozen=True)
class Runtime:
    """Start functions: `with runtime("worker", settings) as worker`."""

    emulator: Path
    libraries: Path
    directory: Path
    endpoint: str

    @contextmanager
    def __call__(
        self,
        name: str,
        settings: Settings,
        timeout_s: int = 60,
        endpoint: str | None = None,
        code: Path | None = None,
    ) -> Iterator[Function]:
        invoke_port, runtime_port = server.free_port(), server.free_port()
        handler = f"lambdas.{name}.handler"
        log_file = self.directory / f"{name}-{invoke_port}.log"
        env = {
            "PATH": os.defpath,
            "PYTHONPATH": str(self.libraries),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            **shell_environment(endpoint or self.endpoint),
            **sam_environment(settings, endpoint or self.endpoint)["Parameters"],
        }
        addresses = [f"--runtime-interface-emulator-address=127.0.0.1:{invoke_port}"]
        addresses += [f"--runtime-api-address=127.0.0.1:{runtime_port}"]
        # -S hides what is installed beside this interpreter.
        command = [str(self.emulator), *addresses, sys.executable, "-S", "-m", "awslambdaric", handler]
        with log_file.open("wb") as log:
            process = subprocess.Popen(command, cwd=code or asset.build(), env=env, stdout=log, stderr=log)
        try:
            _wait_for(invoke_port, process, log_file)
            yield Function(invoke_port, log_file)
        finally:
            process.terminate()  # the emulator ends the function with itself
            try:
                process.wait(10)
            finally:
                process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"the emulator did not start:\n{log_file.read_text()}")


def _link_what_lambda_brings(directory: Path) -> None:
    """Link the runtime client, boto3 and their dependencies. Everything else has to be in the asset."""
    directory.mkdir()
    names = ["awslambdaric", "boto3"]
    for name in names:
        names += [found for found in map(_required, requires(name) or []) if found and found not in names]
        for file in distribution(name).files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (directory / top).exists():
                (directory / top).symlink_to(Path(str(distribution(name).locate_file(top))).resolve())


def _required(requirement: str) -> str | None:
    """The distribution that a requirement names; None for what only an extra asks for."""
    name = re.match(r"[\w.-]+", requirement)
    return name[0] if name and "extra ==" not in requirement else None


def _emulator() -> Path:
    assert sys.platform == "linux", "the runtime interface emulator is a Linux program: run these tests on Linux"
    machine = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    found = list(ROOT.glob(f".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"))
    assert found, "the SAM CLI, which ships the emulator, is not installed: `make test-slow` installs it"
    return found[0]


# --- the embedded AWS that the functions work on


@dataclass(frozen=True)
class Embedded:
    """The embedded AWS with queues and tables, but without event sources: messages stay where they are put."""

    endpoint: str
    settings: Settings

    @property
    def sqs(self) -> Any:
        return client(self.endpoint, "sqs")

    @property
    def s3(self) -> Any:
        return client(self.endpoint, "s3")

    @property
    def secrets(self) -> Any:
        return client(self.endpoint, "secretsmanager")

    def day(self) -> Settings:
        """Settings that make it day now, at whatever time the tests run."""
        return self._quiet_from(timedelta(hours=6))

    def night(self) -> Settings:
        """Settings that make it night now."""
        return self._quiet_from(timedelta(hours=-1))

    def _quiet_from(self, from_now: timedelta) -> Settings:
        start = datetime.now(UTC) + from_now
        end = start + timedelta(hours=2)
        return replace(self.settings, start=f"{start:%H:%M}", end=f"{end:%H:%M}", timezone="UTC", kakao_closed="never")

    def put(self, queue: str, *notifications: dict[str, Any]) -> None:
        for message in pack(accepted(*notifications)):
            self.sqs.send_message(QueueUrl=self._url(queue), MessageBody=message.body)

    def take(self, queue: str) -> list[dict[str, Any]]:
        return take(self.sqs, self._url(queue))

    def ids(self, queue: str) -> list[str]:
        """The ids on a queue, which is empty afterwards."""
        return [each["id"] for each in take_notifications(self.sqs, self._url(queue))]

    def state(self, id: str) -> str:
        """The state of an id in the ledger."""
        dynamodb = client(self.endpoint, "dynamodb")
        entry = dynamodb.get_item(TableName=self.settings.ledger_table, Key={"id": {"S": id}})["Item"]
        return str(entry["state"]["S"])

    def report(self, upload: Upload) -> tuple[int, int, str | None]:
        """The rows accepted and rejected of a campaign file, and its error."""
        key = f"{CAMPAIGN_REPORTS}{upload.key}.report.json"
        report = json.load(self.s3.get_object(Bucket=upload.bucket, Key=key)["Body"])
        return report["accepted"], report["rejected"], report["error"]

    def clear(self) -> None:
        """Empty every queue and the ledger."""
        for queue in ("notification", "urgent", "delivery", "wait", "schedule", "dead_letter"):
            self.sqs.purge_queue(QueueUrl=self._url(queue))
        dynamodb = client(self.endpoint, "dynamodb")
        for entry in dynamodb.scan(TableName=self.settings.ledger_table)["Items"]:
            dynamodb.delete_item(TableName=self.settings.ledger_table, Key={"id": entry["id"]})

    def _url(self, queue: str) -> str:
        return str(getattr(self.settings, f"{queue}_queue_url"))


@dataclass(frozen=True)
class Functions:
    """The functions, by day and with their own timeouts."""

    producer: Function
    registrar: Function
    consumer: Function
    scheduler: Function
    worker: Function
    campaign: Function
    alerter: Function


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    aws = server.start(server.free_port(), tmp_path_factory.mktemp("embedded"))
    try:
        sqs, dynamodb = client(aws.endpoint, "sqs"), client(aws.endpoint, "dynamodb")
        yield Embedded(aws.endpoint, make_deployment(sqs, dynamodb))
    finally:
        aws.stop()


@pytest.fixture
def embedded(deployed: Embedded) -> Embedded:
    deployed.clear()
    return deployed


@pytest.fixture(scope="module")
def slack() -> Iterator[Peer]:
    with listening(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")) as peer:
        yield peer


@pytest.fixture(scope="module")
def receiver(deployed: Embedded, slack: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("provider") / "book.jsonl")
    provider.start()
    secret = json.dumps({"webhook": {"url": provider.url}, "alerts": {"slack_url": slack.url}})
    deployed.secrets.create_secret(Name=deployed.settings.channel_secret, SecretString=secret)
    yield provider
    provider.stop()


@pytest.fixture
def provider(receiver: Provider) -> Provider:
    receiver.arrivals().clear()
    return receiver


@pytest.fixture(scope="module")
def runtime(deployed: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    directory = tmp_path_factory.mktemp("runtime")
    emulator = directory / "aws-lambda-rie"
    shutil.copyfile(_emulator(), emulator)
    emulator.chmod(0o755)
    _link_what_lambda_brings(directory / "libraries")
    return Runtime(emulator, directory / "libraries", directory, deployed.endpoint)


@pytest.fixture(scope="module")
def functions(runtime: Runtime, deployed: Embedded, receiver: Provider) -> Iterator[Functions]:
    day = deployed.day()
    with (
        runtime("producer", day, PRODUCER_TIMEOUT_S) as producer,
        runtime("registrar", day, REGISTRAR_TIMEOUT_S) as registrar,
        runtime("consumer", day, CONSUMER_TIMEOUT_S) as consumer,
        runtime("scheduler", day, SCHEDULER_TIMEOUT_S) as scheduler,
        runtime("worker", day, WORKER_TIMEOUT_S) as worker,
        runtime("campaign", day, CAMPAIGN_TIMEOUT_S) as campaign,
        runtime("alerter", day, ALERTER_TIMEOUT_S) as alerter,
    ):
        yield Functions(producer, registrar, consumer, scheduler, worker, campaign, alerter)


@pytest.fixture
def silence() -> Iterator[str]:
    """An endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
