"""Children are spawned: what comes of it, where they run, and what is taken back when it fails."""

import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Busy, External, InvalidParams, Limit, NotFound, WrongState
from tests.actors import Actor, everything, unchanged
from tests.conftest import git
from tests.methods.family import SLEEPS, Family, working_for
from tests.world.desk import Desk


def test_a_spawn_tells_all_that_the_contract_names(family: Family, desk: Desk) -> None:
    case = family.root.case("one", acceptance=["it holds"], files=["src/a.py"])
    found = family.spawn(title="Session refresh", scope_case_ids=[case], agent_override={"model": "m"})
    assert set(found) == {"thread", "attach_info", "worktree", "tmux", "preflight"}
    thread, worktree = found["thread"], found["worktree"]
    assert (thread["status"], thread["role"]) == ("running", "worker")
    assert (thread["title"], thread["objective"]) == ("Session refresh", "Session refresh")
    assert (thread["parent_thread_id"], thread["worktree_id"]) == (family.root.thread, worktree["id"])
    assert (thread["runner_kind"], thread["resolved_runner_kind"]) == ("command", "command")
    assert (thread["interaction_mode"], thread["scope_case_ids"]) == ("view_only", [case])
    assert thread["agent_override"] == {"model": "m"} and thread["started_at"] and thread["pid"]
    assert thread["task_spec"] == {
        "thread_role": "worker", "title": "Session refresh", "objective": "Session refresh", "case_ids": [case],
        "acceptance": ["it holds"], "files": ["src/a.py"], "runner_kind": "command", "interaction_mode": "view_only",
    }  # fmt: skip
    assert (worktree["slug"], worktree["kind"], worktree["task_id"]) == ("session-refresh", "task_branch", case)
    assert (worktree["parent_worktree_id"], worktree["status"]) == (family.root.worktree, "active")
    name = thread["tmux_session_name"]
    assert found["tmux"]["session"] == name and found["tmux"]["ready_check"] == "ready"
    assert found["tmux"]["status"] == "ready" and found["tmux"]["tmux_path"].endswith("/tmux")
    attach = f"tmux -S {desk.socket} attach -r -t {name}"
    assert found["attach_info"] == {
        "available": True, "tmux_session": name, "expected_session": name, "tmux_pane_id": thread["tmux_pane_id"],
        "read_only": True, "attach_command": attach, "attach_readonly_command": attach,
        "switch_command": f"tmux -S {desk.socket} switch-client -r -t {name}",
    }  # fmt: skip
    assert found["preflight"] == []


def test_its_secrets_lie_in_a_file_of_the_user_alone(family: Family, repo: Path) -> None:
    thread_id = family.child("exec sleep 301", initial_prompt="Quietly: the password is swordfish.")
    place = repo / ".git/codestrator/threads" / f"{thread_id}.json"
    kept = json.loads(place.read_bytes())
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert (kept["launch_command"], len(kept["token"])) == ("exec sleep 301", 30)
    every = subprocess.run(["git", "cat-file", "--batch-all-objects", "--batch"], cwd=repo, capture_output=True)
    assert thread_id.encode() in every.stdout
    assert not any(word.encode() in every.stdout for word in ("sleep 301", "swordfish", kept["token"]))


@pytest.mark.parametrize(("mode", "closed"), [("view_only", "1"), ("interactive", "0")])
def test_its_pane_takes_no_keys_unless_it_is_interactive(family: Family, desk: Desk, mode: str, closed: str) -> None:
    found = family.spawn(interaction_mode=mode)["thread"]
    shown = desk("display-message", "-p", "-t", found["tmux_pane_id"], "#{pane_input_off} #{window_name}")
    assert shown == f"{closed} children"
    assert desk.windows() == [f"{found['tmux_session_name']}:overview:1", f"{found['tmux_session_name']}:children:1"]


def test_a_reviewer_works_in_the_session_root_beside_others(family: Family) -> None:
    for _ in range(2):
        found = family.spawn(role="merge-reviewer")
        assert "worktree" not in found and found["thread"]["worktree_id"] == family.root.worktree
    assert family.spawn(role="gardener")["worktree"]["id"]  # an unknown role counts as worker


def test_a_given_worktree_is_used_and_free_again_after_its_worker(family: Family) -> None:
    worktree = family.root("worktree.spawn", slug="shared")["worktree"]["id"]
    first = family.spawn(worktree_id=worktree)
    assert "worktree" not in first and first["thread"]["worktree_id"] == worktree
    family.root("thread.child.stop", thread_id=first["thread"]["id"])
    assert family.spawn(worktree_id=worktree)["thread"]["status"] == "running"


