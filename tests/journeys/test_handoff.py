"""From one machine to another through the command line: a clone and one command, and the work is there."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import git
from tests.edges.shell import refused, result
from tests.machines import clone
from tests.methods.offers import half_done, seen
from tests.remotes import FileHost, Serve


def run(*words: str, at: Path) -> "subprocess.CompletedProcess[str]":
    """`git codestrator …` in a folder, each a process of its own."""
    command = [sys.executable, "-P", "-m", "codestrator", *words, "--json"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, check=False, timeout=60)


def begun(host: FileHost, folder: Path) -> tuple[Path, str]:
    """A session with a case begun and uncommitted work, by the command line alone; its worktree and its id."""
    repo = clone(host.url, folder)
    result(run("workspace", "init", at=repo))
    opened = result(run("session", "open", "--intent", "new_work", "--user-request", "Fix the login", at=repo))
    context = opened["session_context"]
    path = repo / context["session_root_worktree"]["path"]

    def made(*words: str) -> str:
        return str(result(run("task", "create", *words, at=path))["task"]["id"])

    feature = made("feature", "Login", "--parent-id", made("epic", "Shop"))
    case = made("case", "Refresh", "--parent-id", feature, "--steps", "write", "--steps", "run")
    result(run("case", "begin", case, at=path))
    result(run("step", "check", "--step-id", f"{case}.1", "--result", "pass", at=path))
    half_done(path)
    return path, str(context["session"]["id"])


def next_step(path: Path) -> Any:
    return result(run("brief", at=path))["next_step"]


def root_of(repo: Path, taken: dict[str, Any]) -> Path:
    return repo / str(taken["session_root_worktree"]["path"])


@pytest.mark.parametrize("kind", ["http", "ssh"])
def test_a_clone_and_one_command_and_the_work_goes_on(serve: Serve, tmp_path: Path, kind: str) -> None:
    host = serve(kind)
    path, session = begun(host, tmp_path / "laptop" / "shop")
    before, step = seen(path), next_step(path)
    offer = result(run("handoff", "offer", "--note", "over to the desk", at=path))
    assert offer["take_with"]["command"] == f"git codestrator handoff take {session} --remote origin"
    desk = tmp_path / "desk" / "shop"
    desk.parent.mkdir()
    git("clone", "-q", host.url, str(desk), at=tmp_path)
    taken = result(run(*offer["take_with"]["command"].split()[2:], at=desk))
    there = root_of(desk, taken)
    assert seen(there) == before and taken["brief"]["next_step"] == step == next_step(there)
    again = result(run("handoff", "take", session, "--remote", "origin", at=desk))
    assert again["session"] == taken["session"] and again["transferred"] == taken["transferred"]
    check = ("--session", session, "step", "check", "--step-id", step["id"], "--result", "pass")
    assert refused(run(*check, at=path))["code"] == "wrong_state"  # offered, as far as is known there
    result(run("sync", "run", at=path))
    lost = refused(run(*check, at=path))
    assert lost["code"] == "stale_fence" and lost["details"]["holder"]["session_id"] == taken["session"]["id"]
    assert result(run(*check[2:], at=there))["remaining_steps"] == 0


def test_resume_takes_what_another_machine_offers(serve: Serve, tmp_path: Path) -> None:
    host = serve("http")
    path, session = begun(host, tmp_path / "laptop" / "shop")
    desk, third = (clone(host.url, tmp_path / name / "shop") for name in ("desk", "third"))
    result(run("sync", "run", at=path))
    away = refused(run("resume", session, at=desk))
    assert away["code"] == "conflict" and away["details"]["found"] == "away"
    assert result(run("session", "list", at=desk))["items"][0]["session"]["id"] == session
    result(run("handoff", "offer", at=path))
    taken = result(run("resume", session, at=desk))
    assert seen(root_of(desk, taken)) == seen(path)
    late = refused(run("resume", session, at=third))
    assert late["code"] == "conflict" and late["details"]["holder"] == taken["session"]["id"]
    assert git("worktree", "list", "--porcelain", at=third).count("worktree ") == 1
    back = result(run("resume", taken["session"]["id"], "--force", "--reason", "the desk is on fire", at=path))
    assert back["worktrees"][0]["path"] == str(path)
