"""Records every form that the code leaves in a queue, a table, the bucket or on the alert topic.

    python -m tests.helpers.record_forms DIRECTORY

The code really runs, on AWS in memory and at fixed instants: two runs of the same code write the same files.
tests/fixtures/forms/README.md says what the files hold, and docs/upgrade.md why old ones are kept.
"""

from __future__ import annotations

import io
import json
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import boto3
from moto import mock_aws

from lambdas import campaign, registrar, scheduler
from lambdas.campaign import Campaign
from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.alerts import release_stopped
from lambdas.quiet_hours.channels.allow_list import NOT_LISTED
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.entries import epoch_ms
from lambdas.quiet_hours.stores.health import FIRST_REST_S, Failure, Refusals
from lambdas.quiet_hours.stores.ledger import Ledger, Reopening
from lambdas.quiet_hours.stores.turns import Turns
from operators import redrive
from operators.consent_csv import read_rows
from operators.consents import ConsentTables, Imported, import_rows
from tests.helpers import redriving
from tests.helpers.aws import (
    DAY,
    NIGHT,
    TABLES,
    make_deployment,
    one_after_another,
    put_consent,
    record,
    take,
    text_attributes,
)
from tests.helpers.delivery_world import (
    REJECTED,
    RETRY,
    SETTINGS,
    UNAVAILABLE,
    UNKNOWN,
    Clock,
    Killed,
    Provider,
    Queues,
    Sent,
    World,
    deliver_others,
    works,
)
from tests.helpers.web import http

MORNING = datetime.fromisoformat("2020-11-12T08:00:10+09:00").astimezone(UTC)
BINARY = (".ids", ".addresses")
"""The ends of the keys of objects that are no text."""

BUCKET = "quiethours-campaigns"
CSV_KEY, BROKEN_KEY = "campaigns/autumn sale.csv", "campaigns/broken.csv"
CSV = "channel,address,id,body\n" + "".join(f"webhook,user-{n},row-{n},(광고) 가을 세일\n" for n in range(6))
CSV_WITH_FAULTS = CSV.replace("webhook,user-1,", "fax,user-1,").replace("webhook,user-2,", "webhook,,")

Forms = dict[str, Any]


def advert(id: str, **fields: Any) -> dict[str, Any]:
    content = {"title": "(광고) 심야 특가", "body": "오늘 밤만 30% 할인", "template": "t-1", "variables": {"n": 1}}
    return {"id": id, "channel": "webhook", "address": "user-1", "content": content} | fields


def order(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "category": "informational", "channel": "webhook", "address": "user-2"} | {
        "content": {"body": "주문하신 상품이 출발했습니다"},
        **fields,
    }


FULL = {
    "recipient_id": "customer-7",
    "source": "shop",
    "metadata": {"order": [1, None, "x"]},
    "expires_at": "2020-11-12T12:00:00+09:00",
}

CHOOSES = {"policy": "korea", "country": "KR", "timezone": "Asia/Seoul"}

BY_SENDERS: dict[str, dict[str, Any]] = {
    "single_object": {"queue": "notification", "body": advert("single-1", **FULL)},
    "chooses_its_policy": {"queue": "notification", "body": advert("single-2", **CHOOSES)},
    "single_object_without_id": {
        "queue": "notification",
        "body": '{ "channel": "log", "address": "a", "content": {"body": "x"} }',
    },
    "event_envelope": {
        "queue": "notification",
        "body": {
            "version": "0",
            "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
            "detail-type": "NotificationRequested",
            "source": "shop.orders",
            "account": "123456789012",
            "time": "2020-11-11T12:03:00Z",
            "region": "ap-northeast-2",
            "resources": [],
            "detail": {name: value for name, value in advert("").items() if name != "id"},
        },
    },
    "sns_raw": {"queue": "notification", "body": advert("sns-1"), "attributes": {"tenant": "shop"}},
    "unreadable": {"queue": "notification", "body": '{"id": "torn-1", "channel":'},
    "invalid_single": {"queue": "notification", "body": order("invalid-1", channel="fax")},
    "invalid_in_bundle": {"queue": "notification", "body": [order("fine-1"), order("invalid-2", adress="x")]},
    "s3_event": {
        "queue": "campaign",
        "body": {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": {"name": BUCKET},
                        "object": {
                            "key": "campaigns/autumn+sale.csv",
                            "size": len(CSV.encode()),
                            "eTag": md5(CSV.encode()).hexdigest(),
                        },
                    },
                }
            ]
        },
    },
    "s3_test_event": {"queue": "campaign", "body": {"Service": "Amazon S3", "Event": "s3:TestEvent"}},
}
"""The bodies that senders and S3 put on a queue. Our code writes all others."""

