"""Ends what carries a mark in its environment: the last resort where a keeper was itself killed."""

import contextlib
import os
import signal
import time
from pathlib import Path

END_SECONDS = 1.0


def end_marked(mark: str) -> None:
    """Kill every process whose environment holds `mark` (`NAME=value`), and what those start meanwhile.

    What is about to be killed is held by a descriptor, so that a number used again is never taken for it. Where the
    system shows no environments, nothing is done.
    """
    end = time.monotonic() + END_SECONDS
    while _kill_all(mark.encode()) and time.monotonic() < end:
        pass


def _kill_all(mark: bytes) -> bool:
    """Whether there was any."""
    found = False
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            process = os.pidfd_open(int(place.name))
            try:
                if mark in (place / "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    found = True
            finally:
                os.close(process)
    return found
