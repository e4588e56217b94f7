"""Sending to SQS in batches within its limits, and telling exactly which messages it took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..notification.bundle import Message
from .clients import SERVICE_ERRORS, error_code

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

BATCH_MESSAGES_MAX = 10
BATCH_BYTES_MAX = 1024 * 1024
ROUNDS_MAX = 3
DELAY_S_MAX = 900


def send(sqs: SQSClient, queue_url: str, messages: Iterable[Message], delay_s: float = 0) -> dict[int, str]:
    """Put messages on a queue. Returns those that SQS did not take: the index in `messages`, and the error's code.

    Entries that a batch call reports as failed are sent again, up to `ROUNDS_MAX` calls in all. If a call itself fails,
    its messages count as not taken, although SQS may have them: a duplicate is absorbed, a loss is not.
    """
    not_taken: dict[int, str] = {}
    for batch in _batches(list(messages)):
        waiting = dict(batch)
        codes: dict[int, str] = {}
        for _ in range(ROUNDS_MAX):
            entries = [_entry(index, message, delay_s) for index, message in waiting.items()]
            try:
                answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
            except SERVICE_ERRORS as error:
                codes = dict.fromkeys(waiting, error_code(error))
                break
            taken = {int(entry["Id"]) for entry in answer.get("Successful", [])}
            failed = {int(entry["Id"]): entry for entry in answer.get("Failed", [])}
            waiting = {index: message for index, message in waiting.items() if index not in taken}
            codes = {index: failed[index]["Code"] if index in failed else "NoAnswer" for index in waiting}
            if all(index in failed and failed[index]["SenderFault"] for index in waiting):
                break
        not_taken |= codes
    return not_taken


def delete(sqs: SQSClient, queue_url: str, receipt_handles: Sequence[str]) -> int:
    """Delete up to ten messages. Returns how many were deleted: the others come again and are absorbed."""
    entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(receipt_handles)]
    answer = sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
    return len(answer.get("Successful", []))


def text_attributes(attributes: Mapping[str, str] | None) -> dict[str, Any]:
    """Message attributes as SendMessage takes them."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}


def _entry(index: int, message: Message, delay_s: float) -> dict[str, Any]:
    entry: dict[str, Any] = {"Id": str(index), "MessageBody": message.body}
    if delay_s > 0:
        entry["DelaySeconds"] = min(DELAY_S_MAX, int(-(-delay_s // 1)))
    if message.attributes:
        entry["MessageAttributes"] = text_attributes(message.attributes)
    return entry


def _batches(messages: Sequence[Message]) -> Iterator[list[tuple[int, Message]]]:
    """Split messages into batches that fit one call, each message with its index."""
    batch: list[tuple[int, Message]] = []
    batch_bytes = 0
    for index, message in enumerate(messages):
        attributes = (message.attributes or {}).items()
        size_bytes = len(message.body.encode()) + sum(
            len((name + "String" + value).encode()) for name, value in attributes
        )
        if batch and (len(batch) == BATCH_MESSAGES_MAX or batch_bytes + size_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, batch_bytes = [], 0
        batch.append((index, message))
        batch_bytes += size_bytes
    if batch:
        yield batch
