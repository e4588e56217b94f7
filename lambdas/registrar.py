"""The registrar: the only function that writes consents. The right to send must not include the right to grant consent.

`PUT /consents/{recipient_id}`, `GET /consents/{recipient_id}`, `POST /consents/{recipient_id}/renotified`, and
`GET /consents?due_before=…`, through a Function URL of its own (docs/consent.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import boto3
from aws_lambda_powertools import Logger

from .quiet_hours.api import web
from .quiet_hours.consents.record import Record, amended, at_free_instant, renotified
from .quiet_hours.consents.statement import due_fault, renotification, statement
from .quiet_hours.errors import Invalid, StatementRefused, Unreadable
from .quiet_hours.notification.addresses import KEY_BYTES_MAX, canonical_recipient, path_recipient_fault
from .quiet_hours.notification.fields import text_check
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import Settings
from .quiet_hours.stores.clients import SERVICE_ERRORS, client_config, error_code
from .quiet_hours.stores.consents import ROUNDS_MAX, Change, due, history, read_record, taken_instants, write

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from types_boto3_dynamodb import DynamoDBClient

_key_fault = text_check(KEY_BYTES_MAX)
HISTORY_MAX = 100
DUE_MAX = 1000

logger = Logger()
api = web.Api()

Answer = tuple[int, dict[str, Any]]


@cache
def _client() -> DynamoDBClient:
    dynamodb: DynamoDBClient = boto3.client("dynamodb", config=client_config())
    return dynamodb


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request to the Function URL."""
    if not isinstance(event, dict) or "requestContext" not in event:
        return {"errors": ["request: the registrar is asked through its Function URL"]}
    return api.resolve(event)


@api.route("PUT", f"/consents/{web.ANY}")
def put_consent(request: web.Request) -> web.Response:
    return _about_one(request, lambda recipient, now: _put(recipient, request.json(), now))


@api.route("GET", f"/consents/{web.ANY}")
def get_consent(request: web.Request) -> web.Response:
    return _about_one(request, lambda recipient, now: consent_of(recipient, now, _client(), Settings.from_env()))


@api.route("POST", f"/consents/{web.ANY}/renotified")
def post_renotified(request: web.Request) -> web.Response:
    return _about_one(request, lambda recipient, now: _renotify(recipient, request.json(), now), "/renotified")


@api.route("GET", "/consents")
def get_due(request: web.Request) -> web.Response:
    return _answered(lambda: due_before(request.query, datetime.now(UTC), _client(), Settings.from_env()))


def _put(recipient: str, body: object, now: datetime) -> Answer:
    settings = Settings.from_env()
    said = statement(body, now)
    zone = ZoneInfo(settings.timezone)
    return change(
        recipient,
        "changed",
        said.evidence,
        lambda record: amended(record, recipient, said, now, zone),
        now,
        _client(),
        settings,
    )


def _renotify(recipient: str, body: object, now: datetime) -> Answer:
    settings = Settings.from_env()
    evidence, at = renotification(body, now)
    zone = ZoneInfo(settings.timezone)
    return change(
        recipient,
        "renotified",
        evidence,
        lambda record: renotified(record, at, now, zone),
        now,
        _client(),
        settings,
    )


def _about_one(request: web.Request, answer: Callable[[str, datetime], Answer], suffix: str = "") -> web.Response:
    recipient = request.id("/consents/", suffix)
    if fault := path_recipient_fault(recipient):
        return web.errors(400, f"recipient_id: {fault}")
    return _answered(lambda: answer(canonical_recipient(recipient), datetime.now(UTC)))


def _answered(answer: Callable[[], Answer]) -> web.Response:
    try:
        status, body = answer()
    except Unreadable as fault:
        return web.errors(400, f"request: {fault}")
    except Invalid as invalid:
        return web.errors(400, *invalid.errors)
    except StatementRefused as refused:
        return web.errors(409, str(refused))
    except SERVICE_ERRORS as error:
        logger.warning("not answered", extra={"code": error_code(error)})
        return web.errors(503, "request: the consent table does not answer; ask again")
    logger.info("answered", extra={"status": status})
    return web.json_answer(status, body)


def change(
    recipient: str,
    event: str,
    evidence: str,
    decided: Callable[[Record | None], Record],
    now: datetime,
    dynamodb: DynamoDBClient,
    settings: Settings,
) -> Answer:
    """Read the record, decide, and write it with its history. Start again if somebody else was faster, or if
    the history has another entry at the same instant.

    Raises what `decided` and the client raise.
    """
    taken: set[str] = set()
    for _ in range(ROUNDS_MAX):
        record = read_record(dynamodb, settings.consent_table, recipient)
        after = decided(record)
        if after == record:
            return 200, after.shown(now)
        change = Change(record, at_free_instant(after, event, taken), event, evidence)
        if write(dynamodb, settings.consent_table, settings.consent_history_table, [change], now):
            return 200, change.after.shown(now)
        taken |= taken_instants(dynamodb, settings.consent_history_table, change, now)
    return 503, {"errors": ["request: others are changing this consent; ask again"]}


def consent_of(recipient: str, now: datetime, dynamodb: DynamoDBClient, settings: Settings) -> Answer:
    """Answer the record and its newest changes: 200, or 404 if there is no record, which means no night consent."""
    record = read_record(dynamodb, settings.consent_table, recipient)
    if record is None:
        return 404, {"errors": ["recipient_id: has no record, and so no night consent"]}
    changes = history(dynamodb, settings.consent_history_table, recipient, HISTORY_MAX)
    return 200, record.shown(now) | {"history": changes}


def due_before(asked: Mapping[str, str], now: datetime, dynamodb: DynamoDBClient, settings: Settings) -> Answer:
    """Answer who must be notified again before a day: `{"due": [...], "next": where the next page begins, or null}`.

    Raises `Invalid`, and what the client raises.
    """
    after = None
    if fault := due_fault(asked.get("due_before", ""), now):
        raise Invalid([f"due_before: {fault}"])
    before = date.fromisoformat(asked["due_before"])
    if "after" in asked:
        day, _, recipient = asked["after"].partition(",")
        if due_fault(day, now) or day >= before.isoformat() or _key_fault(recipient):
            raise Invalid(["after: must be the `next` of an earlier answer"])
        after = {"renotify_due": day, "recipient_id": recipient}
    found, last = due(dynamodb, settings.consent_table, before, DUE_MAX, after)
    return 200, {"due": found, "next": f"{last['renotify_due']},{last['recipient_id']}" if last else None}
