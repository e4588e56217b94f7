"""Keeps the producer's answer under the size that Lambda returns.

Lambda drops a larger answer and reports an error. Then notifications would be accepted, and nobody would know which.
So an answer names every notification of its request, and only the texts of errors are left out if there are too many.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..notification.json_text import to_text

ANSWER_BYTES_MAX = 5_900_000
"""Lambda returns 6 MB, with the envelope of a Function URL around the answer."""

ENTRY_BYTES_MAX = 200
"""The most that a rejected entry takes without its errors: its index, and an id of 128 characters."""

ERRORS_BYTES_FREE = 160
"""Errors that are not longer are never left out. One of them says that SQS did not take a notification.

An accepted entry without a `policy` takes less than a rejected one with such errors.
"""


def shorten(rejected: Sequence[dict[str, Any]], entries_max: int, other_bytes: int = 0) -> list[dict[str, Any]]:
    """The entries of rejected notifications, the first of them with all their errors.

    If an answer of `entries_max` entries could grow too long with all errors, the later entries have one error that
    says so. `other_bytes`: what else the answer has.
    """
    left = ANSWER_BYTES_MAX - entries_max * (ENTRY_BYTES_MAX + ERRORS_BYTES_FREE) - other_bytes
    return list(_shortened(rejected, left))


def _shortened(rejected: Iterable[dict[str, Any]], left: int) -> Iterable[dict[str, Any]]:
    for entry in rejected:
        more = sent_bytes(entry["errors"]) - ERRORS_BYTES_FREE
        if more > 0:
            if more > left:
                left = 0  # not one here and one there: what has errors stands before what has none
                text = f"answer: too long to name the {len(entry['errors'])} errors; send this notification alone"
                yield entry | {"errors": [text]}
                continue
            left -= more
        yield entry


def sent_bytes(value: object) -> int:
    """The size of a value in what Lambda returns: the answer is a text inside JSON, and in ASCII."""
    return len(json.dumps(to_text(value)))
