"""Merging a worktree's branch into its parent's."""

from pathlib import Path

import pytest

from codestrator.errors import Conflict, External, Forbidden, WrongState
from codestrator.records import Intent
from tests.actors import Actor, unchanged
from tests.conftest import git
from tests.methods.test_worktrees import commit, spawned


def test_a_merge_is_a_merge_commit_in_branch_and_folder(root: Actor) -> None:
    child, folder = spawned(root)
    before = git("rev-parse", "HEAD", at=root.path)
    head = commit(folder, "a.txt")
    found = root("worktree.merge_to_parent", worktree_id=child)
    assert found["result"] == "merged_to_parent" and found["changed_files"] == ["a.txt"]
    assert git("rev-parse", "HEAD", "HEAD^1", "HEAD^2", at=root.path).split() == [found["merge_commit"], before, head]
    assert (root.path / "a.txt").exists() and git("status", "--porcelain", at=root.path) == ""
    assert (found["child_worktree"]["status"], found["child_worktree"]["merge_state"]) == ("closed", "merged_to_parent")
    assert found["parent_worktree"]["id"] == root.worktree


def test_merging_again_gives_the_same_answer(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    first = root("worktree.merge_to_parent", worktree_id=child)
    with unchanged(root):
        assert root("worktree.merge_to_parent", worktree_id=child) == first


def test_new_commits_after_a_merge_are_merged_too(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    root("worktree.merge_to_parent", worktree_id=child)
    commit(folder, "b.txt")
    assert root("worktree.merge_to_parent", worktree_id=child)["changed_files"] == ["b.txt"]


def test_a_branch_without_commits_is_merged_without_one(root: Actor) -> None:
    child, _ = spawned(root)
    head = git("rev-parse", "HEAD", at=root.path)
    found = root("worktree.merge_to_parent", worktree_id=child)
    assert (found["merge_commit"], found["changed_files"]) == (head, [])
    assert git("rev-parse", "HEAD", at=root.path) == head


def test_a_conflict_names_the_files_and_moves_nothing(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "README.md", "child\n")
    commit(root.path, "README.md", "parent\n")
    with unchanged(root), pytest.raises(Conflict) as refused:
        root("worktree.merge_to_parent", worktree_id=child)
    assert refused.value.details["files"] == ["README.md"]
    assert git("status", "--porcelain", at=root.path) == ""


def test_a_dirty_child_is_refused(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    (folder / "b.txt").write_text("new\n", encoding="utf-8")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.merge_to_parent", worktree_id=child)
    assert refused.value.details["files"] == ["b.txt"]


def test_local_changes_that_the_merge_would_write_over_are_refused_and_others_kept(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt", "theirs\n")
    (root.path / "a.txt").write_text("mine\n", encoding="utf-8")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.merge_to_parent", worktree_id=child)
    assert refused.value.details["files"] == ["a.txt"]
    (root.path / "a.txt").rename(root.path / "b.txt")
    root("worktree.merge_to_parent", worktree_id=child)
    assert git("status", "--porcelain", at=root.path) == "?? b.txt"


def test_a_child_with_children_of_its_own_waits_for_them(root: Actor) -> None:
    child, folder = spawned(root)
    grandchild, inner = spawned(root, "inner", parent_worktree_id=child)
    commit(inner, "a.txt")
    commit(folder, "b.txt")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.merge_to_parent", worktree_id=child)
    assert refused.value.details["unfinished"] == [grandchild]
    root("worktree.merge_to_parent", worktree_id=grandchild)
    assert root("worktree.merge_to_parent", worktree_id=child)["changed_files"] == ["a.txt", "b.txt"]


@pytest.mark.parametrize("side", ["child", "parent"])
def test_an_operation_in_progress_on_either_side_is_refused(root: Actor, side: str) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    git("bisect", "start", at=folder if side == "child" else root.path)
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.merge_to_parent", worktree_id=child)


def test_a_parent_that_is_not_on_its_branch_is_refused(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    git("checkout", "-q", "--detach", at=root.path)
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.merge_to_parent", worktree_id=child)


def test_a_child_that_is_gone_is_refused(root: Actor) -> None:
    child, folder = spawned(root)
    folder.rename(folder.with_name("elsewhere"))
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.merge_to_parent", worktree_id=child)


def test_a_worktree_without_parent_is_refused(root: Actor) -> None:
    child = root("worktree.create", branch="alone", create_on_disk=True)["worktree"]["id"]
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.merge_to_parent", worktree_id=child)


def test_a_session_root_is_landed_not_merged(root: Actor) -> None:
    with unchanged(root), pytest.raises(Forbidden) as refused:
        root("worktree.merge_to_parent")
    assert "merge.main.request" in str(refused.value.hint)


def test_anothers_worktree_is_forbidden(root: Actor, other: Actor) -> None:
    child, _ = spawned(other)
    with unchanged(root), pytest.raises(Forbidden):
        root("worktree.merge_to_parent", worktree_id=child)


def test_a_hook_that_refuses_the_move_leaves_the_parent_as_it_was(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    hook = Path(root.world.common_dir) / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ngrep -q refs/heads/ && exit 1\nexit 0\n", encoding="utf-8")
    hook.chmod(0o755)
    head = git("rev-parse", "HEAD", at=root.path)
    with pytest.raises(External):
        root("worktree.merge_to_parent", worktree_id=child)
    hook.unlink()
    assert git("rev-parse", "HEAD", at=root.path) == head
    assert git("status", "--porcelain", at=root.path) == "" and not (root.path / "a.txt").exists()
    assert root("worktree.merge_to_parent", worktree_id=child)["changed_files"] == ["a.txt"]


def test_branch_state_and_folder_agree_for_a_name_with_spaces(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "Übersicht der Läden.txt")
    assert root("worktree.merge_to_parent", worktree_id=child)["changed_files"] == ["Übersicht der Läden.txt"]


def test_a_git_that_ends_badly_after_it_moved_the_branch_has_merged(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    hook = Path(root.world.common_dir) / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ngrep -q refs/heads/ && test "$1" = committed && kill -9 $PPID\nexit 0\n')
    hook.chmod(0o755)
    assert root("worktree.merge_to_parent", worktree_id=child)["changed_files"] == ["a.txt"]
    assert git("status", "--porcelain", at=root.path) == "" and (root.path / "a.txt").exists()
    assert root.world.store.read().where(Intent, state="planned") == []
