"""What is refused before anything is written, and words that would like to be commands."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import (
    CodestratorError,
    Conflict,
    External,
    Forbidden,
    InvalidParams,
    NotFound,
    Unsupported,
    WrongState,
)
from tests.actors import Actor, unchanged
from tests.methods.family import SLEEPS, Family, working_for
from tests.world.desk import Desk

# (parameters, error, what its message names of found and expected)
REFUSED: list[tuple[dict[str, Any], type[CodestratorError], tuple[str, ...]]] = [
    ({"provider": "claude_code"}, Unsupported, ("'claude_code'", "'codex'")),
    ({"role": "orchestrator"}, InvalidParams, ("'orchestrator'", "role of a child")),
    ({"runner_kind": "codex_exec"}, InvalidParams, ("'codex_exec'", "'command'")),
    ({"launch_command": None, "runner_kind": "command"}, InvalidParams, ("'launch_command' is missing", "launch line")),
    ({"launch_command": "x" * 8193}, InvalidParams, ("8193", "8192")),
    ({"runner_kind": "telepathy"}, InvalidParams, ("'runner_kind'", "telepathy")),
    ({"scope_case_ids": ["case-0000000000"]}, NotFound, ("no task 'case-0000000000'",)),
    ({"scope_case_ids": ["epic-0000000000"]}, InvalidParams, ("epic-0000000000",)),
    ({"parent_thread_id": "thr-0000000000"}, NotFound, ("no thread 'thr-0000000000'",)),
    ({"worktree_id": "wt-0000000000"}, NotFound, ("no worktree 'wt-0000000000'",)),
    ({"agent_guide_path": "../guide.md"}, InvalidParams, ("../guide.md",)),
    ({"agent_guide_path": "/etc/passwd"}, InvalidParams, ("/etc/passwd",)),
    ({"agent_guide_path": ".git/config"}, InvalidParams, (".git/config", "inside the repository")),
    ({"agent_guide_path": "no.md"}, InvalidParams, ("'no.md' is not there", "a file of the repository")),
    ({"tmux_session_name": "a:b"}, InvalidParams, ("tmux_session_name",)),
    ({"tmux_window_name": "#(touch x)"}, InvalidParams, ("tmux_window_name",)),
    ({"split_direction": "diagonal"}, InvalidParams, ("'split_direction'", "diagonal")),
    ({"max_concurrent_children": 0}, InvalidParams, ("max_concurrent_children",)),
    ({"max_concurrent_children": 17}, InvalidParams, ("max_concurrent_children",)),
    ({"title": "x" * 301}, InvalidParams, ("301", "300")),
    ({"objective": "x" * 8193}, InvalidParams, ("8193", "8192")),
    ({"initial_prompt": "x" * 65537}, InvalidParams, ("65537", "65536")),
    ({"agent_override": "fast"}, InvalidParams, ("agent_override",)),
    ({"launch_command": None, "codex_command": "no-such-codex"}, External, ("'no-such-codex' is not there",)),
    ({"launch_command": None, "codex_command": "codex 'x"}, InvalidParams, ("'codex_command'", "No closing quotation")),
]


@pytest.mark.parametrize(("given", "error", "words"), REFUSED, ids=lambda one: str(one)[:40])
def test_a_refusal_names_what_was_found_and_writes_nothing(
    family: Family, desk: Desk, repo: Path, given: dict[str, Any], error: type[CodestratorError], words: tuple[str, ...]
) -> None:
    wanted = {"launch_command": SLEEPS, **given}
    with unchanged(family.root), pytest.raises(error) as refused:
        family.root("thread.child.spawn", **{name: value for name, value in wanted.items() if value is not None})
    assert all(word in refused.value.message for word in words), refused.value.message
    assert working_for(repo) == [] and subprocess.run(["tmux", "-S", desk.socket, "ls"], capture_output=True).returncode
    assert not list((repo / ".git/codestrator").glob("threads/*"))


def test_a_worktree_has_one_worker(family: Family) -> None:
    first = family.spawn()["thread"]
    with unchanged(family.root), pytest.raises(Conflict, match=f"is in use by '{first['id']}'"):
        family.spawn(worktree_id=first["worktree_id"])
    assert family.spawn(worktree_id=first["worktree_id"], role="merge-reviewer")["thread"]["status"] == "running"


def test_a_worktree_that_is_gone_is_refused(family: Family) -> None:
    worktree = family.root("worktree.spawn", slug="gone")["worktree"]["id"]
    family.root("worktree.remove", worktree_id=worktree, delete_branch=True)
    with unchanged(family.root), pytest.raises(WrongState, match="'removed', expected an active worktree"):
        family.spawn(worktree_id=worktree)


def test_what_belongs_to_another_session_is_refused(family: Family, actor: Callable[..., Actor]) -> None:
    other = actor()
    other.open(user_request="Add invoices")
    for given in ({"worktree_id": other.worktree}, {"parent_thread_id": other.thread}, {"session_id": other.session}):
        with unchanged(family.root), pytest.raises(Forbidden, match=f"belongs to '?({other.session}|another process)"):
            family.spawn(**given)


def test_a_session_that_is_over_spawns_nothing(family: Family) -> None:
    family.root("session.close")
    with unchanged(family.root), pytest.raises(WrongState, match="'closed', expected an active session"):
        family.spawn(session_id=family.root.session)


def test_a_child_may_not_spawn(family: Family) -> None:
    child = family.seat(family.child())
    with unchanged(family.root), pytest.raises(Forbidden, match=r"role 'worker' of .* may not call thread.child.spawn"):
        child("thread.child.spawn", launch_command=SLEEPS)


HOSTILE = [
    "$(touch hit)", "`touch hit`", "; touch hit;", "'; touch hit; '", '"; touch hit; "', "#(touch hit)",
    "#{q:x} #{pid} #S %1 %%", "-t 0 --help", "a\nb\ttouch hit", "\x1b]0;hit\x07\x1b[2Jclear", "\u202ehit \u2066x",
    "%(contents)s {0} \\0 \\n $HOME ~ * ?", "ünïcode 名前 🙂",
]  # fmt: skip


def test_a_hostile_branch_and_folder_stay_names(family: Family, desk: Desk, repo: Path, tmp_path: Path) -> None:
    branch = "x/$(touch${IFS}hit);#(touch${IFS}hit)`touch${IFS}hit`'\"#{q}%1"
    made = family.root("worktree.create", branch=branch, create_on_disk=True)["worktree"]
    line = (
        f'pwd > {tmp_path}/copy; cp "$CODESTRATOR_PROMPT_FILE" {tmp_path}/prompt; mv {tmp_path}/copy {tmp_path}/where'
    )
    found = family.spawn(f"{line}; {SLEEPS}", worktree_id=made["id"])
    family.until((tmp_path / "where").exists)
    assert (tmp_path / "where").read_text(encoding="utf-8").strip() == str(repo / made["path"])
    assert branch in (tmp_path / "prompt").read_text(encoding="utf-8")
    (repo / made["path"] / "new.txt").write_text("x", encoding="utf-8")
    stopped = family.root("thread.child.stop", thread_id=found["thread"]["id"])
    assert stopped["snapshot_id"] and not [place for place in tmp_path.parent.rglob("*") if place.name == "hit"]


def test_hostile_words_stay_words(family: Family, desk: Desk, repo: Path, tmp_path: Path) -> None:
    all_of_them = "\n".join(HOSTILE)
    case = family.root.case("$(touch hit)", acceptance=HOSTILE)
    for title in (" ".join(HOSTILE), HOSTILE[5], HOSTILE[7]):
        found = family.spawn(
            f'cd {tmp_path}; cp "$CODESTRATOR_PROMPT_FILE" copy; mv copy prompt; {SLEEPS}',
            title=title,
            objective=all_of_them,
            scope_case_ids=[case],
            task_spec={"title": all_of_them, "`touch hit`": ["$(touch hit)"]},
            agent_override={"model": "$(touch hit)"},
        )
        thread_id = found["thread"]["id"]
        family.until((tmp_path / "prompt").exists)
        prompt = (tmp_path / "prompt").read_text(encoding="utf-8")
        (tmp_path / "prompt").unlink()
        assert "$(touch hit)" in prompt and "\x1b" not in prompt and "\u202e" not in prompt
        shown = desk("display-message", "-p", "-t", found["thread"]["tmux_pane_id"], "#{pane_title}")
        assert found["thread"]["title"].startswith(shown.replace("\uff03", "#").removesuffix("…"))
        status = family.root("thread.child.status", thread_id=thread_id)
        assert status["process_alive"] and "\x1b" not in status["screen"]
        family.root("thread.child.directive", thread_id=thread_id, directive=all_of_them, mode="queue")
        family.root("thread.child.stop", thread_id=thread_id, reason=all_of_them)
    assert not [place for place in (repo, *tmp_path.parent.rglob("*")) if place.name == "hit"]
