"""Makes Solapi messages from notifications, and checks the limits of their texts.

The lengths and the alphabet are those of the statuses 1014, 1029, 1031 and 1032 in
https://docs.solapi.com/api-reference/message-status-codes. KakaoTalk limits brand messages:
https://docs.kakaoi.ai/kakao_i_connect_message/bizmessage/api/api_reference/bm/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import Unfit
from ..notification.notification import Notification
from ..notification.sms_encoding import not_in_euc_kr
from .outcomes import body_of

SMS_BYTES_MAX = 90
LMS_BYTES_MAX = 2000
SUBJECT_BYTES_MAX = 40
ALIMTALK_CHARACTERS_MAX = 1000
BRAND_CHARACTERS_MAX = 1300
BRAND_LINES_MAX = 100
CUSTOM_CHARACTERS_MAX = 100
KOREA = "+82"

PLACE, ID = "place", "notification"
"""Custom fields. Solapi repeats them in its answers, and shows them in its console."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender: a registered number for `sms`, a KakaoTalk channel (`pfId`) for `kakao`. `targeting`: whom a brand
    message may reach. I is the channel's friends; M and N need KakaoTalk's approval."""

    id: str
    targeting: str = "I"


def sms_message(notification: Notification, place: int, sender: Sender) -> dict[str, Any]:
    """Make an SMS, or an LMS if the text is longer or has a title. Raises `Unfit`."""
    text = body_of(notification)
    size_bytes = _euc_kr_bytes("body", text)
    message = _base(notification, place) | {"from": sender.id, "text": text}
    if "title" not in notification["content"] and size_bytes <= SMS_BYTES_MAX:
        return message | {"type": "SMS"}
    if size_bytes > LMS_BYTES_MAX:
        raise Unfit(f"content.body must be at most {LMS_BYTES_MAX} bytes in EUC-KR")
    if title := notification["content"].get("title"):
        if _euc_kr_bytes("title", title) > SUBJECT_BYTES_MAX:
            raise Unfit(f"content.title must be at most {SUBJECT_BYTES_MAX} bytes in EUC-KR")
        message["subject"] = title
    return message | {"type": "LMS"}


def kakao_message(notification: Notification, place: int, sender: Sender) -> dict[str, Any]:
    """Make a brand message for advertising, which AlimTalk must not carry, and an AlimTalk otherwise. Raises `Unfit`.

    Neither falls back to SMS, which is another channel with other limits and another price.
    """
    content = notification["content"]
    options: dict[str, Any] = {"pfId": sender.id, "disableSms": True}
    message: dict[str, Any] = _base(notification, place) | {"kakaoOptions": options}
    if "template" in content:
        options |= {"templateId": content["template"], "variables": _variables(content.get("variables", {}))}
    if notification["category"] == "advertising":
        options["bms"] = {"targeting": sender.targeting}
        if "template" not in content:
            options["bms"]["chatBubbleType"] = "TEXT"
            message |= {"type": "BMS_FREE", "text": _brand_text(content)}
    elif "template" in content:
        message["type"] = "ATA"
        if "body" in content:
            if len(content["body"]) > ALIMTALK_CHARACTERS_MAX:
                raise Unfit(f"content.body must be at most {ALIMTALK_CHARACTERS_MAX} characters")
            message["text"] = content["body"]
    else:
        raise Unfit("content.template is required: AlimTalk carries registered templates only")
    return message


def _base(notification: Notification, place: int) -> dict[str, Any]:
    if not notification["address"].startswith(KOREA):
        raise Unfit(f"address must be a Korean number, which begins with {KOREA}")
    custom = {PLACE: str(place)}
    if len(notification["id"]) <= CUSTOM_CHARACTERS_MAX:
        custom[ID] = notification["id"]
    return {"to": "0" + notification["address"].removeprefix(KOREA), "customFields": custom}


def _euc_kr_bytes(name: str, text: str) -> int:
    """Return the length that is paid for. A text that `smsEncoding` lets through at acceptance is refused here."""
    if (place := not_in_euc_kr(text)) is not None:
        raise Unfit(f"content.{name} has U+{ord(text[place]):04X} at character {place + 1}, which EUC-KR lacks")
    return len(text.encode("euc_kr"))


def _brand_text(content: dict[str, Any]) -> str:
    text = "\n".join(content[name] for name in ("title", "body") if name in content)
    if len(text) > BRAND_CHARACTERS_MAX or text.count("\n") >= BRAND_LINES_MAX:
        limit = f"{BRAND_CHARACTERS_MAX} characters in {BRAND_LINES_MAX} lines"
        raise Unfit(f"content.title and content.body together must be at most {limit}")
    return text


def _variables(variables: dict[str, Any]) -> dict[str, str]:
    if not all(isinstance(value, str) for value in variables.values()):
        raise Unfit("content.variables must all be text")
    return {name if name.startswith("#{") else f"#{{{name}}}": value for name, value in variables.items()}
