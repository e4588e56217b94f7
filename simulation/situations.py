"""Situations: large days and nights, one for each promise about lanes, rates and outages, as a table.

    make situations           play all of them, and write docs/situations.md

Each row is played in virtual time with the production handlers and the real channels' rates (stage.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from . import topology
from .forecast import Release, duration, forecast
from .stage import EVENING, HOUR, NOON, REAL_KINDS, Stage, Waits
from .world import Span

PAGE = Path("docs/situations.md")
CODES, EVERY_S = 60, 5.0
"""Critical notifications of a situation, and the time between them."""


class Row(NamedTuple):
    """A situation, its figure of before where there is one, and its figure now."""

    about: str
    situation: str
    before: str
    now: str


class Case(NamedTuple):
    """A situation to play: what it is about, its words, its figure of before, and the function that plays it."""

    about: str
    situation: str
    before: str
    play: Callable[[], str]


# --- critical notifications


def codes(
    fill: Callable[[Stage], Any] = lambda stage: None, start: Any = NOON, at: float = 30.0, **options: Any
) -> Waits:
    """Send critical SMS, one every five seconds, while something else is under way. Returns how long they waited."""
    stage = Stage(start, **options)
    fill(stage)
    for number in range(CODES):
        stage.at(at + number * EVERY_S, stage.accept, "sms")
    stage.run(at + CODES * EVERY_S + 60, is_night=start is EVENING)
    return stage.waits("sms")


def _waits(waits: Waits) -> str:
    return f"95 % within {waits.p95_s:.2f} s, 99 % within {waits.p99_s:.2f} s"


def bulk(number: int, channel: str, queue: str = "schedule", category: str = "advertising", bundle: int = 100) -> Any:
    """A fill: a backlog on a queue."""
    return lambda stage: stage.at(1.0, stage.put, queue, number, channel, category, bundle)


def _hanging(stage: Stage) -> None:
    stage.be_away("kakao", Span(20.0, 400.0), "hang_before")
    bulk(20_000, "kakao")(stage)
    for number in range(CODES):
        stage.at(22.5 + number * EVERY_S, stage.accept, "kakao")


def _release(stage: Stage) -> None:
    stage.at(stage.begin + 60, stage.put, "wait", 100_000, "sms")


def _held_again(stage: Stage) -> None:
    stage.at(stage.begin - 40, stage.put, "schedule", 7_750, "kakao")


def by_plain_sqs() -> Waits:
    """Send a code by plain SQS: it stands behind what the notification queue holds."""
    stage = Stage(NOON)
    stage.at(1.0, stage.put, "notification", 500, "sms", "informational", 1)
    stage.at(1.1, stage.put, "notification", 1, "sms", "critical", 1)
    stage.run(120.0, is_night=False)
    return stage.waits("sms")


SITUATIONS_OF_CODES: dict[str, Callable[[], Waits]] = {
    "idle": codes,
    "campaign of 100,000 e-mails by day": lambda: codes(bulk(100_000, "email")),
    "campaign of 10,000 e-mails by day": lambda: codes(bulk(10_000, "email")),
    "campaign of 100,000 Kakao by day": lambda: codes(bulk(100_000, "kakao")),
    "campaign of 100,000 SMS by day, the codes' own channel": lambda: codes(bulk(100_000, "sms")),
    "100,000 informational SMS, the codes' own channel": lambda: codes(
        bulk(100_000, "sms", "delivery", "informational")
    ),
    "100,000 singles in the notification queue": lambda: codes(
        bulk(100_000, "sms", "notification", "informational", bundle=1)
    ),
    "release of 100,000 SMS": lambda: codes(_release, EVENING, at=20 * 60 + 11 * HOUR),
    "redrive of 10,000 letters": lambda: codes(bulk(10_000, "sms")),
    "another channel hangs": lambda: codes(_hanging),
    "a code by plain SQS, behind 500 singles": by_plain_sqs,
    "7,750 Kakao are held again at 21:00": lambda: codes(_held_again, EVENING, at=20 * 60 - 30.0),
    "ten concurrent executions, 100,000 SMS and 20,000 singles": lambda: codes(
        lambda stage: [bulk(100_000, "sms")(stage), bulk(20_000, "kakao", "notification", "informational", 1)(stage)],
        account_concurrency=10,
    ),
}
"""What codes may meet, by name. Each returns how long they waited."""

CODES_BEFORE = {
    "campaign of 10,000 e-mails by day": "969 s",
    "campaign of 100,000 Kakao by day": "153 s behind 10,000",
    "7,750 Kakao are held again at 21:00": "139 s",
}


# --- outages and slips


def outage(number: int, channel: str, kind: Any, lasts_s: float) -> str:
    """Hold notifications over night, and let the provider be away from a minute before the release on."""
    stage = Stage(EVENING)
    stage.be_away(channel, Span(stage.end - 60, stage.end - 60 + lasts_s), kind)
    stage.at(stage.begin + 60, stage.put, "wait", number, channel)
    stage.run(stage.end + lasts_s + 3 * HOUR)
    away = stage.plan.away[channel]
    calls = sum(away.covers(call.at) for call in stage.calls(channel))
    return f"{_endings(stage)}; {calls} calls while it was away"


def _endings(stage: Stage) -> str:
    ends = ", ".join(f"{number:,} {state.replace('_', '-')}" for state, number in stage.endings().most_common())
    lost = len(stage.accepted_at) - sum(stage.endings().values())
    return ends + (f", {lost:,} without an ending" if lost else "")


def no_settings() -> str:
    """Hold SMS, and take their channel's settings out of the secret for half an hour over the release."""
    return outage(4_000, "sms", "no_settings", 1800.0)


