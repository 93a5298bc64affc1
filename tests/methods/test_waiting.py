"""Waiting for locks: in turn, bounded, and told what stood in the way."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import LockHeld, WrongState
from codestrator.records import Waiter
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods.test_locks import lock


class Call(threading.Thread):
    """A call that runs beside the test."""

    def __init__(self, act: Callable[[], dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self.result: dict[str, Any] = {}
        self.error: Exception | None = None
        self._act = act
        self.start()

    def run(self) -> None:
        try:
            self.result = self._act()
        except Exception as error:
            self.error = error

    def done(self) -> dict[str, Any]:
        self.join(30)
        assert not self.is_alive(), "the call did not end"
        if self.error:
            raise self.error
        return self.result


def until_waiting(actor: Actor, number: int) -> None:
    for _ in actor.world.waiting(20):
        if len(actor("lock.list")["waiters"]) >= number:
            return
    raise AssertionError(f"not {number} waiters after 20 s")


def test_who_waits_gets_the_lock_when_it_is_released(root: Actor, other: Actor) -> None:
    held = lock(root, "a")["lock"]
    call = Call(lambda: lock(other, "a", wait_seconds=30))
    until_waiting(root, 1)
    assert root("lock.release", lock_id=held["id"])["next_waiter"]["session_id"] == other.session
    got = call.done()
    assert got["granted"]
    assert got["fence"] > held["fence"]
    assert root("lock.list")["waiters"] == []


def test_waiting_in_vain_is_an_answer_and_leaves_the_line(root: Actor, other: Actor) -> None:
    held = lock(root, "a")["lock"]
    got = lock(other, "a", wait_seconds=1)
    assert (got["granted"], got["timed_out"], got["position"]) == (False, True, 1)
    assert got["blocked_by"][0]["lock_id"] == held["id"]
    assert root("lock.list")["waiters"] == []


def test_an_earlier_waiter_comes_first(root: Actor, other: Actor, actor: Callable[..., Actor], repo: Path) -> None:
    third = actor(folder=repo)
    third.open(user_request="third")
    held = lock(root, "src/a")["lock"]
    call = Call(lambda: lock(other, "src", "prefix", wait_seconds=30))
    until_waiting(root, 1)
    with unchanged(root), pytest.raises(LockHeld) as refused:
        lock(third, "src/b")  # free, but awaited
    assert refused.value.details["holders"][0]["session_id"] == other.session
    assert lock(third, "docs")["granted"]  # what nobody waits for is free
    root("lock.release", lock_id=held["id"])
    assert call.done()["granted"]


def test_a_lapsed_lock_passes_to_who_waits(root: Actor, other: Actor, clock: SteeredClock) -> None:
    lock(root, "a", ttl_seconds=40)
    call = Call(lambda: lock(other, "a", wait_seconds=30))
    until_waiting(root, 1)
    clock.advance(39.5)
    clock.advance(1)
    assert call.done()["granted"]


def test_a_waiter_that_died_stands_in_nobodys_way(root: Actor, other: Actor, clock: SteeredClock) -> None:
    store = other.world.store
    lock(root, "x")
    call = Call(lambda: lock(other, "x", wait_seconds=5))
    until_waiting(root, 1)
    (entry,) = store.read().all(Waiter)
    call.done()
    from codestrator.store.transaction import Stamp

    store.transact(lambda tx: tx.put(entry), stamp=Stamp("lock.acquire x", "op-0000000001", "x", None, None, "x"))
    clock.advance(16)  # its wait and the ten seconds after it
    assert root("lock.list")["waiters"] == []
    assert lock(root, "y")["granted"]
    assert store.read().all(Waiter) == []


def test_a_session_closed_while_it_waits_is_refused_and_leaves_the_line(
    root: Actor, other: Actor, actor: Callable[..., Actor]
) -> None:
    lock(root, "a")
    call = Call(lambda: lock(other, "a", wait_seconds=30))
    until_waiting(root, 1)
    actor("operator", session_id=other.session)("session.close", session_id=other.session)
    with pytest.raises(WrongState):
        call.done()
    assert root.world.store.read().all(Waiter) == []


def test_a_cancelled_wait_ends_and_leaves_the_line(root: Actor, other: Actor) -> None:
    lock(root, "a")
    call = Call(lambda: lock(other, "a", wait_seconds=40))
    until_waiting(root, 1)
    other.world.cancelled.set()
    assert call.done()["granted"] is False
    assert root("lock.list")["waiters"] == []


def test_a_wait_longer_than_a_call_may_last_is_cut(root: Actor) -> None:
    from codestrator.methods.waiting import bounded

    assert bounded(5000) < 50
    assert lock(root, "a", wait_seconds=5000)["granted"]
