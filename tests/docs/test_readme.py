"""The README is held against the template and the code: whoever changes one is told of the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lambdas.quiet_hours import settings, timings
from lambdas.quiet_hours.notification import notification
from tests.helpers.stack_template import DEFAULTS, QUEUES, Deployed

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()


def rows(first_column: str) -> Iterator[list[str]]:
    """The rows below the table header whose first cell is `first_column`, without code marks."""
    _, _, after = README.partition(f"| {first_column} |")
    for line in after.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]


def test_the_table_of_queues_says_what_the_template_says(stack: Deployed) -> None:
    found = {row[0]: row[3:6] for row in rows("queue")}

    expected = {}
    for name in QUEUES:
        queue = stack.queue(name)
        expected[{"DeadLetter": "dead-letter"}.get(name, name.lower())] = [
            f"{queue['MessageRetentionPeriod'] // 86400} days",
            f"{queue.get('VisibilityTimeout', 30)} s",
            str(queue.get("RedrivePolicy", {}).get("maxReceiveCount", "")),
        ]
    assert found == expected


def test_the_table_of_queues_names_each_queues_reader(stack: Deployed) -> None:
    readers = {row[0].capitalize(): row[2] for row in rows("queue")}

    for queue, function in stack.feeds():
        assert readers[queue] == function.lower()
    assert readers["Wait"].startswith("scheduler")


def test_the_configuration_is_the_context_of_the_app() -> None:
    found = {row[0]: row[1] for row in rows("name")}

    assert found == {
        name: json.dumps(value) if isinstance(value, bool) else str(value) or "none" for name, value in DEFAULTS.items()
    }


def test_the_table_of_fields_is_the_schema() -> None:
    assert [row[0] for row in rows("field")] == list(notification._FIELDS)


def test_the_example_of_a_notification_is_accepted() -> None:
    (example,) = re.findall(r"json\.dumps\((\{.*?\}), ensure_ascii", README, re.DOTALL)
    candidate = json.loads(re.sub(r",(\s*\})", r"\1", example))

    assert not list(notification._faults(candidate))


def test_the_guard_and_the_skew_are_the_ones_that_the_policy_has() -> None:
    urls = dict.fromkeys(
        ("notification_queue_url", "delivery_queue_url", "wait_queue_url", "schedule_queue_url"), "https://sqs/q"
    )
    policy = settings.Settings(
        **urls, dead_letter_queue_url="", ledger_table="", consent_table="", channel_secret=""
    ).quiet_hours()
    guard = f"a guard ({policy.guard.seconds} s: a call's deadline of {timings.CHANNEL_DEADLINE_MAX_S:g} s"

    assert guard in README
    assert f"end {policy.skew.seconds} s after 08:00" in re.sub(r"\s+", " ", README)
    assert policy.guard == timedelta(seconds=timings.CHANNEL_DEADLINE_MAX_S) + policy.skew + timings.LONGEST_PAUSE


def test_every_package_that_is_asked_for_is_explained() -> None:
    asked = {
        line.partition("==")[0].partition("[")[0].strip()
        for file in [*ROOT.glob("*.in"), *ROOT.glob("requirements/*.in"), *ROOT.glob("lambdas/*.in")]
        for line in file.read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    }
    asked |= json.loads((ROOT / "package.json").read_text())["devDependencies"].keys()

    assert not {name for name in asked if f"`{name}`" not in README}


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"`make ([a-z-]+)|^    make ([a-z-]+)", README, re.MULTILINE)))
)
def test_every_make_command_exists(command: tuple[str, str]) -> None:
    assert re.search(rf"^{''.join(command)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
