"""Checks of single values: text, ids, times, free JSON. Each check names the fault and never shows the value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from .json_text import RepeatedKeys

TEXT_CHARACTERS_MAX = 10_000
DEPTH_MAX = 5
UTF8_BYTES_MAX = 4
"""The most bytes that one character takes."""
UNKNOWN_FIELDS_NAMED_MAX = 5
Check = Callable[[object], str | None]
"""A function that returns the fault of a field's value, or None."""
UNSENDABLE_FAULT = "has a character that cannot be sent (control characters other than newline and tab, surrogates)"
ID_FAULT = "must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = / -"
_ID = re.compile(r"[A-Za-z0-9._:@+=/-]{1,128}")
matches_id = _ID.fullmatch
# Each part within its bounds: Python's versions differ on T24:00 and on an offset of +09:60.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
)
_UNSENDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def is_id(value: object) -> bool:
    """True if this can be a notification's id, its idempotency key everywhere."""
    return id_fault(value) is None


def id_fault(value: object) -> str | None:
    return None if isinstance(value, str) and matches_id(value) else ID_FAULT


def text_check(characters_max: int) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "must be text"
        if not 1 <= len(value) <= characters_max:
            return f"must have 1 to {characters_max} characters"
        if not value.isprintable() and _UNSENDABLE.search(value):  # printable text can be sent: a fast check
            return UNSENDABLE_FAULT
        return None

    return check


long_text = text_check(TEXT_CHARACTERS_MAX)


def one_of(allowed: tuple[str, ...]) -> Check:
    fault = f"must be one of {', '.join(allowed)}"
    return lambda value: None if isinstance(value, str) and value in allowed else fault


@lru_cache(maxsize=256)
def instant(text: str) -> datetime | None:
    """The instant that a text names, or None. The notifications of a bundle mostly share a few times."""
    try:
        return datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def time_fault(value: object) -> str | None:
    right = isinstance(value, str) and instant(value) is not None
    return None if right else "must be a time with an offset, such as 2020-11-12T12:00:00+09:00"


def json_fault(value: object, depth: int) -> str | None:
    """The fault of some free-form JSON, if any."""
    if isinstance(value, str):
        return long_text(value) if value else None
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else "has a number that JSON cannot carry (NaN or Infinity)"
    if isinstance(value, RepeatedKeys):
        return "names a field twice"
    if not isinstance(value, (dict, list)):
        return "has a value that JSON cannot carry"
    if depth == 0:
        return f"is nested more than {DEPTH_MAX} levels deep"
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return "has a field whose name is not text"
            if fault := json_fault(key, depth - 1):
                return fault
    for inner in value.values() if isinstance(value, dict) else value:
        if fault := json_fault(inner, depth - 1):
            return fault
    return None


def shown_name(name: str) -> str:
    """A field's name, unless it could be data in the wrong place."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,39}[0-9]{0,2}", name) else f"(a name of {len(name)} characters)"


def is_longer(text: str, bytes_max: int) -> bool:
    return len(text) * UTF8_BYTES_MAX > bytes_max and len(text.encode()) > bytes_max
