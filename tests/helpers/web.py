"""Requests to a Function URL, as Lambda hands them over, and what the functions answer."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qsl


def http(method: str, path: str, body: str | bytes | None = None, query: str = "") -> dict[str, Any]:
    """Make the event that a Function URL sends (payload format 2.0)."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "queryStringParameters": dict(parse_qsl(query, keep_blank_values=True)),
        "headers": {"content-type": "application/json", "host": "abc.lambda-url.ap-northeast-2.on.aws"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc",
            "authentication": None,
            "domainName": "abc.lambda-url.ap-northeast-2.on.aws",
            "domainPrefix": "abc",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "t"},
            "requestId": "r-1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "11/Nov/2020:12:03:00 +0000",
            "timeEpoch": 1605096180000,
        },
        "isBase64Encoded": isinstance(body, bytes),
    }
    if body is not None:
        event["body"] = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    return event


def answered(response: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return response["statusCode"], json.loads(response["body"])
