"""Path locks: all or none, one holder at a time, numbers that only grow."""

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Forbidden, InvalidParams, LockHeld, NotFound, StaleFence, WrongState
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods.test_inbox import make_child


def lock(actor: Actor, path: str, kind: str = "file", **given: Any) -> dict[str, Any]:
    return actor("lock.acquire", scope_type=kind, scope_path=path, **given)


def commits(actor: Actor) -> int:
    done = subprocess.run(
        ["git", "rev-list", "--count", "refs/codestrator/locks"],
        cwd=actor.world.repo,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_a_lock_names_its_scope_holder_and_number(root: Actor) -> None:
    got = lock(root, "src/a.py", ttl_seconds=300)
    assert got["granted"] is True
    assert got["count"] == 1
    assert got["lock"] == got["items"][0]
    assert got["fence"] == got["lock"]["fence"] == 1
    assert (got["lock"]["session_id"], got["lock"]["thread_id"]) == (root.session, root.thread)
    assert got["lock"]["scope_path"] == "src/a.py"
    assert 298 <= got["lock"]["seconds_left"] <= 300
    assert "nonce" not in got["lock"]


def test_a_trailing_slash_is_removed(root: Actor) -> None:
    assert lock(root, "src/", "prefix")["lock"]["scope_path"] == "src"


def test_an_overlapping_lock_of_another_is_refused_and_its_holder_named(root: Actor, other: Actor) -> None:
    held = lock(root, "src/auth", "prefix")["lock"]
    with unchanged(root), pytest.raises(LockHeld) as refused:
        lock(other, "src/auth/login.py")
    details = refused.value.details
    assert details["holders"][0]["lock_id"] == held["id"]
    assert details["holders"][0]["session_id"] == root.session
    assert details["holders"][0]["fence"] == held["fence"]
    assert 0 < details["retry_after_seconds"] <= 600
    assert refused.value.retryable
    assert f"'src/auth' (prefix) is held by '{root.session}'" in refused.value.message
    assert lock(other, "src/other.py")["granted"]


def test_several_scopes_are_taken_all_or_none(root: Actor, other: Actor) -> None:
    lock(root, "b")
    both = [{"scope_type": "file", "scope_path": "a"}, {"scope_type": "file", "scope_path": "b"}]
    with unchanged(root), pytest.raises(LockHeld):
        other("lock.acquire", scopes=both)
    lock(root, "a")  # would be refused had the other one got it
    free = [{"scope_type": "file", "scope_path": path} for path in ("c", "d", "c")]
    got = other("lock.acquire", scopes=free)
    assert [one["scope_path"] for one in got["items"]] == ["c", "d"]
    assert {one["fence"] for one in got["items"]} == {got["fence"]}
    assert "lock" not in got


def test_locks_of_one_session_never_conflict(root: Actor) -> None:
    lock(root, ".", "prefix")
    assert lock(root, "src/a.py")["granted"]


def test_a_scope_held_already_is_renewed_without_a_git_object(root: Actor, clock: SteeredClock) -> None:
    first = lock(root, "a", ttl_seconds=100)
    clock.advance(60)
    before = commits(root)
    again = lock(root, "a", ttl_seconds=100)
    assert (again["lock"]["id"], again["fence"]) == (first["lock"]["id"], first["fence"])
    assert again["lock"]["seconds_left"] > 90
    assert commits(root) == before
    assert lock(root, "a", ttl_seconds=1)["lock"]["seconds_left"] > 90  # never shortened


def test_a_lapsed_lock_passes_to_another_with_a_greater_number(root: Actor, other: Actor, clock: SteeredClock) -> None:
    mine = lock(root, "a", ttl_seconds=10)["lock"]
    clock.advance(11)
    taken = lock(other, "a")["lock"]
    assert taken["fence"] > mine["fence"]
    with unchanged(root), pytest.raises(StaleFence) as refused:
        root("lock.heartbeat", lock_id=mine["id"])
    assert refused.value.details["holder"]["session_id"] == other.session
    assert refused.value.details["current"] == taken["fence"]
    with unchanged(root), pytest.raises(StaleFence):
        root("lock.release", lock_id=mine["id"])


def test_a_lapsed_lock_nobody_took_is_renewed_by_heartbeat(root: Actor, clock: SteeredClock) -> None:
    mine = lock(root, "a", ttl_seconds=10)["lock"]
    clock.advance(11)
    renewed = root("lock.heartbeat", lock_id=mine["id"], ttl_seconds=50)
    assert renewed["lock"]["fence"] == mine["fence"]
    assert 48 <= renewed["seconds_left"] <= 50


def test_a_lapsed_lock_asked_for_again_gets_a_new_number(root: Actor, clock: SteeredClock) -> None:
    mine = lock(root, "a", ttl_seconds=10)
    clock.advance(11)
    assert lock(root, "a")["fence"] == mine["fence"] + 1


def test_a_heartbeat_keeps_others_away(root: Actor, other: Actor, clock: SteeredClock) -> None:
    mine = lock(root, "a", ttl_seconds=10)["lock"]
    clock.advance(8)
    root("lock.heartbeat", lock_id=mine["id"], ttl_seconds=10)
    clock.advance(8)
    with unchanged(root), pytest.raises(LockHeld):
        lock(other, "a")


def test_a_wrong_fence_is_refused(root: Actor) -> None:
    mine = lock(root, "a")["lock"]
    for method in ("lock.heartbeat", "lock.release"):
        with unchanged(root), pytest.raises(StaleFence) as refused:
            root(method, lock_id=mine["id"], fence=mine["fence"] + 7)
        assert refused.value.details["current"] == mine["fence"]


def test_release_frees_the_scope_and_repeats_its_answer(root: Actor, other: Actor) -> None:
    mine = lock(root, "a")["lock"]
    assert root("lock.release", lock_id=mine["id"])["lock"]["state"] == "released"
    with unchanged(root):
        assert root("lock.release", lock_id=mine["id"], fence=mine["fence"])["lock"]["state"] == "released"
    with unchanged(root), pytest.raises(WrongState):
        root("lock.heartbeat", lock_id=mine["id"])
    assert lock(other, "a")["fence"] > mine["fence"]


def test_a_lock_of_another_session_is_neither_renewed_nor_released(root: Actor, other: Actor) -> None:
    mine = lock(root, "a")["lock"]
    for method in ("lock.heartbeat", "lock.release"):
        with unchanged(root), pytest.raises(Forbidden):
            other(method, lock_id=mine["id"])


def test_an_operator_releases_for_the_session(root: Actor, operator: Actor) -> None:
    mine = lock(root, "a")["lock"]
    assert operator("lock.release", lock_id=mine["id"])["lock"]["state"] == "released"


def test_what_a_closed_session_held_is_free_at_once(root: Actor, other: Actor) -> None:
    lock(root, "a")
    root("session.close", session_id=root.session)
    assert lock(other, "a")["granted"]
    with unchanged(other), pytest.raises(WrongState):
        lock(root, "b", owner_session=root.session)


def test_an_unknown_lock_is_refused(root: Actor) -> None:
    with unchanged(root), pytest.raises(NotFound):
        root("lock.release", lock_id="lock-0000000000")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"scope_type": "file"},
        {"scope_path": "a"},
        {"scope_type": "file", "scope_path": "."},
        {"scope_type": "file", "scope_path": "../a"},
        {"scope_type": "file", "scope_path": "/etc/passwd"},
        {"scope_type": "file", "scope_path": ".git/config"},
        {"scope_type": "folder", "scope_path": "a"},
        {"scope_type": "file", "scope_path": "a", "scopes": [{"scope_type": "file", "scope_path": "b"}]},
        {"scopes": [{"scope_type": "file", "scope_path": f"f{n}"} for n in range(65)]},
        {"scope_type": "file", "scope_path": "a", "ttl_seconds": 0},
        {"scope_type": "file", "scope_path": "a", "ttl_seconds": 86401},
        {"scope_type": "file", "scope_path": "a", "wait_seconds": -1},
        {"scope_type": "file", "scope_path": "a", "wait_seconds": True},
    ],
)
def test_a_malformed_wish_is_refused(root: Actor, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("lock.acquire", **given)


def test_the_list_shows_holders_and_skips_what_is_over(root: Actor, other: Actor, clock: SteeredClock) -> None:
    lock(root, "src", "prefix", ttl_seconds=600)
    lock(other, "docs/a b ä.md", ttl_seconds=10)
    items = root("lock.list")["items"]
    assert [one["scope_path"] for one in items] == ["src", "docs/a b ä.md"]
    assert items[0]["holder"]["liveness"] == "live"
    assert items[1]["holder"]["session_id"] == other.session
    near = root("lock.list", overlaps={"scope_type": "file", "scope_path": "src/x"})["items"]
    assert [one["scope_path"] for one in near] == ["src"]
    assert [one["scope_path"] for one in root("lock.list", session_id=other.session)["items"]] == ["docs/a b ä.md"]
    clock.advance(11)
    assert root("lock.list")["count"] == 1


def test_the_list_has_pages(root: Actor) -> None:
    root("lock.acquire", scopes=[{"scope_type": "file", "scope_path": f"f{n}"} for n in range(5)])
    first = root("lock.list", limit=3)
    rest = root("lock.list", limit=3, cursor=first["next_cursor"])
    ids = [one["id"] for one in first["items"] + rest["items"]]
    assert len(set(ids)) == 5
    assert "next_cursor" not in rest


def test_claims_are_listed_from_their_cases(root: Actor) -> None:
    case = root.case("one")
    root("case.begin", case_id=case)
    (claim,) = root("lock.list", domain="claims")["items"]
    assert claim["case_id"] == case
    assert root("lock.list")["count"] == 0
    assert root("lock.list", domain="all")["count"] == 1


def test_fences_grow_over_release_lapse_and_restart(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock, repo: Path
) -> None:
    seen = []
    for _ in range(3):
        got = lock(root, "a", ttl_seconds=5)
        seen.append(got["fence"])
        root("lock.release", lock_id=got["lock"]["id"])
    seen.append(lock(root, "a", ttl_seconds=5)["fence"])
    clock.advance(6)
    fresh = actor(folder=repo)
    fresh.open(user_request="later")
    seen.append(lock(fresh, "a")["fence"])
    assert seen == sorted(set(seen))


def test_tombstones_are_kept_but_not_forever(root: Actor) -> None:
    for number in range(60):
        got = lock(root, f"f{number}")
        root("lock.release", lock_id=got["lock"]["id"])
    tx = root.world.store.read()
    from codestrator.records import Lease

    assert len(list(tx.rows(Lease))) <= 51


def test_a_child_renews_and_releases_only_its_own_and_the_root_releases_all(
    root: Actor, actor: Callable[..., Actor], repo: Path
) -> None:
    child = make_child(root, actor, repo, "thr-0000000001")
    sibling = make_child(root, actor, repo, "thr-0000000002")
    held = lock(child, "src", "prefix")["lock"]
    assert held["thread_id"] == child.thread
    for method in ("lock.heartbeat", "lock.release"):
        with unchanged(root), pytest.raises(Forbidden):
            sibling(method, lock_id=held["id"])
    assert lock(sibling, "src/a")["granted"]  # one session: no conflict
    assert child("lock.heartbeat", lock_id=held["id"], fence=held["fence"])["seconds_left"] > 590
    assert root("lock.release", lock_id=held["id"])["lock"]["state"] == "released"


def test_a_child_may_not_lock_for_another_session(
    root: Actor, other: Actor, actor: Callable[..., Actor], repo: Path
) -> None:
    child = make_child(root, actor, repo, "thr-0000000001")
    with unchanged(root), pytest.raises(Forbidden):
        lock(child, "a", owner_session=other.session)


def test_a_keyed_lock_is_granted_once(root: Actor) -> None:
    first = lock(root, "a", idempotency_key="k")
    root("lock.release", lock_id=first["lock"]["id"])
    again = lock(root, "a", idempotency_key="k")
    assert (again["fence"], again["repeated"]) == (first["fence"], True)
    assert root("lock.list")["count"] == 0


def test_a_lock_outlives_its_process_until_its_time(root: Actor, other: Actor, clock: SteeredClock) -> None:
    lock(root, "a", ttl_seconds=100)
    root.close()
    with unchanged(other), pytest.raises(LockHeld):
        lock(other, "a")
    clock.advance(101)
    assert lock(other, "a")["granted"]


def test_the_clock_of_the_wall_ends_no_lock(root: Actor, other: Actor, clock: SteeredClock) -> None:
    held = lock(root, "a", ttl_seconds=100)["lock"]
    jumped = clock.now()
    clock.now = lambda: type(jumped)(jumped.at + timedelta(days=1), jumped.boot_ms, jumped.boot_id)  # type: ignore[method-assign]
    with unchanged(root), pytest.raises(LockHeld) as refused:
        lock(other, "a")
    assert refused.value.details["holders"][0]["lock_id"] == held["id"]
