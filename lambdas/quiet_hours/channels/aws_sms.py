"""SMS through AWS End User Messaging (`pinpoint-sms-voice-v2`).

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html. It has no idempotency key:
the setting `unknown_outcome` decides what follows an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import Unfit
from ..notification.notification import Notification
from . import configuration
from .aws import DEADLINE_S, Clients, Service
from .channel import Outcome
from .outcomes import body_of, unfit

RATE_PER_S = 1.0
"""The lowest rate of any kind of number: https://docs.aws.amazon.com/sms-voice/latest/userguide/sms-limitations-mps.html"""

GSM_CHARACTERS_MAX = 1530
OTHER_CHARACTERS_MAX = 630
"""https://docs.aws.amazon.com/sms-voice/latest/userguide/sms-limitations-character.html"""

LIFE_S = (5, 259_200)
"""The bounds of TimeToLive."""

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("\f^{}\\[~]|€")
"""The alphabet of GSM 03.38, and the characters that count as two."""

_UNAVAILABLE = ("ServiceQuotaExceededException", "ResourceNotFoundException")


class AwsSmsChannel:
    """Built from `{"provider": "aws", "from": number, pool or sender id}`; optional `configuration_set`, `region`,
    `rate_per_s`, `unknown_outcome`, `endpoint_url`. Raises `Misconfigured`."""

    deadline_s = DEADLINE_S
    batch_size = 1
    side_by_side = 25

    def __init__(self, config: Mapping[str, Any], now: Callable[[], datetime], clients: Clients) -> None:
        self.rate_per_s = configuration.rate_per_s(config, "sms", RATE_PER_S)
        self.can_resend = configuration.can_resend(config, "sms")
        self._common = {"OriginationIdentity": configuration.required(config, "sms", "from")}
        if name := configuration.optional(config, "sms", "configuration_set"):
            self._common["ConfigurationSetName"] = name
        self._service = Service(clients, "pinpoint-sms-voice-v2", config, "sms", "AWS End User Messaging")
        self._now = now

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._send(notification) for notification in notifications]

    def close(self) -> None:
        self._service.close()

    def _send(self, notification: Notification) -> Outcome:
        left_s = (datetime.fromisoformat(notification["expires_at"]) - self._now()).total_seconds()
        try:
            text = _text(notification)
        except Unfit as fault:
            return unfit(fault)
        return self._service.call(
            "send_text_message",
            _UNAVAILABLE,
            **self._common,
            DestinationPhoneNumber=notification["address"],
            MessageBody=text,
            MessageType="PROMOTIONAL" if notification["category"] == "advertising" else "TRANSACTIONAL",
            TimeToLive=int(min(max(left_s, LIFE_S[0]), LIFE_S[1])),
            Context={"notification_id": notification["id"]},
        )


def _text(notification: Notification) -> str:
    """Join title and body, because these messages have no subject. Raises `Unfit`."""
    text = "\n".join(filter(None, (notification["content"].get("title"), body_of(notification))))
    if not text.strip():
        raise Unfit("content.body must be more than white space")
    if set(text) <= _GSM | _GSM_TWICE:
        most, alphabet, size = GSM_CHARACTERS_MAX, "of GSM 03.38", sum(2 if c in _GSM_TWICE else 1 for c in text)
    else:
        most, alphabet, size = OTHER_CHARACTERS_MAX, "outside GSM 03.38, in UTF-16", len(text.encode("utf-16-be")) // 2
    if size > most:
        raise Unfit(f"content.title and content.body together must be at most {most} characters {alphabet}")
    return text
