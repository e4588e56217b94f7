"""A year of nights under one policy, each on the whole simulated deployment: every weekday, holiday and clock change.

    python -m simulation.year                   plays 2027 under several policies, each in its zone, on all cores
    python -m simulation.year --planted         plays it until each planted mistake is found

A night is a time without a gap in which the policy holds something; where Sundays or holidays follow each other, it
lasts for days. Notifications arrive around each of its edges. On every other night nothing fails, and then each has to
reach its provider as soon as it may.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .exhaustive import wanted
from .night import Night, without_logs
from .plan import Change, Consent, ConsentChange, Judge, Plan, Request, Wanted
from .planted_closures import CLOSURE_PLANTS
from .queues import Msg, Queue
from .year_settings import SETTINGS, Setting

YEAR = 2027


ASKED = (("advertising", "sms"), ("advertising", "kakao"), ("informational", "sms"), ("advertising", "email"))
STEP = timedelta(minutes=10)
"""No policy changes at another minute."""

BEFORE_S = 1200.0
GUARD_S = 15.0
SKEWS_S = 4.0
"""A closure lasts so much longer by a clock that is behind, and the consumer that it is held by may be ahead."""
WITHIN_S = 150.0
"""The time until a notification that may go is with its provider: two runs of the minute rule, and the calls."""


class Scene(NamedTuple):
    """One night of a policy: from when until when something is held."""

    setting: Setting
    begins: datetime
    ends: datetime


@cache
def _nights(judge: Judge, year: int) -> tuple[tuple[datetime, datetime], ...]:
    """The times of a year in which a policy holds something."""
    place = ZoneInfo(judge.zone)
    found: list[tuple[datetime, datetime]] = []
    now = datetime(year, 1, 1, 12, tzinfo=place).astimezone(UTC)
    begins: datetime | None = None
    while now.year == year or begins is not None:
        closed = any(judge.is_closed(now, *each) for each in ASKED)
        if closed and begins is None:
            begins = now
        elif not closed and begins is not None:
            found.append((begins, now))
            begins = None
        now += STEP
    return tuple(found)


def scenes(setting: Setting, year: int = YEAR) -> tuple[Scene, ...]:
    """Every night that begins in a year under the first policy. The other policies' nights are played with it."""
    return tuple(Scene(setting, *night) for night in _nights(setting.judge, year))


def plan_of(scene: Scene, seed: int) -> Plan:
    """The plan of a night: what arrives around its edges, for people with and without a night consent."""
    start = scene.begins - timedelta(seconds=BEFORE_S)
    lasts_s = (scene.ends - scene.begins).total_seconds()
    begin, end = BEFORE_S, BEFORE_S + lasts_s
    setting = scene.setting
    plan = Plan(ZoneInfo(setting.zone), start, setting.policy, 1, [begin], [end], 0.0)
    plan.end_hour, plan.kakao_closed, plan.wait_queues, plan.further_policies = setting[2:6]
    rng = Random(f"{setting.title} {scene.begins}")
    ways: list[int] = []
    for at, way in _moments(scene, lasts_s, rng):
        people = [_person(plan, len(ways) + which, way, setting, rng) for which in range(2)]
        ways += [way, way]
        plan.requests.append(Request(at, "producer", tuple(people)))
    if setting.then is not None:
        then = setting.then
        judges = {number: then.judges[way] for number, way in enumerate(ways)}
        kakao_closed = then.kakao_closed or f"20:50-{then.end_hour:02}:00"
        settings = {"policy": then.policy, "end": f"{then.end_hour:02}:00", "kakao_closed": kakao_closed}
        at = begin + rng.random() * lasts_s
        plan.change = Change(at, settings | {"further_policies": then.further_policies}, judges)
        plan.ends = [_all_open_s(plan, at)]
    plan.last_opens = max(
        _opens_s(plan, each, at, False)
        for one in plan.requests
        for each in one.wanted
        for at in (one.at, one.at + GUARD_S)
    )
    if plan.change:
        plan.last_opens = _all_open_s(plan, plan.last_opens)
    plan.record_held = True
    plan.calm = seed % 2 == 0
    plan.skew_s = 0.0 if plan.calm else 2.0
    plan.faults_until = 0.0 if plan.calm else end + 300
    return plan


