"""What was held under each collapse key, as the checks see it. It shares no code with the production code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from .plan import Request, Wanted

CLOCKS_S = 5.0
"""More than the difference between any two clocks."""


class OnWait(NamedTuple):
    """A notification that was put on wait: its number, when it had been accepted, and when it was put there."""

    number: int
    accepted_at: datetime
    at: float


class Held:
    """The notifications with a collapse key that were put on wait, by source, recipient and key."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._held: defaultdict[tuple[str, str, str], list[OnWait]] = defaultdict(list)

    def note(self, body: str, by_number: Mapping[int, Wanted], at: float) -> None:
        """Note what a message puts on wait."""
        if '"collapse_key"' not in body:
            return
        found = json.loads(body)
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict) and "collapse_key" in each:
                number, accepted_at = each["metadata"]["n"], datetime.fromisoformat(each["accepted_at"])
                self._held[_group(by_number[number])].append(OnWait(number, accepted_at, at))

    def newer(self, wanted: Wanted, notification: Mapping[str, Any], before: float) -> list[int]:
        """The newer ones that were on wait before this time, if this one was, too."""
        if "collapse_key" not in wanted.body:
            return []
        accepted_at = datetime.fromisoformat(notification["accepted_at"])
        held = self._held[_group(wanted)]
        if not any((each.number, each.accepted_at) == (wanted.number, accepted_at) for each in held):
            return []
        # A sender in doubt sends again: the last copy counts.
        last = max(each.accepted_at for each in held if each.number == wanted.number)
        return [each.number for each in held if each.accepted_at > last and each.at < before]

    def may_be_superseded(self, wanted: Wanted) -> bool:
        """True if another one of its group was sent at the same time or later: it may have been held, or noted for that
        and then sent by day, because its message came again."""
        if "collapse_key" not in wanted.body:
            return False
        sent = {each.number: request for request in self._requests for each in request.wanted}
        group = _group(wanted)
        others = (
            request.again_at or request.at
            for request in self._requests
            for each in request.wanted
            if each.number != wanted.number and "collapse_key" in each.body and _group(each) == group
        )
        return any(at >= sent[wanted.number].at - CLOCKS_S for at in others)


def _group(wanted: Wanted) -> tuple[str, str, str]:
    return wanted.body["source"], wanted.recipient, wanted.body["collapse_key"]
