"""Webhooks: one POST for each notification, to one configured URL.

The notification's id is the idempotency key (`webhook-id`), by which the receiver recognises a repeat. So a
notification of unknown outcome is sent again. With a `secret` in the configuration each request is signed as Standard
Webhooks describes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import CallFailed, Misconfigured
from ..notification.json_text import to_text
from ..notification.notification import Notification
from . import configuration
from .channel import DELIVERED, Outcome
from .outcomes import call_failed, forbidden, retry_after_s, unauthorized

DEADLINE_S = 10.0
RATE_PER_S = 200.0


class WebhookChannel:
    """Built from `{"url": …, "secret": …, "rate_per_s": …}`, the last two optional. `local`: the URL may be on this
    machine. Raises `Misconfigured`."""

    deadline_s = DEADLINE_S
    batch_size = 1
    side_by_side = 25
    can_resend = True

    def __init__(self, config: Mapping[str, Any], now: Callable[[], datetime], local: bool = False) -> None:
        self.rate_per_s = configuration.rate_per_s(config, "webhook", RATE_PER_S)
        self._http = configuration.post_client(str(config.get("url", "")), DEADLINE_S, "webhook", "url", local=local)
        self._key = _key(config["secret"]) if "secret" in config else None
        self._now = now

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._post(notification) for notification in notifications]

    def close(self) -> None:
        self._http.close()

    def _post(self, notification: Notification) -> Outcome:
        body = to_text(notification).encode()
        headers = {"content-type": "application/json", "webhook-id": notification["id"]}
        if self._key is not None:
            timestamp = str(int(self._now().timestamp()))
            signed = b".".join((notification["id"].encode(), timestamp.encode(), body))
            signature = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
            headers |= {"webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}
        try:
            answer = self._http.post(headers, body)
        except CallFailed as fault:
            return call_failed(fault, "the webhook", DEADLINE_S)
        return _outcome(answer.status, answer.headers.get("retry-after", ""), self._now())


def _outcome(status: int, retry_after: str, now: datetime) -> Outcome:
    reason = f"http_{status}: the webhook answered {status}"
    if 200 <= status < 300:
        return DELIVERED
    if status == 401:
        return unauthorized(reason)
    if status == 403:  # the receiver refuses us, or its firewall refuses this one text
        return forbidden(reason)
    if status in (404, 405):  # the URL has moved, or the receiver knows nobody of this address
        return forbidden(reason, "webhook.url in the channel secret")
    if 300 <= status < 400:
        return forbidden(reason + "; redirects are not followed", "webhook.url in the channel secret")
    if status in (429, 503):  # this notification is not at fault
        return Outcome("unavailable", reason, retry_after_s(retry_after, now))
    if status in (408, 425) or status >= 500:
        return Outcome("retry", reason)
    return Outcome("rejected", reason)


def _key(secret: object) -> bytes:
    """Return the signing key of a Standard Webhooks secret: base64 after `whsec_`."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True) if isinstance(secret, str) else b""
    except ValueError:
        key = b""
    if not key:
        raise Misconfigured("webhook.secret must be base64 text, with or without whsec_ before it")
    return key
