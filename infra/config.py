"""The settings of this project's own app: the context of cdk.json. `-c key=value` overrides each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from constructs import Node

from infra.props import ADVERTISING_CONSENT, QuietHoursProps
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import Policy
from lambdas.quiet_hours.settings import SMS_ENCODINGS

CONCURRENCY_RANGE = (2, 1000)
"""The values that an SQS event source takes as its MaximumConcurrency."""

BATCHING_WINDOW_RANGE_S = (0, 300)
NAME_CHARACTERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Config:
    """The context, checked: the stack's own settings, and the properties of the construct that it places.

    `account` and `region` are both given or both `None`; then the CDK takes those of the environment.
    """

    stack_name: str
    account: str | None
    region: str | None
    tags: dict[str, str]
    termination_protection: bool
    quiet_hours: QuietHoursProps

    @classmethod
    def from_context(cls, node: Node) -> Config:
        """Read and check every key. Raises `ValueError` with a sentence: the key, its value, and what is allowed."""
        account, region = _env(node, "env")
        return cls(
            stack_name=_stack_name(node, "stackName"),
            account=account,
            region=region,
            tags=_tags(node, "tags"),
            termination_protection=_switch(node, "terminationProtection"),
            quiet_hours=QuietHoursProps(
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
                check_campaign_sender=_switch(node, "checkCampaignSender"),
                advertising_consent=_choice(node, "advertisingConsent", ADVERTISING_CONSENT),
                runbook_url=_url(node, "runbookUrl"),
                local_endpoint=flag(node, "localEndpoint"),
            ),
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


def _stack_name(node: Node, key: str) -> str:
    value = str(_value(node, key))
    if not re.fullmatch("[A-Za-z][A-Za-z0-9-]{0,127}", value):
        raise ValueError(
            f"context {key} must be letters, digits and hyphens, a letter first, at most 128, not {value!r}"
        )
    return value


def _env(node: Node, key: str) -> tuple[str, str] | tuple[None, None]:
    value = str(_value(node, key))
    if not value:
        return None, None
    if not re.fullmatch("[0-9]{12}/[a-z]{2,4}(-[a-z]+)+-[0-9]", value):
        raise ValueError(
            f"context {key} must be ACCOUNT/REGION such as 123456789012/ap-northeast-2 or empty, not {value!r}"
        )
    account, _, region = value.partition("/")
    return account, region


def _tags(node: Node, key: str) -> dict[str, str]:
    value = str(_value(node, key))
    # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
    tag = r"(?!aws:)[\w .:/+@-]{1,128}=[\w .:/=+@-]{0,256}"
    if value and not re.fullmatch(f"{tag}(,{tag})*", value):
        raise ValueError(
            f"context {key} must be NAME=VALUE,NAME=VALUE or empty, and no name may begin with aws:, not {value!r}"
        )
    pairs = [text.split("=", 1) for text in value.split(",") if text]
    tags = dict(pairs)
    if len(tags) < len(pairs):
        raise ValueError(f"context {key} must name each tag once, not {value!r}")
    return tags


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
