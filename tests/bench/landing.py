"""Landing in a repository of 10,000 files beside `git merge --no-ff`; forecasts; the reads of queue and review."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from codestrator import registry
from codestrator.calls import Seat
from codestrator.world import LocalWorld, open_world
from tests.bench.fill import fill
from tests.bench.measure import Row, at_most, median_ms, process_ms, repository

FILES = 10_000
ROUNDS = 9
WORKTREES = 12
PAIRS = 66

Call = Callable[..., dict[str, object]]


def git(*arguments: str, at: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=at, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _large(folder: Path) -> Path:
    repo = repository(folder)
    for number in range(FILES):
        place = repo / "src" / f"{number % 100:02}" / f"file{number}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"line of {number}\n", encoding="utf-8")
    git("add", "-A", at=repo)
    git("commit", "-qm", "ten thousand files", at=repo)
    return repo


def _caller(world: LocalWorld) -> Call:
    seat = Seat("root")

    def call(method: str, **given: object) -> dict[str, object]:
        return registry.call(world, seat, method, given)

    return call


def _opened(call: Call, repo: Path) -> Path:
    """Open a session; the folder of its root worktree."""
    context: dict[str, dict[str, str]] = call("session.open", intent="new_work")["session_context"]  # type: ignore[assignment]
    return repo / context["session_root_worktree"]["path"]


def _change(folder: Path, number: int) -> str:
    """Ten files of one commit, never the same ones; the head."""
    for one in range(10):
        (folder / "src" / f"{one:02}" / f"new{number}.txt").write_text(f"{number}\n", encoding="utf-8")
    git("add", "-A", at=folder)
    git("commit", "-qm", f"change {number}", at=folder)
    return git("rev-parse", "HEAD", at=folder)


def landing(folder: Path) -> list[Row]:
    """The landing alone, lock and approval being there, beside git's own merge of such a branch in a clone."""
    repo = _large(folder / "repo")
    clone = folder / "clone"
    git("clone", "-q", str(repo), str(clone), at=folder)
    git("branch", "work", at=clone)
    git("worktree", "add", "-q", str(folder / "work"), "work", at=clone)
    world = open_world(repo)
    call = _caller(world)
    call("workspace.init")
    place = _opened(call, repo)
    ours, theirs = [], []
    for number in range(ROUNDS):
        head = _change(place, number)
        call("merge.main.request")
        call("merge.main.acquire_lock")
        call("merge.review.verdict", verdict="approve", head=head, summary="x")
        begun = time.perf_counter()
        assert call("merge.main.land")["landed"]
        ours.append((time.perf_counter() - begun) * 1000)
        _change(folder / "work", number)
        begun = time.perf_counter()
        git("merge", "-q", "--no-ff", "--no-edit", "work", at=clone)
        theirs.append((time.perf_counter() - begun) * 1000)
    world.close()
    return [at_most("merge.main.land, 10,000 files, beside git merge --no-ff", min(ours), min(theirs), 1.5)]


def forecast(folder: Path) -> list[Row]:
    """Twelve worktrees, each with a change of its own; then the same question again."""
    repo = _large(folder / "repo")
    world = open_world(repo)
    call = _caller(world)
    call("workspace.init")
    for number in range(WORKTREES):
        _change(_opened(call, repo), number)
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        found = call("conflict.forecast", include_target=False)
        taken.append((time.perf_counter() - begun) * 1000)
        assert found["pairs_checked"] == PAIRS
    world.close()
    return [
        at_most(f"forecast of {PAIRS} pairs, 10,000 files, first time", taken[0], 2000, 1.0),
        at_most("the same again", taken[1], 200, 1.0),
    ]


def reads(folder: Path) -> list[Row]:
    """Queue and review at 10,000 tasks, in the program, beside the command `status`."""
    repo = repository(folder / "repo")
    fill(repo, 10_000).close()
    world = open_world(repo)
    call = _caller(world)
    place = _opened(call, repo)
    (place / "new.txt").write_text("new\n", encoding="utf-8")
    git("add", "-A", at=place)
    git("commit", "-qm", "new", at=place)
    request: dict[str, str] = call("merge.main.request")["merge_request"]  # type: ignore[assignment]
    (status,) = process_ms([sys.executable, "-m", "codestrator", "status"], cwd=repo)
    found = {
        "merge.main.next": median_ms(lambda: call("merge.main.next"), 20),
        "merge.main.status": median_ms(lambda: call("merge.main.status"), 20),
        "merge.review_context": median_ms(lambda: call("merge.review_context", merge_request_id=request["id"]), 20),
    }
    world.close()
    return [at_most(f"{name} at 10,000 tasks beside status", taken, status, 1.0) for name, taken in found.items()]
