"""Eight processes lock and release one tree while git tidies up and a person commits."""

import multiprocessing
import os
import random
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest

from codestrator.errors import LockHeld
from codestrator.methods import overlap
from codestrator.records import Lease
from tests.actors import Actor
from tests.conftest import git

# RACE_ROUNDS=200 is the long proof.
PROCESSES, ROUNDS = 8, int(os.environ.get("RACE_ROUNDS", "80"))
PLACES = ["src", "src/a", "src/a/one.py", "src/a/two.py", "src/b", "src/b/ä b.py", "docs", "docs/x.md", "README.md"]
SECONDS = 540


def work(folder: str, seed: int) -> None:
    """One agent: takes what it can get, gives it back, and never keeps anything."""
    pick = random.Random(seed)
    actor = Actor(Path(folder))
    actor.open(user_request=f"work {seed}")
    granted = 0
    for _ in range(ROUNDS):
        scopes = [
            {"scope_type": "prefix" if place.count(".") == 0 else "file", "scope_path": place}
            for place in pick.sample(PLACES, pick.choice((1, 1, 2)))
        ]
        try:
            got = actor("lock.acquire", scopes=scopes, wait_seconds=pick.choice((0, 0, 1)))
        except LockHeld:
            continue
        for lock in got.get("items", ()):
            actor("lock.release", lock_id=lock["id"], fence=lock["fence"])
        granted += got["granted"]
    actor.close()
    assert granted > 0


def keep_busy(repo: Path, stop: threading.Event, made: list[str]) -> None:
    """A person who commits on `main`, and git that packs; both as often as they can."""
    while not stop.is_set():
        (repo / "README.md").write_text(f"shop {len(made)}\n", encoding="utf-8")
        git("commit", "-qam", f"work {len(made)}", at=repo)
        made.append(git("rev-parse", "HEAD", at=repo))
        git("branch", f"kept/{len(made)}", at=repo)
        subprocess.run(["git", "pack-refs", "--all"], cwd=repo, capture_output=True, check=False)
        subprocess.run(["git", "gc", "--quiet"], cwd=repo, capture_output=True, check=False)
        stop.wait(0.05)


def check_journal(actor: Actor) -> int:
    """Replay the lock book: at no commit two sessions hold what overlaps, and each grant has a greater number."""
    held: dict[str, Lease] = {}
    grants: list[tuple[str, int]] = []
    for operation in reversed(list(actor.world.store.book_journal())):
        for one in operation.documents():
            if one.kind != Lease.KIND:
                continue
            lease = msgspec.json.decode(one.new, type=Lease) if one.new else None
            if lease and lease.state == "held":
                if one.old is None:
                    grants.append((operation.commit, lease.fence))
                held[one.id] = lease
            else:
                held.pop(one.id, None)
        for first in held.values():
            for second in held.values():
                assert first.session_id == second.session_id or not overlap.overlaps(first, second)
    numbers = [number for _, number in dict.fromkeys(grants)]
    assert numbers == sorted(set(numbers))
    return len(numbers)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_two_sessions_ever_hold_what_overlaps(repo: Path) -> None:
    first = Actor(repo)
    first("workspace.init")
    stop, made = threading.Event(), [git("rev-parse", "HEAD", at=repo)]
    person = threading.Thread(target=keep_busy, args=(repo, stop, made))
    person.start()
    context = multiprocessing.get_context("spawn")
    agents = [context.Process(target=work, args=(str(repo), seed)) for seed in range(PROCESSES)]
    try:
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.join(SECONDS)
    finally:
        stop.set()
        person.join(60)
        for agent in agents:
            agent.kill() if agent.is_alive() else None
    assert [agent.exitcode for agent in agents] == [0] * PROCESSES
    assert check_journal(first) > PROCESSES * ROUNDS / 10
    assert first("lock.list")["count"] == 0
    assert git("rev-parse", "main", at=repo) == made[-1]
    kept = git("for-each-ref", "--format=%(objectname)", "--sort=refname", "refs/heads/kept", at=repo).split()
    assert sorted(kept) == sorted(made[1:])
    assert "missing" not in git("fsck", "--no-dangling", "--no-progress", at=repo)
    first.close()
