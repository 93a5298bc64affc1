"""A snapshot holds the uncommitted work whole, and nobody can tell from the worktree that it was taken."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.errors import WrongState
from codestrator.ports import Snapshot
from codestrator.world import LocalWorld
from tests.conftest import git
from tests.world.conftest import commit

LIMIT = 1000


def take(world: LocalWorld, folder: Path) -> Snapshot:
    return world.worktrees.snapshot(folder, message="halfway", max_untracked_bytes=LIMIT)


def traces(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file, the index and HEAD included."""
    git_dir = Path(git("rev-parse", "--absolute-git-dir", at=folder))
    places = [one for one in folder.rglob("*") if one.is_file() and ".git" not in one.parts]
    places += [one for one in (git_dir / "index", git_dir / "HEAD", git_dir / "logs" / "HEAD") if one.exists()]
    return {str(one): (one.read_bytes(), one.stat().st_mtime_ns) for one in places}


def work(folder: Path) -> None:
    """Leave every kind of change behind."""
    for name in ("kept", "changed", "deleted", "renamed"):
        commit(folder, name, f"{name}\n")
    (folder / "changed").write_text("staged\n", encoding="utf-8")
    git("add", "changed", at=folder)
    (folder / "changed").write_text("then changed again\n", encoding="utf-8")
    (folder / "deleted").unlink()
    git("mv", "renamed", "umbenannt ä", at=folder)
    (folder / "neu").mkdir()
    (folder / "neu" / "ü ber.txt").write_text("untracked\n", encoding="utf-8")
    (folder / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("nowhere at all")
    (folder / "noise.log").write_text("ignored\n", encoding="utf-8")


def test_a_snapshot_changes_neither_index_nor_file(world: LocalWorld, linked: Path) -> None:
    work(linked)
    status, refs = git("status", "--porcelain", at=linked), git("for-each-ref", at=linked)
    before = traces(linked)
    take(world, linked)
    assert traces(linked) == before
    assert git("status", "--porcelain", at=linked) == status
    assert git("for-each-ref", at=linked) == refs


def test_a_snapshot_holds_everything_but_ignored_files(world: LocalWorld, linked: Path) -> None:
    work(linked)
    one = take(world, linked)
    names = git("ls-tree", "-r", "-z", "--name-only", one.tree, at=linked).split("\0")
    assert {"kept", "changed", "umbenannt ä", "neu/ü ber.txt", "run.sh", "link"} <= set(names)
    assert not {"deleted", "renamed", "noise.log"} & set(names)
    assert git("show", f"{one.commit}:changed", at=linked) == "then changed again"
    assert git("ls-tree", one.tree, "run.sh", at=linked).startswith("100755")
    assert git("ls-tree", one.tree, "link", at=linked).startswith("120000")


def test_its_parents_are_head_and_the_index(world: LocalWorld, linked: Path) -> None:
    work(linked)
    index = git("write-tree", at=linked)
    one = take(world, linked)
    head, staged = git("show", "-s", "--format=%P", one.commit, at=linked).split()
    assert head == one.head == git("rev-parse", "HEAD", at=linked)
    assert git("rev-parse", f"{staged}^{{tree}}", f"{staged}^", at=linked).split() == [index, head]
    assert git("show", f"{staged}:changed", at=linked) == "staged"
    assert one.branch == "feature/küche"


def test_it_counts_what_differs_from_head(world: LocalWorld, linked: Path) -> None:
    (linked / "README.md").write_text("12345", encoding="utf-8")
    (linked / "new").write_text("123", encoding="utf-8")
    one = take(world, linked)
    assert (one.files, one.bytes, one.skipped) == (2, 8, ())


def test_a_clean_worktree_gives_the_tree_of_head(world: LocalWorld, linked: Path) -> None:
    one = take(world, linked)
    assert (one.tree, one.files, one.bytes) == (git("rev-parse", "HEAD^{tree}", at=linked), 0, 0)


def test_files_above_the_limit_and_inner_repositories_are_named_instead(world: LocalWorld, linked: Path) -> None:
    (linked / "big").write_bytes(b"x" * (LIMIT + 1))
    (linked / "fits").write_bytes(b"x" * LIMIT)
    (linked / "inner").mkdir()
    git("init", "-q", at=linked / "inner")
    (linked / "README.md").write_bytes(b"y" * (LIMIT * 2))
    git("-C", "inner", "commit", "-q", "--allow-empty", "-m", "x", at=linked)
    one = take(world, linked)
    assert [name for name, _ in one.skipped] == ["big", "inner/"]
    assert dict(one.skipped)["big"] == LIMIT + 1
    names = git("ls-tree", "-r", "--name-only", one.tree, at=linked).split()
    assert "fits" in names and "big" not in names
    assert git("cat-file", "-s", f"{one.tree}:README.md", at=linked) == str(LIMIT * 2)


@pytest.mark.parametrize(
    ("swap", "there"),
    [
        (
            lambda at: ((at / "thing").unlink(), (at / "thing").mkdir(), (at / "thing" / "in").write_text("x")),
            ["folder/in", "thing/in"],
        ),
        (
            lambda at: ((at / "folder" / "in").unlink(), (at / "folder").rmdir(), (at / "folder").write_text("x")),
            ["folder", "thing"],
        ),
    ],
    ids=["file to folder", "folder to file"],
)
def test_a_file_and_a_folder_may_trade_places(
    world: LocalWorld, linked: Path, swap: Callable[[Path], object], there: list[str]
) -> None:
    commit(linked, "thing", "a file\n")
    commit(linked, "folder/in", "a file in a folder\n")
    swap(linked)
    one = take(world, linked)
    assert git("ls-tree", "-r", "--name-only", one.tree, at=linked).split()[2:] == there


@pytest.mark.parametrize(
    "marks", [["--assume-unchanged"], ["--skip-worktree"], ["--assume-unchanged", "--skip-worktree"]]
)
def test_what_git_was_told_to_take_for_unchanged_is_kept_too(world: LocalWorld, linked: Path, marks: list[str]) -> None:
    for mark in marks:
        git("update-index", mark, "README.md", at=linked)
    assert world.worktrees.unsaved(linked) == []
    (linked / "README.md").write_text("mine alone\n", encoding="utf-8")
    before = traces(linked)
    assert world.worktrees.changes(linked) == [] and world.worktrees.unsaved(linked) == ["README.md"]
    assert git("show", f"{take(world, linked).commit}:README.md", at=linked) == "mine alone"
    assert traces(linked) == before


def test_a_file_outside_of_a_sparse_checkout_is_kept_too(world: LocalWorld, linked: Path) -> None:
    commit(linked, "in/file", "text\n")
    commit(linked, "out/file", "text\n")
    git("sparse-checkout", "set", "in", at=linked)
    assert not (linked / "out").exists() and take(world, linked).files == 0
    (linked / "out").mkdir()
    (linked / "out" / "file").write_text("changed\n", encoding="utf-8")
    assert git("show", f"{take(world, linked).commit}:out/file", at=linked) == "changed"


def test_ends_of_lines_are_no_reason_to_refuse(world: LocalWorld, repo: Path, linked: Path) -> None:
    git("config", "core.autocrlf", "true", at=repo)
    git("config", "core.safecrlf", "true", at=repo)
    (linked / "README.md").write_bytes(b"changed\n")
    (linked / "new").write_bytes(b"new\n")
    assert take(world, linked).files == 2


def test_the_middle_of_a_conflict_is_kept_as_it_stands(world: LocalWorld, repo: Path, linked: Path) -> None:
    commit(repo, "README.md", "here\n")
    commit(linked, "README.md", "there\n")
    subprocess.run(["git", "merge", "-q", "main"], cwd=linked, capture_output=True, check=False)
    before = traces(linked)
    one = take(world, linked)
    assert "<<<<<<<" in git("show", f"{one.commit}:README.md", at=linked)
    assert traces(linked) == before
    assert world.worktrees.operation(linked) == "merge"


def test_a_detached_head_has_no_branch(world: LocalWorld, linked: Path) -> None:
    git("checkout", "-q", "--detach", at=linked)
    assert take(world, linked).branch is None


def test_an_unborn_branch_is_refused(world: LocalWorld, repo: Path) -> None:
    git("checkout", "-q", "--orphan", "empty", at=repo)
    with pytest.raises(WrongState, match="no commit checked out"):
        take(world, repo)


def test_nothing_is_left_in_the_private_folder(world: LocalWorld, linked: Path) -> None:
    work(linked)
    take(world, linked)
    assert list((world.common_dir / "codestrator" / "snapshots").iterdir()) == []


def test_it_works_without_a_name_for_the_user(world: LocalWorld, linked: Path, sealed: Path) -> None:
    (sealed / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n", encoding="utf-8")
    (linked / "new").write_text("x", encoding="utf-8")
    one = take(world, linked)
    assert git("show", "-s", "--format=%an", one.commit, at=linked) == "codestrator"


def test_a_split_index_is_read_and_left_alone(world: LocalWorld, linked: Path) -> None:
    git("update-index", "--split-index", at=linked)
    work(linked)
    shared = {one.name for one in Path(git("rev-parse", "--absolute-git-dir", at=linked)).glob("sharedindex.*")}
    before = traces(linked)
    one = take(world, linked)
    assert git("show", f"{one.commit}:changed", at=linked) == "then changed again"
    assert traces(linked) == before
    assert {one.name for one in Path(git("rev-parse", "--absolute-git-dir", at=linked)).glob("sharedindex.*")} >= shared


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_file_that_cannot_be_read_is_an_error(world: LocalWorld, linked: Path) -> None:
    (linked / "secret").write_text("x", encoding="utf-8")
    (linked / "secret").chmod(0)
    with pytest.raises(Exception, match="secret"):
        take(world, linked)
