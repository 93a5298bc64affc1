"""Worktrees with submodules: removed where nothing of them is only there, and never with what is."""

import shutil
from pathlib import Path

import pytest

from codestrator.errors import WrongState
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.methods.test_worktrees import commit, spawned


@pytest.fixture
def child(root: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path, Path]:
    """A worktree, its folder, and a submodule that is checked out in it."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    origin = tmp_path / "origin"
    git("init", "-q", "-b", "main", str(origin), at=tmp_path)
    commit(origin, "a.txt")
    git("submodule", "--quiet", "add", str(origin), "libs/inner", at=root.path)
    git("commit", "-qm", "a submodule", at=root.path)
    worktree, folder = spawned(root)
    git("submodule", "--quiet", "update", "--init", at=folder)
    return worktree, folder, folder / "libs" / "inner"


def test_a_clean_one_is_removed_whole(root: Actor, child: tuple[str, Path, Path]) -> None:
    worktree, folder, inner = child
    assert (inner / "a.txt").exists()
    assert root("worktree.remove", worktree_id=worktree)["worktree"]["status"] == "removed"
    assert not folder.exists() and str(folder) not in git("worktree", "list", at=root.path)


def test_uncommitted_work_in_a_submodule_is_never_removed(root: Actor, child: tuple[str, Path, Path]) -> None:
    worktree, _, inner = child
    (inner / "new.txt").write_text("new\n", encoding="utf-8")
    for rescue in (False, True):
        with unchanged(root), pytest.raises(WrongState) as refused:
            root("worktree.remove", worktree_id=worktree, rescue=rescue)
        assert refused.value.details["files"] == ["libs/inner"]
    assert (inner / "new.txt").exists()


def test_a_snapshot_names_the_submodules_whose_changes_it_does_not_hold(
    root: Actor, child: tuple[str, Path, Path]
) -> None:
    worktree, folder, inner = child
    (folder / "README.md").write_text("changed\n", encoding="utf-8")
    seat = root("thread.child.spawn", launch_codex=False, worktree_id=worktree, ensure_tmux=False)["thread"]["id"]
    (inner / "a.txt").write_text("changed\n", encoding="utf-8")
    root("thread.child.stop", thread_id=seat)
    (found,) = root("rescue.list", worktree_id=worktree)["items"]
    assert [one["path"] for one in found["skipped"]] == ["libs/inner/"]


def test_what_is_written_into_a_submodule_while_its_folder_goes_is_not_lost(
    root: Actor, child: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    worktree, _, inner = child
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if not str(target).endswith(".removed") and (inner / "a.txt").exists():
            (inner / "a.txt").write_text("just now\n", encoding="utf-8")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(WrongState):
        root("worktree.remove", worktree_id=worktree)
    assert (inner / "a.txt").read_text(encoding="utf-8") == "just now\n"


@pytest.mark.parametrize("gone", ["", "deinit", "deleted"])
def test_commits_that_a_submodule_alone_has_are_never_removed(
    root: Actor, child: tuple[str, Path, Path], gone: str
) -> None:
    worktree, folder, inner = child
    git("checkout", "-q", "-b", "work", at=inner)
    commit(inner, "b.txt")
    git("checkout", "-q", "--detach", "origin/main", at=inner)
    if gone == "deinit":
        git("submodule", "--quiet", "deinit", "libs/inner", at=folder)
    elif gone == "deleted":
        shutil.rmtree(folder)
    for rescue in (False, True):
        with unchanged(root), pytest.raises(WrongState) as refused:
            root("worktree.remove", worktree_id=worktree, rescue=rescue)
        assert refused.value.details["submodules"] == ["libs/inner"]
    if not gone:
        git("push", "-q", "origin", "work", at=inner)
        assert root("worktree.remove", worktree_id=worktree)["worktree"]["status"] == "removed"


def test_a_repository_that_was_added_as_it_is_goes_only_when_its_commits_are_elsewhere(
    root: Actor, tmp_path: Path
) -> None:
    worktree, folder = spawned(root)
    inner = folder / "inner"
    git("init", "-q", "-b", "main", str(inner), at=folder)
    head = commit(inner, "a.txt")
    commit(folder, "b.txt")
    git("merge", "-q", git("branch", "--show-current", at=folder), at=root.path)
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=worktree)
    assert refused.value.details["submodules"] == ["inner"] and git("rev-parse", "HEAD", at=inner) == head
    git("init", "-q", "--bare", str(tmp_path / "elsewhere"), at=tmp_path)
    git("push", "-q", str(tmp_path / "elsewhere"), "main", at=inner)
    git("remote", "add", "-f", "elsewhere", str(tmp_path / "elsewhere"), at=inner)
    assert root("worktree.remove", worktree_id=worktree)["worktree"]["status"] == "removed"
