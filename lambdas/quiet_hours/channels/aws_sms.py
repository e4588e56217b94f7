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
from .aws import DEADLINE_S, Clients, Meaning, Service
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

_SANDBOX = "whether the account is in the SMS sandbox of this region: it sends to verified numbers only"
_ORIGIN = "that sms.from may send to this country and this kind of message"

_MEANINGS = {
    # The account, or what the channel secret names. They concern every message.
    "ServiceQuotaExceededException": Meaning("unavailable"),
    "ResourceNotFoundException": Meaning("misconfigured", "sms.from and sms.configuration_set in the channel secret"),
    "ACCOUNT_DISABLED": Meaning("misconfigured", "the account with AWS"),
    "INSUFFICIENT_ACCOUNT_REPUTATION": Meaning("misconfigured", "the account with AWS"),
    "RESOURCE_NOT_ACTIVE": Meaning("misconfigured", "that sms.from is active"),
    "RESOURCE_NOT_ACCESSIBLE": Meaning("misconfigured", "that sms.from belongs to this account and region"),
    "INVALID_ARN": Meaning("misconfigured", "sms.from and sms.configuration_set in the channel secret"),
    "NUMBER_CAPABILITIES_MISMATCH": Meaning("misconfigured", "that sms.from can send SMS"),
    "CHANNEL_NOT_ENABLED": Meaning("misconfigured", "that sms.from can send SMS"),
    # What is sent from does not fit the country or the kind of message: perhaps others go.
    "NO_ORIGINATION_IDENTITIES_FOUND": Meaning("forbidden", _ORIGIN),
    "MESSAGE_TYPE_MISMATCH": Meaning("forbidden", _ORIGIN),
    "REGISTRATION_NOT_COMPLETE": Meaning("forbidden", _ORIGIN),
    "SENDER_ID_NOT_REGISTERED": Meaning("forbidden", _ORIGIN),
    "SENDER_ID_REQUIRES_REGISTRATION": Meaning("forbidden", _ORIGIN),
    "SENDER_ID_NOT_SUPPORTED": Meaning("forbidden", _ORIGIN),
    "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY": Meaning("forbidden", _ORIGIN),
    # One number. Everything else that is refused is one message's fault too.
    "DESTINATION_PHONE_NUMBER_NOT_VERIFIED": Meaning("rejected", _SANDBOX),
}
"""By the `Reason` of an error or by its code. The reasons are those of the service's model in botocore."""


class AwsSmsChannel:
    """Built from `{"provider": "aws", "from": number, pool or sender id}`; optional `configuration_set`, `region`,
    `rate_per_s`, `unknown_outcome`, `endpoint_url`. Raises `Misconfigured`."""

    deadline_s = DEADLINE_S
    batch_size = 1
    side_by_side = 25

    def __init__(self, config: Mapping[str, Any], now: Callable[[], datetime], clients: Clients) -> None:
        self.rate_per_s = configuration.rate_per_s(config, "sms", RATE_PER_S)
        self.can_resend = configuration.can_resend(config, "sms")
        self._common: dict[str, Any] = {"OriginationIdentity": configuration.required(config, "sms", "from")}
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
            _MEANINGS,
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
