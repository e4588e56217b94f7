"""The order digest: which notifications are to be sent at 10:00. Quiet Hours starts it and accepts what it returns."""

import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

NAME, TIMES, TIMEZONE = "OrderDigest", ["10:00"], "Asia/Seoul"

Order = dict[str, Any]


def handler(event: dict[str, str], context: object) -> list[dict[str, Any]]:
    """Return a notification for each seller who has orders from `since` on and before `until`."""
    since, until = datetime.fromisoformat(event["since"]), datetime.fromisoformat(event["until"])
    orders: defaultdict[str, list[Order]] = defaultdict(list)
    for order in read_orders():
        if since <= datetime.fromisoformat(order["at"]) < until:
            orders[order["seller"]].append(order)
    return [digest(seller, each) for seller, each in orders.items()]


def digest(seller: str, orders: list[Order]) -> dict[str, Any]:
    """The notification for one seller. It needs no id: Quiet Hours makes one of the seller and the time."""
    body = f"주문 {len(orders)}건, 합계 {sum(order['won'] for order in orders):,}원"
    content = {"title": "지난 하루의 주문", "body": body}
    return {"category": "informational", "channel": "webhook", "address": seller, "content": content}


def read_orders() -> list[Order]:
    """The orders. This file stands for your database."""
    orders: list[Order] = json.loads(Path(__file__).with_name("orders.json").read_text(encoding="utf-8"))
    return orders
