"""Sync beside the git commands that it cannot do without, on the same server."""

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.fill import fill
from tests.bench.measure import Row, at_most, count_at_most, repository
from tests.bench.store import toucher
from tests.http_host import HttpHost
from tests.machines import Machine, clone, in_step, join

ROUNDS = 7
CHANGED = 10
DOCUMENTS = 10_000
MACHINES = 8
SYNCS = """
print("ready", flush=True); sys.stdin.readline()
print(call("sync.run")["rounds"], flush=True)
world.close()
"""


def travel(folder: Path) -> list[Row]:
    """With 10 of 10,000 documents changed on each side, and with nothing to do."""
    here, there, hub = repository(folder / "here"), folder / "there", folder / "hub.git"
    fill(here, DOCUMENTS).close()
    _git(folder, "init", "-q", "--bare", str(hub))
    _git(here, "remote", "add", "origin", str(hub))
    _git(here, "config", "codestrator.remote", "origin")
    one = Machine(here)
    one.sync()
    _git(folder, "clone", "-q", str(hub), str(there))
    for name, value in (("user.name", "Bench"), ("user.email", "bench@localhost"), ("codestrator.remote", "origin")):
        _git(there, "config", name, value)
    other = Machine(there)
    other.sync()
    rows = [_both_changed(one, other), _nothing_to_do(one, "a folder"), _push_of_the_user(one)]
    host = HttpHost(folder / "served")
    host.start()
    _git(here, "remote", "set-url", "origin", host.url)
    rows.append(_nothing_to_do(one, "http"))
    host.stop()
    one.close()
    other.close()
    return rows


def _both_changed(one: Machine, other: Machine) -> Row:
    """Fastest of some rounds: our sync of all refs, and a fetch and a push of one ref that has as much to carry."""
    acts = [toucher(machine.world.store) for machine in (one, other)]
    ours, beside = [], []
    for number in range(ROUNDS):
        for act in acts:
            for _ in range(CHANGED):
                act()
        other.sync()
        ours.append(_timed(lambda: one.sync()))
        for act in acts:
            for _ in range(CHANGED):
                act()
        other.sync()
        beside.append(_timed(partial(_fetch_and_push, one, number)))
        one.sync()
    return at_most("sync, 10 of 10,000 changed on both sides / fetch + push of one ref", min(ours), min(beside), 1.5)


def _fetch_and_push(one: Machine, number: int) -> None:
    _git(one.folder, "fetch", "-q", "origin", f"+refs/codestrator/state:refs/bench/{number}")
    _git(one.folder, "push", "-q", "origin", f"refs/codestrator/state:refs/bench/{number}")


def _nothing_to_do(one: Machine, way: str) -> Row:
    one.sync()
    ours, beside = [], []
    for _ in range(ROUNDS * 4):
        ours.append(_timed(lambda: one.sync()))
        beside.append(_timed(lambda: _git(one.folder, "ls-remote", "origin")))
    return at_most(f"sync, nothing to do, over {way} / git ls-remote", min(ours), min(beside), 1.2)


def _push_of_the_user(one: Machine) -> Row:
    """What the pre-push hook adds to a push with nothing to share, beside a shell that does nothing."""
    one.sync()
    hook = one.folder / ".git" / "hooks" / "pre-push"
    hook.write_bytes((Path(__file__).parents[2] / "hooks" / "pre-push").read_bytes())
    hook.chmod(0o755)
    line = f"refs/heads/main {'1' * 40} refs/heads/main {'2' * 40}\n".encode()

    def run(*words: str) -> None:
        subprocess.run(words, cwd=one.folder, input=line, check=True, capture_output=True)

    ours = min(_timed(lambda: run(str(hook), "origin", "url")) for _ in range(100))
    beside = min(_timed(lambda: run("sh", "-c", "true")) for _ in range(100))
    return count_at_most("pre-push with nothing to share, over sh -c true", round(ours - beside, 2), 5, "ms")


def crowd(folder: Path) -> list[Row]:
    """Machines that sync at the same instant: how many rounds, each of one push at most, until the hub has all."""
    first, hub = repository(folder / "first"), folder / "hub.git"
    _git(folder, "init", "-q", "--bare", "-b", "main", str(hub))
    _git(first, "push", "-q", str(hub), "HEAD:refs/heads/main")
    machines = [join(clone(str(hub), folder / f"machine{number}")) for number in range(MACHINES)]
    in_step(*machines)
    for one in machines:
        one.epic(one.id)
    processes = [one.start(SYNCS) for one in machines]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    rounds = 0
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        rounds += int(process.communicate(timeout=60)[0])
    in_step(*machines)
    assert len({one.digest() for one in machines}) == 1
    assert machines[0].titles() == {one.id for one in machines}
    for one in machines:
        one.close()
    return [count_at_most(f"pushes of {MACHINES} machines that sync at once", rounds, 24, "pushes")]


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
