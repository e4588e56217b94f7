"""The picture of a night in the README: one simulated night over the production handlers, drawn.

python -m tools.night_picture        writes docs/night.svg (`make night-picture`)

Nothing in the picture is drawn by hand. The simulation plays one night without faults, always from the same seed; the
bars are counts of what its queues and providers saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from random import Random

from benchmarks.svg import FAINT, INK, PAPER, text
from simulation.faults import Faults
from simulation.night import Night, without_logs
from simulation.plan import Consent, ConsentChange, Plan, Request, Wanted, quiet_night
from simulation.queues import Msg, Queue

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "night.svg"

SEED = 21
BIN_S = 600
BEGIN_MINUTE, SHOWN_MINUTES = 20 * 60 + 40, 700  # 20:40 to 08:20
NIGHT_CONSENT_SHARE = 0.1
TEXT = "(광고) 겨울 세일, 무료수신거부 080-000-0000"
OTHER_TEXT = TEXT.replace("광고", "안내")
CAMPAIGN_SIZE, BUNDLE_SIZE = 300, 20


@dataclass(frozen=True)
class Traffic:
    """One kind of notification: how many a minute are sent at each hour of the clock, in between by interpolation."""

    category: str
    channels: tuple[str, ...]
    route: str
    a_minute: dict[float, float]

    def rate(self, hour: float) -> float:
        """The rate at `hour`, counted on from the evening: 26 is 02:00."""
        hours = sorted(self.a_minute)
        after = next((index for index, each in enumerate(hours) if each >= hour), len(hours) - 1)
        before = max(0, after - 1)
        if after == before:
            return self.a_minute[hours[after]]
        share = (hour - hours[before]) / (hours[after] - hours[before])
        return self.a_minute[hours[before]] + share * (self.a_minute[hours[after]] - self.a_minute[hours[before]])


TRAFFIC = (
    Traffic("critical", ("sms", "push"), "producer", {20: 1.2, 23: 0.8, 26: 0.1, 29: 0.1, 31: 0.9, 33: 1.4}),
    Traffic("informational", ("kakao", "sms"), "event", {20: 3.0, 23: 1.8, 26: 0.2, 29: 0.2, 31: 1.6, 33: 3.0}),
    Traffic("advertising", ("kakao", "push"), "producer", {20: 2.2, 23: 1.6, 26: 0.3, 29: 0.2, 31: 1.1, 33: 2.2}),
)
"""A shop's evening: password codes, order messages, and advertising that follows what customers look at."""

CAMPAIGN_MINUTE = 22 * 60 + 5


@dataclass
class Seen:
    """The events that the queues and the providers saw. Times are seconds since 20:40."""

    arrived: dict[str, float] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    sent: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: {"at_once": [], "released": []})


def play(seed: int = SEED) -> Seen:
    """Play the night and collect what is drawn. Raises `RuntimeError` if the night broke a promise."""
    seen = Seen()
    night = Night(seed, plan=draw_plan(Random(seed)), faults=lambda rng, until: Faults(rng, 0.0))
    wait = night.deployment.queues["wait"]
    for request in night.plan.requests:
        seen.arrived |= {str(each.id): request.at for each in request.wanted}

    def on_wait(queue: Queue, msg: Msg, by: str) -> None:
        seen.held |= {each["id"] for each in json.loads(msg.body)}

    def look_at_wait() -> None:
        bodies = [msg.body for msg in wait.messages.values()]
        seen.waiting.append((night.world.t, sum(len(json.loads(body)) for body in bodies)))

    wait.seen = on_wait
    for minute in range(SHOWN_MINUTES + 1):
        night.world.at(minute * 60.0, look_at_wait)
    with without_logs():
        result = night.run()
    if result.violations:
        raise RuntimeError(f"the night broke a promise: {result.violations[0]}")
    for taken in (each for times in night.checks.taken.values() for each in times):
        seen.sent["released" if taken.id in seen.held else "at_once"].append((taken.at, 1))
    return seen


