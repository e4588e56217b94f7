"""Generates an evening of a Korean fashion shop from a seed: what its services send around one short night.

    python -m demo.evening        writes demo/evening.jsonl and demo/consents.jsonl

A line of evening.jsonl is one message to send:

    {"at_s": 4.0, "via": "producer", "notification": {…}, "expires_at_s": 45}

`at_s` counts from the start of quiet hours, which last `NIGHT_S`. `via` is producer (one invocation for all lines of
one `at_s`), event (EventBridge) or sqs (plain SendMessage). `expires_at_s`, if present, becomes the notification's
`expires_at`. A line with `body` instead of `notification` is sent as it is: it is not JSON. An id that stands there
twice is a retry of a service. consents.jsonl holds the consent table: recipients who are not in it have agreed to
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from . import texts

SEED = 20201111
DAY_S = 40
NIGHT_S = 60
CUSTOMERS = 900

FOLDER = Path(__file__).parent
EVENING = FOLDER / "evening.jsonl"
CONSENTS = FOLDER / "consents.jsonl"

Line = dict[str, Any]


def make() -> tuple[list[Line], list[dict[str, Any]]]:
    """Return the lines in the order of their times, and the consents. They are the same at every call."""
    random = Random(SEED)
    lines = [
        *_purchases(random),
        *_login_codes(random),
        *_campaigns(random),
        *_edges(random),
        *_back_in_stock(random),
        *_gone(random),
    ]
    lines += _sent_again(random, lines)
    lines += _faulty(random)
    lines.sort(key=lambda line: (line["at_s"], line["via"]))
    return lines, list(_consents(random))


def _customer(random: Random) -> str:
    return f"user-{random.randrange(CUSTOMERS):04}"


def _line(at_s: float, via: str, customer: str, source: str, content: dict[str, str], **fields: Any) -> Line:
    notification = {"channel": "webhook", "address": customer, "recipient_id": customer, "source": source}
    return {"at_s": round(at_s, 2), "via": via, "notification": notification | fields | {"content": content}}


def _purchases(random: Random) -> Iterator[Line]:
    """Order, payment, shipping, delivery, refund: each from the service that does it, at any time of the evening."""
    for number in range(760):
        step = random.choice(list(texts.PURCHASE))
        source, via = texts.PURCHASE[step]["source"], texts.PURCHASE[step]["via"]
        yield _line(
            random.uniform(-DAY_S, NIGHT_S + 14),
            random.choice(via),
            _customer(random),
            source,
            texts.fill(random, texts.PURCHASE[step]),
            id=f"order-20201111-{number:04}:{step}",
            category="informational",
        )


def _login_codes(random: Random) -> Iterator[Line]:
    for number in range(60):
        content = texts.fill(random, texts.LOGIN_CODE)
        at_s = random.uniform(-DAY_S, NIGHT_S + 14)
        yield _line(
            at_s, "producer", _customer(random), "login", content, id=f"login-{number:04}:code", category="critical"
        )


def _campaigns(random: Random) -> Iterator[Line]:
    """Bulk advertising. Recipients without night consent get it in the morning, or never if it expires before."""
    for campaign in texts.CAMPAIGNS:
        customers = random.sample(range(CUSTOMERS), campaign["customers"])
        for place, customer in enumerate(customers):
            line = _line(
                campaign["at_s"] + place // campaign["request"] * campaign["pause_s"],
                campaign["via"],
                f"user-{customer:04}",
                "campaigns",
                texts.fill(random, campaign),
                id=f"{campaign['name']}:{customer:04}",
                category="advertising",
                metadata={"campaign": campaign["name"]},
            )
            if "expires_at_s" in campaign:
                line["expires_at_s"] = campaign["expires_at_s"]
            yield line


def _edges(random: Random) -> Iterator[Line]:
    """A reminder every half second within ten seconds of both ends of the night, where faults are most likely."""
    for edge, edge_s in (("start", 0), ("end", NIGHT_S)):
        for place in range(40):
            yield _line(
                edge_s - 10 + place / 2,
                random.choice(("producer", "sqs", "event")),
                _customer(random),
                "cart",
                texts.fill(random, texts.CART),
                id=f"cart-{edge}-{place:02}:reminder",
                category="advertising",
            )


def _back_in_stock(random: Random) -> Iterator[Line]:
    """From a stock system that only knows SQS: no id, no category (so it is advertising), no recipient_id."""
    for _ in range(80):
        at_s = random.uniform(-DAY_S, NIGHT_S + 8)
        line = _line(at_s, "sqs", _customer(random), "stock", texts.fill(random, texts.BACK_IN_STOCK))
        del line["notification"]["recipient_id"]
        yield line


def _gone(random: Random) -> Iterator[Line]:
    """To customers without the app: the demo's receiver refuses ids that end in `:gone` for good."""
    for number in range(6):
        content = texts.fill(random, texts.PURCHASE["shipped"])
        at_s = random.uniform(5, NIGHT_S)
        yield _line(
            at_s, "event", _customer(random), "delivery", content, id=f"app-{number}:gone", category="informational"
        )


def _sent_again(random: Random, lines: list[Line]) -> list[Line]:
    """Retries of services: the same id once more, a moment later, sometimes by another way."""
    again = []
    for line in random.sample([line for line in lines if "id" in line["notification"]], 120):
        if "expires_at_s" not in line:
            at_s = round(line["at_s"] + random.choice((0, 0.2, 1.5, 4)), 2)
            again.append(line | {"at_s": at_s, "via": random.choice((line["via"], "sqs", "event"))})
    return again


def _faulty(random: Random) -> Iterator[Line]:
    """Faulty notifications. The producer rejects them; from SQS and the event bus they go to dead-letter."""
    for number, (via, fault) in enumerate(texts.FAULTS):
        content = texts.fill(random, texts.PURCHASE["paid"])
        line = _line(
            random.uniform(0, NIGHT_S),
            via,
            _customer(random),
            "new-service",
            content,
            id=f"faulty-{number:02}",
            category="informational",
        )
        line["notification"] |= {name: value for name, value in fault.items() if value is not None}
        for name in [name for name, value in fault.items() if value is None]:
            del line["notification"][name]
        yield line
    for number, body in enumerate(texts.NOT_JSON):
        yield {"at_s": 10.0 + number, "via": "sqs", "body": body}


def _consents(random: Random) -> Iterator[dict[str, Any]]:
    """Three in ten were never asked. Of the others one in twelve has opted out, and about a third has night consent."""
    for customer in range(CUSTOMERS):
        if random.random() < 0.7:
            opted_out = random.random() < 1 / 12
            night_consent = not opted_out and random.random() < 1 / 3
            yield {"recipient_id": f"user-{customer:04}", "night_consent": night_consent, "opted_out": opted_out}


def read(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def text(objects: list[dict[str, Any]]) -> str:
    """Write objects as the text of a JSON Lines file."""
    return "".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in objects)


if __name__ == "__main__":
    for path, objects in zip((EVENING, CONSENTS), make(), strict=True):
        path.write_text(text(objects), encoding="utf-8")
        print(f"{path.name}: {len(objects)} lines")
