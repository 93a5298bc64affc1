"""A landing killed at fifty random moments: after the next call it has happened whole, or not at all."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.errors import CodestratorError
from tests.actors import Actor, everything
from tests.conftest import git
from tests.methods.test_landing import approved
from tests.methods.test_landing_faults import consistent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SEEDS = 50
HERE = Path(__file__).parent.parent.parent
LANDS = """
import sys
from pathlib import Path
from codestrator import registry
from codestrator.calls import Seat
from codestrator.world import open_world
world, seat = open_world(Path(sys.argv[1])), Seat("operator", session_id=sys.argv[2])
registry.call(world, seat, "merge.main.land", {"dry_run": True})
print("ready", flush=True)
sys.stdin.readline()
registry.call(world, seat, "merge.main.land")
"""


def started(repo: Path, session: str) -> "subprocess.Popen[str]":
    """A process that is about to land, everything it needs loaded."""
    process = subprocess.Popen(
        [sys.executable, "-c", LANDS, str(repo), session],
        cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def ended(process: "subprocess.Popen[str]") -> int:
    with process:
        return process.wait(30)


def test_fifty_kills_leave_a_whole_landing_or_none(actor: Callable[..., Actor], repo: Path) -> None:
    root, other = actor(), actor()
    root("workspace.init")
    root.open()
    other.open()
    approved(root, "first.txt")
    process = started(repo, root.session)
    begun = time.perf_counter()
    go(process)
    assert ended(process) == 0
    lasts = time.perf_counter() - begun
    item = approved(root, "seed0.txt")
    seen = []
    for seed in range(SEEDS):
        process = started(repo, root.session)
        due = time.perf_counter() + random.Random(seed).uniform(0, lasts)
        go(process)
        while time.perf_counter() < due and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        ended(process)
        settler = (root, other)[seed % 2]
        try:
            settler("merge.main.acquire_lock")
        except CodestratorError as refused:
            assert refused.code in ("lock_held", "wrong_state")
        seen.append(consistent(root, item["id"]))
        if seen[-1]:
            if settler is other:
                other("merge.main.release_lock")
            item = approved(root, f"seed{seed + 1}.txt")
    assert len(git("rev-list", "--merges", "--first-parent", "main", at=repo).split()) == 1 + sum(seen)
    everything(repo)  # notes that wait are written: git fsck takes what moves under it for damage
    git("fsck", "--strict", at=repo)
    assert True in seen and False in seen
