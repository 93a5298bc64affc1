"""Whatever dies, states become true: nothing is left running, no work is lost, nobody who lives is touched."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator import ids, registry, threadfiles
from codestrator.records import Thread
from codestrator.world.processes import send
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import ended, git
from tests.methods.crew import record
from tests.methods.family import Family, line_of, working_for
from tests.world.desk import Desk

WORKS = "echo half > half.txt; exec sleep 300"


def thread(root: Actor, thread_id: str) -> Thread:
    return root.world.store.read().require(Thread, thread_id)


def by_status(root: Actor, thread_id: str) -> None:
    assert root("thread.child.status", thread_id=thread_id)["db_status"] == "failed"


def by_waiting(root: Actor, thread_id: str) -> None:
    given = {"thread_id": thread_id, "target_statuses": ["completed"], "timeout_seconds": 20}
    assert root("thread.child.wait_status", **given)["achieved_status"] == "failed"


def by_server(root: Actor, thread_id: str) -> None:
    registry.reconcile(root.world)


def by_start(root: Actor, thread_id: str) -> None:
    registry.recover(root.world)


@pytest.mark.parametrize("found_by", [by_status, by_waiting, by_server, by_start])
def test_a_killed_runner_is_found_out(family: Family, repo: Path, found_by: Callable[[Actor, str], None]) -> None:
    root, case = family.root, family.root.case("one")
    spawned = family.spawn(WORKS, scope_case_ids=[case], title="Half")
    thread_id, folder = spawned["thread"]["id"], family.folder(spawned)
    family.seat(thread_id)("case.begin", case_id=case)
    family.until(lambda: (folder / "half.txt").exists() and (folder / "half.txt").stat().st_size)
    family.kill_runner(spawned["thread"])
    found_by(root, thread_id)
    now = thread(root, thread_id)
    assert (now.status, now.reason) == ("failed", "process ended with no status") and now.completed_at
    assert working_for(repo, thread_id) == []
    newest = root("rescue.list")["items"][0]
    assert newest["reason"] == "stop" and git("show", f"{newest['ref']}:half.txt", at=repo) == "half"
    assert (folder / "half.txt").read_text(encoding="utf-8") == "half\n"
    (letter,) = root("inbox.pending")["items"]
    assert letter["sender"] == thread_id and "'Half' failed: process ended with" in letter["text"]
    task = root("task.get", task_id=case)
    assert task["task"]["status"] == "in_progress" and "claim" not in task
    with unchanged(root):
        registry.reconcile(root.world)


def test_what_a_killed_runner_started_is_ended_too(family: Family, repo: Path) -> None:
    script = "import os, time; os.setsid(); open('up', 'w').close(); time.sleep(300)"
    spawned = family.spawn(f'(python3 -c "{script}" &) ; exec sleep 300')
    family.until((family.folder(spawned) / "up").exists)
    tidying = [pid for pid in working_for(repo) if "codestrator" in line_of(pid)]
    for pid in tidying:  # runner and keeper at once
        send(pid, signal.SIGKILL)
    assert len(tidying) == 2 and all(ended(pid) for pid in tidying)
    registry.reconcile(family.root.world)
    assert working_for(repo) == [] and family.status(spawned["thread"]["id"]) == "failed"


@pytest.mark.parametrize("command", ["kill-pane", "kill-server"])
def test_a_pane_or_tmux_that_is_killed_ends_the_child_tidily(
    family: Family, desk: Desk, repo: Path, command: str
) -> None:
    spawned = family.spawn(WORKS)
    pane = ["-t", spawned["thread"]["tmux_pane_id"]] if command == "kill-pane" else []
    desk(command, *pane)
    assert family.ended(spawned["thread"]["id"]) == "failed"
    now = thread(family.root, spawned["thread"]["id"])
    assert now.final_message == "ended by signal 1" and now.exit_status == 130
    assert all(ended(pid) for pid in working_for(repo))
    assert family.root("thread.child.status", thread_id=now.id)["pane_exists"] is False
    anew = family.root("thread.child.directive", thread_id=now.id, directive="go on", mode="restart")
    assert anew["thread"]["status"] == "running"


@pytest.mark.usefixtures("without_tmux")
def test_a_detached_runner_that_is_killed_is_found_out(family: Family, repo: Path) -> None:
    spawned = family.spawn(ensure_tmux=False)["thread"]
    family.kill_runner(spawned)
    assert family.ended(spawned["id"]) == "failed" and working_for(repo) == []


def test_a_runner_that_dies_after_it_was_told_to_stop_has_stopped(root: Actor) -> None:
    one = record(root, stop_requested=True, reason="enough")
    registry.reconcile(root.world)
    now = thread(root, one.id)
    assert (now.status, now.reason, now.stop_requested) == ("stopped", "enough", False)
    assert root("inbox.pending")["count"] == 0


def test_the_status_that_a_runner_left_behind_is_named(root: Actor) -> None:
    one = record(root)
    said = threadfiles.Told(turn=4, progress="3 of 4", exit_status=7, reported_at="2026-05-04T09:30:00.000Z")
    threadfiles.tell(root.world.live, one.id, said)
    registry.reconcile(root.world)
    now = thread(root, one.id)
    assert (now.reason, now.exit_status) == ("process ended with 7", 7)
    assert (now.turn, now.progress, now.reported_at) == (4, "3 of 4", said.reported_at)
    assert root.world.live.told(one.id) is None


@pytest.mark.parametrize("status", ["running", "waiting", "interrupted", "initializing", "planned"])
def test_a_child_whose_runner_lives_is_left_alone(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock, status: str
) -> None:
    one = record(root, status=status, pid=2**22)
    assert actor("child", session_id=root.session, thread_id=one.id, role="worker").world.live.take(one.id)
    clock.advance(86400)
    with unchanged(root):
        registry.reconcile(root.world)
        root("thread.child.status", thread_id=one.id)


def test_a_child_of_another_machine_is_left_alone(root: Actor, clock: SteeredClock) -> None:
    record(root, machine=ids.mint_body())
    clock.advance(86400)
    with unchanged(root):
        registry.reconcile(root.world)


def test_a_spawn_that_was_broken_off_is_cancelled_when_it_is_old(root: Actor, clock: SteeredClock) -> None:
    one = record(root, status="planned")
    clock.advance(30)
    with unchanged(root):
        registry.reconcile(root.world)
    clock.advance(10)
    registry.reconcile(root.world)
    assert (thread(root, one.id).status, thread(root, one.id).reason) == ("cancelled", "its spawning was broken off")


@pytest.mark.parametrize(("pid", "ahead"), [(2**22, 0), (None, 50)])
def test_a_runner_that_never_came_up_has_failed(root: Actor, clock: SteeredClock, pid: int | None, ahead: int) -> None:
    one = record(root, status="initializing", pid=pid)
    clock.advance(ahead)
    registry.reconcile(root.world)
    assert thread(root, one.id).status == "failed"


def test_an_empty_pane_waits_as_long_as_it_is_there(family: Family, desk: Desk, clock: SteeredClock) -> None:
    spawned = family.root("thread.child.spawn", launch_codex=False)["thread"]
    clock.advance(86400)
    with unchanged(family.root):
        registry.reconcile(family.root.world)
    desk("kill-pane", "-t", spawned["tmux_pane_id"])
    registry.reconcile(family.root.world)
    now = thread(family.root, spawned["id"])
    assert (now.status, now.reason) == ("cancelled", "its pane is gone")


@pytest.mark.usefixtures("without_tmux")
def test_an_empty_place_without_tmux_waits_too(family: Family, clock: SteeredClock) -> None:
    spawned = family.root("thread.child.spawn", launch_codex=False, ensure_tmux=False)["thread"]
    clock.advance(86400)
    with unchanged(family.root):
        registry.reconcile(family.root.world)
    assert family.root("thread.child.stop", thread_id=spawned["id"])["thread"]["status"] == "cancelled"


def test_a_dead_child_holds_neither_place_nor_worktree_nor_session(family: Family) -> None:
    dead = family.spawn()
    family.kill_runner(dead["thread"])
    heir = family.spawn(worktree_id=dead["worktree"]["id"], max_concurrent_children=1)["thread"]
    assert thread(family.root, dead["thread"]["id"]).status == "failed"
    family.kill_runner(heir)
    assert family.root("session.close")["session"]["status"] == "closed"
    assert thread(family.root, heir["id"]).status == "failed"


def test_of_many_who_look_after_it_one_settles_a_child(root: Actor, actor: Callable[..., Actor]) -> None:
    one = record(root)
    (root.path / "new.txt").write_text("x", encoding="utf-8")
    looking = [threading.Thread(target=registry.reconcile, args=(actor().world,)) for _ in range(6)]
    for each in looking:
        each.start()
    for each in looking:
        each.join()
    assert thread(root, one.id).status == "failed" and root("inbox.pending")["count"] == 1


def test_a_worktree_that_is_gone_does_not_hold_up_the_truth(family: Family, repo: Path) -> None:
    spawned: dict[str, Any] = family.spawn()
    family.kill_runner(spawned["thread"])
    (family.folder(spawned) / ".git").write_text("gitdir: /nowhere\n", encoding="utf-8")
    registry.reconcile(family.root.world)
    assert family.status(spawned["thread"]["id"]) == "failed" and working_for(repo) == []
