"""Packing our own objects, and remembering recent tips."""

import fcntl
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.errors import UnreadableState
from codestrator.ports import Git
from codestrator.records import Task
from codestrator.store.configuration import open_repository
from codestrator.store.packs import Packs
from codestrator.store.store import Store
from codestrator.store.upkeep import MOST_PACKS, Upkeep
from tests.store.kit import (
    LOCKS,
    STATE,
    at_every_file,
    die_in,
    git,
    loose,
    program,
    put,
    raise_priority,
    store_of,
    task,
)


def packs(repo: Path) -> list[str]:
    return sorted(one.stem for one in (repo / ".git" / "objects" / "pack").glob("*.idx"))


def ours(repo: Path) -> set[str]:
    """All objects of the two refs."""
    return {line.split(" ")[0] for line in git(repo, "rev-list", "--objects", STATE, LOCKS).splitlines()}


def contents(repo: Path) -> list[str]:
    store = store_of(repo)
    try:
        return sorted(f"{one.id} {one.priority}" for one in store.read().all(Task))
    finally:
        store.close()


def test_packing_leaves_no_loose_object_of_ours_and_every_document_readable(repo: Path, store: Store) -> None:
    plan = [task(f"Task {number}") for number in range(30)]
    put(store, *plan)
    for one in plan[:5]:
        raise_priority(store, one.id)
    assert ours(repo) <= loose(repo)
    before = contents(repo)

    store.maintain()

    assert not ours(repo) & loose(repo)
    assert contents(repo) == before
    assert len(list(store.journal())) == 7
    git(repo, "fsck", "--strict")


def test_packing_leaves_the_users_objects_as_they_are(repo: Path, store: Store) -> None:
    put(store, task())
    git(repo, "hash-object", "-w", "--stdin", stdin=b"nobody points here")
    users = loose(repo) - ours(repo)
    assert len(users) == 4

    store.maintain()

    assert loose(repo) == users
    inside = git(repo, "verify-pack", "-v", *[f".git/objects/pack/{one}.idx" for one in packs(repo)])
    assert not any(oid in inside for oid in users)


def test_a_rescued_snapshot_stays_loose_because_its_content_is_the_users(repo: Path, store: Store) -> None:
    git(repo, "update-ref", "refs/codestrator/rescue/wt-0000000000/snap-0000000000", "main")
    put(store, task())
    rescued = set(git(repo, "rev-list", "--objects", "--no-object-names", "main").splitlines())

    store.maintain()

    assert rescued <= loose(repo)


def test_notes_are_packed_too(repo: Path, store: Store) -> None:
    git(repo, "notes", "--ref=codestrator", "add", "-m", '{"id":"cp-0000000000"}', "main")
    note = git(repo, "rev-parse", "refs/notes/codestrator")
    store.maintain()
    assert note not in loose(repo)
    assert git(repo, "notes", "--ref=codestrator", "show", "main") == '{"id":"cp-0000000000"}'


