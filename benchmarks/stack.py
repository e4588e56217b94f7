"""Deploys the stack for measurements from outside: by day, with a provider that records what arrives."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fakes.process import Provider
from lambdas.quiet_hours.notification.notification import accept
from local import BUILD, aws, deploy, server

ARRIVES_WITHIN_S = 60


@dataclass(frozen=True)
class Stack:
    """One deployment on an embedded AWS."""

    endpoint: str
    outputs: dict[str, str]
    provider: Provider

    @property
    def sqs(self) -> Any:
        return aws.client(self.endpoint, "sqs")

    def arrival(self, id: str, within_s: float = ARRIVES_WITHIN_S) -> datetime | None:
        """The time at which the provider got the notification, or None if it did not within `within_s`."""
        deadline = time.monotonic() + within_s
        while True:
            for arrival in reversed(self.provider.arrivals()):
                if arrival.id == id:
                    return arrival.at
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)


@contextmanager
def deployed(name: str, rate_per_s: float | None = None) -> Iterator[Stack]:
    """Deploy the stack with quiet hours that are far away. `rate_per_s` is the provider's rate for all lanes
    together."""
    directory = BUILD / f"bench-{name}"
    shutil.rmtree(directory, ignore_errors=True)  # the record of an earlier run has the same ids
    provider = Provider(directory / "received.jsonl")
    embedded = server.start(server.free_port(), directory / "server")
    try:
        provider.start()
        # Quiet hours begin in eleven hours, whenever this runs.
        start, end = (f"{(datetime.now(UTC).hour + hours) % 24:02}:00" for hours in (11, 12))
        context = ["-c", "timezone=UTC", "-c", f"quietHoursStart={start}", "-c", f"quietHoursEnd={end}"]
        context += ["-c", "kakaoClosed=never"]
        outputs = deploy.deploy(embedded.endpoint, directory, context)
        config = {"url": provider.url} | ({"rate_per_s": rate_per_s} if rate_per_s else {})
        aws.client(embedded.endpoint, "secretsmanager").put_secret_value(
            SecretId=outputs["ChannelSecretName"], SecretString=json.dumps({"webhook": config})
        )
        yield Stack(embedded.endpoint, outputs, provider)
    finally:
        provider.stop()
        embedded.stop()


def code(id: str, now: datetime) -> str:
    """The body of a password code. It is critical, so that quiet hours do not hold it."""
    candidate = {"channel": "webhook", "address": "bench", "content": {"body": "123456"}, "category": "critical"}
    return accept(candidate, default_id=id, now=now).text
