"""`make local-status`: shows how deep every queue is. The demo and `make local` show the same."""

from __future__ import annotations

from typing import Any, NamedTuple

from commands.deployment import read_outputs
from commands.run import run_command

from . import CommandError, server
from .aws import client
from .deploy import OUTPUTS

QUEUES = ("Notification", "Urgent", "Delivery", "Wait", "Schedule", "Campaign", "DeadLetter")


class Depth(NamedTuple):
    """The number of messages (bundles, not notifications) on a queue: ready to receive, received, not yet due."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        return sum(self)


def depth(sqs: Any, queue_url: str) -> Depth:
    """Return a queue's depth as SQS reports it. On AWS it is approximate."""
    suffixes = ("", "NotVisible", "Delayed")
    names = [f"ApproximateNumberOfMessages{suffix}" for suffix in suffixes]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return Depth(*(int(attributes[name]) for name in names))


def print_status(endpoint: str, outputs: dict[str, str]) -> None:
    """Print the depths as a table."""
    sqs = client(endpoint, "sqs")
    print(f"{'queue':14}{'visible':>9}{'in flight':>11}{'delayed':>9}   (messages; a bundle is one)")
    further = sorted(name for name in outputs if name.startswith("WaitQueueUrl") and name != "WaitQueueUrl")
    names = {name: f"{name}QueueUrl" for name in QUEUES}
    names |= {f"Wait{name.removeprefix('WaitQueueUrl')}": name for name in further}
    for name, output in names.items():
        found = depth(sqs, outputs[output])
        print(f"{name:14}{found.visible:>9}{found.in_flight:>11}{found.delayed:>9}")


def main() -> None:
    """Show the queues of `make local`. Raises `CommandError` if it does not run."""
    background = server.running_in_background()
    if background is None:
        raise CommandError("Nothing is running: `make local` starts it.")
    print_status(background.endpoint, read_outputs(OUTPUTS))


if __name__ == "__main__":
    run_command(main)