def test_an_open_store_reads_what_another_process_packed(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    fresh = store_of(repo)
    assert fresh.initialised
    store.maintain()
    assert fresh.read().require(Task, one.id).title == "Login"
    raise_priority(fresh, one.id)
    assert store.read().require(Task, one.id).priority == 1


def test_packing_twice_makes_one_pack(repo: Path, store: Store) -> None:
    put(store, task())
    store.maintain()
    first = packs(repo)
    store.maintain()
    assert packs(repo) == first and len(first) == 1


def test_only_one_process_packs_at_once(repo: Path, store: Store) -> None:
    put(store, task())
    handle = os.open(repo / ".git" / "codestrator" / "packing.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert store.upkeep.maintain() is False
        assert not packs(repo)
    finally:
        os.close(handle)
    assert store.upkeep.maintain() is True
    assert packs(repo)


def test_our_packs_stay_few_and_lose_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    most = 0
    for _ in range(3 * MOST_PACKS):
        raise_priority(store, one.id)
        store.maintain()
        most = max(most, len(packs(repo)))
    assert most <= MOST_PACKS
    assert contents(repo) == [f"{one.id} {3 * MOST_PACKS}"]
    assert not ours(repo) & loose(repo)
    git(repo, "fsck", "--strict")


def test_a_pack_of_the_user_is_never_merged(repo: Path, store: Store) -> None:
    git(repo, "repack", "-q", "-ad")
    (users,) = packs(repo)
    one = task()
    put(store, one)
    for _ in range(MOST_PACKS + 2):
        raise_priority(store, one.id)
        store.maintain()
    assert users in packs(repo)


def test_a_pack_that_somebody_marked_to_keep_is_kept(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    store.maintain()
    (kept,) = packs(repo)
    (repo / ".git" / "objects" / "pack" / f"{kept}.keep").touch()
    for _ in range(MOST_PACKS + 2):
        raise_priority(store, one.id)
        store.maintain()
    assert kept in packs(repo)


def test_packs_that_git_indexed_together_are_not_merged(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    store.maintain()
    git(repo, "multi-pack-index", "write")
    for _ in range(MOST_PACKS + 2):
        raise_priority(store, one.id)
        store.maintain()
    assert len(packs(repo)) > MOST_PACKS
    git(repo, "fsck", "--strict")


@pytest.mark.parametrize("act", [["gc", "--quiet"], ["gc", "--quiet", "--prune=now"], ["repack", "-qad"]])
def test_git_may_take_over_our_packs(repo: Path, store: Store, act: list[str]) -> None:
    one = task()
    put(store, one)
    store.maintain()
    git(repo, *act)
    raise_priority(store, one.id)
    store.maintain()
    git(repo, *act)
    assert contents(repo) == [f"{one.id} 1"]
    raise_priority(store, one.id)
    git(repo, "fsck", "--strict")


def test_packing_starts_by_itself_when_it_is_due(repo: Path, store: Store) -> None:
    store.upkeep = Upkeep(repo / ".git", open_repository, lambda: program(repo), due_objects=50)
    one = task()
    put(store, one)
    most = 0
    for _ in range(60):
        raise_priority(store, one.id)
        most = max(most, len(loose(repo)))
    store.close()
    assert packs(repo)
    assert most < 300
    assert store.upkeep.problem is None


def test_a_large_mutation_makes_packing_due_at_once(repo: Path, store: Store) -> None:
    put(store, *[task(f"Task {number}") for number in range(600)])
    store.close()
    assert packs(repo)
    assert len(loose(repo)) < 600


def test_nothing_is_started_when_nothing_is_due(repo: Path, store: Store) -> None:
    before = threading.active_count()
    begun = time.perf_counter()
    for _ in range(10_000):
        store.upkeep.after({STATE: 3, LOCKS: 1})
    taken = time.perf_counter() - begun
    assert threading.active_count() == before
    assert not packs(repo)
    assert taken / 10_000 < 0.000_1


def test_a_short_process_ends_the_packing_that_it_began(repo: Path, store: Store) -> None:
    source = (
        "import sys\nfrom pathlib import Path\nfrom tests.store.kit import *\n"
        "store = store_of(Path(sys.argv[1]))\nput(store, *[task() for _ in range(600)])\nstore.close()\n"
    )
    subprocess.run([sys.executable, "-c", source, str(repo)], check=True, cwd=Path(__file__).parents[2])
    assert packs(repo)
    assert not (repo / ".git" / "codestrator" / "packing").exists()


def test_a_kill_at_any_step_of_packing_loses_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    users = loose(repo) - ours(repo)
    for number in itertools.count():
        raise_priority(store, one.id)
        store.close()
        killed = die_in(lambda: store_of(repo).maintain(), at_every_file, number)
        assert contents(repo) == [f"{one.id} {number + 1}"]
        assert users <= loose(repo)
        git(repo, "fsck", "--connectivity-only")
        store.maintain()
        if not killed:
            break
    assert number > 20
    assert not ours(repo) & loose(repo)
    assert not list((repo / ".git" / "codestrator").glob("packing/*"))
    git(repo, "fsck", "--strict")


@pytest.mark.slow
def test_a_kill_at_any_step_of_merging_packs_loses_nothing(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    written = 0
    for number in itertools.count():
        while len(packs(repo)) < MOST_PACKS:
            raise_priority(store, one.id)
            store.maintain()
            written += 1
        raise_priority(store, one.id)
        written += 1
        store.close()
        killed = die_in(lambda: store_of(repo).maintain(), at_every_file, 3 * number)
        assert contents(repo) == [f"{one.id} {written}"]
        git(repo, "fsck", "--connectivity-only")
        store.maintain()
        if not killed:
            break
    assert number > 10
    assert len(packs(repo)) <= MOST_PACKS
    git(repo, "fsck", "--strict")


def test_a_damaged_object_stops_packing_and_is_told(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    blob = git(repo, "rev-parse", f"{STATE}^{{tree}}")
    lost = repo / ".git" / "objects" / blob[:2] / blob[2:]
    lost.unlink()
    kept = loose(repo)
    store.upkeep.after({STATE: 10_000})
    store.close()
    assert store.upkeep.problem and blob in store.upkeep.problem
    assert loose(repo) == kept


def test_packing_damaged_state_names_what_is_missing_and_deletes_nothing(repo: Path, store: Store) -> None:
    put(store, task())
    tree = git(repo, "rev-parse", f"{STATE}^{{tree}}")
    (repo / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    kept = loose(repo)
    with pytest.raises(UnreadableState) as told:
        store.maintain()
    assert tree in told.value.details["document"]
    assert loose(repo) == kept


def test_a_pack_that_git_takes_over_before_we_are_done_costs_no_object(repo: Path, store: Store) -> None:
    class Hurried(Packs):
        def write(self, program: Git, *options: str, stdin: str) -> str | None:
            name = super().write(program, *options, stdin=stdin)
            assert name
            git(repo, "repack", "-qa")
            for suffix in ("idx", "pack"):
                self.path(name, suffix).unlink()
            return name

    one = task()
    put(store, one)
    before = loose(repo)
    store.upkeep._packs = Hurried(repo / ".git")
    store.maintain()
    assert loose(repo) == before
    assert contents(repo) == [f"{one.id} 0"]
    store.upkeep._packs = Packs(repo / ".git")
    store.maintain()
    assert not ours(repo) & loose(repo)


def test_what_a_pack_holds_is_read_from_its_index(repo: Path, store: Store) -> None:
    put(store, task())
    store.maintain()
    (name,) = packs(repo)
    said = git(repo, "verify-pack", "-v", f".git/objects/pack/{name}.idx").splitlines()
    assert {one.hex() for one in Packs(repo / ".git").oids(name)} == {line[:40] for line in said if line[40:41] == " "}


def test_what_the_user_set_for_packs_does_not_split_ours(repo: Path, store: Store) -> None:
    git(repo, "config", "pack.packSizeLimit", "1m")
    put(store, *[task(f"{number:064x}" * 40) for number in range(900)])
    store.maintain()
    assert len(packs(repo)) == 1
    assert not ours(repo) & loose(repo)


def test_what_a_killed_packing_left_loose_goes_with_the_next(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    store.close()
    assert die_in(lambda: store_of(repo).maintain(), at_every_unlink, 3)
    assert packs(repo) and ours(repo) & loose(repo)
    raise_priority(store, one.id)
    store.maintain()
    assert not ours(repo) & loose(repo)
    assert contents(repo) == [f"{one.id} 1"]


def at_every_unlink(tick: Callable[[], None]) -> None:
    sys.addaudithook(lambda event, _: tick() if event == "os.remove" else None)
