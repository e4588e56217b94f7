"""Push through SNS mobile endpoints. The address is a device's endpoint ARN.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html and
https://docs.aws.amazon.com/sns/latest/dg/sns-send-custom-platform-specific-payloads-mobile-devices.html. It has no
idempotency key for endpoints: the setting `unknown_outcome` decides what follows an unknown outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import Unfit
from ..notification.json_text import to_text
from ..notification.notification import Notification
from . import configuration
from .aws import DEADLINE_S, Clients, Meaning, Service
from .channel import Outcome
from .outcomes import body_of, unfit

RATE_PER_S = 300.0
"""The lowest quota of any region: https://docs.aws.amazon.com/general/latest/gr/sns.html"""

PAYLOAD_BYTES_MAX = 4096
"""The limit of Apple and of Google:
https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification and
https://firebase.google.com/docs/cloud-messaging/customize-messages/set-message-type"""

TTL_S_MAX = 2_419_200
"""Four weeks: https://firebase.google.com/docs/cloud-messaging/customize-messages/setting-message-lifespan"""

_ENDPOINT = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):[0-9]{12}:endpoint/(APNS|APNS_SANDBOX|GCM)/[!-~]+/[0-9a-f-]+")
_MEANINGS = dict.fromkeys(
    ("KMSDisabled", "KMSInvalidState", "KMSNotFound", "KMSOptInRequired", "KMSThrottling", "KMSAccessDenied"),
    Meaning("unavailable"),
)


class SnsChannel:
    """Built from `{}`; optional `region`, `rate_per_s`, `unknown_outcome`, `endpoint_url`. Raises `Misconfigured`."""

    deadline_s = DEADLINE_S
    batch_size = 1
    side_by_side = 25

    def __init__(self, config: Mapping[str, Any], now: Callable[[], datetime], clients: Clients) -> None:
        self.rate_per_s = configuration.rate_per_s(config, "push", RATE_PER_S)
        self.can_resend = configuration.can_resend(config, "push")
        self._service = Service(clients, "sns", config, "push", "SNS")
        self._now = now

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._send(notification) for notification in notifications]

    def close(self) -> None:
        self._service.close()

    def _send(self, notification: Notification) -> Outcome:
        try:
            message = _message(notification, self._service.region)
        except Unfit as fault:
            return unfit(fault)
        return self._service.call(
            "publish",
            _MEANINGS,
            TargetArn=notification["address"],
            MessageStructure="json",
            Message=message,
            MessageAttributes=self._time_to_live(notification),
        )

    def _time_to_live(self, notification: Notification) -> dict[str, Any]:
        """Bound how long Apple and Google keep trying: https://docs.aws.amazon.com/sns/latest/dg/sns-ttl.html"""
        endpoint = _ENDPOINT.fullmatch(notification["address"])
        assert endpoint is not None, "the message was made for it"
        platform = "FCM" if endpoint[2] == "GCM" else endpoint[2]
        left_s = (datetime.fromisoformat(notification["expires_at"]) - self._now()).total_seconds()
        seconds = int(min(max(left_s, 0), TTL_S_MAX))  # 0: now or never
        return {f"AWS.SNS.MOBILE.{platform}.TTL": {"DataType": "String", "StringValue": str(seconds)}}


def _message(notification: Notification, region: str) -> str:
    """Return the payload for the platform of the endpoint. Raises `Unfit`."""
    endpoint = _ENDPOINT.fullmatch(notification["address"])
    if endpoint is None or endpoint[1] != region:
        raise Unfit(f"address must be the ARN of an SNS endpoint of APNS, APNS_SANDBOX or GCM in {region}")
    alert = {"body": body_of(notification)}
    if title := notification["content"].get("title"):
        alert["title"] = title
    data = {"notification_id": notification["id"]}
    if endpoint[2] == "GCM":
        payload = to_text({"fcmV1Message": {"message": {"notification": alert, "data": data}}})
    else:
        payload = to_text({"aps": {"alert": alert}, **data})
    if len(payload.encode()) > PAYLOAD_BYTES_MAX:
        raise Unfit(f"content must be at most {PAYLOAD_BYTES_MAX} bytes as a push payload")
    return to_text({"default": alert["body"], endpoint[2]: payload})
