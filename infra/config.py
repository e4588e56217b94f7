"""What a deployment decides: the context of cdk.json, each value overridable with `-c key=value`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from constructs import Node

from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import Policy
from lambdas.quiet_hours.settings import SMS_ENCODINGS

CONCURRENCY_RANGE = (2, 1000)
"""What an SQS event source takes as its MaximumConcurrency."""

BATCHING_WINDOW_RANGE_S = (0, 300)
NAME_CHARACTERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Config:
    """The context, checked. `alert_email`, `sender_name` and `runbook_url` may be empty."""

    policy: Policy
    consumer_concurrency: int
    delivery_concurrency: int
    release_concurrency: int
    batching_window_s: int
    alert_email: str
    record_held: bool
    advertising_label: bool
    sender_name: str
    sms_encoding: str
    runbook_url: str
    local_endpoint: bool

    @classmethod
    def from_context(cls, node: Node) -> Config:
        """Read and check every key. Raises `ValueError` with a sentence: the key, what it is, what it may be."""
        return cls(
            policy=_policy(node),
            consumer_concurrency=_whole_number(node, "consumerConcurrency", CONCURRENCY_RANGE),
            delivery_concurrency=_whole_number(node, "deliveryConcurrency", CONCURRENCY_RANGE),
            release_concurrency=_whole_number(node, "releaseConcurrency", CONCURRENCY_RANGE),
            batching_window_s=_whole_number(node, "batchingWindowSeconds", BATCHING_WINDOW_RANGE_S),
            alert_email=_email(node, "alertEmail"),
            record_held=_switch(node, "recordHeld"),
            advertising_label=_switch(node, "advertisingLabel"),
            sender_name=_name(node, "senderName"),
            sms_encoding=_choice(node, "smsEncoding", SMS_ENCODINGS),
            runbook_url=_url(node, "runbookUrl"),
            local_endpoint=flag(node, "localEndpoint"),
        )


def flag(node: Node, key: str) -> bool:
    """A switch that is off unless given. Raises `ValueError` for anything but true and false."""
    value = node.try_get_context(key)
    if value not in (None, True, False, "true", "false"):
        raise ValueError(f"context {key} must be true or false, not {value!r}")
    return value in (True, "true")


def _switch(node: Node, key: str) -> bool:
    """A switch whose default is in cdk.json."""
    _value(node, key)
    return flag(node, key)


def _value(node: Node, key: str) -> Any:
    value = node.try_get_context(key)
    if value is None:
        raise ValueError(f"context {key} is missing: cdk.json carries its default")
    return value


def _policy(node: Node) -> Policy:
    name, start, end, zone = (
        str(_value(node, key)) for key in ("policy", "quietHoursStart", "quietHoursEnd", "timezone")
    )
    try:
        return named_policy(name, start, end, zone)
    except ValueError as error:
        given = f"policy {name}, quietHoursStart {start}, quietHoursEnd {end}, timezone {zone}"
        raise ValueError(f"context {given}: {error}") from None


def _whole_number(node: Node, key: str, allowed: tuple[int, int]) -> int:
    value = str(_value(node, key))  # -c brings text, cdk.json numbers
    lowest, highest = allowed
    if not re.fullmatch("[0-9]{1,9}", value) or not lowest <= int(value) <= highest:
        raise ValueError(f"context {key} must be a whole number from {lowest} to {highest}, not {value!r}")
    return int(value)


def _choice(node: Node, key: str, allowed: tuple[str, ...]) -> str:
    value = str(_value(node, key))
    if value not in allowed:
        raise ValueError(f"context {key} must be {' or '.join(allowed)}, not {value!r}")
    return value


def _name(node: Node, key: str) -> str:
    value = str(_value(node, key))
    if len(value) > NAME_CHARACTERS_MAX or not value.isprintable() or value != value.strip():
        raise ValueError(
            f"context {key} must be empty or a name of up to {NAME_CHARACTERS_MAX} characters, not {value!r}"
        )
    return value


def _email(node: Node, key: str) -> str:
    value = str(_value(node, key))
    if value and not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError(f"context {key} must be one e-mail address or empty, not {value!r}")
    return value


def _url(node: Node, key: str) -> str:
    value = str(_value(node, key))
    if value and not re.fullmatch(r"https://[^\s<>|#]+", value):
        raise ValueError(f"context {key} must be one https:// URL without a fragment or empty, not {value!r}")
    return value
