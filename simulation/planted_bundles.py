"""Planted mistakes in the ledger and in the handling of bundles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lambdas.quiet_hours.channels.channel import Outcome
from lambdas.quiet_hours.delivery.aftermath import Aftermath
from lambdas.quiet_hours.delivery.calls import Calls
from lambdas.quiet_hours.delivery.delivery import Delivery
from lambdas.quiet_hours.errors import Unreadable
from lambdas.quiet_hours.stores.ledger import Ledger

from . import topology
from .planting import (
    Patch,
    aftermath,
    blind,
    bundle,
    calls,
    claiming,
    consumer,
    delivery,
    ledger,
    plant,
    producer,
    status,
    timings,
    verdicts,
)
from .world import Process

# --- ledger -----------------------------------------------------------------------------------------------------------


@plant("duplicates and reordering", "ends_once", "effectively_once", "never_after_ending")
def claims_without_condition() -> list[Patch]:
    def always(entry: Any) -> Any:
        return ledger.Put(entry, "#id <> :nobody", {"#id": "id"}, {":nobody": {"S": ""}})

    return [(ledger, "absent", always)]


@plant("redriven message has a new message id", "effectively_once")
def keys_by_message_id() -> list[Patch]:
    read = delivery.read

    def read_by_message(record: Any) -> Any:
        items, invalid = read(record)
        keyed = [
            item._replace(notification={**item.notification, "id": f"{record['messageId']}:{index}"})
            for index, item in enumerate(items)
        ]
        return keyed, invalid

    return [(delivery, "read", read_by_message)]


@plant("redriven message has a new message id", "effectively_once")
def makes_a_new_id_at_every_receive() -> list[Patch]:
    read = consumer.read

    def read_with_count(record: Any) -> Any:
        count = record["attributes"]["ApproximateReceiveCount"]
        items, invalid = read({**record, "messageId": f"{record['messageId']}.{count}"})
        return [item._replace(message_id=record["messageId"]) for item in items], invalid

    return [(consumer, "read", read_with_count)]


@plant("function killed mid-bundle with the claim held", "settled")
def claims_for_ever() -> list[Patch]:
    return [(timings, "LEASE_S", 10**9)]


@plant("visibility under 6x the function's timeout; a second concurrent run", "never_after_ending", "ends_once")
def lease_ends_before_the_call() -> list[Patch]:
    return [(timings, "LEASE_S", 3), (timings, "LANE_VISIBILITY_S", 5)]


@plant("the same bundle alive twice", "conserved")
def drops_what_another_has_claimed() -> list[Patch]:
    claim = Ledger.claim

    def forgetful(self: Ledger, *args: Any, **options: Any) -> Any:
        claims = claim(self, *args, **options)
        claims.busy.clear()
        return claims

    return [(Ledger, "claim", forgetful)]


@plant("timeout after the provider accepted", "effectively_once")
def takes_no_answer_for_not_sent() -> list[Patch]:
    send = Calls._send

    def hopeful(self: Calls, *args: Any) -> Any:
        return [replace(each, kind="retry") if each.kind == "unknown" else each for each in send(self, *args)]

    return [(Calls, "_send", hopeful)]


@plant("killed after the provider accepted", "effectively_once")
def does_not_note_that_a_call_begins() -> list[Patch]:
    claim = Ledger.claim

    def unmarked(self: Ledger, *args: Any, sending: bool = False) -> Any:
        return claim(self, *args)

    return [(Ledger, "claim", unmarked)]


@plant("a turn that is given up", "conserved", "blameless")
def loses_what_it_gave_up() -> list[Patch]:
    return [(Calls, "_give_up", lambda self, call, after: None)]


@plant("a transaction conflict at an ending", "conserved")
def takes_a_conflict_for_a_write() -> list[Patch]:
    def careless(self: Ledger, entries: Any, now: Any) -> None:
        if puts := [ledger.owned(entry, self._owner) for entry in entries]:
            self._transact(puts, now)

    return [(Ledger, "_settle", careless)]


@plant("poison item", "settled")
def forgets_the_attempts() -> list[Patch]:
    take_over = Ledger._take_over

    def fresh(self: Ledger, found: Any, mine: Any) -> Any:
        return replace(take_over(self, found, mine), attempts=0)

    return [(Ledger, "_take_over", fresh)]


@plant("cancels racing with release", "cancelled_is_cancelled", "ends_once", "never_after_ending")
def cancel_overwrites_a_claim() -> list[Patch]:
    unchanged = ledger.unchanged

    def cancel_all(self: Ledger, ids: Any, now: Any) -> dict[str, str]:
        entries = {id_: ledger.ended(ledger.Entry(id_, "claimed"), "cancelled", now) for id_ in ids}
        puts = {id_: ledger.absent(entry) for id_, entry in entries.items()}
        for _ in range(ledger.ROUNDS_MAX):
            failed = self._put(puts.values(), now)
            puts = {
                id_: unchanged(found, entries[id_])
                for id_, found in failed.items()
                if found and found.state == "claimed"
            }
            if not puts:
                break
        return dict.fromkeys(entries, "cancelled")

    return [(Ledger, "cancel_all", cancel_all)]


@plant("cancels racing with release: too late is said to be in time", "cancelled_is_cancelled")
def cancel_is_not_honest() -> list[Patch]:
    cancel = status.cancel

    def hopeful(*args: Any) -> Any:
        return [{**result, "outcome": "cancelled"} for result in cancel(*args)]

    return [(status, "cancel", hopeful)]


@plant("a call without an answer, and then a cancel or an expiry", "cancelled_is_cancelled", "conserved")
def forgets_open_calls() -> list[Patch]:
    released = calls.released

    def clean(*args: Any, sending: bool = False, **options: Any) -> Any:
        return released(*args, **options)

    return [(module, "released", clean) for module in (calls, claiming, verdicts)]


@plant("cancels racing with release: no answer is taken for a yes", "cancelled_is_cancelled")
def cancel_takes_no_answer_for_done() -> list[Patch]:
    cancel = status.cancel

    def hopeful(*args: Any) -> Any:
        results = cancel(*args)
        return [{**each, "outcome": "cancelled"} if each["outcome"] == "not_known" else each for each in results]

    return [(status, "cancel", hopeful)]


@plant("an id used twice: the fingerprint is not compared", "ids_kept")
def compares_no_fingerprints() -> list[Patch]:
    return [(ledger, "may_be_the_same", lambda one, other: True)]


@plant("an id used twice: within one bundle", "ids_kept")
def takes_an_id_in_a_bundle_for_a_repeat() -> list[Patch]:
    return [(delivery, "_without_repeats", lambda items: list({item.id: item for item in reversed(items)}.values()))]


@plant("an id used twice: the later one ends the first", "conserved", "ends_once", "never_after_ending")
def a_reused_id_ends_the_first() -> list[Patch]:
    refuse = Aftermath.refuse

    def ending(self: Aftermath, item: Any, code: str, why: str) -> None:
        refuse(self, item, code, why)
        self.delivered.append(ledger.Entry(item.id, "claimed"))

    return [(Aftermath, "refuse", ending)]


# --- worker, consumer, producer: the handling of bundles --------------------------------------------------------------


@plant("poison item: a bundle that comes again is split", "blameless")
def does_not_split() -> list[Patch]:
    deliver = Delivery.deliver

    def whole(self: Delivery, record: Any) -> Any:
        return deliver(self, {**record, "attributes": {**record["attributes"], "ApproximateReceiveCount": "1"}})

    return [(Delivery, "deliver", whole)]


@plant("poison item: a bundle that comes again is split", "conserved")
def split_forgets_an_item() -> list[Patch]:
    split = delivery._split
    return [(delivery, "_split", lambda items: split(items[:-1]))]


@plant("malformed arrays: more items than a bundle may have", "conserved")
def reads_arrays_of_any_length() -> list[Patch]:
    unpack = bundle.unpack
    return [(bundle, "unpack", lambda body, items_max: unpack(body))]


@plant("one bad item never takes its neighbours with it", "conserved")
def fails_the_bundle_for_one_item() -> list[Patch]:
    read = consumer.read

    def strict(record: Any) -> Any:
        items, invalid = read(record)
        if invalid:
            raise Unreadable("one of them is wrong")
        return items, invalid

    return [(consumer, "read", strict)]


@plant("one bad item never takes its neighbours with it", "blameless")
def rejects_the_batch_for_one_item() -> list[Patch]:
    send = Calls._send

    def all_or_none(self: Calls, *args: Any) -> Any:
        outcomes = send(self, *args)
        if any(each.kind == "rejected" for each in outcomes):
            return [Outcome("rejected", "http_400: the call was refused")] * len(outcomes)
        return outcomes

    return [(Calls, "_send", all_or_none)]


@plant("partial success of SendMessageBatch", "conserved")
def worker_ignores_failed() -> list[Patch]:
    return [(aftermath, "send", blind(aftermath.send))]


@plant("partial success of SendMessageBatch", "conserved")
def consumer_ignores_failed() -> list[Patch]:
    return [(consumer, "send", blind(consumer.send))]


@plant("partial success of SendMessageBatch", "conserved")
def producer_ignores_failed() -> list[Patch]:
    return [(producer, "send", blind(producer.send))]


@plant("crash between two writes", "conserved")
def records_a_dead_letter_before_sending_it() -> list[Patch]:
    apply = Aftermath.apply

    def ending_first(self: Aftermath, lane: str, sqs: Any, ledger: Ledger, settings: Any, now: Any) -> bool:
        try:
            ledger.end([letter.ending for letter in self.letters if letter.ending], now())
        except Exception:
            return False
        return apply(self, lane, sqs, ledger, settings, now)

    return [(Aftermath, "apply", ending_first)]


@plant("frozen process resumes a thread at night", "conserved")
def sends_in_the_background() -> list[Patch]:
    def unjoined(self: Process, function: Any, items: Any, at_once: int) -> list[Any]:
        for item in items:
            self.world.at(self.world.t + 60, _resumed, self.world, function, item)
        return []

    return [(Process, "side_by_side", unjoined)]


def _resumed(world: Any, function: Any, item: Any) -> None:
    Process(world, "thawed").start(lambda: function(item), lambda result: None)


@plant("throttling raises the receive count", "has_reason", "conserved")
def allows_three_receives() -> list[Patch]:
    return [(topology, "LANE_RECEIVES_MAX", 3), (topology, "ENTRY_RECEIVES_MAX", 3), (topology, "WAIT_RECEIVES_MAX", 3)]


@plant("malformed partial batch response", "conserved")
def worker_answers_that_all_is_well() -> list[Patch]:
    deliver = Delivery.deliver
    return [(Delivery, "deliver", lambda self, record: deliver(self, record)._replace(settled=True))]
