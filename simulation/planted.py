"""Deliberate mistakes, each a small patch of behaviour. They show what the simulation is able to find.

Nights without a violation prove little unless the same nights find these mistakes. Each plant names the
failure that it stands for and the invariants that it breaks. It is put into the code anew for every seed.
"""

from __future__ import annotations

from . import planted_bundles, planted_rules
from .planting import PLANTS, SEEDS_MAX

__all__ = ["CAUGHT_BY_SEED", "PLANTS", "SEEDS_MAX", "planted_bundles", "planted_rules"]

CAUGHT_BY_SEED = {
    "allows_three_receives": 2,
    "cancel_is_not_honest": 1,
    "cancel_overwrites_a_claim": 1,
    "cancel_takes_no_answer_for_done": 1,
    "claims_for_ever": 10,  # the nights of seeds 1 to 9 go on for ever, which takes long to play
    "claims_without_condition": 1,
    "consumer_ignores_failed": 1,
    "counts_an_expired_consent": 13,
    "deletes_before_it_sends": 5,
    "does_not_note_that_a_call_begins": 1,
    "does_not_pace": 7,
    "does_not_split": 175,
    "drops_what_another_has_claimed": 1,
    "ends_before_its_last_interval_is_over": 81,
    "fails_the_bundle_for_one_item": 4,
    "forgets_open_calls": 14,
    "forgets_the_attempts": 40,
    "gives_up_whatever_the_setting": 1,
    "guard_covers_the_deadline_only": 23,
    "has_no_minute_rule": 2,
    "keys_by_message_id": 1,
    "knows_no_daylight_saving": 0,
    "lease_ends_before_the_call": 2,
    "loses_what_it_could_not_mark": 7,
    "makes_a_new_id_at_every_receive": 4,
    "producer_ignores_failed": 15,
    "receives_at_night": 0,
    "records_a_dead_letter_before_sending_it": 16,
    "rejects_the_batch_for_one_item": 6,
    "releases_minutes_late": 0,
    "scheduler_forgets_attributes": 16,
    "scheduler_ignores_failed": 6,
    "sends_a_whole_bundle_in_one_call": 7,
    "sends_again_under_another_id": 1,
    "sends_again_whatever_the_setting": 1,
    "sends_in_the_background": 0,
    "sends_what_has_expired": 0,
    "split_forgets_an_item": 1,
    "takes_a_conflict_for_a_write": 10,
    "takes_a_keyed_provider_for_one_without": 2,
    "takes_a_short_poll_for_empty": 1,
    "takes_no_answer_for_not_sent": 1,
    "takes_no_category_for_informational": 1,
    "takes_no_record_for_consent": 0,
    "takes_the_whole_rate_for_a_lane": 53,
    "trusts_its_clock_in_the_morning": 11,
    "worker_answers_that_all_is_well": 1,
    "worker_caches_consents": 22,
    "worker_does_not_judge": 10,
    "worker_does_not_read_opt_outs": 0,
    "worker_has_no_guard": 23,
    "worker_ignores_failed": 13,
}
"""A seed whose night finds each plant. The tests begin their search there, and `make nights` begins at seed 0."""
