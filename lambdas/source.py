"""The source function: asks a function of the user's what is to be sent at one of its times, and accepts it.

A deployment has one for each source that is added to it, and none otherwise (infra/sources.py). It answers for a slot,
not for the moment at which it is started: see quiet_hours/sources.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger

from .quiet_hours.errors import SourceFailed
from .quiet_hours.notification.bundle import invalid_letters, pack
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import Settings
from .quiet_hours.sources import Slot, Source, read_answer
from .quiet_hours.stores.clients import client_config
from .quiet_hours.stores.queues import send
from .quiet_hours.timings import SOURCE_TIMEOUT_S

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

VARIABLE = "QUIET_HOURS_SOURCE"
"""The source as JSON: its `name`, `times`, `timezone`, and the `function` to invoke."""

ANSWERS_WITHIN_S = SOURCE_TIMEOUT_S - 60
"""The longest that the user's function may take. The rest of the time is for SQS."""

logger = Logger()


@cache
def _clients() -> tuple[Any, Any]:
    # One attempt: a second invoke would run beside the first.
    patient = client_config(read_timeout_s=ANSWERS_WITHIN_S, attempts=1, tcp_keepalive=True)
    return boto3.client("sqs", config=client_config()), boto3.client("lambda", config=patient)


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take `{"scheduled_at": …}` from EventBridge Scheduler, or `{}` for the latest slot. Return what `run` returns.

    Raises `SourceFailed`, or `HandlerFailed` for any other error: Lambda then tries twice more.
    """
    sqs, functions = _clients()
    now = datetime.now(UTC)
    described = json.loads(os.environ[VARIABLE])
    source = Source.of(described["name"], described["times"], described["timezone"])
    slot = source.slot(datetime.fromisoformat(event["scheduled_at"]) if "scheduled_at" in event else now)

    def ask(asked: dict[str, Any]) -> object:
        return _invoke(functions, described["function"], asked)

    result = run(source, slot, ask, now, sqs, Settings.from_env())
    logger.info("source", extra={"source": source.name, **result})
    return result


def run(
    source: Source,
    slot: Slot,
    ask: Callable[[dict[str, Any]], object],
    now: datetime,
    sqs: Any,
    settings: Settings,
) -> dict[str, Any]:
    """Ask the user's function, put what is valid on the notification queue, and the rest on dead-letter.

    Returns `{"until", "accepted", "invalid"}`. Raises `SourceFailed` if the function fails or SQS does not take
    everything. A later run for the same slot sends again with the same ids, and what is a repeat is absorbed.
    """
    answer = ask({"source": source.name, "since": slot.since.isoformat(), "until": slot.until.isoformat()})
    asked = read_answer(answer, source, slot, now, settings)
    not_taken = send(sqs, settings.notification_queue_url, pack(asked.items))
    if not not_taken:
        not_taken = send(sqs, settings.dead_letter_queue_url, invalid_letters(asked.invalid))
    if not_taken:
        raise SourceFailed(f"SQS did not take everything ({', '.join(sorted(set(not_taken.values())))})")
    return {"until": slot.until.isoformat(), "accepted": len(asked.items), "invalid": len(asked.invalid)}


def _invoke(functions: Any, name: str, asked: dict[str, Any]) -> object:
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(asked).encode())
    said = json.load(answer["Payload"])
    if "FunctionError" in answer:
        error = said.get("errorType") if isinstance(said, dict) else None
        raise SourceFailed(f"the function failed with {error or 'no answer'}")
    return said
