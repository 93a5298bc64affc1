"""Authority `remote`: what is granted is accepted there first, and alive is what goes on changing there."""

import pytest

from codestrator import registry
from codestrator.errors import Conflict, LockHeld, Offline, StaleFence, Unsupported, WrongState
from tests.actors import SteeredClock
from tests.conftest import git
from tests.http_host import Fault, HttpHost
from tests.machines import LOCKS, STATE, Held, Joins, Machine, clone, join, told
from tests.methods.crew import feature, make
from tests.methods.test_landing import approved
from tests.remotes import KINDS, FileHost, Serve
from tests.world.desk import until


def lock(machine: Machine, path: str = "src/a.py", **given: object) -> dict[str, object]:
    found: dict[str, object] = machine("lock.acquire", scope_type="file", scope_path=path, **given)["lock"]
    return found


def away(machine: Machine) -> None:
    machine.git("remote", "set-url", "origin", str(machine.folder / "nowhere"))


def pair(host: FileHost, machine: Joins) -> tuple[Machine, Machine, SteeredClock, SteeredClock]:
    clocks = SteeredClock(), SteeredClock()
    one, two = (machine(host, clock=clock, authority="remote") for clock in clocks)
    return one, two, *clocks


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_granted_on_one_machine_is_held_on_the_other_at_once(serve: Serve, machine: Joins, kind: str) -> None:
    host = serve(kind)
    one, two, _, _ = pair(host, machine)
    held = lock(one)
    assert host.refs()[LOCKS] == one.tip(LOCKS)
    with pytest.raises(LockHeld) as refused:
        lock(two)
    assert refused.value.details["holders"][0]["session_id"] == one.session
    one("lock.release", lock_id=held["id"])
    assert int(str(lock(two)["fence"])) > int(str(held["fence"]))


