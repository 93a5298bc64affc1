"""Several machines after one session, answers that got lost, and processes that die on the way: one has it, whole."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Offline
from codestrator.methods import deciding, syncing
from codestrator.records import Handoff, Intent, Lease, Session, Task, Worktree
from tests.conftest import git
from tests.http_host import HttpHost
from tests.machines import RESCUE, STATE, Joins, Machine, in_step
from tests.methods.dying import DEEP
from tests.methods.offers import begun, half_done, offered, seen, take
from tests.methods.test_kills import flow_of, killed_at_each_step
from tests.methods.test_worktrees import spawned
from tests.remotes import Serve

AT_ONCE = """
print("ready", flush=True)
sys.stdin.readline()
try:
    found = call(sys.argv[3], **json.loads(sys.argv[4]))
    print(json.dumps({"session": found["session"]["id"], "worktrees": found.get("worktrees")}))
except CodestratorError as error:
    print(json.dumps(error.as_dict()))
"""


def at_once(*calls: tuple[Machine, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each call in a process of its own, all begun at the same instant; what each said."""
    running = [one.start(AT_ONCE, method, json.dumps(given)) for one, method, given in calls]
    return [json.loads(said) for said in together(running)]


def together(running: "list[subprocess.Popen[str]]") -> list[str]:
    for one in running:
        assert one.stdout and one.stdout.readline() == "ready\n", one.communicate()[1]
    for one in running:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60) for one in running]
    assert all(one.returncode == 0 for one in running), [err for _, err in said]
    return [out for out, _ in said]


def whole(one: Machine) -> None:
    """Its worktrees are those that documents speak of, nothing is half made, no branch is left over."""
    tx = one.world.store.read()
    assert [row.id for row in tx.where(Intent, state="planned", machine=one.id)] == []
    here = {
        str(one.folder / place.path): row
        for row in tx.all(Worktree)
        if row.kind != "main" and (place := row.places.get(one.id)) and place.status == "active"
    }
    listed = one.git("worktree", "list", "--porcelain").splitlines()
    assert {line[9:] for line in listed if line.startswith("worktree ")} - {str(one.folder)} == set(here)
    folder = one.folder / ".codestrator" / "worktrees"
    assert {str(place) for place in folder.iterdir() if place.name != ".gitignore"} == set(here)
    branches = set(one.git("for-each-ref", "--format=%(refname:short)", "refs/heads/task").split())
    assert branches == {row.branch for row in here.values()}
    assert {row.session_id for row in tx.all(Lease)} <= {row.id for row in tx.rows(Session)}


@pytest.mark.parametrize("many", [2, 4])
def test_of_several_that_take_at_once_one_has_it(serve: Serve, machine: Joins, many: int) -> None:
    host = serve("http")
    one = machine(host)
    case = begun(one)
    half_done(one.path)
    before = seen(one.path)
    offered(one)
    others = [machine(host) for _ in range(many)]
    for each in others:
        each.close()  # whoever takes it is a process of its own
    said = at_once(*((each, "handoff.take", {"target_session_id": one.session}) for each in others))
    (won,) = (index for index, found in enumerate(said) if "code" not in found)
    winner = said[won]["session"]
    for index, each in enumerate(others):
        again = Machine(each.folder)
        if index == won:
            assert seen(Path(said[won]["worktrees"][0]["path"])) == before
        else:
            assert said[index]["code"] == "conflict" and said[index]["details"]["holder"] == winner
            assert {row.id for row in again.world.store.read().where(Session, machine=again.id)} == {each.session}
        whole(again)
        again.sync()
        tx = again.world.store.read()
        assert tx.require(Session, one.session).handed_to == winner
        claim = tx.require(Task, case).claim
        assert claim and claim.session_id == winner and {row.session_id for row in tx.all(Lease)} == {winner}
        again.close()