def _moments(scene: Scene, lasts_s: float, rng: Random) -> Iterator[tuple[float, int]]:
    """The times at which two notifications arrive, and the way in which they ask for their policy: 0 if they do not.

    They are around the edges of the first policy's night, and around those of each other policy in the same day.
    """
    begin, end = BEFORE_S, BEFORE_S + lasts_s
    edges = [(each, 0) for each in (begin, begin + 600, begin + 3600, begin + rng.random() * lasts_s, end - 3600, end)]
    start = scene.begins - timedelta(seconds=BEFORE_S)
    for way, judges in enumerate(scene.setting.judges[1:], 1):
        near = {
            edge
            for judge in judges
            for night in _nights(judge, YEAR)
            for edge in night
            if scene.begins <= edge < scene.begins + timedelta(days=1)
        }
        edges += [((edge - start).total_seconds(), way) for edge in sorted(near)]
    for edge, way in edges:
        for offset in (-25.0, -13.0, 1.0 + rng.random()):
            yield edge + offset, way


def _person(plan: Plan, number: int, way: int, setting: Setting, rng: Random) -> Wanted:
    category, channel = ASKED[number % len(ASKED)] if number % 3 else ASKED[0]
    each = wanted(number, channel, category)
    if channel == "email":
        each.address = each.body["address"] = f"user{number}@example.com"
    if way:
        each.body |= setting.others[way - 1].fields
    plan.judges[number] = setting.judges[way]
    if rng.random() < 0.5:
        plan.consents.append(ConsentChange(0.0, each.recipient, Consent(night_consent=True)))
    return each


def play(scene: Scene, seed: int) -> list[str]:
    """Play one night. Returns a sentence for each broken promise."""
    plan = plan_of(scene, seed)
    night = Night(seed, plan=plan)
    too_early: list[str] = []
    night.deployment.queues["schedule"].seen = partial(_released, night, too_early)
    broken = [f"{each.invariant}: {each.detail}" for each in night.run().violations]
    misjudged = () if plan.change else _misjudged(night)
    return [*broken, *too_early, *misjudged, *(_late(night) if plan.calm else ())]


def _released(night: Night, too_early: list[str], queue: Queue, msg: Msg, by: str) -> None:
    """Check that what the scheduler releases may go: nothing that it releases is held again, but for the guard, and
    for what another policy holds that was deployed meanwhile."""
    change = night.plan.change
    if not by.startswith("scheduler") or (change and night.world.t >= change.at):
        return
    agreed = {each.recipient for each in night.plan.consents}
    by_id = {each.id: each for each in night.plan.wanted}
    for item in json.loads(msg.body):
        each = by_id[item["id"]]
        if len(night.plan.judges[each.number]) > 1:
            continue  # policies that judge together share no queue: it goes from one to the next
        if night.plan.is_closed(each, night.world.t, each.recipient in agreed):
            too_early.append(f"held_again: {each.id} by {each.channel} was released while it may not go")


def _misjudged(night: Night) -> Iterator[str]:
    """What was held with another end than that of the last closure that follows without a gap."""
    plan = night.plan
    agreed = {each.recipient for each in plan.consents}
    by_id = {each.id: each for each in plan.wanted}
    for item in night.deployment.tables["held"].items.values():
        if (each := by_id.get(item["id"]["S"])) is None:
            continue
        held_s = (datetime.fromisoformat(item["held_at"]["S"]) - plan.start).total_seconds()
        until_s = (datetime.fromisoformat(item["until"]["S"]) - plan.start).total_seconds()
        near = (held_s - SKEWS_S, held_s, held_s + GUARD_S)
        may_be = {_opens_s(plan, each, at, each.recipient in agreed) for at in near}
        if until_s not in may_be:
            yield f"forecast: {each.id} by {each.channel} was held until {until_s:.0f} s, and may go at {max(may_be)} s"


