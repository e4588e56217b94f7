"""The faults: which go wrong, how often, and where. Each seed draws its own.

Each seed switches on a random subset of the faults, each at its own rate ("swarm testing"). A night on which everything
fails at once would hide how two faults act on each other.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, NamedTuple

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

CALL_FAULTS = ("error_before", "error_after", "partial", "die_before", "die_after", "slow_call")
"""At a call to AWS: it fails without effect, it has its effect but no answer arrives, part of a batch is refused, the
process dies before or after the effect, the answer takes seconds."""

PROVIDER_FAULTS = (
    "provider_refused",
    "provider_throttled",
    "provider_unauthorized",
    "provider_forbidden",
    "provider_error",
    "provider_timeout_before",
    "provider_timeout_after",
    "provider_raises",
    "die_at_provider_before",
    "die_at_provider_after",
)

SERVICE_FAULTS = (
    "false_empty",
    "duplicate_delivery",
    "delete_missed",
    "reordered",
    "invoke_throttled",
    "trigger_late",
    "trigger_twice",
    "trigger_missed",
)

RATES = (0.003, 0.02, 0.02, 0.1)
SHORT_POLL_EMPTY_RATE = 0.3
"""A short poll asks only some of SQS's servers. This is no fault, so it is always on."""


class Rung(NamedTuple):
    """A fault strikes where the drawn number is below this limit and not below that of the rung before."""

    below: float
    kind: str


class Faults:
    """The faults of a seed. Nothing fails from `until` on; with 0 nothing fails at all. `counts` counts them by kind.

    `at_worker` is the number of faults that hit a worker. `worker_slowed` are the times at which a fault made a worker
    wait for its ledger.
    """

    def __init__(self, rng: Random, until: float) -> None:
        self.rng = rng
        self.until = until
        self.counts: Counter[str] = Counter()
        self.at_worker = 0
        self.worker_slowed: list[float] = []
        share = rng.choice((0.15, 0.4, 0.7)) if until and rng.random() < 0.9 else 0.0
        self.rates = {
            kind: rng.choice(RATES) if rng.random() < share else 0.0
            for kind in (*CALL_FAULTS, *PROVIDER_FAULTS, *SERVICE_FAULTS)
        }
        self._call = self._ladder(CALL_FAULTS)
        self._provider = self._ladder(PROVIDER_FAULTS)
        self.latency_s = rng.choice((0.02, 0.02, 0.1, 0.4))

    def _ladder(self, kinds: tuple[str, ...]) -> list[Rung]:
        ladder, below = [], 0.0
        for kind in kinds:
            if self.rates[kind]:
                below += self.rates[kind]
                ladder.append(Rung(below, kind))
        return ladder

    def at_call(self, operation: str, t: float) -> str | None:
        """The fault of this call to AWS, if any."""
        return self._draw(self._call, t)

    def at_provider(self, t: float) -> str | None:
        """The fault of this call to a provider, if any."""
        return self._draw(self._provider, t)

    def _draw(self, ladder: list[Rung], t: float) -> str | None:
        if not ladder or t >= self.until:
            return None
        drawn = self.rng.random()
        if drawn >= ladder[-1].below:
            return None
        kind = next(rung.kind for rung in ladder if drawn < rung.below)
        self.counts[kind] += 1
        return kind

    def hits(self, kind: str, t: float) -> bool:
        """Draw if this fault of a service strikes now."""
        rate = self.rates[kind]
        if rate and t < self.until and self.rng.random() < rate:
            self.counts[kind] += 1
            return True
        return False

    def half(self, number: int) -> set[int]:
        """Draw which entries of a batch are refused: at least one."""
        chosen = {index for index in range(number) if self.rng.random() < 0.5}
        return chosen or {self.rng.randrange(number)}


class CrashAt(Faults):
    """A single fault: the process dies before or after the n-th call of the night, to AWS or to a provider."""

    def __init__(self, rng: Random, call: int | None, *, after: bool) -> None:
        super().__init__(rng, 0.0)
        self.calls = 0
        self.operations: list[str] = []
        self._call_number = call
        self._when = "after" if after else "before"

    def at_call(self, operation: str, t: float) -> str | None:
        self.operations.append(operation)
        return f"die_{self._when}" if self._is_it() else None

    def at_provider(self, t: float) -> str | None:
        self.operations.append("provider")
        return f"die_at_provider_{self._when}" if self._is_it() else None

    def _is_it(self) -> bool:
        self.calls += 1
        if self.calls - 1 != self._call_number:
            return False
        self.counts["crash"] += 1
        return True


def service_error(rng: Random, operation: str, *, lost: bool) -> Exception:
    """The exception that boto3 raises: a refusal by the service, no connection, or no answer."""
    url = "https://aws.simulated/"
    if lost:
        return ReadTimeoutError(endpoint_url=url)
    kind = rng.randrange(5)
    if kind == 0:
        return EndpointConnectionError(endpoint_url=url)
    if kind == 1:
        return ConnectTimeoutError(endpoint_url=url)
    code = ("ServiceUnavailable", "ThrottlingException", "InternalError")[kind - 2]
    return client_error(operation, code)


def client_error(operation: str, code: str, **more: Any) -> ClientError:
    """A service's own error in the form in which boto3 raises it."""
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": 400}, **more}
    return ClientError(answer, operation)