def test_of_two_processes_of_one_machine_the_work_comes_once(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    spawned(one, "errand")
    half_done(one.path)
    offered(one)
    two.close()
    said = at_once(*[(two, "handoff.take", {"target_session_id": one.session})] * 3)
    again = Machine(two.folder)
    winners = {found["session"] for found in said if "code" not in found}
    assert len(winners) == 1 and {found.get("code", "conflict") for found in said} == {"conflict"}
    found = take(again, one)
    assert {found["session"]["id"]} == winners
    assert not [item for item in found["worktrees"] if "missing" in item] and seen(again.path) == seen(one.path)
    whole(again)
    again.close()


def test_a_withdrawal_and_a_taking_are_not_both_done(serve: Serve, machine: Joins) -> None:
    host = serve("http")
    one, two = machine(host), machine(host)
    offered(one)
    in_step(two)
    back, taken = at_once(
        (one, "handoff.offer", {"session_id": one.session, "withdraw": True}),
        (two, "handoff.take", {"target_session_id": one.session}),
    )
    assert ("code" in back) != ("code" in taken)
    assert (back if "code" in back else taken)["code"] == "conflict"
    in_step(one, two)
    for each in (one, two):
        tx = each.world.store.read()
        (handoff,) = tx.all(Handoff)
        status = tx.require(Session, one.session).status
        expected = ("handoff_attached", "taken") if "code" in back else ("active_new", "withdrawn")
        assert (status, handoff.state) == expected
        whole(each)


@pytest.mark.parametrize("fault", ["drop", "vanish"])
def test_an_answer_that_got_lost_is_settled_by_what_the_server_has(serve: Serve, machine: Joins, fault: Any) -> None:
    host = serve("http")
    assert isinstance(host, HttpHost)
    one, two = machine(host), machine(host)
    half_done(one.path)
    one("work.checkpoint", summary="all is there before it is offered")
    in_step(one, two)
    host.fail(fault)
    assert offered(one)["session"]["status"] == "offered"
    assert host.pending == 0 and there(host, one.session)["status"] == "offered"
    in_step(two)
    host.fail(fault)
    found = take(two, one)
    assert host.pending == 0 and there(host, one.session)["handed_to"] == found["session"]["id"]
    assert seen(two.path) == seen(one.path)
    whole(two)


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_a_push_that_never_came_changes_nothing(serve: Serve, machine: Joins, fault: Any) -> None:
    host = serve("http")
    assert isinstance(host, HttpHost)
    one, two = machine(host), machine(host)
    offered(one)
    in_step(two)
    before, kept = two.refs(), host.refs()
    host.fail(fault, times=20)
    with pytest.raises(Offline):
        take(two, one)
    host.heal()
    assert host.refs() == kept and two.refs() == before
    whole(two)
    take(two, one)


def test_a_server_that_falls_silent_is_gone_without_by_force(serve: Serve, machine: Joins) -> None:
    host = serve("http")
    assert isinstance(host, HttpHost)
    one, two = machine(host), machine(host)
    half_done(one.path)
    offered(one)
    in_step(two)
    host.fail("cut", times=20)
    found = take(two, one, force=True, reason="the network fails")
    host.heal()
    assert seen(two.path) == seen(one.path) and there(host, one.session)["status"] == "offered"
    in_step(two, one)
    assert there(host, one.session)["handed_to"] == found["session"]["id"] == two.session
    assert one.digest() == two.digest()


def test_what_another_process_here_has_fetched_meanwhile_is_not_overwritten(serve: Serve, machine: Joins) -> None:
    """The lease is on what was last heard of; to hear of more in between must not make it a lease on that."""
    host = serve()
    one, two, three = machine(host), machine(host), machine(host)
    in_step(one, two, three)
    came: list[str] = []

    def act(tx: Any) -> str:
        if not came:
            came.append(three.epic("meanwhile"))
            three.sync()
            one.git("fetch", "-q", "origin", f"+{STATE}:{syncing.tracking('origin', STATE)}")
        tx.put(tx.require(Session, one.session).but(max_children=3))
        return "done"

    assert deciding.decided(flow_of(one), "origin", act, one.session) == "done"
    two.sync()
    assert "meanwhile" in two.titles() and "meanwhile" in one.titles()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_taker_killed_at_any_step_is_finished_by_the_next_call_of_its_machine(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)

    def next_offer() -> dict[str, Any]:
        one.open(user_request="Fix the login timeout")
        half_done(one.path)
        one("lock.acquire", scope_type="file", scope_path=f"{one.session}.txt")
        offered(one)
        return {"target_session_id": one.session}

    killed = 0
    for _ in killed_at_each_step(two, "handoff.take", {"kind": "operator"}, next_offer, deep=DEEP):
        then = there(host, one.session)
        found = two("handoff.take", target_session_id=one.session)
        if then["status"] == "handoff_attached":
            assert found["session"]["id"] == then["handed_to"]
        root = Path(two.folder, found["session_root_worktree"]["path"])
        assert seen(root) == seen(one.path), found["worktrees"]
        whole(two)
        held = two.world.store.read().found(Lease, session_id=found["session"]["id"], state="held")
        assert [lease.scope_path for lease in held] == [f"{one.session}.txt"]
        killed += 1
    assert killed > 15


def there(host: Any, session: str) -> dict[str, Any]:
    """A session's document as the server has it."""
    names = host("ls-tree", "-r", "--name-only", STATE).splitlines()
    place = next(name for name in names if name.endswith(f"/{session}.json"))
    found: dict[str, Any] = json.loads(host("show", f"{STATE}:{place}"))
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_offerer_killed_at_any_step_has_offered_all_or_nothing(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    ways, count = set(), iter(range(100))

    def next_work() -> dict[str, Any]:
        (one.path / "unstaged.txt").write_text(f"{next(count)}\n")
        return {"session_id": one.session}

    seat = {"kind": "operator", "session_id": one.session}
    for _ in killed_at_each_step(one, "handoff.offer", seat, next_work, deep=DEEP):
        two.sync()
        tx = two.world.store.read()
        session = tx.get(Session, one.session)
        ways.add(session.status if session else "unknown")
        if session and session.status == "offered":
            newest = tx.require(Worktree, one.worktree).latest_snapshot_id
            snapshot = host.refs()[f"{RESCUE}{one.worktree}/{newest}"]
            assert host("show", f"{snapshot}:unstaged.txt") == (one.path / "unstaged.txt").read_text().strip()
            assert tx.all(Handoff)
            assert offered(one, withdraw=True)["session"]["status"] == "active_new"
        one.epic("goes on")
        whole(one)
    assert {"active_new", "offered"} <= ways


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_return_that_is_broken_off_is_finished_by_the_next_call(serve: Serve, machine: Joins) -> None:
    """The folder is the one that was left here, its files partly of then and partly of now."""
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    count = iter(range(100))

    def next_return() -> dict[str, Any]:
        offered(one)
        take(two, one)
        (two.path / "unstaged.txt").write_text(f"{next(count)}\n")
        (two.path / f"{next(count)}.txt").write_text("new there\n")
        git("add", f"{next(count) - 1}.txt", at=two.path)
        git("commit", "-qm", "there", at=two.path)
        offered(two)
        return {"target_session_id": two.session}

    killed = 0
    for _ in killed_at_each_step(one, "handoff.take", {"kind": "operator"}, next_return, ("read-tree", "update-ref")):
        take(one, two)
        assert seen(one.path) == seen(two.path)
        whole(one)
        killed += 1
    assert killed == 8
