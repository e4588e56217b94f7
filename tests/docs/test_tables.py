"""Tables of the documentation that repeat the code or the template: whoever changes one is told of the other."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from lambdas.quiet_hours import settings, timings
from lambdas.quiet_hours.channels.allow_list import SIMULATED, simulated
from lambdas.quiet_hours.notification import notification
from tests.docs.pages import PAGES, ROOT, rows
from tests.helpers.stack_template import DEFAULTS, FUNCTIONS, QUEUES, Deployed

HOW_IT_WORKS = "docs/how-it-works.md"


def test_the_table_of_queues_says_what_the_template_says(stack: Deployed) -> None:
    found = {row[0]: row[3:6] for row in rows(HOW_IT_WORKS, "queue")}

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
    readers = {row[0].capitalize(): row[2] for row in rows(HOW_IT_WORKS, "queue")}

    for queue, function in stack.feeds():
        assert readers[queue] == function.lower()
    assert readers["Wait"].startswith("scheduler")


def test_the_table_of_functions_has_every_function() -> None:
    assert {row[0] for row in rows(HOW_IT_WORKS, "function")} == {name.lower() for name in FUNCTIONS}


def test_the_configuration_is_the_context_of_the_app() -> None:
    found = {row[0]: row[1] for row in rows("docs/configuration.md", "name")}

    assert found == {
        name: json.dumps(value) if isinstance(value, bool) else str(value) or "none" for name, value in DEFAULTS.items()
    }


def test_the_table_of_fields_is_the_schema() -> None:
    assert [row[0] for row in rows("docs/api.md", "field")] == list(notification._FIELDS)


def test_the_table_of_simulated_addresses_says_what_the_worker_answers() -> None:
    answers = {"delivered": "taken", "rejected": "certainly refused", "unknown": "none: the outcome is unknown"}
    found = list(rows("docs/recipients.md", "kind"))

    assert len(found) == len(SIMULATED)
    for (_, phones, named, room, answer, *_), outcome in zip(found, SIMULATED.values(), strict=True):
        first, last = re.findall(r"\+[0-9]+", phones)
        addresses = [*(f"+{number}" for number in range(int(first), int(last) + 1)), named.strip("`"), room.strip("`")]
        assert [simulated(address) for address in addresses] == [outcome] * 102
        assert answer.startswith(answers[outcome.kind])


def test_the_guard_and_the_skew_are_the_ones_that_the_policy_has() -> None:
    urls = dict.fromkeys(
        ("notification_queue_url", "delivery_queue_url", "wait_queue_url", "schedule_queue_url"), "https://sqs/q"
    )
    policy = settings.Settings(
        **urls, dead_letter_queue_url="", ledger_table="", consent_table="", channel_secret=""
    ).quiet_hours()
    guard = f"a guard ({policy.guard.seconds} s: a call's deadline of {timings.CHANNEL_DEADLINE_MAX_S:g} s"
    text = re.sub(r"\s+", " ", PAGES[HOW_IT_WORKS])

    assert guard in text
    assert f"end {policy.skew.seconds} s after 08:00" in text
    assert policy.guard == timedelta(seconds=timings.CHANNEL_DEADLINE_MAX_S) + policy.skew + timings.LONGEST_PAUSE


def test_the_lease_in_the_glossary_is_the_one_that_the_worker_has() -> None:
    (lease,) = [row[1] for row in rows_of_every_table("docs/glossary.md") if row[0] == "lease"]

    assert f"How long a claim holds: {timings.LEASE_S} s." in lease


def test_every_package_that_is_asked_for_is_explained() -> None:
    asked = {
        line.partition("==")[0].partition("[")[0].strip()
        for file in [*ROOT.glob("*.in"), *ROOT.glob("requirements/*.in"), *ROOT.glob("lambdas/*.in")]
        for line in file.read_text().splitlines()
        if line and not line.startswith(("#", "-"))
    }
    asked |= json.loads((ROOT / "package.json").read_text())["devDependencies"].keys()
    producer = ROOT / "examples" / "producers" / "javascript" / "package.json"
    asked |= json.loads(producer.read_text())["dependencies"].keys()

    assert not {name for name in asked if f"`{name}`" not in PAGES["docs/dependencies.md"]}


def test_no_term_of_the_glossary_is_explained_twice() -> None:
    terms = [row[0] for row in rows_of_every_table("docs/glossary.md") if row[0] != "term"]

    assert len(terms) > 50
    assert len(terms) == len(set(terms))


def rows_of_every_table(page: str) -> list[list[str]]:
    lines = re.findall(r"^\| .+ \|$", PAGES[page], re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
