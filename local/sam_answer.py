"""Checks the answer of `sam local invoke`, which exits with 0 even if the function fails or times out.

    sam local invoke … | python -m local.sam_answer

Prints the function's answer. Exits with 1 if there is none, as after a time-out, or if it is an error of the function.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from commands.run import run_command

from . import CommandError


def read_answer(output: str) -> Any:
    """Read what SAM writes to its standard output. Raises `CommandError` unless it is a function's answer."""
    try:
        answer = json.loads(output)
    except ValueError:
        printed = output.strip()
        said = f"It printed: {printed}" if printed else "It printed nothing: it timed out, or never began."
        raise CommandError(f"The function gave no answer. {said} SAM's own output says more.") from None
    if isinstance(answer, dict) and "errorMessage" in answer:
        raise CommandError(f"The function failed with {answer.get('errorType', 'an error')}: {answer['errorMessage']}")
    return answer


def main() -> None:
    """Check what comes by standard input."""
    print(json.dumps(read_answer(sys.stdin.read()), ensure_ascii=False))


if __name__ == "__main__":
    run_command(main)
