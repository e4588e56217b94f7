"""`make demo`: the real stack on the embedded AWS, an evening through its quiet hours, and a count at the receiver.

With CHANNELS=all the evening goes to every channel, and is counted at a fake of each provider.

Ends with status 0 only if nothing was early, lost or delivered twice and every accepted notification is accounted for.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError

from demo.evening import CONSENTS, EVENING, NIGHT_S, read
from demo.every_channel import by_every_channel
from fakes.process import Provider
from fakes.secret import PROVIDERS, secret
from local import BUILD, CommandError, deploy, server
from local.aws import client
from local.processes import stop_on_signals
from local.start import requested_port

from .count import Evidence, by_provider, count, endings, problems, release_times_s
from .observe import Observer, dead_letter_ids
from .play import Player
from .view import Scene, View, providers_table, table

FOLDER = BUILD / "demo"
RESULT = BUILD / "demo.json"

DEPLOYMENT_S = 15
"""How long a deployment is expected to take; one that takes longer is made again, with as long as it took."""
BEFORE_NIGHT_S = 20
"""How much of the evening is to be seen before quiet hours, at least; half of that is enough not to deploy again."""
ENDED_WITHIN_S = 300
"""How long after quiet hours everything may take: several minute rules, a retry or two."""
SETTLE_S = 3


class Clock:
    """What the time was spent on."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent_s[what] = self.spent_s.get(what, 0) + time.monotonic() - began

    def __str__(self) -> str:
        parts = [f"{what} {spent_s:.0f} s" for what, spent_s in self.spent_s.items()]
        return f"{sum(self.spent_s.values()):.0f} s in all: {', '.join(parts)}"


def main() -> int:
    """Run the demo. Returns the exit status; raises `LocalError` where something on this machine is in the way."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("Another demo is running in this directory: wait for its end.") from None
        return _demo()


def _demo() -> int:
    RESULT.unlink(missing_ok=True)
    clock, view = Clock(), View()
    if started := os.environ.get("MAKE_STARTED_S"):
        clock.spent_s["setup"] = max(0.0, time.time() - int(started))
    every_channel = _every_channel(os.environ.get("CHANNELS", ""))
    lines, consents = read(EVENING), read(CONSENTS)
    if every_channel:
        lines = by_every_channel(lines)
    module = "fakes.server" if every_channel else "fakes.receiver"
    provider = Provider(FOLDER / "received.jsonl", module=module)
    embedded = None
    try:
        receiver = "a fake of every provider" if every_channel else "a receiver"
        view.console.print(f"Starting the embedded AWS and {receiver}, on 127.0.0.1 …")
        with clock.of("start"):
            embedded = server.start(requested_port() or server.free_port(), FOLDER)
            provider.start()
            provider.answer({"id_ends": ":gone", "refuse": True, "status": 410})
        with clock.of("deployment"):
            outputs, quiet = _deploy(embedded.endpoint, view)
            configured = secret(provider.host_url) if every_channel else {"webhook": {"url": provider.url}}
            _configure(embedded.endpoint, outputs, configured, consents)
        seen = _play(embedded.endpoint, outputs, provider, (lines, consents), quiet, view, clock)
    except (BotoCoreError, OSError) as error:
        raise CommandError(
            f"The embedded AWS does not answer ({error}). Its log is build/demo/ministack.log."
        ) from error
    finally:
        if embedded:
            embedded.stop()
        provider.stop()

    figures = count(seen)
    channels = by_provider(seen) if every_channel else {}
    RESULT.write_text(json.dumps(figures | ({"channels": channels} if channels else {}), indent=2) + "\n")
    view.console.print(table(figures))
    if every_channel:
        view.console.print(providers_table(channels, PROVIDERS))
    if times_s := release_times_s(seen):
        view.console.print(
            f"Held notifications arrived from {times_s[0]:.1f} s to {times_s[1]:.1f} s after quiet hours had ended."
        )
    view.console.print(f"{clock}.\nWritten: build/demo.json; what the receiver got: build/demo/received.jsonl.")
    found = problems(figures, seen)
    if every_channel and channels.keys() != PROVIDERS.keys():
        found.append(f"nothing reached {', '.join(sorted(PROVIDERS.keys() - channels.keys()))}")
    for problem in found:
        view.console.print(f"FAILED: {problem}.", style="bold red")
    if not found:
        view.console.print(
            f"Nothing early, nothing lost, nothing twice: all {figures['accepted']:,} are accounted for.", style="green"
        )
    return 1 if found else 0


def _deploy(endpoint: str, view: View) -> tuple[dict[str, str], tuple[datetime, datetime]]:
    """Deploy with quiet hours that begin soon. They are whole minutes, as a schedule's are."""
    lead_s = DEPLOYMENT_S + BEFORE_NIGHT_S
    for _ in range(3):
        began = datetime.now(UTC)
        start = (began + timedelta(seconds=lead_s + 59.999)).replace(second=0, microsecond=0)
        end = start + timedelta(seconds=NIGHT_S)
        view.console.print(f"Deploying the stack with the CDK CLI: quiet hours from {start:%H:%M} to {end:%H:%M} UTC …")
        window = ["-c", "timezone=UTC", "-c", f"quietHoursStart={start:%H:%M}", "-c", f"quietHoursEnd={end:%H:%M}"]
        outputs = deploy.deploy(endpoint, FOLDER / "deploy", window)
        took_s = (datetime.now(UTC) - began).total_seconds()
        if (start - datetime.now(UTC)).total_seconds() >= BEFORE_NIGHT_S / 2:
            return outputs, (start, end)
        view.console.print(f"That took {took_s:.0f} s, too long for the evening to begin before its night: once more.")
        lead_s = took_s + BEFORE_NIGHT_S
    raise CommandError("This machine is too busy: three deployments in a row took longer than the one before.")


