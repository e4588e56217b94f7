"""`make local-stop`: ends what `make local` has started, and nothing else."""

from __future__ import annotations

from commands.run import run_command

from . import server
from .deploy import OUTPUTS
from .start import ENVIRONMENT


def main() -> None:
    """End the embedded AWS, and remove the files that point at it."""
    port = server.stop_in_background()
    for path in (OUTPUTS, ENVIRONMENT):
        path.unlink(missing_ok=True)
    print("Nothing is running." if port is None else f"Ended the embedded AWS on port {port}.")


if __name__ == "__main__":
    run_command(main)
