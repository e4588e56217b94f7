"""Draws the rest of the world: how providers are away, settings that break, lanes of different widths, consents that
are stored malformed, and senders whose clocks are ahead.

These draws have a stream of their own, so that they do not shift the other draws of a seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from random import Random
from typing import get_args

from .drawing import moment
from .plan import Consent, ConsentChange, Outage, Plan, Wanted
from .providers import KINDS
from .world import Span

OUTAGES: tuple[Outage, ...] = get_args(Outage)
WIDTHS = (2, 2, 2, 3, 5)


def draw_world(plan: Plan, rng: Random) -> None:
    """Switch each of these on or off for the whole seed."""
    plan.concurrency = {lane: rng.choice(WIDTHS) for lane in ("urgent", "delivery", "schedule")}
    plan.redrives = [each._replace(in_bundles=rng.random() < 0.7) for each in plan.redrives]
    _send_from_the_future(plan, rng)
    _store_malformed_consents(plan, rng)
    plan.outages = {channel: rng.choice(OUTAGES) for channel in KINDS}
    if plan.calm:
        return
    end = rng.choice(plan.ends)
    if rng.random() < 0.15:
        _be_away_for_long(plan, rng, end)
    if rng.random() < 0.1:
        plan.secret_away = Span(end - rng.random() * 600, end + rng.choice((60.0, 600.0, 3600.0)) * rng.random())
    if rng.random() < 0.1:
        _use_a_template(plan, rng, end)
    plan.faults_until = max(plan.faults_until, *(span.end for span in _spans(plan)))


def draw_collapse_keys(plan: Plan, rng: Random) -> None:
    """Some notifications of one recipient are of one source and have one collapse key."""
    if rng.random() >= 0.2:
        return
    uses = Counter(each.id for each in plan.wanted if each.id)
    by_recipient: defaultdict[str, list[Wanted]] = defaultdict(list)
    for each in plan.wanted:
        if each.category == "advertising" and uses[each.id or ""] <= 1:
            by_recipient[each.recipient].append(each)
    for recipient, wanted in by_recipient.items():
        if len(wanted) > 1 and rng.random() < 0.7:
            # One source is another sender's, and has the same key for the same people.
            for each in rng.sample(wanted, min(len(wanted), rng.choice((2, 2, 3, 5)))):
                each.body |= {"source": rng.choice(("source-1",) * 4 + ("source-2",)), "collapse_key": "price"}
            for each in wanted[:1]:
                each.body.setdefault("collapse_key", f"stock of {len(recipient)}")


def _spans(plan: Plan) -> tuple[Span, ...]:
    return (*plan.away.values(), plan.secret_away, plan.template_refused)


def _use_a_template(plan: Plan, rng: Random, end: float) -> None:
    """Most notifications are one source's and have one template, which providers refuse over the release."""
    for each in plan.wanted:
        if each.number % 4:
            each.body |= {"source": "source-0", "content": {**each.body["content"], "template": "sale"}}
    plan.template_refused = Span(end - rng.random() * 600, end + rng.choice((300.0, 1800.0, 5400.0)))


def _be_away_for_long(plan: Plan, rng: Random, end: float) -> None:
    """A provider is away over the release, for minutes or for more than an hour."""
    for channel in rng.sample(tuple(KINDS), rng.choice((1, 1, 2))):
        plan.away[channel] = Span(end - rng.random() * 120, end + rng.choice((300.0, 1800.0, 5400.0)))


def _send_from_the_future(plan: Plan, rng: Random) -> None:
    """Some senders write when their notification was accepted, by a clock that is hours ahead."""
    if rng.random() < 0.1:
        for request in plan.requests:
            if request.route in ("sqs", "bundle") and rng.random() < 0.5:
                at = plan.start + timedelta(seconds=request.at + rng.choice((60.0, 6 * 3600.0)))
                for each in request.wanted:
                    each.body["accepted_at"] = at.isoformat(timespec="milliseconds")


def _store_malformed_consents(plan: Plan, rng: Random) -> None:
    """Somebody has written records that are not as the registrar writes them: they consent to nothing."""
    if rng.random() < 0.1:
        for key in rng.sample(sorted({each.recipient for each in plan.wanted}), 2):
            at = 0.0 if rng.random() < 0.5 else max(1.0, moment(plan, rng))
            plan.consents.append(ConsentChange(at, key, Consent(opted_out=True, malformed=True)))
