"""JSON as it travels: compact text out, and each value with its own text in."""

from __future__ import annotations

import json
import re
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from ..errors import Unreadable

# json.dumps and JSONEncoder.encode make this object for each value that they write, at a third of the whole cost. The
# arguments: markers, default, encoder, indent, key separator, item separator, sort_keys, skipkeys, allow_nan.
_chunks = c_make_encoder(None, json.JSONEncoder().default, encode_basestring, None, ":", ",", False, False, False)


class RepeatedKeys(dict[str, Any]):
    """A JSON object that named a key twice: its author probably meant something else."""


def to_text(value: object) -> str:
    """Compact JSON. Korean text is not escaped: a character takes 3 bytes in UTF-8 instead of 6."""
    return "".join(_chunks(value, 0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    return unique if len(unique) == len(pairs) else RepeatedKeys(unique)


_decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode

_SPACE = (" ", "\t", "\n", "\r")

_space = re.compile(r"[ \t\n\r]*").match


class Unpacked(NamedTuple):
    """The JSON values of a body, each with its exact text, and True if the body is an array.

    `parts` holds plain pairs: a name for each of them would cost every notification time.
    """

    parts: list[tuple[Any, str]]
    is_array: bool

    @property
    def value(self) -> Any:
        """The body as one JSON value."""
        values = [value for value, _ in self.parts]
        return values if self.is_array else values[0]


def unpack(body: str, items_max: int | None = None) -> Unpacked:
    """Each JSON value in a body with its exact text, and whether the body is an array.

    Raises `Unreadable` if the body as a whole cannot be read, or is an array of more than `items_max` values. Such an
    array is not read to its end.
    """
    body = body.lstrip("\ufeff")  # a byte order mark says how the text was encoded, and is no part of it
    try:
        position = _after_space(body, 0)
        if not body.startswith("[", position):
            value, end = _decode(body, position)
            if _after_space(body, end) != len(body):
                raise Unreadable("text follows the JSON value")
            return Unpacked([(value, body[position:end])], is_array=False)
        if body.startswith("]", _after_space(body, position + 1)):
            raise Unreadable("an empty array")
        values: list[tuple[Any, str]] = []
        separator = "["
        while separator != "]":
            if len(values) == items_max:
                raise Unreadable(f"an array of more than {items_max} items")
            position += 1
            if body[position : position + 1] != "{":
                position = _after_space(body, position)
            value, end = _decode(body, position)
            values.append((value, body[position:end]))
            position, separator = end, body[end : end + 1]
            if separator not in (",", "]"):
                position = _after_space(body, end)
                separator = body[position : position + 1]
            if separator not in (",", "]"):
                raise Unreadable(f"the array has neither a comma nor its end at character {position}")
        if _after_space(body, position + 1) != len(body):
            raise Unreadable("text follows the array")
        return Unpacked(values, is_array=True)
    except json.JSONDecodeError as fault:
        raise Unreadable(f"not JSON: {fault.msg} at character {fault.pos}") from None
    except (ValueError, RecursionError) as fault:  # a number of thousands of digits, arrays thousands deep
        raise Unreadable(f"not JSON that can be read: {type(fault).__name__}") from None


def _after_space(body: str, position: int) -> int:
    if body[position : position + 1] not in _SPACE:  # so it is in everything that we write
        return position
    match = _space(body, position)
    return match.end() if match else position
