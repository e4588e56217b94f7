"""Every error that the functions raise, as one tree.

    QuietHoursError
    ├── InputError
    │   ├── Invalid
    │   ├── Unreadable
    │   ├── UnreadableFile
    │   └── StatementRefused
    ├── StoreUnavailable
    │   ├── ConsentUnavailable
    │   │   └── KeysRefused
    │   ├── LedgerUnavailable
    │   └── TurnsUnavailable
    ├── ChannelError
    │   ├── Misconfigured
    │   ├── Unfit
    │   └── CallFailed
    │       ├── NotSent
    │       └── NoAnswer
    ├── AlertFailed
    ├── SourceFailed
    └── HandlerFailed

No error's text shows what somebody sent, because that may be anybody's data. One error stands outside the tree:
`channels.http.NotPublic` is an `OSError`, so that the code that opens connections treats it as a failed connection.
"""

from __future__ import annotations


class QuietHoursError(Exception):
    """Raised as one of its subclasses only."""


class InputError(QuietHoursError):
    """Raised as one of its subclasses, when what somebody sent cannot be accepted."""


class Invalid(InputError):
    """Raised when a notification, a request or a statement has faults. `errors`: one `field: fault` each, no value."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class Unreadable(InputError):
    """Raised when a body is not JSON, or an array of no items or too many. The text says why, not what stood there."""


class UnreadableFile(InputError):
    """Raised when a file as a whole cannot be read. The text says why and what to do."""


class StatementRefused(InputError):
    """Raised when a statement cannot count: a newer one stands, or it is about a consent that does not exist."""


class StoreUnavailable(QuietHoursError):
    """Raised as one of its subclasses, when a table gives no answer: try later, do not guess."""


class ConsentUnavailable(StoreUnavailable):
    """Raised when some consents could not be read. `keys`: their keys, which may be anybody's data."""

    def __init__(self, text: str, keys: frozenset[str] = frozenset()) -> None:
        super().__init__(text)
        self.keys = keys


class KeysRefused(ConsentUnavailable):
    """Raised when DynamoDB refuses some keys of consents although it answers: the notifications with those are invalid.
    `keys`: the keys, which may be anybody's data."""

    def __init__(self, keys: frozenset[str]) -> None:
        super().__init__(f"{len(keys)} keys were refused", keys)


class LedgerUnavailable(StoreUnavailable):
    """Raised when DynamoDB does not settle a write to the ledger: the write may not have happened."""


class NewestUnavailable(StoreUnavailable):
    """Raised when the notes of the newest held notifications could not all be read."""


class TurnsUnavailable(StoreUnavailable):
    """Raised when other workers keep changing a channel's item: nothing was booked."""


class ChannelError(QuietHoursError):
    """Raised as one of its subclasses, by a channel."""


class Misconfigured(ChannelError):
    """Raised when a channel's settings cannot be used. The text says what to set, never what was set."""


class Unfit(ChannelError):
    """Raised when a channel cannot carry a notification. The text names the field and the limit, never the value."""


class CallFailed(ChannelError):
    """Raised as one of its subclasses, when a call to a provider brought no answer."""


class NotSent(CallFailed):
    """Raised when the request certainly did not reach the provider, because no connection could be made."""


class NoAnswer(CallFailed):
    """Raised when the request may have reached the provider, but no whole answer came back."""


class AlertFailed(QuietHoursError):
    """Raised when an alert did not reach Slack. The text is a code and a sentence, without the URL."""


class SourceFailed(QuietHoursError):
    """Raised when a source's function fails or answers something else than notifications, or SQS does not take them."""


class HandlerFailed(QuietHoursError):
    """Raised in place of any other error that a handler raises. The text is its type, or the service's error code."""
