"""Writes the tables of the documentation, which stand between `<!-- NAME -->` and `<!-- end -->` in a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

COLUMNS = 120


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def rewrite(page: str, name: str, lines: Sequence[str]) -> str:
    """Replace the lines between a table's marks. Raises `ValueError` if the page has no such marks."""
    block = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(page):
        raise ValueError(f"the page has no <!-- {name} --> … <!-- end -->")
    return block.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], page, count=1)
