"""One row of the table, and the helpers that time things side by side."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """A measurement beside what it is compared with; `bar` is the promise about their ratio."""

    what: str
    ours: str
    beside: str
    ratio: float
    bar: str
    met: bool


def at_most(what: str, ours: float, beside: float, bar: float, unit: str = "ms") -> Row:
    ratio = ours / beside
    return Row(what, f"{ours:.2f} {unit}", f"{beside:.2f} {unit}", ratio, f"<= {bar}", ratio <= bar)


def at_least(what: str, ours: float, beside: float, bar: float, unit: str = "/s") -> Row:
    ratio = ours / beside
    return Row(what, f"{ours:.1f} {unit}", f"{beside:.1f} {unit}", ratio, f">= {bar}", ratio >= bar)


def count_at_most(what: str, found: float, bar: float, unit: str = "") -> Row:
    return Row(what, f"{found:g} {unit}", "-", found / bar, f"<= {bar:g} {unit}", found <= bar)


def process_ms(*commands: Sequence[str], cwd: Path, rounds: int = 11) -> list[float]:
    """The fastest wall time of each command in milliseconds, taken in turns so that noise meets all alike."""
    best = [float("inf")] * len(commands)
    for _ in range(rounds):
        for index, command in enumerate(commands):
            begun = time.perf_counter()
            subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            best[index] = min(best[index], (time.perf_counter() - begun) * 1000)
    return best


def median_ms(act: Callable[[], object], rounds: int = 200) -> float:
    """The median time of an act in milliseconds."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def repository(folder: Path) -> Path:
    """A repository with one commit."""
    folder.mkdir(parents=True)
    run = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    os.environ.update(GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_0="user.name", GIT_CONFIG_VALUE_0="Ada")
    os.environ.update(GIT_CONFIG_KEY_1="user.email", GIT_CONFIG_VALUE_1="ada@example.org")
    subprocess.run(["git", "init", "-q", "-b", "main"], **run)  # type: ignore[call-overload]
    (folder / "README.md").write_text("bench\n", encoding="utf-8")
    subprocess.run(["git", "add", "."], **run)  # type: ignore[call-overload]
    subprocess.run(["git", "commit", "-qm", "first"], **run)  # type: ignore[call-overload]
    return folder
