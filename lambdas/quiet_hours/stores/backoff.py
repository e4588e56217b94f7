"""Pauses between the tries of one operation on DynamoDB: they grow, they are drawn by chance, and they end in time.

Callers that were throttled together must not come back together, so each pause is drawn between nothing and its bound
("full jitter"): https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import inf

TRIES_MAX = 8
"""For what can be done later as well: pauses of 3.6 s at most, 1.8 s on average."""

RECORD_TRIES_MAX = 20
"""For what a provider has already: pauses of 15.6 s at most, if the time that is left allows it."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""The bound of the first pause, which doubles with each further one, and the bound that it does not pass."""

RESERVE_S = 5.0
"""The time that a pause must leave: for the last try, and for handing back what was not done."""


def no_pause(seconds: float) -> None:
    """The `sleep` of a caller that names none: its tries follow at once."""


def endless() -> float:
    """The time left of a caller that names none."""
    return inf


class Tries:
    """The tries of one operation: at most `tries_max`, and none that would begin too late.

    `sleep` and `remaining_s` are the caller's. `seed` differs between callers that compete, and the pauses depend on
    nothing else: so a simulation can be repeated.
    """

    def __init__(
        self,
        tries_max: int = TRIES_MAX,
        sleep: Callable[[float], None] = no_pause,
        remaining_s: Callable[[], float] = endless,
        seed: str = "",
    ) -> None:
        self.made = 1
        self._tries_max = tries_max
        self._sleep = sleep
        self._remaining_s = remaining_s
        self._seed = seed
        self._pauses = 0

    def again(self, *, at_once: bool = False) -> bool:
        """Pause before the next try, or not if it comes `at_once`. Returns False if there is no further try."""
        if self.made >= self._tries_max:
            return False
        if not at_once:
            pause_s = self._share() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._pauses)
            if self._remaining_s() - pause_s < RESERVE_S:
                return False
            self._sleep(pause_s)
            self._pauses += 1
        self.made += 1
        return True

    def _share(self) -> float:
        """A number from 0 to 1 that is as good as drawn. A checksum would not do: two seeds whose first pauses are
        alike would have alike pauses ever after."""
        digest = sha256(f"{self._seed} {self._pauses}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32