def test_another_child_comes_of_the_same_call_again(family: Family) -> None:
    first, second = (family.spawn("true", title="Twin") for _ in range(2))
    assert first["thread"]["id"] != second["thread"]["id"]
    assert (first["worktree"]["slug"], second["worktree"]["slug"]) == ("twin", "twin-2")


def test_the_same_key_gives_the_same_child(family: Family, repo: Path) -> None:
    first = family.spawn("true", title="Once", idempotency_key="k1")
    before = len(family.root("thread.child.list")["items"])
    again = family.spawn("true", title="Once", idempotency_key="k1")
    assert again == first | {"repeated": True}
    assert len(family.root("thread.child.list")["items"]) == before
    family.ended(first["thread"]["id"])  # what it publishes of its end is none of this
    with unchanged(family.root), pytest.raises(Exception, match="idempotency key was used for another call"):
        family.spawn("true", title="Twice", idempotency_key="k1")


def test_a_key_that_is_at_work_is_not_used_twice(
    family: Family, actor: Callable[..., Actor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    operator = actor("operator", session_id=family.root.session)
    go = tmp_path / "go"
    broken(tmp_path, monkeypatch, f'until [ -e {go} ]; do sleep 0.1; done; exec "{sys.executable}" "$@"')
    said: list[dict[str, Any]] = []
    first = threading.Thread(target=lambda: said.append(family.spawn(idempotency_key="k")))
    first.start()
    family.until(lambda: family.root("thread.child.list", include_root=False)["count"])
    with unchanged(operator), pytest.raises(Busy, match="is still at work"):
        operator("thread.child.spawn", launch_command=SLEEPS, idempotency_key="k")
    go.touch()
    first.join()
    again = operator("thread.child.spawn", launch_command=SLEEPS, idempotency_key="k")
    assert again == said[0] | {"repeated": True}
    assert family.root("thread.child.list", include_root=False)["count"] == 1


def test_a_key_is_free_again_after_a_failure(family: Family) -> None:
    for _ in range(2):
        with pytest.raises(NotFound):
            family.spawn(idempotency_key="k", scope_case_ids=["case-0000000000"])
    with pytest.raises(InvalidParams):
        family.spawn("x" * 9000, idempotency_key="k")
    assert family.spawn(idempotency_key="k")["thread"]["status"] == "running"
    assert "intents" not in family.root("session.list")


def test_eight_that_spawn_at_once_share_three_places(family: Family, repo: Path) -> None:
    words = [
        "thread",
        "child",
        "spawn",
        "--max-concurrent-children",
        "3",
        "--launch-command",
        SLEEPS,
        "--title",
        "Race",
    ]
    line = [sys.executable, "-m", "codestrator", "--json", "--session", family.root.session, *words, "--title", "Race"]
    started = [subprocess.Popen(line, cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
    said = [(one.communicate()[0], one.returncode) for one in started]
    refused = [json.loads(out) for out, status in said if status]
    assert [status for _, status in said].count(0) == 3
    assert {one["error"]["code"] for one in refused} == {"limit"}
    assert {(one["error"]["details"]["limit"], one["error"]["details"]["used"]) for one in refused} == {(3, 3)}
    threads = family.root("thread.child.list", include_root=False)["items"]
    assert [one["thread"]["status"] for one in threads] == ["running"] * 3
    worktrees = family.root("worktree.list", session_id=family.root.session)["items"]
    assert len(worktrees) == 4 == len(git("branch", "--list", "task/*", at=repo).splitlines())


def test_the_place_of_a_child_that_ended_is_free(family: Family) -> None:
    first = family.child("true", max_concurrent_children=1)
    assert family.ended(first) == "completed"
    family.spawn(max_concurrent_children=1)
    with unchanged(family.root), pytest.raises(Limit) as refused:
        family.spawn(max_concurrent_children=1)
    assert refused.value.details == {"limit": 1, "used": 1} and refused.value.retryable


def test_a_pane_that_is_used_again_belongs_to_the_new_child_alone(family: Family, desk: Desk) -> None:
    old = family.spawn("echo the old one")["thread"]
    family.until(lambda: desk("display-message", "-p", "-t", old["tmux_pane_id"], "#{pane_dead}") == "1")
    assert family.ended(old["id"]) == "completed"
    new = family.spawn("echo the new one; exec sleep 300")["thread"]
    assert new["tmux_pane_id"] == old["tmux_pane_id"] and desk.windows()[1].endswith(":children:1")
    assert family.root("thread.child.status", thread_id=old["id"])["pane_exists"] is False
    family.root("thread.child.stop", thread_id=old["id"], terminate_pane=True)
    found = family.shows(new["id"], "the new one")
    assert found["process_alive"] and "the old one" not in found["screen"]


@pytest.mark.usefixtures("without_tmux")
def test_without_tmux_it_runs_detached_with_a_log(family: Family, repo: Path) -> None:
    before = everything(repo)
    with pytest.raises(External, match="tmux is not installed"):
        family.spawn()
    assert everything(repo) == before
    found = family.spawn("echo said in the dark; exec sleep 300", ensure_tmux=False)
    assert found["tmux"] == {"status": "manual_required", "ready_check": "detached"}
    assert found["attach_info"]["available"] is False and "tmux_pane_id" not in found["thread"]
    thread_id = found["thread"]["id"]
    status = family.root("thread.child.status", thread_id=thread_id)
    assert (status["pane_exists"], status["process_alive"], status["db_status"]) == (False, True, "running")
    log = Path(found["thread"]["log_file_path"])
    family.until(lambda: "said in the dark" in log.read_text(encoding="utf-8"))
    family.root("thread.child.stop", thread_id=thread_id)
    assert working_for(repo) == [] and stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_empty_pane_waits_planned_until_it_is_stopped(family: Family, desk: Desk) -> None:
    found = family.root("thread.child.spawn", launch_codex=False, codex_command="no-such-program")
    thread = found["thread"]
    assert (thread["status"], found["tmux"]["ready_check"]) == ("planned", "skipped")
    assert desk("display-message", "-p", "-t", thread["tmux_pane_id"], "#{pane_dead}") == "0"
    for method, given in (("directive", {"directive": "go"}), ("interrupt", {})):
        with unchanged(family.root), pytest.raises(WrongState) as refused:
            family.root(f"thread.child.{method}", thread_id=thread["id"], **given)
        assert refused.value.details["found"] == "planned"
    stopped = family.root("thread.child.stop", thread_id=thread["id"], terminate_pane=True)
    assert (stopped["result"], stopped["thread"]["status"]) == ("stopped", "cancelled")
    assert thread["tmux_pane_id"] not in desk("list-panes", "-a", "-F", "#{pane_id}")


def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """An installation whose Python does something else than expected."""
    place = tmp_path / "python"
    place.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    place.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(place))


@pytest.mark.parametrize("tmux", [True, False])
def test_a_runner_that_ends_before_its_first_report_leaves_a_failed_thread_and_nothing_else(
    family: Family, desk: Desk, repo: Path, request: pytest.FixtureRequest, tmp_path: Path, tmux: bool
) -> None:
    # Of what a program says in its last moment tmux may lose some.
    broken(tmp_path, request.getfixturevalue("monkeypatch"), "echo the library is gone >&2; sleep 0.3; exit 3")
    if not tmux:
        request.getfixturevalue("without_tmux")
    with pytest.raises(External) as refused:
        family.spawn(ensure_tmux=tmux, title="Broken")
    (item,) = family.root("thread.child.list", include_root=False)["items"]
    assert (item["thread"]["status"], item["thread"]["reason"]) == ("failed", refused.value.message)
    assert refused.value.message.endswith("ended before its first report, expected one: the library is gone")
    assert refused.value.details["thread_id"] == item["thread"]["id"]
    assert "the library is gone" in refused.value.details["last_line"]
    assert working_for(repo) == []
    assert not tmux or not any(":children:" in one for one in desk.windows())
    (kept, _) = family.root("worktree.list", session_id=family.root.session)["items"]
    assert (kept["worktree"]["id"], kept["live_threads"]) == (item["thread"]["worktree_id"], [])


def test_a_runner_that_is_late_is_no_error(
    family: Family, repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken(tmp_path, monkeypatch, "exec sleep 300")
    monkeypatch.setattr("codestrator.methods.launching.READY_SECONDS", 1)
    found = family.spawn()
    assert (found["thread"]["status"], found["tmux"]["ready_check"]) == ("initializing", "timeout")
    found = family.root("thread.child.stop", thread_id=found["thread"]["id"])
    assert found["thread"]["status"] == "stopped" and working_for(repo) == []


def test_nobody_waits_for_a_child_that_need_not_be_ready(family: Family) -> None:
    found = family.spawn(skip_ready_check=True)
    assert (found["thread"]["status"], found["tmux"]["ready_check"]) == ("initializing", "skipped")
    waited = family.root("thread.child.wait_status", thread_id=found["thread"]["id"], target_statuses=["running"])
    assert waited["achieved_status"] == "running"
