"""A channel's health: if it rests, until when, and whom a failed call blames. It makes no call.

A channel rests when it delivers nothing, and is then probed: by one notification at a time over all workers, after a
time that doubles from 5 seconds to 15 minutes. So an outage costs time only, whatever its kind.

A call may also fail through the fault of what it carries. One notification that fails while nothing else is known is
tried again more and more rarely, and the channel goes on for the others. A second one that fails before anything was
delivered says that the channel is at fault.

A template that a provider refuses rests in the same way, for one source: it costs nothing to anybody else. Its item has
a key of its own (delivery/templates.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

FIRST_REST_S = 5.0
REST_S_MAX = 900.0
"""Some 55 probes in twelve hours."""

PROBE_LEASE_S = 30.0
"""The time for a probe: a call's deadline, and the writes around it. Then another worker may probe."""

WORKED_S = 900.0
"""A failure counts against its notification where the channel has delivered within this time, and nothing has failed
since."""


REFUSALS_MAX = 3
"""So many notifications of one source and template, refused for their template one after the other, make the two rest.
The ones before the last of them are dead-lettered."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a channel, as its item has it. Times are milliseconds since 1970; 0 stands for none.

    `served_ms`: its last delivery, a few seconds old. `failed`: the id of the notification that failed since then, at
    `failed_ms`; `failed_s`: the wait before that one is tried again. `rest_s`: the present rest; it ends at
    `rest_until_ms`, when a probe may begin. `refused`: for a source and template, the ids of the notifications that
    were refused since the last delivery.
    """

    served_ms: int = 0
    failed: str = ""
    failed_ms: int = 0
    failed_s: float = 0
    rest_s: float = 0
    rest_until_ms: int = 0
    refused: tuple[str, ...] = ()

    @property
    def rests(self) -> bool:
        return self.rest_until_ms > 0

    def leased(self, now_ms: int) -> Health:
        """The health while a probe is under way: `rest_until_ms` is the end of its lease."""
        return replace(self, rest_until_ms=now_ms + round(PROBE_LEASE_S * 1000))

    def fields(self) -> dict[str, Any]:
        """The attributes of the item; None for one that is not there."""
        return {
            "served_ms": {"N": str(self.served_ms)} if self.served_ms else None,
            "failed": {"S": self.failed} if self.failed else None,
            "failed_ms": {"N": str(self.failed_ms)} if self.failed_ms else None,
            "failed_s": {"N": f"{self.failed_s:g}"} if self.failed_s else None,
            "rest_s": {"N": f"{self.rest_s:g}"} if self.rest_s else None,
            "rest_until_ms": {"N": str(self.rest_until_ms)} if self.rest_until_ms else None,
            "refused": {"S": " ".join(self.refused)} if self.refused else None,  # an id has no space
        }

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Health:
        """The health in a channel's item."""
        return cls(
            served_ms=int(_number(item, "served_ms")),
            failed=item.get("failed", {}).get("S", ""),
            failed_ms=int(_number(item, "failed_ms")),
            failed_s=_number(item, "failed_s"),
            rest_s=_number(item, "rest_s"),
            rest_until_ms=int(_number(item, "rest_until_ms")),
            refused=tuple(item.get("refused", {}).get("S", "").split()),
        )


class Failure(NamedTuple):
    """A call that delivered nothing.

    `id`: of a notification in it. `is_certain`: its answer says that the channel is at fault, or the provider cannot be
    asked twice. `asks_s`: how long the provider asks to be left alone, 0 if it does not say. `served_ms`: the last
    delivery that the caller knows of, which the channel's item may not have yet. `probe`: the lease of a probe, None
    for other calls.
    """

    id: str
    began_ms: int
    ended_ms: int
    is_certain: bool
    asks_s: float = 0
    served_ms: int = 0
    probe: Health | None = None


class Judgement(NamedTuple):
    """The channel's health after a failure; if the failure counts against the notification; the wait before it is tried
    again where it does not; and if the channel begins to rest with it."""

    health: Health
    blames: bool
    wait_s: float
    begins_rest: bool = False


class Refusals(NamedTuple):
    """The notifications of one source and template that a call brought back because the provider refuses the template.
    `probe`: the lease, if one of them was a probe."""

    ids: Sequence[str]
    ended_ms: int
    probe: Health | None = None


