"""The writes that follow from a bundle: collected first, then applied in one fixed order.

A crash between any two of them leaves the item to come again rather than lost (docs/decisions/0003-order-of-writes.md).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from ..errors import LedgerUnavailable
from ..notification.bundle import Item, Message, dead_letter, pack
from ..settings import Settings
from ..stores.clients import SERVICE_ERRORS
from ..stores.entries import Entry
from ..stores.ledger import Ledger
from ..stores.queues import DELAY_S_MAX, send
from .verdicts import Absorption, Settlement

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient


class Letter(NamedTuple):
    """A dead letter, and the ending to record in the ledger; None if the ledger has no entry for it."""

    message: Message
    ending: Entry | None = None


@dataclass
class Aftermath:
    """Everything that is to be written about a bundle's items: decided, and not yet applied.

    `held` are the items for each wait queue, by its number; `back` those that go back to their lane, by delay; `moved`
    those that go to another lane, by its URL.
    `urgent_wait_s` is the longest time from a critical notification's acceptance to its call; negative without a call.
    """

    letters: list[Letter] = field(default_factory=list)
    delivered: list[Entry] = field(default_factory=list)
    endings: list[Entry] = field(default_factory=list)
    releases: list[Entry] = field(default_factory=list)
    held: defaultdict[int, list[Item]] = field(default_factory=lambda: defaultdict(list))
    parts: list[Message] = field(default_factory=list)
    back: defaultdict[int, list[Item]] = field(default_factory=lambda: defaultdict(list))
    moved: defaultdict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    urgent_wait_s: float = -1
    counts: Counter[str] = field(default_factory=Counter)

    def merge(self, other: Aftermath) -> None:
        """Take over everything that another one has noted."""
        self.letters += other.letters
        self.delivered += other.delivered
        self.endings += other.endings
        self.releases += other.releases
        for queue, items in other.held.items():
            self.held[queue] += items
        self.parts += other.parts
        for delay_s, items in other.back.items():
            self.back[delay_s] += items
        for url, items in other.moved.items():
            self.moved[url] += items
        self.counts.update(other.counts)
        self.urgent_wait_s = max(self.urgent_wait_s, other.urgent_wait_s)

    def add(self, item: Item, settled: Settlement) -> None:
        """Note where an item goes after its turn."""
        if settled.place == "delivered":
            self.delivered.append(settled.entry)
            self.counts["delivered"] += 1
        elif settled.place == "ended":
            self.endings.append(settled.entry)
            self.counts[settled.entry.state] += 1
        elif settled.place == "dead_letter":
            self.dead_letter(item, settled.entry)
        elif settled.place == "wait":
            self.releases.append(settled.entry)
            self.hold(item, settled.queue)
        else:
            self.releases.append(settled.entry)
            self.give_back([item], settled.delay_s)

    def give_back(self, items: Sequence[Item], delay_s: float = 0) -> None:
        """Put items back on their lane, to be seen again after the delay."""
        self.back[min(DELAY_S_MAX, ceil(delay_s))] += items
        self.counts["given_back"] += len(items)

    def count_rest(self, begins: bool, rest_s: float) -> None:
        """Count that a channel begins to rest, or rests on after a probe."""
        self.counts["rested"] += begins
        self.counts["rest_s"] += ceil(rest_s)

    def move(self, items: Sequence[Item], lane_url: str) -> None:
        """Put items on another lane."""
        self.moved[lane_url] += items
        self.counts["moved"] += len(items)

    def hold(self, item: Item, queue: int) -> None:
        """Put an item that nobody has claimed on a wait queue."""
        self.held[queue].append(item)
        self.counts["held"] += 1

    def dead_letter(self, item: Item, ending: Entry) -> None:
        """Put an item on dead-letter, with its ending's reason."""
        self.letters.append(Letter(dead_letter(item.text, ending.reason, item.id, ending.ended_at), ending))
        self.counts[ending.state] += 1

    def refuse(self, item: Item, code: str, why: str) -> None:
        """Put an item on dead-letter that has no entry of its own in the ledger: a redrive of it undoes no ending."""
        self.letters.append(Letter(dead_letter(item.text, f"{code}: {why}", item.id)))
        self.counts[code] += 1

    def absorb(self, item: Item, ending: Entry, how: Absorption) -> None:
        """Absorb an item that has ended already, or put it back on dead-letter."""
        if how == "back_to_dead_letter":
            reason = "unknown_outcome: to send it again, redrive with RESEND_UNKNOWN=1"
            self.letters.append(Letter(dead_letter(item.text, reason, item.id, ending.ended_at)))
        else:
            self.counts["absorbed"] += 1
            if how != "absorbed":
                self.counts[how] += 1

    def apply(self, lane: str, sqs: SQSClient, ledger: Ledger, settings: Settings, now: Callable[[], datetime]) -> bool:
        """Write the dead letters, then the ledger, then wait and the lane.

        Returns False if anything failed, even in part: then the whole bundle comes again.
        """
        letters_left = send(sqs, settings.dead_letter_queue_url, [letter.message for letter in self.letters])
        taken = [letter for index, letter in enumerate(self.letters) if index not in letters_left]
        try:
            ledger.delivered(self.delivered, now())
            ledger.end(self.endings + [letter.ending for letter in taken if letter.ending is not None], now())
            ledger.release(self.releases, now())
        except (*SERVICE_ERRORS, LedgerUnavailable):
            self.counts["ledger_unavailable"] += 1
            return False
        left = [send(sqs, lane, self.parts)]
        left += [send(sqs, settings.wait_url(queue), pack(items)) for queue, items in self.held.items()]
        left += [send(sqs, lane, pack(items), delay_s) for delay_s, items in self.back.items()]
        left += [send(sqs, url, pack(items)) for url, items in self.moved.items()]
        return not letters_left and not any(left)
