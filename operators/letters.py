"""The letters of the dead-letter queue: what each one is, and what a redrive does with it. It makes no call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from lambdas.quiet_hours.errors import Unreadable
from lambdas.quiet_hours.notification.admission import check_content
from lambdas.quiet_hours.notification.bundle import REDRIVEN, Item, read
from lambdas.quiet_hours.notification.fingerprint import fingerprint, may_be_the_same
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.entries import ENDINGS, Entry

_UNKNOWN = "unknown_outcome:"


class Content(NamedTuple):
    """The notification of a letter, as much of it as a redrive needs. `text` is its JSON as it travels."""

    id: str
    channel: str
    is_critical: bool
    expires_at: datetime
    fingerprint: str
    text: str

    def item(self) -> Item:
        """The item that travels in a bundle: without the attribute that would make it travel alone."""
        return Item({"id": self.id, "channel": self.channel}, self.text)


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of the dead-letter queue.

    `content` is None unless a worker has ended this very notification and it could be accepted today: only then the
    letter can travel in a bundle. `ended_at` is then the instant of that ending.
    """

    message_id: str
    handle: str
    body: str
    attributes: Mapping[str, str]
    sent_ms: int
    content: Content | None
    ended_at: str

    @property
    def says_unknown(self) -> bool:
        return self.attributes.get("reason", "").startswith(_UNKNOWN)


def read_letter(message: Mapping[str, Any], settings: Settings) -> Letter:
    """The letter that a received message is. It may be anybody's: nothing in it is believed but what fits together."""
    attributes = {
        name: value["StringValue"]
        for name, value in message.get("MessageAttributes", {}).items()
        if isinstance(value.get("StringValue"), str)
    }
    ended_at = attributes.get(REDRIVEN, "")
    return Letter(
        message["MessageId"],
        message["ReceiptHandle"],
        message["Body"],
        attributes,
        int(message["Attributes"]["SentTimestamp"]),
        _content(message, attributes, settings) if ended_at else None,
        ended_at,
    )


def _content(message: Mapping[str, Any], attributes: Mapping[str, str], settings: Settings) -> Content | None:
    record = {"messageId": message["MessageId"], "body": message["Body"], "attributes": message["Attributes"]}
    try:
        items, invalid = read(record)
    except Unreadable:
        return None
    if len(items) != 1 or invalid or items[0].id != attributes.get("notification_id"):
        return None
    accepted, _ = check_content(items, settings)  # an operator may have mended it, and it passes no consumer
    if not accepted:
        return None
    notification = items[0].notification
    return Content(
        notification["id"],
        notification["channel"],
        notification["category"] == "critical",
        datetime.fromisoformat(notification["expires_at"]),
        fingerprint(notification),
        items[0].text,
    )


LEASE = timedelta(minutes=2)
"""The lease of a claim, as the workers take it (a test compares them)."""

Step = Literal["reopen", "send", "singly", "drop", "unknown", "busy"]
"""What is done with a letter. `reopen`: its ending is undone, and it is sent in a bundle. `send`: that only, because it
was undone before. `singly`: it goes to the notification queue with its attributes, where consumer and worker decide.
`drop`: it has expired, and ends so. `unknown`: it stays, because its outcome is unknown. `busy`: it stays, because
another notification with its id is on its way, or because the worker that wrote the letter has not recorded the
ending yet."""


class Choice(NamedTuple):
    """An operator's decisions: to send again what may have been delivered, and to drop what has expired."""

    resend_unknown: bool = False
    drop_expired: bool = False


def decide(letter: Letter, entry: Entry | None, choice: Choice, now: datetime) -> Step:
    """Decide by the ledger's entry, which takes precedence over what the letter says of itself."""
    content = letter.content
    if content is None or entry is None or entry.state not in ("dead_lettered", "unknown", "claimed"):
        return "unknown" if letter.says_unknown and not choice.resend_unknown and not _has_ended(entry) else "singly"
    if entry.state == "claimed":
        if _is_being_ended(letter, entry, now):
            return "busy"
        # this ending was undone before: by a redrive that was stopped, for example
        return "send" if may_be_the_same(entry.fingerprint, content.fingerprint) else "busy"
    if entry.ended_at != letter.ended_at:  # it has ended again since, with a letter of its own: this one is absorbed
        return "singly"
    if entry.state == "unknown" and not choice.resend_unknown:
        return "unknown"
    return "drop" if choice.drop_expired and content.expires_at <= now else "reopen"


def _has_ended(entry: Entry | None) -> bool:
    return entry is not None and entry.state in ENDINGS and entry.state not in ("dead_lettered", "unknown")


def _is_being_ended(letter: Letter, entry: Entry, now: datetime) -> bool:
    """True if the worker that wrote the letter still has its claim: the letter comes first, then the ending. Sent again
    in between, it would be absorbed by that ending, and nothing would be left of it."""
    until = datetime.fromtimestamp(entry.lease_until_ms / 1000, now.tzinfo)
    ended_at = datetime.fromisoformat(letter.ended_at)
    return bool(entry.owner) and now < until and until - LEASE <= ended_at
