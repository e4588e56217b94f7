"""Draws horizontal bars as SVG, plain enough for paper and for dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 820
LABEL_X = 250
BARS_X = 262
BARS_WIDTH = 400
ROW = 30
BAR = 18
COLOURS = ("#3b6ea5", "#e08e45", "#5a9367", "#b65d6f", "#8576b5", "#7a8793")
INK, FAINT, PAPER = "#1f2933", "#6b7785", "#ffffff"


class Row(NamedTuple):
    """One bar: its name, its parts in the order of the legend, and the text at its end."""

    name: str
    parts: Sequence[float]
    says: str


def bars(title: str, subtitle: str, rows: Sequence[Row], legend: Sequence[str] = ()) -> str:
    """Draw a bar for each row, all on one scale that begins at 0. The parts of a bar follow one another."""
    top = 92 if legend else 68
    height = top + ROW * len(rows) + 18
    longest = max((sum(row.parts) for row in rows), default=0) or 1
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{PAPER}"/>',
        text(24, 32, title, 17, INK, weight=600),
        text(24, 53, subtitle, 13, FAINT),
    ]
    x = 24.0
    for number, name in enumerate(legend):
        lines.append(f'<rect x="{x:g}" y="70" width="11" height="11" rx="2" fill="{COLOURS[number]}"/>')
        lines.append(text(x + 16, 80, name, 12, INK))
        x += 34 + 6.6 * len(name)
    for number, row in enumerate(rows):
        y = top + ROW * number
        lines.append(text(LABEL_X, y + 14, row.name, 13, INK, anchor="end"))
        x = BARS_X
        for part, colour in zip(row.parts, COLOURS, strict=False):
            width = max(0.0, part / longest * BARS_WIDTH)
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
            x += width
        lines.append(text(x + 8, y + 14, row.says, 13, INK))
    return "\n".join([*lines, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, size: int, colour: str, weight: int = 400, anchor: str = "start") -> str:
    """One line of text; `anchor` says which of its ends stands at `x`."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
