"""The calls of AWS's own channels: a boto3 client whose requests `PostClient` carries.

botocore bounds each socket operation and tries every address of a name in turn. The whole call has no bound, and the
errors do not always say whether the request was sent. So botocore makes and signs the request and reads the answer, and
`PostClient` carries it: https://botocore.amazonaws.com/v1/documentation/api/latest/topics/events.html (`before-send`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)

from ..errors import CallFailed, Misconfigured, NotSent
from . import configuration
from .channel import DELIVERED, Outcome
from .outcomes import answered, call_failed, forbidden, unauthorized

DEADLINE_S = 10.0
ROLE = "the worker's role, and what the address names"


class Meaning(NamedTuple):
    """The outcome that an error means for one channel. `check`: what an operator should look at, if that is known."""

    kind: Literal["unavailable", "misconfigured", "forbidden", "rejected"]
    check: str = ""


class Refusal(NamedTuple):
    """An error as the service answered it. `cause`: its `Reason`, empty if it has none. The message may show data."""

    code: str
    cause: str
    message: str


Clients = Callable[[str, str | None, str | None], Any]
"""A function that makes a boto3 client that tries once. Its arguments: the service, the region (None: this function's),
the endpoint (None: AWS's own)."""

_FORBIDDEN = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "PlatformApplicationDisabled")
"""Codes of a missing permission for something that the notification names: a device, an identity, an application."""

_REFUSED = (
    *("InvalidSecurity", "IncompleteSignature"),
    *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "MissingAuthenticationToken"),
)
_THROTTLED = ("TooManyRequestsException", "RequestLimitExceeded")


class Service:
    """One AWS service. `name`: its name in reasons. Raises `Misconfigured`."""

    def __init__(self, clients: Clients, service: str, config: configuration.Config, channel: str, name: str) -> None:
        region = configuration.optional(config, channel, "region")
        if region is not None and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}", region):
            raise Misconfigured(f"{channel}.region must be an AWS region such as ap-northeast-2")
        try:
            self._client = clients(service, region, configuration.local_endpoint(config, channel))
        except NoRegionError:
            raise Misconfigured(f"{channel}.region must be set") from None
        self.region: str = self._client.meta.region_name
        self._name = name
        # boto3 chose the endpoint: AWS's own, or in local use the embedded AWS's.
        self._http = configuration.post_client(
            self._client.meta.endpoint_url, DEADLINE_S, channel, "endpoint_url", local=True
        )
        self._host = urlsplit(self._client.meta.endpoint_url).netloc
        self._client.meta.events.register("before-send", self._carry)

    def call(
        self,
        operation: str,
        meanings: Mapping[str, Meaning],
        by_message: Callable[[Refusal], Outcome | None] = lambda refusal: None,
        **parameters: Any,
    ) -> Outcome:
        """Call the service once. `meanings`: by an error's cause, or else by its code, where it is not what any AWS
        service means by it. `by_message` reads errors whose code does not say enough; None leaves them to the code.
        """
        try:
            answer = getattr(self._client, operation)(**parameters)
        except CallFailed as fault:
            return call_failed(fault, self._name, DEADLINE_S)
        except ClientError as error:
            return self._outcome(error.response, meanings, by_message)
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            return unauthorized(f"aws_{type(error).__name__}: no AWS credentials", ROLE)
        except ParamValidationError:
            return Outcome("rejected", f"invalid: {self._name} has no such request; check id, address and content")
        except Exception as error:  # botocore raises many kinds of errors for an unreadable answer
            return Outcome("unknown", f"no_answer: {self._name} answered nothing readable ({type(error).__name__})")
        return (
            DELIVERED if answer.get("MessageId") else Outcome("unknown", f"no_answer: {self._name} gave no MessageId")
        )

    def close(self) -> None:
        self._http.close()

    def _carry(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        parts = urlsplit(request.url)
        if parts.netloc != self._host:
            raise NotSent("another host than the client's own")
        headers = {name: _text(value) for name, value in request.headers.items()}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        answer = self._http.post(headers, _bytes(request.body), target)
        received: Any = HeadersDict(answer.headers)
        return AWSResponse(request.url, answer.status, received, _Body(answer.body))

    def _outcome(
        self,
        response: Mapping[str, Any],
        meanings: Mapping[str, Meaning],
        by_message: Callable[[Refusal], Outcome | None],
    ) -> Outcome:
        status = int(response["ResponseMetadata"]["HTTPStatusCode"])
        code = _word(response["Error"].get("Code"))
        cause = _word(response.get("Reason"))
        if (read := by_message(Refusal(code, cause, str(response["Error"].get("Message", ""))))) is not None:
            return read
        reason = f"{answered('aws', self._name, status, code)} {cause}".rstrip()
        if meaning := meanings.get(cause) or meanings.get(code):
            return Outcome(meaning.kind, f"{reason}; check {meaning.check}" if meaning.check else reason)
        if code in _FORBIDDEN:
            return forbidden(reason, ROLE)
        if code in _REFUSED:
            return unauthorized(reason, ROLE)
        if status in (429, 503) or code in _THROTTLED or "Throttl" in code:
            return Outcome("unavailable", reason)
        if status >= 500:
            return Outcome("unknown", reason)
        return Outcome("rejected", reason)


class _Body:
    """The body of an answer, as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body) if isinstance(body, bytes | bytearray) else b""


def _word(value: object) -> str:
    """Return an error's code if it is one word. Anything else may be somebody's data."""
    return value if isinstance(value, str) and re.fullmatch("[A-Za-z0-9_.]{1,64}", value) else ""
