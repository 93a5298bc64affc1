"""Many writers at once, writers that are killed, locks that were left behind, and git at work beside them."""

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from codestrator.clock import Clock
from codestrator.errors import Busy, CodestratorError, External
from codestrator.ports import Move
from codestrator.records import KINDS, Fence, Task
from codestrator.store.store import Store
from codestrator.store.transaction import Transaction
from tests.store.kit import (
    LOCKS,
    MACHINE,
    STATE,
    age_locks,
    at_every_call,
    die_in,
    git,
    opened,
    outcomes,
    program,
    put,
    raise_priority,
    stamp,
    store_of,
    task,
    together,
)

WRITERS = 8


class Ungated(Store):
    """A store whose gate is never got: the compare-and-swap alone decides."""

    def gate(self) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(False)


def priority(repo: Path, task_id: str) -> int:
    store = store_of(repo)
    try:
        return store.read().require(Task, task_id).priority
    finally:
        store.close()


# killed writers


def test_a_kill_between_any_two_steps_of_a_mutation_leaves_all_or_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    store.close()
    before = 0
    locks_left = 0
    for number in itertools.count():
        killed = die_in(lambda: raise_priority(store_of(repo), one.id), at_every_call, number)
        after = priority(repo, one.id)
        assert after - before in ((0, 1) if killed else (1,))
        locks_left += len(age_locks(repo))
        with opened(repo) as later:
            raise_priority(later, one.id)
        before = priority(repo, one.id)
        assert before == after + 1
        if not killed:
            break
    assert number > 50
    assert locks_left > 0, "no kill fell between lock and move, so nothing was proved of that"
    assert not list((repo / ".git" / "refs").rglob("*.lock*"))
    with opened(repo) as last:
        assert len(list(last.journal())) == before + 2
    git(repo, "fsck", "--strict")


def test_a_kill_at_any_step_of_initialising_leaves_it_to_be_done_again(repo: Path) -> None:
    locks_left = 0
    for number in itertools.count():
        killed = die_in(lambda: store_of(repo).initialise(), at_every_call, number)
        locks_left += len(age_locks(repo))
        store = store_of(repo)
        store.initialise()
        assert store.initialised
        put(store, task())
        if not killed:
            break
        for ref in (STATE, LOCKS):
            git(repo, "update-ref", "-d", ref)
        (repo / ".git" / "codestrator" / "tips").unlink()
    assert number > 20
    assert locks_left > 0


def test_a_locked_ref_makes_initialising_busy_and_not_half_done(repo: Path) -> None:
    store = store_of(repo, patience_seconds=0.05)
    lock = repo / ".git" / f"{LOCKS}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(Busy):
        store.initialise()
    assert not store.initialised
    lock.unlink()
    assert store.initialise()
    assert store.initialised


def both(store: Store, task_id: str) -> None:
    """Move state and lock book together, as a transfer does."""

    def act(tx: Transaction) -> None:
        fence = tx.get(Fence, "fence")
        tx.put(Fence(id="fence", value=fence.value + 1 if fence else 1))
        tx.put(tx.require(Task, task_id).but(priority=tx.db_version))

    store.transact(act, stamp=stamp("session.attach"))


