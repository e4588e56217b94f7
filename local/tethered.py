"""Run a module as the leader of its process group, and end the group as soon as the starter is gone.

    python -P local/tethered.py MODULE [ARGUMENT …]

The starter keeps the other end of our standard input open for as long as it lives. However it ends, SIGKILL
included, the pipe closes with it, so that nothing stays behind.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_starter() -> None:
    while os.read(0, 1024):  # nothing is ever written: this returns when the pipe closes
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