def beyond_retention() -> str:
    """A backlog that would last longer than its queue keeps messages, with days played as minutes."""
    with patch.object(topology, "RETENTION_S", 240.0):
        stage = Stage(NOON, kinds={**REAL_KINDS, "kakao": replace(REAL_KINDS["kakao"], rate_per_s=25.0)})
        stage.at(1.0, stage.put, "schedule", 12_000, "kakao", "advertising", 100, 180.0)
        stage.run(1200.0, is_night=False)
    return _endings(stage)


# --- rates


class Use(NamedTuple):
    """The share of the rate that was used, and the worker's time beside that of a pace divided by lanes and workers."""

    of_the_rate: float
    time_ratio: float


def paced(channel: str, number: int = 60_000, seconds: float = 250.0, **options: Any) -> Use:
    """Let a backlog meet its channel's rate. Before, each of two workers kept to a quarter of the rate and slept in
    between: a notification took 4 / rate seconds of a worker."""
    stage = Stage(NOON, **options)
    stage.at(1.0, stage.put, "schedule", number, channel)
    stage.run(seconds, is_night=False)
    rate = stage.kinds[channel].rate_per_s or 0
    sent = sum(call.notifications for call in stage.calls(channel) if 20 <= call.at < seconds)
    everything = sum(call.notifications for call in stage.calls(channel))
    before_s = everything * 4 / rate
    return Use(sent / rate / (seconds - 20), stage.deployment.worker.busy_s / before_s)


def _use(channel: str, **options: Any) -> str:
    use = paced(channel, **options)
    return f"{use.of_the_rate:.0%} of the rate used; the worker's time is {use.time_ratio:.2f} of before"


def several_channels(workers: int) -> str:
    """Release backlogs of three channels at once, and compare with the slowest one's rate."""
    stage = Stage(EVENING, release_concurrency=workers)
    for channel, number in (("kakao", 20_000), ("sms", 20_000), ("webhook", 40_000)):
        stage.at(stage.begin + 60, stage.put, "wait", number, channel)
    stage.run(stage.end + HOUR)
    last = max(taken[-1].at for taken in stage.checks.taken.values() if taken) - stage.end
    return f"{_endings(stage)}; the last after {last:.0f} s, at their rates 200 s"


def handed_back() -> str:
    """Let two workers meet a lane of which they can send nothing, and count the bundles that they hand back."""
    kinds = {**REAL_KINDS, "kakao": replace(REAL_KINDS["kakao"], rate_per_s=0.1)}
    stage = Stage(NOON, kinds=kinds)
    stage.at(1.0, stage.put, "schedule", 500_000, "kakao")
    stage.run(61.0, is_night=False)
    return f"{stage.deployment.worker.invocations / 60:.0f} bundles a second"


def trickled() -> str:
    """Forecast a release of what came singly beside one of full bundles."""
    singles, bundles = forecast(Release(1_000_000, bundle=1)), forecast(Release(1_000_000))
    return f"{duration(singles.delivered_s)}, in full bundles {duration(bundles.delivered_s)}"


