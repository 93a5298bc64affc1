"""`kill -9` of each process while two children work: states become true, nothing is left, the work goes on."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codestrator.records import Thread
from codestrator.world import processes
from tests.conftest import git
from tests.journeys.brood import Brood, Served, brood_of, kill

pytestmark = [pytest.mark.slow, pytest.mark.tmux, pytest.mark.timeout(300)]

COMING = ("planned", "initializing")


@pytest.fixture
def brood(repo: Path) -> Iterator[Brood]:
    yield from brood_of(repo)


@pytest.fixture
def served(repo: Path) -> Iterator[Brood]:
    yield from brood_of(repo, Served)


def kill_pane(brood: Brood, thread: str) -> None:
    brood.tmux("kill-pane", "-t", brood.seen(thread)["tmux_pane_id"])


def kill_tmux(brood: Brood, thread: str) -> None:
    kill(int(brood.tmux("display-message", "-p", "#{pid}")))


def kill_runner_and_keeper(brood: Brood, thread: str) -> None:
    """As a system short of memory does: neither is left to end what the program began."""
    runner = brood.runner(thread)
    os.kill(runner, signal.SIGSTOP)
    kill(brood.keeper(thread))
    kill(runner)


KILLS: dict[str, Callable[[Brood, str], None]] = {
    "runner": lambda brood, thread: kill(brood.runner(thread)),
    "keeper": lambda brood, thread: kill(brood.keeper(thread)),
    "program": lambda brood, thread: kill(brood.program(thread)),
    "pane": kill_pane,
    "runner and keeper": kill_runner_and_keeper,
}


def nothing_is_lost(brood: Brood, thread: str, case: str) -> None:
    """What was committed is on the branch, what was not is in a snapshot; nobody holds the case."""
    folder = brood.worktree(thread)
    assert git("log", "-1", "--format=%s", at=folder) == f"{case}: one"
    kept = [
        one for one in brood.root("rescue.list")["items"] if one["worktree_id"] == brood.seen(thread)["worktree_id"]
    ]
    assert [one["reason"] for one in kept], "no snapshot"
    assert git("show", f"{kept[0]['ref']}:half.txt", at=folder) == "half of two"
    task = brood.root("task.get", task_id=case)["task"]
    assert (task["status"], task.get("claim")) == ("in_progress", None)


def another_goes_on(brood: Brood, thread: str, case: str) -> None:
    """A new child in the same worktree begins with the step that was not done, and finishes."""
    new, _ = brood.at_work("goes on", case=case, halt=None, worktree_id=brood.seen(thread)["worktree_id"])
    found = brood.root("thread.child.wait_status", thread_id=new, target_statuses=["completed"], timeout_seconds=45)
    assert found["achieved_status"] == "completed", brood.log(new)
    folder = brood.worktree(thread)
    assert git("log", "-2", "--reverse", "--format=%s", at=folder).split("\n") == [f"{case}: one", f"{case}: two"]
    assert brood.root("task.get", task_id=case)["task"]["status"] == "done"
    assert brood.nothing_runs(new)


@pytest.mark.parametrize("victim", KILLS)
def test_one_of_two_is_killed_and_the_other_works_on(brood: Brood, victim: str) -> None:
    struck, case = brood.at_work("struck")
    spared, _ = brood.at_work("spared")
    before = brood.standing(spared)
    KILLS[victim](brood, struck)
    (found,) = brood.settled(struck)
    assert found["status"] == "failed" and found["reason"]
    assert brood.nothing_runs(struck)
    nothing_is_lost(brood, struck, case)
    assert brood.standing(spared) == before and brood.seen(spared)["status"] == "running"
    another_goes_on(brood, struck, case)


def test_the_tmux_server_is_killed(brood: Brood) -> None:
    both = [brood.at_work("first"), brood.at_work("second")]
    kill_tmux(brood, "")
    for found in brood.settled(*(thread for thread, _ in both)):
        assert found["status"] == "failed" and found["reason"]
    for thread, case in both:
        assert brood.nothing_runs(thread)
        nothing_is_lost(brood, thread, case)
    another_goes_on(brood, *both[0])


def test_the_roots_server_is_killed(served: Brood) -> None:
    struck, case = served.at_work("struck")
    spared, _ = served.at_work("spared")
    before = served.standing(spared)
    root = killed_server(served)
    kill(served.runner(struck))  # while nobody looks
    root.serve(root.path)
    brief = root("work.brief")
    assert brief["session"]["id"] == root.session
    served.settled(struck)
    assert served.nothing_runs(struck)
    nothing_is_lost(served, struck, case)
    assert served.standing(spared) == before and served.seen(spared)["status"] == "running"
    another_goes_on(served, struck, case)
    kill(served.runner(spared))
    (found,) = served.settled(spared)  # no call but the look at it: the new server does it by itself
    assert found["status"] == "failed"
    assert served.nothing_runs(spared)


def killed_server(served: Brood) -> Served:
    """The root whose server is killed."""
    root = served.root
    assert isinstance(root, Served)
    kill(root.wire.process.pid)
    root.wire.finish()
    return root


def test_the_roots_server_is_killed_while_a_child_is_spawned(served: Brood) -> None:
    root = served.root
    assert isinstance(root, Served)
    root.wire.begin("thread.child.spawn", title="never", launch_command="sleep 300")
    threads = root.world.files.root / "threads"
    (planned,) = served.until(lambda: [one for one in served.published() if (threads / f"{one.id}.json").exists()])
    served.children.append(planned.id)
    killed_server(served)
    root.serve(root.path)
    assert root("work.brief")["session"]["id"] == root.session
    served.until(lambda: served.seen(planned.id)["status"] not in COMING)
    found = served.seen(planned.id)
    if found["status"] == "running":  # its pane was there already: then it is a child like any other
        assert served.runner(planned.id)
        found = root("thread.child.stop", thread_id=planned.id)["thread"]
    assert found["status"] in ("cancelled", "failed", "stopped") and found["reason"]
    assert served.nothing_runs(planned.id)


def test_the_roots_server_is_killed_while_a_child_is_started_anew(served: Brood) -> None:
    old, _ = served.at_work("old")
    root = served.root
    assert isinstance(root, Served)
    before = served.standing(old)
    root.wire.begin("thread.child.directive", thread_id=old, directive="begin anew", mode="restart")
    new = served.until(
        lambda: [one.id for one in served.published() if (one.replaces_thread_id, one.status) == (old, "initializing")]
    )[0]
    served.children.append(new)
    os.kill(root.wire.process.pid, signal.SIGSTOP)  # before it can stop the old one
    served.until(lambda: served.root.world.store.read().require(Thread, new).status == "running")
    killed_server(served)
    root.serve(root.path)
    assert root("work.brief")["session"]["id"] == root.session
    (found,) = served.settled(new)
    assert found["status"] == "failed" and old in found["reason"]
    assert served.nothing_runs(new)
    assert served.standing(old) == before and served.seen(old)["status"] == "running"


def test_everything_is_killed_at_once_and_the_root_itself_goes_on(served: Brood) -> None:
    both = [served.at_work("first"), served.at_work("second")]
    tmux = int(served.tmux("display-message", "-p", "#{pid}"))
    everything = [tmux, *(pid for thread, _ in both for pid in served.processes(thread))]
    for pid in everything:  # none is to see another one die
        processes.send(pid, signal.SIGSTOP)
    root = killed_server(served)
    for pid in everything:
        kill(pid)
    root.serve(root.path)
    assert root("work.brief")["session"]["id"] == root.session
    for found in served.settled(*(thread for thread, _ in both)):
        assert found["status"] == "failed" and found["reason"]
    for thread, case in both:
        assert served.nothing_runs(thread)
        nothing_is_lost(served, thread, case)
    _, case = both[0]
    root("case.begin", case_id=case)
    step = root("work.brief")["next_step"]
    assert step["title"] == "two"
    root("step.check", step_id=step["id"], result="pass", evidence={"command": "true", "exit_status": 0})
    root("case.complete", case_id=case)
    assert root("task.get", task_id=case)["task"]["status"] == "done"
