"""`make demo`: plays an evening through quiet hours on the embedded AWS, and counts what arrives at the receiver.

The stack is the real one. With CHANNELS=all the evening goes to every channel, and is counted at a fake of each
provider. HANGS=solapi (or another one of them) lets that provider hang from a minute before quiet hours to a minute
after them. Ends with status 0 only if nothing was early, lost or delivered twice, every accepted notification is
accounted for, and every critical one of another provider was on time.
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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError

from commands.run import run_command
from fakes.process import Provider
from fakes.secret import PROVIDERS, secret
from local import BUILD, CommandError, deploy, server, shown
from local.aws import client
from local.start import requested_port

from .count import CRITICAL_WITHIN_S, Evidence, by_provider, count, critical_waits_s, endings, problems, release_times_s
from .evening import CONSENTS, EVENING, NIGHT_S, read
from .every_channel import by_every_channel
from .observe import Observer, dead_letter_ids
from .play import Player, Sent
from .view import Scene, View, providers_table, table

FOLDER = BUILD / "demo"
RESULT = BUILD / "demo.json"

DEPLOYMENT_S = 15
"""The time that a deployment should take. If it takes longer, the stack is deployed again, with that time planned."""
BEFORE_NIGHT_S = 20
"""The part of the evening that should come before quiet hours. With less than half, the stack is deployed again."""
ENDED_WITHIN_S = 300
"""The longest time after quiet hours until everything has ended: several minute rules, a retry or two."""
SETTLE_S = 3
"""The time to wait, at the end, for a second delivery that must not come."""
LOOK_EVERY_S = 0.5

GONE = {"id_ends": ":gone", "refuse": True, "status": 410}
"""The rule of the fakes for recipients who are gone."""
HANGS_BESIDE = timedelta(minutes=1)
"""How long before quiet hours a provider begins to hang, and how long after them it ends."""
RESTS_FOR_S = 480
"""The longest time after a provider hangs until its channel has been probed and everything has come back."""

QuietHours = tuple[datetime, datetime]
"""Their start and their end."""


@dataclass(frozen=True)
class Evening:
    """The input: the lines that are sent, the consents of the recipients, whether all channels are used, and the
    provider that hangs; empty if none does."""

    lines: list[dict[str, Any]]
    consents: list[dict[str, Any]]
    every_channel: bool
    hangs: str = ""


class Clock:
    """Adds up the time that each part of the demo takes."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent_s[part] = self.spent_s.get(part, 0) + time.monotonic() - began

    def __str__(self) -> str:
        parts = [f"{part} {spent_s:.0f} s" for part, spent_s in self.spent_s.items()]
        return f"{sum(self.spent_s.values()):.0f} s in all: {', '.join(parts)}"


def main() -> None:
    """Run the demo. Exits with status 1 if something went wrong in it; raises `CommandError` if it cannot run."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("Another demo is running in this directory: wait for its end.") from None
        RESULT.unlink(missing_ok=True)
        clock, view = Clock(), View()
        if started := os.environ.get("MAKE_STARTED_S"):
            clock.spent_s["setup"] = max(0.0, time.time() - int(started))
        evening = _evening(os.environ.get("CHANNELS", ""), os.environ.get("HANGS", ""))
        seen = _run(evening, view, clock)
        if not _report(seen, evening, view, clock):
            sys.exit(1)


def _evening(channels: str, hangs: str) -> Evening:
    """Read the input. `channels` and `hangs`: the environment's CHANNELS and HANGS."""
    if channels not in ("", "all"):
        raise CommandError("CHANNELS must be all, or not be given: then everything goes by webhook.")
    if hangs and (channels != "all" or hangs not in PROVIDERS):
        raise CommandError(f"HANGS must be one of {', '.join(PROVIDERS)}, and goes with CHANNELS=all.")
    lines, consents = read(EVENING), read(CONSENTS)
    if channels == "all":
        return Evening(by_every_channel(lines), consents, every_channel=True, hangs=hangs)
    return Evening(lines, consents, every_channel=False)


