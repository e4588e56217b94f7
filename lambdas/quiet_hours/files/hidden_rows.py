"""Rows that stand within the quotation marks of another row, told from lines of text.

A quotation mark that somebody forgot swallows the rows after it, and nobody would notice who is missing. So a line that
may be a row counts as one. The readers of the two kinds of files know their columns: each has a rule of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

_ADDRESS = re.compile(r"[+(]?[0-9][0-9 ().+-]{5,}[0-9]|\S+@\S+\.\S+|[0-9][0-9.,]*E\+?[0-9]+", re.IGNORECASE)
"""A phone number, an e-mail address, or what a spreadsheet makes of a number."""

Breaks = Literal["within", "around", "nowhere"]
"""The place of line breaks in a value: in a text, only at the ends of an address that is cleaned, or in no place."""


class Inner(NamedTuple):
    """A line within a quotation, up to the quotation's end. The `columns` are those of the file. The fields have no
    blanks around them. A line with one field is only judged if its quotation ends there and further fields follow.

    `is_prose`: a blank follows each separator, as in a sentence. `is_whole`: the line has as many fields as there are
    columns. For both, the commas of a number such as 1,000,000 are no separators.
    """

    columns: Sequence[str]
    fields: Sequence[str]
    is_prose: bool
    is_whole: bool


class Kind(NamedTuple):
    """The columns of one kind of file.

    `may_be_row` judges a line that stands within a quotation. `breaks` says where a column's values may have line
    breaks.
    """

    may_be_row: Callable[[Inner], bool]
    breaks: Callable[[str], Breaks]


def looks_like_address(field: str) -> bool:
    return _ADDRESS.fullmatch(field) is not None
