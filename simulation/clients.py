"""The clients of the pipeline: senders, people who cancel or change their consent, and the operator who redrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import isfinite
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from lambdas.quiet_hours.api import status
from lambdas.quiet_hours.consents.statement import address_key
from lambdas.quiet_hours.errors import LedgerUnavailable
from lambdas.quiet_hours.notification.addresses import canonical_recipient
from lambdas.quiet_hours.stores.clients import SERVICE_ERRORS
from operators import redrive as operator
from operators.letters import Choice, read_letter

from .deployment import Deployment
from .plan import Consent, Redrive, Request, Wanted
from .world import Process

TRIES = 4
EMPTY_RECEIVES = 3
OPERATOR_LEASE = timedelta(minutes=2)
REDRIVEN_AGAIN_S = 60.0
LETTERS_AT_ONCE = 100


def send(deployment: Deployment, request: Request) -> None:
    """Send a request by its way in. The checks note what has been accepted."""
    if request.route == "producer":
        _invoke_producer(deployment, request.wanted, TRIES)
        return
    for body in _bodies(request):
        text = json.dumps(body.content, separators=(",", ":"))
        if request.invalid:
            text = f"{text[:-1]},{request.invalid}]"
        queue = "urgent" if request.route == "urgent" else "notification"
        msg = deployment.queues[queue].put(text, {}, by=request.route)
        for index, each in enumerate(body.wanted):
            if request.route == "event":
                default = f"event:{body.content['id']}"
            else:
                default = f"sqs:{msg.id}" + (f":{index}" if request.route == "bundle" else "")
            deployment.checks.note_accepted(each.id or default, each)


class Body(NamedTuple):
    """The body of a message to send, and the notifications in it."""

    content: Any
    wanted: Sequence[Wanted]


def _bodies(request: Request) -> list[Body]:
    if request.route in ("bundle", "urgent"):
        return [Body([each.body for each in request.wanted], request.wanted)]
    if request.route == "sqs":
        return [Body(each.body, [each]) for each in request.wanted]
    return [
        Body({"id": f"e{each.number}", "detail-type": "NotificationRequested", "detail": each.body}, [each])
        for each in request.wanted
    ]


def _invoke_producer(deployment: Deployment, wanted: Sequence[Wanted], tries: int) -> None:
    """Invoke the producer. Without an answer, or one for everything, the client sends the rest again, with the same
    ids."""
    world = deployment.world

    def answered(answer: Any) -> None:
        left = list(wanted)
        if isinstance(answer, dict):
            for entry in answer["accepted"]:
                each = next(each for each in wanted if each.id == entry["id"])
                deployment.checks.note_accepted(entry["id"], each)
            rejected = [entry for entry in answer["rejected"] if entry["errors"][0].startswith("queue:")]
            left = [wanted[entry["index"]] for entry in rejected]
        if left and tries > 1:
            deployment.faults.counts["client_duplicate"] += 1
            world.at(world.t + 1 + world.rng.random() * 4, _invoke_producer, deployment, left, tries - 1)

    deployment.producer.invoke({"notifications": [each.body for each in wanted]}, answered)


def cancel(deployment: Deployment, wanted: Wanted) -> None:
    """Cancel a notification, or all that is held of its source. The answer may be that it is too late."""
    deployment.faults.counts["cancel"] += 1

    def run(process: Process) -> None:
        now, ledger = process.now(), deployment.ledger(process, process.name, OPERATOR_LEASE)
        if deployment.plan.record_held and wanted.number % 2:
            deployment.faults.counts["cancel_source"] += 1
            source = wanted.body["source"]
            _, answer = status.cancel_source(
                source, None, now, deployment.dynamodb(process), ledger, deployment.settings
            )
            results = answer["results"]
        else:
            results = status.cancel([str(wanted.id)], now, ledger)
        for result in results:
            deployment.checks.cancel_answered(result["id"], result["outcome"])

    _client(deployment, "canceller", run)


def redrive(deployment: Deployment, asked: Redrive) -> None:
    """Redrive: as `make redrive` does, or singly as AWS's own redrive does. An operator whose command does not end well
    runs it again."""
    deployment.faults.counts["redrive"] += 1
    deployment.redriving += 1

    def run(process: Process) -> bool:
        letters = _receive_letters(deployment, process)
        if asked.in_bundles:
            return _bring_back(deployment, process, letters, Choice(asked.resend_unknown))
        for message in letters:
            if not _is_unknown(message):
                _move(deployment, process, message)
        return True

    def done(result: Any) -> None:
        deployment.redriving -= 1
        if result is not True:
            deployment.redriving += 1
            deployment.world.at(deployment.world.t + REDRIVEN_AGAIN_S, again)

    def again() -> None:
        deployment.redriving -= 1
        redrive(deployment, asked)

    _client(deployment, "redrive", run, done)


def _receive_letters(deployment: Deployment, process: Process) -> list[dict[str, Any]]:
    """The letters that are there now. Later ones are for the next redrive."""
    sqs, dead_letter = deployment.sqs(process), deployment.queues["dead-letter"]
    letters: list[dict[str, Any]] = []
    empty, left = 0, len(dead_letter.messages)
    while empty < EMPTY_RECEIVES and left > len(letters):
        answer = sqs.receive_message(
            QueueUrl=dead_letter.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
        )
        received = answer.get("Messages", [])
        empty = 0 if received else empty + 1
        letters += received
    return letters


def _bring_back(deployment: Deployment, process: Process, messages: list[dict[str, Any]], choice: Choice) -> bool:
    """Do with letters what `make redrive` does with those that it has gathered. Returns if it says that all are
    settled."""
    queues = deployment.queues
    names = {
        "DeadLetter": "dead-letter",
        "Notification": "notification",
        "Delivery": "delivery",
        "Schedule": "schedule",
    }
    tool = operator.Redrive(
        sqs=deployment.sqs(process),
        outputs={f"{output}QueueUrl": queues[name].url for output, name in names.items()},
        ledger=deployment.ledger(process, process.name, OPERATOR_LEASE),
        settings=deployment.settings,
        progress=Progress(console=Console(quiet=True), disable=True),
        now=process.now,
    )
    sent_ms = str(int(process.now().timestamp() * 1000))
    letters = [
        read_letter({**message, "Attributes": {"SentTimestamp": sent_ms}}, deployment.settings) for message in messages
    ]
    single = [letter for letter in letters if letter.content is None]
    failed = 0
    for wave in operator.waves(letters):
        done = tool.settle(wave[:LETTERS_AT_ONCE], choice)
        single += done.single
        failed += done.counts["failed"]
    return failed + tool.settle_singly(single, choice).counts["failed"] == 0


def _move(deployment: Deployment, process: Process, letter: dict[str, Any]) -> None:
    sqs, queues = deployment.sqs(process), deployment.queues
    attributes = letter.get("MessageAttributes", {})
    sqs.send_message(QueueUrl=queues["notification"].url, MessageBody=letter["Body"], MessageAttributes=attributes)
    entry = {"Id": "0", "ReceiptHandle": letter["ReceiptHandle"]}
    sqs.delete_message_batch(QueueUrl=queues["dead-letter"].url, Entries=[entry])


def _is_unknown(letter: dict[str, Any]) -> bool:
    reason = letter.get("MessageAttributes", {}).get("reason", {}).get("StringValue", "")
    return bool(reason.startswith("unknown_outcome:"))


def set_consent(deployment: Deployment, recipient: str, consent: Consent, written: str = "") -> None:
    """Write a consent under the key that the registrar makes of the recipient as `written`. Its addresses become keys,
    too. It counts from the moment at which the table has it."""
    key = canonical_recipient(written or recipient)
    item: dict[str, Any] = {"recipient_id": {"S": key}}
    item |= {"night_consent": {"BOOL": consent.night_consent}, "opted_out": {"BOOL": consent.opted_out}}
    if consent.advertising_consent is not None:
        item["advertising_consent"] = {"BOOL": consent.advertising_consent}
    if consent.addresses:
        item["addresses"] = {"SS": sorted({address_key(each.typed) for each in consent.addresses})}
    if isfinite(consent.expires):
        item["expires"] = {"N": str(int(deployment.world.start_s + consent.expires))}
    if consent.malformed:
        item |= {"night_consent": {"S": "true"}, "opted_out": {"S": "false"}}
    deployment.tables["consent"].store(key, item)
    deployment.checks.consent_written(recipient, consent)
    if deployment.world.note:
        deployment.world.note(f"{recipient} now: {_described(consent)}", None)


def _described(consent: Consent) -> str:
    flags = {"night_consent": consent.night_consent, "opted_out": consent.opted_out}
    said = [name for name, flag in flags.items() if flag] or ["neither"]
    if consent.advertising_consent is not None:
        said.append(f"advertising_consent {'given' if consent.advertising_consent else 'refused'}")
    if consent.addresses:
        said.append(f"only for {' and '.join(each.key for each in consent.addresses)}")
    return ", ".join(said)


def _client(
    deployment: Deployment,
    name: str,
    function: Callable[[Process], Any],
    done: Callable[[Any], None] = lambda result: None,
) -> None:
    process = Process(deployment.world, name)

    def run() -> Any:
        try:
            return function(process)
        except (*SERVICE_ERRORS, LedgerUnavailable):
            return None

    process.start(run, done)