WEBHOOK_AT_100 = {**REAL_KINDS, "webhook": replace(REAL_KINDS["webhook"], rate_per_s=100.0)}

CASES = [
    Case(
        "outage",
        "SMS: 502 for 5 minutes over the release, 20,000",
        "14,675 unknown",
        lambda: outage(20_000, "sms", "502", 300.0),
    ),
    Case(
        "outage",
        "SMS: hangs for 10 minutes, 2,000",
        "2,000 unknown",
        lambda: outage(2_000, "sms", "hang_before", 600.0),
    ),
    Case(
        "outage",
        "Kakao: takes all and answers nothing for 5 minutes, 2,000",
        "",
        lambda: outage(2_000, "kakao", "hang_after", 300.0),
    ),
    Case(
        "outage",
        "webhook: 502 for 90 minutes, 500",
        "500 dead-lettered",
        lambda: outage(500, "webhook", "502", 5400.0),
    ),
    Case("outage", "webhook: hangs for 12 hours, 500", "", lambda: outage(500, "webhook", "hang_before", 12 * HOUR)),
    Case("outage", "e-mail: no connection for 12 hours, 500", "", lambda: outage(500, "email", "refused", 12 * HOUR)),
    Case("outage", "push: a proxy's page for 90 minutes, 2,000", "", lambda: outage(2_000, "push", "html", 5400.0)),
    Case("slip", "a secret without the sms key for 30 minutes, 4,000 held SMS", "4,000 dead-lettered", no_settings),
    Case(
        "age",
        "12,000 on a lane for longer than it keeps messages, days as minutes",
        "6,000 without an ending",
        beyond_retention,
    ),
    Case("rate", "webhook at 100 a second", "", lambda: _use("webhook", kinds=WEBHOOK_AT_100)),
    Case("rate", "Kakao at 100 a second", "", lambda: _use("kakao")),
    Case("rate", "Kakao at 100 a second, with clocks up to 2 s off", "", lambda: _use("kakao", skew_s=2.0)),
    Case("rate", "e-mail at 14 a second", "", lambda: _use("email", number=5_000)),
    Case(
        "rate",
        "a release over Kakao, SMS and webhook at once, 80,000, two workers",
        "",
        lambda: several_channels(2),
    ),
    Case("rate", "the same, four workers", "", lambda: several_channels(4)),
    Case("rate", "what two workers hand back where no turn is free", "", handed_back),
    Case("rate", "a million that came singly, to the provider", "30.6 h", trickled),
]


def _play(index: int) -> Row:
    names = list(SITUATIONS_OF_CODES)
    if index < len(names):
        name = names[index]
        return Row("code", name, CODES_BEFORE.get(name, ""), _waits(SITUATIONS_OF_CODES[name]()))
    case = CASES[index - len(names)]
    return Row(case.about, case.situation, case.before, case.play())


def rows() -> list[Row]:
    """Play everything, on all cores."""
    number = len(SITUATIONS_OF_CODES) + len(CASES)
    with get_context("spawn").Pool() as pool:
        found = {}
        for row in pool.imap(_play, range(number)):
            found[row.situation] = row
            print(f"{row.situation}: {row.now}", file=sys.stderr, flush=True)
    return list(found.values())


INTRODUCTION = """# Situations

`make situations` plays these and writes this page. Each is played in virtual time by the production handlers, with the
channels' default rates. A call to AWS takes some 20 ms, a call to a provider up to 100 ms, and nothing else fails.
"Before" is the figure of the version that had one lane for the day, and that divided each rate by lanes and workers.
"""

HEADINGS = {
    "code": "How long a critical SMS waits for its provider",
    "outage": "A provider that is away",
    "slip": "A slip in the settings",
    "age": "A backlog that is older than its queue keeps messages",
    "rate": "Rates, and what keeping to them costs",
}


def page(found: list[Row]) -> str:
    """The text of docs/situations.md."""
    parts = [INTRODUCTION]
    for about, heading in HEADINGS.items():
        parts += [f"## {heading}\n", "| situation | before | now |", "|---|---|---|"]
        parts += [f"| {row.situation} | {row.before} | {row.now} |" for row in found if row.about == about]
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    """Play everything and write the page."""
    PAGE.write_text(page(rows()))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
