"""tmux, paths and versions of this installation."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator import __version__
from codestrator.errors import Forbidden, Unsupported, WrongState
from tests.actors import Actor, unchanged


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell script of a name first on the search path."""

    def make(name: str, script: str) -> Path:
        place = tmp_path / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        place.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place.parent}{os.pathsep}{os.environ['PATH']}")
        return place

    return make


@pytest.fixture
def without_tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search path that has git and no tmux."""
    place = tmp_path / "only-git"
    place.mkdir()
    (place / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(place))


def test_tmux_that_is_there_is_ready_and_remembered(program: Callable[[str, str], Path], root: Actor) -> None:
    with_tmux = program("tmux", "echo tmux 9.9")
    found = root("runtime.tmux.ensure")
    assert found == {"status": "ready", "tmux_path": str(with_tmux), "tmux_version": "9.9"}
    assert root("session.context")["session"]["runtime_state"] == "tmux_ready"
    with unchanged(root):
        root("runtime.tmux.ensure")


def test_tmux_that_is_missing_is_never_installed_unasked(without_tmux: None, root: Actor) -> None:
    found = root("runtime.tmux.ensure", auto_install=True)
    assert found["status"] == "manual_required" and "tmux" in found["manual_instructions"]
    assert root("session.context")["session"]["runtime_state"] == "tmux_manual_required"


def test_without_session_nothing_is_written(root: Actor, actor: Callable[..., Actor]) -> None:
    one = actor()
    with unchanged(one):
        assert one("runtime.tmux.ensure")["status"] in ("ready", "manual_required")


def test_a_closed_session_remembers_nothing(root: Actor) -> None:
    root("session.close")
    with unchanged(root), pytest.raises(WrongState):
        root("runtime.tmux.ensure", session_id=root.session)


def test_the_bundle_tells_version_and_paths(root: Actor) -> None:
    found = root("runtime.bundle.info")
    assert (found["feature"], found["version"], found["repo_path"]) == (
        "codestrator",
        __version__,
        str(root.world.repo),
    )
    assert found["exists"]["source"] is True and Path(found["source_root"], "table.py").exists()
    assert found["sync_verify"] == {"command": "git codestrator doctor"}
    templates = {role: Path(place) for role, place in found["role_templates"].items()}
    assert {role: place.name for role, place in templates.items()} == {
        "session-root": "root-orchestrator.md",
        "worker": "main-worker.md",
        "merge-reviewer": "merge-reviewer.md",
        "plan-architect": "plan-architect.md",
        "doc-mirror-manager": "doc-mirror-manager.md",
    }
    assert all(place.is_file() for place in templates.values())


def test_a_git_that_is_too_old_is_refused(actor: Callable[..., Actor], program: Callable[[str, str], Path]) -> None:
    real = shutil.which("git")
    program("git", f'case "$*" in *" version") echo git version 2.30.1;; *) exec "{real}" "$@";; esac')
    one = actor()
    with unchanged(one), pytest.raises(Unsupported) as refused:
        one("workspace.init")
    assert refused.value.details["found"] == "2.30.1"


def test_a_bystander_may_look_and_not_touch(root: Actor, actor: Callable[..., Actor]) -> None:
    one = actor("bystander")
    assert one("session.list")["count"] == 1
    for method in ("workspace.init", "session.open", "session.cleanup", "runtime.tmux.ensure"):
        with unchanged(one), pytest.raises(Forbidden):
            one(method)


def test_a_worker_may_neither_open_nor_close(root: Actor, actor: Callable[..., Actor]) -> None:
    one = actor("child", role="worker", session_id=root.session, thread_id=root.thread)
    for method in ("session.open", "session.close", "session.cleanup", "worktree.spawn", "resume.candidates.list"):
        with unchanged(one), pytest.raises(Forbidden):
            one(method)