def test_a_kill_between_two_refs_leaves_a_prefix_of_the_order(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    both(store, one.id)
    store.close()
    seen = set()
    for number in itertools.count():
        old = (git(repo, "rev-parse", STATE), git(repo, "rev-parse", LOCKS))
        killed = die_in(lambda: both(store_of(repo), one.id), at_every_call, number)
        new = (git(repo, "rev-parse", STATE), git(repo, "rev-parse", LOCKS))
        seen.add((old[0] != new[0], old[1] != new[1]))
        age_locks(repo)
        with opened(repo) as later:
            both(later, one.id)
        if not killed:
            break
    assert seen == {(False, False), (True, False), (True, True)}
    git(repo, "fsck", "--strict")


def test_a_stopped_holder_of_the_gate_does_not_stop_the_others(repo: Path, store: Store) -> None:
    source = (
        "store = store_of(Path(sys.argv[1]))\nwith store.gate():\n    print('in', flush=True)\n    signal.pause()\n"
    )
    (holder,) = together(1, source, str(repo))
    try:
        assert holder.stdout and holder.stdout.readline() == "in\n"
        holder.send_signal(signal.SIGSTOP)
        patient = store_of(repo, gate_seconds=0.1)
        with patient.gate() as held:
            assert held is False
        one = task()
        put(patient, one)
        assert priority(repo, one.id) == 0
    finally:
        holder.kill()
        holder.communicate()


def test_an_act_that_needs_the_gate_alone_is_told_when_it_has_it_not(repo: Path, store: Store) -> None:
    patient = store_of(repo, gate_seconds=0.05)
    with store.gate():
        refused: list[CodestratorError] = []

        def rival() -> None:
            with pytest.raises(Busy) as told:
                patient.transact(lambda tx: tx.must_still_be_gated(), stamp=stamp())
            refused.append(told.value)

        thread = threading.Thread(target=rival)
        thread.start()
        thread.join()
    assert refused[0].retryable
    patient.transact(lambda tx: tx.must_still_be_gated(), stamp=stamp())


# locks left behind


def test_a_lock_file_that_a_killed_writer_left_is_put_aside(repo: Path, store: Store) -> None:
    for ref in (STATE, LOCKS):
        (repo / ".git" / f"{ref}.lock").touch()
    age_locks(repo, 3)
    put(store, task(), Fence(id="fence", value=1))
    assert not list((repo / ".git" / "refs").rglob("*.lock*"))
    assert git(repo, "for-each-ref", "--format=%(refname)", "refs/codestrator") == f"{LOCKS}\n{STATE}"


def test_a_lock_file_of_a_living_writer_is_left_alone(repo: Path) -> None:
    store = store_of(repo, patience_seconds=0.3)
    store.initialise()
    lock = repo / ".git" / f"{STATE}.lock"
    lock.touch()
    with pytest.raises(Busy):
        put(store, task())
    assert lock.exists()


def test_a_lock_file_on_a_ref_of_the_user_is_left_alone_however_old(repo: Path) -> None:
    store = store_of(repo, patience_seconds=0.3)
    store.initialise()
    lock = repo / ".git" / "refs" / "heads" / "main.lock"
    lock.touch()
    age_locks(repo, 3600)
    tip = git(repo, "rev-parse", "main")

    def act(tx: Transaction) -> None:
        tx.put(task())
        tx.also_move(Move("refs/heads/main", tip, tip))

    with pytest.raises(Busy):
        store.transact(act, stamp=stamp())
    assert lock.exists()
    assert not store.refs.break_stale("refs/heads/main")
    assert list(store.read().rows(Task)) == []


# many writers

WRITE = """
store = store_of(Path(sys.argv[1]))
for _ in range(int(sys.argv[3])):
    raise_priority(store, sys.argv[2])
store.close()
"""


def test_no_write_of_two_processes_is_lost(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    outcomes(list(together(2, WRITE, str(repo), one.id, "40")))
    assert priority(repo, one.id) == 80
    assert len(list(store.journal())) == 82


def test_threads_of_one_process_lose_no_write_either(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)

    def write() -> None:
        for _ in range(10):
            raise_priority(store, one.id)

    crowd = [threading.Thread(target=write) for _ in range(6)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert priority(repo, one.id) == 60


def test_without_the_gate_the_compare_and_swap_alone_loses_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)

    def write() -> None:
        mine = Ungated(repo / ".git", KINDS, Clock(), lambda: program(repo), machine=MACHINE, patience_seconds=60)
        for _ in range(15):
            raise_priority(mine, one.id)

    crowd = [threading.Thread(target=write) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert priority(repo, one.id) == 60


def test_eight_processes_that_initialise_at_once_make_one_state(repo: Path) -> None:
    source = (
        "store = store_of(Path(sys.argv[1]))\nmade = store.initialise()\n"
        "put(store, task(sys.argv[2]))\nprint(made)\nstore.close()\n"
    )
    outcomes(list(together(WRITERS, source, str(repo))))
    found = store_of(repo).read().all(Task)
    assert sorted(one.title for one in found) == [str(number) for number in range(WRITERS)]
    assert git(repo, "rev-list", "--max-parents=0", "--count", STATE) == "1"


@contextlib.contextmanager
def beside(repo: Path, *commands: list[str]) -> Iterator[list[int]]:
    """Run git commands over and over in a thread each; the rounds that each made."""
    over, rounds = threading.Event(), [0] * len(commands)

    def loop(number: int, command: list[str]) -> None:
        while not over.is_set():
            subprocess.run(["git", *command], cwd=repo, capture_output=True, check=False)
            rounds[number] += 1

    crowd = [threading.Thread(target=loop, args=one) for one in enumerate(commands)]
    for thread in crowd:
        thread.start()
    try:
        yield rounds
    finally:
        over.set()
        for thread in crowd:
            thread.join()


@pytest.mark.slow
def test_eight_writers_beside_gc_pack_refs_and_a_committing_user_lose_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    for name in range(20):
        git(repo, "branch", f"mine/{name}")
    commands = (["gc", "--quiet"], ["pack-refs", "--all"], ["commit", "-q", "--allow-empty", "-m", "work"])
    with beside(repo, *commands) as rounds:
        outcomes(list(together(WRITERS, WRITE, str(repo), one.id, "60")), 110)
    assert min(rounds) > 1
    assert priority(repo, one.id) == 60 * WRITERS
    assert len(git(repo, "branch", "--list", "mine/*").split()) == 20
    assert len(list(store.journal())) == 60 * WRITERS + 2
    store.maintain()
    git(repo, "fsck", "--strict", "--no-dangling")


@pytest.mark.slow
def test_packing_beside_repack_and_writers_loses_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    source = (
        "store = store_of(Path(sys.argv[1]))\nfor number in range(120):\n"
        "    raise_priority(store, sys.argv[2])\n    number % 10 or store.maintain()\nstore.close()\n"
    )
    with beside(repo, ["repack", "-qad"], ["gc", "--quiet", "--prune=2.weeks.ago"]) as rounds:
        outcomes(list(together(4, source, str(repo), one.id)), 110)
    assert min(rounds) > 1
    assert priority(repo, one.id) == 480
    git(repo, "fsck", "--strict", "--no-dangling")


@pytest.mark.slow
def test_writers_that_are_killed_again_and_again_never_stop_the_others(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    forever = "store = store_of(Path(sys.argv[1]))\nwhile True:\n    raise_priority(store, sys.argv[2])\n"
    steady = list(together(2, WRITE, str(repo), one.id, "60"))
    kills = 0
    while any(process.poll() is None for process in steady) and kills < 40:
        (victim,) = together(1, forever, str(repo), one.id)
        with contextlib.suppress(subprocess.TimeoutExpired):
            victim.wait(0.4 + kills % 7 / 50)
        victim.kill()
        victim.communicate()
        kills += 1
    outcomes(steady)
    assert kills
    age_locks(repo)
    raise_priority(store, one.id)
    assert len(list(store.journal())) == priority(repo, one.id) + 2
    git(repo, "fsck", "--strict", "--no-dangling")


# a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_and_leaves_everything_readable(small_disk: Path) -> None:
    git(small_disk, "init", "-q")
    store = store_of(small_disk)
    store.initialise()
    one = task()
    put(store, one)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    before = git(small_disk, "for-each-ref")
    begun = time.monotonic()
    with pytest.raises(External) as told:
        put(store, *[task(f"Task {number}") for number in range(100)])
    assert "space" in str(told.value)
    assert time.monotonic() - begun < 5
    with contextlib.suppress(OSError, CodestratorError):
        store.maintain()
    assert git(small_disk, "for-each-ref") == before
    assert [found.id for found in store_of(small_disk).read().all(Task)] == [one.id]
    assert not list((small_disk / ".git" / "refs").rglob("*.lock"))

    ballast.unlink()
    raise_priority(store, one.id)
    store.maintain()
    assert priority(small_disk, one.id) == 1
    git(small_disk, "fsck", "--strict")
