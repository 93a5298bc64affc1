"""What would conflict is told before it does, and nothing is changed by asking."""

from pathlib import Path

import pytest

from codestrator.errors import External, NotFound
from tests.actors import Actor, everything
from tests.conftest import git
from tests.methods.test_worktrees import commit, spawned


def pairs(found: dict[str, object]) -> list[tuple[str, str]]:
    return [(one["a"], one["b"]) for one in found["items"]]  # type: ignore[attr-defined]


def test_two_sessions_that_change_one_line_are_told(root: Actor, other: Actor) -> None:
    commit(root.path, "README.md", "one\n")
    commit(other.path, "README.md", "two\n")
    found = root("conflict.forecast")
    (item,) = found["items"]
    assert {item["a"], item["b"]} == {root.worktree, other.worktree}
    assert item["conflicts"] and item["files"] == [{"path": "README.md", "kind": "content"}]
    assert item["from_snapshot"] == {"a": False, "b": False}
    assert item["a_head"] == git("rev-parse", "HEAD", at=root.path if item["a"] == root.worktree else other.path)
    assert found["pairs_checked"] == 3  # the two with each other, and each with main


def test_clean_pairs_are_shown_when_asked_for(root: Actor, other: Actor) -> None:
    commit(root.path, "a.txt")
    commit(other.path, "b.txt")
    assert root("conflict.forecast")["items"] == []
    found = root("conflict.forecast", include_clean=True)
    assert len(found["items"]) == 3 and not any(one["conflicts"] for one in found["items"])
    without = root("conflict.forecast", include_clean=True, include_target=False)
    assert {frozenset(one) for one in pairs(without)} == {frozenset((root.worktree, other.worktree))}


def test_the_kinds_of_conflicts_are_told_apart(root: Actor, other: Actor) -> None:
    for folder, words in ((root.path, "one\n"), (other.path, "two\n")):
        commit(folder, "new.txt", words)
    git("rm", "-q", "README.md", at=root.path)
    git("commit", "-qm", "without", at=root.path)
    commit(other.path, "README.md", "changed\n")
    (item,) = root("conflict.forecast")["items"]
    assert item["files"] == [
        {"path": "README.md", "kind": "modify_delete"},
        {"path": "new.txt", "kind": "add_add"},
    ]


def test_where_a_session_lands_counts_too(root: Actor) -> None:
    commit(root.path, "README.md", "session\n")
    commit(Path(root.world.repo), "README.md", "main\n")
    (item,) = root("conflict.forecast")["items"]
    assert (item["a"], item["b"]) == (root.worktree, "main")


def test_uncommitted_work_counts_as_far_as_its_newest_snapshot(root: Actor, other: Actor) -> None:
    commit(other.path, "README.md", "two\n")
    (root.path / "README.md").write_text("one, not committed\n", encoding="utf-8")
    assert root("conflict.forecast")["items"] == []
    root("work.checkpoint", summary="half way")
    (item,) = root("conflict.forecast")["items"]
    assert item["files"] == [{"path": "README.md", "kind": "content"}]
    mine = "a" if item["a"] == root.worktree else "b"
    assert item["from_snapshot"][mine] is True
    git("commit", "-qam", "done otherwise", at=root.path)
    (item,) = root("conflict.forecast")["items"]
    assert item["from_snapshot"] == {"a": False, "b": False}


def test_who_works_under_anothers_lock_is_told(root: Actor, other: Actor) -> None:
    lock = root("lock.acquire", scope_type="prefix", scope_path="src")["lock"]["id"]
    for place in (root.path, other.path):
        (place / "src").mkdir()
    commit(other.path, "src/login.py")
    commit(root.path, "src/mine.py")
    assert root("conflict.forecast")["scopes"] == [
        {"lock_id": lock, "worktree_id": other.worktree, "files": ["src/login.py"]}
    ]


def test_the_question_can_be_narrowed(root: Actor, other: Actor) -> None:
    child, folder = spawned(root)
    for place, words in ((root.path, "one\n"), (other.path, "two\n"), (folder, "three\n")):
        commit(place, "README.md", words)
    assert len(root("conflict.forecast", include_target=False)["items"]) == 3
    some = root("conflict.forecast", worktree_ids=[child, other.worktree], include_target=False)
    assert {frozenset(one) for one in pairs(some)} == {frozenset((child, other.worktree))}
    mine = root("conflict.forecast", session_id=other.session, include_target=False)
    assert all(other.worktree in one for one in pairs(mine)) and len(mine["items"]) == 2
    with pytest.raises(NotFound):
        root("conflict.forecast", worktree_ids=["wt-0000000000"])


def test_asking_changes_nothing_and_asking_again_runs_no_merge(
    root: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(root.path, "README.md", "one\n")
    commit(other.path, "README.md", "two\n")
    before = everything(Path(root.world.repo))
    first = root("conflict.forecast")
    assert everything(Path(root.world.repo)) == before
    monkeypatch.setenv("PATH", "/nowhere")  # no git to be run
    assert root("conflict.forecast") == first
    (root.world.common_dir / "codestrator" / "cache" / "forecast").write_bytes(b"{broken")
    with pytest.raises(External):
        root("conflict.forecast")


def test_closed_sessions_are_left_out(root: Actor, other: Actor) -> None:
    commit(root.path, "README.md", "one\n")
    commit(other.path, "README.md", "two\n")
    other("session.close")
    assert root("conflict.forecast")["items"] == []
