"""Shows the demo: a live picture in a terminal, otherwise a line every few seconds; a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from local.status import Depth

LINE_EVERY_S = 5
_BAR = 24
_LINE = 84
_AROUND_S = 40
_JOBS = {
    "Notification": "accepted, not yet judged",
    "Urgent": "critical",
    "Delivery": "informational, now",
    "Wait": "held for the night",
    "Schedule": "released, or advertising now",
    "Campaign": "files to read",
    "DeadLetter": "could not be sent",
}


@dataclass(frozen=True)
class Scene:
    """Everything that one picture shows."""

    quiet: tuple[datetime, datetime]
    depths: dict[str, Depth]
    lines: tuple[int, int]
    accepted: int
    held: int
    waiting: int
    delivered: int
    dead_lettered: int
    release_s: tuple[float, float] | None

    def moment(self, now: datetime) -> str:
        start, end = self.quiet
        if now < start:
            return f"day, quiet hours begin in {(start - now).total_seconds():.0f} s"
        if now < end:
            return f"NIGHT, quiet hours end in {(end - now).total_seconds():.0f} s"
        return f"morning, quiet hours ended {(now - end).total_seconds():.0f} s ago"

    def release(self) -> str:
        if self.release_s is None:
            return "nothing yet"
        first_s, last_s = self.release_s
        return f"first {first_s:.1f} s, latest {last_s:.1f} s after the end of quiet hours"


class View:
    """Show scenes: `with View() as view: view.show(scene)`, as often as needed."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._live = Live(console=self.console, refresh_per_second=4, transient=True) if sys.stdout.isatty() else None
        self._last_line = 0.0

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, scene: Scene) -> None:
        now = datetime.now(UTC)
        if self._live:
            self._live.update(picture(scene, now))
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            depths = " ".join(f"{name.lower()} {depth.total}" for name, depth in scene.depths.items())
            print(
                f"{now:%H:%M:%S} {scene.moment(now)} | sent {scene.lines[0]}/{scene.lines[1]} held {scene.held} "
                f"released {scene.held - scene.waiting} delivered {scene.delivered} | {depths}",
                flush=True,
            )


def _timeline(quiet: tuple[datetime, datetime], now: datetime) -> Text:
    """Draw the time from a while before quiet hours to a while after them; the past is bright."""
    start, end = quiet
    first = start - timedelta(seconds=_AROUND_S)
    per_cell = (end - start + timedelta(seconds=2 * _AROUND_S)) / _LINE
    line = Text()
    for cell in range(_LINE):
        at = first + cell * per_cell
        color = "blue" if start <= at < end else "yellow"
        if at <= now < at + per_cell:
            line.append("●", "bold white")
        else:
            line.append("━", f"bright_{color}" if at < now else f"dim {color}")
    return line


def picture(scene: Scene, now: datetime) -> RenderableType:
    """Draw a scene."""
    queues = Table.grid(padding=(0, 2))
    most = max(8, *(depth.total for depth in scene.depths.values()))
    for name, depth in scene.depths.items():
        filled = round(depth.total / most * _BAR)
        bar = Text("█" * filled, "bright_blue").append("·" * (_BAR - filled), "bright_black")
        queues.add_row(name, bar, Text(f"{depth.total:>5}"), Text(_JOBS[name], "bright_black"))

    figures = Table.grid(padding=(0, 2))
    figures.add_row("sent by the shop", f"{scene.lines[0]:>6,} of {scene.lines[1]:,}")
    figures.add_row("accepted", f"{scene.accepted:>6,} notifications")
    figures.add_row("held", Text(f"{scene.held:>6,} put on wait, {scene.waiting:,} still there", "yellow"))
    figures.add_row("released", f"{scene.held - scene.waiting:>6,}")
    figures.add_row("delivered", Text(f"{scene.delivered:>6,} counted at the receiver", "green"))
    figures.add_row("dead-lettered", f"{scene.dead_lettered:>6,}")
    figures.add_row("time to release", scene.release())

    start, end = scene.quiet
    night = start <= now < end
    head = Text.assemble(
        (f" {scene.moment(now)} ", "bold white on blue" if night else "bold black on bright_yellow"),
        f"   quiet from {start:%H:%M} to {end:%H:%M} UTC, now {now:%H:%M:%S}",
    )
    note = Text("queue depths are messages; a bundle of up to 100 notifications is one", "bright_black")
    return Panel(
        Group(head, _timeline(scene.quiet, now), "", queues, note, "", figures),
        title="Quiet Hours",
        width=92,
        padding=(1, 2),
    )


_MEANINGS = (
    ("input", "distinct ids sent from demo/evening.jsonl"),
    ("rejected", "rejected by the producer, each with its reason"),
    ("accepted", "accepted by a queue: each of them must end"),
    ("deduplicated", "accepted more than once"),
    ("held", "put on the wait queue"),
    ("released", "moved from there to schedule"),
    ("", ""),
    ("delivered", "answered 2xx by the receiver"),
    ("sent_now", "delivered without being held"),
    ("expired", "past their own expires_at in the morning"),
    ("cancelled", "cancelled by the sender"),
    ("opted_out", "advertising to recipients who have opted out"),
    ("dead_lettered", "could not be sent, each with its reason"),
    ("", ""),
    ("early", "reached the receiver at night without consent"),
    ("lost", "accepted and never ended"),
    ("duplicates", "second 2xx answers for one id"),
)


def table(figures: dict[str, int]) -> Table:
    """Draw the final count."""
    result = Table(title="Counted at the receiver, against what was sent", title_justify="left", show_header=False)
    result.add_column(justify="left")
    result.add_column(justify="right")
    result.add_column(style="bright_black")
    for name, meaning in _MEANINGS:
        if not name:
            result.add_section()
            continue
        must_be_zero = name in ("early", "lost", "duplicates")
        style = ("bold green" if figures[name] == 0 else "bold red") if must_be_zero else ""
        result.add_row(Text(name.replace("_", " "), style), Text(f"{figures[name]:,}", style), meaning)
    return result


def providers_table(channels: Mapping[str, Mapping[str, int]], served: Mapping[str, str]) -> Table:
    """Draw the count of each fake provider. `served`: the channel of each."""
    result = Table(title="Counted at each provider", title_justify="left")
    for name in ("provider", "channel"):
        result.add_column(name)
    names = ("delivered", "held", "refused", "early", "duplicates")
    for name in names:
        result.add_column(name, justify="right")
    for provider, figures in channels.items():
        result.add_row(provider, served[provider], *(f"{figures[name]:,}" for name in names))
    return result
