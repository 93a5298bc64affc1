"""Taking over the work of a session that was left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound, StaleFence, WrongState
from codestrator.records import Fence, Lease, Session, Task, Thread, Worktree
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.methods.test_worktrees import commit, spawned


@pytest.fixture
def left(root: Actor, clock: SteeredClock) -> Actor:
    """A session with a case begun, a lock and a spawned worktree, whose process is gone."""
    case = root.case("write", "run")
    root("case.begin", case_id=case)
    root("step.check", step_id=f"{case}.1", result="pass")
    root("lock.acquire", scope_type="prefix", scope_path="src")
    spawned(root)
    root.close()
    clock.advance(61)
    return root


def resuming(actor: Callable[..., Actor]) -> Actor:
    one = actor()
    one.session = one("session.open", intent="resume_work")["session_context"]["session"]["id"]
    return one


def attach(one: Actor, target: Actor, **given: object) -> dict[str, Any]:
    return one("resume.candidates.attach", target_session_id=target.session, **given)


def test_only_sessions_left_behind_are_candidates(left: Actor, other: Actor, clock: SteeredClock) -> None:
    (item,) = other("resume.candidates.list")["items"]
    assert item["session"]["id"] == left.session and item["reason"] == "suspended"
    assert item["silent_seconds"] >= 61 and item["active_cases"] == 1
    assert item["session_root_worktree"]["id"] == left.worktree
    assert item["current_ref"]["node_type"] == "case"


def test_the_longest_silent_comes_first(left: Actor, other: Actor, actor: Callable[..., Actor]) -> None:
    third = actor()
    third.open(heartbeat_timeout_seconds=10)
    other.close()
    left.world.clock.advance(120)  # type: ignore[attr-defined]  # the steered clock of all actors
    ids = [one["session"]["id"] for one in third("resume.candidates.list")["items"]]
    assert ids == [left.session, other.session]


def test_another_timeout_can_be_asked_with(root: Actor, other: Actor, clock: SteeredClock) -> None:
    root.close()
    clock.advance(30)
    assert other("resume.candidates.list")["items"] == []
    assert len(other("resume.candidates.list", heartbeat_timeout_seconds=10)["items"]) == 1


def test_a_candidate_names_its_snapshot_and_a_lost_folder(root: Actor, other: Actor, clock: SteeredClock) -> None:
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    snapshot = root("work.checkpoint", summary="half way")["snapshot_id"]
    root.close()
    root.path.rename(root.path.with_name("elsewhere"))
    clock.advance(61)
    (item,) = other("resume.candidates.list")["items"]
    assert item["snapshot"]["snapshot_id"] == snapshot
    assert item["session_root_worktree"]["status"] == "lost"


def test_all_of_it_goes_over_in_one_operation(left: Actor, actor: Callable[..., Actor]) -> None:
    one = resuming(actor)
    operations = git("rev-list", "--count", "refs/codestrator/state", at=Path(one.world.repo))
    found = attach(one, left)
    assert int(git("rev-list", "--count", "refs/codestrator/state", at=Path(one.world.repo))) == int(operations) + 1
    assert found["transferred"] == {"worktrees": 2, "threads": 1, "locks": 1, "claims": 1, "queue_items": 0}
    assert found["session"]["status"] == "active_resume" and found["session"]["resumed_from"] == left.session
    assert found["session_root_worktree"]["id"] == left.worktree
    assert found["root_thread"]["id"] == left.thread and found["root_thread"]["session_id"] == one.session
    assert found["current_ref"]["mode"] == "resume" and found["current_ref"]["id"].endswith(".2")
    assert found["next_step"]["title"] == "run" and found["liveness"] == "live"
    tx = one.world.store.read()
    former = tx.require(Session, left.session)
    assert (former.status, former.handed_to) == ("handoff_attached", one.session)
    assert {row.owner_session_id for row in tx.rows(Worktree)} == {one.session, None}


def test_leases_and_claims_go_over_with_new_fences(left: Actor, actor: Callable[..., Actor]) -> None:
    tx = left.world.store.read()
    (lease,), fence = tx.all(Lease), tx.require(Fence, "fence").value
    one = resuming(actor)
    attach(one, left)
    tx = one.world.store.read()
    (moved,) = tx.all(Lease)
    assert (moved.id, moved.session_id, moved.fence) == (lease.id, one.session, fence + 1)
    (case,) = [task for task in tx.all(Task) if task.level == "case"]
    assert case.claim and (case.claim.session_id, case.claim.fence, case.claim_fence) == (one.session, 2, 2)
    assert one("step.check", step_id=f"{case.id}.2", result="pass")["remaining_steps"] == 0
    assert one("lock.release", lock_id=lease.id)["lock"]["state"] == "released"


def test_the_former_process_can_do_nothing_any_more(left: Actor, actor: Callable[..., Actor]) -> None:
    case = next(row.id for row in left.world.store.read().where(Task, level="case"))
    one = resuming(actor)
    attach(one, left)
    mine = {"session_id": left.session}
    for method, given in (
        ("session.heartbeat", mine),
        ("lock.acquire", {"owner_session": left.session, "scope_type": "file", "scope_path": "b"}),
        ("worktree.spawn", mine | {"slug": "x"}),
        ("work.checkpoint", mine | {"summary": "x"}),
    ):
        with unchanged(one), pytest.raises(WrongState):
            left(method, **given)
    with unchanged(one), pytest.raises(StaleFence) as stale:
        left("step.check", **mine, step_id=f"{case}.2", result="pass")
    assert stale.value.details["holder"]["session_id"] == one.session


def test_the_requesters_own_thread_ends(left: Actor, actor: Callable[..., Actor]) -> None:
    one = resuming(actor)
    own = one("session.context")["root_thread"]["id"]
    attach(one, left)
    thread = one.world.store.read().require(Thread, own)
    assert thread.status == "stopped" and left.thread in str(thread.reason)


def test_where_was_i_has_the_request_and_the_children_of_the_one_before(
    left: Actor, actor: Callable[..., Actor]
) -> None:
    mine = resuming(actor)
    attach(mine, left)
    found = mine("work.brief")
    assert found["session"]["user_request"] == "Fix the login timeout"
    assert "children" not in found  # the thread that the requester had for a moment is none


def test_attaching_again_gives_the_same_answer(left: Actor, actor: Callable[..., Actor]) -> None:
    one = resuming(actor)
    first = attach(one, left)
    with unchanged(one):
        assert attach(one, left) == first


def test_another_one_comes_too_late(left: Actor, actor: Callable[..., Actor]) -> None:
    one, two = resuming(actor), resuming(actor)
    attach(one, left)
    with unchanged(two), pytest.raises(Conflict) as refused:
        attach(two, left)
    assert refused.value.details["holder"] == one.session


def test_an_untouched_session_gives_its_own_worktree_up(left: Actor, actor: Callable[..., Actor]) -> None:
    one = actor()
    one.open(user_request="Add invoices")
    attach(one, left)
    assert not one.path.exists()
    assert one.world.store.read().require(Worktree, one.worktree).status == "removed"
    assert not git("branch", "--list", f"task/{one.session}/*", at=Path(one.world.repo))


@pytest.mark.parametrize("what", ["file", "commit", "case", "lock", "worktree"])
def test_a_session_that_has_begun_may_not_take_over(left: Actor, other: Actor, what: str) -> None:
    if what == "file":
        (other.path / "new.txt").write_text("new\n", encoding="utf-8")
    elif what == "commit":
        commit(other.path, "a.txt")
    elif what == "case":
        other("case.begin", case_id=other.case("a"))
    elif what == "lock":
        other("lock.acquire", scope_type="file", scope_path="b")
    else:
        spawned(other)
    with unchanged(other), pytest.raises(WrongState):
        attach(other, left)


def test_a_live_session_is_not_taken_over_unless_forced_with_a_reason(root: Actor, actor: Callable[..., Actor]) -> None:
    one = resuming(actor)
    with unchanged(one), pytest.raises(Conflict) as refused:
        attach(one, root)
    assert refused.value.details["found"] == "live"
    with unchanged(one), pytest.raises(InvalidParams):
        attach(one, root, force=True)
    attach(one, root, force=True, reason="its window is frozen")
    with unchanged(one), pytest.raises(WrongState):
        root("session.heartbeat")


def test_neither_itself_nor_a_closed_one_nor_nothing_can_be_taken_over(
    root: Actor, other: Actor, actor: Callable[..., Actor]
) -> None:
    one = resuming(actor)
    with unchanged(one), pytest.raises(WrongState):
        one("resume.candidates.attach", target_session_id=one.session)
    other("session.close")
    for force in ({}, {"force": True, "reason": "mine"}):
        with unchanged(one), pytest.raises(WrongState):
            attach(one, other, **force)
    with unchanged(one), pytest.raises(NotFound):
        one("resume.candidates.attach", target_session_id="ses-0000000000")


def test_nobody_takes_over_in_the_name_of_anothers_session(
    left: Actor, other: Actor, actor: Callable[..., Actor]
) -> None:
    one = resuming(actor)
    with unchanged(one), pytest.raises(Forbidden):
        attach(one, left, requester_session_id=other.session)


def test_a_lease_that_had_lapsed_is_not_revived(left: Actor, actor: Callable[..., Actor], clock: SteeredClock) -> None:
    clock.advance(600)
    one = resuming(actor)
    found = attach(one, left)
    assert found["transferred"]["locks"] == 0 and found["transferred"]["claims"] == 1


def test_a_case_assigned_to_the_former_session_can_be_begun(left: Actor, actor: Callable[..., Actor]) -> None:
    one = resuming(actor)
    case = one.case("a", assignee_session=left.session)
    attach(one, left)
    assert one.world.store.read().require(Task, case).assignee_session == one.session


def test_the_sign_of_life_of_the_former_session_is_not_touched(left: Actor, actor: Callable[..., Actor]) -> None:
    before = left.world.live.beat(left.session)
    attach(resuming(actor), left)
    assert left.world.live.beat(left.session) == before


def test_a_second_machine_is_away_and_needs_force(left: Actor, actor: Callable[..., Actor], repo: Path) -> None:
    git("config", "codestrator.machine", "0123456789", at=repo)
    one = resuming(actor)
    (item,) = one("resume.candidates.list")["items"]
    assert item["reason"] == "away"
    with unchanged(one), pytest.raises(Conflict) as refused:
        attach(one, left)
    assert refused.value.details["found"] == "away"
    found = attach(one, left, force=True, reason="that machine is lost")
    assert found["session"]["machine"] == "0123456789"
