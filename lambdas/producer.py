"""The producer: validates each notification, gives it an id, packs and enqueues it, and answers for each by itself.

A critical notification goes straight to the worker's urgent lane, everything else to the notification queue. So no
volume of anything else delays a password code, neither in that queue nor in the consumers that judge it.

Its Function URL also tells the state of a notification, and cancels notifications (docs/api.md).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import boto3
from aws_lambda_powertools import Logger

from .quiet_hours.api import web
from .quiet_hours.api.shortening import sent_bytes, shorten
from .quiet_hours.api.status import cancel, cancel_source, look_up, requested_cancels
from .quiet_hours.consents.counting import consent_for
from .quiet_hours.errors import ConsentUnavailable, Invalid, Unreadable
from .quiet_hours.notification.admission import admit
from .quiet_hours.notification.bundle import Item, pack
from .quiet_hours.notification.fields import ID_FAULT, is_id
from .quiet_hours.notification.json_text import RepeatedKeys
from .quiet_hours.notification.notification import consent_keys
from .quiet_hours.redaction import redact_errors
from .quiet_hours.rule.choosing import chosen
from .quiet_hours.rule.policy import decide, is_held
from .quiet_hours.rule.terms import Consent, Hold, Policy
from .quiet_hours.settings import Settings
from .quiet_hours.stores.clients import SERVICE_ERRORS, client_config, error_code
from .quiet_hours.stores.consents import read_consents
from .quiet_hours.stores.ledger import Ledger
from .quiet_hours.stores.queues import send
from .quiet_hours.timings import LEASE_S

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sqs import SQSClient

NOTIFICATIONS_MAX = 10_000
"""The most notifications of one request. The answer names each of them within the 6 MB that Lambda returns
(`api/shortening.py`)."""

logger = Logger()
api = web.Api()


@cache
def _clients() -> tuple[SQSClient, DynamoDBClient]:
    config = client_config()
    return boto3.client("sqs", config=config), boto3.client("dynamodb", config=config)


def _dynamodb() -> DynamoDBClient:
    _, dynamodb = _clients()
    return dynamodb


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take `{"notifications": [...]}` or one notification, and answer `{"accepted": [...], "rejected": [...]}`.

    The Function URL takes the same as `POST /notifications`, answered with 202, 400 or 503, and has further paths.
    """
    through_url = isinstance(event, dict) and "requestContext" in event
    return api.resolve(event) if through_url else _accept(event).answer


@api.route("POST", "/notifications")
def post_notifications(request: web.Request) -> web.Response:
    try:
        status, answer = _accept(request.json())
    except Unreadable as fault:
        status, answer = _refuse(f"request: {fault}")
    return web.json_answer(status, answer)


@api.route("GET", f"/notifications/{web.ANY}")
def get_notification(request: web.Request) -> web.Response:
    settings = Settings.from_env()
    policy = settings.quiet_hours()
    return _about_one(request, lambda wanted, now: look_up(wanted, now, _dynamodb(), _ledger(), settings, policy))


@api.route("DELETE", f"/notifications/{web.ANY}")
def delete_notification(request: web.Request) -> web.Response:
    return _about_one(request, _cancel_one)


@api.route("POST", "/notifications/cancel")
def post_cancel(request: web.Request) -> web.Response:
    now, settings = datetime.now(UTC), Settings.from_env()
    answer: dict[str, Any]
    try:
        wanted = requested_cancels(request.json())
        if isinstance(wanted, list):
            status, answer = 200, {"results": cancel(wanted, now, _ledger()), "next": None}
        else:
            status, answer = cancel_source(*wanted, now, _dynamodb(), _ledger(), settings)
    except Unreadable as fault:
        return web.errors(400, f"request: {fault}")
    except Invalid as invalid:
        return web.errors(400, *invalid.errors)
    except SERVICE_ERRORS as error:
        return _no_answer(error)
    logger.info("cancel", extra=Counter(result["outcome"] for result in answer.get("results", ())))
    return web.json_answer(status, answer)


def _about_one(request: web.Request, answer: Callable[[str, datetime], tuple[int, dict[str, Any]]]) -> web.Response:
    id = request.id("/notifications/")
    if not is_id(id):
        return web.errors(400, f"id: {ID_FAULT}")
    try:
        return web.json_answer(*answer(id, datetime.now(UTC)))
    except (*SERVICE_ERRORS, ConsentUnavailable) as error:
        return _no_answer(error)


def _cancel_one(id: str, now: datetime) -> tuple[int, dict[str, Any]]:
    (result,) = cancel([id], now, _ledger())
    logger.info("cancel", extra={result["outcome"]: 1})
    return {"cancelled": 200, "not_known": 503}.get(result["outcome"], 409), result


def _no_answer(error: Exception) -> web.Response:
    logger.warning("not answered", extra={"code": error_code(error)})
    return web.errors(503, "request: the tables do not answer; ask again")


def _ledger() -> Ledger:
    return Ledger(_dynamodb(), Settings.from_env().ledger_table, "api", timedelta(seconds=LEASE_S), time.sleep)


class Accepted(NamedTuple):
    """The HTTP status, and the answer for each notification of a request."""

    status: int
    answer: dict[str, Any]


