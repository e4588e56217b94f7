"""The allow-list: a deployment that is restricted calls listed addresses only, and answers for simulated ones itself.

The list is a part of the channel secret, `{"recipients": {"addresses": ["010-1234-5678", …]}}`, because it has people's
addresses (docs/decisions/0014-an-allow-list-in-the-secret.md). Addresses are compared by the key under which consents
are kept, so `010-1234-5678` on the list is `+821012345678`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import Misconfigured
from ..notification.addresses import canonical_recipient, recipient_fault
from ..notification.notification import Notification
from .channel import Channel, Outcome, ask

ADDRESSES_MAX = 100
"""A list of testers, not of customers. A hundred of the longest addresses fit into the secret with the channels' parts:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html"""

NOT_LISTED = Outcome("not_in_allow_list", "not_listed: this deployment calls listed and simulated addresses only")

SIMULATED = {
    "success": Outcome("delivered", "simulated: this address always takes it"),
    "failure": Outcome("rejected", "simulated: this address always refuses"),
    "bounce": Outcome("delivered", "simulated: this address takes it, and bounces later"),
    "no-answer": Outcome("unknown", "simulated: this address never answers"),
}
"""The answer for each kind of simulated address: our own, in place of a provider's."""

# Nobody's: no name under `invalid` exists (https://www.rfc-editor.org/rfc/rfc6761#section-6.4), and no name of a Slack
# channel has a dot (https://docs.slack.dev/reference/methods/conversations.create/).
_KIND = "|".join(SIMULATED)
_NAMED = re.compile(rf"({_KIND})(?:\+[^@]+)?@simulated\.invalid|#({_KIND})\.simulated\.invalid")

# Nobody's: Ofcom keeps 07700 900000 to 900999 free for films (docs/recipients.md).
_NUMBERED = re.compile(r"\+447700900([0-3])[0-9]{2}")


def simulated(address: str) -> Outcome | None:
    """The answer for a simulated address, by its key; None for every other address."""
    if named := _NAMED.fullmatch(address):
        return SIMULATED[named[1] or named[2]]
    if numbered := _NUMBERED.fullmatch(address):
        return list(SIMULATED.values())[int(numbered[1])]
    return None


def listed(config: object) -> frozenset[str]:
    """The keys of the listed addresses. `config`: the part `recipients` of the channel secret; None if there is none.
    Without it, or without addresses in it, nobody is listed. Raises `Misconfigured`, which shows no address."""
    part = {} if config is None else config
    addresses = part.get("addresses", []) if isinstance(part, Mapping) else None
    if not isinstance(addresses, list) or not all(isinstance(each, str) for each in addresses):
        raise Misconfigured("recipients.addresses must be a list of addresses")
    if len(addresses) > ADDRESSES_MAX:
        raise Misconfigured(f"recipients.addresses has {len(addresses)} addresses, and may have {ADDRESSES_MAX}")
    for number, address in enumerate(addresses, 1):
        if fault := recipient_fault(address):
            raise Misconfigured(f"recipients.addresses: number {number} {fault}")
    return frozenset(map(canonical_recipient, addresses))


class Restricted:
    """A channel that calls its provider for listed addresses only."""

    def __init__(self, channel: Channel, listed: frozenset[str]) -> None:
        self._channel = channel
        self._listed = listed

    @property
    def deadline_s(self) -> float:
        return self._channel.deadline_s

    @property
    def rate_per_s(self) -> float | None:
        return self._channel.rate_per_s

    @property
    def batch_size(self) -> int:
        return self._channel.batch_size

    @property
    def side_by_side(self) -> int:
        return self._channel.side_by_side

    @property
    def can_resend(self) -> bool:
        return self._channel.can_resend

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        """Call the provider for the listed ones among the notifications, and answer for the others."""
        own = [self._own_answer(each) for each in notifications]
        calling = [each for each, answer in zip(notifications, own, strict=True) if answer is None]
        outcomes = iter(ask(self._channel, calling) if calling else ())
        return [next(outcomes) if answer is None else answer for answer in own]

    def close(self) -> None:
        self._channel.close()

    def _own_answer(self, notification: Notification) -> Outcome | None:
        """None for a listed address: its provider answers."""
        address = canonical_recipient(notification["address"])
        return simulated(address) or (None if address in self._listed else NOT_LISTED)
