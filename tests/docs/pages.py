"""The pages of the documentation, and how the tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
}
"""The text of each page by its path."""


def rows(page: str, first_column: str) -> Iterator[list[str]]:
    """The rows below the table header of a page whose first cell is `first_column`, without code marks."""
    _, found, after = PAGES[page].partition(f"| {first_column} |")
    assert found, f"{page} has no table that begins with {first_column}"
    for line in after.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]


def code(text: str) -> Iterator[str]:
    """Return the parts of a page that are code: each span, and each line of a block."""
    fenced = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    for block in fenced:
        yield from block.splitlines()[1:-1]
        text = text.replace(block, "")
    yield from (line.strip() for line in re.findall(r"^ {4,}.*$", text, re.MULTILINE))
    yield from (re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", text))


def anchors(text: str) -> set[str]:
    """The anchors of a page: those of its headings, as GitHub makes them, and those that it sets itself."""
    found = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found
