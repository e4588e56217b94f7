"""Deliberate mistakes, each a small patch of behaviour. They show what the simulation is able to find.

Nights without a violation prove little unless the same nights find these mistakes. Each plant names the
failure that it stands for and the invariants that it breaks. It is put into the code anew for every seed.
"""

from __future__ import annotations

from . import planted_bundles, planted_lanes, planted_rules
from .planting import PLANTS, SEEDS_MAX

__all__ = ["CAUGHT_BY_SEED", "PLANTS", "SEEDS_MAX", "planted_bundles", "planted_lanes", "planted_rules"]

CAUGHT_BY_SEED = {
    "a_reused_id_ends_the_first": 7,
    "allows_three_receives": 5,
    "cancel_is_not_honest": 1,
    "cancel_overwrites_a_claim": 1,
    "cancel_takes_no_answer_for_done": 1,
    "claims_for_ever": 12,  # seed 1 finds it too, but its night goes on for ever, which takes long to play
    "claims_without_condition": 1,
    "compares_no_fingerprints": 7,
    "consumer_ignores_failed": 1,
    "counts_an_expired_consent": 17,
    "deletes_before_it_sends": 6,
    "does_not_note_that_a_call_begins": 1,
    "does_not_pace": 6,
    "does_not_split": 195,
    "drops_what_another_has_claimed": 4,
    "ends_before_its_last_interval_is_over": 67,
    "fails_the_bundle_for_one_item": 2,
    "forgets_open_calls": 70,
    "forgets_the_attempts": 12,
    "gives_up_each_by_a_refused_template": 20,
    "gives_up_whatever_the_setting": 5,
    "guard_covers_the_deadline_only": 21,
    "has_no_minute_rule": 4,
    "keys_by_message_id": 1,
    "knows_no_daylight_saving": 0,
    "lease_ends_before_the_call": 5,
    "limits_an_opt_out_to_addresses": 2,
    "loses_what_it_could_not_mark": 5,
    "makes_a_new_id_at_every_receive": 14,
    "one_night_consent_of_two_is_enough": 7,
    "producer_ignores_failed": 15,
    "reads_arrays_of_any_length": 4,
    "receives_at_night": 0,
    "records_a_dead_letter_before_sending_it": 5,
    "rejects_the_batch_for_one_item": 3,
    "releases_minutes_late": 0,
    "requires_a_consent_that_is_kept_elsewhere": 0,
    "scheduler_forgets_attributes": 3,
    "scheduler_ignores_failed": 6,
    "sends_a_whole_bundle_in_one_call": 8,
    "sends_again_under_another_id": 7,
    "sends_again_whatever_the_setting": 1,
    "sends_in_the_background": 0,
    "sends_what_has_expired": 0,
    "split_forgets_an_item": 5,
    "takes_a_conflict_for_a_write": 4,
    "takes_a_keyed_provider_for_one_without": 5,
    "takes_a_limited_consent_for_any_address": 0,
    "takes_a_refusal_for_nothing_said": 1,
    "takes_a_short_poll_for_empty": 0,
    "takes_an_id_in_a_bundle_for_a_repeat": 7,
    "takes_no_answer_for_not_sent": 5,
    "takes_no_category_for_informational": 1,
    "takes_no_record_for_consent": 0,
    "takes_the_whole_rate_for_a_lane": 87,
    "trusts_its_clock_in_the_morning": 26,
    "worker_answers_that_all_is_well": 1,
    "worker_caches_consents": 20,
    "worker_does_not_judge": 1,
    "worker_does_not_read_opt_outs": 1,
    "worker_has_no_guard": 21,
    "worker_ignores_failed": 1,
    "worker_looks_under_what_was_written": 1,
    "worker_reads_the_addresses_key_only": 1,
    "worker_reads_the_recipients_key_only": 1,
    "worker_requires_no_advertising_consent": 4,
}
"""A seed whose night finds each plant. The tests begin their search there, and `make nights` begins at seed 0."""
