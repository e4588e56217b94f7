"""Values of an export, marked where a spreadsheet would change or run them.

Excel turns `+821012345678` into 8.21012E+11 and `00123` into 123, and it runs what begins with `=`. A leading
apostrophe keeps a value as text. Rows that use the mark say so in a column of their own, so that only there an import
takes it away: anywhere else a leading apostrophe is a fault of the file, or part of a text.

https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import re

MARK = "'"

MARK_COLUMN = "text_mark"
"""The column that holds the mark in every row of an export."""

_STAYS_AS_IT_IS = re.compile(
    r"(?!(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|true|false))[^\W\d_][^\n\r]*", re.IGNORECASE
)
"""Text that begins with a letter, and not as a month or a truth value does: no formula, number, date or other value."""


def marked(text: str) -> str:
    """The text as an export writes it. It stands on one line."""
    if not text or _STAYS_AS_IT_IS.fullmatch(text):
        return text
    return MARK + text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def unmarked(cell: str) -> str:
    """The text that `marked` was given."""
    if not cell.startswith(MARK):
        return cell
    return re.sub(r"\\([\\nr])", lambda found: {"n": "\n", "r": "\r"}.get(found[1], "\\"), cell[len(MARK) :])
