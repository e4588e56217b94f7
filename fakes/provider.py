"""What every fake provider is asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """A POST as it came. Names of `headers` are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError`."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer. `taken` and `refused` are the ids of the notifications that it has decided about."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: Collection[str] = ()
    refused: Collection[str] = ()


class Fake(Protocol):
    """One provider."""

    name: str

    def is_for(self, request: Request) -> bool:
        """Whether the request is one to this provider."""

    def ids(self, request: Request) -> list[str]:
        """The notifications in a request, as far as it can be read."""

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        """As documented: authentication, then what is wrong with the request, then success. `unwanted` are ids that
        are refused for good, in the provider's own way."""

    def fault(self, status: int) -> Reply:
        """As documented for this status."""


def as_json(status: int, value: object, headers: Mapping[str, str] | None = None, **ids: Collection[str]) -> Reply:
    """A reply in JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, **ids)
