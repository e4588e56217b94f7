"""The wait queues that the policies of a deployment need: one for each distinct opening rule.

A wait queue cannot be read in part. So what is held on one queue must open at the same instants, and the queue is
drained while none of its closures is open. Synthesis and functions work the rules out from the same closures.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from datetime import time
from functools import lru_cache

from .closure import CATEGORIES, CHANNELS, EVERY_DAY, Closure

Closures = tuple[Closure, ...]
DAY_MIN = 24 * 60


@lru_cache(maxsize=256)
def opening_rules(policies: tuple[Closures, ...]) -> tuple[Closures, ...]:
    """The closures of each wait queue, for the closures of each policy. There is at least one queue."""
    members: dict[Hashable, dict[Closure, None]] = {}
    for group in _groups_of_all(policies):
        members.setdefault(_opening(group), {}).update(dict.fromkeys(group))
    return tuple(tuple(each) for each in members.values()) or ((),)


@lru_cache(maxsize=1024)
def wait_queue(group: Closures, policies: tuple[Closures, ...]) -> int:
    """The number of the wait queue for what this group of a policy's closures holds, from 0. It is 0 for closures that
    hold nothing together, such as all those of a policy."""
    openings = list(dict.fromkeys(_opening(each) for each in _groups_of_all(policies)))
    opening = _opening(group)
    return openings.index(opening) if opening in openings else 0


def _groups_of_all(policies: tuple[Closures, ...]) -> Iterator[Closures]:
    return (group for closures in policies for group in _groups(closures))


def _groups(closures: Closures) -> Iterator[Closures]:
    """The closures that hold together: those that apply to a category and channel, without a night consent and with
    one. Those without one come first, because most have none."""
    for may_consent in (False, True):
        for category in CATEGORIES:
            for channel in CHANNELS:
                group = tuple(
                    each
                    for each in closures
                    if each.applies(category, channel) and not (may_consent and each.consent_opens)
                )
                if group:
                    yield group


def _opening(group: Closures) -> Hashable:
    """What two groups must have in common to open at the same instants.

    Where the closures of a group make one window of every day, it is the end of that window: whenever something is
    held, it opens then, whatever the beginning. So KakaoTalk's hours from 20:50 and the night from 21:00 share a queue.
    Any other group shares a queue only with the same windows.
    """
    zones = {each.zone.key for each in group}
    if len(zones) == 1 and all(each.weekdays == EVERY_DAY for each in group):
        windows = [(_minutes(each.start), (_minutes(each.end) - _minutes(each.start)) % DAY_MIN) for each in group]
        ends = _ends(windows)
        if len(ends) == 1:
            return ends[0], zones.pop()
    return frozenset(
        (each.start, each.end, each.ends_next_day, each.zone.key, each.weekdays, each.dates) for each in group
    )


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute


def _ends(windows: list[tuple[int, int]]) -> list[int]:
    """The ends of daily windows, each a start and a length in minutes, after those that overlap are joined."""
    joined: list[tuple[int, int]] = []
    for start, length in windows:
        for place, (other, other_length) in enumerate(joined):
            if (start - other) % DAY_MIN <= other_length:
                joined[place] = other, max(other_length, (start - other) % DAY_MIN + length)
                break
            if (other - start) % DAY_MIN <= length:
                joined[place] = start, max(length, (other - start) % DAY_MIN + other_length)
                break
        else:
            joined.append((start, length))
    if len(joined) < len(windows):
        return _ends(joined)
    return sorted((start + length) % DAY_MIN for start, length in joined)