def _run(evening: Evening, view: View, clock: Clock) -> Evidence:
    """Start everything, deploy, play the evening, and end everything again."""
    module = "fakes.server" if evening.every_channel else "fakes.receiver"
    provider = Provider(FOLDER / "received.jsonl", module=module)
    embedded = None
    try:
        receiver = "a fake of every provider" if evening.every_channel else "a receiver"
        view.console.print(f"Starting the embedded AWS and {receiver}, on 127.0.0.1 …")
        with clock.of("start"):
            embedded = server.start(requested_port() or server.free_port(), FOLDER)
            provider.start()
            provider.answer(GONE)
        with clock.of("deployment"):
            outputs, quiet = _deploy(embedded.endpoint, view)
            configured = secret(provider.host_url) if evening.every_channel else {"webhook": {"url": provider.url}}
            _configure(embedded.endpoint, outputs, configured, evening.consents)
            provider.answer(GONE, *_hanging(evening.hangs, quiet))
        player = Player(evening.lines, quiet[0], embedded.endpoint, outputs)
        watch = Watch(Observer(embedded.endpoint, outputs), provider, player.sent, evening, quiet, view)
        return _play(player, watch, clock)
    except (BotoCoreError, OSError) as error:
        raise CommandError(
            f"The embedded AWS does not answer ({error}). Its log is build/demo/ministack.log."
        ) from error
    finally:
        if embedded:
            embedded.stop()
        provider.stop()


def _hanging(provider: str, quiet: QuietHours) -> list[dict[str, str]]:
    """The rule that lets a provider hang over quiet hours."""
    if not provider:
        return []
    start, end = quiet
    begin, end = start - HANGS_BESIDE, end + HANGS_BESIDE
    return [{"hangs": provider, "from": begin.isoformat(), "until": end.isoformat()}]


def _deploy(endpoint: str, view: View) -> tuple[dict[str, str], QuietHours]:
    """Deploy with quiet hours that begin soon, in whole minutes, as a schedule requires. Returns the outputs and the
    quiet hours."""
    lead_s: float = DEPLOYMENT_S + BEFORE_NIGHT_S
    for _ in range(3):
        began = datetime.now(UTC)
        start = (began + timedelta(seconds=lead_s + 59.999)).replace(second=0, microsecond=0)
        end = start + timedelta(seconds=NIGHT_S)
        view.console.print(f"Deploying the stack with the CDK CLI: quiet hours from {start:%H:%M} to {end:%H:%M} UTC …")
        window = ["-c", "timezone=UTC", "-c", f"quietHoursStart={start:%H:%M}", "-c", f"quietHoursEnd={end:%H:%M}"]
        window += ["-c", f"kakaoClosed={start:%H:%M}-{end:%H:%M}"]
        outputs = deploy.deploy(endpoint, FOLDER / "deploy", [*window, "-c", "recordHeld=true"])
        took_s = (datetime.now(UTC) - began).total_seconds()
        if (start - datetime.now(UTC)).total_seconds() >= BEFORE_NIGHT_S / 2:
            return outputs, (start, end)
        view.console.print(f"That took {took_s:.0f} s, too long for the evening to begin before its night: once more.")
        lead_s = took_s + BEFORE_NIGHT_S
    raise CommandError("This machine is too busy: three deployments in a row took longer than the one before.")


def _configure(
    endpoint: str, outputs: dict[str, str], configured: dict[str, Any], consents: list[dict[str, Any]]
) -> None:
    """Write the channel secret, which says where the providers are, and the consents."""
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


