"""Canaries: values that tests plant in what people send, and the search for them in what the functions print.

A canary must be found in every form in which it could be printed, and nothing else may ever look like one:

- The words have letters that no hexadecimal id has, and a hyphen, which no Base64 text has.
- The whole phone number has ten digits after its prefix. A time written out has at most six digits in a row. A time in
  milliseconds can contain the ten digits (for 1 ms every 115 days), so such times are removed first (`_MADE`). A
  random UUID has them with a probability of about 23 / 16^10, which is 2 in 10^11.
- A shortened number (`***-9485`) is only four digits, and counts and durations contain four digits often. It is looked
  for in text only: times, ids, hashes, durations, ports and line numbers are removed first, and so are the numbers of a
  JSON line, since a phone number is never printed as a count.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator

PHONE, E164 = "010-7936-9485", "+821079369485"
EMAIL, TEXT = "canary-mail@example.com", "카나리아 canary-text"

CANARIES: dict[str, re.Pattern[str]] = {
    "mail": re.compile("canary-mail"),
    "text": re.compile("canary-text"),
    "phone": re.compile(r"10[-. ()]{0,2}7936[-. ]?9485"),
}
PART = re.compile(r"(?<![0-9A-Fa-f])(?:7936|9485)(?![0-9A-Fa-f])")
"""One of the two groups of digits, alone: a shortened number shows one of them."""

_MADE = re.compile(
    r"""
      \d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?            # a time
    | (?<!\d)1[6-9]\d{8}(?:\d{3}|\d{6})?(?:\.\d+)?(?!\d)       # s, ms or µs since 1970, from 2020 on
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    | (?<![0-9a-f])(?=[0-9a-f]*[a-f])[0-9a-f]{16,}(?![0-9a-f]) # a hash
    | (?<![\d.])\d+\.\d+(?![\d.])                              # a duration
    | (?:127\.0\.0\.1|localhost):\d+                           # a port
    | \bline\ \d+                                              # of a traceback
    """,
    re.VERBOSE,
)
"""Everything that clocks, counters and generators of ids make."""

_BY_LOGGING = logging.makeLogRecord({}).__dict__.keys() - {"msg", "args", "exc_info", "exc_text"}


def leaks(text: str) -> list[str]:
    """The lines that show a canary, whole or in part, each with the name of the canary."""
    found = []
    for line in text.splitlines():
        searched = _without_made(line)
        shown = [name for name, canary in CANARIES.items() if canary.search(searched)]
        if "phone" not in shown and PART.search(_without_made("\n".join(_texts(line)))):
            shown.append("part of phone")
        found += [f"{name}: {line}" for name in shown]
    return found


def shows(canary: str, text: str) -> bool:
    """Tell if a text has a canary as a whole."""
    return CANARIES[canary].search(_without_made(text)) is not None


def logged(records: Iterable[logging.LogRecord]) -> str:
    """Return the text of log records, a line each, without the fields that `logging` adds: clocks, threads and
    processes."""
    said = [{name: value for name, value in vars(each).items() if name not in _BY_LOGGING} for each in records]
    return "\n".join(json.dumps(each, ensure_ascii=False, default=str) for each in said)


def _without_made(text: str) -> str:
    return _MADE.sub(" ", text)


def _texts(line: str) -> Iterator[str]:
    """The texts in a JSON line, keys included and numbers not; a line that is no JSON as it is."""
    try:
        value = json.loads(line)
    except ValueError:
        yield line
        return
    left = [value]
    while left:
        match left.pop():
            case dict() as fields:
                left += [*fields.keys(), *fields.values()]
            case list() as values:
                left += values
            case str() as text:
                yield text