BY_HAND: Forms = {
    "by_hand_night_consent": {"recipient_id": {"S": "by-hand-1"}, "night_consent": {"BOOL": True}},
    "by_hand_opted_out": {"recipient_id": {"S": "by-hand-2"}, "opted_out": {"BOOL": True}},
    "by_hand_empty": {"recipient_id": {"S": "by-hand-3"}},
}
"""Consents that somebody wrote into the table without the registrar."""

FROM_OTHERS: Forms = {
    "alarm": {
        "AlarmName": "QuietHours-ReleaseLate",
        "AlarmDescription": "Held notifications leave late.",
        "NewStateValue": "ALARM",
        "NewStateReason": "Threshold Crossed",
        "StateChangeTime": "2020-11-12T08:06:00.000+0900",
    },
    "failed_invocation": {
        "requestContext": {
            "functionArn": "arn:aws:lambda:ap-northeast-2:123456789012:function:QuietHours-Scheduler:$LATEST",
            "condition": "RetriesExhausted",
        },
        "responsePayload": {"errorType": "Sandbox.Timedout"},
    },
}
"""The messages that CloudWatch and Lambda put on the alert topic."""


@dataclass
class Deployment:
    """Everything of one deployment, in memory and empty."""

    sqs: Any
    dynamodb: Any
    s3: Any
    settings: Settings

    def consume(self, *records: Any, at: datetime = NIGHT) -> None:
        settings = replace(self.settings, record_held=True)
        consume(records, at, self.sqs, self.dynamodb, settings, settings.quiet_hours())

    def take(self, queue: str) -> list[Forms]:
        url = getattr(self.settings, f"{queue.replace('-', '_')}_queue_url")
        return [message_form(queue, each["Body"], text_attributes(each)) for each in take(self.sqs, url)]

    def items(self, table: str) -> list[Any]:
        items = self.dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
        return sorted(items, key=lambda item: [next(iter(item[key].values())) for key in TABLES[table][0]])

    def objects(self) -> dict[str, str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        keys = sorted(each["Key"] for each in found)
        return {key: object_text(key, self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys}


def object_text(key: str, body: bytes) -> str:
    """An object as its fixture shows it: in base64 if it is no text."""
    return b64encode(body).decode() if key.endswith(BINARY) else body.decode()


def object_bytes(key: str, text: str) -> bytes:
    return b64decode(text) if key.endswith(BINARY) else text.encode()


@cache
def _client(service: str) -> Any:
    """Made once: loading its model takes longer than recording."""
    return boto3.client(service)


@contextmanager
def deployment() -> Iterator[Deployment]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    env = dict.fromkeys(names, "testing") | {"AWS_DEFAULT_REGION": "ap-northeast-2"}
    with patch.dict(os.environ, env), mock_aws():
        sqs, dynamodb, s3 = (_client(service) for service in ("sqs", "dynamodb", "s3"))
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
        yield Deployment(sqs, dynamodb, s3, make_deployment(sqs, dynamodb))


def message_form(queue: str, body: str, attributes: dict[str, str] | None = None) -> Forms:
    """A message as its fixture shows it: the body as JSON, or as text where it is not written as our code writes it."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    form = {"queue": queue, "body": parsed if to_text(parsed) == body else body}
    return form | ({"attributes": dict(sorted(attributes.items()))} if attributes else {})


def body_of(form: Forms) -> str:
    """The body of a message as it stood on the queue."""
    return form["body"] if isinstance(form["body"], str) else to_text(form["body"])


def attributes_of(form: Forms) -> Forms:
    """The attributes of a message as SQS takes them."""
    given = form.get("attributes", {})
    return {name: {"DataType": "String", "StringValue": value} for name, value in given.items()}


def put_message(sqs: Any, queue_url: str, form: Forms) -> None:
    """Put a recorded message on a queue."""
    sqs.send_message(QueueUrl=queue_url, MessageBody=body_of(form), MessageAttributes=attributes_of(form))


def named(names: Sequence[str], forms: Sequence[Any]) -> Forms:
    """The forms under their names. Raises `ValueError` where there are more or fewer than expected."""
    return dict(zip(names, forms, strict=True))


# --- queues


def messages() -> Forms:
    """Record the messages on the queues, in the order of a notification's way."""
    with deployment() as at_producer:
        forms = BY_SENDERS | {"producer_bundle": _by_producer(at_producer)}
    with deployment() as at_consumer:
        forms |= _by_consumer(at_consumer)
    with deployment() as at_scheduler:
        forms |= _by_scheduler(at_scheduler, [forms["wait_bundle"], forms["wait_redriven"]])
    with deployment() as at_worker:
        forms |= _by_worker(at_worker)
    with deployment() as at_operator:
        forms["redriven"] = _by_redrive(at_operator, forms["letter_rejected"])
    return forms


def _by_producer(at: Deployment) -> Forms:
    request = {"notifications": [advert("produced-1", **FULL), order("produced-2"), advert("produced-3")]}
    accept_all(request, NIGHT, at.sqs, at.dynamodb, at.settings, at.settings.quiet_hours(), lambda: "made-1")
    (form,) = at.take("notification")
    return form


def _by_consumer(at: Deployment) -> Forms:
    ended = {"dead_lettered_at": "2020-11-11T12:00:00.000+00:00"}
    arriving = [
        record(body_of(form), name, NIGHT, form.get("attributes"))
        for name, form in BY_SENDERS.items()
        if form["queue"] != "campaign"
    ]
    arriving.append(record(to_text(advert("redriven-1")), "redriven-1", NIGHT, ended))
    arriving.append(record(to_text(order("redriven-2")), "redriven-2", NIGHT, ended))
    at.consume(*arriving)
    forms = named(["delivery_redriven", "delivery_bundle"], at.take("delivery"))
    forms |= named(["wait_redriven", "wait_bundle", "wait_bundle_of_log"], at.take("wait"))
    return forms | named(
        ["letter_unreadable", "letter_invalid", "letter_invalid_in_bundle"], sorted(at.take("dead-letter"), key=_reason)
    )


def _reason(form: Forms) -> tuple[bool, str]:
    return not form["attributes"]["reason"].startswith("unreadable"), form["attributes"].get("notification_id", "")


def _by_scheduler(at: Deployment, held: Sequence[Forms]) -> Forms:
    for form in held:
        put_message(at.sqs, at.settings.wait_queue_url, form)
    with patch.object(scheduler, "POLL_S", 0):
        scheduler.release(
            at.sqs,
            at.settings,
            at.settings.quiet_hours(),
            now=lambda: MORNING,
            remaining_s=lambda: 300.0,
            sleep=lambda seconds: None,
            side_by_side=one_after_another,
        )
    return named(["schedule_bundle", "schedule_redriven"], at.take("schedule"))


def worker(at: Deployment, answer: Any = lambda _: DELIVERED, can_resend: bool = True, now: datetime = DAY) -> World:
    """A worker with queues and a provider of its own, on the deployment's tables. The channel has delivered a moment
    ago: so a failure counts against its notification, and the rest that an earlier worker began is over."""
    clock = Clock(now)
    provider = Provider(clock, answer, can_resend=can_resend)
    at.dynamodb.delete_item(TableName=SETTINGS.turn_table, Key={"channel": {"S": "webhook"}})
    world = World(at.dynamodb, clock, Queues(clock), provider, SETTINGS.quiet_hours())
    works(world)
    return world


def accepted(id: str, **fields: Any) -> dict[str, Any]:
    given = order(id) | {"accepted_at": "2020-11-11T02:59:00.000+00:00", "expires_at": "2020-11-14T02:59:00.000+00:00"}
    return given | fields


def run(world: World, notification: Any) -> None:
    """Put a bundle of one on delivery and let the worker have it until it is settled."""
    world.sqs.put("delivery", Sent(to_text([notification]), {}, 0, world.clock(), "bundle-1"))
    world.run()


def die(_: Any) -> Outcome:
    """A provider at whose call the worker's process ends."""
    raise Killed


def on(world: World, queue: str) -> list[Forms]:
    return [message_form(queue, sent.body, sent.attributes) for sent in world.sqs.messages[queue]]


def _by_worker(at: Deployment) -> Forms:
    forms: Forms = {}
    world = worker(at, lambda n: {"again-1": RETRY, "wrong-1": REJECTED}.get(n["id"], DELIVERED))
    invalid = {"id": "misfit-1", "channel": "webhook"}
    world.receive(to_text([accepted("again-1"), accepted("wrong-1"), accepted("done-1"), invalid]))
    forms |= named(["delivery_given_back"], on(world, "delivery"))
    forms |= named(["letter_misfit_at_worker", "letter_rejected"], on(world, "dead-letter"))

    world = worker(at)
    world.receive(to_text([accepted("split-1"), accepted("split-2")]), lane="schedule", receives=2)
    forms |= named(["schedule_split_1", "schedule_split_2"], on(world, "schedule"))

    world = worker(at, now=NIGHT)
    world.receive(to_text([accepted("guarded-1", category="advertising")]))
    forms |= named(["wait_from_worker"], on(world, "wait"))

    world = worker(at, lambda _: RETRY)
    deliver_others(world)
    run(world, accepted("tried-1"))
    forms |= named(["letter_attempts_exhausted"], on(world, "dead-letter"))

    world = worker(at, die)
    run(world, accepted("deadly-1"))
    forms |= named(["letter_attempts_exhausted_without_an_answer"], on(world, "dead-letter"))

    world = worker(at, lambda _: UNKNOWN, can_resend=False)
    world.receive(to_text([accepted("unknown-1")]))
    letter = on(world, "dead-letter")[0]
    forms["letter_unknown_outcome"] = letter
    world.sqs.messages["dead-letter"].clear()
    world.clock.sleep(FIRST_REST_S)
    world.receive(body_of(letter), attributes=letter["attributes"])
    return forms | named(["letter_unknown_outcome_again"], on(world, "dead-letter"))


def _by_redrive(at: Deployment, letter: Forms) -> Forms:
    put_message(at.sqs, at.settings.dead_letter_queue_url, letter)
    with patch.object(redrive, "POLL_S", 0):
        redriving.redrive(at.sqs, at.dynamodb, at.settings)
    (form,) = at.take("notification")
    return form


# --- tables


def ledger() -> Forms:
    """The ledger's items, by what they say."""
    with deployment() as at:
        _killed(at, "claimed", can_resend=True)
        _killed(at, "claimed_sending", can_resend=False)
        answers = {
            "given_back": UNAVAILABLE,
            "waiting": RETRY,
            "waiting_sending": UNKNOWN,
            "dead_lettered": REJECTED,
        }
        for id, answer in answers.items():
            worker(at, lambda _, answer=answer: answer).invoke(accepted(id))
        worker(at).invoke(accepted("delivered"))
        worker(at).invoke(accepted("expired", expires_at="2020-11-11T02:59:30.000+00:00"))
        put_consent(at.dynamodb, "user-2", opted_out=True)
        worker(at).invoke(accepted("opted_out", category="advertising"))
        worker(at, lambda _: NOT_LISTED).invoke(accepted("not_in_allow_list"))
        for id in ("unknown", "reopened_unknown"):
            worker(at, lambda _: UNKNOWN, can_resend=False).invoke(accepted(id))
        _dead_lettered_after_an_unknown_call(at)
        operator = Ledger(at.dynamodb, "ledger", "operator", timedelta(minutes=2))
        operator.cancel("cancelled", DAY)
        unknown = operator.read("reopened_unknown")
        assert unknown is not None
        operator.reopen([Reopening(unknown, unknown.fingerprint)], DAY)
        return {item["id"]["S"]: item for item in at.items("ledger")}


def _killed(at: Deployment, id: str, can_resend: bool) -> None:
    with suppress(Killed):
        worker(at, die, can_resend).invoke(accepted(id))


def _dead_lettered_after_an_unknown_call(at: Deployment) -> None:
    left = [UNKNOWN, REJECTED]
    world = worker(at, lambda _: left.pop(0))
    run(world, accepted("dead_lettered_sending"))


def consents() -> tuple[Forms, Forms]:
    """The consent table's items and those of its history, by who wrote them."""
    with deployment() as at:
        said = {"night_consent": True, "opted_out": False, "evidence": "web form"}
        _ask(at, "PUT", "/consents/registrar-1", said, NIGHT)
        _ask(at, "PUT", "/consents/registrar-2", said | {"expires_at": "2021-11-11T00:00:00+09:00"}, NIGHT)
        _ask(at, "PUT", "/consents/registrar-3", said, NIGHT)
        _ask(at, "POST", "/consents/registrar-3/renotified", {"evidence": "mail"}, NIGHT + timedelta(days=1))
        _ask(at, "PUT", "/consents/registrar-4", said, NIGHT)
        out = {"night_consent": False, "opted_out": True, "evidence": "080 number"}
        _ask(at, "PUT", "/consents/registrar-4", out, NIGHT + timedelta(hours=5))
        tables = ConsentTables(at.dynamodb, "consent", "consent-history", ZoneInfo("Asia/Seoul"))
        rows = (
            "recipient_id,night_consent,opted_out,changed_at,evidence,expires_at,renotified_at,renotify_due\n"
            "imported-1,true,false,2020-03-01T10:00:00+09:00,old system,,2020-06-01T10:00:00+09:00,2022-06-01\n"
            "imported-2,false,true,2020-03-01T10:00:00+09:00,old system,,,\n"
        )
        list(import_rows(read_rows(io.BytesIO(rows.encode()), NIGHT), tables, NIGHT, Imported()))
        stored = {item["recipient_id"]["S"]: item for item in at.items("consent")}
        history = at.items("consent-history")
        return stored | BY_HAND, {f"{item['recipient_id']['S']} {item['changed_at']['S']}": item for item in history}


def _ask(at: Deployment, method: str, path: str, body: Any, now: datetime) -> None:
    """A request to the registrar at an instant."""
    frozen = type("Frozen", (datetime,), {"now": classmethod(lambda cls, zone: now)})
    context: Any = None
    with (
        patch.dict(os.environ, at.settings.to_env()),
        patch.object(registrar, "_client", lambda: at.dynamodb),
        patch.object(registrar, "datetime", frozen),
    ):
        answer = registrar.handler(http(method, path, json.dumps(body)), context)
    assert answer["statusCode"] == 200, answer


def held() -> Forms:
    """The held table's items."""
    with deployment() as at:
        at.consume(record(to_text([advert("held-1", **FULL), advert("held-2")]), "message-1", NIGHT))
        again = advert("held-1", **FULL) | {"source": "another shop"}
        at.consume(record(to_text([again]), "message-2", NIGHT))
        at.consume(record(to_text(advert("held-3", **CHOOSES)), "message-3", NIGHT))
        return {item["id"]["S"]: item for item in at.items("held")}


def newest() -> Forms:
    """The note of the newest held notification of a collapse key."""
    with deployment() as at:
        at.consume(record(to_text(advert("older", collapse_key="sale")), "message-1", NIGHT))
        at.consume(record(to_text(advert("newest", collapse_key="sale")), "message-2", NIGHT + timedelta(minutes=1)))
        return {"note": next(item for item in at.items("held") if "newest" in item)}


# --- the bucket and the alert topic


def campaigns() -> Forms:
    """Record the objects that a campaign leaves in the bucket: the file that it reads, by what stands beside it."""
    forms: Forms = {}
    with deployment() as at, patch.object(campaign, "ROWS_A_BATCH", 3):
        _drop(at, CSV_KEY, CSV_WITH_FAULTS).go_on(lambda: NIGHT, lambda: 0.0)
        forms["half_done"] = at.objects()
        forms["half_done_accepted"] = at.take("notification")
    with deployment() as at, patch.object(campaign, "ROWS_A_BATCH", 3), patch.object(campaign, "PART_BYTES", 100):
        _drop(at, CSV_KEY, CSV_WITH_FAULTS).go_on(lambda: NIGHT, lambda: 0.0)
        forms["half_done_with_parts"] = {
            key: _with_fixed_upload(text) if key.endswith(".json") else text for key, text in at.objects().items()
        }
    with deployment() as at:
        _drop(at, CSV_KEY, CSV_WITH_FAULTS).go_on(lambda: NIGHT, lambda: 300.0)
        forms["done"] = at.objects()
    with deployment() as at:
        _drop(at, BROKEN_KEY, "no such header\n").go_on(lambda: NIGHT, lambda: 300.0)
        forms["unreadable"] = at.objects()
    return forms


def _drop(at: Deployment, key: str, text: str) -> Campaign:
    etag = at.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())["ETag"].strip('"')
    return Campaign(at.s3, at.sqs, at.settings, BUCKET, key, etag, len(text.encode()))


def _with_fixed_upload(text: str) -> str:
    """The upload's id is made at random by S3."""
    upload = json.loads(text)["upload_id"]
    return text.replace(upload, "UPLOAD")


def alerts() -> Forms:
    """Record the messages on the alert topic."""
    answer = {"released": 12, "messages": 2, "remaining": True}
    return FROM_OTHERS | {"release_stopped": json.loads(release_stopped(["AccessDenied"], answer, MORNING))}


def turns() -> Forms:
    """Record a channel's items: its schedules, a suspicion, a rest, and refusals of a source's template."""
    with deployment() as at:
        table = Turns(at.dynamodb, "turn", lambda: DAY)
        table.book("scheduled", 50, 10.0, 5.0)
        table.book("scheduled", 1, 10.0, 5.0, is_urgent=True)
        table.space("scheduled", "schedule", 100, 10.0)
        began_ms = epoch_ms(DAY)
        table.has_failed(
            "suspected", Failure("a", began_ms, began_ms + 100, is_certain=False, served_ms=began_ms - 1000)
        )
        table.has_failed("resting", Failure("a", began_ms, began_ms + 100, is_certain=True))
        table.has_served("serving", None, DAY)
        for id in ("a", "b", "c"):
            table.has_refused("refused", Refusals([id], began_ms))
        table.has_refused("refused_once", Refusals(["a"], began_ms))
        return {item["channel"]["S"]: item for item in at.items("turn")}


def record_forms() -> dict[str, Forms]:
    """Every form, by the name of its file."""
    stored, history = consents()
    return {
        "messages": messages(),
        "ledger": ledger(),
        "consents": stored,
        "consent_history": history,
        "held": held(),
        "newest": newest(),
        "campaigns": campaigns(),
        "alerts": alerts(),
        "turns": turns(),
    }


def main() -> None:
    """Write the files into the directory that the command line names."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, forms in record_forms().items():
        text = json.dumps(forms, ensure_ascii=False, indent=2) + "\n"
        (directory / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
