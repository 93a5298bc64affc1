"""The git program runs in the folder it is told, answers for no other, and never for longer than allowed."""

import os
import time
from pathlib import Path

import pytest

from codestrator.errors import External
from codestrator.world import LocalWorld
from tests.conftest import ended, git
from tests.world.conftest import commit


def hook(repo: Path, name: str, script: str) -> None:
    """Install a hook of the user's."""
    place = repo / ".git" / "hooks" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    place.chmod(0o755)


def test_a_failure_tells_program_status_and_words(world: LocalWorld) -> None:
    with pytest.raises(External, match="git rev-parse ended with status 128") as failed:
        world.git.run("rev-parse", "--verify", "nothing")
    assert failed.value.details["program"] == "git"
    assert failed.value.details["exit_status"] == 128
    assert "fatal" in failed.value.details["stderr_tail"]


def test_git_variables_of_the_caller_do_not_leak_in(
    world: LocalWorld, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert world.git.run("rev-parse", "--show-toplevel") == str(repo)
    assert world.git.run("status", "--porcelain") == ""


def test_hooks_run_only_when_asked_for(world: LocalWorld, repo: Path, tmp_path: Path) -> None:
    hook(repo, "post-commit", f"echo ran >> '{tmp_path / 'ran'}'")
    world.git.run("commit", "-q", "--allow-empty", "-m", "quiet")
    assert not (tmp_path / "ran").exists()
    world.git.run("commit", "-q", "--allow-empty", "-m", "loud", hooks=True)
    assert (tmp_path / "ran").read_text(encoding="utf-8") == "ran\n"


def test_signing_is_off_for_our_own_commits(world: LocalWorld, repo: Path) -> None:
    git("config", "commit.gpgSign", "true", at=repo)
    git("config", "gpg.program", "false", at=repo)
    world.git.run("commit", "-q", "--allow-empty", "-m", "ours")
    with pytest.raises(External):
        world.git.run("commit", "-q", "--allow-empty", "-m", "the user's", hooks=True)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waiting for a process that is no child needs Linux")
def test_what_takes_too_long_ends_with_what_it_started(world: LocalWorld, repo: Path, tmp_path: Path) -> None:
    hook(repo, "pre-commit", f"sleep 60 & echo $! > '{tmp_path / 'pid'}'; wait")
    start = time.monotonic()
    with pytest.raises(External, match="did not end within 1 s"):
        world.git.run("commit", "-q", "-a", "--allow-empty", "-m", "slow", hooks=True, seconds=1)
    assert time.monotonic() - start < 20
    assert list((repo / ".git").glob("*.lock")) == []
    pid = int((tmp_path / "pid").read_text(encoding="ascii"))
    assert ended(pid)


def test_a_missing_folder_and_a_missing_program_are_told(
    world: LocalWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(External, match="could not be started"):
        world.git.run("status", at=tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(External, match="expected the git program"):
        world.git.run("status")


def test_no_editor_and_no_prompt_ever_waits(
    world: LocalWorld, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_EDITOR", f"touch '{tmp_path / 'editor'}'")
    world.git.try_run("commit", "--allow-empty", "--edit", "-m", "x", hooks=True, seconds=20)
    assert not (tmp_path / "editor").exists()
    status, out, _ = world.git.try_run("hash-object", "--stdin", seconds=20)
    assert (status, out) == (0, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n")


def test_bytes_that_are_no_text_are_shown_and_not_an_error(world: LocalWorld, repo: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (repo / name).write_text("x", encoding="utf-8")
    (changed,) = world.worktrees.changes(repo)
    assert changed.encode("utf-8") == "caf\ufffd.txt".encode()
    before = git("rev-parse", "HEAD", at=repo)
    snapshot = world.worktrees.snapshot(repo, message="x", max_untracked_bytes=10)
    assert (snapshot.files, snapshot.head) == (1, before)
    assert world.branches.changed(before, snapshot.commit) == [changed]
    assert commit(repo, "other", "y")


def test_hooks_of_ours_leave_at_once_where_hooks_are_off_though_git_finds_them_in_its_configuration(
    world: LocalWorld,
) -> None:
    say = ("-c", "alias.say=!echo [$CODESTRATOR_SKIP_HOOKS]", "say")
    assert (world.git.run(*say), world.git.run(*say, hooks=True)) == ("[1]", "[]")
