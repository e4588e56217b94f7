"""What a deployment decides, handed to the functions as environment; and the timings that code and stack share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from .channels import LONGEST_DEADLINE_S
from .policy import Policy, stock

PRODUCER_TIMEOUT_S = 30
REGISTRAR_TIMEOUT_S = 30
CONSUMER_TIMEOUT_S = 30
SCHEDULER_TIMEOUT_S = 300
WORKER_TIMEOUT_S = 60
ALERTER_TIMEOUT_S = 30
CAMPAIGN_TIMEOUT_S = 300

LEASE_S = 120
"""How long a claim in the ledger holds: longer than the worker can live, shorter than its bundle stays invisible."""

LANE_VISIBILITY_S = 6 * WORKER_TIMEOUT_S
"""AWS asks for six times the function's timeout, so that a throttled invoke is not overtaken by a second one."""

WAIT_VISIBILITY_S = 60
"""No event source reads the wait queue: this bounds only the send and the delete of one drained batch."""

CLOCK_SKEW = timedelta(seconds=2)
"""How far two functions' clocks may disagree. Lambda's are kept within milliseconds; this is the stated bound."""

LONGEST_PAUSE = timedelta(seconds=3)
"""How long a process may stand still between its judgement and the provider call (garbage, CPU steal, a freeze)."""

CAMPAIGN_UPLOADS = "campaigns/"
"""Where campaign files are dropped, and where what came of them is written beside them."""

CAMPAIGN_PROGRESS = "progress/"
"""Where a file's progress is kept: what is written here starts nothing."""

_PREFIX = "QUIET_HOURS_"


@dataclass(frozen=True, slots=True)
class Settings:
    """One deployment. Queue fields are URLs, tables are names, `channel_secret` is an ARN or a name.

    `start` and `end` are `HH:MM` in `timezone` (IANA); `policy` is `korea` or `strict`. The concurrencies are the
    event sources' MaximumConcurrency, which pacing divides a channel's rate by. `record_held`: the consumer notes in
    the held table what it holds. `advertising_label`: under `korea`, advertising must be labelled as such; it must
    also name `sender_name`, unless that is empty. `alert_topic` is an ARN; `runbook_url`
    and `dashboard_url` are what alerts link to, each empty where there is none.
    """

    notification_queue_url: str
    delivery_queue_url: str
    wait_queue_url: str
    schedule_queue_url: str
    dead_letter_queue_url: str
    ledger_table: str
    consent_table: str
    channel_secret: str
    start: str = "21:00"
    end: str = "08:00"
    timezone: str = "Asia/Seoul"
    policy: str = "korea"
    delivery_concurrency: int = 2
    release_concurrency: int = 2
    consent_history_table: str = ""
    held_table: str = ""
    record_held: bool = False
    advertising_label: bool = False
    sender_name: str = ""
    campaign_queue_url: str = ""
    alert_topic: str = ""
    runbook_url: str = ""
    dashboard_url: str = ""

    def to_env(self) -> dict[str, str]:
        """The environment of a function: one variable a field, all text."""
        return {_PREFIX + field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read back what `to_env` wrote. Raises `KeyError` that names the first missing variable."""
        read: dict[str, Callable[[str], Any]] = {"str": lambda text: text, "int": int, "bool": "True".__eq__}
        return cls(**{field.name: read[str(field.type)](env[_PREFIX + field.name.upper()]) for field in fields(cls)})

    def quiet_hours(self) -> Policy:
        """The policy that every function judges by, with the guard of the slowest channel.

        Raises `ValueError` that names the setting at fault.
        """
        guard = timedelta(seconds=LONGEST_DEADLINE_S) + CLOCK_SKEW + LONGEST_PAUSE
        return stock(self.policy, self.start, self.end, self.timezone, guard, CLOCK_SKEW)