def _every_channel(channels: str) -> bool:
    if channels not in ("", "all"):
        raise CommandError("CHANNELS must be all, or not be given: then everything goes by webhook.")
    return channels == "all"


def _configure(
    endpoint: str, outputs: dict[str, str], configured: dict[str, Any], consents: list[dict[str, Any]]
) -> None:
    """Tell the channels where their providers are, and write the consents."""
    client(endpoint, "secretsmanager").put_secret_value(
        SecretId=outputs["ChannelSecretName"], SecretString=json.dumps(configured)
    )
    dynamodb, name = client(endpoint, "dynamodb"), outputs["ConsentTableName"]
    for place in range(0, len(consents), 25):
        puts = [{"PutRequest": {"Item": _consent_item(consent)}} for consent in consents[place : place + 25]]
        if dynamodb.batch_write_item(RequestItems={name: puts}).get("UnprocessedItems"):
            raise CommandError("The embedded AWS did not take all consents.")


def _consent_item(consent: dict[str, Any]) -> dict[str, Any]:
    return {
        "recipient_id": {"S": consent["recipient_id"]},
        "night_consent": {"BOOL": consent["night_consent"]},
        "opted_out": {"BOOL": consent["opted_out"]},
    }


def _play(
    endpoint: str,
    outputs: dict[str, str],
    provider: Provider,
    evening: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    quiet: tuple[datetime, datetime],
    view: View,
    clock: Clock,
) -> Evidence:
    """Play the evening and watch, until everything accepted has ended and nothing has come for a while."""
    lines, consents = evening
    observer, player = Observer(endpoint, outputs), Player(lines, quiet[0], endpoint, outputs)
    sent, failures = player.sent, []

    def play() -> None:
        try:
            player.play()
        except Exception as failure:  # shown by the thread that waits
            failures.append(failure)

    def evidence(ledger: dict[str, str]) -> Evidence:
        return Evidence(
            sent=sent,
            quiet=quiet,
            consents={consent["recipient_id"]: consent for consent in consents},
            arrivals=provider.arrivals(),
            held=observer.held,
            waiting=observer.waiting,
            ledger=ledger,
            dead_letters=dead_letter_ids(observer.dead_letters, sent.bodies),
        )

    def watch() -> Evidence:
        observer.look()
        seen = evidence({})
        view.show(
            Scene(
                quiet=quiet,
                depths=observer.depths,
                lines=(sent.lines, len(lines)),
                accepted=len(sent.accepted),
                held=len(observer.held),
                waiting=len(observer.waiting),
                delivered=len({arrival.id for arrival in seen.arrivals if arrival.accepted}),
                dead_lettered=len(observer.dead_letters),
                release_s=release_times_s(seen),
            )
        )
        return seen

    playing = threading.Thread(target=play, daemon=True)
    with view:
        playing.start()
        try:
            with clock.of("evening and night"):
                while datetime.now(UTC) < quiet[1]:
                    watch()
                    time.sleep(0.5)
            with clock.of("release and the rest"):
                while datetime.now(UTC) < quiet[1] + timedelta(seconds=ENDED_WITHIN_S):
                    watch()
                    if failures:
                        raise CommandError(f"The evening could not be played: {failures[0]}")
                    if not playing.is_alive() and observer.idle():
                        time.sleep(SETTLE_S)  # a second delivery would come now
                        watch()
                        if observer.idle() and _all_ended(evidence(observer.ledger())):
                            break
                    time.sleep(0.5)
        finally:
            player.stop()
    return evidence(observer.ledger())


def _all_ended(seen: Evidence) -> bool:
    return not set(seen.sent.accepted) - set().union(*endings(seen).values())


if __name__ == "__main__":
    stop_on_signals()
    try:
        sys.exit(main())
    except CommandError as error:
        sys.exit(str(error))
