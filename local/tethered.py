"""Runs a module as the leader of its process group, and ends the group as soon as its starter has ended.

    python -P local/tethered.py MODULE [ARGUMENT …]

The starter holds the other end of this process's standard input for as long as it lives. However the starter ends,
even by SIGKILL, the pipe closes, so that nothing is left running.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_starter() -> None:
    while os.read(0, 1024):  # nothing is ever written: the read returns when the pipe closes
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
