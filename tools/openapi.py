"""`make openapi`: writes docs/openapi.json, which describes both Function URLs, from the tables that validate requests.

python -m tools.openapi
"""

from __future__ import annotations

import json
from typing import Any

from lambdas import producer, registrar
from lambdas.quiet_hours.api import status
from lambdas.quiet_hours.consents import statement
from lambdas.quiet_hours.notification import addresses, notification
from lambdas.quiet_hours.notification import fields as field_checks
from lambdas.quiet_hours.rule.policy import CATEGORIES
from lambdas.quiet_hours.stores.entries import ENDINGS, MALFORMED
from local import ROOT

FILE = ROOT / "docs" / "openapi.json"

Schema = dict[str, Any]

# Excludes what `field_checks.text_check` refuses; surrogates cannot stand in JSON's UTF-8 anyway.
SENDABLE = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufffe\uffff]*$"


def document() -> Schema:
    """Return the whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quiet Hours",
            "version": "0",
            "description": "Two Function URLs, both signed with IAM (SigV4, service lambda): the producer's for "
            "notifications, the registrar's for consents. Ids in paths are percent-encoded.",
        },
        "security": [{"sigv4": []}],
        "paths": _notifications() | _consents(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"sigv4": {"type": "apiKey", "name": "Authorization", "in": "header"}},
        },
    }


def _notifications() -> Schema:
    id = _path_parameter("id", _ref("Id"))
    not_now = _answer("A table does not answer: try again", _ref("Errors"))
    paths = {
        "/notifications": {
            "post": _operation(
                "Accept one notification or many; the answer says the result of each",
                {
                    "202": _answer("At least one was accepted", _ref("Accepted")),
                    "400": _answer("None was valid", _ref("Accepted")),
                    "503": _answer("SQS accepted none: send them again with the same ids", _ref("Accepted")),
                },
                body={"anyOf": [_ref("Notification"), _ref("Notifications")]},
            )
        },
        "/notifications/cancel": {
            "post": _operation(
                "Cancel notifications by their ids, or everything that is held for one source",
                {
                    "200": _answer("The outcome of each", _ref("Cancellations")),
                    "400": _wrong(),
                    "409": _answer("The deployment does not record what is held (recordHeld)", _ref("Errors")),
                    "503": not_now,
                },
                body=_ref("Cancel"),
            )
        },
        "/notifications/{id}": {
            "parameters": [id],
            "get": _operation(
                "Get the state of a notification, and the reason for it",
                {
                    "200": _answer("Its state", _ref("State")),
                    "400": _wrong(),
                    "404": _answer("Nothing is recorded for this id", _ref("State")),
                    "503": not_now,
                },
            ),
            "delete": _operation(
                "Cancel a notification",
                {
                    "200": _answer("Cancelled: it will not be sent", _ref("Cancellation")),
                    "400": _wrong(),
                    "409": _answer("Too late: it is being sent, or it has ended", _ref("Cancellation")),
                    "503": _answer("The ledger does not answer: try again", _ref("Cancellation")),
                },
            ),
        },
    }
    return _served_by("producer", paths)


def _consents() -> Schema:
    recipient = _path_parameter("recipient_id", _ref("RecipientId"))
    not_now = _answer("The table does not answer: try again", _ref("Errors"))
    changed = {
        "200": _answer("The consent as it stands now", _ref("Consent")),
        "400": _wrong(),
        "409": _answer("A newer statement stands", _ref("Errors")),
        "503": not_now,
    }
    paths = {
        "/consents": {
            "get": _operation(
                "List the recipients who must be notified again before a date, the longest overdue first",
                {"200": _answer("Up to a thousand recipients", _ref("Due")), "400": _wrong(), "503": not_now},
                parameters=[
                    {
                        "name": "due_before",
                        "in": "query",
                        "required": True,
                        "schema": _ref("Date"),
                        "description": f"At most {statement.DUE_YEARS_AHEAD_MAX} years ahead",
                    },
                    {
                        "name": "after",
                        "in": "query",
                        "schema": {"type": "string"},
                        "description": "`next` of an earlier answer",
                    },
                ],
            )
        },
        "/consents/{recipient_id}": {
            "parameters": [recipient],
            "put": _operation("State what a recipient consents to", changed, body=_ref("Statement")),
            "get": _operation(
                "Get what a recipient consents to, with the newest changes",
                {
                    "200": _answer("The consent and its history", _ref("ConsentWithHistory")),
                    "400": _wrong(),
                    "404": _answer("No record: no night consent", _ref("Errors")),
                    "503": not_now,
                },
            ),
        },
        "/consents/{recipient_id}/renotified": {
            "parameters": [recipient],
            "post": _operation("State that a recipient was notified again", changed, body=_ref("Renotification")),
        },
    }
    return _served_by("registrar", paths)


def _schemas() -> Schema:
    return _basic_schemas() | _notification_schemas() | _consent_schemas()


def _basic_schemas() -> Schema:
    return {
        "Id": {"type": "string", "pattern": f"^{field_checks._ID.pattern}$", "maxLength": 128},
        "RecipientId": _text(addresses.RECIPIENT_CHARACTERS_MAX) | {"not": {"pattern": "%[0-9A-Fa-f]{2}"}},
        "Time": {"type": "string", "format": "date-time", "pattern": f"^{field_checks._TIME.pattern}$"},
        "Date": {"type": "string", "format": "date"},
        "Errors": _object(errors=_array({"type": "string"}, 1)),
    }


def _notification_schemas() -> Schema:
    return {
        "Notification": _notification(),
        "Notifications": _object(notifications=_array(_ref("Notification"), 1, producer.NOTIFICATIONS_MAX)),
        "Accepted": _object(
            accepted=_array(
                _object(
                    {"policy"},
                    id=_ref("Id"),
                    decision={"enum": ["send", "hold"]},
                    until=_maybe({"type": "string"}),
                    policy={"type": "string", "description": "The policy that judges it, if several are deployed"},
                )
            ),
            rejected=_array(
                _object(
                    index={"type": "integer", "minimum": 0},
                    id=_maybe(_ref("Id")),
                    errors=_array({"type": "string"}, 1),
                )
            ),
        ),
        "Cancel": {
            "oneOf": [
                _object(ids=_array(_ref("Id"), 1, status.CANCELS_MAX)),
                _object({"after"}, source=_text(128), after=_maybe({"type": "string"})),
            ]
        },
        "Cancellation": _object(
            id=_ref("Id"),
            outcome={"enum": ["cancelled", "too_late", "ended", "not_known"]},
            state=_maybe({"enum": ["claimed", *ENDINGS]}),
        ),
        "Cancellations": _object(
            {"complete", "why", "held_before"},
            results=_array(_ref("Cancellation")),
            next=_maybe({"type": "string"}),
            complete={
                "type": "boolean",
                "description": "For a source: everything held before the first page's held_before was found",
            },
            why=_maybe({"type": "string"}),
            held_before={"type": "string"},
        ),
        "State": _object(
            {"ended_at", "held_at", "source", "rule"},
            id=_ref("Id"),
            state={"enum": ["not_recorded", "held", "released", "claimed", "waiting", MALFORMED, *ENDINGS]},
            why={"type": "string"},
            until=_maybe({"type": "string"}),
            attempts={"type": "integer", "minimum": 0},
            ended_at={"type": "string"},
            held_at={"type": "string"},
            source=_maybe({"type": "string"}),
            rule=_object(
                decision={"enum": ["send", "hold", "expired", "opted_out"]},
                until=_maybe({"type": "string"}),
                why={"type": "string"},
            ),
        ),
    }


def _consent_schemas() -> Schema:
    return {
        "Statement": _fields(statement.STATEMENT_FIELDS, statement.OPTIONAL_FIELDS),
        "Renotification": _fields(statement.RENOTIFICATION_FIELDS, statement.OPTIONAL_FIELDS),
        "Consent": _object(**_CONSENT),
        "ConsentWithHistory": _object(**_CONSENT, history=_array(_object(**_CHANGE), most=registrar.HISTORY_MAX)),
        "Due": _object(
            due=_array(_object(recipient_id={"type": "string"}, renotify_due=_ref("Date")), most=registrar.DUE_MAX),
            next=_maybe({"type": "string"}),
        ),
    }


def _notification() -> Schema:
    long_text = _text(field_checks.TEXT_CHARACTERS_MAX)
    content = _object(
        set(notification._CONTENT_FIELDS), title=long_text, body=long_text, template=long_text, variables=_ANY
    )
    fields: dict[str, Schema] = {
        "id": _ref("Id"),
        "category": {"enum": list(CATEGORIES), "default": "advertising"},
        "channel": {"enum": list(notification.CHANNELS)},
        "address": _text(1024) | {"description": "The address, in the channel's own form"},
        "recipient_id": _text(addresses.RECIPIENT_CHARACTERS_MAX)
        | {"description": "Whose consent applies; the canonical address if missing"},
        "content": content | {"anyOf": [{"required": ["body"]}, {"required": ["template"]}]},
        "expires_at": _ref("Time"),
        "accepted_at": _ref("Time") | {"description": "Set by the producer; a value in the request is ignored"},
        "source": _text(128) | {"pattern": SENDABLE.replace(r"\u000c\u000e", r"\u000c-\u000e")},
        "metadata": _ANY | {"description": f"At most {notification.METADATA_BYTES_MAX} bytes as JSON"},
        "collapse_key": _text(128)
        | {"description": "Of several held ones with the same key, source and recipient only the newest is sent"},
        "policy": _text(64) | {"description": "The policy that judges it, by name; one that is deployed"},
        "country": {"type": "string", "pattern": "^[A-Z]{2}$", "description": "The recipient's country, which chooses"},
        "timezone": _text(64) | {"description": "The recipient's time zone, such as America/New_York, which chooses"},
    }
    ordered = {name: fields[name] for name in notification._FIELDS}
    return _object(set(ordered) - {"channel", "address", "content"}, **ordered)


_ANY: Schema = {"type": "object", "description": f"At most {field_checks.DEPTH_MAX} levels deep"}


def _fields(names: tuple[str, ...], optional: tuple[str, ...]) -> Schema:
    kinds = {
        "night_consent": {"type": "boolean"},
        "opted_out": {"type": "boolean"},
        "evidence": _text(statement.EVIDENCE_CHARACTERS_MAX),
        "changed_at": _ref("Time"),
        "expires_at": _ref("Time") | {"description": "The end of the night consent; none if missing"},
        "renotified_at": _ref("Time"),
        "advertising_consent": {"type": "boolean", "description": "The record's stays if missing"},
        "addresses": _array(_text(addresses.RECIPIENT_CHARACTERS_MAX), most=statement.ADDRESSES_MAX)
        | {"description": "The addresses that the consents are for: any if empty; the record's stay if missing"},
    }
    return _object(set(optional) & set(names), **{name: kinds[name] for name in names})


def _text(characters_max: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": characters_max, "pattern": SENDABLE}


def _object(optional: set[str] | frozenset[str] = frozenset(), /, **properties: Schema) -> Schema:
    required = [name for name in properties if name not in optional]
    closed: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return closed | ({"required": required} if required else {})


def _array(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    array: Schema = {"type": "array", "items": items}
    return array | ({"minItems": least} if least else {}) | ({"maxItems": most} if most else {})


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_CONSENT: dict[str, Schema] = {
    "recipient_id": {"type": "string"},
    "night_consent": {"type": "boolean"},
    "opted_out": {"type": "boolean"},
    "changed_at": _maybe({"type": "string"}),
    "evidence": _maybe({"type": "string"}),
    "renotified_at": _maybe({"type": "string"}),
    "renotify_due": _maybe(_ref("Date")),
    "expires_at": _maybe({"type": "string"}),
    "advertising_consent": _maybe({"type": "boolean"}),
    "addresses": _maybe(_array({"type": "string"})),
}
_CHANGE: dict[str, Schema] = {
    "changed_at": {"type": "string"},
    "event": {"enum": ["changed", "renotified"]},
    "evidence": {"type": "string"},
    "night_consent": {"type": "boolean"},
    "opted_out": {"type": "boolean"},
    "expires_at": _maybe({"type": "string"}),
    "renotify_due": _maybe(_ref("Date")),
    "recorded_at": {"type": "string"},
    "advertising_consent": _maybe({"type": "boolean"}),
    "addresses": _maybe(_array({"type": "string"})),
}


def _path_parameter(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _operation(
    summary: str, responses: Schema, body: Schema | None = None, parameters: list[Schema] | None = None
) -> Schema:
    operation: Schema = {"summary": summary}
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation | {"responses": responses}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _wrong() -> Schema:
    return _answer("The faults, one `field: fault` each", _ref("Errors"))


def _served_by(function: str, paths: Schema) -> Schema:
    url = f"https://{{{function}}}.lambda-url.{{region}}.on.aws"
    variables = {function: {"default": f"{function}-url-id"}, "region": {"default": "ap-northeast-2"}}
    server = {"url": url, "description": f"The stack's output {function.capitalize()}Url", "variables": variables}
    return {path: {"servers": [server], **item} for path, item in paths.items()}


def text() -> str:
    """Return the text of the file."""
    return json.dumps(document(), ensure_ascii=True, indent=1) + "\n"


def main() -> None:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")
    print(FILE.relative_to(ROOT))


if __name__ == "__main__":
    main()
