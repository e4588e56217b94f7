"""Builds the channels. Each is one module that keeps the protocol in `channel.py`; docs/channels.md says how to add
one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from ..errors import Misconfigured
from ..notification.notification import Notification
from ..timings import CHANNEL_DEADLINE_MAX_S
from . import allow_list, aws, aws_sms, log, ses, slack, sns, solapi, webhook
from .channel import Channel, Outcome
from .configuration import local_use

EXAMPLES = {
    "kakao": '{"kakao": {"api_key": …, "api_secret": …, "pf_id": …}}',
    "sms": '{"sms": {"provider": "solapi" or "aws", …}}',
    "email": '{"email": {"from": "shop@example.com"}}',
    "push": '{"push": {}}',
    "slack": '{"slack": {"token": "xoxb-…"}}',
    "webhook": '{"webhook": {"url": "https://…"}}',
}
"""The least that the channel secret needs for a channel. The reason of a channel without settings shows it."""


def build(
    name: str,
    config: Mapping[str, Any] | None,
    now: Callable[[], datetime],
    clients: aws.Clients,
    local: bool | None = None,
) -> Channel:
    """Return the channel of that name. `config`: its part of the channel secret, None if there is none. `clients`
    makes the clients of AWS's own channels when they are first needed. `local`: the channel may call this machine; None
    leaves it to the environment (`local_use`).

    A channel that does not exist rejects everything. One that lacks a setting takes nothing for now: its reason says
    what to set.
    """
    if name == "log":
        return log.LogChannel()
    if name not in EXAMPLES:
        return NotConfigured(f"{name} is not built in", "rejected")
    if not isinstance(config, Mapping):
        return NotConfigured(f"the channel secret needs {EXAMPLES[name]}")
    try:
        channel = _configured(name, config, now, clients, local_use() if local is None else local)
    except Misconfigured as fault:
        return NotConfigured(str(fault))
    assert channel.deadline_s <= CHANNEL_DEADLINE_MAX_S, f"the guard does not know of {name}'s deadline"
    return channel


def restricted(channel: Channel, config: object) -> Channel:
    """Return the channel as a restricted deployment uses it. `config`: the part `recipients` of the channel secret. A
    list that cannot be read says nobody whom to call: the channel then takes nothing for now."""
    try:
        return allow_list.Restricted(channel, allow_list.listed(config))
    except Misconfigured as fault:
        return NotConfigured(str(fault))


def _configured(
    name: str, config: Mapping[str, Any], now: Callable[[], datetime], clients: aws.Clients, local: bool
) -> Channel:
    if config.get("endpoint_url") is not None and not local:
        raise Misconfigured(f"{name}.endpoint_url is for local use only")
    match name, config.get("provider"):
        case "kakao", _:
            return solapi.SolapiChannel("kakao", config, now)
        case "sms", "solapi":
            return solapi.SolapiChannel("sms", config, now)
        case "sms", "aws":
            return aws_sms.AwsSmsChannel(config, now, clients)
        case "email", _:
            return ses.SesChannel(config, clients)
        case "push", _:
            return sns.SnsChannel(config, now, clients)
        case "slack", _:
            return slack.SlackChannel(config, now, local)
        case "webhook", _:
            return webhook.WebhookChannel(config, now, local)
    raise Misconfigured('sms.provider must be "solapi" or "aws"')


class NotConfigured:
    """Stands in for a channel that cannot be used, and takes nothing."""

    deadline_s = 0.0
    rate_per_s = None
    batch_size = 100
    side_by_side = 1
    can_resend = True

    def __init__(self, why: str, kind: Literal["misconfigured", "rejected"] = "misconfigured") -> None:
        self._outcome = Outcome(kind, f"channel_not_configured: channel not configured; {why}")

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._outcome] * len(notifications)

    def close(self) -> None:
        pass
