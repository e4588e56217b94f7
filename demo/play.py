"""Plays an evening: sends each line at its time and in its way, and notes what was accepted."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from local import CommandError
from local.aws import client

SIDE_BY_SIDE = 3
"""Requests in parallel. Each one more is one more cold start of the producer, perhaps on only two cores."""
EVENTS_A_CALL = 10


@dataclass
class Sent:
    """The senders' knowledge. `accepted`: how often each id was, and `accepted_at` when it first was. `bodies`: the id
    of each body that is not JSON."""

    notifications: dict[str, dict[str, Any]] = field(default_factory=dict)
    accepted: Counter[str] = field(default_factory=Counter)
    rejected: set[str] = field(default_factory=set)
    bodies: dict[str, str] = field(default_factory=dict)
    accepted_at: dict[str, datetime] = field(default_factory=dict)
    lines: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_accepted(self, notification_id: str, notification: dict[str, Any]) -> None:
        with self._lock:
            self.lines += 1
            self.accepted[notification_id] += 1
            self.accepted_at.setdefault(notification_id, datetime.now(UTC))
            self.notifications[notification_id] = notification

    def note_rejected(self, notification_id: str) -> None:
        with self._lock:
            self.lines += 1
            self.rejected.add(notification_id)

    def note_body(self, notification_id: str, body: str) -> None:
        with self._lock:
            self.lines += 1
            self.accepted[notification_id] += 1
            self.bodies[body] = notification_id


class Player:
    """Play one evening on one deployment. `start`: the start of quiet hours, from which the lines' times count."""

    def __init__(
        self, lines: Sequence[dict[str, Any]], start: datetime, endpoint: str, outputs: dict[str, str]
    ) -> None:
        self.sent = Sent()
        self._requests = [
            list(group) for _, group in itertools.groupby(lines, lambda line: (line["at_s"], line["via"]))
        ]
        self._start = start
        self._outputs = outputs
        self._stopped = threading.Event()
        self._sqs, self._lambda, self._events = (client(endpoint, name) for name in ("sqs", "lambda", "events"))

    def play(self) -> None:
        """Send every line; late ones at once. Raises what the first failed request raised."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            calls = []
            for lines in self._requests:
                due = self._start + timedelta(seconds=lines[0]["at_s"])
                if self._stopped.wait(max(0.0, (due - datetime.now(UTC)).total_seconds())):
                    break
                calls.append(pool.submit(self._send, lines))
            for call in calls:
                call.result()

    def stop(self) -> None:
        """Stop sending."""
        self._stopped.set()

    def _send(self, lines: list[dict[str, Any]]) -> None:
        {"producer": self._by_producer, "sqs": self._by_sqs, "event": self._by_event}[lines[0]["via"]](lines)

    def _by_producer(self, lines: list[dict[str, Any]]) -> None:
        notifications = [self._notification(line) for line in lines]
        answer = self._lambda.invoke(
            FunctionName=self._outputs["ProducerFunctionName"],
            Payload=json.dumps({"notifications": notifications}, ensure_ascii=False).encode(),
        )
        payload = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise CommandError(f"The producer failed: {payload.get('errorMessage')}")
        rejected = {entry["index"] for entry in payload["rejected"]}
        for index in rejected:
            self.sent.note_rejected(str(notifications[index]["id"]))
        taken = [notification for index, notification in enumerate(notifications) if index not in rejected]
        for entry, notification in zip(payload["accepted"], taken, strict=True):
            self.sent.note_accepted(entry["id"], notification)

    def _by_sqs(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            body = line.get("body") or json.dumps(self._notification(line), ensure_ascii=False)
            answer = self._sqs.send_message(QueueUrl=self._outputs["NotificationQueueUrl"], MessageBody=body)
            if "body" in line:
                self.sent.note_body(f"sqs:{answer['MessageId']}", body)
            else:
                notification = self._notification(line)
                self.sent.note_accepted(notification.get("id", f"sqs:{answer['MessageId']}"), notification)

    def _by_event(self, lines: list[dict[str, Any]]) -> None:
        for place in range(0, len(lines), EVENTS_A_CALL):
            notifications = [self._notification(line) for line in lines[place : place + EVENTS_A_CALL]]
            entries = [
                {
                    "EventBusName": self._outputs["EventBusName"],
                    "Source": f"shop.{notification['source']}",
                    "DetailType": "NotificationRequested",
                    "Detail": json.dumps(notification, ensure_ascii=False),
                }
                for notification in notifications
            ]
            answer = self._events.put_events(Entries=entries)
            if answer["FailedEntryCount"]:
                raise CommandError(f"The event bus did not take {answer['FailedEntryCount']} events.")
            for entry, notification in zip(answer["Entries"], notifications, strict=True):
                self.sent.note_accepted(notification.get("id", f"event:{entry['EventId']}"), notification)

    def _notification(self, line: dict[str, Any]) -> dict[str, Any]:
        if "expires_at_s" not in line:
            return line["notification"]
        expires_at = self._start + timedelta(seconds=line["expires_at_s"])
        return line["notification"] | {"expires_at": expires_at.isoformat()}
