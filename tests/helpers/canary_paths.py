"""Drives every handler through its success and its failures, with canaries in everything that people send.

It is a process of its own: what it prints is what a function would have logged. tests/infrastructure/test_canaries.py
runs it and looks for the canaries (tests/helpers/leaks.py).

    python -m tests.helpers.canary_paths OUT.json

OUT.json gets what else leaves the functions: the result of each path, the attributes of dead letters, the alerts, and
why a campaign file could not be read.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws

from lambdas import alerter, campaign, consumer, producer, registrar, scheduler, worker
from lambdas.quiet_hours import channels
from lambdas.quiet_hours.channels.channel import Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.notification import admission
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.campaign_files import REPORT
from tests.helpers.aws import Faulty, fail, make_deployment, record, refuse, take, text_attributes
from tests.helpers.http_peer import answering, listening, once
from tests.helpers.leaks import E164, EMAIL, PHONE, TEXT
from tools.events import url_event

BUCKET = "canaries"
CONTEXT = SimpleNamespace(
    get_remaining_time_in_millis=lambda: 250_000, aws_request_id="request-1", function_name="f", memory_limit_in_mb=1
)


def canary(**fields: Any) -> dict[str, Any]:
    content = {"title": TEXT, "body": TEXT, "variables": {"name": TEXT, "phone": PHONE}}
    given = {"channel": "sms", "address": PHONE, "recipient_id": EMAIL, "content": content, "metadata": {"to": EMAIL}}
    return given | {"category": "informational"} | fields


def wrong() -> Iterator[dict[str, Any]]:
    """Notifications that are wrong in one field each, with a canary where the fault is."""
    for name in canary():
        yield canary(**{name: TEXT * 2000})
        yield canary(**{name: {TEXT: {PHONE: EMAIL}}})
    yield canary(**{EMAIL: PHONE, TEXT: 1})
    yield canary(id=TEXT, source=TEXT * 100, expires_at=PHONE)
    yield canary(channel="email", address=TEXT)
    yield canary(address="canary-mail@")


class Paths:
    """The deployment, and the result of each path that was taken."""

    def __init__(self, settings: Settings, sqs: Any, dynamodb: Any, sns: Any, s3: Any, secrets: Any) -> None:
        self.settings, self.sqs, self.dynamodb, self.sns, self.s3, self.secrets = (
            settings, sqs, dynamodb, sns, s3, secrets,
        )  # fmt: skip
        self.outcomes: dict[str, str] = {}
        self.slack: list[str] = []

    def take(self, name: str, handler: Any, event: Any) -> None:
        """Take one path. An error is printed as Lambda prints it: its text, and the errors that led to it."""
        try:
            handler(event, CONTEXT)
        except Exception as error:
            traceback.print_exc()
            self.outcomes[name] = f"{type(error).__name__}: {error}"
        else:
            self.outcomes[name] = "answered"

    @contextmanager
    def instead(self, module: Any, **names: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for name, value in names.items():
                stack.enter_context(mock.patch.object(module, name, value))
            yield

    # --- the handlers

    def producer(self) -> None:
        def url(body: str) -> dict[str, Any]:
            http = {"method": "POST", "path": "/notifications", "sourceIp": "192.0.2.1"}
            return {
                "version": "2.0", "rawPath": "/notifications", "headers": {}, "body": body, "isBase64Encoded": False,
                "requestContext": {"http": http, "stage": "$default"},
            }  # fmt: skip

        good = {"notifications": [canary(), canary(category="advertising")]}
        self.take("producer: accepted", producer.handler, good)
        self.take("producer: rejected", producer.handler, {"notifications": list(wrong())})
        self.take("producer: no request", producer.handler, [PHONE, EMAIL, TEXT])
        self.take("producer: url", producer.handler, url(json.dumps(good)))
        self.take("producer: url, not json", producer.handler, url(TEXT + PHONE))
        down = Faulty(self.sqs, send_message_batch=fail())
        with self.instead(producer, _clients=lambda: (down, self.dynamodb)):
            self.take("producer: sqs down", producer.handler, good)
        with self.instead(admission, accept=raises):
            self.take("producer: a bug", producer.handler, good)
            self.take("producer: url, a bug", producer.handler, url(json.dumps(good)))
        for what, fault in (("known", None), ("tables away", fail()), ("a table's client raises", raises)):
            tables = (
                Faulty(self.dynamodb, get_item=fault, batch_get_item=fault, transact_write_items=fault)
                if fault
                else self.dynamodb
            )
            with self.instead(producer, _clients=lambda tables=tables: (self.sqs, tables)):
                self.take(f"producer: status, {what}", producer.handler, url_event("GET", "/notifications/n-1"))
                self.take(f"producer: cancel, {what}", producer.handler, url_event("DELETE", "/notifications/n-1"))
        self.take("producer: status, no id", producer.handler, url_event("GET", f"/notifications/{TEXT}"))

    def registrar(self) -> None:
        there, consent = f"/consents/{EMAIL}", {"night_consent": True, "opted_out": False, "evidence": TEXT}
        self.take("registrar: put", registrar.handler, url_event("PUT", there, to_text(consent)))
        self.take("registrar: get", registrar.handler, url_event("GET", there))
        for n, each in enumerate(
            ({TEXT: PHONE}, consent | {"night_consent": TEXT}, consent | {"evidence": PHONE * 999})
        ):
            self.take(f"registrar: wrong {n}", registrar.handler, url_event("PUT", there, to_text(each)))
        self.take("registrar: not json", registrar.handler, url_event("PUT", there, TEXT + PHONE))
        self.take("registrar: nobody", registrar.handler, url_event("GET", f"/consents/{TEXT * 50}"))
        self.take("registrar: due", registrar.handler, url_event("GET", "/consents") | {"rawQueryString": PHONE})
        for what, fault in (("tables away", fail()), ("a bug", raises)):
            away = Faulty(self.dynamodb, get_item=fault, transact_write_items=fault, query=fault)
            with self.instead(registrar, _client=lambda away=away: away):
                self.take(f"registrar: {what}", registrar.handler, url_event("PUT", there, to_text(consent)))

    def consumer(self) -> None:
        def event(*bodies: str) -> dict[str, Any]:
            return {"Records": [record(body, sent_at=datetime.now(UTC)) for body in bodies]}

        held = to_text(canary(category="advertising"))
        self.take("consumer: judged", consumer.handler, event(to_text(canary()), held))
        self.take("consumer: invalid", consumer.handler, event(*map(to_text, wrong())))
        self.take("consumer: unreadable", consumer.handler, event(TEXT + PHONE, f'{{"{EMAIL}": "{TEXT}', f"[{PHONE}]"))
        full = Faulty(self.sqs, send_message_batch=refuse(lambda *_: True))
        with self.instead(consumer, _clients=lambda: (full, self.dynamodb)):
            self.take("consumer: queues full", consumer.handler, event(to_text(canary()), TEXT))
        no_consents = Faulty(self.dynamodb, batch_get_item=raises)
        with self.instead(consumer, _clients=lambda: (self.sqs, no_consents)):
            self.take("consumer: no consents", consumer.handler, event(held))
        with self.instead(consumer, decide=raises):
            self.take("consumer: a bug", consumer.handler, event(held))
        no_table = Faulty(self.dynamodb, batch_write_item=fail())
        with (
            mock.patch.dict("os.environ", replace(Settings.from_env(), record_held=True).to_env()),
            self.instead(consumer, _clients=lambda: (self.sqs, no_table)),
        ):
            nobody = canary(category="advertising", channel="log", address="nobody", recipient_id="nobody")
            self.take("consumer: held and not recorded", consumer.handler, event(to_text(nobody)))

    def scheduler(self) -> None:
        def hold() -> None:
            self.sqs.send_message(QueueUrl=self.settings.wait_queue_url, MessageBody=to_text([canary(id="held")]))

        self.environment(night=False)
        hold()
        self.take("scheduler: released", scheduler.handler, {})
        hold()
        refusing = Faulty(self.sqs, receive_message=raises)
        with self.instead(scheduler, _sqs=lambda: refusing, _sns=lambda: self.sns):
            self.take("scheduler: a bug", scheduler.handler, {})
        failing = Faulty(self.sqs, send_message_batch=fail("AccessDenied"))
        with self.instead(scheduler, _sqs=lambda: failing, _sns=lambda: self.sns, _alerted_at=None):
            self.take("scheduler: stopped", scheduler.handler, {})
        deaf = Faulty(self.sns, publish=raises)
        hold()
        with self.instead(scheduler, _sqs=lambda: failing, _sns=lambda: deaf, _alerted_at=None):
            self.take("scheduler: stopped, nobody told", scheduler.handler, {})

    def worker(self) -> None:
        number = iter(range(10**6))

        def event(category: str = "informational", **fields: Any) -> dict[str, Any]:
            body = to_text([self.accepted(f"canary-{next(number)}", category, **fields)])
            lane_url = self.settings.urgent_queue_url if category == "critical" else self.settings.delivery_queue_url
            queue = lane_url.rpartition("/")[2]
            return {"Records": [record(body, queue=queue, sent_at=datetime.now(UTC))]}

        def take(path: str, handler: Any, event: Any) -> None:
            self.end_rests()
            self.take(path, handler, event)

        def webhook(path: str, answer: bytes, talk: Any = answering, **fields: Any) -> None:
            with listening(talk(answer)) as peer:
                self.configure({"webhook": {"url": peer.url}})
                take(f"worker: {path}", worker.handler, event(**fields))

        self.environment(night=False)
        webhook("delivered", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        webhook("critical", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", category="critical")
        said = f"no {PHONE} {EMAIL} canary-text".encode()
        for status in (400, 429, 500):
            answer = b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n%s" % (status, len(said), said)
            webhook(f"http {status}", answer)
        webhook("hung up", b"", once)
        webhook("garbage", b"HTTP/9 " + said + b"\r\n\r\n", once)
        number = iter([0, *range(100, 10**6)])  # the first id once more, with other content
        take("worker: an id used again", worker.handler, event(content={"title": TEXT, "body": TEXT + PHONE}))
        self.configure({"webhook": {"url": f"http://{EMAIL}/"}})
        take("worker: not configured", worker.handler, event())
        take("worker: no such channel", worker.handler, event(channel="sms", address=E164))
        self.configure(None)
        take("worker: secret unavailable", worker.handler, event())
        self.configure({})
        take("worker: unreadable", worker.handler, {"Records": [record(TEXT + PHONE)]})
        with self.instead(worker, _channel=lambda *_: Shouting()):
            take("worker: a channel's bug", worker.handler, event())
            take("worker: final", worker.handler, event())
            tables = (
                ("ledger", "transact_write_items", lambda fault: fault),
                ("consent", "batch_get_item", lambda fault: of_table(self.settings.consent_table, fault)),
                ("turn", "get_item", lambda fault: fault),
            )
            for table, operation, met in tables:
                for what, fault in (("is away", fail()), ("'s client raises", raises)):
                    down = Faulty(self.dynamodb, **{operation: met(fault)})
                    with self.instead(worker, _clients=lambda down=down: (self.sqs, down, None)):
                        take(f"worker: {table} {what}", worker.handler, event("advertising"))
            self.environment(night=True)
            take("worker: stopped by the guard", worker.handler, event("advertising", recipient_id="no-consent"))
            self.environment(night=False)
        with mock.patch("lambdas.quiet_hours.delivery.delivery.decide", raises):
            take("worker: a bug", worker.handler, event())

    def end_rests(self) -> None:
        """Let each channel have rested, as if the time were over."""
        table = self.settings.turn_table
        for item in self.dynamodb.scan(TableName=table)["Items"]:
            self.dynamodb.delete_item(TableName=table, Key={"channel": item["channel"]})
        worker._memory = Memory()

    def accepted(self, id: str, category: str, **fields: Any) -> dict[str, Any]:
        times = {name: (datetime.now(UTC) + timedelta(hours=h)).isoformat() for name, h in TIMES.items()}
        return canary(id=id, category=category, channel="webhook", address="me", **times) | fields

    def campaign(self) -> None:
        def drop(text: str, name: str) -> dict[str, Any]:
            key = f"campaigns/{name}"
            etag = self.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())["ETag"].strip('"')
            s3 = {"bucket": {"name": BUCKET}, "object": {"key": key, "size": len(text.encode()), "eTag": etag}}
            url = self.settings.campaign_queue_url
            self.sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [{"s3": s3}]}))
            (message,) = self.sqs.receive_message(QueueUrl=url)["Messages"]
            return {"Records": [record(message["Body"]) | {"receiptHandle": message["ReceiptHandle"]}]}

        columns = "channel,address,recipient_id,body,variables.name\n"
        row = f"sms,{PHONE},{EMAIL},{TEXT},{TEXT}\n"
        bad = f'{PHONE},{EMAIL},{TEXT},{PHONE},{EMAIL}\nsms,{TEXT}\n"{PHONE}\n'
        lines = "\n".join(map(to_text, [canary(), *wrong()])) + f"\n{TEXT}\n"
        self.take("campaign: csv", campaign.handler, drop(columns + row + bad, f"{PHONE} {EMAIL}.csv"))
        self.take("campaign: lines", campaign.handler, drop(lines, "a.jsonl"))
        self.take("campaign: no header", campaign.handler, drop(row.removeprefix("sms,"), "b.csv"))
        full = Faulty(self.sqs, send_message_batch=fail())
        with self.instead(campaign, _clients=lambda: (self.s3, full)):
            self.take("campaign: queue down", campaign.handler, drop(columns + row, "c.csv"))
        denied = Faulty(self.s3, put_object=raises)
        event = drop(columns + row, "d.csv")
        with self.instead(campaign, _clients=lambda: (denied, self.sqs)):
            self.take("campaign: s3 raises", campaign.handler, event)
        with self.instead(admission, accept=raises):
            self.take("campaign: a bug", campaign.handler, event)

    def alerter(self) -> None:
        def told(path: str, message: str, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") -> None:
            with listening(answering(answer)) as slack:
                self.configure({"alerts": {"slack_url": slack.url + "-canary-text"}})
                self.take(f"alerter: {path}", alerter.handler, {"Records": [{"Sns": {"Message": message}}]})
            self.slack += [request.decode().partition("\r\n\r\n")[2] for request in slack.requests]

        crash = {
            "requestContext": {"functionArn": "arn:aws:lambda:r:1:function:Scheduler", "condition": "RetriesExhausted"},
            "requestPayload": canary(),
            "responsePayload": {"errorMessage": f"{PHONE} {EMAIL} {TEXT}", "errorType": "KeyError"},
        }
        told("crash", json.dumps(crash))
        told("unknown", f"{PHONE} {EMAIL} {TEXT}")
        told(
            "refused",
            json.dumps(crash | {"requestPayload": 1}),
            b"HTTP/1.1 404 canary-text\r\ncontent-length: 0\r\n\r\n",
        )
        alerter._posted_at.clear()
        told("refused for good", json.dumps(crash), b"HTTP/1.1 404 canary-text\r\ncontent-length: 0\r\n\r\n")
        self.configure({"alerts": f"{PHONE} {TEXT}"})
        self.take("alerter: no url", alerter.handler, {"Records": [{"Sns": {"Message": TEXT}}]})

    # --- the world

    def environment(self, *, night: bool) -> None:
        now, (start, end) = datetime.now(UTC), (-2, 2) if night else (4, 6)
        window = {"start": f"{now + timedelta(hours=start):%H:%M}", "end": f"{now + timedelta(hours=end):%H:%M}"}
        variables = replace(self.settings, timezone="UTC", kakao_closed="never", **window).to_env()  # type: ignore[arg-type]
        mock.patch.dict("os.environ", variables).start()

    def configure(self, secret: dict[str, Any] | None) -> None:
        """Write the channel secret, or delete it for None; the functions read it again."""
        name = {"SecretId": self.settings.channel_secret}
        if secret is None:
            self.secrets.delete_secret(**name, ForceDeleteWithoutRecovery=True)
        else:
            try:
                self.secrets.put_secret_value(**name, SecretString=json.dumps(secret))
            except self.secrets.exceptions.ResourceNotFoundException:
                self.secrets.create_secret(Name=self.settings.channel_secret, SecretString=json.dumps(secret))
        worker._clients.cache_clear()
        alerter._secrets.cache_clear()


TIMES = {"accepted_at": -1, "expires_at": 1}


def raises(*args: Any, **kwargs: Any) -> Any:
    """Raise an error whose text shows every argument: a bug in the code."""
    raise ValueError(f"cannot handle {PHONE} {EMAIL} {TEXT} {args} {kwargs}")


def of_table(table: str, fault: Any) -> Any:
    """Return a fault that only reads of one table meet."""

    def read(real: Any, **call: Any) -> Any:
        return fault(real, **call) if table in call["RequestItems"] else real(**call)

    return read


class Shouting:
    """A channel with bugs, whose errors show everything that it was given."""

    deadline_s, rate_per_s, batch_size, side_by_side, can_resend = 1.0, None, 1, 1, False
    turn = 0

    def send(self, notifications: Any) -> list[Outcome]:
        Shouting.turn += 1
        if Shouting.turn == 1:
            raises(notifications)
        return [Outcome("rejected", "http_400: the provider answered 400")] * len(notifications)

    def close(self) -> None:
        raises()


def main() -> None:
    with mock_aws():
        sqs, dynamodb, sns, s3, secrets = (
            boto3.client(service) for service in ("sqs", "dynamodb", "sns", "s3", "secretsmanager")
        )
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        heard = sqs.create_queue(QueueName="heard")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=heard, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        region = {"LocationConstraint": "ap-northeast-2"}
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=region)
        files = sqs.create_queue(QueueName="campaign")["QueueUrl"]
        settings = replace(make_deployment(sqs, dynamodb), alert_topic=topic, campaign_queue_url=files)
        paths = Paths(settings, sqs, dynamodb, sns, s3, secrets)
        paths.environment(night=True)
        for module in (channels, alerter):  # the providers are on this machine
            mock.patch.object(module, "local_use", return_value=True).start()
        steps: list[Callable[[], None]] = [
            paths.producer, paths.registrar, paths.consumer, paths.scheduler, paths.worker, paths.campaign,
            paths.alerter,
        ]  # fmt: skip
        for step in steps:
            step()
        letters = [text_attributes(each) for each in take(sqs, settings.dead_letter_queue_url)]
        alerts = [each["Body"] for each in take(sqs, heard)]
        written = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
        reports = [
            json.load(s3.get_object(Bucket=BUCKET, Key=key)["Body"])["error"] for key in written if key.endswith(REPORT)
        ]
        mock.patch.stopall()
    found = {
        "outcomes": paths.outcomes,
        "letters": letters,
        "alerts": alerts,
        "slack": paths.slack,
        "reports": [error for error in reports if error],
    }
    Path(sys.argv[1]).write_text(json.dumps(found, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
