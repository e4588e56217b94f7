"""Notifications that the tests send: an advertisement, which quiet hours hold, and an order message, which they do
not."""

from __future__ import annotations

from typing import Any


def advertising(id: str, **fields: Any) -> dict[str, Any]:
    content = {"title": "(광고) 심야 특가", "body": "오늘 밤만 30% 할인. 무료수신거부 080-000-0000"}
    return {"id": id, "channel": "webhook", "address": "user-1", "content": content} | fields


def order(id: str, **fields: Any) -> dict[str, Any]:
    return advertising(id, category="informational", content={"body": "주문이 완료되었습니다"}) | fields
