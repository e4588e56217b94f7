"""Measures the consumer's and the producer's CPU per notification, by part and against a JSON round trip of the bytes.

The round trip is `json.loads` and `json.dumps` of the standard library, for the same bodies in the same process. Nobody
who reads a message and writes it again pays less. Fake clients answer at no cost in this comparison; the cost of calls
is then measured with real clients against the embedded AWS.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.notification.bundle import pack, read
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.notification.notification import accept
from lambdas.quiet_hours.rule.policy import decide

from .measure import cpu_s, spread
from .world import EVENING, MORNING, World, candidates, items, record

NOTIFICATIONS = 1_000
DAY = MORNING + timedelta(hours=4)


class NoCost:
    """A fake client without cost. It takes every message and knows no consents."""

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:
        return {"Responses": {}}


def consumer(world: World, now: datetime) -> dict[str, Callable[[], object]]:
    """The parts of the consumer's work on an event of full bundles, which bulk acceptance makes."""
    settings, policy = world.settings, world.settings.quiet_hours()
    given = list(items(NOTIFICATIONS))
    bodies = [message.body for message in pack(given)]
    records = [record(body, settings.notification_queue_url) for body in bodies]
    free: Any = NoCost()

    def all_of_it(sqs: Any, dynamodb: Any) -> None:
        failed, counts = consume(records, now, sqs, dynamodb, settings, policy)
        if failed or counts["now"] + counts["held"] != NOTIFICATIONS:
            raise RuntimeError(f"the consumer did not pass everything on: {counts}")

    return {
        "json": lambda: [_round_trip(body) for body in bodies],
        "without_calls": lambda: all_of_it(free, free),
        "parse": lambda: [read(each) for each in records],
        "judge": lambda: [decide(item.notification, None, now, policy) for item in given],
        "pack": lambda: pack(given),
        "with_calls": lambda: all_of_it(world.sqs, world.dynamodb),
    }


def producer(world: World, now: datetime) -> dict[str, Callable[[], object]]:
    """The parts of the producer's work on a request of a thousand, which Lambda has parsed already."""
    settings, policy = world.settings, world.settings.quiet_hours()
    request = {"notifications": list(candidates(NOTIFICATIONS))}
    body = to_text(request)
    notifications = [accept(each, default_id="", now=now).notification for each in request["notifications"]]
    given = list(items(NOTIFICATIONS))
    free: Any = NoCost()
    numbers = count()

    def all_of_it(sqs: Any, dynamodb: Any) -> None:
        status, answer = accept_all(request, now, sqs, dynamodb, settings, policy, lambda: str(next(numbers)))
        if status != 202 or len(answer["accepted"]) != NOTIFICATIONS:
            raise RuntimeError(f"the producer did not accept everything: {answer['rejected'][:3]}")

    return {
        "json": lambda: _round_trip(body),
        "without_calls": lambda: all_of_it(free, free),
        "parse": lambda: [accept(each, default_id="", now=now) for each in request["notifications"]],
        "judge": lambda: [decide(each, None, now, policy) for each in notifications],
        "pack": lambda: pack(given),
        "with_calls": lambda: all_of_it(world.sqs, world.dynamodb),
    }


def _round_trip(body: str) -> str:
    return json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":"))


def measure(world: World, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every part in turn, `repeats` times, at night and by day, in microseconds of CPU per notification.

    The two sides of a ratio are measured right after each other, since the speed of a shared machine changes. The
    published figure is the worse of night and day by its ratio to JSON, without calls.
    """
    figures: dict[str, Any] = {"notifications": NOTIFICATIONS, "repeats": repeats}
    gc.collect()
    gc.freeze()  # the collector shall not scan what other families have left on the heap
    published: dict[str, Any] = {}
    for name, parts_of in (("consumer", consumer), ("producer", producer)):
        for hour, now in (("night", EVENING), ("day", DAY)):
            say(f"{name}: {hour}")
            figures[f"{name}_{hour}"] = _figures(parts_of(world.new_queues(), now), repeats)
        worse = max((figures[f"{name}_night"], figures[f"{name}_day"]), key=lambda each: each["over_json"]["median"])
        for key, found in ((f"{name}_over_json", worse["over_json"]), (f"{name}_us", worse["us"]["without_calls"])):
            published |= {key: found["median"], f"{key}_spread": found}
    return {"functions": figures} | published


def _figures(parts: dict[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    rounds: list[dict[str, float]] = []
    for _ in range(repeats):
        us = {name: cpu_s(part) / NOTIFICATIONS * 1e6 for name, part in parts.items()}
        us["calls"] = us["with_calls"] - us["without_calls"]
        us["rest"] = us["without_calls"] - us["parse"] - us["judge"] - us["pack"]
        rounds.append(us)
    return {
        "over_json": spread([each["without_calls"] / each["json"] for each in rounds]),
        "us": {name: spread([each[name] for each in rounds]) for name in rounds[0]},
    }
