"""`make events`: writes sample events of AWS for each function into events/, for `sam local invoke` and for the tests.

The project's own functions make the contents, so that the files change with its formats. Nothing in them is random, and
nothing in them expires.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import quote_plus
from uuid import NAMESPACE_URL, uuid5

from lambdas.quiet_hours.notification.bundle import Item, Message, pack
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.notification.notification import accept
from local import ROOT
from local.aws import ACCOUNT, REGION
from local.deploy import STACK
from local.sam_env import CAMPAIGN_KEY

EVENTS = ROOT / "events"

EVENING = datetime(2099, 11, 11, 12, 3, tzinfo=UTC)
"""21:03 in Seoul: the notifications are accepted. The year is so far ahead that the worker never finds them expired."""

MORNING = datetime(2099, 11, 11, 23, 0, 4, tzinfo=UTC)
"""08:00:04 in Seoul: they are released."""

ORDER_PAID: dict[str, Any] = {
    "id": "order-20991111-0001:paid",
    "category": "informational",
    "channel": "log",
    "address": "user-42",
    "content": {"title": "결제 완료", "body": "주문하신 캐시미어 코트의 결제가 완료되었습니다."},
    "source": "order-service",
}
LOGIN_CODE: dict[str, Any] = {
    "id": "login-20991111-0001:code",
    "category": "critical",
    "channel": "log",
    "address": "user-42",
    "content": {"title": "인증번호", "body": "[온결] 인증번호는 482913입니다."},
    "source": "login-service",
}
NIGHT_SALE: dict[str, Any] = {
    "id": "campaign-20991111:user-42",
    "category": "advertising",
    "channel": "log",
    "address": "user-42",
    "content": {
        "title": "(광고) 심야 특가",
        "body": "오늘 밤 자정까지 겨울 코트 전 품목 30% 할인! 무료수신거부 080-000-0000",
    },
    "source": "campaign-service",
}
NO_CATEGORY: dict[str, Any] = {
    "channel": "log",
    "address": "user-7",
    "content": {"template": "restock", "variables": {"item": "울 머플러", "left": 3}},
}
"""From a service that knows only SQS: it has no id, and no category, which means advertising."""
COUPON: dict[str, Any] = {
    "id": "coupon-20991111:shop-app",
    "category": "advertising",
    "channel": "webhook",
    "address": "shop-app",
    "recipient_id": "user-42",
    "content": {
        "title": "(광고) 쿠폰",
        "body": "내일까지 쓸 수 있는 15% 쿠폰이 도착했습니다. 무료수신거부 080-000-0000",
    },
    "metadata": {"campaign": "winter"},
}
CAMPAIGN_FILE = "channel,address,category,body\nlog,user-42,informational,배송이 시작되었습니다.\n".encode()
"""The campaign file that an event names."""

NIGHT_CONSENT: dict[str, Any] = {"night_consent": True, "opted_out": False, "evidence": "web form of 2020-11-11"}
UNKNOWN_CHANNEL: dict[str, Any] = {"channel": "fax", "address": "02-123-4567", "content": {"body": "팩스"}}
UNREADABLE = '{"channel": "log", "address": "user-42", "content": {"body": "여기서 끊겼'


def events() -> dict[str, Any]:
    """Return every event by the name of its file: the function, then the kind of event."""
    request = {"notifications": [ORDER_PAID, NIGHT_SALE, NO_CATEGORY, UNKNOWN_CHANNEL]}
    bundle = pack(accepted(ORDER_PAID, NIGHT_SALE))
    plain = Message(to_text(NO_CATEGORY), attributes={"trace-id": "1-67891233-abcdef012345678912345678"})
    requested = Message(to_text(bus_event("NotificationRequested", "shop.orders", ORDER_PAID)))
    return {
        "producer-one": ORDER_PAID,
        "producer-many": request,
        "producer-url": url_event("POST", "/notifications", to_text(request)),
        "consumer-messages": sqs_event("Notification", [*bundle, plain, Message(UNREADABLE)], EVENING),
        "consumer-event-bus": sqs_event("Notification", [requested], EVENING),
        "producer-url-status": url_event("GET", "/notifications/order-20991111-0001%3Apaid"),
        "registrar-put": url_event("PUT", "/consents/010-1234-5678", to_text(NIGHT_CONSENT)),
        "registrar-get": url_event("GET", "/consents/010-1234-5678"),
        "scheduler-end-of-quiet-hours": _end_of_quiet_hours(),
        "scheduler-every-minute": _every_minute(),
        "worker-urgent": sqs_event("Urgent", pack(accepted(LOGIN_CODE)), EVENING),
        "worker-delivery": sqs_event("Delivery", pack(accepted(ORDER_PAID)), EVENING),
        "worker-schedule": sqs_event("Schedule", pack(accepted(COUPON)), MORNING),
        "campaign-file": sqs_event("Campaign", [Message(to_text(_upload(CAMPAIGN_KEY)))], EVENING),
        "alerter-alarm": _sns_event(to_text(_alarm())),
    }


def file_text(event: object) -> str:
    """Return the text of an event's file."""
    return json.dumps(event, ensure_ascii=False, indent=2) + "\n"


def accepted(*candidates: dict[str, Any]) -> list[Item]:
    """Return notifications as the producer puts them on a queue."""
    found = [accept(candidate, default_id=_id(to_text(candidate)), now=EVENING) for candidate in candidates]
    return [Item(each.notification, each.text) for each in found]


