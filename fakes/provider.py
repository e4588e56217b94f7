"""The protocol of a fake provider."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """A POST as received. The names of `headers` are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime

    def json(self) -> Any:
        """Parse the body as JSON. Raises `ValueError`."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer. `taken` and `refused`: the ids of the notifications that it decides about."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: Collection[str] = ()
    refused: Collection[str] = ()


class Fake(Protocol):
    """One provider."""

    name: str

    def is_for(self, request: Request) -> bool:
        """True if the request is for this provider."""

    def ids(self, request: Request) -> list[str]:
        """Return the ids of the notifications in a request, as far as it can be read."""

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        """Answer as documented: first authentication, then faults of the request, then success. `unwanted`: ids to
        refuse for good, in the provider's own way."""

    def fault(self, status: int) -> Reply:
        """Return the documented answer of this status."""


def as_json(status: int, value: object, headers: Mapping[str, str] | None = None, **ids: Collection[str]) -> Reply:
    """Make a reply in JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, **ids)
