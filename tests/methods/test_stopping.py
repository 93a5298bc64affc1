"""Children are stopped: gone within 10 s whatever they do, their work kept, their case free for the next."""

import shlex
import sys
import time
from pathlib import Path

import pytest

from codestrator import ids
from codestrator.errors import InvalidParams, NotFound, WrongState
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.methods.crew import record
from tests.methods.family import SLEEPS, Family, working_for
from tests.world.desk import Desk

STOP = "thread.child.stop"
# A program that will not hear of its end, and has a child in a session of its own that will not either.
STUBBORN = """
import os, signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, __file__], start_new_session=True)
open(f"up-{len(sys.argv)}", "w").close()
while True:
    time.sleep(60)
"""


def test_a_stop_tells_what_became_of_the_child(family: Family, repo: Path) -> None:
    thread_id = family.child()
    found = family.root(STOP, thread_id=thread_id, reason="no longer needed")
    assert set(found) == {"thread", "result", "exit_status"}
    thread = found["thread"]
    assert (found["result"], thread["status"], thread["reason"]) == ("stopped", "stopped", "no longer needed")
    assert (found["exit_status"], thread["exit_status"]) == (130, 130) and thread["completed_at"]
    assert "stop_requested" not in thread and working_for(repo) == []
    with unchanged(family.root):
        assert family.root(STOP, thread_id=thread_id, reason="otherwise") == found


@pytest.mark.parametrize("terminate", [False, True])
def test_the_pane_stays_readable_unless_it_is_to_go(family: Family, desk: Desk, terminate: bool) -> None:
    thread_id = family.child("echo the last words; exec sleep 300")
    family.shows(thread_id, "the last words")
    family.root(STOP, thread_id=thread_id, terminate_pane=terminate)
    status = family.root("thread.child.status", thread_id=thread_id)
    assert (status["pane_exists"], status["process_alive"]) == (not terminate, False)
    assert terminate or "the last words" in status["screen"]
    assert any(":children:" in one for one in desk.windows()) is not terminate


def test_a_pane_can_be_ended_after_its_child(family: Family, desk: Desk) -> None:
    thread_id = family.child("true")
    assert family.ended(thread_id) == "completed"
    found = family.root(STOP, thread_id=thread_id, terminate_pane=True)
    assert (found["result"], found["thread"]["status"]) == ("stopped", "completed")
    assert not any(":children:" in one for one in desk.windows())


@pytest.mark.parametrize("frozen", [False, True])
def test_what_will_not_end_is_ended_within_ten_seconds(
    family: Family, repo: Path, tmp_path: Path, request: pytest.FixtureRequest, frozen: bool
) -> None:
    if frozen:  # a runner that hears nothing either; tmux would wake it up
        request.getfixturevalue("without_tmux")
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN, encoding="utf-8")
    found = family.spawn(f"{shlex.join([sys.executable, str(script), 'both'])} & exec sleep 300", ensure_tmux=False)
    thread_id, folder = found["thread"]["id"], family.folder(found)
    family.until(lambda: (folder / "up-1").exists() and (folder / "up-2").exists())
    if frozen:
        family.freeze(found["thread"]["pid"])
    begun = time.monotonic()
    stopped = family.root(STOP, thread_id=thread_id)
    assert time.monotonic() - begun < 10
    assert stopped["thread"]["status"] == "stopped" and working_for(repo) == []


def test_uncommitted_work_is_kept_and_its_case_is_free(family: Family, repo: Path) -> None:
    case = family.root.case("one")
    found = family.spawn("echo half > half.txt; exec sleep 300", scope_case_ids=[case])
    thread_id, folder = found["thread"]["id"], family.folder(found)
    child = family.seat(thread_id)
    child("case.begin", case_id=case)
    child("lock.acquire", scope_type="file", scope_path="half.txt")
    family.until(lambda: (folder / "half.txt").exists() and (folder / "half.txt").read_text(encoding="utf-8"))
    stopped = family.root(STOP, thread_id=thread_id)
    rescue = family.root("rescue.list")["items"][0]
    assert (stopped["snapshot_id"], rescue["reason"]) == (rescue["snapshot_id"], "stop")
    assert git("show", f"{rescue['ref']}:half.txt", at=repo) == "half"
    assert (folder / "half.txt").read_text(encoding="utf-8") == "half\n"
    with unchanged(family.root):
        assert family.root(STOP, thread_id=thread_id) == stopped
    task = family.root("task.get", task_id=case)
    assert task["task"]["status"] == "in_progress" and "claim" not in task
    assert family.root("lock.list")["items"] == []
    heir = family.seat(family.child(worktree_id=found["worktree"]["id"]))
    assert heir("case.begin", case_id=case)["fence"] == 2