def sqs_event(queue: str, messages: Iterable[Message], sent_at: datetime) -> dict[str, Any]:
    """Return the event of an event source mapping: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    return {"Records": [_sqs_record(queue, message, sent_at) for message in messages]}


def _sqs_record(queue: str, message: Message, sent_at: datetime) -> dict[str, Any]:
    sent_ms = round(sent_at.timestamp() * 1000) + 40  # a notification reaches the queue a little after its acceptance
    return {
        "messageId": _id(f"{queue} {message.body}"),
        "receiptHandle": f"AQEB-{_id(f'receipt {queue} {message.body}')}",
        "body": message.body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(sent_ms),
            "SenderId": "AROAEXAMPLEEXAMPLEEXA:QuietHours",
            "ApproximateFirstReceiveTimestamp": str(sent_ms + 5),
        },
        "messageAttributes": {
            name: {"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"}
            for name, value in (message.attributes or {}).items()
        },
        "md5OfBody": md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{STACK}-{queue}",
        "awsRegion": REGION,
    }


def bus_event(detail_type: str, source: str, detail: object, at: datetime = EVENING, **fields: Any) -> dict[str, Any]:
    """Return an event as EventBridge delivers it. `fields` replace the usual ones."""
    return {
        "version": "0",
        "id": _id(f"{detail_type} {source} {at.isoformat()}"),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "region": REGION,
        "resources": [],
        "detail": detail,
        **fields,
    }


def _upload(key: str) -> dict[str, Any]:
    """Return an event notification of S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""
    bucket = f"{STACK.lower()}-campaigns-{ACCOUNT}-{REGION}"
    etag = md5(CAMPAIGN_FILE, usedforsecurity=False).hexdigest()  # as S3 makes it of a file that comes in one part
    uploaded = {"key": quote_plus(key, safe="/"), "size": len(CAMPAIGN_FILE), "eTag": etag}
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": f"{EVENING:%Y-%m-%dT%H:%M:%S.000Z}",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:AROAEXAMPLEEXAMPLEEXA:shop"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": _id(f"upload {key}")},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": _id("campaign bucket"),
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": uploaded | {"sequencer": "0055AED6DCD90281E5"},
        },
    }
    return {"Records": [record]}


def _alarm() -> dict[str, Any]:
    """Return the message of an alarm."""
    name = f"{STACK}-DeadLetterNotEmpty"
    return {
        "AlarmName": name,
        "AlarmDescription": "A notification could not be sent: see its reason.",
        "AWSAccountId": ACCOUNT,
        "NewStateValue": "ALARM",
        "NewStateReason": "Threshold Crossed: 1 datapoint [3.0] was greater than or equal to the threshold (1.0).",
        "StateChangeTime": f"{MORNING:%Y-%m-%dT%H:%M:%S.000+0000}",
        "Region": "US East (N. Virginia)",
        "AlarmArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}",
        "OldStateValue": "OK",
        "Trigger": {"MetricName": "ApproximateNumberOfMessagesVisible", "Namespace": "AWS/SQS", "Threshold": 1.0},
    }


def _sns_event(message: str) -> dict[str, Any]:
    """Return the event with which SNS invokes a function: https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-Alerts"
    record = {
        "EventVersion": "1.0",
        "EventSubscriptionArn": f"{topic}:{_id('subscription')}",
        "EventSource": "aws:sns",
        "Sns": {
            "Type": "Notification",
            "MessageId": _id(message),
            "TopicArn": topic,
            "Subject": "ALARM",
            "Message": message,
            "Timestamp": f"{MORNING:%Y-%m-%dT%H:%M:%S.000Z}",
            "MessageAttributes": {},
        },
    }
    return {"Records": [record]}


def _end_of_quiet_hours() -> dict[str, Any]:
    """Return the event of an EventBridge Scheduler schedule without input; its `detail` is text."""
    schedule = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{STACK}-EndOfQuietHours"
    return bus_event("Scheduled Event", "aws.scheduler", "{}", MORNING, resources=[schedule])


def _every_minute() -> dict[str, Any]:
    rule = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{STACK}-EveryMinute"
    return bus_event("Scheduled Event", "aws.events", {}, MORNING, resources=[rule])


def url_event(method: str, path: str, body: str = "") -> dict[str, Any]:
    """Return a signed request to a Function URL: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html"""
    url_id = "abcdefghijklmnopqrstuvwxyz012345"
    host = f"{url_id}.lambda-url.{REGION}.on.aws"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "content-length": str(len(body.encode())),
            "host": host,
            "x-amz-date": f"{EVENING:%Y%m%dT%H%M%SZ}",
            "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": url_id,
            "authorizer": {
                "iam": {
                    "accessKey": "ASIAEXAMPLEEXAMPLEEX",
                    "accountId": ACCOUNT,
                    "callerId": "AROAEXAMPLEEXAMPLEEXA:shop",
                    "cognitoIdentity": None,
                    "principalOrgId": None,
                    "userArn": f"arn:aws:sts::{ACCOUNT}:assumed-role/Shop/shop",
                    "userId": "AROAEXAMPLEEXAMPLEEXA:shop",
                }
            },
            "domainName": host,
            "domainPrefix": url_id,
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "shop/1.0",
            },
            "requestId": _id(f"{method} {path}"),
            "routeKey": "$default",
            "stage": "$default",
            "time": f"{EVENING:%d/%b/%Y:%H:%M:%S +0000}",
            "timeEpoch": round(EVENING.timestamp() * 1000),
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _id(of: str) -> str:
    """Return an id in the form of AWS's, always the same one for the same input."""
    return str(uuid5(NAMESPACE_URL, of))


def main() -> None:
    """Write every file, and remove those that are no longer made."""
    EVENTS.mkdir(exist_ok=True)
    made = {EVENTS / f"{name}.json": file_text(event) for name, event in events().items()}
    for path in set(EVENTS.glob("*.json")) - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