def draw_plan(rng: Random) -> Plan:
    """A calm night in Seoul: who sends what to whom, and who has consented to the night."""
    plan = quiet_night(Random(1))
    assert plan.zone.key == "Asia/Seoul"
    plan.calm = True
    plan.requests = sorted([*_everyday(rng), *_campaign()], key=lambda request: request.at)
    for each in plan.wanted:
        if each.category == "advertising" and rng.random() < NIGHT_CONSENT_SHARE:
            plan.consents.append(ConsentChange(0.0, each.recipient, Consent(night_consent=True)))
    return plan


def _everyday(rng: Random) -> Iterator[Request]:
    number = CAMPAIGN_SIZE
    for minute in range(SHOWN_MINUTES):
        hour = (BEGIN_MINUTE + minute) / 60
        for traffic in TRAFFIC:
            for _ in range(int(traffic.rate(hour) + rng.random())):
                at = 60.0 * (minute + rng.random())
                channel = traffic.channels[int(rng.random() * len(traffic.channels))]
                yield Request(at, traffic.route, (_wanted(number, traffic.category, channel),))
                number += 1


def _campaign() -> Iterator[Request]:
    begin_s = 60.0 * (CAMPAIGN_MINUTE - BEGIN_MINUTE)
    for first in range(0, CAMPAIGN_SIZE, BUNDLE_SIZE):
        bundle = tuple(_wanted(number, "advertising", "webhook") for number in range(first, first + BUNDLE_SIZE))
        yield Request(begin_s + 60.0 * first / BUNDLE_SIZE, "bundle", bundle)


def _wanted(number: int, category: str, channel: str) -> Wanted:
    recipient, id_ = f"user-{number}", f"n{number}"
    body = {
        "id": id_,
        "channel": channel,
        "category": category,
        "address": "010-1234-5678" if channel in ("kakao", "sms") else recipient,
        "recipient_id": recipient,
        "content": {"body": TEXT if category == "advertising" else OTHER_TEXT},
        "metadata": {"n": number},
        "source": "shop",
    }
    return Wanted(number, id_, category, channel, recipient, None, body)


# --- the drawing

WIDTH, HEIGHT = 860, 566
LEFT, RIGHT = 66, 836
PANEL = 100
ACCEPTED_TOP, WAITING_TOP, SENT_TOP = 146, 284, 422
AT_ONCE, HELD, NIGHT, NIGHT_INK, GRID = "#3b6ea5", "#e08e45", "#eef0f8", "#6a70a3", "#d5dae1"
QUIET = (21 * 60, 32 * 60)
CLOCK = ((21, "21:00"), (23, "23:00"), (25, "01:00"), (27, "03:00"), (29, "05:00"), (31, "07:00"), (32, "08:00"))


