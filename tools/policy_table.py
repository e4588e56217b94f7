"""`make policy POLICY=acme`: prints a policy's closures with their sources, and a table of what it does when.

    make policy POLICY=france ZONE=Europe/Paris DAY=2026-12-24 DAYS=3

The table has each instant of these days at which something changes, for the notifications that the policy treats alike:
without a night consent, and with one. The policy is checked as at synthesis.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from infra.policies import check_opens, closed_for_too_long, holidays_end_soon
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import CATEGORIES, CHANNELS, Closure
from lambdas.quiet_hours.rule.policy_file import FOLDER
from lambdas.quiet_hours.rule.terms import Policy
from lambdas.quiet_hours.rule.windows import opens_at


class Alike(NamedTuple):
    """Notifications that the same closures apply to, as words, and these closures."""

    who: str
    closures: tuple[Closure, ...]


def groups(policy: Policy) -> list[Alike]:
    """The notifications that a policy treats alike. What it never holds is left out."""
    found: dict[tuple[Closure, ...], list[tuple[str, str]]] = {}
    for category in CATEGORIES:
        for channel in CHANNELS:
            applying = tuple(each for each in policy.closures if each.applies(category, channel))
            found.setdefault(applying, []).append((category, channel))
    return [Alike(_words(whom), closures) for closures, whom in found.items() if closures]


def _words(whom: Iterable[tuple[str, str]]) -> str:
    by_category: dict[str, list[str]] = {}
    for category, channel in whom:
        by_category.setdefault(category, []).append(channel)
    return "; ".join(
        f"{category} by {'any channel' if len(channels) == len(CHANNELS) else ', '.join(channels)}"
        for category, channels in by_category.items()
    )


def changes(closures: tuple[Closure, ...], policy: Policy, begin: datetime, end: datetime) -> Iterator[str]:
    """A line for each minute from `begin` to `end` in which the answer changes."""
    stays = tuple(each for each in closures if not each.consent_opens)
    zone, before, now = closures[0].zone, "", begin
    while now < end:
        answers = [opens_at(now, each, policy) for each in (closures, stays)]
        texts = [
            "sent" if until is None else f"held until {until.astimezone(zone):%a %m-%d %H:%M}" for until in answers
        ]
        line = f"{texts[0]:<28}{texts[1]}"
        if line != before:
            yield f"  {now.astimezone(zone):%a %Y-%m-%d %H:%M}  {line}"
        before, now = line, now + timedelta(minutes=1)


def table(policy: Policy, begin: datetime, days: int) -> Iterator[str]:
    """The lines of the whole answer."""
    for closure in policy.closures:
        opened = "a night consent opens it" if closure.consent_opens else "nothing opens it"
        yield f"{closure.name}: {closure.hours}; {opened}"
        yield f"  {closure.citation} ({closure.standing})"
    for who, closures in groups(policy):
        yield f"\n{who}"
        yield f"  {closures[0].zone.key:<22}{'no night consent':<28}night consent"
        yield from changes(closures, policy, begin, begin + timedelta(days=days))
    yield "\nEverything else is never held."


def main(arguments: list[str]) -> int:
    """Print the table, or the fault of the policy."""
    parser = argparse.ArgumentParser(prog="python -m tools.policy_table", description=__doc__)
    parser.add_argument("policy", help="the name of a file in policies/, without .toml")
    parser.add_argument("--folder", default="", help="a folder with policy files of yours")
    parser.add_argument("--zone", default="Asia/Seoul", help="the zone of what names none (Asia/Seoul)")
    parser.add_argument("--day", default="", help="the first day, such as 2026-12-24 (today)")
    parser.add_argument("--days", type=int, default=3, help="the number of days (3)")
    asked = parser.parse_args(arguments)
    now = datetime.now(UTC)
    try:
        folder = Path(asked.folder).resolve() if asked.folder else FOLDER
        policy = named_policy(asked.policy, timezone=asked.zone, folder=folder)
        check_opens(policy, now)
        zone = policy.closures[0].zone
        first = datetime.fromisoformat(asked.day) if asked.day else now.astimezone(zone).replace(tzinfo=None)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    begin = first.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=zone).astimezone(UTC)
    print("\n".join(table(policy, begin, asked.days)))
    for warning in (closed_for_too_long(policy, now), holidays_end_soon(policy, now.date())):
        if warning:
            print(f"\nwarning: {warning}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
