"""Fake of Solapi's `POST /messages/v4/send-many/detail`.

After https://developers.solapi.com/references/messages/sendManyDetail, .../references/authentication/api-key and
https://docs.solapi.com/api-reference/message-status-codes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from .provider import Reply, Request, as_json

API_KEY, API_SECRET = "NCSDEMO", "a secret for the demo".replace(" ", "-")
SENDER, PF_ID = "0212345678", "KA01PFdemo"
PATH = "/messages/v4/send-many/detail"
_AUTHORIZATION = re.compile(r"HMAC-SHA256 apiKey=(\S+), date=(\S+), salt=(\S{12,64}), signature=([0-9a-f]{64})")
_MOST = {"SMS": 90, "LMS": 2000, "ATA": 1000, "BMS_FREE": 1300}


class Solapi:
    """Solapi with one account, one sender's number and one KakaoTalk channel."""

    name = "solapi"

    def __init__(self) -> None:
        self._signatures: set[str] = set()

    def is_for(self, request: Request) -> bool:
        return request.path == PATH

    def ids(self, request: Request) -> list[str]:
        try:
            return [message["customFields"]["notification"] for message in request.json()["messages"]]
        except (ValueError, KeyError, TypeError):
            return []

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        if wrong := self._wrong_authorization(request):
            return as_json(403, {"errorCode": wrong, "errorMessage": wrong})
        try:
            asked = request.json()
            messages = asked["messages"]
            codes = [_code(message, unwanted) for message in messages]
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            return as_json(400, {"errorCode": "ValidationError", "errorMessage": type(fault).__name__})
        if not 1 <= len(messages) <= 10_000:
            return as_json(400, {"errorCode": "ValidationError", "errorMessage": "messages"})
        seen: set[str] = set()
        for place, message in enumerate(messages):
            if message["to"] in seen and not asked.get("allowDuplicates"):
                codes[place] = "1026"
            seen.add(message["to"])
        return _registered(messages, codes)

    def fault(self, status: int) -> Reply:
        return as_json(status, {"errorCode": "TooManyRequests" if status == 429 else "InternalError"})

    def _wrong_authorization(self, request: Request) -> str | None:
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            return "AuthorizationHeaderMalformed"
        key, date, salt, signature = found.groups()
        if key != API_KEY:
            return "InvalidAPIKey"
        if abs(datetime.fromisoformat(date) - request.at) > timedelta(minutes=15):
            return "RequestTimeTooSkewed"
        if signature != hmac.new(API_SECRET.encode(), (date + salt).encode(), hashlib.sha256).hexdigest():
            return "SignatureDoesNotMatch"
        if signature in self._signatures:
            return "DuplicatedSignature"
        self._signatures.add(signature)
        return None


def _code(message: dict[str, Any], unwanted: Collection[str]) -> str:
    """Return the status of one message; 2000 is success."""
    custom, kind, text = message.get("customFields", {}), message.get("type"), message.get("text", "")
    options = message.get("kakaoOptions")
    if not message["to"].isdigit() or (not text and not options):
        return "1010"
    if any(len(name) > 30 or not isinstance(value, str) or len(value) > 100 for name, value in custom.items()):
        return "1032"
    if kind in ("SMS", "LMS"):
        code = _sms_code(message, text)
    elif kind in ("ATA", "BMS_FREE", None):
        code = "1041" if not options or options["pfId"] != PF_ID else "2000"
        if kind == "ATA" and "templateId" not in options:
            code = "1042"
        if kind is not None and len(text) > _MOST[kind]:
            code = "1031"
    else:
        code = "1025"
    return "1061" if code == "2000" and custom.get("notification") in unwanted else code


def _sms_code(message: dict[str, Any], text: str) -> str:
    if message.get("from") != SENDER:
        return "1062"
    try:
        sizes = [len(character.encode("euc_kr")) for character in text + message.get("subject", "")]
    except UnicodeEncodeError:
        return "1029"
    if max(sizes) > 2:
        return "1029"
    if sum(sizes[: len(text)]) > _MOST[message["type"]]:
        return "1031"
    if "subject" in message and message["type"] == "SMS":
        return "1013"
    return "1014" if sum(sizes[len(text) :]) > 40 else "2000"


def _registered(messages: list[dict[str, Any]], codes: list[str]) -> Reply:
    failures = [
        {
            "to": message["to"],
            "from": message.get("from", ""),
            "type": message.get("type", "ATA"),
            "country": "82",
            "messageId": f"M4V{place:08}",
            "statusCode": code,
            "statusMessage": f"status {code}",
            "accountId": "12925149",
            "customFields": message.get("customFields"),
        }
        for place, (message, code) in enumerate(zip(messages, codes, strict=True))
        if code != "2000"
    ]
    ids = [message.get("customFields", {}).get("notification", "") for message in messages]
    count = {
        "total": len(messages),
        "registeredFailed": len(failures),
        "registeredSuccess": len(messages) - len(failures),
    }
    return as_json(
        200,
        {"failedMessageList": failures, "groupInfo": {"groupId": "G4Vdemo", "status": "SENDING", "count": count}},
        taken=[id for id, code in zip(ids, codes, strict=True) if code == "2000"],
        refused=[id for id, code in zip(ids, codes, strict=True) if code != "2000"],
    )