def test_a_claim_is_granted_on_the_remote(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two, _, _ = pair(host, machine)
    case = make(one, "case", "Refresh", parent_id=feature(one), steps=["write"])
    one("case.begin", case_id=case)
    two("sync.run")
    with pytest.raises(Conflict):
        two("case.begin", case_id=case)
    with pytest.raises(Conflict):  # and not only once it was told
        make_other = make(two, "case", "Other", parent_id=feature(two, "Logout"))
        two.sync()
        one.sync()
        one("case.begin", case_id=case, reopen=False)
        two("case.begin", case_id=make_other)
        one("case.begin", case_id=make_other)


def test_a_server_without_atomic_push_grants_nothing(serve: Serve, machine: Joins) -> None:
    host = serve(receive_advertiseAtomic="false")
    folder = clone(host.url, host.folder / "by hand")
    git("config", "codestrator.authority", "remote", at=folder)
    with pytest.raises(Unsupported):
        join(folder)
    assert "fence.json" not in git("ls-tree", "--name-only", LOCKS, at=folder)  # nothing was granted, nor agreed


def test_a_clone_that_has_the_remote_decide_is_sound_before_its_first_grant_and_after(
    serve: Serve, machine: Joins
) -> None:
    one = machine(serve())
    one.git("config", "codestrator.authority", "remote")
    again = Machine(one.path)
    again.open()
    for said in ("authority 'remote', from the first grant on", "authority 'remote'"):
        (found,) = again("doctor.check", checks=["authority"])["items"]
        assert (found["severity"], found["finding"]) == ("ok", said)
        again("lock.acquire", scope_type="file", scope_path="a")


def test_without_connection_nothing_new_is_granted_and_nothing_changes(serve: Serve, machine: Joins) -> None:
    one, _, _, _ = pair(serve(), machine)
    before = one.refs()
    away(one)
    with pytest.raises(Offline):
        lock(one)
    assert one.refs() == before


def test_a_holder_that_goes_on_renewing_is_never_taken_for_dead(serve: Serve, machine: Joins) -> None:
    one, two, his, hers = pair(serve(), machine)
    lock(one, ttl_seconds=180)
    two.sync()
    for _ in range(8):
        his.advance(70)
        hers.advance(70)
        registry.reconcile(one.world)
        with pytest.raises(LockHeld):
            lock(two)


def test_a_holder_that_falls_silent_is_over_after_a_tenth_more_than_its_time(serve: Serve, machine: Joins) -> None:
    one, two, _, hers = pair(serve(), machine)
    held = lock(one, ttl_seconds=180)
    two.sync()
    hers.advance(190)
    with pytest.raises(LockHeld):
        lock(two)
    hers.advance(10)
    assert lock(two)["session_id"] == two.session
    one.sync()
    with pytest.raises(StaleFence) as refused:
        one("lock.heartbeat", lock_id=held["id"])
    assert two.session in str(refused.value.as_dict())


def test_a_session_that_fell_silent_is_suspended_for_the_other_and_its_claim_passes(
    serve: Serve, machine: Joins
) -> None:
    one, two, _, hers = pair(serve(), machine)
    case = make(one, "case", "Refresh", parent_id=feature(one), steps=["write"])
    one("case.begin", case_id=case)
    two.sync()
    liveness = {item["session"]["id"]: item["liveness"] for item in two("session.list")["items"]}
    assert liveness[one.session] == "live"
    hers.advance(200)
    assert two("case.begin", case_id=case)["taken_over_from"]
    one.sync()
    with pytest.raises(StaleFence):
        one("step.check", step_id=f"{case}.1", result="pass")


def test_a_holder_without_connection_stops_before_another_may_take_over(serve: Serve, machine: Joins) -> None:
    one, _, his, _ = pair(serve(), machine)
    case = make(one, "case", "Refresh", parent_id=feature(one), steps=["write", "test"])
    one("case.begin", case_id=case)
    away(one)
    his.advance(150)
    one("step.check", step_id=f"{case}.1", result="pass")
    his.advance(15)
    with pytest.raises(Offline):
        one("step.check", step_id=f"{case}.2", result="pass")


def test_clones_that_differ_in_authority_get_no_grant_and_are_told_both(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host, authority="remote")
    held = lock(one)
    two = machine(host)
    two.sync()
    with pytest.raises(Conflict) as refused:
        lock(two, "docs/b.md")
    assert "'remote'" in refused.value.message and "'local'" in refused.value.message
    one("lock.release", lock_id=held["id"])


def test_a_landing_moves_the_target_there_and_here(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two, _, _ = pair(host, machine)
    approved(one)
    found = one("merge.main.land")
    assert host.refs()["refs/heads/main"] == found["merge_commit"] == git("rev-parse", "main", at=one.folder)
    assert host.refs()[STATE] == one.tip(STATE) and host.refs()[LOCKS] == one.tip(LOCKS)
    two.sync()
    assert two("merge.main.status")["items"] == []


def test_a_landing_on_a_target_that_moved_there_is_refused_and_nothing_moves(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two, _, _ = pair(host, machine)
    (two.folder / "other.txt").write_text("two\n", encoding="utf-8")
    two.git("add", ".")
    two.git("commit", "-qm", "pushed by a colleague")
    two.git("push", "-q", "--no-verify", "origin", "main")
    approved(one)
    before, there = git("rev-parse", "main", at=one.folder), host.refs()["refs/heads/main"]
    with pytest.raises(Conflict) as refused:
        one("merge.main.land")
    assert "git pull" in str(refused.value.hint)
    assert git("rev-parse", "main", at=one.folder) == before and host.refs()["refs/heads/main"] == there
    assert git("status", "--porcelain", at=one.folder) == ""


def test_who_lost_the_merge_lock_while_it_slept_cannot_land(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two, _, hers = pair(host, machine)
    approved(one)
    two.sync()
    hers.advance(700)
    approved(two, "b.txt", "two\n")
    two("merge.main.land")
    there = host.refs()["refs/heads/main"]
    with pytest.raises((StaleFence, WrongState, Conflict)):
        one("merge.main.land")
    assert host.refs()["refs/heads/main"] == there


@pytest.mark.parametrize("fault", ["drop", "vanish"])
def test_a_landing_whose_answer_got_lost_is_settled_by_what_the_server_has(
    serve: Serve, machine: Joins, fault: Fault
) -> None:
    """The server took it, or never saw it; either way both sides say the same in the end."""
    host = serve("http")
    assert isinstance(host, HttpHost)
    one = machine(host, authority="remote")
    approved(one)
    host.fail(fault)
    try:
        one("merge.main.land")
    except Offline:
        host.heal()
        one("merge.main.acquire_lock")
        one("merge.main.land")
    landed = one("merge.main.status")["items"] == []
    assert landed and host.refs()["refs/heads/main"] == git("rev-parse", "main", at=one.folder)
    assert git("status", "--porcelain", at=one.folder) == ""


def test_what_is_published_here_while_the_server_is_asked_is_kept(serve: Serve, machine: Joins) -> None:
    host = serve()
    one = machine(host, authority="remote")
    approved(one)
    held = Held(host, only="refs/heads/main")
    lander = one.start('print(call("merge.main.land")["merge_commit"], flush=True)\n')
    until(lambda: held.pushing)
    epic = one.epic("Meanwhile")
    held.go()
    landed = told(lander).strip()
    assert git("rev-parse", "main", at=one.folder) == host.refs()["refs/heads/main"] == landed
    assert git("status", "--porcelain", at=one.folder) == ""
    assert one("task.get", task_id=epic)["task"]["title"] == "Meanwhile"
    assert one("merge.main.status")["items"] == []
