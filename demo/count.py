"""Counts what the senders sent against what the receiver got.

The count does not use the system's decisions: it reads again from the input and the consents who may be disturbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fakes.process import Arrival

from .play import Sent

ENDINGS = ("delivered", "expired", "cancelled", "opted_out", "dead_lettered")
CRITICAL_WITHIN_S = 10
"""The longest that a critical notification may wait for its provider's call."""


@dataclass(frozen=True)
class Evidence:
    """Everything that was seen of an evening.

    `quiet`: start and end of quiet hours. `consents`: the consent table by recipient. `held`: the ids that were seen on
    wait or schedule. `waiting`: those still on wait. `ledger`: each id's state. `dead_letters`: the ids on dead-letter.
    """

    sent: Sent
    quiet: tuple[datetime, datetime]
    consents: Mapping[str, Mapping[str, Any]]
    arrivals: Sequence[Arrival]
    held: Collection[str]
    waiting: Collection[str]
    ledger: Mapping[str, str]
    dead_letters: Collection[str]


def count(seen: Evidence) -> dict[str, int]:
    """Return the figures of build/demo.json. Each is a number of distinct ids; only `duplicates` counts answers."""
    accepted = set(seen.sent.accepted)
    arrived = Counter(arrival.id for arrival in seen.arrivals if arrival.accepted)
    ended = endings(seen)
    held = accepted & set(seen.held)
    return {
        "input": len(accepted | seen.sent.rejected),
        "rejected": len(seen.sent.rejected - accepted),
        "deduplicated": sum(times > 1 for times in seen.sent.accepted.values()),
        "accepted": len(accepted),
        "delivered": len(ended["delivered"]),
        "sent_now": len(ended["delivered"] - held),
        "held": len(held),
        "released": len(held - set(seen.waiting)),
        "expired": len(ended["expired"]),
        "cancelled": len(ended["cancelled"]),
        "opted_out": len(ended["opted_out"]),
        "dead_lettered": len(ended["dead_lettered"]),
        "early": len({arrival.id for arrival in seen.arrivals if _early(arrival, seen)}),
        "lost": len(accepted - set().union(*ended.values())),
        "duplicates": sum(times - 1 for times in arrived.values()),
    }


def by_provider(seen: Evidence) -> dict[str, dict[str, int]]:
    """Return what each provider got, by its own book: distinct ids, and `duplicates` as in `count`."""
    found: dict[str, dict[str, int]] = {}
    for provider in sorted({arrival.provider for arrival in seen.arrivals}):
        arrivals = [arrival for arrival in seen.arrivals if arrival.provider == provider]
        taken = Counter(arrival.id for arrival in arrivals if arrival.accepted)
        found[provider] = {
            "delivered": len(taken),
            "held": len(taken.keys() & set(seen.held)),
            "refused": len({arrival.id for arrival in arrivals} - taken.keys()),
            "early": len({arrival.id for arrival in arrivals if _early(arrival, seen)}),
            "duplicates": sum(times - 1 for times in taken.values()),
        }
    return found


def critical_waits_s(seen: Evidence, but: str) -> list[float]:
    """Return the seconds from acceptance to arrival of each critical notification, but for those of one channel."""
    waits = []
    for arrival in seen.arrivals:
        notification = seen.sent.notifications.get(arrival.id, {})
        if arrival.accepted and notification.get("category") == "critical" and notification["channel"] != but:
            waits.append((arrival.at - seen.sent.accepted_at[arrival.id]).total_seconds())
    return waits


def endings(seen: Evidence) -> dict[str, set[str]]:
    """Return the accepted ids by their ending: deliveries from the receiver's book, the others from the system."""
    accepted = set(seen.sent.accepted)
    by_state = {name: {id for id, state in seen.ledger.items() if state == name} for name in ENDINGS}
    by_state["delivered"] = {arrival.id for arrival in seen.arrivals if arrival.accepted}
    by_state["dead_lettered"] = set(seen.dead_letters)
    return {name: ids & accepted for name, ids in by_state.items()}


def problems(figures: Mapping[str, int], seen: Evidence) -> list[str]:
    """Return a sentence for each thing that went wrong; none if all went well."""
    found = [f"{name} is {figures[name]}, not 0" for name in ("early", "lost", "duplicates") if figures[name]]
    total = sum(figures[name] for name in ENDINGS)
    if figures["accepted"] != total:
        found.append(f"{figures['accepted']} were accepted, but {total} endings were counted")
    not_sent = {arrival.id for arrival in seen.arrivals} - set(seen.sent.accepted)
    if not_sent:
        found.append(f"{len(not_sent)} ids reached the receiver that nobody had sent")
    recorded = {id for id, state in seen.ledger.items() if state == "delivered"}
    delivered = {arrival.id for arrival in seen.arrivals if arrival.accepted}
    if recorded != delivered:
        found.append(f"the ledger and the receiver disagree about {len(recorded ^ delivered)} deliveries")
    unwanted = [id for id in delivered if _is_advertising(id, seen) and _consent(id, seen).get("opted_out")]
    if unwanted:
        found.append(f"{len(unwanted)} advertisements reached somebody who had opted out")
    return found


def release_times_s(seen: Evidence) -> tuple[float, float] | None:
    """Return how long after quiet hours the first and the last held notification arrived, or None if none did."""
    _, end = seen.quiet
    after_s = [(arrival.at - end).total_seconds() for arrival in seen.arrivals if arrival.id in seen.held]
    return (min(after_s), max(after_s)) if after_s else None


def _early(arrival: Arrival, seen: Evidence) -> bool:
    start, end = seen.quiet
    no_consent = not _consent(arrival.id, seen).get("night_consent")
    exempt = seen.sent.notifications.get(arrival.id, {}).get("channel") == "email"  # the law's one exception
    return start <= arrival.at < end and no_consent and _is_advertising(arrival.id, seen) and not exempt


def _is_advertising(notification_id: str, seen: Evidence) -> bool:
    notification = seen.sent.notifications.get(notification_id, {})
    return notification.get("category", "advertising") == "advertising"


def _consent(notification_id: str, seen: Evidence) -> Mapping[str, Any]:
    notification = seen.sent.notifications.get(notification_id, {})
    return seen.consents.get(notification.get("recipient_id", notification.get("address")), {})