def draw(seen: Seen) -> str:
    """The picture as SVG: what is accepted, what waits, and what is sent, one below the other."""
    arrivals = [(at, 1, id_ in seen.held) for id_, at in seen.arrived.items()]
    accepted = (
        _binned([(at, number) for at, number, held in arrivals if not held]),
        _binned([(at, number) for at, number, held in arrivals if held]),
    )
    sent = _binned(seen.sent["at_once"]), _binned(seen.sent["released"])
    title = f"One night: {len(seen.arrived):,} notifications, {len(seen.held):,} of them held until 08:00"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAPER}"/>',
        text(24, 34, title, 18, INK, weight=600),
        text(24, 57, "Advertising without a night consent is held. Everything else is sent at once.", 13, FAINT),
        text(24, 75, f"Simulated over the production handlers, seed {SEED}, no faults.", 13, FAINT),
        *_legend(),
        *_night(),
        *_panel("accepted, per 10 minutes", ACCEPTED_TOP, _top(accepted), _bars(accepted, ACCEPTED_TOP)),
        *_panel("on the wait queue", WAITING_TOP, _top_of(seen.waiting), _area(seen.waiting, WAITING_TOP)),
        *_panel("sent to providers, per 10 minutes", SENT_TOP, _top(sent), _bars(sent, SENT_TOP)),
        *_clock(),
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _binned(events: Sequence[tuple[float, int]]) -> list[int]:
    counts = [0] * (SHOWN_MINUTES * 60 // BIN_S)
    for at, number in events:
        if at < SHOWN_MINUTES * 60:
            counts[int(at // BIN_S)] += number
    return counts


def _top(series: tuple[list[int], list[int]]) -> int:
    return max(first + second for first, second in zip(*series, strict=True))


def _top_of(waiting: Sequence[tuple[float, int]]) -> int:
    return max(number for _, number in waiting)


def _x(minute: float) -> float:
    """Return the place of a minute of the clock; 24:00 is 1440, and the morning goes on from there."""
    return LEFT + (minute - BEGIN_MINUTE) / SHOWN_MINUTES * (RIGHT - LEFT)


def _legend() -> list[str]:
    rows = (("sent at once", AT_ONCE), ("held, then released", HELD))
    lines = []
    for number, (name, colour) in enumerate(rows):
        y = 47 + 18 * number
        lines.append(f'<rect x="690" y="{y}" width="11" height="11" rx="2" fill="{colour}"/>')
        lines.append(text(707, y + 10, name, 13, INK))
    return lines


def _night() -> list[str]:
    begin, end = (_x(minute) for minute in QUIET)
    top, bottom = ACCEPTED_TOP - 50, SENT_TOP + PANEL
    return [
        f'<rect x="{begin:.1f}" y="{top}" width="{end - begin:.1f}" height="{bottom - top}" fill="{NIGHT}"/>',
        text((begin + end) / 2, top + 18, "quiet hours, 21:00 to 08:00", 13, NIGHT_INK, weight=600, anchor="middle"),
    ]


def _panel(name: str, top: int, most: int, marks: list[str]) -> list[str]:
    """One chart: its marks over a base line, its largest value as the scale, and its name at the left."""
    base = top + PANEL
    return [
        f'<line x1="{LEFT}" y1="{top}" x2="{RIGHT}" y2="{top}" stroke="{GRID}" stroke-dasharray="2 4"/>',
        text(LEFT - 8, top + 4, f"{most:,}", 12, FAINT, anchor="end"),
        text(LEFT - 8, base + 4, "0", 12, FAINT, anchor="end"),
        *marks,
        f'<line x1="{LEFT}" y1="{base}" x2="{RIGHT}" y2="{base}" stroke="{FAINT}"/>',
        text(_x(QUIET[0]) + 10, top - 8, name, 13, INK, weight=600),
    ]


def _bars(series: tuple[list[int], list[int]], top: int) -> list[str]:
    """Stacked bars: what goes at once below, what is or was held above it."""
    scale, width = PANEL / _top(series), _x(BEGIN_MINUTE + BIN_S / 60) - LEFT - 2
    lines = []
    for index, numbers in enumerate(zip(*series, strict=True)):
        x, y = _x(BEGIN_MINUTE + index * BIN_S / 60) + 1, float(top + PANEL)
        for number, colour in zip(numbers, (AT_ONCE, HELD), strict=True):
            height = number * scale
            y -= height
            if number:
                lines.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
                )
    return lines


def _area(waiting: Sequence[tuple[float, int]], top: int) -> list[str]:
    scale, base = PANEL / _top_of(waiting), top + PANEL
    points = " ".join(f"{_x(BEGIN_MINUTE + t / 60):.1f},{base - number * scale:.1f}" for t, number in waiting)
    return [
        f'<polygon points="{LEFT},{base} {points} {RIGHT},{base}" fill="{HELD}" fill-opacity="0.35"/>',
        f'<polyline points="{points}" fill="none" stroke="{HELD}" stroke-width="2" stroke-linejoin="round"/>',
    ]


def _clock() -> list[str]:
    y = SENT_TOP + PANEL
    return [
        line
        for hour, label in CLOCK
        for line in (
            f'<line x1="{_x(hour * 60):.1f}" y1="{y}" x2="{_x(hour * 60):.1f}" y2="{y + 5}" stroke="{FAINT}"/>',
            text(round(_x(hour * 60), 1), y + 21, label, 12, FAINT, anchor="middle"),
        )
    ]


def main() -> None:
    """Write the picture."""
    FILE.write_text(draw(play()), encoding="utf-8")
    print(f"Written: {FILE.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
