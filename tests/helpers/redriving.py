"""Redriving as `make redrive` does, without its display."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import Progress

from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.ledger import Ledger
from operators.redrive import Redrive, Redriven


def outputs(settings: Settings) -> dict[str, str]:
    """The outputs that a redrive needs."""
    return {
        "DeadLetterQueueUrl": settings.dead_letter_queue_url,
        "NotificationQueueUrl": settings.notification_queue_url,
        "DeliveryQueueUrl": settings.delivery_queue_url,
        "ScheduleQueueUrl": settings.schedule_queue_url,
    }


def redrive(sqs: Any, dynamodb: Any, settings: Settings, resend_unknown: bool = False) -> Redriven:
    """Redrive every letter that is there."""
    ledger = Ledger(dynamodb, settings.ledger_table, "operator", timedelta(minutes=2))
    with Progress(console=Console(quiet=True)) as progress:
        return Redrive(sqs, outputs(settings), ledger, settings, progress, resend_unknown).run()
