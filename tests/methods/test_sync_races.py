"""Machines, and processes of one machine, that sync at the same moment: they come to have the same, and all of it."""

import json
from contextlib import ExitStack
from typing import Any

import pytest

from codestrator.records import Task
from tests.machines import LOCKS, NOTES, STATE, Joins, Machine, in_step, told
from tests.remotes import Serve

# Says when it is ready, so that all begin at once; `argv[3]` is how often it writes and syncs.
SYNCS = """
print("ready", flush=True)
sys.stdin.readline()
found = []
for number in range(int(sys.argv[3])):
    title = f"{number} of {world.settings.machine} {sys.argv[4]}"
    made = call("task.create", level="epic", title=title)["task"]["id"]
    call("work.checkpoint", summary=title)
    found.append({"made": made, "answer": call("sync.run", timeout_seconds=50)})
world.close()
print(json.dumps(found))
"""
DONE = {"pushed", "merged", "fetched", "up_to_date"}


def at_once(*machines: Machine, times: int = 1) -> list[dict[str, Any]]:
    """What each process of each machine made and was answered, all having begun together."""
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(each.start(SYNCS, str(times), str(number))) for number, each in enumerate(machines)
        ]
        for each in crowd:
            assert each.stdout and each.stdout.readline() == "ready\n", told(each)
        for each in crowd:
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        return [one for said in [told(each, 100) for each in crowd] for one in json.loads(said)]


def made_by(machine: Machine) -> set[str]:
    return {task.id for task in machine.world.store.read().all(Task)}


@pytest.mark.parametrize("count", [2, 4, pytest.param(8, marks=pytest.mark.slow)])
def test_machines_that_sync_at_once_have_the_same_afterwards(serve: Serve, machine: Joins, count: int) -> None:
    host = serve(core_logAllRefUpdates="always")
    machines = [machine(host) for _ in range(count)]
    in_step(*machines)
    shared = machines[0].epic("Shared")
    in_step(*machines)
    for number, each in enumerate(machines):
        each("task.update", task_id=shared, priority=number)
        each("lock.acquire", scope_type="file", scope_path=f"src/{number}")
    found = at_once(*machines)
    for one in found:
        assert {item["verdict"] for item in one["answer"]["items"]} <= DONE, one["answer"]
    made = {one["made"] for one in found} | {shared}
    for ref in (STATE, LOCKS, NOTES):  # what was accepted later has all that was accepted before it
        newer, *others = host("log", "-g", "--format=%H", ref).splitlines()
        for older in others:
            host("merge-base", "--is-ancestor", older, newer)
            newer = older
    in_step(*machines)
    assert len({each.digest() for each in machines}) == 1
    for each in machines:
        assert made_by(each) == made and each.tip(STATE) == host.refs()[STATE]
        lines = each.git("notes", "--ref=codestrator", "show", "HEAD").splitlines()
        assert len(lines) == len(set(lines)) == count
        assert each("lock.list", limit=100)["count"] == count


def test_processes_of_one_machine_that_sync_at_once_are_not_in_each_others_way(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    in_step(one, two)
    two.epic("Two's")
    two.sync()
    found = at_once(one, one, one, times=2)
    for each in found:
        assert {item["verdict"] for item in each["answer"]["items"]} <= DONE, each["answer"]
    in_step(one, two)
    assert {each["made"] for each in found} < made_by(one) == made_by(two)
    assert one.digest() == two.digest() and one.tip(NOTES) == host.refs()[NOTES]


@pytest.mark.slow
def test_machines_that_write_and_sync_without_rest_lose_nothing(serve: Serve, machine: Joins) -> None:
    host = serve("daemon")
    machines = [machine(host) for _ in range(3)]
    found = at_once(*machines, times=5)
    in_step(*machines)
    made = {one["made"] for one in found}
    assert len(made) == 15
    assert len({each.digest() for each in machines}) == 1
    for each in machines:
        assert made_by(each) == made
        each.git("fsck", "--strict", "--no-dangling")
