"""Moving a ref of ours by files that stay: what others see of it, and what it never writes into."""

import contextlib
import errno
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from codestrator.errors import Busy
from codestrator.ports import Contention
from codestrator.records import Task
from codestrator.store.reffile import RefFile
from codestrator.store.store import Store
from tests.store.kit import STATE, git, opened, put, raise_priority, store_of, task


def inode(repo: Path) -> int:
    return (repo / ".git" / STATE).stat().st_ino


def priority(store: Store, task_id: str) -> int:
    return store.read().require(Task, task_id).priority


def test_a_ref_moves_between_two_files_and_git_reads_it(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    seen = set()
    for _ in range(10):
        raise_priority(store, one.id)
        seen.add(inode(repo))
        assert git(repo, "rev-parse", STATE) == store.tips()[0]
    assert len(seen) == 2
    assert not list((repo / ".git" / "refs").rglob("*.lock"))
    git(repo, "fsck", "--strict")


def test_a_lock_of_somebody_else_is_contention_and_nothing_changes(repo: Path, store: Store) -> None:
    put(store, task())
    before = git(repo, "rev-parse", STATE)
    (repo / ".git" / f"{STATE}.lock").touch()
    with pytest.raises(Contention):
        RefFile(repo / ".git", STATE, durable=False).lock()
    assert git(repo, "rev-parse", STATE) == before
    assert (repo / ".git" / f"{STATE}.lock").stat().st_size == 0


def test_a_lock_is_as_young_as_its_taking(repo: Path, store: Store) -> None:
    put(store, task())
    for file in (repo / ".git" / "codestrator").glob("refs-*.[ab]"):
        os.utime(file, (1, 1))
    held = RefFile(repo / ".git", STATE, durable=False).lock()
    assert held is not None
    age = time.time() - (repo / ".git" / f"{STATE}.lock").stat().st_mtime
    held.release()
    assert age < 60


def test_a_lock_that_was_taken_away_moves_nothing(repo: Path, store: Store) -> None:
    put(store, task())
    before = git(repo, "rev-parse", STATE)
    held = RefFile(repo / ".git", STATE, durable=False).lock()
    assert held is not None
    lock = repo / ".git" / f"{STATE}.lock"
    lock.unlink()
    lock.touch()
    with pytest.raises(Contention):
        held.move(git(repo, "rev-parse", "main"))
    held.release()
    assert lock.exists() and git(repo, "rev-parse", STATE) == before


def test_git_cannot_take_the_lock_that_we_hold(repo: Path, store: Store) -> None:
    held = RefFile(repo / ".git", STATE, durable=False).lock()
    assert held is not None
    try:
        refused = subprocess.run(["git", "update-ref", STATE, "main"], cwd=repo, capture_output=True, check=False)
        assert refused.returncode != 0 and b"cannot lock ref" in refused.stderr
    finally:
        held.release()
    assert not (repo / ".git" / f"{STATE}.lock").exists()
    git(repo, "update-ref", STATE, "main")


def test_two_that_lock_at_once_never_both_have_it(repo: Path, store: Store) -> None:
    first = RefFile(repo / ".git", STATE, durable=False)
    held = first.lock()
    assert held is not None
    with contextlib.suppress(Contention):
        assert RefFile(repo / ".git", STATE, durable=False).lock() is None  # then libgit2 finds the lock held
    impatient = store_of(repo, patience_seconds=0.05)
    with pytest.raises(Busy):
        put(impatient, task())
    held.release()
    put(impatient, task())
    impatient.close()


def test_a_backup_by_hard_links_keeps_what_it_had(repo: Path, store: Store, tmp_path: Path) -> None:
    one = task()
    put(store, one)
    raise_priority(store, one.id)
    before = git(repo, "rev-parse", STATE)
    backup = tmp_path / "backup"
    shutil.copytree(repo, backup, copy_function=os.link)
    for _ in range(5):
        raise_priority(store, one.id)
    assert (backup / ".git" / STATE).read_text().strip() == before
    assert priority(store, one.id) == 6


def test_without_hard_links_refs_move_all_the_same(repo: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    one = task()
    put(store, one)
    monkeypatch.setattr(os, "link", refused)
    raise_priority(store, one.id)
    assert priority(store, one.id) == 1
    assert not list((repo / ".git" / "refs").rglob("*.lock"))


def test_git_may_pack_the_ref_and_remove_its_folder(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    for number in range(3):
        git(repo, "pack-refs", "--all", "--prune")
        assert not (repo / ".git" / STATE).exists()
        raise_priority(store, one.id)
        assert priority(store, one.id) == number + 1


def test_a_ref_that_somebody_else_moved_is_moved_on_from_there(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    earlier = git(repo, "rev-parse", STATE)
    raise_priority(store, one.id)
    git(repo, "update-ref", STATE, earlier)
    raise_priority(store, one.id)
    assert git(repo, "rev-parse", f"{STATE}~1") == earlier
    assert priority(store, one.id) == 1


def test_our_two_files_may_be_gone_or_copied(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    own = repo / ".git" / "codestrator"
    for file in own.glob("refs-*.[ab]"):
        file.unlink()
    raise_priority(store, one.id)
    for file in own.glob("refs-*.[ab]"):
        shutil.copy(file, file.with_suffix(".copy"))
        file.with_suffix(".copy").replace(file)
    raise_priority(store, one.id)
    assert priority(store, one.id) == 2


def test_a_durable_store_moves_refs_so_too(repo: Path, store: Store) -> None:
    one = task()
    put(store, one)
    durable = store_of(repo, durable=True)
    try:
        for _ in range(3):
            raise_priority(durable, one.id)
    finally:
        durable.close()
    with opened(repo) as later:
        assert priority(later, one.id) == 3
