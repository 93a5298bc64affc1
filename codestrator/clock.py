"""Time as a value that is passed on: the wall clock for people, a clock that counts suspend for leases."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS: CLOCK_MONOTONIC counts sleep


def _read_boot_id() -> str:
    """Name this boot of this machine, so that a clock that starts at boot is never compared across two of them."""
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text(encoding="ascii").strip()
    return f"boot-{round(time.time() - time.clock_gettime(_BOOT_CLOCK)):d}"[:-1]  # to ten seconds


class Moment(Struct, frozen=True):
    """One reading of all clocks: `at` for people (UTC), `boot_ms` since boot for leases, `boot_id` names the boot."""

    at: datetime
    boot_ms: int
    boot_id: str


class Clock:
    """The real clocks."""

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    def now(self) -> Moment:
        return Moment(datetime.now(UTC), int(time.clock_gettime(_BOOT_CLOCK) * 1000), self._boot_id)

    def wait(self, seconds: float, cancelled: threading.Event) -> None:
        """Rest for so long, or until cancelled."""
        cancelled.wait(seconds)


def rfc3339(at: datetime) -> str:
    """Write a time as the contract does: UTC, `Z`, milliseconds.

    >>> rfc3339(datetime(2026, 5, 4, 9, 30, tzinfo=UTC))
    '2026-05-04T09:30:00.000Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def parse(text: str) -> datetime:
    """Read a time that `rfc3339` wrote; raises ValueError for anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