def _late(night: Night) -> Iterator[str]:
    """What reached its provider later than it could. If other policies were deployed, it may wait until they open."""
    plan, taken = night.plan, night.checks.taken
    agreed = {each.recipient for each in plan.consents}
    for request in plan.requests:
        for each in request.wanted:
            held = (each.recipient in agreed) and not plan.change
            may_go_s = max(_opens_s(plan, each, at, held) for at in (request.at, request.at + GUARD_S))
            if plan.change:
                may_go_s = _all_open_s(plan, max(may_go_s, plan.change.at))
            first = min((call.at for call in taken[each.number]), default=None)
            if first is None or first > may_go_s + WITHIN_S:
                yield f"on_time: {each.id} by {each.channel} could go at {may_go_s:.0f} s and went at {first}"


def _all_open_s(plan: Plan, at: float) -> float:
    """The first time from `at` on at which the policies that are deployed in the middle of a night hold nothing."""
    judges = {judge for together in plan.change.judges.values() for judge in together} if plan.change else set()
    while any(judge.is_closed(plan.start + timedelta(seconds=at), *each) for judge in judges for each in ASKED):
        at = STEP.total_seconds() * (at // STEP.total_seconds() + 1)
    return at


def _opens_s(plan: Plan, each: Wanted, at: float, night_consent: bool) -> float:
    if not plan.is_closed(each, at, night_consent):
        return at
    at = STEP.total_seconds() * (at // STEP.total_seconds() + 1)
    while plan.is_closed(each, at, night_consent):
        at += STEP.total_seconds()
    return at


class Part(NamedTuple):
    """Some of the nights of a year: every `of`-th, beginning with `first`."""

    setting: Setting
    first: int
    of: int


def play_part(part: Part) -> tuple[int, list[str]]:
    """Play a part. Returns the number of its nights and what they broke."""
    broken: list[str] = []
    chosen = list(enumerate(scenes(part.setting)))[part.first :: part.of]
    with without_logs():
        for seed, scene in chosen:
            broken += [f"{part.setting.title} {scene.begins:%Y-%m-%d}: {each}" for each in play(scene, seed)]
    return len(chosen), broken


def main() -> int:
    """Play the year, or look for the planted mistakes."""
    parser = argparse.ArgumentParser(prog="python -m simulation.year", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="the number of processes (one per core)")
    parser.add_argument("--planted", action="store_true", help="look for the planted mistakes instead")
    asked = parser.parse_args()
    if asked.planted:
        survivors = [name for name, plant in CLOSURE_PLANTS.items() if not is_found(name)]
        print(f"{len(CLOSURE_PLANTS)} planted, {len(survivors)} survived: {survivors}")
        return int(bool(survivors))
    began, number = time.monotonic(), 0
    broken: list[str] = []
    of = 16
    parts = [Part(setting, first, of) for setting in SETTINGS for first in range(of)]
    with multiprocessing.get_context("fork").Pool(asked.jobs) as pool:
        for nights, found in pool.imap_unordered(play_part, parts):
            number += nights
            broken += found
    print(f"{number} nights of {YEAR} under {len(SETTINGS)} deployments in {time.monotonic() - began:.0f} s")
    print("\n".join([*broken[:20], f"{len(broken)} violations"]))
    return int(bool(broken))


def is_found(name: str) -> bool:
    plant = CLOSURE_PLANTS[name]
    nights = list(enumerate(scenes(plant.setting)))
    Random(name).shuffle(nights)  # some mistakes show only in summer
    for seed, scene in nights:
        with plant.planted(), without_logs():
            broken = play(scene, seed)
        if found := [each for each in broken if each.startswith(plant.caught_by)]:
            print(f"planted {name}: found by {scene.setting.policy} {scene.begins:%Y-%m-%d}: {found[0]}")
            return True
    print(f"planted {name}: SURVIVED")
    return False


if __name__ == "__main__":
    sys.exit(main())
