"""The settings of this project's own app: the context of cdk.json. `-c key=value` overrides each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from constructs import Node

from infra.policies import check_opens, check_use_of_hours
from infra.props import PropertyRefused, QuietHoursProps
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy_file import FOLDER
from lambdas.quiet_hours.rule.terms import Policy

_KEYS = {
    "wait_queues": "waitQueues",
    "consumer_concurrency": "consumerConcurrency",
    "urgent_concurrency": "urgentConcurrency",
    "delivery_concurrency": "deliveryConcurrency",
    "release_concurrency": "releaseConcurrency",
    "account_concurrency": "accountConcurrency",
    "campaigns": "campaigns",
    "batching_window_s": "batchingWindowSeconds",
    "alert_email": "alertEmail",
    "record_held": "recordHeld",
    "advertising_label": "advertisingLabel",
    "sender_name": "senderName",
    "sms_encoding": "smsEncoding",
    "check_campaign_sender": "checkCampaignSender",
    "advertising_consent": "advertisingConsent",
    "recipients": "recipients",
    "runbook_url": "runbookUrl",
    "architecture": "architecture",
    "policy_folder": "policyFolder",
}
"""The context key of each property of the construct that one key gives."""


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
            quiet_hours=_props(node),
        )


def _props(node: Node) -> QuietHoursProps:
    given = {name: _as_in_cdk_json(name, _value(node, key)) for name, key in _KEYS.items()}
    try:
        return QuietHoursProps(policy=_policy(node), local_endpoint=flag(node, "localEndpoint"), **given)
    except PropertyRefused as refused:
        key = _KEYS[refused.name]
        instead = f", not {str(_value(node, key))!r}" if refused.is_shown else ""
        raise ValueError(f"context {key} must be {refused.allowed}{instead}") from None


def _as_in_cdk_json(name: str, value: Any) -> Any:
    """Return a property's value as cdk.json would hold it: `-c` brings every value as a text."""
    default = QuietHoursProps.__dataclass_fields__[name].default
    if isinstance(default, bool) and value in ("true", "false"):
        return value == "true"
    if type(default) is int and isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        return int(value)
    return value


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
    keys = ("policy", "quietHoursStart", "quietHoursEnd", "timezone", "kakaoClosed", "furtherPolicies")
    name, start, end, zone, kakao, further = (str(_value(node, key)) for key in keys)
    folder = str(_value(node, "policyFolder"))
    try:
        policy = named_policy(
            name,
            start,
            end,
            zone,
            kakao_closed=kakao,
            folder=Path(folder).resolve() if folder else FOLDER,
            further_policies=further,
        )
        check_use_of_hours(policy)
        check_opens(policy, datetime.now(UTC))
    except ValueError as error:
        given = f"policy {name}, quietHoursStart {start}, quietHoursEnd {end}, timezone {zone}"
        given += f", furtherPolicies {further}" if further else ""
        raise ValueError(f"context {given}: {error}") from None
    return policy
