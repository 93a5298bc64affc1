"""The end of a session: closed, cleaned up."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codestrator.errors import Forbidden, LockHeld, WrongState
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git


def test_closing_ends_the_session_and_its_root_thread_and_keeps_the_worktree(root: Actor) -> None:
    found = root("session.close", reason="done for today")
    assert found["session"]["status"] == "closed" and found["session"]["closed_at"]
    assert found["released"] == {"locks": 0, "claims": 0, "queue_items": 0}
    context = root("session.context", session_id=root.session)
    assert (context["root_thread"]["status"], context["liveness"]) == ("completed", "ended")
    assert root.path.is_dir()


def test_closing_again_gives_the_same_session_and_changes_nothing(root: Actor) -> None:
    first = root("session.close")
    with unchanged(root):
        assert root("session.close", session_id=root.session)["session"] == first["session"]


def test_locks_of_a_closed_session_are_free_at_once(root: Actor, other: Actor) -> None:
    root("lock.acquire", scope_type="prefix", scope_path="src")
    with pytest.raises(LockHeld):
        other("lock.acquire", scope_type="file", scope_path="src/a.py")
    assert root("session.close")["released"]["locks"] == 1
    assert other("lock.acquire", scope_type="file", scope_path="src/a.py")["granted"]


def test_an_active_case_keeps_a_session_open(root: Actor) -> None:
    case = root.case("a")
    root("case.begin", case_id=case)
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("session.close")
    assert refused.value.details["unfinished"] == [case]


def test_forced_closing_leaves_the_case_in_progress_and_unclaimed(root: Actor, other: Actor) -> None:
    case = root.case("a")
    root("case.begin", case_id=case)
    assert root("session.close", force=True)["released"]["claims"] == 1
    found = other("task.get", task_id=case)
    assert found["task"]["status"] == "in_progress" and "claim" not in found
    assert other("case.begin", case_id=case)["fence"] == 2


def test_another_process_may_not_close_a_live_session(root: Actor, other: Actor) -> None:
    with unchanged(other), pytest.raises(Forbidden):
        other("session.close", session_id=root.session)


def test_the_current_ref_is_completed_by_closing(root: Actor) -> None:
    root("case.begin", case_id=root.case("a"))
    root("session.close", force=True)
    assert root("session.context", session_id=root.session)["current_ref"]["status"] == "completed"


def test_a_closed_session_is_not_the_default_any_more(root: Actor) -> None:
    root("session.close")
    assert root.seat.default_session is None
    assert not root.world.live.held(root.session)


def test_cleaning_up_closes_whatever_is_open_and_suspends_the_ref(root: Actor) -> None:
    root("case.begin", case_id=root.case("a"))
    found = root("session.cleanup")
    assert found["result"] == "cleaned_up" and found["errors"] == [] and found["removed"] == []
    context = root("session.context", session_id=root.session)
    assert (context["session"]["status"], context["current_ref"]["status"]) == ("closed", "suspended")
    assert root.path.is_dir()


def test_cleaning_up_removes_untouched_worktrees_when_asked(root: Actor) -> None:
    child = root("worktree.spawn", slug="child")["worktree"]
    found = root("session.cleanup", remove_worktrees=True)
    assert found["removed"] == [child["id"], root.worktree]
    assert not root.path.exists()


def test_cleaning_up_keeps_dirty_and_unmerged_ones_with_a_snapshot(root: Actor) -> None:
    child = root("worktree.spawn", slug="child")["worktree"]
    folder = Path(root.world.repo) / child["path"]
    (folder / "new.txt").write_text("unmerged\n", encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", "unmerged", at=folder)
    (root.path / "half.txt").write_text("half a thought\n", encoding="utf-8")
    found = root("session.cleanup", remove_worktrees=True)
    assert found["removed"] == []
    assert [one["worktree_id"] for one in found["kept"]] == [child["id"], root.worktree]
    assert len(found["snapshots"]) == 2
    kept = {one["worktree_id"]: one for one in root("rescue.list")["items"]}
    assert git("show", f"{kept[root.worktree]['ref']}:half.txt", at=root.path) == "half a thought"


def test_cleaning_up_again_finds_nothing_to_do(root: Actor) -> None:
    root("session.cleanup", remove_worktrees=True)
    with unchanged(root):
        again = root("session.cleanup", session_id=root.session, remove_worktrees=True)
    assert (again["removed"], again["threads_stopped"], again["session_killed"]) == ([], 0, False)


def test_a_failure_in_one_worktree_does_not_stop_the_rest(root: Actor) -> None:
    child = root("worktree.spawn", slug="child")["worktree"]
    (Path(root.world.repo) / child["path"] / ".git").write_text("gitdir: /nowhere\n", encoding="utf-8")
    found = root("session.cleanup", remove_worktrees=True)
    assert found["removed"] == [root.worktree]
    assert [one["worktree_id"] for one in found["kept"]] == [child["id"]]
    assert len(found["errors"]) >= 1


def test_a_suspended_session_may_be_cleaned_up_by_another_process(
    root: Actor, other: Actor, clock: SteeredClock
) -> None:
    root.close()
    with unchanged(other), pytest.raises(Forbidden):
        other("session.cleanup", session_id=root.session)
    clock.advance(61)
    assert other("session.cleanup", session_id=root.session)["result"] == "cleaned_up"


def test_a_person_may_clean_up_any_session(root: Actor, operator: Actor) -> None:
    assert operator("session.cleanup", session_id=root.session)["result"] == "cleaned_up"
    with pytest.raises(WrongState):
        root("session.heartbeat", session_id=root.session)


def test_a_taken_over_session_can_be_neither_closed_nor_cleaned_up(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    root.close()
    clock.advance(61)
    one = actor()
    one("session.open", intent="resume_work")
    one("resume.candidates.attach", target_session_id=root.session)
    for method in ("session.close", "session.cleanup"):
        with unchanged(one), pytest.raises(WrongState):
            one(method, session_id=root.session)


@pytest.fixture
def tmux(repo: Path) -> Iterator[Callable[..., None]]:
    """A tmux server of this test's own."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: apt install tmux")
    socket = f"codestrator-test-{repo.parent.name}"
    git("config", "codestrator.tmuxSocket", socket, at=repo)

    def run(*arguments: str) -> None:
        subprocess.run(["tmux", "-L", socket, *arguments], check=True, capture_output=True)

    yield run
    subprocess.run(["tmux", "-L", socket, "kill-server"], check=False, capture_output=True)


def test_cleaning_up_ends_its_own_tmux_session_and_no_other(
    tmux: Callable[..., None], actor: Callable[..., Actor]
) -> None:
    one = actor()
    one("workspace.init")
    for tag in ("someone's", f"{one.world.common_dir}:{{}}"):
        name = one.open(user_request="Add invoices")["viewer_tmux_session"]
        one("runtime.tmux.ensure")
        tmux("new-session", "-d", "-s", name)
        tmux("set-option", "-t", f"={name}:", "@codestrator", tag.format(one.session))
        alive = {item["session"]["id"]: item["tmux_alive"] for item in one("session.list")["items"]}
        assert alive[one.session]
        assert one("session.cleanup")["session_killed"] is ("someone" not in tag)
        assert one.world.tmux.session_alive(name) is ("someone" in tag)
