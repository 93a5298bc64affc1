"""Names processes so that a number used again is not taken for the one before."""

import contextlib
import os
from pathlib import Path


def identity() -> tuple[int, str]:
    """This process: its number and its start, as the kernel tells it."""
    return os.getpid(), started(os.getpid()) or ""


def started(pid: int) -> str | None:
    """When a process started, in words that only serve to be compared; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None if Path("/proc/self").exists() else _asked(pid)
    state, *fields = stat.rpartition(")")[2].split()
    if state == "Z":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    return f"{boot}:{fields[18]}"  # proc(5): field 22, starttime since boot, counted after pid, comm and state


def _asked(pid: int) -> str | None:
    """Where there is no /proc (macOS)."""
    import subprocess  # two milliseconds that a short command on Linux need not pay

    done = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
    )
    return done.stdout.strip() or None


def alive(pid: int, start: str) -> bool:
    """Whether that very process still runs."""
    return pid > 0 and started(pid) == start


def marked(name: str, *values: str) -> list[int]:
    """The processes of this user that were started with that variable as one of the values; never this one."""
    wanted = {f"{name}={value}".encode() for value in values}
    if not Path("/proc/self").exists():
        return _marked_by_ps({one.decode() for one in wanted})
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if not wanted.isdisjoint(variables) and started(int(place.name)) is not None:
            found.append(int(place.name))
    return found


def _marked_by_ps(wanted: set[str]) -> list[int]:
    """Where there is no /proc (macOS)."""
    import subprocess

    done = subprocess.run(["ps", "-Eww", "-o", "pid=,command="], capture_output=True, text=True, check=False, timeout=5)
    lines = [line.split(None, 1) for line in done.stdout.splitlines() if not wanted.isdisjoint(line.split())]
    return [int(line[0]) for line in lines if int(line[0]) != os.getpid()]


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
