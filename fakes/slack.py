"""Fake of Slack's `chat.postMessage` and of its incoming webhooks.

After https://docs.slack.dev/reference/methods/chat.postMessage and
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .provider import Reply, Request, as_json

TOKEN = "xoxb-demo"
API, HOOKS, HOOK = "/api/chat.postMessage", "/services/", "/services/T0DEMO/B0DEMO/demo"


class Slack:
    """Slack with one bot and one webhook. Every channel exists, except #nowhere; #old is archived, and #private is not
    the bot's."""

    name = "slack"

    def is_for(self, request: Request) -> bool:
        return request.path == API or request.path.startswith(HOOKS)

    def ids(self, request: Request) -> list[str]:
        try:
            return [request.json()["metadata"]["event_payload"]["notification_id"]]
        except (ValueError, KeyError, TypeError):
            return [""]  # a message to a webhook has no id

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        (id,) = self.ids(request)
        error = _api_error(request) if request.path == API else _hook_error(request)
        if error is None and id in unwanted:
            error = (200, "is_archived") if request.path == API else (410, "channel_is_archived")
        if error is not None:
            return _said(request, *error, refused=[id])
        return _said(request, 200, "ok", taken=[id])

    def fault(self, status: int) -> Reply:
        error = {429: "ratelimited", 500: "fatal_error", 503: "service_unavailable"}.get(status, "internal_error")
        return as_json(status, {"ok": False, "error": error})


def _api_error(request: Request) -> tuple[int, str] | None:
    authorization = request.headers.get("authorization")
    if authorization != f"Bearer {TOKEN}":
        return 200, "invalid_auth" if authorization else "not_authed"
    message = _message(request)
    if message is None:
        return 200, "invalid_json"
    if message.get("channel") in ("#nowhere", None):
        return 200, "channel_not_found"
    if message["channel"] == "#old":
        return 200, "is_archived"
    if message["channel"] == "#private":
        return 200, "no_permission"
    if not message.get("text") and not message.get("attachments"):
        return 200, "no_text"
    return None


def _hook_error(request: Request) -> tuple[int, str] | None:
    if request.path != HOOK:
        return 403, "invalid_token"
    message = _message(request)
    return (400, "invalid_payload") if message is None or not message.get("text") else None


def _message(request: Request) -> dict[str, Any] | None:
    try:
        message = request.json()
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _said(request: Request, status: int, said: str, **ids: Collection[str]) -> Reply:
    if request.path != API:
        return Reply(status, said.encode(), {"Content-Type": "text/html"}, **ids)
    if said == "ok":
        return as_json(200, {"ok": True, "channel": "C0DEMO", "ts": f"{request.at.timestamp():.6f}"}, **ids)
    return as_json(status, {"ok": False, "error": said}, **ids)