def _accept(request: object) -> Accepted:
    sqs, dynamodb = _clients()
    settings = Settings.from_env()
    now = datetime.now(UTC)
    status, answer = accept_all(request, now, sqs, dynamodb, settings, settings.quiet_hours(), lambda: str(uuid4()))
    logger.info("accepted", extra={key: len(answer[key]) for key in answer})
    return Accepted(status, answer)


def accept_all(
    request: object,
    now: datetime,
    sqs: SQSClient,
    dynamodb: DynamoDBClient,
    settings: Settings,
    policy: Policy,
    new_id: Callable[[], str],
) -> Accepted:
    """Accept the valid notifications of a request, and answer for each notification:

    `accepted`: `{"id", "decision": "send" | "hold", "until": ISO time or null}`, what SQS has taken and what the rule
    would do with it now. `policy` says which one judges it, if several are deployed or another one was asked for;
    `rejected`: `{"index", "id", "errors"}`, what is wrong with it or that SQS did not take it.
    """
    candidates = _candidates(request)
    if isinstance(candidates, str):
        return _refuse(candidates)
    items, rejected = _admit(candidates, now, settings, new_id)

    taken: list[Item] = []
    for queue_url, queue_items in _queues(items, settings).items():
        messages = pack(queue_items)
        not_taken = send(sqs, queue_url, messages)
        taken += (item for index, message in enumerate(messages) if index not in not_taken for item in message.items)
        for index, code in not_taken.items():
            errors = [f"queue: SQS did not take it ({code}); send it again with the same id"]
            rejected += ({"index": item.place, "id": item.id, "errors": errors} for item in messages[index].items)

    accepted = _forecast(sorted(taken, key=lambda item: item.place), now, dynamodb, settings, policy)
    rejected.sort(key=lambda entry: int(entry["index"]))
    notes_bytes = sum(sent_bytes(entry["policy"]) for entry in accepted if "policy" in entry)
    answer = {"accepted": accepted, "rejected": shorten(rejected, len(candidates), notes_bytes)}
    return Accepted(202 if accepted else 503 if items else 400, answer)


def _admit(
    candidates: Sequence[Any], now: datetime, settings: Settings, new_id: Callable[[], str]
) -> tuple[list[Item], list[dict[str, Any]]]:
    """The items that are accepted, each with its place in the request, and the answers for the others. Of
    several with one id, only the first is accepted."""
    items: list[Item] = []
    rejected: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for index, candidate in enumerate(candidates):
        try:
            default_id = "" if isinstance(candidate, dict) and "id" in candidate else new_id()
            item = admit(candidate, default_id=default_id, now=now, settings=settings, place=index)
            if (place := places.setdefault(item.id, index)) != index:
                raise Invalid([f"id: stands at index {place} already"])
            items.append(item)
        except Invalid as invalid:
            given = candidate.get("id") if isinstance(candidate, dict) else None
            rejected.append({"index": index, "id": given if is_id(given) else None, "errors": invalid.errors})
    return items, rejected


def _queues(items: Sequence[Item], settings: Settings) -> dict[str, list[Item]]:
    """Sort items by the queue that they are put on. The urgent one is the first."""
    urgent: list[Item] = []
    others: list[Item] = []
    for item in items:
        (urgent if item.notification["category"] == "critical" else others).append(item)
    return {settings.urgent_queue_url: urgent, settings.notification_queue_url: others}


def _refuse(error: str) -> Accepted:
    return Accepted(400, {"accepted": [], "rejected": [{"index": 0, "id": None, "errors": [error]}]})


def _candidates(request: object) -> list[Any] | str:
    """The candidates for notifications in a request, or the fault of the request as a whole."""
    if not isinstance(request, dict):
        return 'request: must be one notification or {"notifications": [...]} as a JSON object'
    if "notifications" not in request:
        return [request]
    candidates = request["notifications"]
    if len(request) > 1 or isinstance(request, RepeatedKeys):
        return "request: must have no other field beside notifications"
    if not isinstance(candidates, list) or not 1 <= len(candidates) <= NOTIFICATIONS_MAX:
        return f"notifications: must be an array of 1 to {NOTIFICATIONS_MAX} notifications"
    return candidates


def _forecast(
    items: Sequence[Item], now: datetime, dynamodb: DynamoDBClient, settings: Settings, policy: Policy
) -> list[dict[str, Any]]:
    """The rule's decision on each item now. If the consent table does not answer, it decides without consent."""
    asks = [item.notification for item in items if is_held(item.notification, now, policy)]
    consents: dict[str, Consent] = {}
    if asks:
        try:
            keys = (key for notification in asks for key in consent_keys(notification))
            consents = read_consents(dynamodb, settings.consent_table, keys, now)
        except (*SERVICE_ERRORS, ConsentUnavailable) as error:
            logger.warning("forecast without consents", extra={"code": error_code(error)})
    forecasts = []
    for item in items:
        consent = consent_for(item.notification, consents) if consents else None
        decision = decide(item.notification, consent, now, policy)
        held = isinstance(decision, Hold)
        until = decision.until.isoformat(timespec="seconds") if isinstance(decision, Hold) else None
        forecast = {"id": item.id, "decision": "hold" if held else "send", "until": until}
        choice = chosen(item.notification, now, policy)
        if policy.further or choice.note:
            forecast["policy"] = choice.note or choice.policy.place
        forecasts.append(forecast)
    return forecasts
