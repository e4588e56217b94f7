"""All fakes on one port of 127.0.0.1. The path and the headers of a request say which provider it is for.

    python -m fakes.server FILE [PORT]

Prints its port. Every notification in a POST becomes one JSON line in FILE: `provider`, `id`, `at` (UTC, when it
arrived), `status` (200 if the provider has taken it), `body`. `PUT /rules` sets the rules of the answers as in
`fakes.receiver`, with one more key: `"refuse": true` refuses the notification for good, in the provider's own way. A
rule `{"hangs": "solapi", "from": …, "until": …}` lets a provider hang between two instants (ISO 8601): it takes
nothing, and no answer comes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

from .aws import EndUserMessaging, Ses, Sns
from .provider import Fake, Reply, Request
from .receiver import Handler, Receiver, serve
from .slack import Slack
from .solapi import Solapi
from .webhook import Webhook

HANGS_S = 30
"""Longer than any channel waits for an answer."""


class Hanging(NamedTuple):
    """A provider that gives no answer from one instant to another."""

    provider: str
    begin: datetime
    end: datetime

    @classmethod
    def of(cls, rule: Mapping[str, str]) -> Hanging:
        return cls(rule["hangs"], datetime.fromisoformat(rule["from"]), datetime.fromisoformat(rule["until"]))


class Fakes(Receiver):
    """Listens on 127.0.0.1; `port` 0 takes a free one. Writes to `book`."""

    def __init__(self, port: int, book: TextIO) -> None:
        super().__init__(port, book, FakesHandler)
        self._hanging: list[Hanging] = []
        self.fakes: Sequence[Fake] = (Solapi(), EndUserMessaging(), Ses(), Sns(), Slack(), Webhook())

    def answer(self, request: Request) -> tuple[Reply, bool]:
        """Write its decision into the book. Returns the answer when it is due, and true if the answer must be lost."""
        fake = next((fake for fake in self.fakes if fake.is_for(request)), None)
        if fake is None:
            return Reply(404), False
        if self._hangs(fake.name, request.at):
            time.sleep(HANGS_S)
            return Reply(503), True
        rules = {id: self.rule_for(id) for id in fake.ids(request)}
        whole = next((rule for rule in rules.values() if rule and "refuse" not in rule), {})
        if "status" in whole:
            reply = fake.fault(whole["status"])
            wait = {"Retry-After": str(whole["retry_after_s"])} if "retry_after_s" in whole else {}
            reply = Reply(reply.status, reply.body, {**reply.headers, **wait}, refused=list(rules))
        else:
            reply = fake.answer(request, [id for id, rule in rules.items() if rule.get("refuse")])
        time.sleep(whole.get("delay_s", 0))
        for status, ids in ((200, reply.taken), (reply.status if reply.status != 200 else 400, reply.refused)):
            for id in ids:
                self.write_down(id, request.at, status, request.body, fake.name)
        return reply, bool(whole.get("hang_up"))

    def set_rules(self, rules: list[dict[str, Any]]) -> None:
        """Replace all rules."""
        self._hanging = [Hanging.of(rule) for rule in rules if "hangs" in rule]
        super().set_rules([rule for rule in rules if "hangs" not in rule])

    def _hangs(self, provider: str, at: datetime) -> bool:
        return any(each.provider == provider and each.begin <= at < each.end for each in self._hanging)


class FakesHandler(Handler):
    """One connection, kept open for many requests."""

    server: Fakes

    def do_POST(self) -> None:
        at = datetime.now(UTC)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply, lost = self.server.answer(Request(self.path, headers, self._body(), at))
        if lost:
            self.close_connection = True
            return
        self._answer(reply.status, dict(reply.headers), reply.body)


if __name__ == "__main__":
    serve(Fakes)
