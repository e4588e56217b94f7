"""Planted mistakes in the scheduler, in the rule with its bounds, and in what the rule reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from lambdas.quiet_hours.channels import configuration as config
from lambdas.quiet_hours.channels.webhook import WebhookChannel
from lambdas.quiet_hours.consents.record import consent_of
from lambdas.quiet_hours.rule.terms import Consent, Drop, Send
from lambdas.quiet_hours.stores import consents as consent

from . import functions
from .planting import (
    Patch,
    admission,
    blind,
    calls,
    consumer,
    counting,
    delivery,
    judging,
    newest,
    plant,
    scheduler,
    settings,
)
from .providers import FakeChannel

# --- scheduler --------------------------------------------------------------------------------------------------------


@plant("delete before send", "conserved")
def deletes_before_it_sends() -> list[Patch]:
    receive = scheduler._receive

    def receive_and_delete(sqs: Any, settings: Any) -> list[Any]:
        received = receive(sqs, settings)
        if received:
            scheduler.delete(sqs, settings.wait_queue_url, [each.handle for each in received])
        return list(received)

    return [(scheduler, "_receive", receive_and_delete)]


@plant("partial success of SendMessageBatch", "conserved")
def scheduler_ignores_failed() -> list[Patch]:
    return [(scheduler, "send", blind(scheduler.send))]


@plant("short poll returns a false empty", "settled")
def takes_a_short_poll_for_empty() -> list[Patch]:
    # One drain a night: the next minute's run would find what this one misses.
    return [(scheduler, "POLL_S", 0), (scheduler, "EMPTY_RECEIVES", 1), (functions.Triggers, "_minute", lambda _: None)]


@plant(
    "async or scheduled triggers fire 0, 1 or 2 times, or late; held at 07:59:59, arrives after the drain", "settled"
)
def has_no_minute_rule() -> list[Patch]:
    return [(functions.Triggers, "_minute", lambda _: None)]


@plant("receiving from wait at night", "wait_untouched")
def receives_at_night() -> list[Patch]:
    return [(scheduler, "quiet_until", lambda now, policy: None)]


@plant("released on time", "released_on_time")
def releases_minutes_late() -> list[Patch]:
    quiet_until = scheduler.quiet_until
    late = timedelta(minutes=3)

    def still_quiet(now: Any, policy: Any) -> Any:
        return quiet_until(now, policy) or quiet_until(now - late, policy)

    return [(scheduler, "quiet_until", still_quiet)]


@plant("redrive at night", "conserved", "settled")
def scheduler_forgets_attributes() -> list[Patch]:
    received = scheduler.received
    return [(scheduler, "received", lambda message: received({**message, "MessageAttributes": {}}))]


# --- the rule for an unknown outcome ----------------------------------------------------------------------------------


@plant("unknown outcome: a provider without a key, set to dead_letter", "effectively_once")
def sends_again_whatever_the_setting() -> list[Patch]:
    return [(config, "can_resend", lambda *_: True)]


@plant("unknown outcome: a provider without a key, set to resend", "unknown_by_rule")
def gives_up_whatever_the_setting() -> list[Patch]:
    return [(config, "can_resend", lambda *_: False)]


@plant("unknown outcome: a provider with a key", "unknown_by_rule")
def takes_a_keyed_provider_for_one_without() -> list[Patch]:
    return [(WebhookChannel, "can_resend", False)]


@plant("unknown outcome: a provider with a key", "effectively_once")
def sends_again_under_another_id() -> list[Patch]:
    send = FakeChannel.send

    def renamed(self: FakeChannel, notifications: Any) -> Any:
        again = [{**each, "id": f"{each['id']}@{self._process.world.t:.0f}"} for each in notifications]
        return send(self, again if self._provider.kind.rule == "keyed" else notifications)

    return [(FakeChannel, "send", renamed)]


# --- the rule and its bounds ------------------------------------------------------------------------------------------


def _worker_policy(**change: Any) -> list[Patch]:
    decide = delivery.decide

    def changed(notification: Any, consent: Any, now: Any, policy: Any) -> Any:
        return decide(notification, consent, now, replace(policy, **change))

    return judging(changed)


@plant("cleared at 20:59:59, sent after 21:00", "never_early")
def worker_has_no_guard() -> list[Patch]:
    return _worker_policy(guard=timedelta(0))


@plant("clock skew, long pause before the call", "never_early")
def guard_covers_the_deadline_only() -> list[Patch]:
    return _worker_policy(guard=timedelta(seconds=10))


@plant("the schedule fires anywhere in 08:00:00 to 08:00:59; clock skew", "never_early", "wait_untouched")
def trusts_its_clock_in_the_morning() -> list[Patch]:
    quiet_hours = settings.Settings.quiet_hours
    return [(settings.Settings, "quiet_hours", lambda self: replace(quiet_hours(self), skew=timedelta(0)))]


@plant("daylight saving", "never_early", "wait_untouched")
def knows_no_daylight_saving() -> list[Patch]:
    quiet_hours = settings.Settings.quiet_hours
    fixed = {"America/New_York": "Etc/GMT+4"}

    def at_a_fixed_offset(self: Any) -> Any:
        right = quiet_hours(self)
        zone = ZoneInfo(fixed.get(right.zone.key, right.zone.key))
        return replace(right, closures=tuple(replace(each, zone=zone) for each in right.closures))

    return [(settings.Settings, "quiet_hours", at_a_fixed_offset)]


@plant("lanes that back up past 21:00", "never_early")
def worker_does_not_judge() -> list[Patch]:
    decide = delivery.decide

    def as_the_consumer_said(*args: Any) -> Any:
        decision = decide(*args)
        return decision if isinstance(decision, Drop) else Send("the consumer has judged")

    return judging(as_the_consumer_said)


@plant("consent withdrawn overnight", "never_early", "never_after_opt_out")
def worker_caches_consents() -> list[Patch]:
    read_each = delivery.read_each_consent
    cache: dict[str, Consent | None] = {}

    def cached(dynamodb: Any, table: str, recipients: Any, *more: Any) -> Any:
        wanted = set(recipients)
        read = read_each(dynamodb, table, wanted - cache.keys(), *more)
        cache.update({key: read.found.get(key) for key in wanted - cache.keys() - read.unreadable})
        return read._replace(found={key: known for key in wanted if (known := cache.get(key)) is not None})

    return [(delivery, "read_each_consent", cached)]


@plant("expired items are still read", "never_early")
def counts_an_expired_consent() -> list[Patch]:
    right = consent_of
    return [(consent, "consent_of", lambda item, now: right({k: v for k, v in item.items() if k != "expires"}, now))]


@plant("unknown fails closed", "never_early")
def takes_no_record_for_consent() -> list[Patch]:
    decide = delivery.decide

    def trusting(notification: Any, consent: Any, now: Any, policy: Any) -> Any:
        return decide(notification, consent or Consent(night_consent=True), now, policy)

    return [*judging(trusting), (consumer, "decide", trusting)]


@plant("unknown fails closed", "never_early")
def takes_no_category_for_informational() -> list[Patch]:
    accept = admission.accept

    def lenient(candidate: Any, **options: Any) -> Any:
        return accept({"category": "informational", **candidate}, **options)

    return [(admission, "accept", lenient)]


@plant("opting out", "never_after_opt_out")
def worker_does_not_read_opt_outs() -> list[Patch]:
    read_each = delivery.read_each_consent

    def nights_only(*args: Any) -> Any:
        read = read_each(*args)
        return read._replace(found={key: each._replace(opted_out=False) for key, each in read.found.items()})

    return [(delivery, "read_each_consent", nights_only)]


@plant("a recipient written differently in registry and notification", "never_after_opt_out")
def worker_looks_under_what_was_written() -> list[Patch]:
    def as_written(notification: Any) -> Any:
        return (notification.get("recipient_id", notification["address"]),)

    return [(delivery, "consent_keys", as_written)]


# --- two records for one notification, records for some addresses, consent to advertising -----------------------------


@plant("an opt-out under the address of somebody who is named otherwise", "never_after_opt_out")
def worker_reads_the_recipients_key_only() -> list[Patch]:
    consent_keys = delivery.consent_keys
    return [(delivery, "consent_keys", lambda notification: consent_keys(notification)[:1])]


@plant("an opt-out under the recipient, whose address has another key", "never_after_opt_out")
def worker_reads_the_addresses_key_only() -> list[Patch]:
    consent_keys = delivery.consent_keys
    return [(delivery, "consent_keys", lambda notification: consent_keys(notification)[-1:])]


def _each_record(**change: Any) -> list[Patch]:
    right = consent_of
    return [(consent, "consent_of", lambda item, now: right(item, now)._replace(**change))]


@plant("somebody's night consent with another person's address", "never_early")
def takes_a_limited_consent_for_any_address() -> list[Patch]:
    return _each_record(addresses=())


@plant("an opt-out of somebody whose consents are for other addresses", "never_after_opt_out")
def limits_an_opt_out_to_addresses() -> list[Patch]:
    consent_under = counting.consent_under

    def limited(keys: Any, records: Any) -> Any:
        address = keys[-1]
        counting_for_it = {
            key: found
            for key, found in records.items()
            if key == address or not found.addresses or address in found.addresses
        }
        return consent_under(keys, counting_for_it)

    return [(counting, "consent_under", limited)]


@plant("a night consent under one of two keys, and none under the other", "never_early")
def one_night_consent_of_two_is_enough() -> list[Patch]:
    consent_under = counting.consent_under

    def either(keys: Any, records: Any) -> Any:
        counts = consent_under(keys, records)
        alone = [consent_under((key, keys[-1]), {key: records[key]}) for key in keys if key in records]
        return counts and counts._replace(night_consent=any(each.night_consent for each in alone))

    return [(counting, "consent_under", either)]


@plant("advertising consent is required, and nobody has given it", "never_without_consent")
def worker_requires_no_advertising_consent() -> list[Patch]:
    return _worker_policy(advertising_consent="elsewhere")


@plant("a stored refusal, wherever consent to advertising is kept", "never_after_opt_out")
def takes_a_refusal_for_nothing_said() -> list[Patch]:
    right = consent_of

    def without_refusals(item: Any, now: Any) -> Consent:
        found = right(item, now)
        return found._replace(advertising_consent=found.advertising_consent or None)

    return [(consent, "consent_of", without_refusals)]


@plant("advertising consent is kept elsewhere, and the registry has none", "conserved")
def requires_a_consent_that_is_kept_elsewhere() -> list[Patch]:
    return _worker_policy(advertising_consent="required")


@plant("expiry during the hold", "never_expired")
def sends_what_has_expired() -> list[Patch]:
    decide = delivery.decide
    far = {"expires_at": "2099-01-01T00:00:00+00:00"}
    return judging(lambda notification, *rest: decide({**notification, **far}, *rest))


# --- providers that keep trying


@plant("a validity past 21:00", "never_rings_at_night")
def lets_the_provider_try_over_night() -> list[Patch]:
    return [(calls, "held_from", lambda *_: None)]


@plant("a validity past 21:00, for those who have not consented to the night", "never_rings_at_night")
def bounds_as_if_everybody_had_consented() -> list[Patch]:
    held_from = calls.held_from
    return [(calls, "held_from", lambda given, _, *rest: held_from(given, Consent(night_consent=True), *rest))]


# --- collapse keys ----------------------------------------------------------------------------------------------------


@plant("of several held ones with one collapse key all are sent", "collapsed")
def sends_all_of_a_collapse_key() -> list[Patch]:
    return [(delivery, "superseded", lambda *_: {})]


@plant("the first of a collapse key is kept instead of the newest", "collapsed")
def keeps_the_first_of_a_collapse_key() -> list[Patch]:
    note = newest._note_of
    return [(newest, "_note_of", lambda item: note(item)._replace(accepted_ms=10**14 - note(item).accepted_ms))]


@plant("a collapse key of one recipient supersedes another's notification", "collapsed")
def collapses_across_recipients() -> list[Patch]:
    return [(newest, "recipient_of", lambda notification: "")]


@plant("a collapse key of one source supersedes another's notification", "collapsed")
def collapses_across_sources() -> list[Patch]:
    return [(newest, "source_key", lambda source: "")]


@plant("what is sent by day is taken for older than what was held", "collapsed")
def supersedes_what_was_not_held() -> list[Patch]:
    return [(newest, "_is_older", lambda notification, note: notification["id"] != note.id)]
