"""Instants and dates of consents: their bounds and their written form."""

from __future__ import annotations

from datetime import UTC, date, datetime

OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
FIRST_DUE = date(OLDEST.year, 1, 1)
LATEST_EXPIRY = datetime(2100, 1, 1, tzinfo=UTC)


def iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds")
