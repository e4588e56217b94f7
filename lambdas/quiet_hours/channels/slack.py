"""Slack, by an incoming webhook for each Slack channel, or by `chat.postMessage` with a bot token for all of them.

https://docs.slack.dev/reference/methods/chat.postMessage and
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks describe the requests and answers. Slack
documents no idempotency key: the setting `unknown_outcome` decides what follows an unknown outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import CallFailed, Misconfigured, Unfit
from ..notification.addresses import canonical_address
from ..notification.json_text import to_text
from ..notification.notification import Notification
from . import configuration
from .channel import DELIVERED, Outcome
from .http import Answer, PostClient
from .outcomes import answered, body_of, call_failed, forbidden, retry_after_s, unauthorized, unfit

DEADLINE_S = 8.0
RATE_PER_S = 1.0
"""Messages to one Slack channel: https://docs.slack.dev/apis/web-api/rate-limits"""

CHARACTERS_MAX = 40_000
"""Slack cuts longer texts: https://docs.slack.dev/changelog/2018-truncating-really-long-messages"""

WEBHOOK_HOST = "hooks.slack.com"
POST_MESSAGE_URL = "https://slack.com/api/chat.postMessage"

_UNAVAILABLE = (
    *("ratelimited", "rate_limited", "message_limit_exceeded", "service_unavailable", "request_timeout"),
    *("org_login_required", "team_added_to_org"),  # the workspace is being moved
)
"""Errors that pass and concern every message."""

_UNAUTHORIZED = (
    *("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope"),
    *("not_allowed_token_type", "accesslimited", "two_factor_setup_required", "enterprise_is_restricted"),
)
"""Errors of the token: they concern every message."""

_FORBIDDEN = (
    *("no_permission", "access_denied", "ekm_access_denied", "team_access_not_granted"),
    *("no_service", "no_active_hooks", "invalid_token", "action_prohibited", "no_team", "team_disabled"),
)
"""Errors that may concern one conversation: a permission for it, the key of its encryption, its workspace, or its
incoming webhook."""

_OF_ONE_CONVERSATION = ("posting_to_general_channel_denied",)
"""Errors for which Slack answers 403 although they name one conversation."""

_CONVERSATION = "that the app is in the conversation and may post there; the credentials in the channel secret"


class SlackChannel:
    """Built from `{"token": "xoxb-…"}` or `{"webhooks": {"#orders": "https://hooks.slack.com/services/…"}}`; optional
    `rate_per_s`, `unknown_outcome`, `endpoint_url`. `local`: the URLs may be on this machine. Raises
    `Misconfigured`."""

    deadline_s = DEADLINE_S
    batch_size = 1
    side_by_side = 10

    def __init__(self, config: Mapping[str, Any], now: Callable[[], datetime], local: bool = False) -> None:
        self.rate_per_s = configuration.rate_per_s(config, "slack", RATE_PER_S)
        self.can_resend = configuration.can_resend(config, "slack")
        self._now = now
        self._token = configuration.optional(config, "slack", "token")
        self._webhooks = _webhooks(config.get("webhooks", {}), local)
        if (self._token is None) == (not self._webhooks):
            raise Misconfigured('slack needs "token", or "webhooks" with a URL for each channel, and not both')
        self._api = configuration.endpoint(config, "slack", POST_MESSAGE_URL, DEADLINE_S)

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._post(notification) for notification in notifications]

    def close(self) -> None:
        for client in (self._api, *self._webhooks.values()):
            client.close()

    def _post(self, notification: Notification) -> Outcome:
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            message = _message(notification)
            if self._token is not None:
                client = self._api
                headers["authorization"] = f"Bearer {self._token}"
                payload = {"notification_id": notification["id"]}
                message |= {
                    "channel": notification["address"],
                    "metadata": {"event_type": "quiet_hours", "event_payload": payload},
                }
            elif notification["address"] in self._webhooks:
                client = self._webhooks[notification["address"]]
            else:
                raise Unfit("address has no URL under slack.webhooks in the channel secret")
        except Unfit as fault:
            return unfit(fault)
        try:
            answer = client.post(headers, to_text(message).encode())
        except CallFailed as fault:
            return call_failed(fault, "Slack", DEADLINE_S)
        return _outcome(answer, self._token is not None, self._now())


def _webhooks(config: object, local: bool) -> dict[str, PostClient]:
    if not isinstance(config, dict):
        raise Misconfigured('slack.webhooks must be an object such as {"#orders": "https://hooks.slack.com/…"}')
    clients = {}
    for name, url in config.items():
        try:
            address = canonical_address("slack", name)
        except ValueError as fault:
            raise Misconfigured(f"a name in slack.webhooks {fault}") from None
        clients[address] = configuration.post_client(str(url), DEADLINE_S, "slack", "webhooks", WEBHOOK_HOST, local)
    return clients


def _message(notification: Notification) -> dict[str, Any]:
    """Build the message: the title with the body as an attachment, or the body alone."""
    body = _escaped(notification, "body", body_of(notification))
    title = notification["content"].get("title")
    if title is None:
        return {"text": body}
    title = _escaped(notification, "title", title)
    return {"text": title, "attachments": [{"fallback": title, "text": body}]}


def escape(text: str) -> str:
    """Escape a text, so that it cannot mention a whole channel (`<!channel>`).

    https://docs.slack.dev/messaging/formatting-message-text
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped(notification: Notification, name: str, text: str) -> str:
    escaped = escape(text)
    if len(escaped) > CHARACTERS_MAX:
        raise Unfit(f"content.{name} must be at most {CHARACTERS_MAX} characters, with &, < and > written as entities")
    return escaped


def _outcome(answer: Answer, by_token: bool, now: datetime) -> Outcome:
    """Read the answer. `chat.postMessage` answers 200 with the error in JSON, a webhook a status with plain text."""
    status, said = answer.status, _said(answer)
    if status == 200 and said == "ok":
        return DELIVERED
    reason = answered("slack", "Slack", status, said)
    if status in (429, 503) or said in _UNAVAILABLE:
        return Outcome("unavailable", reason, retry_after_s(answer.headers.get("retry-after", ""), now))
    if said in _OF_ONE_CONVERSATION:
        return Outcome("rejected", reason)
    if status in (401, 403) or said in (*_UNAUTHORIZED, *_FORBIDDEN):
        # An incoming webhook's credentials are its URL: they are those of one conversation.
        return forbidden(reason, _CONVERSATION) if said in _FORBIDDEN or not by_token else unauthorized(reason)
    if status >= 500 or said in ("fatal_error", "internal_error") or (status == 200 and not said):
        return Outcome("unknown", reason)  # in Slack's words, some aspect of the operation may have succeeded
    if 300 <= status < 400 or (status == 404 and not said):
        return forbidden(reason + "; redirects are not followed", "the URL in the channel secret")
    return Outcome("rejected", reason)


def _said(answer: Answer) -> str:
    """Return `ok` or Slack's error code; empty if the answer is not from Slack."""
    try:
        said = answer.body.decode()
        if said.startswith("{"):
            parsed = json.loads(said)
            said = "ok" if parsed.get("ok") is True else str(parsed.get("error"))
    except ValueError:
        return ""
    return said if re.fullmatch(r"[a-z][a-z0-9_]{1,63}", said) else ""