@dataclass(frozen=True)
class Watch:
    """Watches an evening from outside while it is played."""

    observer: Observer
    provider: Provider
    sent: Sent
    evening: Evening
    quiet: QuietHours
    view: View

    def look(self) -> None:
        """Look at the deployment, and show a new picture."""
        self.observer.look()
        seen = self.evidence({})
        self.view.show(
            Scene(
                quiet=self.quiet,
                depths=self.observer.depths,
                lines=(self.sent.lines, len(self.evening.lines)),
                accepted=len(self.sent.accepted),
                held=len(self.observer.held),
                waiting=len(self.observer.waiting),
                delivered=len({arrival.id for arrival in seen.arrivals if arrival.accepted}),
                dead_lettered=len(self.observer.dead_letters),
                release_s=release_times_s(seen),
            )
        )

    def evidence(self, ledger: dict[str, str]) -> Evidence:
        """Gather the evidence. `ledger`: the state of every id, if it has been read."""
        return Evidence(
            sent=self.sent,
            quiet=self.quiet,
            consents={consent["recipient_id"]: consent for consent in self.evening.consents},
            arrivals=self.provider.arrivals(),
            held=self.observer.held,
            waiting=self.observer.waiting,
            ledger=ledger,
            dead_letters=dead_letter_ids(self.observer.dead_letters, self.sent.bodies),
        )

    def final_evidence(self) -> Evidence:
        self.observer.note_recorded()
        return self.evidence(self.observer.ledger())

    def over(self) -> bool:
        """True once nothing moves any more, and nothing has arrived for a while, and everything accepted has ended."""
        if not self.observer.idle():
            return False
        time.sleep(SETTLE_S)
        self.look()
        if not self.observer.idle():
            return False
        ended = set().union(*endings(self.final_evidence()).values())
        return set(self.sent.accepted) <= ended


def _play(player: Player, watch: Watch, clock: Clock) -> Evidence:
    """Play the evening and watch it until everything has ended, or for `ENDED_WITHIN_S` at most."""
    failures = []

    def play() -> None:
        try:
            player.play()
        except Exception as failure:  # shown by the thread that waits
            failures.append(failure)

    playing = threading.Thread(target=play, daemon=True)
    _, night_ends = watch.quiet
    with watch.view:
        playing.start()
        try:
            with clock.of("evening and night"):
                while datetime.now(UTC) < night_ends:
                    watch.look()
                    time.sleep(LOOK_EVERY_S)
            with clock.of("release and the rest"):
                within_s = ENDED_WITHIN_S + (RESTS_FOR_S if watch.evening.hangs else 0)
                while datetime.now(UTC) < night_ends + timedelta(seconds=within_s):
                    watch.look()
                    if failures:
                        raise CommandError(f"The evening could not be played: {failures[0]}")
                    if not playing.is_alive() and watch.over():
                        break
                    time.sleep(LOOK_EVERY_S)
        finally:
            player.stop()
    return watch.final_evidence()


def _report(seen: Evidence, evening: Evening, view: View, clock: Clock) -> bool:
    """Count, print and write the result. Returns true if everything is as it must be."""
    figures = count(seen)
    channels = by_provider(seen) if evening.every_channel else {}
    RESULT.write_text(json.dumps(figures | ({"channels": channels} if channels else {}), indent=2) + "\n")
    view.console.print(table(figures))
    if evening.every_channel:
        view.console.print(providers_table(channels, PROVIDERS))
    if times_s := release_times_s(seen):
        first_s, last_s = times_s
        view.console.print(
            f"Held notifications arrived from {first_s:.1f} s to {last_s:.1f} s after quiet hours had ended."
        )
    view.console.print(
        f"{clock}.\nWritten: {shown(RESULT)}; what the receiver got: {shown(BUILD / 'demo' / 'received.jsonl')}."
    )
    found = problems(figures, seen)
    waits_s = critical_waits_s(seen, PROVIDERS.get(evening.hangs, ""))
    if waits_s:
        view.console.print(f"{len(waits_s)} critical notifications arrived within {max(waits_s):.1f} s of acceptance.")
        if max(waits_s) > CRITICAL_WITHIN_S:
            found.append(f"a critical notification waited {max(waits_s):.1f} s, more than {CRITICAL_WITHIN_S} s")
    if evening.every_channel and channels.keys() != PROVIDERS.keys():
        found.append(f"nothing reached {', '.join(sorted(PROVIDERS.keys() - channels.keys()))}")
    for problem in found:
        view.console.print(f"FAILED: {problem}.", style="bold red")
    if not found:
        view.console.print(
            f"Nothing early, nothing lost, nothing twice: all {figures['accepted']:,} are accounted for.", style="green"
        )
    return not found


if __name__ == "__main__":
    run_command(main)
