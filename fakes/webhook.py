"""Fake of a company's own receiver, which takes every signed request: https://www.standardwebhooks.com"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Collection

from .provider import Reply, Request

SECRET = "whsec_" + base64.b64encode(b"a key for the demo's webhook").decode()
PATH = "/notifications"
TOLERANCE_S = 300


class Webhook:
    """A webhook receiver that checks the signature and the time."""

    name = "webhook"

    def is_for(self, request: Request) -> bool:
        return request.path == PATH

    def ids(self, request: Request) -> list[str]:
        return [request.headers.get("webhook-id", "")]

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        (id,) = self.ids(request)
        timestamp = request.headers.get("webhook-timestamp", "")
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = f"{id}.{timestamp}.".encode() + request.body
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        if request.headers.get("webhook-signature") != expected:
            return Reply(401, refused=[id])
        if abs(int(timestamp) - request.at.timestamp()) > TOLERANCE_S:
            return Reply(401, refused=[id])
        return Reply(410, refused=[id]) if id in unwanted else Reply(204, taken=[id])

    def fault(self, status: int) -> Reply:
        return Reply(status)
