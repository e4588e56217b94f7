"""The README's example is a notification that the code accepts."""

from __future__ import annotations

import json
import re

from lambdas.quiet_hours.notification import notification
from tests.docs.pages import DOCS, PAGES

README = PAGES["README.md"]


def test_the_example_of_a_notification_is_accepted() -> None:
    (example,) = re.findall(r"json\.dumps\((\{.*?\}), ensure_ascii", README, re.DOTALL)
    candidate = json.loads(re.sub(r",(\s*\})", r"\1", example))

    assert not list(notification._faults(candidate))


def test_the_payload_for_the_producer_is_a_notification_that_is_accepted() -> None:
    (payload,) = re.findall(r"--payload '(\{.*?\})' \\$", README, re.MULTILINE)

    assert not list(notification._faults(json.loads(payload)))


def test_the_index_leads_to_every_page_of_the_documentation() -> None:
    index = PAGES["docs/README.md"]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"README.md"}

    assert not {page for page in pages if f"]({page})" not in index}
