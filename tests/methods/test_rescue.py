"""The list of snapshots."""

from pathlib import Path

import pytest

from codestrator.errors import Busy, External, NotFound
from tests.actors import Actor
from tests.conftest import git


def snapshot(one: Actor, text: str) -> str:
    (one.path / "new.txt").write_text(text, encoding="utf-8")
    return str(one("work.checkpoint", summary="saved")["snapshot_id"])


def test_snapshots_are_listed_newest_first_with_the_call_that_restores(root: Actor) -> None:
    first, second = snapshot(root, "one\n"), snapshot(root, "two\n")
    items = root("rescue.list")["items"]
    assert [one["snapshot_id"] for one in items] == [second, first]
    assert items[0]["restore"]["params"] == {"snapshot_id": second}
    assert items[0]["ref"] == f"refs/codestrator/rescue/{root.worktree}/{second}"
    assert items[0]["branch"] == f"task/{root.session}/fix-login"
    git(*items[0]["restore"]["command"].split()[1:], at=root.path)
    assert (root.path.parent / second / "new.txt").read_text(encoding="utf-8") == "two\n"


def test_the_list_is_narrowed_by_worktree_and_session(root: Actor, other: Actor) -> None:
    mine, theirs = snapshot(root, "one\n"), snapshot(other, "two\n")
    assert [one["snapshot_id"] for one in root("rescue.list", worktree_id=root.worktree)["items"]] == [mine]
    assert [one["snapshot_id"] for one in root("rescue.list", session_id=other.session)["items"]] == [theirs]
    with pytest.raises(NotFound):
        root("rescue.list", worktree_id="wt-0000000000")


def test_pages_follow_each_other_without_gap(root: Actor) -> None:
    made = [snapshot(root, f"{number}\n") for number in range(3)]
    first = root("rescue.list", limit=2)
    snapshot(root, "later\n")
    second = root("rescue.list", limit=2, cursor=first["next_cursor"])
    assert [one["snapshot_id"] for one in first["items"] + second["items"]] == made[::-1]
    assert "next_cursor" not in second


def test_a_snapshot_survives_git_gc(root: Actor) -> None:
    saved = snapshot(root, "kept\n")
    git("gc", "-q", "--prune=now", at=Path(root.world.repo))
    assert git("show", f"refs/codestrator/rescue/{root.worktree}/{saved}:new.txt", at=root.path) == "kept"


def test_a_ref_that_cannot_be_made_records_no_snapshot(root: Actor) -> None:
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    (Path(root.world.common_dir) / "refs" / "codestrator" / "rescue").write_text("in the way", encoding="ascii")
    state = git("rev-parse", "refs/codestrator/state", at=root.path)
    with pytest.raises((Busy, External)):
        root("work.checkpoint", summary="saved")
    assert git("rev-parse", "refs/codestrator/state", at=root.path) == state
