"""Landing by real processes: at once, beside one that was stopped, and reviewed by one that dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from codestrator.errors import StaleFence, WrongState
from tests.actors import Actor, SteeredClock
from tests.conftest import git
from tests.methods.family import Family
from tests.methods.test_landing import approved, head, main, work
from tests.methods.test_landing_faults import HERE, STOPPED, consistent
from tests.methods.test_landing_hooks import two_sessions

REVIEWS_AND_LANDS = """
import sys
from pathlib import Path
from codestrator import registry
from codestrator.calls import Seat
from codestrator.world import open_world
world, seat = open_world(Path(sys.argv[1])), Seat("operator", session_id=sys.argv[2])
def call(method, **given):
    return registry.call(world, seat, method, given)
print("ready", flush=True)
sys.stdin.readline()
while "timed_out" in call("merge.main.acquire_lock", wait_seconds=40):
    pass
call("merge.review.verdict", verdict="approve", head=sys.argv[3], summary="all met")
call("merge.main.land")
"""


def pipe(found: IO[str] | None) -> IO[str]:
    assert found
    return found


def test_four_processes_that_begin_at_once_all_land(actor: Callable[..., Actor], repo: Path) -> None:
    crowd = [actor() for _ in range(4)]
    crowd[0]("workspace.init")
    items, processes = [], []
    for number, each in enumerate(crowd):
        each.open()
        work(each, f"f{number}.txt")
        items.append(each("merge.main.request")["main_merge_request"]["id"])
    for each in crowd:
        command = [sys.executable, "-c", REVIEWS_AND_LANDS, str(repo), each.session, head(each)]
        processes.append(subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert pipe(process.stdout).readline() == "ready\n"
    for process in processes:
        pipe(process.stdin).write("go\n")
        pipe(process.stdin).flush()
    for process in processes:
        with process:
            assert process.wait(100) == 0
    assert all(consistent(crowd[0], item) for item in items)
    merges = git("log", "--merges", "--first-parent", "--reverse", "--format=%B", "main", at=repo)
    assert [line.split()[1] for line in merges.splitlines() if line.startswith("Codestrator-Land: ")] == items
    assert crowd[0]("merge.main.status")["count"] == 0 and "lock" not in crowd[0]("merge.main.status")


def stopped(repo: Path, session: str) -> "subprocess.Popen[str]":
    """A process that lands and has stopped itself with the folder brought up, the refs not moved."""
    command = [sys.executable, "-c", STOPPED, str(repo), session]
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
    assert pipe(process.stdout).readline() == "stopping\n"
    os.waitpid(process.pid, os.WUNTRACED)
    return process


def goes_on(process: "subprocess.Popen[str]") -> str:
    """What it is refused with, after it was woken."""
    process.send_signal(signal.SIGCONT)
    with process:
        said = pipe(process.stdout).readline().strip()
        process.wait(30)
    return said


@pytest.mark.parametrize("taken", [True, False], ids=["another landed", "nobody took the lock"])
def test_a_holder_that_was_stopped_past_its_lease_is_refused_by_its_fence(
    actor: Callable[..., Actor], clock: SteeredClock, repo: Path, taken: bool
) -> None:
    one, two = two_sessions(actor)
    item = approved(one, "one.txt")
    if taken:
        work(two, "two.txt")
        two("merge.main.request")
    before = main(two)
    process = stopped(repo, one.session)
    try:
        assert (repo / "one.txt").exists()
        one.close()  # its server is gone as well, so that its session waits for nobody
        clock.advance(700)
        if taken:
            two("merge.main.acquire_lock")
            two("merge.review.verdict", verdict="approve", head=head(two), summary="x")
            before = two("merge.main.land")["merge_commit"]
        else:
            two("merge.main.acquire_lock")
    finally:
        said = goes_on(process)
    assert said == "stale_fence"
    assert main(two) == before and not consistent(two, item["id"])
    assert not (repo / "one.txt").exists() and (repo / "two.txt").exists() is taken


def test_a_lapsed_lock_that_nobody_took_lands_nothing(root: Actor, clock: SteeredClock) -> None:
    item = approved(root)
    clock.advance(700)
    before = main(root)
    with pytest.raises(StaleFence):
        root("merge.main.land")
    assert main(root) == before and not consistent(root, item["id"])
    root("merge.main.acquire_lock")
    assert root("merge.main.land")["landed"]


FAKE = """#!/bin/sh
case "$*" in *--version*) echo "codex-cli 0.50.0";; *) exec sleep 300;; esac
"""


def test_a_reviewer_that_is_killed_has_failed_and_its_item_waits_again(
    family: Family, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "codex").write_text(FAKE)
    (tmp_path / "bin" / "codex").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    root = family.root
    work(root)
    item = root("merge.main.request")["main_merge_request"]["id"]
    started = root("merge.review.request_auto", runner_kind="codex_exec")
    job, request = started["review_job"]["id"], started["merge_review"]["merge_request_id"]
    assert root("merge.main.status", request_id=item)["item"]["state"] == "reviewing"
    family.kill_runner(started["thread"])
    assert family.ended(started["thread"]["id"]) == "failed"
    shown: dict[str, Any] = root("merge.review.thread_status", review_job_id=job)
    assert shown["review_job"]["state"] == "failed" and "verdict" not in shown
    found = root("merge.main.status", request_id=item)
    assert (found["item"]["state"], found["merge_request"]["status"]) == ("queued", "requested")
    assert root("merge.review.thread_status", merge_request_id=request)["review_job"]["id"] == job
    root("merge.review.verdict", verdict="approve", head=head(root), summary="seen by the root itself")
    assert root("merge.main.land")["landed"]


def test_the_turn_is_judged_again_when_one_lands_meanwhile(
    actor: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [actor() for _ in range(3)]
    crowd[0]("workspace.init")
    for number, each in enumerate(crowd):
        each.open()
        work(each, f"f{number}.txt")
        each("merge.main.request")
    one, two, three = crowd
    one("merge.main.acquire_lock")
    one("merge.review.verdict", verdict="approve", head=head(one), summary="x")
    inner = three.world.store.transact
    seen: list[dict[str, Any]] = []

    def transact(*given: Any, **how: Any) -> Any:
        if not seen:  # after it has looked at the queue, before it asks for the lock
            seen.append(one("merge.main.land"))
        return inner(*given, **how)

    monkeypatch.setattr(three.world.store, "transact", transact)
    with pytest.raises(WrongState) as refused:
        three("merge.main.acquire_lock")
    assert refused.value.details["blocked_by"][0]["session_id"] == two.session
    assert seen and two("merge.main.acquire_lock")["main_lock"]["state"] == "locked"
