"""Fakes of SES (API v2), SNS and AWS End User Messaging, for what the channels use. They check signatures.

After https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html,
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html and
https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.aws import ACCESS_KEY, ACCOUNT

from .provider import Reply, Request, as_json

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\S+?)/(\d{8})/(\S+?)/(\S+?)/aws4_request, "
    r"SignedHeaders=(\S+), Signature=([0-9a-f]{64})"
)
SENDER, ORIGINATION = "shop.example.com", "+15005550006"
TARGET = "PinpointSMSVoiceV2.SendTextMessage"
OPTED_OUT = "DESTINATION_PHONE_NUMBER_OPTED_OUT"


def wrong_signature(request: Request) -> str | None:
    """Sign the received request again. Returns the error code if its signature is wrong."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        return "MissingAuthenticationToken"
    key, _, region, service, names, signature = found.groups()
    if key not in (ACCESS_KEY, ACCOUNT):  # the functions of the embedded AWS have the account's number as their key
        return "InvalidClientTokenId"
    url = f"http://{request.headers['host']}{request.path}"
    signed = {name: request.headers[name] for name in names.split(";")}
    again = AWSRequest("POST", url, headers=signed, data=request.body)
    again.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(key, ACCESS_KEY), service, region)
    string = signer.string_to_sign(again, signer.canonical_request(again))
    return None if signer.signature(string, again) == signature else "SignatureDoesNotMatch"


class Ses:
    """SES with one verified domain, and the configuration set `shop`. It is in the sandbox for `@sandbox.example.com`
    only: nobody there is verified.

    https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html has the words of what is not verified.
    """

    name = "ses"

    def is_for(self, request: Request) -> bool:
        return request.path == "/v2/email/outbound-emails"

    def ids(self, request: Request) -> list[str]:
        try:
            headers = request.json()["Content"]["Simple"]["Headers"]
            return [header["Value"] for header in headers if header["Name"] == "X-Quiet-Hours-Id"]
        except (ValueError, KeyError, TypeError):
            return [""]

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        ids = self.ids(request)
        if code := wrong_signature(request):
            return self._error(403, code, ids)
        sent = request.json()
        if not sent["FromEmailAddress"].rstrip(">").endswith(f"@{SENDER}"):
            return self._not_verified(request, sent["FromEmailAddress"], ids)
        if sent.get("ConfigurationSetName", "shop") != "shop":
            return self._error(404, "NotFoundException", ids)
        if sent["Destination"]["ToAddresses"][0].endswith("@sandbox.example.com"):
            return self._not_verified(request, sent["Destination"]["ToAddresses"][0], ids)
        content = sent["Content"]["Simple"]
        if any(len(header["Value"]) > 995 for header in content["Headers"]) or not content["Subject"]["Data"]:
            return self._error(400, "BadRequestException", ids)
        if set(ids) & set(unwanted):
            return self._error(400, "MessageRejected", ids)
        return as_json(200, {"MessageId": "0100018f-demo"}, taken=ids)

    def fault(self, status: int) -> Reply:
        return self._error(status, "TooManyRequestsException" if status == 429 else "InternalFailure", [])

    def _not_verified(self, request: Request, identity: str, ids: Collection[str]) -> Reply:
        found = _AUTHORIZATION.fullmatch(request.headers["authorization"])
        region = found[3].upper() if found else ""
        message = "Email address is not verified. The following identities failed the check in region"
        return self._error(400, "MessageRejected", ids, f"{message} {region}: {identity}")

    def _error(self, status: int, code: str, ids: Collection[str], message: str = "no") -> Reply:
        return as_json(status, {"message": message}, {"x-amzn-ErrorType": code}, refused=ids)


class EndUserMessaging:
    """AWS End User Messaging with one number to send from."""

    name = "aws-sms"

    def is_for(self, request: Request) -> bool:
        return request.headers.get("x-amz-target") == TARGET

    def ids(self, request: Request) -> list[str]:
        try:
            return [request.json()["Context"]["notification_id"]]
        except (ValueError, KeyError, TypeError):
            return [""]

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        ids = self.ids(request)
        if code := wrong_signature(request):
            return self._error(400, code, ids)
        sent = request.json()
        if sent["OriginationIdentity"] != ORIGINATION:
            return self._error(400, "ResourceNotFoundException", ids)
        if not 1 <= len(sent["MessageBody"]) <= 1600 or not 5 <= sent["TimeToLive"] <= 259_200:
            return self._error(400, "ValidationException", ids, "FIELD_VALIDATION_FAILED")
        if set(ids) & set(unwanted):
            return self._error(400, "ConflictException", ids, OPTED_OUT)
        return as_json(200, {"MessageId": "0b-demo"}, taken=ids)

    def fault(self, status: int) -> Reply:
        return self._error(status, "ThrottlingException" if status == 429 else "InternalServerException", [])

    def _error(self, status: int, code: str, ids: Collection[str], reason: str | None = None) -> Reply:
        return as_json(status, {"__type": code, "Message": "no", "Reason": reason}, refused=ids)


class Sns:
    """SNS with every endpoint, except those whose name ends in dead."""

    name = "sns"

    def is_for(self, request: Request) -> bool:
        return request.path == "/" and self._form(request).get("Action") == "Publish"

    def ids(self, request: Request) -> list[str]:
        try:
            payload = self._payload(request)
            data = payload["fcmV1Message"]["message"]["data"] if "fcmV1Message" in payload else payload
            return [data["notification_id"]]
        except (ValueError, KeyError, TypeError):
            return [""]

    def answer(self, request: Request, unwanted: Collection[str]) -> Reply:
        ids = self.ids(request)
        if code := wrong_signature(request):
            return self._error(403, code, ids)
        form = self._form(request)
        if form.get("MessageStructure") != "json" or "default" not in json.loads(form["Message"]):
            return self._error(400, "InvalidParameter", ids)
        if form["TargetArn"].endswith("dead"):
            return self._error(404, "NotFound", ids)
        if set(ids) & set(unwanted):
            return self._error(400, "EndpointDisabled", ids)
        body = "<PublishResult><MessageId>94f-demo</MessageId></PublishResult>"
        return self._xml(200, "PublishResponse", body, taken=ids)

    def fault(self, status: int) -> Reply:
        return self._error(status, "Throttled" if status == 429 else "InternalError", [])

    def _form(self, request: Request) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(request.body.decode(errors="replace")).items()}

    def _payload(self, request: Request) -> Any:
        form = self._form(request)
        return json.loads(json.loads(form["Message"])[form["TargetArn"].split("/")[1]])

    def _error(self, status: int, code: str, ids: Collection[str]) -> Reply:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
        return self._xml(status, "ErrorResponse", error, refused=ids)

    def _xml(self, status: int, root: str, inner: str, **ids: Collection[str]) -> Reply:
        text = f'<{root} xmlns="http://sns.amazonaws.com/doc/2010-03-31/">{inner}<RequestId>r</RequestId></{root}>'
        return Reply(status, text.encode(), {"Content-Type": "text/xml"}, **ids)
