"""One spelling for what keyboards, file systems and spreadsheets write differently.

Texts that people read are composed (NFC, https://www.unicode.org/reports/tr15/) and break lines with a line feed only.
Addresses and recipients are cleaned further, because two spellings of one person must be one key.
"""

from __future__ import annotations

import re
from typing import Any
from unicodedata import is_normalized, normalize

from .fields import DEPTH_MAX
from .json_text import RepeatedKeys

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point: https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt."""

_FOLDED = {full_width: chr(full_width - 0xFEE0) for full_width in range(0xFF01, 0xFF5F)}
_FOLDED |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-")

_QUOTED = ('""', "''", "\u201c\u201d", "\u2018\u2019")

_ALREADY_CLEAN = re.compile(r"[!#-&(-+\--:<-~](?:[!-~]*[!#-&(-+\--:<-~])?")
"""Visible ASCII that neither begins nor ends with a quotation mark, a comma or a semicolon."""


def clean_text(text: str) -> str:
    """A text as people read it: composed, with a line feed for each line break."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() or is_normalized("NFC", text) else normalize("NFC", text)


def clean_json(value: Any) -> Any:
    """A value with all its texts cleaned; the same object where nothing had to change.

    What is nested deeper than any notification may be stays as it is: it is refused later.
    """
    return value if _is_clean(value, DEPTH_MAX + 1) else _clean(value, DEPTH_MAX + 1)


_PLAIN_NAMES = frozenset({"title", "body", "template", "variables"})


def _is_clean(value: Any, depth: int) -> bool:
    """True if nothing in a value has to change. This is nearly always so, and is asked first."""
    if type(value) is str:
        return (value.isascii() or is_normalized("NFC", value)) and "\r" not in value
    if depth and isinstance(value, dict):
        for name, inner in value.items():
            if type(inner) is str:  # nearly always: so it is asked here too, without another call
                if not (inner.isascii() or is_normalized("NFC", inner)) or "\r" in inner:
                    return False
            elif not _is_clean(inner, depth - 1):
                return False
            if name not in _PLAIN_NAMES and not _is_clean(name, 0):
                return False
    elif depth and isinstance(value, list):
        return all(_is_clean(inner, depth - 1) for inner in value)
    return True


def _clean(value: Any, depth: int) -> Any:
    if type(value) is str:
        return clean_text(value)
    if depth and isinstance(value, list):
        return [_clean(inner, depth - 1) for inner in value]
    if depth and isinstance(value, dict):
        unique = {_clean(name, 0): _clean(inner, depth - 1) for name, inner in value.items()}
        # Two names that are one when composed are a repeated name, which the checks refuse.
        return type(value)(unique) if len(unique) == len(value) else RepeatedKeys(unique)
    return value


def cleaned(text: str) -> str:
    """An address or a recipient without what nobody sees or means: invisible characters, outer blanks, quotation marks
    around it, a semicolon after it. Full-width letters become ASCII, and all dashes become hyphens."""
    if _ALREADY_CLEAN.fullmatch(text):
        return text
    while (cleaner := _cleaned_once(text)) != text:
        text = cleaner
    return text


def _cleaned_once(text: str) -> str:
    if not text.isascii():
        text = normalize("NFC", INVISIBLE.sub("", text).translate(_FOLDED))
    text = " ".join(text.split()).strip(" ,;")
    return text[1:-1] if text[:1] + text[1:][-1:] in _QUOTED else text
