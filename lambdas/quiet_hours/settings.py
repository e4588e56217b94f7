"""The settings of a deployment, which the functions get as environment variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from .rule.policies import named_policy
from .rule.terms import Hours, Policy
from .timings import CHANNEL_DEADLINE_MAX_S, CLOCK_SKEW, LONGEST_PAUSE

CAMPAIGN_UPLOADS = "campaigns/"
"""The folder for campaign files. Only this one is for people who upload."""

CAMPAIGN_REPORTS = "reports/"
"""The folder for the reports on campaign files and for their rejected rows. Who may write here could say of a file that
it is done: so nobody may who uploads."""

CAMPAIGN_PROGRESS = "progress/"
"""The folder for a campaign file's progress. A file that is written here starts nothing."""

EUC_KR, UNICODE = SMS_ENCODINGS = ("euc-kr", "unicode")
"""The characters that the SMS provider carries. Solapi takes EUC-KR, AWS End User Messaging any character."""

_PREFIX = "QUIET_HOURS_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one deployment. Queue fields are URLs, tables are names, `channel_secret` is an ARN or a name.

    `start` and `end` are `HH:MM` in `timezone` (IANA); `policy` is the name of a file in policies/, and
    `further_policies` are those for other recipients, as `named_policy` reads them. `kakao_closed` is when KakaoTalk
    takes no brand messages: `HH:MM-HH:MM`, or `never`. `wait_queues` is the number of wait queues. `record_held`: the
    consumer records in the held table what it holds. `advertising_label`: under `korea`, advertising must be labelled
    as such; it must also name `sender_name`, unless that is empty. `sms_encoding` is one of `SMS_ENCODINGS`.
    `advertising_consent`: `required` if it is kept here, else `elsewhere`. `recipients`: `listed` if only the addresses
    on the allow-list in the channel secret are called; empty if everybody is. `campaign_sender` is the unique id of the
    campaign function's role, as SQS names a sender: only its messages may have ids of campaign files; if it is empty,
    this is not checked. `alert_topic` is an ARN. Alerts link to `runbook_url` and `dashboard_url`; each is empty if
    there is none.
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
    kakao_closed: str = Hours().kakao_closed
    further_policies: str = ""
    wait_queues: int = 1
    urgent_queue_url: str = ""
    consent_history_table: str = ""
    held_table: str = ""
    turn_table: str = ""
    record_held: bool = False
    advertising_label: bool = False
    sender_name: str = ""
    sms_encoding: str = EUC_KR
    advertising_consent: str = "elsewhere"
    recipients: str = ""
    campaign_queue_url: str = ""
    campaign_sender: str = ""
    alert_topic: str = ""
    runbook_url: str = ""
    dashboard_url: str = ""

    def to_env(self) -> dict[str, str]:
        """The environment of a function: one text variable for each field."""
        return {_PREFIX + field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read what `to_env` wrote. Raises `KeyError` that names the first missing variable."""
        read: dict[str, Callable[[str], Any]] = {"str": lambda text: text, "int": int, "bool": "True".__eq__}
        return cls(**{field.name: read[str(field.type)](env[_PREFIX + field.name.upper()]) for field in fields(cls)})

    def wait_url(self, queue: int) -> str:
        """The URL of a wait queue by its number, from 0. The second one has the name of the first with a 2, and so on:
        so the environment has only one URL.

        Of more queues than there are, the last one stands for the others. Synthesis refuses such a policy, but if it
        comes to it, a hold must find a queue: what is released too early is judged by the worker and held again.
        """
        number = min(queue + 1, self.wait_queues)
        return f"{self.wait_queue_url}{number}" if number > 1 else self.wait_queue_url

    def quiet_hours(self) -> Policy:
        """The policy by which every function judges, with the guard of the slowest channel.

        Raises `ValueError` that names the setting at fault.
        """
        guard = timedelta(seconds=CHANNEL_DEADLINE_MAX_S) + CLOCK_SKEW + LONGEST_PAUSE
        return named_policy(
            self.policy,
            self.start,
            self.end,
            self.timezone,
            guard,
            CLOCK_SKEW,
            self.advertising_consent,
            self.kakao_closed,
            further_policies=self.further_policies,
        )
