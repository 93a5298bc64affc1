"""What one of the crowd's processes does, again and again."""

import os
from collections.abc import Callable
from pathlib import Path

from codestrator.ports import Contention, Move


def act(kind: str, repo: Path, number: str) -> Callable[[], None]:
    return {"rename": _rename, "swap": _swap, "mutation": _mutation}[kind](repo, number)


def _rename(repo: Path, number: str) -> Callable[[], None]:
    """The limit of this file system: take a lock file, write 41 bytes, rename it into place."""
    target = repo / ".git" / "bench-ref"
    lock = target.with_suffix(".lock")

    def once() -> None:
        while True:
            try:
                handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                continue
            os.write(handle, b"0" * 40 + b"\n")
            os.close(handle)
            lock.replace(target)
            return

    return once


def _swap(repo: Path, number: str) -> Callable[[], None]:
    """One compare-and-swap of a ref between two commits that exist."""
    from codestrator.world import open_world

    store = open_world(repo).store
    ref = "refs/notes/codestrator"
    state, book = store.tips()
    assert state and book

    def once() -> None:
        while True:
            with store.gate():
                old = store.refs.read(ref)
                try:
                    store.refs.move([Move(ref, old, book if old == state else state)])
                except Contention:
                    continue
                return

    return once


def _mutation(repo: Path, number: str) -> Callable[[], None]:
    """One document changed and published."""
    from codestrator.world import open_world
    from tests.bench.store import toucher

    return toucher(open_world(repo).store)
