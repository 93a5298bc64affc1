"""A session handed over from machine to machine: what travels, who may do what meanwhile, and who is told what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound, Offline, StaleFence, WrongState
from codestrator.records import Handoff, Lease, Rescue, Session, Task, Thread
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.machines import Joins, Machine, clone, in_step
from tests.methods import crew
from tests.methods.offers import begun, commit, half_done, offered, seen, take
from tests.methods.test_worktrees import spawned
from tests.remotes import Serve

NOWHERE = "http://127.0.0.1:1/hub.git"


def test_all_that_was_not_committed_is_there_on_the_other_machine(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    before = seen(one.path)
    answer = offered(one)
    assert seen(one.path) == before
    assert answer["session"]["status"] == "offered" and answer["handoff"]["state"] == "offered"
    assert [item["worktree_id"] for item in answer["snapshots"]] == [one.worktree]
    assert answer["take_with"]["params"] == {"target_session_id": one.session, "remote": "origin"}
    heads = {ref for ref in host.refs() if ref.startswith("refs/heads/")}
    assert heads == {"refs/heads/main"}
    found = take(two, one)
    (item,) = found["worktrees"]
    assert item | {"path": ""} == {"worktree_id": one.worktree, "snapshot_id": answer["snapshots"][0]["snapshot_id"],
                                   "restored": True, "path": ""}  # fmt: skip
    assert seen(two.path) == before
    assert not (two.path / "key.secret").exists() and not (two.path / "empty folder").exists()
    assert two.folder in two.path.parents and two.git("status", "--porcelain") == ""


def test_the_work_goes_on_where_it_was(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    case = begun(one)
    tx = one.world.store.read()
    (lease,), claim = tx.all(Lease), tx.require(Task, case).claim
    before = one("work.brief")
    offered(one, note="over to the desk")
    found = take(two, one)
    assert found["transferred"] == {"worktrees": 1, "threads": 1, "locks": 1, "claims": 1, "queue_items": 0}
    assert found["next_step"]["title"] == "run" and found["session"]["resumed_from"] == one.session
    assert found["brief"]["next_step"] == before["next_step"] == two("work.brief")["next_step"]
    tx = two.world.store.read()
    (moved,), now = tx.all(Lease), tx.require(Task, case).claim
    assert claim and now and now.fence > claim.fence and moved.fence > lease.fence
    assert (moved.id, moved.session_id, now.session_id) == (lease.id, two.session, two.session)
    handoff = tx.all(Handoff)[0]
    assert (handoff.state, handoff.to_session_id, handoff.note) == ("taken", two.session, "over to the desk")
    assert two("step.check", step_id=f"{case}.2", result="pass")["remaining_steps"] == 0
    assert two("lock.release", lock_id=lease.id)["lock"]["state"] == "released"


def test_who_lost_it_is_told_who_has_it(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    case = begun(one)
    lock = one("lock.list")["items"][0]["id"]
    one("merge.main.acquire_lock")
    offered(one)
    take(two, one)
    one.sync()
    guarded: tuple[tuple[str, dict[str, Any]], ...] = (
        ("step.check", {"step_id": f"{case}.2", "result": "pass"}),
        ("case.complete", {"case_id": case}),
        ("work.checkpoint", {"case_id": case, "summary": "x"}),
        ("lock.heartbeat", {"lock_id": lock}),
        ("lock.release", {"lock_id": lock}),
        ("merge.main.land", {}),
        ("merge.main.release_lock", {}),
    )
    for method, given in guarded:
        with unchanged(one), pytest.raises(StaleFence) as stale:
            one(method, **given)
        assert stale.value.details["holder"]["session_id"] == two.session
    for method, given in WRITES:
        with unchanged(one), pytest.raises(WrongState) as refused:
            one(method, **given)
        assert two.session in refused.value.message


# Of every kind that a session writes: plans, locks, worktrees, children, messages, landing.
WRITES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("session.heartbeat", {}),
    ("task.create", {"level": "epic", "title": "Another"}),
    ("worktree.spawn", {"slug": "x"}),
    ("lock.acquire", {"scope_type": "file", "scope_path": "b"}),
    ("thread.child.spawn", {"launch_codex": False}),
    ("inbox.send", {"receiver_thread_id": "root", "message": "x"}),
    ("merge.main.request", {}),
    ("merge.main.acquire_lock", {}),
    ("graph.node.create", {"node_type": "initiative", "title": "x"}),
)


def test_while_it_is_offered_it_writes_nothing(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    case = begun(one)
    lock = one("lock.list")["items"][0]["id"]
    offered(one)
    for method, given in (
        *WRITES,
        ("step.check", {"step_id": f"{case}.2", "result": "pass"}),
        ("case.complete", {"case_id": case}),
        ("case.begin", {"case_id": case}),
        ("work.checkpoint", {"summary": "x"}),
        ("lock.heartbeat", {"lock_id": lock}),
        ("lock.release", {"lock_id": lock}),
        ("worktree.create", {"branch": "y"}),
        ("worktree.remove", {"worktree_id": one.worktree}),
        ("rescue.restore", {"snapshot_id": one.world.store.read().all(Rescue)[0].id}),
        ("session.close", {}),
    ):
        with unchanged(one), pytest.raises(WrongState) as refused:
            one(method, **given)
        assert refused.value.details["found"] == "offered", method


def test_a_withdrawal_gives_the_former_status_back(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    offered(one, note="soon")
    answer = offered(one, withdraw=True)
    assert answer["session"]["status"] == "active_new" and answer["handoff"]["state"] == "withdrawn"
    assert "offer_note" not in answer["session"]
    assert offered(one, withdraw=True)["session"]["status"] == "active_new"
    one.epic("goes on")
    with pytest.raises(Conflict):
        take(two, one)
    offered(one)
    take(two, one)
    offered(two)
    assert offered(two, withdraw=True)["session"]["status"] == "active_resume"
    two.epic("goes on here")
    with pytest.raises(Conflict) as taken:
        offered(one, withdraw=True)
    assert taken.value.details["holder"] == two.session


def test_what_was_never_offered_is_not_withdrawn(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    with unchanged(one), pytest.raises(WrongState):
        offered(one, withdraw=True)


def test_a_session_that_has_no_work_of_its_own_is_not_offered(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    waiting = one("session.open", intent="resume_work")["session_context"]["session"]["id"]
    with unchanged(one), pytest.raises(WrongState):
        one("handoff.offer", session_id=waiting)


def test_offered_again_it_keeps_what_changed_since_in_the_same_offer(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    _, child = spawned(one)
    half_done(child)
    first = offered(one)
    again = offered(one)
    assert again["handoff"]["id"] == first["handoff"]["id"] and again["snapshots"] == first["snapshots"]
    git("add", "-A", at=child)  # the files are the same, only the index is not
    third = offered(one)
    assert third["handoff"]["id"] == first["handoff"]["id"]
    kept = [{item["worktree_id"]: item["snapshot_id"] for item in each["snapshots"]} for each in (first, third)]
    assert kept[0][one.worktree] == kept[1][one.worktree] and kept[0] != kept[1]
    assert set(third["handoff"]["snapshots"]) == {*kept[0].values(), *kept[1].values()}
    before = seen(child)
    found = take(two, one)
    here = {item["worktree_id"]: item for item in found["worktrees"]}
    assert all(item["restored"] for item in here.values())
    (other,) = (Path(item["path"]) for key, item in here.items() if key != one.worktree)
    assert seen(other) == before


def test_children_at_work_refuse_the_offer_or_are_ended_for_it(
    serve: Serve, machine: Joins, actor: Callable[..., Actor]
) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    folder = spawned(one)[0]
    child = crew.record(one, worktree_id=folder)
    with unchanged(one), pytest.raises(WrongState) as refused:
        offered(one)
    assert refused.value.details["found"] == [child.id]
    offered(one, stop_children=True)
    assert one.world.store.read().require(Thread, child.id).status == "stopped"
    assert len(take(two, one)["worktrees"]) == 2


def test_the_winner_may_ask_again_and_its_worktrees_are_left_alone(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    begun(one)
    half_done(one.path)
    offered(one)
    first = take(two, one)
    (two.path / "staged.txt").write_text("went on\n")
    before = seen(two.path)
    for given in ({}, {"requester_session_id": two.session}):
        again = take(two, one, **given)
        assert again["session"]["id"] == first["session"]["id"] and again["transferred"] == first["transferred"]
        assert [item["restored"] for item in again["worktrees"]] == [False] and "missing" not in again["worktrees"][0]
    assert seen(two.path) == before
    two.close()  # its process ends; the next one of that machine is still the winner
    three = Machine(two.folder)
    assert take(three, one)["session"]["id"] == first["session"]["id"]
    three.close()


def test_the_loser_is_told_who_has_it_and_keeps_nothing(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two, three = machine(host), machine(host), machine(host)
    offered(one)
    take(two, one)
    three.sync()
    with unchanged(three), pytest.raises(Conflict) as lost:
        take(three, one)
    assert lost.value.details["holder"] == two.session


def test_one_that_is_away_is_taken_by_force_alone(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    case = begun(one)
    half_done(one.path)
    kept = one("work.checkpoint", summary="half way")["snapshot_id"]
    in_step(one, two)
    with unchanged(two), pytest.raises(Conflict) as away:
        take(two, one)
    assert away.value.details["found"] == "away"
    with unchanged(two), pytest.raises(InvalidParams):
        take(two, one, force=True)
    found = take(two, one, force=True, reason="its machine burned down")
    assert found["worktrees"][0]["snapshot_id"] == kept and seen(two.path) == seen(one.path)
    one.sync()
    with unchanged(one), pytest.raises(StaleFence):
        one("step.check", step_id=f"{case}.2", result="pass")


def test_what_nobody_has_heard_of_and_what_has_ended_is_not_taken(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    with unchanged(two), pytest.raises(NotFound):
        take(two, "ses-0000000000")
    with pytest.raises(NotFound) as refused:
        take(two, one.session[:8])
    assert "Give the whole id" in str(refused.value.hint)
    one("session.close")
    in_step(one, two)
    with unchanged(two), pytest.raises(WrongState):
        take(two, one)


def test_without_a_remote_it_is_not_offered_but_taken_from_the_state_here(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    half_done(root.path)
    before = seen(root.path)
    with unchanged(root), pytest.raises(WrongState):
        root("handoff.offer")
    root.close()
    clock.advance(61)
    two = actor()
    found = take(two, root.session)
    assert found["session"]["resumed_from"] == root.session and seen(two.path) == before
    assert found["worktrees"] == [{"worktree_id": root.worktree, "restored": False, "path": str(root.path)}]


def test_a_silent_remote_changes_nothing_here(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    offered(one)
    in_step(two)
    for each in (one, two):
        each.git("remote", "set-url", "origin", NOWHERE)
    with unchanged(one), pytest.raises(Offline):
        offered(one, withdraw=True)
    with unchanged(two), pytest.raises(Offline):
        take(two, one)
    before = seen(one.path)
    found = take(two, one, force=True, reason="no network here")
    assert found["worktrees"][0]["restored"] and seen(two.path) == before
    for each in (one, two):
        each.git("remote", "set-url", "origin", host.url)
    in_step(two, one)
    assert one.world.store.read().require(Session, one.session).handed_to == two.session


def test_an_offer_that_reaches_nobody_leaves_the_session_as_it_was(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    half_done(one.path)
    one.git("remote", "set-url", "origin", NOWHERE)
    with pytest.raises(Offline):
        offered(one)
    tx = one.world.store.read()
    assert tx.require(Session, one.session).status == "active_new" and not tx.all(Handoff)
    one.epic("goes on")


def test_only_a_root_forces(serve: Serve, machine: Joins, actor: Callable[..., Actor]) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    child = crew.child(lambda kind, **seat: actor(kind, two.folder, **seat), two)
    with unchanged(two), pytest.raises(Forbidden):
        child("handoff.take", target_session_id=one.session, force=True, reason="x")


def test_a_fresh_clone_is_enough(serve: Serve, machine: Joins, tmp_path: Path) -> None:
    host = serve()
    one = machine(host)
    half_done(one.path)
    offered(one)
    fresh = Machine(clone(host.url, tmp_path / "fresh" / "shop"))
    take(fresh, one)
    assert seen(fresh.path) == seen(one.path)
    assert commit(fresh.path, more="x\n")
    fresh.close()
