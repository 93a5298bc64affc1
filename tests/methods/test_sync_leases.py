"""Locks of two machines that share by sync alone: honoured from first sight, and of two that overlap one stays."""

import pytest

from codestrator.errors import LockHeld, StaleFence
from tests.actors import SteeredClock
from tests.machines import Joins, Machine
from tests.remotes import Serve


def lock(machine: Machine, path: str, **given: object) -> dict[str, object]:
    found: dict[str, object] = machine("lock.acquire", scope_type="file", scope_path=path, **given)["lock"]
    return found


def test_a_lock_of_another_machine_counts_for_a_tenth_more_than_its_time_from_first_sight(
    serve: Serve, machine: Joins
) -> None:
    host, ahead = serve(), SteeredClock()
    ahead.advance(-3600)  # by the holder's clock, it was granted an hour ago
    one, watch = machine(host, clock=ahead), SteeredClock()
    two = machine(host, clock=watch)
    lock(one, "src/a.py", ttl_seconds=100)
    one.sync()
    two.sync()
    watch.advance(109)
    with pytest.raises(LockHeld):
        lock(two, "src/a.py")
    two.sync()  # seeing it again is not seeing it first
    watch.advance(2)
    assert lock(two, "src/a.py")["session_id"] == two.session


def test_a_lock_of_a_session_that_closed_elsewhere_is_free_after_a_sync(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    lock(one, "src/a.py")
    one.sync()
    two.sync()
    one("session.close", force=True)
    one.sync()
    two.sync()
    assert lock(two, "src/a.py")["session_id"] == two.session


def test_of_two_locks_granted_apart_the_one_with_the_greater_fence_stays(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    early = lock(one, "src/a.py")
    lock(two, "docs/b.md")
    late = lock(two, "src/a.py")
    assert int(str(late["fence"])) > int(str(early["fence"]))
    one.sync()
    two.sync()
    one.sync()
    for machine_ in (one, two):
        held = [one["id"] for one in machine_("lock.list")["items"]]
        assert late["id"] in held and early["id"] not in held
    with pytest.raises(StaleFence) as refused:
        one("lock.heartbeat", lock_id=early["id"])
    assert two.session in str(refused.value.as_dict())
