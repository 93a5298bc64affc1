"""What hosts, networks, strangers and the user's own git do to a sync: nothing is lost, and it goes on."""

import signal

import pytest

from codestrator.clock import Clock
from codestrator.errors import Offline
from codestrator.records import Task
from tests.actors import SteeredClock, unchanged
from tests.conftest import ended
from tests.http_host import LOOK, PUSH, Fault, HttpHost
from tests.machines import STATE, Held, Joins, Machine, in_step, told
from tests.remotes import Serve
from tests.world.desk import until

SYNCS = 'print(json.dumps(call("sync.run")))'


def http(serve: Serve) -> HttpHost:
    host = serve("http")
    assert isinstance(host, HttpHost)
    return host


def draft(machine: Machine, text: str) -> None:
    (machine.path / "draft.txt").write_text(text, encoding="utf-8")
    machine("work.checkpoint", summary=text)


def alike(*machines: Machine) -> None:
    """After each synced, all have the same, and the host has it too."""
    in_step(*machines)
    assert len({each.digest() for each in machines}) == 1
    assert all(set(each.sync().values()) == {"up_to_date"} for each in machines)


@pytest.mark.parametrize("fault", ["drop", "vanish"])
@pytest.mark.parametrize("behind", [False, True], ids=["ahead", "both moved"])
def test_an_answer_that_got_lost_is_settled_by_looking(
    serve: Serve, machine: Joins, fault: Fault, behind: bool
) -> None:
    host = http(serve)
    one, two = machine(host), machine(host)
    in_step(one, two)
    if behind:
        one.epic("One's")
        one.sync()
    two.epic("Two's")
    host.fail(fault, times=2 if fault == "vanish" else 1)  # curl asks again where not a byte came back
    assert two.sync()[STATE] == ("merged" if behind else "pushed")
    assert host.refs()[STATE] == two.tip(STATE)
    host.heal()
    alike(one, two)
    assert one.titles() == ({"One's", "Two's"} if behind else {"Two's"})


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_a_push_that_did_not_arrive_is_made_again(serve: Serve, machine: Joins, fault: Fault) -> None:
    host = http(serve)
    one = machine(host)
    one.sync()
    one.epic()
    host.fail(fault, times=2 if fault == "cut" else 1)
    answer = one("sync.run")
    assert answer["rounds"] == 2 and host.refs()[STATE] == one.tip(STATE)
    assert answer["items"][0] | {"local": "", "remote": ""} == {
        "ref": STATE, "verdict": "pushed", "local": "", "remote": ""
    }  # fmt: skip


def test_a_host_that_died_after_it_took_the_push_has_it_once(serve: Serve, machine: Joins) -> None:
    host = http(serve)
    one, two = machine(host), machine(host)
    in_step(one, two)
    one.epic("One's")
    one.sync()
    two.epic("Two's")
    host.fail("die")
    here = two.tip(STATE)
    with pytest.raises(Offline):
        two.sync(refs=["state"])
    assert two.tip(STATE) == here != host.refs()[STATE]
    host.heal()
    assert two.sync()[STATE] == "fetched"
    alike(one, two)
    assert one.titles() == {"One's", "Two's"}


@pytest.mark.parametrize("at", [LOOK, PUSH])
def test_a_host_that_says_nothing_is_offline_after_the_time_given(serve: Serve, machine: Joins, at: str) -> None:
    host = http(serve)
    one = machine(host)
    one.sync()
    one.epic()
    host.fail("silent", at, times=50)
    with unchanged(one), pytest.raises(Offline) as refused:
        one("sync.run", timeout_seconds=1, refs=["state"], direction="both" if at == LOOK else "push")
    assert refused.value.details["after_seconds"] == 1
    host.heal()
    alike(one)


def test_a_machine_that_wrote_while_its_sync_was_pushing_goes_one_more_round(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    one.epic("One's")
    one.sync()
    two.epic("Two's")
    held = Held(host)
    syncing = two.start(SYNCS)
    until(lambda: held.pushing)
    two.epic("Meanwhile")
    held.go()
    assert '"merged"' in told(syncing)
    assert host.refs()[STATE] == two.tip(STATE)
    alike(one, two)
    assert one.titles() == {"One's", "Two's", "Meanwhile"}


def test_a_sync_that_is_killed_while_it_pushes_leaves_nothing_to_repair(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    one.epic("One's")
    one.sync()
    two.epic("Two's")
    held = Held(host)
    syncing = two.start(SYNCS)
    until(lambda: held.pushing)
    syncing.send_signal(signal.SIGKILL)
    with syncing:
        held.go()
        assert ended(syncing.pid)
    two.epic("After")
    assert two.titles() == {"Two's", "After"}
    alike(one, two)
    assert one.titles() == {"One's", "Two's", "After"}


@pytest.mark.parametrize("how", ["--depth=1", "--single-branch", "--filter=blob:none"])
def test_a_clone_of_less_than_everything_shares_all_of_ours(serve: Serve, machine: Joins, how: str) -> None:
    host = serve()
    one = machine(host)
    one.git("commit", "-q", "--allow-empty", "-m", "second")
    one.git("push", "-q", "origin", "main")
    two = machine(host, how)
    for each in (one, two):
        each.epic(f"{each.id}'s")
        draft(each, each.id)
    alike(one, two)
    assert two.titles() == {f"{one.id}'s", f"{two.id}'s"}
    assert two.world.store.read().damaged == ()
    assert two("rescue.list")["count"] == 2


def test_garbage_collection_while_it_pushes_takes_nothing_away(serve: Serve, machine: Joins) -> None:
    """What is pushed is not local yet, so nothing else would keep it from being taken for garbage."""
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    for each in (one, two):
        each.epic(f"{each.id}'s")
        draft(each, each.id)
        each("lock.acquire", scope_type="file", scope_path=each.id)
    one.sync()
    two.sync(refs=["rescue"])
    held = Held(host)
    syncing = two.start(SYNCS)
    until(lambda: held.pushing)
    two.git("gc", "-q", "--prune=now")
    held.go()
    told(syncing)
    two.git("fsck", "--strict", "--no-dangling")
    alike(one, two)
    assert two.titles() == {f"{one.id}'s", f"{two.id}'s"}


def test_fetch_prune_and_gc_take_nothing_away(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    made = set()
    for number in range(3):
        for each in (one, two):
            made.add(each.epic(f"{number} of {each.id}"))
            draft(each, str(number))
            each.sync()
            each.git("fetch", "-q", "--prune", "origin")
            each.git("gc", "-q", "--prune=now")
        host("gc", "-q", "--prune=now")
    alike(one, two)
    for each in (one, two):
        assert {task.id for task in each.world.store.read().all(Task)} == made
        each.git("fsck", "--strict", "--no-dangling")


@pytest.mark.parametrize("ahead", [3600.0, -3600.0], ids=["the first is ahead", "the first is behind"])
def test_what_was_written_later_wins_whatever_the_clocks_say(serve: Serve, machine: Joins, ahead: float) -> None:
    host, wrong = serve(), SteeredClock()
    wrong.advance(ahead)
    clocks: list[Clock] = [wrong, SteeredClock()]
    one, two = (machine(host, clock=clock) for clock in clocks)
    epic = one.epic("First")
    lock = one("lock.acquire", scope_type="file", scope_path="a")["lock"]["id"]
    alike(one, two)
    two("task.update", task_id=epic, title="Second")
    alike(one, two)
    one("task.update", task_id=epic, title="Third")
    alike(one, two)
    assert one.titles() == two.titles() == {"Third"}
    assert one("lock.heartbeat", lock_id=lock)["lock"]["id"] == lock
