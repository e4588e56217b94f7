"""Planted mistakes in lanes, turns, and the rest of a channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any

from lambdas.quiet_hours.channels.channel import Outcome
from lambdas.quiet_hours.delivery import pacing
from lambdas.quiet_hours.delivery.aftermath import Aftermath
from lambdas.quiet_hours.delivery.calls import Calls
from lambdas.quiet_hours.delivery.claiming import Claimer
from lambdas.quiet_hours.delivery.delivery import Delivery
from lambdas.quiet_hours.delivery.templates import Templates
from lambdas.quiet_hours.stores import consents, entries, ledger, unprocessed
from lambdas.quiet_hours.stores.health import Health, Judgement
from lambdas.quiet_hours.stores.turns import Probe, Turn, Turns

from . import providers
from .planting import Patch, calls, consumer, health, plant, producer, turns

# --- turns ------------------------------------------------------------------------------------------------------------


@plant("08:00 surge: nobody books a turn", "paced")
def does_not_pace() -> list[Patch]:
    return [(Turns, "book", lambda self, *_, **__: Turn(self._now(), Health()))]


@plant("08:00 surge: each lane has a schedule of its own", "paced")
def takes_the_whole_rate_for_a_lane() -> list[Patch]:
    book = Calls._book

    def by_lane(self: Calls, notifications: int) -> Any:
        return book(replace(self, name=f"{self.name} of {self.lane}"), notifications)

    return [(Calls, "_book", by_lane)]


@plant("08:00 surge: each process has a schedule of its own", "paced")
def keeps_its_turns_to_itself() -> list[Patch]:
    book = Calls._book

    def alone(self: Calls, notifications: int) -> Any:
        return book(replace(self, name=f"{self.name} of {id(self.memory)}"), notifications)

    return [(Calls, "_book", alone)]


@plant("08:00 surge: a backed-up lane of a provider that takes many a call", "paced")
def sends_a_whole_bundle_in_one_call() -> list[Patch]:
    whole: Callable[[Any], int] = lambda channel: channel.batch_size  # noqa: E731
    return [(calls, "in_a_turn", whole), (calls, "in_a_call", whole)]


@plant("08:00 surge: a call of many costs as much as one of one", "paced")
def books_one_for_many() -> list[Patch]:
    book = Turns.book

    def cheaply(self: Turns, channel: str, notifications: int, *more: Any, **options: Any) -> Any:
        return book(self, channel, 1, *more, **options)

    return [(Turns, "book", cheaply)]


@plant("08:00 surge: the next turn is put in place of one that another has booked", "paced")
def books_without_condition() -> list[Patch]:
    update = Turns._update

    def careless(self: Turns, channel: str, change: str, condition: str, names: Any, values: Any) -> Any:
        condition = "attribute_not_exists(#rest_until_ms)" if "#next_us" in names else condition
        used = {name: value for name, value in values.items() if name in change}
        if "#next_us = :next" not in change:
            return update(self, channel, change, condition, names, values)
        return update(self, channel, change, condition, names, used)

    book = Turns._book

    def from_now(self: Turns, channel: str, *more: Any) -> Any:
        self._next_turns.pop(channel, None)
        return book(self, channel, *more)

    return [(Turns, "_update", careless), (Turns, "_book", from_now)]


@plant("what finds no turn", "conserved")
def drops_what_finds_no_turn() -> list[Patch]:
    give_back = Delivery._give_back_left

    def some(self: Delivery, calls: Any, items: Any, after: Any) -> None:
        calls.left = calls.left[:-1] if calls.lacks_turns else calls.left
        give_back(self, calls, items, after)

    return [(Delivery, "_give_back_left", some)]


# --- lanes ------------------------------------------------------------------------------------------------------------


@plant("a critical one behind the day's others", "critical_on_time")
def critical_takes_the_lane_of_the_bulk() -> list[Patch]:
    send_all, lanes = producer.send, consumer._lanes

    def to_entry(sqs: Any, url: str, *more: Any) -> Any:
        return send_all(sqs, url.replace("/urgent", "/notification"), *more)

    def to_schedule(items: Any, settings: Any) -> Any:
        return {settings.schedule_queue_url: items} if items else lanes(items, settings)

    return [(producer, "send", to_entry), (consumer, "_lanes", to_schedule)]


@plant("a critical one books no further ahead than the bulk", "critical_on_time")
def urgent_books_as_the_bulk_does() -> list[Patch]:
    book = Turns.book
    ahead = MappingProxyType({"urgent": 0.9, "delivery": 900.0, "schedule": 900.0})

    def alike(self: Turns, *args: Any, is_urgent: bool = False) -> Any:
        return book(self, *args)

    return [(Turns, "book", alike), (pacing, "AHEAD_S", ahead)]


@plant("what is moved off the urgent lane", "conserved")
def loses_what_it_moves() -> list[Patch]:
    return [(Aftermath, "move", lambda self, items, lane_url: None)]


# --- rest and probe ---------------------------------------------------------------------------------------------------


def _judging_failures(change: Callable[[Judgement, Any, Any], Judgement]) -> list[Patch]:
    right = health.after_failure
    return [(turns, "after_failure", lambda before, failure: change(right(before, failure), before, failure))]


@plant("an outage: every failure counts against its notification", "blameless", "left_alone")
def blames_the_notification_for_an_outage() -> list[Patch]:
    return _judging_failures(lambda judged, before, failure: Judgement(before, True, 1))


@plant("an outage: the channel is never left alone", "left_alone")
def never_rests() -> list[Patch]:
    return _judging_failures(lambda judged, before, failure: Judgement(before, False, 1))


@plant("an outage: the rest does not grow", "left_alone")
def rests_as_long_each_time() -> list[Patch]:
    return [(health, "REST_S_MAX", 5.0)]


@plant("an outage: everybody probes", "left_alone")
def probes_without_a_lease() -> list[Patch]:
    return [(Turns, "_rest", lambda self, channel, health: None), (Calls, "_rest_known", lambda self: False)]


@plant("an outage: a probe carries a whole bundle", "left_alone")
def probes_with_everything() -> list[Patch]:
    book = Turns.book

    def at_once(self: Turns, *args: Any, **options: Any) -> Any:
        booking = book(self, *args, **options)
        return Turn(self._now(), booking.health) if isinstance(booking, Probe) else booking

    return [(Turns, "book", at_once)]


@plant("an outage: a rest that no probe ends", "settled")
def rests_for_ever() -> list[Patch]:
    right = health.after_success

    def rests_on(before: Any, probe: Any, at_ms: int) -> Any:
        return replace(before, rest_until_ms=at_ms + 900_000) if before.rests else right(before, probe, at_ms)

    return [(turns, "after_success", rests_on)]


@plant("a slip: a channel without settings gives up what it gets", "blameless")
def gives_up_without_settings() -> list[Patch]:
    outcome = providers.outage_outcome

    def rejecting(outage: Any, rule: Any) -> Outcome:
        found = outcome(outage, rule)
        return replace(found, kind="rejected") if found.kind == "misconfigured" else found

    return [(providers, "outage_outcome", rejecting)]


@plant("a slip: a secret that cannot be read", "conserved")
def drops_a_bundle_without_secret() -> list[Patch]:
    settle = Delivery._settle_channel

    def dropping(self: Delivery, *args: Any) -> Any:
        after = settle(self, *args)
        return Aftermath() if after.counts["secret_unavailable"] else after

    return [(Delivery, "_settle_channel", dropping)]


@plant("a slip: each notification by a template that is refused is given up", "blameless")
def gives_up_each_by_a_refused_template() -> list[Patch]:
    return [(Templates, "note", lambda *_: {})]


# --- claims and reads -------------------------------------------------------------------------------------------------


@plant("a first look that takes another's claim for an ending", "conserved")
def takes_a_busy_item_for_an_ended_one() -> list[Patch]:
    look = Claimer.first_look

    def hasty(self: Claimer, can_resend: bool, items: Any, after: Any) -> Any:
        found = self.ledger.read_all(item.id for item in items)
        free = [item for item in items if item.id not in found or not found[item.id].owner]
        return look(self, can_resend, free, after)

    return [(Claimer, "first_look", hasty)]


@plant("reads that are not consistent", "never_after_opt_out", "never_early")
def reads_consents_as_they_come() -> list[Patch]:
    read = unprocessed.read_batch

    def stale(dynamodb: Any, table: str, *more: Any) -> Any:
        def batch_get_item(*, RequestItems: Any) -> Any:
            loose = {name: {**asked, "ConsistentRead": False} for name, asked in RequestItems.items()}
            return dynamodb.batch_get_item(RequestItems=loose)

        client: Any = SimpleNamespace(batch_get_item=batch_get_item)
        return read(client, table, *more)

    return [(consents, "read_batch", stale)]


@plant("time to live that is shorter than a message's", "effectively_once")
def forgets_within_the_hour() -> list[Patch]:
    return [(entries, "KEEP", timedelta(minutes=10))]


@plant("DynamoDB leaves items unprocessed", "conserved", "blameless", "effectively_once")
def takes_unprocessed_for_written() -> list[Patch]:
    def hopeful(dynamodb: Any, table: str, items: list[Any], tries: Any) -> None:
        dynamodb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in items]})
        items.clear()

    return [(ledger, "put_batch", hopeful)]
