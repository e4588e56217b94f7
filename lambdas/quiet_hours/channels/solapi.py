"""Solapi, for SMS, LMS and KakaoTalk. One call carries many messages, and its answer says the outcome of each.

`solapi_messages.py` makes the messages. https://developers.solapi.com/references/messages/sendManyDetail and
https://developers.solapi.com/references/authentication/api-key describe the requests and answers. Solapi has no
idempotency key: the setting `unknown_outcome` decides what follows an unknown outcome.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import CallFailed, Misconfigured, Unfit
from ..notification.json_text import to_text
from ..notification.notification import Notification
from . import configuration
from .channel import DELIVERED, Outcome
from .http import Answer
from .outcomes import answered, call_failed, forbidden, retry_after_s, unauthorized, unfit
from .solapi_messages import PLACE, Sender, kakao_message, sms_message

DEADLINE_S = 10.0
RATE_PER_S = 100.0
"""A default, because Solapi documents no rate. Set `rate_per_s` to the rate of the account."""

BATCH_SIZE = 100
"""The most that a bundle holds. Solapi takes 10,000 in a call."""

SEND_URL = "https://api.solapi.com/messages/v4/send-many/detail"
ALONE_FOR = timedelta(minutes=10)

# Faults of the account or the settings, which concern every message:
# https://docs.solapi.com/api-reference/message-status-codes
_ACCOUNT = {
    "1020": "the account or its key is not known",
    "1030": "the balance is too low",
    "1062": "the sender's number is not registered",
    "1041": "the KakaoTalk channel is not valid",
}

# Faults of the template, which concern every message with it. 1xxx are refusals of a call's message; KakaoTalk's own
# 3xxx come later, in reports that nobody reads here, and are told in an answer only if Solapi knows them already.
_TEMPLATE = {
    "1042": "the template's id is not valid",
    "1043": "the text differs from the registered template",
    "1046": "the template has buttons, which are not sent",
    "3103": "the text differs from the registered template",
    "3105": "the template is not registered",
}


class SolapiChannel:
    """Built for `sms` or `kakao` from `{"api_key": …, "api_secret": …, "from": …}`, for `kakao` with `pf_id` instead of
    `from` and an optional `targeting`; optional `rate_per_s`, `unknown_outcome`, `endpoint_url`. Raises
    `Misconfigured`."""

    deadline_s = DEADLINE_S
    side_by_side = 2

    def __init__(self, name: str, config: Mapping[str, Any], now: Callable[[], datetime]) -> None:
        self.rate_per_s = configuration.rate_per_s(config, name, RATE_PER_S)
        self.can_resend = configuration.can_resend(config, name)
        self._key = configuration.required(config, name, "api_key")
        self._secret = configuration.required(config, name, "api_secret").encode()
        targeting = config.get("targeting", "I")
        if targeting not in ("I", "M", "N"):
            raise Misconfigured(f"{name}.targeting must be I, M or N")
        if name == "kakao":
            self._sender = Sender(configuration.required(config, name, "pf_id"), targeting)
        else:
            self._sender = Sender(configuration.required(config, name, "from"))
        self._message = kakao_message if name == "kakao" else sms_message
        self._http = configuration.endpoint(config, name, SEND_URL, DEADLINE_S)
        self._now = now
        self._alone_until: datetime | None = None

    @property
    def batch_size(self) -> int:
        """One for a while after a call was refused as a whole: then only the notification at fault is refused."""
        return 1 if self._alone_until is not None and self._now() < self._alone_until else BATCH_SIZE

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        messages = []
        for place, notification in enumerate(notifications):
            try:
                messages.append(self._message(notification, place, self._sender))
            except Unfit as fault:
                outcomes[place] = unfit(fault)
        if messages:
            outcomes |= self._call(messages)
        return [outcomes[place] for place in range(len(notifications))]

    def close(self) -> None:
        self._http.close()

    def _call(self, messages: Sequence[dict[str, Any]]) -> dict[int, Outcome]:
        """Send all messages in one call. Returns the outcome of each by its place."""
        places = [int(message["customFields"][PLACE]) for message in messages]
        # Without `allowDuplicates` a second message to the same number would be refused.
        body = to_text({"messages": messages, "allowDuplicates": True}).encode()
        headers = {"content-type": "application/json", "authorization": self._authorization(body)}
        try:
            answer = self._http.post(headers, body)
        except CallFailed as fault:
            return dict.fromkeys(places, call_failed(fault, "Solapi", DEADLINE_S))
        if answer.status == 200:
            return _outcomes(answer, messages)
        outcome = self._refusal(answer)
        if outcome.kind == "rejected" and len(places) > 1:
            self._alone_until = self._now() + ALONE_FOR
            outcome = Outcome("retry", outcome.reason + " to all of a call; they go alone now")
        return dict.fromkeys(places, outcome)

    def _authorization(self, body: bytes) -> str:
        """Sign a call. The salt must differ for each call; it is made from the time and the body."""
        date = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        salt = hashlib.sha256(date.encode() + body).hexdigest()[:32]
        signature = hmac.digest(self._secret, (date + salt).encode(), hashlib.sha256).hex()
        return f"HMAC-SHA256 apiKey={self._key}, date={date}, salt={salt}, signature={signature}"

    def _refusal(self, answer: Answer) -> Outcome:
        """Return the outcome of every message of a call whose answer is not 200."""
        status, code = answer.status, _error_code(answer)
        reason = answered("solapi", "Solapi", status, code)
        if status in (401, 403):
            return unauthorized(reason)
        if status == 402 or code == "NotEnoughBalance":
            return Outcome("misconfigured", f"{reason}; the balance is too low")
        if 300 <= status < 400 or status in (404, 405):
            return forbidden(f"{reason}; redirects are not followed", "that nothing stands between here and Solapi")
        if status in (429, 503) or code == "TooManyRequests":
            return Outcome("unavailable", reason, retry_after_s(answer.headers.get("retry-after", ""), self._now()))
        if status >= 500 or 200 < status < 300:
            return Outcome("unknown", reason)
        return Outcome("rejected", reason)


def _outcomes(answer: Answer, messages: Sequence[dict[str, Any]]) -> dict[int, Outcome]:
    """Return the outcome of each message, by its place, of a call whose answer is 200: it lists the failed messages.

    If the list cannot be read, or its numbers do not add up, the outcomes are unknown.
    """
    by_place = {int(message["customFields"][PLACE]): message for message in messages}
    try:
        parsed = json.loads(answer.body)
        failures, count = parsed["failedMessageList"], parsed["groupInfo"]["count"]
        if (count["total"], count["registeredFailed"]) != (len(messages), len(failures)):
            return dict.fromkeys(by_place, _UNCLEAR)
        outcomes = dict.fromkeys(by_place, DELIVERED)
        for failure in failures:
            places = _places(failure, by_place)
            outcome = _refused(str(failure["statusCode"])) if len(places) == 1 else _UNCLEAR
            outcomes |= dict.fromkeys(places or by_place, outcome)
    except (ValueError, KeyError, TypeError, AttributeError):
        return dict.fromkeys(by_place, _UNCLEAR)
    return outcomes


_UNCLEAR = Outcome("unknown", "solapi_unclear: Solapi answered 200, but it is unclear which messages it has")


def _places(failure: Mapping[str, Any], by_place: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """Return the messages that a failure may mean: the one whose custom field it repeats, else all to its number."""
    place = (failure.get("customFields") or {}).get(PLACE)
    if place is not None:
        return [int(place)] if int(place) in by_place else []
    return [place for place, message in by_place.items() if message["to"] == failure.get("to")]


def _refused(code: str) -> Outcome:
    if code in _ACCOUNT:
        return Outcome("misconfigured", f"solapi_{code}: Solapi's status {code}, {_ACCOUNT[code]}")
    if code == "1024":
        return Outcome("unavailable", f"solapi_{code}: Solapi's status {code}, a fault on Solapi's side")
    if code in _TEMPLATE:
        reason = f"solapi_{code}: Solapi's status {code}, {_TEMPLATE[code]}"
        return Outcome("rejected", reason, refuses_template=True)
    shown = code if re.fullmatch("[0-9]{4}", code) else "unreadable"
    return Outcome("rejected", f"solapi_{shown}: Solapi's status {shown}")


def _error_code(answer: Answer) -> str:
    """Return Solapi's error code for the whole call; empty if there is none."""
    try:
        code = str(json.loads(answer.body)["errorCode"])
    except (ValueError, KeyError, TypeError):
        return ""
    return code if re.fullmatch("[A-Za-z0-9_]{1,64}", code) else ""
