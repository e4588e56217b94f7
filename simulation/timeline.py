"""Prints one night for a person: what happened, when in local time, to which notification, and why."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import night as night_module
from .night import Night, Result
from .queues import Msg, Queue
from .world import World

ARRIVES = {
    "notification": "is accepted: it stands on notification",
    "urgent": "goes at once: it stands on urgent",
    "delivery": "may go now: it stands on delivery",
    "wait": "is held: it stands on wait",
    "schedule": "is released: it stands on schedule",
    "dead-letter": "is put on dead-letter",
}


class Line(NamedTuple):
    """One event of a night, at a local time; `id` is that of its notification, if it has one."""

    at: str
    id: str | None
    text: str

    @property
    def clock(self) -> str:
        """The time of day, without the date and the tenths of a second."""
        return self.at[len("11-11 ") : len("11-11 20:40:00")]


class Said(NamedTuple):
    """A sentence about a notification, or about a message that has none."""

    text: str
    id: str | None


def message_lines(queue: Queue, msg: Msg, by: str) -> Iterator[Said]:
    """Say what the arrival of a message on a queue means for each notification in it."""
    text = ARRIVES[queue.name]
    if by.startswith("worker") and queue.name in ("urgent", "delivery", "schedule"):
        text = f"goes back to {queue.name}"
    details = [f"by {by}" if by else "", f"not before {msg.visible_at - msg.sent_at:.0f} s from now"]
    details = details if msg.visible_at > msg.sent_at else details[:1]
    if reason := msg.attributes.get("reason", {}).get("StringValue"):
        details.append(reason)
    line = f"{text} ({', '.join(part for part in details if part)})"
    for id_ in _ids(msg.body):
        yield Said(line, id_)


def _ids(body: str) -> list[str | None]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return [None]
    bundle = parsed if isinstance(parsed, list) else [parsed]
    return [_id(each) for each in bundle] or [None]


def _id(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    value = value["detail"] if isinstance(value.get("detail"), dict) else value
    number = value.get("metadata", {}).get("n")
    return value.get("id") or (f"#{number}" if number is not None else None)


def print_night(seed: int, only: str | None = None) -> Result:
    """Play the night of a seed and print its timeline, then each notification's own story."""
    lines: list[Line] = []

    def note(world: World, text: str, id_: str | None) -> None:
        local = world.time().astimezone(played.plan.zone)
        lines.append(Line(f"{local:%m-%d %H:%M:%S}.{local.microsecond // 100_000}", id_, text))

    played = Night(seed, note=note)

    def seen(queue: Queue, msg: Msg, by: str) -> None:
        for said in message_lines(queue, msg, by):
            note(played.world, said.text, said.id)

    for queue in played.deployment.queues.values():
        queue.seen = seen
    _print_plan(played)
    with night_module.without_logs():
        result = played.run()
    for line in lines:
        if only is None or line.id == only or line.text.startswith("VIOLATION"):
            print(f"{line.at}  {line.id or '':14}  {line.text}")
    if only is None:
        _print_stories(played, lines)
    return result


def _print_plan(night: Night) -> None:
    plan = night.plan
    print(f"A night in {plan.zone.key}, policy {plan.policy}, {len(plan.wanted)} notifications.")
    if plan.advertising_consent == "required":
        print("Advertising needs a consent to it in the registry.")
    if plan.allow_list is not None:
        print(f"Only {len(plan.allow_list)} listed addresses and simulated ones are called.")
    rates = ", ".join(f"{kind} {rate:g}" for kind, rate in night.faults.rates.items() if rate)
    print(f"Faults: {rates or 'none'}.")
    for lane, span in plan.blocked.items():
        print(f"Nothing reads {lane} from {_local(night, span.begin)} to {_local(night, span.end)}.")
    for channel, span in plan.away.items():
        print(f"{channel}'s provider is away from {_local(night, span.begin)} to {_local(night, span.end)}.")
    for queue, span in plan.queues_away.items():
        print(f"SQS takes nothing for {queue} from {_local(night, span.begin)} to {_local(night, span.end)}.")
    if plan.poison:
        print(f"Whoever sends {', '.join(f'#{number}' for number in sorted(plan.poison))} dies of it.")
    print()


def _print_stories(night: Night, lines: list[Line]) -> None:
    print("\nEach notification's own story:")
    stories = defaultdict(list)
    for line in lines:
        if line.id:
            stories[line.id].append(f"{line.clock} {line.text.partition(' (')[0]}")
    known = {each.id or f"#{each.number}": each for each in night.plan.wanted}
    for id_, story in stories.items():
        each = known.get(id_)
        what = f"{each.category} by {each.channel} to {each.recipient}" if each else "named on its way"
        print(f"\n{id_}: {what}")
        for step in story:
            print(f"    {step}")


def _local(night: Night, t: float) -> str:
    return f"{night.world.time(t).astimezone(night.plan.zone):%H:%M:%S}"
