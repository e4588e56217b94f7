"""Spreads the evening over all channels: webhook, KakaoTalk, SMS, e-mail, push and Slack.

The id of a notification decides its channel, so that a retry goes to the same channel. The recipient stays the same;
only the address changes. Faulty notifications stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from zlib import crc32

CHANNELS = ("kakao", "sms", "email", "push", "slack", "webhook")

SHOP = "온결"
ALIMTALK_TEMPLATE = "KA01TP-shop"
DEVICES = "arn:aws:sns:us-east-1:000000000000:endpoint/GCM/shop/00000000-0000-4000-8000-00000000"


def by_every_channel(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of an evening with the notifications spread over the channels."""
    return [
        line | {"notification": _spread(line["notification"])} if "notification" in line else line for line in lines
    ]


def _spread(notification: dict[str, Any]) -> dict[str, Any]:
    customer = re.fullmatch(r"user-([0-9]{4})", str(notification.get("address")))
    content = notification.get("content")
    mistake = str(notification.get("id", "")).startswith("faulty-")
    if mistake or customer is None or not isinstance(content, dict) or notification.get("channel") != "webhook":
        return notification
    channel = CHANNELS[crc32(str(notification.get("id", content)).encode()) % len(CHANNELS)]
    advertising = notification.get("category", "advertising") == "advertising"
    if channel == "kakao" and not advertising:
        content = content | {"template": ALIMTALK_TEMPLATE}
    if channel == "email":
        content = {"title": f"(광고) {SHOP}" if advertising else SHOP} | content
    return {
        **notification,
        "channel": channel,
        "address": _address(channel, customer[1]),
        "recipient_id": notification.get("recipient_id", notification["address"]),
        "content": content,
    }


def _address(channel: str, number: str) -> str:
    return {
        "kakao": f"010-1234-{number}",
        "sms": f"010-1234-{number}",
        "email": f"user-{number}@example.com",
        "push": DEVICES + number,
        "slack": f"#shop-{int(number) % 5}",
        "webhook": f"user-{number}",
    }[channel]
