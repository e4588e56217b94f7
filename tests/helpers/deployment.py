"""The queues and tables under the names that the stack gives them, in moto or on the embedded AWS."""

from __future__ import annotations

from typing import Any

from lambdas.quiet_hours.settings import Settings
from local.deploy import STACK
from tests.helpers.aws import TABLES, create_table


def make_deployment(sqs: Any, dynamodb: Any) -> Settings:
    """Make them, empty, and return the settings that name them."""

    def queue(name: str) -> str:
        return str(sqs.create_queue(QueueName=f"{STACK}-{name}")["QueueUrl"])

    def table(name: str, like: str) -> str:
        create_table(dynamodb, f"{STACK}-{name}", *TABLES[like])
        return f"{STACK}-{name}"

    return Settings(
        notification_queue_url=queue("Notification"),
        urgent_queue_url=queue("Urgent"),
        delivery_queue_url=queue("Delivery"),
        wait_queue_url=queue("Wait"),
        schedule_queue_url=queue("Schedule"),
        dead_letter_queue_url=queue("DeadLetter"),
        ledger_table=table("Ledger", "ledger"),
        consent_table=table("Consent", "consent"),
        channel_secret=f"{STACK}/channels",
        consent_history_table=table("ConsentHistory", "consent-history"),
        held_table=table("Held", "held"),
        turn_table=table("Turn", "turn"),
    )
