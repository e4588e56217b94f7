"""`make local-status`: how deep every queue is. Also what the demo and `make local` show of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import BUILD, CommandError, deploy, server
from .aws import client
from .command import run_command

QUEUES = ("Notification", "Delivery", "Wait", "Schedule", "Campaign", "DeadLetter")


class Depth(NamedTuple):
    """How many messages (bundles, not notifications) a queue holds: to be had now, being worked on, not yet due."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        return sum(self)


def depth(sqs: Any, queue_url: str) -> Depth:
    """A queue's depth as SQS reports it, which on AWS is approximate."""
    suffixes = ("", "NotVisible", "Delayed")
    names = [f"ApproximateNumberOfMessages{suffix}" for suffix in suffixes]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return Depth(*(int(attributes[name]) for name in names))


def print_status(endpoint: str, outputs: dict[str, str]) -> None:
    """The table."""
    sqs = client(endpoint, "sqs")
    print(f"{'queue':14}{'visible':>9}{'in flight':>11}{'delayed':>9}   (messages; a bundle is one)")
    for name in QUEUES:
        visible, in_flight, delayed = depth(sqs, outputs[f"{name}QueueUrl"])
        print(f"{name:14}{visible:>9}{in_flight:>11}{delayed:>9}")


def main() -> None:
    """Show what `make local` runs. Raises `LocalError` if it does not."""
    found = server.running_in_background()
    if found is None:
        raise CommandError("Nothing is running: `make local` starts it.")
    print_status(f"http://127.0.0.1:{found[1]}", deploy.read_outputs(BUILD / "outputs.json"))


if __name__ == "__main__":
    run_command(main)
