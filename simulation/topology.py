"""The figures of the stack as the simulation uses them. A test compares them with the stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lambdas.quiet_hours import timings
from lambdas.quiet_hours.settings import Settings

from .faults import Faults
from .plan import Plan
from .queues import Queue
from .world import World

RETENTION_S = 4 * 86_400
DEAD_LETTER_RETENTION_S = 14 * 86_400
LANE_RECEIVES_MAX = 240
ENTRY_RECEIVES_MAX = WAIT_RECEIVES_MAX = 1000
LANE_BYTES_MAX = 64 * 1024
CONSUMER_CONCURRENCY = 2
CONSUMER_BATCH = 10
LANE_CONCURRENCY = 2


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue's name, its visibility timeout, and how often a message may be received."""

    name: str
    visibility_s: float
    receives_max: float


def queue_figures(wait_queues: int = 1) -> list[QueueFigures]:
    """The working queues. The figures are read at run time, so that a planted bug can change them."""
    further = range(2, wait_queues + 1)
    return [
        QueueFigures("notification", 6 * timings.CONSUMER_TIMEOUT_S, ENTRY_RECEIVES_MAX),
        QueueFigures("urgent", timings.LANE_VISIBILITY_S, LANE_RECEIVES_MAX),
        QueueFigures("delivery", timings.LANE_VISIBILITY_S, LANE_RECEIVES_MAX),
        QueueFigures("wait", timings.WAIT_VISIBILITY_S, WAIT_RECEIVES_MAX),
        *(QueueFigures(f"wait{number}", timings.WAIT_VISIBILITY_S, WAIT_RECEIVES_MAX) for number in further),
        QueueFigures("schedule", timings.LANE_VISIBILITY_S, LANE_RECEIVES_MAX),
    ]


def build_queues(world: World, faults: Faults, in_flight_max: int, wait_queues: int = 1) -> dict[str, Queue]:
    """Every queue by its name. Each redrives to dead-letter."""
    dead_letter = Queue(world, faults, "dead-letter", 30.0, DEAD_LETTER_RETENTION_S)
    queues = {"dead-letter": dead_letter}
    for figures in queue_figures(wait_queues):
        queues[figures.name] = Queue(
            world,
            faults,
            figures.name,
            figures.visibility_s,
            RETENTION_S,
            bytes_max=LANE_BYTES_MAX,
            receives_max=figures.receives_max,
            dead_letter=dead_letter,
        )
    queues["wait"].in_flight_max = in_flight_max
    return queues


def settings_for(queues: dict[str, Queue], plan: Plan) -> Any:
    """The settings that the functions of this deployment get."""
    return Settings(
        notification_queue_url=queues["notification"].url,
        urgent_queue_url=queues["urgent"].url,
        delivery_queue_url=queues["delivery"].url,
        wait_queue_url=queues["wait"].url,
        schedule_queue_url=queues["schedule"].url,
        dead_letter_queue_url=queues["dead-letter"].url,
        ledger_table="ledger",
        consent_table="consent",
        turn_table="turn",
        channel_secret="channels",
        end=f"{plan.end_hour:02}:00",
        kakao_closed=plan.kakao_closed or f"20:50-{plan.end_hour:02}:00",
        wait_queues=plan.wait_queues,
        further_policies=plan.further_policies,
        timezone=plan.zone.key,
        policy=plan.policy,
        held_table="held",
        record_held=plan.record_held,
        advertising_label=plan.advertising_label,
        advertising_consent=plan.advertising_consent,
        recipients="" if plan.allow_list is None else "listed",
    )
