"""Acceptance of the rows of a campaign file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ..errors import Invalid
from ..notification.admission import admit
from ..notification.bundle import Item
from ..notification.fields import is_id
from ..notification.notification import NOTIFICATION_BYTES_MAX
from ..settings import Settings
from .rows import Row
from .seen import SeenInFile

ROW_SHOWN_CHARACTERS = 3 * NOTIFICATION_BYTES_MAX
"""The number of characters of a rejected row that are shown. A longer row is no notification, even if every letter of
two bytes or more is written as an escape of six characters."""


class Judged(NamedTuple):
    """The items of the rows that are accepted, a line of JSON for each other row that says why it is not, and how many
    ids and addresses stood in the file before."""

    items: list[Item]
    rejected: list[str]
    repeated_ids: int
    repeated_addresses: int


def judge(batch: Sequence[Row], file_id: str, seen: SeenInFile, now: datetime, settings: Settings) -> Judged:
    """Accept the rows that are right. Of several rows with one id, only the first is."""
    items: list[Item] = []
    rejected: list[str] = []
    repeated_ids = repeated_addresses = 0
    for row in batch:
        given = row.candidate.get("id") if isinstance(row.candidate, dict) else None
        try:
            if row.errors:
                raise Invalid(row.errors)
            item = admit(row.candidate, default_id=f"campaign:{file_id}:{row.line}", now=now, settings=settings)
            if given is not None and (line := seen.ids.earlier_line(given, row.line)):
                repeated_ids += 1
                raise Invalid([f"id: stands in line {line} already"])
        except Invalid as invalid:
            shown = {"line": row.line, "id": given if is_id(given) else None, "errors": invalid.errors}
            shown["row"] = row.text[:ROW_SHOWN_CHARACTERS]
            rejected.append(json.dumps(shown, ensure_ascii=False) + "\n")
        else:
            items.append(item)
            whom = f"{item.notification['channel']} {item.notification['address']}"
            repeated_addresses += seen.addresses.earlier_line(whom, row.line) is not None
    return Judged(items, rejected, repeated_ids, repeated_addresses)
