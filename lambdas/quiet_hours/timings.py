"""Timings that the functions and the stack share. They depend on each other, and a test checks that they fit."""

from __future__ import annotations

from datetime import timedelta

PRODUCER_TIMEOUT_S = 30
REGISTRAR_TIMEOUT_S = 30
CONSUMER_TIMEOUT_S = 30
SCHEDULER_TIMEOUT_S = 300
WORKER_TIMEOUT_S = 60
ALERTER_TIMEOUT_S = 30
CAMPAIGN_TIMEOUT_S = 300
SOURCE_TIMEOUT_S = 900

LEASE_S = 120
"""The lease of a claim in the ledger: longer than a worker can live, shorter than its bundle stays invisible."""

LANE_VISIBILITY_S = 6 * WORKER_TIMEOUT_S
"""AWS asks for six times the function's timeout, so that a throttled invoke is not overtaken by a second one."""

WAIT_VISIBILITY_S = 60
"""The time for the send and the delete of one drained batch: no event source reads the wait queue."""

CLOCK_SKEW = timedelta(seconds=2)
"""The difference that two functions' clocks may have. Lambda's are kept within milliseconds; this is the stated
bound."""

LONGEST_PAUSE = timedelta(seconds=3)
"""The longest time that a process may stand still between its judgement and the provider call (garbage, CPU steal, a
freeze)."""

CHANNEL_DEADLINE_MAX_S = 10.0
"""The longest that any channel's call can be in flight. The guard before quiet hours has to cover it."""
