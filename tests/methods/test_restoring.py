"""Snapshots brought back: files and index as they were, and nobody's work overwritten."""

from pathlib import Path

import pytest

from codestrator.errors import Conflict, NotFound, WrongState
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.methods.test_worktrees import spawned


def half_done(folder: Path) -> str:
    """A staged change, one that is not, a deletion and untracked files; what git says of it."""
    (folder / "kept.txt").write_text("kept\n")
    (folder / "gone.txt").write_text("gone\n")
    git("add", ".", at=folder)
    git("commit", "-qm", "begun", at=folder)
    (folder / "kept.txt").write_text("staged\n")
    (folder / "new.txt").write_text("staged and new\n")
    git("add", ".", at=folder)
    (folder / "kept.txt").write_text("and changed again\n")
    (folder / "gone.txt").unlink()
    (folder / "ü ntracked.txt").write_text("not known\n")
    return git("status", "--porcelain", at=folder)


def saved(root: Actor, folder: Path) -> str:
    return str(root("work.checkpoint", summary="half")["snapshot_id"])


def test_into_a_fresh_worktree_comes_all_as_it_was(root: Actor) -> None:
    before = half_done(root.path)
    snapshot = saved(root, root.path)
    head = git("rev-parse", "HEAD", at=root.path)
    found = root("rescue.restore", snapshot_id=snapshot)
    folder = Path(found["path"])
    assert folder.name == f"{root.path.name}-2" and found["head"] == head == git("rev-parse", "HEAD", at=folder)
    assert git("status", "--porcelain", at=folder) == before
    assert git("diff", "--cached", at=folder) == git("diff", "--cached", at=root.path)
    assert (folder / "kept.txt").read_text() == "and changed again\n" and not (folder / "gone.txt").exists()
    assert found["restored"] == {"tracked": 3, "untracked": 1, "index": True}
    assert git("status", "--porcelain", at=root.path) == before
    assert root("rescue.restore", snapshot_id=snapshot, slug="again")["path"] != found["path"]


def test_into_the_same_worktree_only_where_nothing_would_be_lost(root: Actor) -> None:
    before = half_done(root.path)
    snapshot = saved(root, root.path)
    with unchanged(root), pytest.raises(WrongState):
        root("rescue.restore", snapshot_id=snapshot, into="same")
    git("reset", "-q", "--hard", at=root.path)
    git("clean", "-qfd", at=root.path)
    assert root("rescue.restore", snapshot_id=snapshot, into="same")["path"] == str(root.path)
    assert git("status", "--porcelain", at=root.path) == before


def test_an_ignored_file_is_not_overwritten_by_what_comes_back(root: Actor) -> None:
    (root.path / "settings").write_text("as it was\n", encoding="utf-8")
    snapshot = saved(root, root.path)
    Path(root.world.common_dir, "info").mkdir(exist_ok=True)
    Path(root.world.common_dir, "info", "exclude").write_text("settings\n", encoding="utf-8")
    (root.path / "settings").write_text("as it is\n", encoding="utf-8")
    with unchanged(root), pytest.raises(Conflict, match="settings"):
        root("rescue.restore", snapshot_id=snapshot, into="same")
    assert (root.path / "settings").read_text(encoding="utf-8") == "as it is\n"


def test_a_worktree_that_went_on_is_not_set_back(root: Actor) -> None:
    half_done(root.path)
    snapshot = saved(root, root.path)
    git("add", "-A", at=root.path)
    git("commit", "-qm", "went on", at=root.path)
    with unchanged(root), pytest.raises(WrongState):
        root("rescue.restore", snapshot_id=snapshot, into="same")


def test_a_folder_that_was_deleted_comes_back_in_its_place(root: Actor) -> None:
    child, folder = spawned(root)
    half_done(folder)
    seat = root("thread.child.spawn", launch_codex=False, worktree_id=child, ensure_tmux=False)["thread"]["id"]
    root("thread.child.stop", thread_id=seat)
    (snapshot,) = (one["snapshot_id"] for one in root("rescue.list", worktree_id=child)["items"])
    before = git("status", "--porcelain", at=folder)
    for place in sorted(folder.rglob("*"), reverse=True):
        place.rmdir() if place.is_dir() else place.unlink()
    folder.rmdir()
    found = root("rescue.restore", snapshot_id=snapshot, into="same")
    assert found["path"] == str(folder) and found["worktree"]["status"] == "active"
    assert git("status", "--porcelain", at=folder) == before


def test_an_unknown_snapshot_is_not_found(root: Actor) -> None:
    with unchanged(root), pytest.raises(NotFound):
        root("rescue.restore", snapshot_id="snap-0000000000")
