"""The deployed pipeline for tests: senders, the provider, day and night, and everything that can be observed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from fakes.process import Arrival, Provider
from lambdas.quiet_hours.settings import Settings
from local.aws import client, peek
from local.status import QUEUES, depth

WITHIN_S = 240
"""Bounds a wait for something that takes a second or two. It decides a failure only: machines are busy."""


class Pipeline:
    """One deployment, shared by all tests of a process: each test makes ids of its own with `new_id`.

    `outputs` are the stack's. `night()` makes it quiet hours now and `day()` ends them; by day the minute rule releases
    by itself. The embedded AWS keeps its files in `folder`.
    """

    def __init__(self, endpoint: str, outputs: dict[str, str], provider: Provider, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.outputs = outputs
        self.provider = provider
        self.sqs = client(endpoint, "sqs")
        self.lambda_ = client(endpoint, "lambda")
        self.events = client(endpoint, "events")
        self.dynamodb = client(endpoint, "dynamodb")
        self.logs = client(endpoint, "logs")
        self._quiet: tuple[int, int] | None = None
        client(endpoint, "secretsmanager").put_secret_value(
            SecretId=outputs["ChannelSecretName"], SecretString=json.dumps({"webhook": {"url": provider.url}})
        )

    # --- the clock ---

    def night(self) -> None:
        """Quiet hours since an hour ago, for another hour."""
        self._quiet_hours(-1, 1)

    def day(self) -> None:
        """Quiet hours in six hours' time."""
        self._quiet_hours(6, 7)

    def _quiet_hours(self, start_h: int, end_h: int) -> None:
        if self._quiet == (start_h, end_h):
            return
        self.settle()  # a changed environment ends the functions that are running
        now = datetime.now(UTC)
        window = {
            "QUIET_HOURS_TIMEZONE": "UTC",
            "QUIET_HOURS_START": f"{now + timedelta(hours=start_h):%H:%M}",
            "QUIET_HOURS_END": f"{now + timedelta(hours=end_h):%H:%M}",
            "QUIET_HOURS_KAKAO_CLOSED": "never",
        }
        names = [self.outputs[f"{each}FunctionName"] for each in ("Producer", "Consumer", "Scheduler", "Worker")]
        for name in names:
            variables = self.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            assert window.keys() <= variables.keys(), "the functions no longer take quiet hours from these variables"
            self.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": variables | window})
        for name in names:
            self.lambda_.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        self._quiet = (start_h, end_h)

    # --- senders ---

    def new_id(self, end: str = "") -> str:
        """An id that no other test uses."""
        return f"test-{uuid4()}{end}"

    def produce(self, *notifications: dict[str, Any]) -> dict[str, Any]:
        """Invoke the producer; returns its answer. Raises `AssertionError` when it fails."""
        return self.invoke("Producer", {"notifications": list(notifications)})

    def put(self, body: dict[str, Any] | str, queue: str = "Notification", **attributes: str) -> str:
        """Plain sqs:SendMessage; returns the message id."""
        return self.sqs.send_message(
            QueueUrl=self.outputs[f"{queue}QueueUrl"],
            MessageBody=body if isinstance(body, str) else json.dumps(body, ensure_ascii=False),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )["MessageId"]

    def publish(self, notification: dict[str, Any]) -> str:
        """Put a NotificationRequested event on the deployment's bus; return its id."""
        entry = {
            "EventBusName": self.outputs["EventBusName"],
            "Source": "tests",
            "DetailType": "NotificationRequested",
            "Detail": json.dumps(notification),
        }
        return self.events.put_events(Entries=[entry])["Entries"][0]["EventId"]

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function with any event; returns its answer. Raises `AssertionError` when it fails."""
        answer = self.lambda_.invoke(
            FunctionName=self.outputs[f"{function}FunctionName"], Payload=json.dumps(event).encode()
        )
        payload = json.load(answer["Payload"])
        assert "FunctionError" not in answer, payload
        return payload

    def release(self) -> dict[str, Any]:
        """Invoke the scheduler, as its triggers do; returns its answer."""
        return self.invoke("Scheduler", {})

    def consent(self, recipient_id: str, *, night_consent: bool = False, opted_out: bool = False) -> None:
        """Write a recipient's consent."""
        self.dynamodb.put_item(
            TableName=self.outputs["ConsentTableName"],
            Item={
                "recipient_id": {"S": recipient_id},
                "night_consent": {"BOOL": night_consent},
                "opted_out": {"BOOL": opted_out},
            },
        )

    # --- faults ---

    def kill(self, function: str) -> int:
        """Kill every process that runs a function at this moment, as a crash would; returns how many there were."""
        name = self.outputs[f"{function}FunctionName"]
        pattern = f"{self.folder}/tmp/ministack-lambda-{name}-"
        found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout.split()
        for process_id in found:
            os.kill(int(process_id), signal.SIGKILL)
        return len(found)

    @contextmanager
    def without_minute_rule(self) -> Iterator[None]:
        """Switch the minute rule off, so that only the test starts the scheduler."""
        [rule] = [each["Name"] for each in self.events.list_rules()["Rules"] if "ScheduleExpression" in each]
        self.events.disable_rule(Name=rule)
        try:
            yield
        finally:
            self.events.enable_rule(Name=rule)

    def settings(self) -> Settings:
        """The settings that the scheduler has now."""
        name = self.outputs["SchedulerFunctionName"]
        variables = self.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        return Settings.from_env(variables)

    # --- what can be observed; none of it disturbs the queues ---

    def received(self, *ids: str) -> list[Arrival]:
        """The arrivals at the provider, of these ids or of all."""
        return [arrival for arrival in self.provider.arrivals() if not ids or arrival.id in ids]

    def accepted(self, *ids: str) -> list[str]:
        """The ids that the provider answered with 2xx, each as often as it did."""
        return [arrival.id for arrival in self.received(*ids) if arrival.accepted]

    def state(self, notification_id: str) -> str | None:
        """The state of an id in the ledger."""
        return self._entry(notification_id).get("state", {}).get("S")

    def rests(self, channel: str) -> bool:
        """True if a channel rests."""
        found = self.dynamodb.get_item(TableName=self.outputs["TurnTableName"], Key={"channel": {"S": channel}})
        return "rest_until_ms" in found.get("Item", {})

    def end_rests(self) -> None:
        """Let no channel rest, whatever a test has done to its provider."""
        table = self.outputs["TurnTableName"]
        for item in self.dynamodb.scan(TableName=table)["Items"]:
            self.dynamodb.delete_item(TableName=table, Key={"channel": item["channel"]})

    def attempts(self, notification_id: str) -> int:
        """The number of attempts that the ledger has counted for an id."""
        return int(self._entry(notification_id)["attempts"]["N"])

    def _entry(self, notification_id: str) -> dict[str, Any]:
        key = {"id": {"S": notification_id}}
        answer = self.dynamodb.get_item(TableName=self.outputs["LedgerTableName"], Key=key, ConsistentRead=True)
        return answer.get("Item", {})

    def on(self, queue: str) -> list[dict[str, Any]]:
        """The messages on a queue, visible or in flight: `Body`, `ReceiveCount`, `MessageAttributes`, …"""
        return peek(self.endpoint, self.outputs[f"{queue}QueueUrl"])

    def ids_on(self, queue: str) -> list[str]:
        """The ids of the notifications on a queue whose bodies can be read."""
        bodies = [json.loads(message["Body"]) for message in self.on(queue)]
        return [item["id"] for body in bodies for item in (body if isinstance(body, list) else [body])]

    def dead_letter(self, *, notification_id: str | None = None, body: str | None = None) -> dict[str, Any] | None:
        """The dead letter of an id, or with a body."""
        for message in self.on("DeadLetter"):
            value = message["MessageAttributes"].get("notification_id", {}).get("StringValue")
            if body == message["Body"] or (notification_id is not None and notification_id == value):
                return message
        return None

    def settle(self) -> None:
        """Wait until every queue but wait and dead-letter is empty."""
        busy: Sequence[str] = [name for name in QUEUES if name not in ("Wait", "DeadLetter")]
        self.wait_until(
            lambda: not any(depth(self.sqs, self.outputs[f"{name}QueueUrl"]).total for name in busy),
            within_s=3 * WITHIN_S,
            what="every queue but wait and dead-letter is empty",
        )

    def wait_until(
        self, holds: Callable[[], Any], within_s: float = WITHIN_S, what: str = "what was waited for"
    ) -> Any:
        """Wait until `holds()` is true and return its value. Raises `AssertionError` when that takes too long."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if value := holds():
                return value
            time.sleep(0.1)
        raise AssertionError(f"not within {within_s:g} s: {what}")