def test_a_child_that_waits_or_is_interrupted_is_stopped_too(family: Family) -> None:
    for prepare in ("thread.child.interrupt", "question"):
        thread_id = family.child()
        if prepare == "question":
            family.seat(thread_id)("thread.child.report", question="What now?")
        else:
            family.root(prepare, thread_id=thread_id)
        assert family.root(STOP, thread_id=thread_id)["thread"]["status"] == "stopped"
        assert family.root("inbox.pending")["count"] == (prepare == "question")


def test_an_open_directive_fails_with_its_child(family: Family) -> None:
    thread_id = family.child()
    family.root("thread.child.directive", thread_id=thread_id, directive="later", mode="queue")
    family.root(STOP, thread_id=thread_id)
    (sent,) = family.root("thread.directive.list")["items"]
    assert (sent["state"], sent["detail"]) == ("failed", "the thread is stopped")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"thread_id": "thr-0000000000"}, NotFound),
        ({"thread_id": "wt-0000000000"}, InvalidParams),
        ({}, InvalidParams),
        ({"reason": "x" * 8193}, InvalidParams),
    ],
)
def test_a_malformed_stop_is_refused(root: Actor, given: dict[str, str], error: type[Exception]) -> None:
    with unchanged(root), pytest.raises(error):
        root(STOP, **given)


def test_a_child_of_another_machine_is_not_stopped_from_here(root: Actor, operator: Actor) -> None:
    there = record(root, machine=ids.mint_body())
    for one in (root, operator):
        with unchanged(root), pytest.raises(WrongState, match=f"runs on machine '{there.machine}'"):
            one(STOP, thread_id=there.id)


def test_a_session_with_children_is_not_closed(family: Family) -> None:
    thread_id = family.child()
    with unchanged(family.root), pytest.raises(WrongState, match="live children") as refused:
        family.root("session.close")
    assert refused.value.details["unfinished"] == [thread_id]
    assert family.root("thread.child.status", thread_id=thread_id)["process_alive"]


def test_a_session_that_is_closed_by_force_ends_its_children(family: Family, repo: Path) -> None:
    case = family.root.case("one")
    found = family.spawn("echo half > half.txt; exec sleep 300", scope_case_ids=[case])
    family.seat(found["thread"]["id"])("case.begin", case_id=case)
    family.until((family.folder(found) / "half.txt").exists)
    closed = family.root("session.close", force=True, reason="enough")
    assert (closed["session"]["status"], closed["released"]["claims"]) == ("closed", 1)
    assert working_for(repo) == []
    threads = family.root("thread.child.list", session_id=family.root.session, include_root=False)["items"]
    assert [(one["thread"]["status"], one["thread"]["reason"]) for one in threads] == [("stopped", "enough")]
    assert family.root("rescue.list")["count"] == 1
    assert family.root("task.get", task_id=case)["task"]["status"] == "in_progress"


def test_cleaning_up_ends_children_and_their_tmux(family: Family, desk: Desk, repo: Path) -> None:
    working = family.spawn("echo half > half.txt; exec sleep 300")
    family.until((family.folder(working) / "half.txt").exists)
    family.spawn(SLEEPS, tmux_session_name="beside")
    planned = family.root("thread.child.spawn", launch_codex=False, codex_command="none")["thread"]["id"]
    desk("new-session", "-d", "-s", "theirs", "--", "cat", "-")
    found = family.root("session.cleanup", remove_worktrees=True)
    assert (found["threads_stopped"], found["session_killed"], found["errors"]) == (3, True, [])
    assert found["snapshots"] == [one["snapshot_id"] for one in family.root("rescue.list")["items"]]
    assert {one["worktree_id"] for one in found["kept"]} >= {working["worktree"]["id"]}
    assert working_for(repo) == [] and desk("list-sessions", "-F", "#{session_name}") == "theirs"
    threads = family.root("thread.child.list", session_id=family.root.session, include_root=False)["items"]
    ends = {one["thread"]["id"]: one["thread"]["status"] for one in threads}
    assert ends.pop(planned) == "cancelled" and set(ends.values()) == {"stopped"}
    again = family.root("session.cleanup", session_id=family.root.session)
    assert (again["threads_stopped"], again["session_killed"]) == (0, False)
