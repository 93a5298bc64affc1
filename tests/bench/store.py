"""The store: writers side by side, growth, objects a mutation, packing."""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from codestrator.records import Task
from codestrator.store.store import Store
from codestrator.store.transaction import Transaction
from tests.bench.fill import fill, stamp
from tests.bench.measure import Row, at_least, at_most, count_at_most, median_ms, repository

WRITERS = 8
SECONDS = 6.0

# Each worker prints one line a thing done: when, and how long it took, in seconds.
WORKER = """
import os, sys, time
from collections.abc import Callable
from pathlib import Path
kind, folder, seconds, number = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
sys.path.insert(0, os.getcwd())
from tests.bench import work
act = work.act(kind, folder, number)
print("ready", flush=True)
sys.stdin.readline()
end, taken = time.perf_counter() + seconds, []
while time.perf_counter() < end:
    begun = time.perf_counter()
    act()
    taken.append(time.perf_counter() - begun)
print(" ".join(f"{one:.6f}" for one in taken), flush=True)
os._exit(0)
"""


def _crowd(kind: str, folder: Path) -> tuple[float, float, float]:
    """Rate a second, p50 and p99 in ms of eight processes doing one kind of thing."""
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, kind, str(folder), str(SECONDS), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for one in crowd:
        assert one.stdout and one.stdout.readline().strip() == "ready"
    for one in crowd:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    taken = [float(word) * 1000 for one in crowd for word in one.communicate()[0].split()]
    taken.sort()
    return len(taken) / SECONDS, statistics.median(taken), taken[int(len(taken) * 0.99)]


def writers(folder: Path) -> list[Row]:
    """Eight writers on 10,000 documents, beside a lock file that is renamed into place."""
    repo = repository(folder / "repo")
    fill(repo, 10_000).close()
    rates: dict[str, list[tuple[float, float, float]]] = {"rename": [], "swap": [], "mutation": []}
    for _ in range(3):
        for kind, found in rates.items():
            found.append(_crowd(kind, repo))
    limit = statistics.median(one[0] for one in rates["rename"])
    rate = statistics.median(one[0] for one in rates["mutation"])
    spread = statistics.median(one[2] / one[1] for one in rates["mutation"])
    _, middle, tail = sorted(rates["mutation"], key=lambda one: one[2] / one[1])[1]
    return [
        at_least("mutation, 8 writers, 10,000 documents", rate, limit, 0.45),
        at_least("bare swap, 8 writers", statistics.median(one[0] for one in rates["swap"]), limit, 0.75),
        Row("p99 beside p50, 8 writers", f"{tail:.1f} ms", f"{middle:.1f} ms", spread, "<= 3", spread <= 3),
    ]


def scale(folder: Path) -> list[Row]:
    """One mutation at 100,000 documents beside one at 1,000, in turns; each in the fastest of some repositories.

    What a new file costs differs by ten times from folder to folder of one disk.
    """
    sizes = (1_000, 100_000)
    worlds = [(size, fill(repository(folder / f"{size}-{nth}"), size)) for nth in range(3) for size in sizes]
    acts = [(size, toucher(world.store)) for size, world in worlds]
    for _, act in acts:
        act()
    rounds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(20):
        for size, act in acts:
            rounds[size].append(median_ms(act, 60))
    small, large = (min(rounds[size]) for size in sizes)
    for _, world in worlds:
        world.close()
    return [at_most("mutation at 100,000 beside 1,000 documents", large, small, 1.4)]


def toucher(store: Store) -> Callable[[], None]:
    """Change the priority of one task or another."""
    ids = [row.id for row in store.read().rows(Task)]
    dice = random.Random(os.getpid())  # no two processes write the same, which would be writing nothing

    def act() -> None:
        chosen, value = dice.choice(ids), dice.getrandbits(40)

        def touch(tx: Transaction) -> None:
            tx.put(tx.require(Task, chosen).but(priority=value))

        store.transact(touch, stamp=stamp(f"task.update {chosen}"))

    return act


def loose(repo: Path) -> int:
    objects = repo / ".git" / "objects"
    return sum(len(list(place.iterdir())) for place in objects.iterdir() if len(place.name) == 2)


def objects(folder: Path) -> list[Row]:
    """Loose objects that `case.begin` and `step.check` write, and the refs they move."""
    from tests.actors import Actor

    repo = repository(folder / "repo")
    actor = Actor(repo)
    actor("workspace.init")
    actor.open()
    case = actor.case("one", "two")
    rows = []
    for name, given in (("case.begin", {"case_id": case}), ("step.check", _checked(case))):
        before, refs = loose(repo), _tips(repo)
        actor(name, **given)
        rows.append(count_at_most(f"loose objects of {name}", loose(repo) - before, 12))
        moved = sum(refs.get(ref) != tip for ref, tip in _tips(repo).items() if ref != "refs/notes/codestrator")
        rows.append(count_at_most(f"refs moved by {name}", moved, 1))
    actor.close()
    return rows


def _checked(case: str) -> dict[str, object]:
    return {"case_id": case, "step_title": "one", "result": "pass", "evidence": {"command": "true", "exit_status": 0}}


def _tips(repo: Path) -> dict[str, str]:
    listed = subprocess.run(["git", "for-each-ref"], cwd=repo, capture_output=True, text=True, check=True).stdout
    return {line.split("\t")[1]: line.split()[0] for line in listed.splitlines()}


def packing(folder: Path) -> list[Row]:
    """Disk a mutation after packing, and the most loose objects seen on the way."""
    repo = repository(folder / "repo")
    world = fill(repo, 1_000)
    act = toucher(world.store)
    world.store.maintain()
    before, most, mutations = _disk(repo), 0, 5_000
    for number in range(mutations):
        act()
        if number % 50 == 0:
            most = max(most, loose(repo))
    begun = time.perf_counter()
    world.store.maintain()
    taken = time.perf_counter() - begun
    grown = (_disk(repo) - before) / mutations
    world.close()
    os.sync()
    return [
        count_at_most(f"bytes on disk a mutation, packed in {taken:.1f} s", round(grown), 1024, "bytes"),
        count_at_most(f"most loose objects in {mutations} mutations", most, 2_000),
    ]


def _disk(repo: Path) -> int:
    return sum(place.stat().st_blocks * 512 for place in (repo / ".git").rglob("*") if place.is_file())