class Refused(NamedTuple):
    """The health of a source and template after a refusal; the ids that are dead-lettered; and the wait of the
    others."""

    health: Health
    dead_lettered: frozenset[str]
    wait_s: float


def after_refusals(health: Health, refusals: Refusals) -> Refused:
    """Judge refusals of a template. A call of which anything of the same source and template was delivered has none."""
    if refusals.probe is not None and health.rest_until_ms == refusals.probe.rest_until_ms:
        health = _resting(health, 2 * health.rest_s, refusals.ended_ms)
    if health.rests:
        return Refused(health, frozenset(), _left_s(health, refusals.ended_ms))
    new = [id for id in refusals.ids if id not in health.refused]
    room = max(0, REFUSALS_MAX - 1 - len(health.refused))
    dead_lettered = frozenset(refusals.ids) - frozenset(new[room:])
    if len(new) <= room:
        return Refused(replace(health, refused=(*health.refused, *new)), dead_lettered, 0)
    health = _resting(health, FIRST_REST_S, refusals.ended_ms)
    return Refused(health, dead_lettered, _left_s(health, refusals.ended_ms))


def after_failure(health: Health, failure: Failure) -> Judgement:
    """Judge a failed call."""
    if failure.probe is not None:
        if health.rest_until_ms == failure.probe.rest_until_ms:
            health = _resting(health, max(2 * health.rest_s, failure.asks_s), failure.ended_ms)
        return _rests(health, failure)
    if health.rests:
        if failure.is_certain and failure.ended_ms + failure.asks_s * 1000 > health.rest_until_ms:
            health = _resting(health, max(health.rest_s, failure.asks_s), failure.ended_ms)
        return _rests(health, failure)
    if failure.is_certain:
        return _begins(health, failure)
    if failure.served_ms > max(health.served_ms, health.failed_ms):
        health = after_success(health, None, failure.served_ms)
    if health.served_ms > failure.began_ms:  # the channel went on meanwhile
        return Judgement(health, True, 0)
    if not health.failed:
        works = health.served_ms > failure.ended_ms - WORKED_S * 1000
        return _suspects(health, failure, FIRST_REST_S, works)
    if health.failed == failure.id:
        return _suspects(health, failure, min(REST_S_MAX, 2 * health.failed_s), False)
    return _begins(health, failure)


def after_success(health: Health, probe: Health | None, at_ms: int) -> Health:
    """The health after a delivery. Only a probe ends a rest: the calls before it may have begun before the outage."""
    served_ms = max(health.served_ms, at_ms)
    if health.rests and (probe is None or probe.rest_until_ms != health.rest_until_ms):
        return replace(health, served_ms=served_ms)
    return Health(served_ms=served_ms)


def after_no_call(health: Health, probe: Health, now_ms: int) -> Health:
    """The health after a probe that called nobody: its lease is over, and another notification may probe at once."""
    return replace(health, rest_until_ms=now_ms) if health.rest_until_ms == probe.rest_until_ms else health


def _suspects(health: Health, failure: Failure, wait_s: float, blames: bool) -> Judgement:
    failed = replace(health, failed=failure.id, failed_ms=failure.ended_ms, failed_s=wait_s)
    return Judgement(failed, blames, wait_s)


def _resting(health: Health, rest_s: float, now_ms: int) -> Health:
    rest_s = min(REST_S_MAX, rest_s)
    return Health(served_ms=health.served_ms, rest_s=rest_s, rest_until_ms=now_ms + round(rest_s * 1000))


def _begins(health: Health, failure: Failure) -> Judgement:
    health = _resting(health, max(FIRST_REST_S, failure.asks_s), failure.ended_ms)
    return _rests(health, failure)._replace(begins_rest=True)


def _rests(health: Health, failure: Failure) -> Judgement:
    return Judgement(health, False, _left_s(health, failure.ended_ms))


def _left_s(health: Health, now_ms: int) -> float:
    return max(1, (health.rest_until_ms - now_ms) / 1000)


def _number(item: Mapping[str, Any], name: str) -> float:
    return float(item.get(name, {}).get("N", "0"))
