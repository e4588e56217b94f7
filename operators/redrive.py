"""`make redrive`: bring dead letters back, a hundred thousand in minutes, without delaying the day.

What a worker has ended is reopened in the ledger and packed into full bundles: what is critical for the delivery lane,
all else for the schedule lane. Nothing goes to the urgent lane, where thousands of letters would delay the codes of
today. The worker judges each of them again, so that the night is respected. Everything else goes to the notification
queue singly, with the attribute that names its ending, as AWS's own redrive sends it.

The order for each letter is: reopen, send, delete. If the command stops in between, the letter is still there. Running
it again sends a duplicate at most, which the ledger absorbs.

By default this happens on what `make local` runs; with OUTPUTS=(a CDK outputs file) it happens in the account of the
environment's credentials. A notification whose outcome is unknown may have been delivered already: it stays, unless
RESEND_UNKNOWN=1 says that it may be sent again. EXPIRED=drop ends what has expired by now, instead of bringing it back.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from commands import CommandError
from commands.deployment import deployed_settings
from commands.run import run_command
from lambdas.quiet_hours.errors import LedgerUnavailable
from lambdas.quiet_hours.notification.bundle import pack
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.clients import SERVICE_ERRORS, error_code
from lambdas.quiet_hours.stores.depth import DEEP, depth
from lambdas.quiet_hours.stores.entries import Entry
from lambdas.quiet_hours.stores.ledger import TRANSACTION_ITEMS_MAX, Ledger, Reopening
from lambdas.quiet_hours.stores.queues import send, text_attributes

from .letters import LEASE, Choice, Letter, Step, decide, read_letter
from .target import TARGET_HELP, target

LETTERS_MAX = 100_000
"""SQS hides at most 120,000 messages of a queue at a time. What is left is for the next run."""

ROUND_BYTES_MAX = 256 * 1024 * 1024
"""The letters that are held in memory at once. A night of 100,000 short notifications is about 100 MiB."""

HIDDEN_S = 900
"""The time that a gathered letter stays hidden from others. What is left in the end is shown again at once. If this
passes, the letter is seen a second time, and its duplicate is absorbed."""

AT_ONCE = 16
FRUITLESS_RECEIVES = 3
POLL_S = 1
ROOM_LOOK_S = 1.0
BATCH = 10


class Redriven(NamedTuple):
    """The numbers of letters: moved, dropped as expired, left for their unknown outcome, left because another
    notification with their id is on its way, and not taken by SQS."""

    moved: int = 0
    dropped: int = 0
    unknown: int = 0
    busy: int = 0
    failed: int = 0


class Gathered(NamedTuple):
    """The letters to act on. `is_all`: no more were found."""

    letters: list[Letter]
    is_all: bool


@dataclass
class Redrive:
    """One run of the command. `drops` decides if so many expired letters are dropped."""

    sqs: Any
    outputs: dict[str, str]
    ledger: Ledger
    settings: Settings
    progress: Progress
    resend_unknown: bool = False
    drops: Callable[[int], bool] = lambda number: False
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    counts: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)

    def run(self, letters_max: int = LETTERS_MAX) -> Redriven:
        """Bring back every letter that is there now. Raises `CommandError` if the ledger gives no answer."""
        started_ms = int(time.time() * 1000)
        hidden: dict[str, Letter] = {}  # by message id: what has to be shown again in the end
        try:
            is_all = False
            while not is_all and len(self._seen) < letters_max:
                letters, is_all = self._gather(hidden, started_ms, letters_max - len(self._seen))
                self._bring_back(letters, self._choice(letters), hidden)
        except (*SERVICE_ERRORS, LedgerUnavailable) as error:
            raise CommandError(
                f"{self.counts['moved']} letters are moved, then a call failed ({error_code(error)}). "
                "Nothing is lost: run it again."
            ) from error
        finally:
            self._show_again(list(hidden.values()))
        return Redriven(**{name: self.counts[name] for name in Redriven._fields})

    # --- gather

    def _gather(self, hidden: dict[str, Letter], started_ms: int, letters_max: int) -> Gathered:
        """Receive letters until the queue seems empty, or until there are as many as one round takes. What has come
        since the redrive began is only hidden: its fault is still there."""
        letters: list[Letter] = []
        task = self.progress.add_task("letters found", total=None)
        fruitless = size_bytes = 0
        while fruitless < FRUITLESS_RECEIVES and len(letters) < letters_max and size_bytes < ROUND_BYTES_MAX:
            at_once = 1 if fruitless else min(AT_ONCE, ceil((letters_max - len(letters)) / BATCH))
            parts = in_threads(self._receive, [BATCH] * at_once, at_once)
            received = {letter.message_id: letter for part in parts for letter in part}
            new = {id: letter for id, letter in received.items() if id not in self._seen}
            self._seen |= new.keys()
            hidden |= new
            letters += [letter for letter in new.values() if letter.sent_ms <= started_ms]
            size_bytes += sum(len(letter.body.encode()) for letter in new.values())
            fruitless = 0 if new else fruitless + 1
            self.progress.update(task, completed=len(letters))
        self.progress.update(task, total=len(letters))
        return Gathered(letters, fruitless == FRUITLESS_RECEIVES)

    def _receive(self, number: int) -> list[Letter]:
        answer = self.sqs.receive_message(
            QueueUrl=self.outputs["DeadLetterQueueUrl"],
            MaxNumberOfMessages=number,
            WaitTimeSeconds=POLL_S,
            VisibilityTimeout=HIDDEN_S,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return [read_letter(message, self.settings) for message in answer.get("Messages", [])]

    # --- decide

    def _choice(self, letters: Sequence[Letter]) -> Choice:
        """Say what is there, and ask what is done with the expired ones."""
        now = self.now()
        expired = sum(letter.content is not None and letter.content.expires_at <= now for letter in letters)
        self._say(f"{len(letters)} letters are on dead-letter; {expired} of them have expired by now.")
        return Choice(self.resend_unknown, drop_expired=expired > 0 and self.drops(expired))

    def _say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)

    # --- act

    def _bring_back(self, letters: Sequence[Letter], choice: Choice, hidden: dict[str, Letter]) -> None:
        """Act on letters, a window at a time: whoever stops the command waits for one window."""
        task = self.progress.add_task("letters settled", total=len(letters))
        single = [letter for letter in letters if letter.content is None]
        for wave in waves(letters):
            for window in _parts(wave, AT_ONCE * TRANSACTION_ITEMS_MAX):
                parts = list(_parts(window, TRANSACTION_ITEMS_MAX))
                for done in in_threads(lambda part: self.settle(part, choice), parts, AT_ONCE):
                    single += done.single
                    self._note(done, hidden, task)
        for window in _parts(single, TRANSACTION_ITEMS_MAX):
            self._wait_for_room(task)
            parts = list(_parts(window, BATCH))
            for done in in_threads(lambda part: self.settle_singly(part, choice), parts, AT_ONCE):
                self._note(done, hidden, task)

    def settle(self, letters: Sequence[Letter], choice: Choice) -> Settled:
        """Bring back up to `TRANSACTION_ITEMS_MAX` letters with different ids, in bundles."""
        done = Settled()
        now = self.now()
        entries = self.ledger.read_all(_id(letter) for letter in letters)
        steps: defaultdict[Step, list[Letter]] = defaultdict(list)
        for letter in letters:
            steps[decide(letter, entries.get(_id(letter)), choice, now)].append(letter)
        reopened = self.ledger.reopen([_reopening(each, entries) for each in steps["reopen"]], now)
        dropped = self.ledger.expire([entries[_id(each)] for each in steps["drop"]], now)
        going = steps["send"] + [letter for letter in steps["reopen"] if _id(letter) in reopened]
        taken = self._send_in_bundles(going)
        gone = [letter for letter in steps["drop"] if _id(letter) in dropped]
        self._delete(taken + gone)
        done.gone += taken + gone
        done.single += steps["singly"]
        done.counts.update(moved=len(taken), dropped=len(gone), failed=len(going) - len(taken))
        done.counts.update(unknown=len(steps["unknown"]), busy=len(steps["busy"]))
        # What has changed since it was read is somebody's at this moment: the next run settles it.
        done.counts["busy"] += len(steps["reopen"]) - len(reopened) + len(steps["drop"]) - len(dropped)
        return done

    def _send_in_bundles(self, letters: Sequence[Letter]) -> list[Letter]:
        """Returns the letters whose bundles SQS took."""
        taken: list[Letter] = []
        by_id = {_id(letter): letter for letter in letters}
        for is_critical, output in ((True, "DeliveryQueueUrl"), (False, "ScheduleQueueUrl")):
            contents = [letter.content for letter in letters if letter.content is not None]
            messages = pack(content.item() for content in contents if content.is_critical == is_critical)
            not_taken = send(self.sqs, self.outputs[output], messages)
            for index, message in enumerate(messages):
                if index not in not_taken:
                    taken += [by_id[item.id] for item in message.items]
        return taken

    def settle_singly(self, letters: Sequence[Letter], choice: Choice) -> Settled:
        """Send letters to the notification queue as they are, one by one, because a letter may be as large as a whole
        batch."""
        done = Settled()
        for letter in letters:
            if letter.content is None and decide(letter, None, choice, self.now()) == "unknown":
                done.counts["unknown"] += 1
                continue
            try:
                self.sqs.send_message(
                    QueueUrl=self.outputs["NotificationQueueUrl"],
                    MessageBody=letter.body,
                    MessageAttributes=text_attributes(letter.attributes),
                )
            except self.sqs.exceptions.ClientError as error:  # for example too large for that queue: the letter stays
                self._say(f"{letter.message_id} stays: {error}")
                done.counts["failed"] += 1
            else:
                done.gone.append(letter)
        self._delete(done.gone)
        done.counts["moved"] = len(done.gone)
        return done

    def _wait_for_room(self, task: TaskID) -> None:
        """Wait while the notification queue is deep: what others put there comes first."""
        while (found := depth(self.sqs, self.outputs["NotificationQueueUrl"])) > DEEP:
            self.progress.update(task, description=f"waiting: {found} messages on the notification queue")
            self.sleep(ROOM_LOOK_S)
        self.progress.update(task, description="letters settled")

    def _note(self, done: Settled, hidden: dict[str, Letter], task: TaskID) -> None:
        for letter in done.gone:
            hidden.pop(letter.message_id, None)
        self.counts += done.counts
        self.progress.advance(task, done.counts.total())

    def _delete(self, letters: Sequence[Letter]) -> None:
        """Delete letters. One that is not deleted comes again, and its duplicate is absorbed."""
        for part in _parts(letters, BATCH):
            entries = [{"Id": str(index), "ReceiptHandle": letter.handle} for index, letter in enumerate(part)]
            self.sqs.delete_message_batch(QueueUrl=self.outputs["DeadLetterQueueUrl"], Entries=entries)

    def _show_again(self, letters: Sequence[Letter]) -> None:
        """Let the letters that stay be seen at once. If that fails, they are seen after `HIDDEN_S`."""

        def show(part: Sequence[Letter]) -> None:
            entries = [
                {"Id": str(index), "ReceiptHandle": letter.handle, "VisibilityTimeout": 0}
                for index, letter in enumerate(part)
            ]
            with suppress(*SERVICE_ERRORS):
                self.sqs.change_message_visibility_batch(QueueUrl=self.outputs["DeadLetterQueueUrl"], Entries=entries)

        in_threads(show, list(_parts(letters, BATCH)), AT_ONCE)


@dataclass
class Settled:
    """What became of some letters: those that are gone from the queue, those that must go singly, and the counts."""

    gone: list[Letter] = field(default_factory=list)
    single: list[Letter] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def _id(letter: Letter) -> str:
    assert letter.content is not None
    return letter.content.id


def _reopening(letter: Letter, entries: dict[str, Entry]) -> Reopening:
    assert letter.content is not None
    return Reopening(entries[letter.content.id], letter.content.fingerprint)


def waves(letters: Sequence[Letter]) -> list[list[Letter]]:
    """The letters that may travel in bundles, each id once in a wave, and those of one lane and channel together.

    The newest letter of a notification goes first: an operator who mends a letter sends another one.
    """
    waves: list[list[Letter]] = []
    places: Counter[str] = Counter()
    for letter in sorted(letters, key=lambda each: -each.sent_ms):
        if letter.content is None:
            continue
        if places[letter.content.id] == len(waves):
            waves.append([])
        waves[places[letter.content.id]].append(letter)
        places[letter.content.id] += 1
    return [sorted(wave, key=_lane_and_channel) for wave in waves]


def _lane_and_channel(letter: Letter) -> tuple[bool, str]:
    assert letter.content is not None
    return letter.content.is_critical, letter.content.channel


def _parts(letters: Sequence[Letter], size: int) -> Iterator[Sequence[Letter]]:
    for start in range(0, len(letters), size):
        yield letters[start : start + size]


# --- the command


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m operators.redrive",
        description="Bring back every message that is on dead-letter now: each is judged again. A notification whose "
        "outcome is unknown stays, unless RESEND_UNKNOWN=1 says that it may be sent again. EXPIRED=drop ends what has "
        "expired by now; EXPIRED=keep lets the worker end it. It may be stopped and run again.",
        epilog=TARGET_HELP,
    )
    return parser.parse_args()


def _drops(progress: Progress) -> Callable[[int], bool]:
    """The decision about expired letters: EXPIRED=, or the answer of whoever is at the terminal, or to keep them.

    Raises `CommandError` for another value of EXPIRED=.
    """
    given = os.environ.get("EXPIRED", "")
    if given not in ("", "keep", "drop"):
        raise CommandError("EXPIRED= must be keep or drop.")

    def drops(number: int) -> bool:
        if given or not sys.stdin.isatty():
            return given == "drop"
        progress.stop()
        answer = input(f"Drop the {number} expired ones? Otherwise the worker ends them as expired. [y/N] ")
        progress.start()
        return answer.strip().lower() in ("y", "yes")

    return drops


def main() -> None:
    """Redrive the deployment that the environment names. Raises `CommandError` if there is none."""
    _arguments()
    client, outputs = target()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    owner = f"redrive-{time.time_ns()}"
    with Progress(*columns, console=Console(stderr=True)) as progress:
        done = Redrive(
            client("sqs"),
            outputs,
            Ledger(client("dynamodb"), outputs["LedgerTableName"], owner, LEASE, time.sleep),
            deployed_settings(client("lambda"), outputs["WorkerFunctionName"]),
            progress,
            resend_unknown=os.environ.get("RESEND_UNKNOWN") == "1",
            drops=_drops(progress),
        ).run()
    print(f"{done.moved} letters are on their way again.")
    if done.dropped:
        print(f"{done.dropped} had expired and are dropped.")
    if done.unknown:
        print(f"{done.unknown} stay because their outcome is unknown: RESEND_UNKNOWN=1 sends them again.")
    if done.busy:
        print(f"{done.busy} stay because their notification is on its way or a worker has it now: run it again later.")
    if done.failed:
        raise CommandError(f"{done.failed} stay because SQS did not take them.")


if __name__ == "__main__":
    run_command(main)
