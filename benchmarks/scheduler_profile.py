"""`python -m benchmarks.scheduler_profile`: prints the client's CPU of a release by part, and the waiting.

The releases are those of `make bench`: 2,000 notifications of 400 bytes. At this size one thread does everything. The
parts are timed around their functions and without a profiler, which would make botocore's many small calls look dearer
than they are.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParser
from botocore.serialize import JSONSerializer
from botocore.signers import RequestSigner
from botocore.useragent import UserAgentString

from lambdas.quiet_hours.notification.bundle import pack

from . import measure, release
from .measure import Call, Spent, counted, spent, spread
from .world import World, embedded, items, put

RELEASES = 10
HOOKS = "this benchmark's counting of items and units"
WIRE = "urllib3 and sockets, waiting for the server"
PARTS: dict[str, tuple[Any, str]] = {
    "botocore serialising": (JSONSerializer, "serialize_to_request"),
    "botocore writing its user agent": (UserAgentString, "to_string"),
    "botocore signing": (RequestSigner, "sign"),
    WIRE: (URLLib3Session, "send"),
    "botocore parsing answers": (ResponseParser, "parse"),
    HOOKS: (measure, "_billed"),
}
"""The function that does each part. Where one part calls another, the time counts for the part called."""

REST = "the rest of botocore's calls"
OWN = "the scheduler's own code: batches, and counting what each body holds"
ALL = "all of it"


class Step(NamedTuple):
    """One run of a part's function, without the time of other parts within it."""

    part: str
    began: float
    took: Spent


@contextmanager
def timed() -> Iterator[list[Step]]:
    """Collect every run of a part's function within the block."""
    steps: list[Step] = []
    inside: list[Spent] = []

    def around(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            inside.append(Spent())
            began = time.perf_counter()
            try:
                with spent() as used:
                    return function(*given, **named)
            finally:
                inner = inside.pop()
                if inside:
                    inside[-1].cpu_s += used.cpu_s
                    inside[-1].wall_s += used.wall_s
                steps.append(Step(part, began, Spent(used.cpu_s - inner.cpu_s, used.wall_s - inner.wall_s)))

        return run

    with ExitStack() as patches:
        for part, (owner, name) in PARTS.items():
            patches.enter_context(patch.object(owner, name, around(part, getattr(owner, name))))
        yield steps


class Profile(NamedTuple):
    """The time of each part from the first call to the last message moved, and the calls that moved something."""

    parts: dict[str, Spent]
    calls: list[Call]


def one_release(world: World) -> Profile:
    """Profile a release. Raises `RuntimeError` if not everything was moved."""
    world = release.for_scheduler(world)
    put(world.sqs, world.settings.wait_queue_url, pack(items(release.HELD)))
    with timed() as steps, counted(world.sqs) as calls:
        moved = release.scheduler(world)
    if moved != release.HELD:
        raise RuntimeError(f"{moved} notifications were moved instead of {release.HELD}")
    working = [call for call in calls if call.items]
    first, last = working[0], working[-1]

    found: defaultdict[str, Spent] = defaultdict(Spent)
    for step in steps:
        if first.began <= step.began < last.ended:
            found[step.part].cpu_s += step.took.cpu_s
            found[step.part].wall_s += step.took.wall_s
    # The CPU of the calls is without the counting.
    found[ALL] = Spent(last.ended_cpu_s - first.began_cpu_s + found[HOOKS].cpu_s, last.ended - first.began)
    in_calls = Spent(sum(c.ended_cpu_s - c.began_cpu_s for c in working), sum(c.ended - c.began for c in working))
    by_botocore = [found[part] for part in PARTS if part != HOOKS]
    found[REST] = _less(in_calls, *by_botocore)
    found[OWN] = _less(found[ALL], in_calls, found[HOOKS])
    return Profile(found, working)


def _less(whole: Spent, *parts: Spent) -> Spent:
    return Spent(whole.cpu_s - sum(part.cpu_s for part in parts), whole.wall_s - sum(part.wall_s for part in parts))


def _text(seconds: list[float]) -> str:
    ms = spread([each * 1000 for each in seconds])
    return f"{ms['median']:7.1f} ({ms['min']:.1f} to {ms['max']:.1f})"


def main() -> None:
    with embedded() as world:
        releases = [one_release(world.new_queues()) for _ in range(1 + RELEASES)][1:]
    print(f"moving {release.HELD:,} notifications, medians of {RELEASES} releases (least to most)\n")
    print(f"{'':70}{'CPU ms':>24}{'wall ms':>24}")
    for part in (OWN, *PARTS, REST, ALL):
        took = [each.parts[part] for each in releases]
        print(f"{part:70}{_text([each.cpu_s for each in took]):>24}{_text([each.wall_s for each in took]):>24}")
    whole = [each.parts[ALL] for each in releases]
    waited = [each.wall_s - each.cpu_s for each in whole]
    print(f"{'wall less CPU: the time of the server, and of others on these cores':94}{_text(waited):>24}")
    print(f"\n{'one call':70}{'CPU ms':>24}{'wall ms':>24}")
    for operation in dict.fromkeys(call.operation for each in releases for call in each.calls):
        calls = [call for each in releases for call in each.calls if call.operation == operation]
        cpu, wall = [call.ended_cpu_s - call.began_cpu_s for call in calls], [call.ended - call.began for call in calls]
        print(f"{operation:70}{_text(cpu):>24}{_text(wall):>24}")


if __name__ == "__main__":
    main()
