"""Turns: the one schedule by which all workers of all lanes call a channel, and the channel's rest.

Each channel has one item. A worker books a turn by one conditional write, at the channel's whole rate, and calls when
its turn comes (generic cell rate: the item has the instant of the next free turn). Workers do not talk to each other,
and no number of them goes beyond the rate (docs/decisions/0010-turns.md).

The same item says that a channel rests, and until when. Then one notification at a time probes it (health.py). A source
and template that a channel refuses has an item of its own, for its rest alone (delivery/templates.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from botocore.exceptions import ClientError

from ..errors import TurnsUnavailable
from .health import (
    PROBE_LEASE_S,
    Failure,
    Health,
    Judgement,
    Refusals,
    Refused,
    after_failure,
    after_no_call,
    after_refusals,
    after_success,
)
from .queues import DELAY_S_MAX

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ROUNDS_MAX = 5

EARLY_S = 3.0
"""How much earlier than the free turn an urgent one may be: as far ahead as the other lanes may have booked
(delivery/pacing.py). So what is urgent waits for nothing else."""

RETURN_FACTOR = 3.0
"""What finds no turn comes back this much faster than it can go, so that a turn seldom lacks somebody to take it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A booked turn: a call may start at `at` and not before. `health` is the channel's when it was booked."""

    at: datetime
    health: Health


@dataclass(frozen=True, slots=True)
class NoTurn:
    """Turns are booked further ahead than the lane may book."""


@dataclass(frozen=True, slots=True)
class Resting:
    """The channel rests for `delay_s` more."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """The channel has rested. One notification may probe it now, and no other worker does. `health` names the lease."""

    health: Health


class Seen(NamedTuple):
    """Where a channel's schedules stood when a process last saw them: microseconds since 1970."""

    next_us: int
    urgent_us: int

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Seen:
        return cls(int(_number(item, "next_us")), int(_number(item, "urgent_us")))


Booking = Turn | NoTurn | Resting | Probe


class Served(NamedTuple):
    """The health of a channel after a call that brought no failure."""

    health: Health


J = TypeVar("J", Judgement, Refused, Served)


