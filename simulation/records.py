"""The records of the registry over time, and what they mean for one notification.

As the checks, this shares no code with the production code. A notification has two keys, its recipient's and its
address's, and there may be a record under each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from math import inf
from typing import NamedTuple

from .plan import Consent, Wanted
from .world import Span


class Record(NamedTuple):
    """A record that stood under this key during this time."""

    key: str
    during: Span
    consent: Consent


@dataclass(frozen=True, slots=True)
class Read:
    """The records that a worker may have read together for a notification to this address: two, one or none.

    An opt-out always counts, and so does a refusal of advertising. A consent counts if it is for the address, and if no
    other record that is for the address says otherwise.
    """

    records: tuple[Record, ...]
    address: str

    @property
    def opted_out(self) -> bool:
        return any(each.consent.opted_out or each.consent.advertising_consent is False for each in self.records)

    @property
    def advertising_consent(self) -> bool:
        said = [each.consent.advertising_consent for each in self._for_the_address()]
        return True in said and not self.opted_out

    def night_consent(self, since: float, late_s: float) -> bool:
        """Say if it is a night consent for a worker that reads it after `since`, and whose clock may be late."""
        counting = self._for_the_address()
        return bool(counting) and all(
            each.consent.night_consent and max(each.during.begin, since) < each.consent.expires + late_s
            for each in counting
        )

    def _for_the_address(self) -> list[Record]:
        return [
            each
            for each in self.records
            if each.key == self.address
            or not each.consent.addresses
            or any(address.key == self.address for address in each.consent.addresses)
        ]


class Records:
    """Each record that was written, by its key."""

    def __init__(self) -> None:
        self._written: defaultdict[str, list[tuple[float, Consent]]] = defaultdict(list)

    def write(self, at: float, key: str, consent: Consent) -> None:
        self._written[key].append((at, consent))

    def read(self, wanted: Wanted, since: float, until: float) -> list[Read]:
        """Everything that a worker may have read for a notification in that span. It may have read one of the two
        records later than the other, because an answer may be partial."""
        address = wanted.address or wanted.recipient
        keys = dict.fromkeys((wanted.recipient, address))
        stood = (self._stood(key, since, until) for key in keys)
        return [Read(tuple(each for each in records if each), address) for records in product(*stood)]

    def _stood(self, key: str, since: float, until: float) -> list[Record | None]:
        """The records that stood under a key at some time in that span. None: there was no record."""
        written = self._written.get(key, ())
        records: list[Record | None] = []
        begin, consent = 0.0, None
        for end, later in (*written, (inf, None)):
            if begin < end and begin <= until and end >= since:
                records.append(consent and Record(key, Span(begin, end), consent))
            begin, consent = end, later
        return records
