"""The files that a message of the campaign queue names: S3's own event, or one passed on by SNS or EventBridge."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from ..errors import Unreadable

_NOT_UNDERSTOOD = "not an event of S3, as it is or in an envelope of SNS or EventBridge"


class Upload(NamedTuple):
    """A file that was dropped. `etag` stands for its content, `sequencer` for this upload of it."""

    bucket: str
    key: str
    etag: str
    size: int
    sequencer: str = ""


def uploads(body: str) -> list[Upload]:
    """The files that a message names: none for S3's test, and for events of another kind.

    Raises `Unreadable` for a message that is no event of S3.
    """
    try:
        event = json.loads(body)
        if "TopicArn" in event and isinstance(event.get("Message"), str):
            event = json.loads(event["Message"])
        if event.get("Event") == "s3:TestEvent":
            return []
        if event.get("source") == "aws.s3":
            return _of_eventbridge(event)
        return [_of_s3(record["s3"]) for record in event["Records"] if _is_creation(record)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreadable(_NOT_UNDERSTOOD) from None


def is_test(body: str) -> bool:
    """True for the message that S3 sends when its notifications are set up."""
    return "s3:TestEvent" in body[:1000]


def _is_creation(record: dict[str, Any]) -> bool:
    return str(record.get("eventName", "ObjectCreated")).startswith("ObjectCreated")


def _of_s3(s3: dict[str, Any]) -> Upload:
    found = s3["object"]
    return Upload(
        s3["bucket"]["name"], unquote_plus(found["key"]), found["eTag"], found["size"], found.get("sequencer", "")
    )


def _of_eventbridge(event: dict[str, Any]) -> list[Upload]:
    """EventBridge has the key as it is, where S3's own event has it as in a URL's query."""
    if event["detail-type"] != "Object Created":
        return []
    detail, found = event["detail"], event["detail"]["object"]
    return [Upload(detail["bucket"]["name"], found["key"], found["etag"], found["size"], found.get("sequencer", ""))]