class Turns:
    """The turns of all channels. Every method raises what the client raises.

    `next_turns` remembers, in a process, where each schedule stood when last seen. A schedule only moves on, so what is
    remembered is a lower bound.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        table: str,
        now: Callable[[], datetime],
        next_turns: MutableMapping[str, Seen] | None = None,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._now = now
        self._next_turns = {} if next_turns is None else next_turns

    def are_taken(self, channel: str, ahead_s: float) -> bool:
        """True if it is known, without a call, that every turn within `ahead_s` is booked."""
        return self._seen(channel).next_us > _us(self._now()) + round(ahead_s * 1e6)

    def book(
        self, channel: str, notifications: int, rate_per_s: float | None, ahead_s: float, *, is_urgent: bool = False
    ) -> Booking:
        """Book a turn for a call of so many notifications, at most `ahead_s` from now.

        `rate_per_s` None: the channel has no rate, so every turn is now. An urgent turn is up to `EARLY_S` before the
        free one, but for other urgent ones. Raises `TurnsUnavailable` too.
        """
        if rate_per_s is None:
            health = self.health(channel)
            return self._rest(channel, health) or Turn(self._now(), health)
        cost = round(notifications / rate_per_s * 1e6)
        schedules = ("next_us", "urgent_us") if is_urgent else ("next_us",)
        for _ in range(ROUNDS_MAX):
            now = _us(self._now())
            latest = now + round(ahead_s * 1e6)
            try:
                item = self._book(channel, cost, now, latest, schedules)
            except ClientError as error:
                found = _in_the_way(error)
                self._next_turns[channel] = seen = Seen.of(found)
                if rest := self._rest(channel, Health.from_item(found)):
                    return rest
                if seen.next_us > latest or (is_urgent and seen.urgent_us > latest):
                    return NoTurn()
            else:
                self._next_turns[channel] = seen = Seen.of(item)
                free = seen.next_us - cost
                at = max(seen.urgent_us - cost, free - round(EARLY_S * 1e6)) if is_urgent else free
                return Turn(_instant(at), Health.from_item(item))
        raise TurnsUnavailable("other workers kept changing the channel's item")

    def space(self, channel: str, lane: str, notifications: int, rate_per_s: float) -> float:
        """Return in how many seconds what found no turn should come back to its lane: spaced, so that a backlog does
        not come round faster than it can go. It is a hint and gives no right to send."""
        cost, name = round(notifications / rate_per_s / RETURN_FACTOR * 1e6), f"back_{lane}_us"
        now = _us(self._now())
        latest = now + (DELAY_S_MAX - 1) * 1_000_000
        try:
            item = self._update(
                channel,
                "SET #back = #back + :cost",
                "#back >= :now AND #back <= :latest",
                {"#back": name},
                {":cost": _n(cost), ":now": _n(now), ":latest": _n(latest)},
            )
        except ClientError as error:
            _in_the_way(error)
            # Nothing is on its way back, or it is spaced as far as a message can be delayed: begin again.
            item = self._update(channel, "SET #back = :back", "", {"#back": name}, {":back": _n(now + cost)})
        return min(float(DELAY_S_MAX), max(1.0, (_number(item, name) - now) / 1e6))

    def health(self, channel: str) -> Health:
        """Read a channel's health."""
        answer = self._dynamodb.get_item(TableName=self._table, Key={"channel": {"S": channel}}, ConsistentRead=True)
        return Health.from_item(answer.get("Item", {}))

    def has_failed(self, channel: str, failure: Failure) -> Judgement:
        """Record that a call delivered nothing, and judge it. Raises `TurnsUnavailable` too."""
        return self._change(channel, lambda health: after_failure(health, failure))

    def has_refused(self, pair: str, refusals: Refusals) -> Refused:
        """Record that a template was refused, and judge it. `pair`: the key of the source and template. Raises
        `TurnsUnavailable` too."""
        return self._change(pair, lambda health: after_refusals(health, refusals))

    def has_served(self, channel: str, probe: Health | None, at: datetime) -> None:
        """Record that a call delivered something. `probe`: the lease, if the call was a probe. Raises
        `TurnsUnavailable` too."""
        self._change(channel, lambda health: Served(after_success(health, probe, _us(at) // 1000)))

    def has_not_called(self, key: str, probe: Health) -> None:
        """Record that a probe has called nobody. `key`: of the channel, or of a source and template. Raises
        `TurnsUnavailable` too."""
        now_ms = _us(self._now()) // 1000
        self._change(key, lambda health: Served(after_no_call(health, probe, now_ms)))

    def _change(self, key: str, judge: Callable[[Health], J]) -> J:
        """Put the health of a judgement in place of the one that it judges. Returns the judgement."""
        for _ in range(ROUNDS_MAX):
            before = self.health(key)
            judgement = judge(before)
            if self._replace(key, before, judgement.health):
                return judgement
        raise TurnsUnavailable("other workers kept changing the item")

    def _rest(self, channel: str, health: Health) -> Resting | Probe | None:
        """None if the channel does not rest; else its rest, or the lease of a probe when the rest is over."""
        now_ms = _us(self._now()) // 1000
        if not health.rests:
            return None
        if health.rest_until_ms > now_ms:
            return Resting((health.rest_until_ms - now_ms) / 1000)
        probing = health.leased(now_ms)
        if self._replace(channel, health, probing):
            return Probe(probing)
        return Resting(PROBE_LEASE_S)  # another worker probes it

    def _replace(self, channel: str, before: Health, after: Health) -> bool:
        """Put a health in place of the one that was read. Returns False if it is another one by now."""
        if before == after:
            return True
        was, becomes = before.fields(), after.fields()
        names = {f"#{name}": name for name in was}
        conditions = [f"#{name} = :was_{name}" if was[name] else f"attribute_not_exists(#{name})" for name in was]
        sets = [f"#{name} = :new_{name}" for name in was if becomes[name]]
        removes = [f"#{name}" for name in was if not becomes[name]]
        values = {f":was_{name}": value for name, value in was.items() if value}
        values |= {f":new_{name}": value for name, value in becomes.items() if value}
        parts = ["SET " + ", ".join(sets)] * bool(sets) + ["REMOVE " + ", ".join(removes)] * bool(removes)
        try:
            self._update(channel, " ".join(parts), " AND ".join(conditions), names, values)
        except ClientError as error:
            _in_the_way(error)
            return False
        return True

    def _seen(self, channel: str) -> Seen:
        return self._next_turns.get(channel, Seen(0, 0))

    def _book(self, channel: str, cost: int, now: int, latest: int, schedules: Sequence[str]) -> dict[str, Any]:
        """Move each schedule on by the cost: from its next free turn where turns are booked for later, else from now.

        Which of the two it is, is a guess by what was last seen; the condition of the write tells if it is right.
        """
        changes, conditions = [], ["attribute_not_exists(#rest_until_ms)"]
        values = {":cost": _n(cost), ":now": _n(now), ":latest": _n(latest), ":next": _n(now + cost)}
        are_booked = [getattr(self._seen(channel), name) >= now for name in schedules]
        for name, is_booked in zip(schedules, are_booked, strict=True):
            changes.append(f"#{name} = #{name} + :cost" if is_booked else f"#{name} = :next")
            booked = f"#{name} >= :now AND #{name} <= :latest"
            conditions.append(booked if is_booked else f"(attribute_not_exists(#{name}) OR #{name} < :now)")
        if not any(are_booked):
            del values[":cost"], values[":latest"]
        if all(are_booked):
            del values[":next"]
        names = {f"#{name}": name for name in (*schedules, "rest_until_ms")}
        return self._update(channel, "SET " + ", ".join(changes), " AND ".join(conditions), names, values)

    def _update(
        self, channel: str, change: str, condition: str, names: Mapping[str, str], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change a channel's item, and return it as it is then."""
        options: dict[str, Any] = {"ExpressionAttributeValues": dict(values)} if values else {}
        if condition:
            options |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key={"channel": {"S": channel}},
            UpdateExpression=change,
            ExpressionAttributeNames=dict(names),
            ReturnValues="ALL_NEW",
            **options,
        )
        return dict(answer["Attributes"])


def _in_the_way(error: ClientError) -> dict[str, Any]:
    """The item whose condition failed. Raises any other error."""
    if error.response.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
        raise error
    response: Any = error.response
    return dict(response.get("Item", {}))


def _number(item: Mapping[str, Any], name: str) -> float:
    return float(item.get(name, {}).get("N", "0"))


def _n(number: int) -> dict[str, str]:
    return {"N": str(number)}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _instant(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND
