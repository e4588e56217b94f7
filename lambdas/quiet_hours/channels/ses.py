"""E-mail through SES (API v2): plain text. Advertising carries a one-click unsubscribe link.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html. It has no idempotency key: the
setting `unknown_outcome` decides what follows an unknown outcome.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import formataddr, parseaddr
from typing import Any
from urllib.parse import quote

from ..errors import Misconfigured, Unfit
from ..notification.notification import Notification
from . import configuration
from .aws import DEADLINE_S, Clients, Meaning, Refusal, Service
from .channel import Outcome
from .outcomes import body_of, unfit

RATE_PER_S = 1.0
"""The rate of the sandbox. An account's own rate is its MaxSendRate: https://docs.aws.amazon.com/ses/latest/dg/quotas.html"""

HEADER_CHARACTERS_MAX = 995
"""https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_MessageHeader.html"""

ID_HEADER = "X-Quiet-Hours-Id"

_MEANINGS = {
    "LimitExceededException": Meaning("unavailable"),
    "AccountSuspendedException": Meaning("misconfigured", "the account with AWS"),
    "SendingPausedException": Meaning("misconfigured", "the account with AWS"),
    "MailFromDomainNotVerifiedException": Meaning("misconfigured", "the MAIL FROM domain of email.from"),
    "NotFoundException": Meaning("misconfigured", "email.configuration_set in the channel secret"),
}

_ACCOUNT_STOPPED = ("Sending paused for this account", "Sending suspended for this account", "Account is paused")
_NOT_VERIFIED = "Email address is not verified"
_FAILED_IN = re.compile(r"[^:]*identities failed the check in region ([A-Za-z0-9-]{1,32}):(.*)", re.DOTALL)
"""SES's texts for `MessageRejected`: https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html"""


class SesChannel:
    """Built from `{"from": "Shop <shop@example.com>"}`; optional `configuration_set`, `unsubscribe_url` (with `{id}` in
    it; advertising needs one), `region`, `rate_per_s`, `unknown_outcome`, `endpoint_url`. Raises `Misconfigured`."""

    deadline_s = DEADLINE_S
    batch_size = 1
    side_by_side = 25

    def __init__(self, config: Mapping[str, Any], clients: Clients) -> None:
        self.rate_per_s = configuration.rate_per_s(config, "email", RATE_PER_S)
        self.can_resend = configuration.can_resend(config, "email")
        self._common = {"FromEmailAddress": _sender(config.get("from"))}
        if name := configuration.optional(config, "email", "configuration_set"):
            self._common["ConfigurationSetName"] = name
        self._unsubscribe_url = configuration.optional(config, "email", "unsubscribe_url")
        if self._unsubscribe_url and not re.fullmatch(r"https://[^<>{}]+\{id\}[^<>{}]*", self._unsubscribe_url):
            raise Misconfigured("email.unsubscribe_url must begin with https:// and have {id} where the id belongs")
        self._service = Service(clients, "sesv2", config, "email", "SES")

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        return [self._send(notification) for notification in notifications]

    def close(self) -> None:
        self._service.close()

    def _send(self, notification: Notification) -> Outcome:
        try:
            message = {
                "Subject": {"Data": _subject(notification), "Charset": "UTF-8"},
                "Body": {"Text": {"Data": body_of(notification), "Charset": "UTF-8"}},
                "Headers": self._headers(notification),
            }
        except Unfit as fault:
            return unfit(fault)
        return self._service.call(
            "send_email",
            _MEANINGS,
            self._by_message,
            **self._common,
            Destination={"ToAddresses": [notification["address"]]},
            Content={"Simple": message},
            EmailTags=[{"Name": "category", "Value": notification["category"]}],
        )

    def _by_message(self, refusal: Refusal) -> Outcome | None:
        """Reads whom `MessageRejected` is about: the account, its own sender, or the recipient."""
        if refusal.code != "MessageRejected":
            return None
        if refusal.message.startswith(_ACCOUNT_STOPPED):
            return Outcome(
                "misconfigured", "ses_account_stopped: SES sends nothing for this account; check it with AWS"
            )
        if not refusal.message.startswith(_NOT_VERIFIED):
            return None
        return _not_verified(refusal.message, parseaddr(self._common["FromEmailAddress"])[1])

    def _headers(self, notification: Notification) -> list[dict[str, str]]:
        """The id, and for advertising the unsubscribe headers of RFC 8058."""
        headers = [{"Name": ID_HEADER, "Value": notification["id"]}]
        if notification["category"] == "advertising":
            if self._unsubscribe_url is None:
                raise Unfit("advertising by e-mail needs email.unsubscribe_url in the channel secret")
            url = self._unsubscribe_url.replace("{id}", quote(notification["id"], safe=""))
            if len(url) > HEADER_CHARACTERS_MAX - 2:
                raise Unfit(f"email.unsubscribe_url with the id must be at most {HEADER_CHARACTERS_MAX - 2} characters")
            headers += [
                {"Name": "List-Unsubscribe", "Value": f"<{url}>"},
                {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
            ]
        return headers


def _not_verified(message: str, sender: str) -> Outcome:
    """Returns the outcome of an e-mail for which SES lists addresses that are not verified.

    The list may end in an ellipsis. It may have recipients in it, so no reason shows anything from it but the region.
    """
    found = _FAILED_IN.match(message)
    region, listed = (found[1].lower(), found[2].lower()) if found else ("of the channel", "")
    identities = {each.rstrip(".…") for each in re.findall(r"[^\s<>,;\"]+", listed)}
    if identities & {sender.lower(), sender.lower().rpartition("@")[2]}:
        reason = f"ses_sender_not_verified: SES has not verified {sender} in region {region}; verify it there"
        return Outcome("misconfigured", reason)
    if found is None or listed.rstrip().endswith(("...", "…")) or not any("@" in each for each in identities):
        reason = "ses_not_verified: SES has not verified an address that it does not name"
        return Outcome("forbidden", f"{reason}; verify {sender} in region {region}")
    reason = "ses_recipient_not_verified: SES sends to verified recipients only, because the account is in its sandbox"
    return Outcome("rejected", f"{reason} in region {region}; ask for production access, or verify the recipient")


def _subject(notification: Notification) -> str:
    title: str | None = notification["content"].get("title")
    if title is None:
        raise Unfit("content.title is required: it is an e-mail's subject")
    if "\n" in title:
        raise Unfit("content.title must be one line: it is an e-mail's subject")
    return title


def _sender(config: object) -> str:
    """Return the sender in ASCII, as SES requires: a name in other letters is encoded."""
    fit = isinstance(config, str) and not re.search(r"[\x00-\x1f\x7f]", config)
    name, address = parseaddr(str(config)) if fit else ("", "")
    if not re.fullmatch(r"[!-~]+@[A-Za-z0-9.-]+", address):
        raise Misconfigured('email.from must be an e-mail address such as "Shop <shop@example.com>"')
    return formataddr((name, address))
