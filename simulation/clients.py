"""Those outside the pipeline: who sends, who cancels, whose consent changes, who redrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lambdas.quiet_hours.api import status
from lambdas.quiet_hours.errors import LedgerUnavailable
from lambdas.quiet_hours.stores.clients import SERVICE_ERRORS
from lambdas.quiet_hours.stores.ledger import Ledger

from .plan import Request, Wanted
from .world import Process

if TYPE_CHECKING:
    from .night import Night

TRIES = 4
EMPTY_RECEIVES = 3
OPERATOR_LEASE = timedelta(minutes=2)


def send(night: Night, request: Request) -> None:
    """Send a request by its way in. What its sender may count on afterwards is what `sure` holds."""
    if request.route == "producer":
        _invoke_producer(night, request.wanted, TRIES)
        return
    for body, wanted in _bodies(request):
        text = json.dumps(body, separators=(",", ":"))
        if request.misfit:
            text = f"{text[:-1]},{request.misfit}]"
        msg = night.queues["notification"].put(text, {}, by=request.route)
        for index, each in enumerate(wanted):
            if request.route == "event":
                default = f"event:{body['id']}"
            else:
                default = f"sqs:{msg.id}" + (f":{index}" if request.route == "bundle" else "")
            night.checks.sure[each.id or default] = each


def _bodies(request: Request) -> list[tuple[Any, Sequence[Wanted]]]:
    if request.route == "bundle":
        return [([each.body for each in request.wanted], request.wanted)]
    if request.route == "sqs":
        return [(each.body, [each]) for each in request.wanted]
    return [
        ({"id": f"e{each.number}", "detail-type": "NotificationRequested", "detail": each.body}, [each])
        for each in request.wanted
    ]


def _invoke_producer(night: Night, wanted: Sequence[Wanted], tries: int) -> None:
    """A client that has got no answer, or not for everything, sends the rest again with the same ids."""
    world = night.world

    def answered(answer: Any) -> None:
        left = list(wanted)
        if isinstance(answer, dict):
            for entry in answer["accepted"]:
                each = next(each for each in wanted if each.id == entry["id"])
                night.checks.sure[entry["id"]] = each
            rejected = [entry for entry in answer["rejected"] if entry["errors"][0].startswith("queue:")]
            left = [wanted[entry["index"]] for entry in rejected]
        if left and tries > 1:
            night.faults.counts["client_duplicate"] += 1
            world.at(world.t + 1 + world.rng.random() * 4, _invoke_producer, night, left, tries - 1)

    night.producer.invoke({"notifications": [each.body for each in wanted]}, answered)


def cancel(night: Night, wanted: Wanted) -> None:
    """Somebody takes a notification back, or all that is held of its source; too late is a possible answer."""
    night.faults.counts["cancel"] += 1

    def run(process: Process) -> None:
        now, ledger = process.now(), _ledger(night, process)
        if night.plan.record_held and wanted.number % 2:
            night.faults.counts["cancel_source"] += 1
            source = wanted.body["source"]
            _, answer = status.cancel_source(source, None, now, night.dynamodb(process), ledger, night.settings)
            results = answer["results"]
        else:
            results = status.cancel([str(wanted.id)], now, ledger)
        for result in results:
            night.checks.cancel_answered(result["id"], result["outcome"])

    _client(night, "canceller", run)


def redrive(night: Night, resend_unknown: bool) -> None:
    """What `make redrive` does: receive from dead-letter, send to notification, then delete."""
    night.faults.counts["redrive"] += 1

    def run(process: Process) -> None:
        sqs, ledger = night.sqs(process), _ledger(night, process)
        dead_letter, notification = night.queues["dead-letter"], night.queues["notification"]
        empty, left = 0, len(dead_letter.messages)  # what is dead-lettered anew meanwhile is for the next redrive
        while empty < EMPTY_RECEIVES and left > 0:
            answer = sqs.receive_message(
                QueueUrl=dead_letter.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            )
            received = answer.get("Messages", [])
            empty = 0 if received else empty + 1
            left -= len(received)
            for message in received:
                attributes = message.get("MessageAttributes", {})
                if attributes.get("reason", {}).get("StringValue", "").startswith("unknown_outcome:"):
                    if not resend_unknown:
                        continue
                    id_, ended_at = (
                        attributes[name]["StringValue"] for name in ("notification_id", "dead_lettered_at")
                    )
                    night.checks.reopened[id_] += 1
                    ledger.reopen_unknown(id_, ended_at, process.now())
                sqs.send_message(QueueUrl=notification.url, MessageBody=message["Body"], MessageAttributes=attributes)
                entry = {"Id": "0", "ReceiptHandle": message["ReceiptHandle"]}
                sqs.delete_message_batch(QueueUrl=dead_letter.url, Entries=[entry])

    _client(night, "redrive", run)


def set_consent(night: Night, recipient: str, consent: dict[str, Any]) -> None:
    """Somebody changes their mind. It counts from the moment at which the table has it."""
    item: dict[str, Any] = {"recipient_id": {"S": recipient}}
    item |= {name: {"BOOL": consent[name]} for name in ("night_consent", "opted_out")}
    if "expires" in consent:
        item["expires"] = {"N": str(int(night.world.start_s + consent["expires"]))}
    night.tables["consent"].items[recipient] = item
    night.checks.consent_written(recipient, consent)
    if night.world.note:
        said = ", ".join(name for name in ("night_consent", "opted_out") if consent[name]) or "neither"
        night.world.note(f"{recipient} now: {said}", None)


def _ledger(night: Night, process: Process) -> Ledger:
    return Ledger(night.dynamodb(process), "ledger", process.name, OPERATOR_LEASE)


def _client(night: Night, name: str, function: Callable[[Process], Any]) -> None:
    process = Process(night.world, name)

    def run() -> Any:
        try:
            return function(process)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            return None

    process.start(run, lambda result: None)
