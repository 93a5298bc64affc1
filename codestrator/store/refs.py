"""Reads refs and moves sets of them: all locked, all compared, then moved in the order given."""

import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pygit2

from codestrator.errors import External, UnreadableState
from codestrator.ports import Contention, Move
from codestrator.store.documents import LOCKS, STATE
from codestrator.store.moving import is_moving
from codestrator.store.objects import Objects
from codestrator.store.reffile import RefFile

OFTEN_MOVED = (STATE, LOCKS, "refs/notes/codestrator")
OURS = ("refs/codestrator/", "refs/notes/codestrator")
STALE_SECONDS = 2.0
# libgit2 tells contention only by these words.
CONTENTION = (
    "failed to lock file",
    "failed to create locked file",
    "old reference value does not match",
    "current tip is not the first parent",
)


def is_contention(error: Exception) -> bool:
    """Whether libgit2's error means that another writer was there first; the one place that reads its words."""
    return any(words in str(error) for words in CONTENTION)


class Held(Protocol):
    """A ref that nobody else can move, until it is moved or released."""

    def move(self, new: str) -> None: ...

    def release(self) -> None: ...


class Transaction:
    """A ref held by libgit2; one transaction each, because one over several moves them in a hash table's order."""

    def __init__(self, repo: pygit2.Repository, ref: str) -> None:
        self._ref = ref
        self._transaction = repo.transaction()
        self._transaction.lock_ref(ref)

    def move(self, new: str) -> None:
        self._transaction.set_target(self._ref, new)
        self._transaction.commit()

    def release(self) -> None:
        self._transaction.__exit__(Contention, None, None)  # any type: free it without committing again


class Refs:
    """The refs of one repository."""

    def __init__(self, objects: Objects, common_dir: Path, *, durable: bool) -> None:
        self._objects = objects
        self._common_dir = common_dir
        self._files = {ref: RefFile(common_dir, ref, durable=durable) for ref in OFTEN_MOVED}
        self._seen: dict[str, tuple[int, int]] = {}

    def read(self, ref: str) -> str | None:
        """The commit it points to, or None where it does not exist; `UnreadableState` where it holds no id."""
        try:
            found = self._objects.repo.references.get(ref)
        except pygit2.GitError as error:
            raise UnreadableState(
                f"'{ref}' cannot be read: {str(error)[:200]}",
                hint="Run doctor.check to see what is damaged and what can be repaired.",
                ref=ref,
                document=ref,
                reason=str(error)[:200],
            ) from None
        return str(found.target) if found is not None else None

    def under(self, folder: str, shape: re.Pattern[str]) -> dict[str, str]:
        """The refs below `folder`, which ends with a slash, that have this shape, and their commits.

        The user's refs cost nothing. Loose ones first: git packs a ref before it takes its file away.
        """
        top = self._common_dir
        loose = [str(Path(place, name).relative_to(top)) for place, _, files in os.walk(top / folder) for name in files]
        names = set(loose)
        with contextlib.suppress(FileNotFoundError):
            packed = (top / "packed-refs").read_bytes()
            names |= {os.fsdecode(one) for one in re.findall(rb"^[0-9a-f]{40} (%b.+)$" % folder.encode(), packed, re.M)}
        return {name: commit for name in sorted(names) if shape.fullmatch(name) and (commit := self.read(name))}

    def glance(self, *refs: str) -> tuple[tuple[int, int, int] | None, ...]:
        """What the files that refs lie in look like from outside: other where one moved, whether its own or packed."""
        found: list[tuple[int, int, int] | None] = []
        for name in (*refs, "packed-refs"):
            try:
                seen = os.stat(f"{self._common_dir}/{name}")  # noqa: PTH116  # strings: waiting comes here often
                found.append((seen.st_mtime_ns, seen.st_ino, seen.st_size))
            except OSError:
                found.append(None)
        return tuple(found)

    def move(self, moves: Sequence[Move]) -> None:
        """Compare and move; raises `Contention`, with nothing moved, when one is locked or not at its old value."""
        held: dict[str, Held] = {}
        try:
            for move in sorted(moves, key=lambda one: one.ref):
                if move.new is None and move.old is not None:
                    raise ValueError(f"refs are never deleted here: {move.ref}")
                held[move.ref] = self._lock(move.ref)
                if self.read(move.ref) != move.old:
                    raise Contention(move.ref)
            for move in moves:
                if move.new is not None and move.new != move.old:
                    held[move.ref].move(move.new)
        except (OSError, pygit2.GitError) as error:
            if is_contention(error):
                raise Contention(str(error)) from None
            raise External(
                f"a ref could not be moved: {error}, expected to write under '{self._common_dir}'",
                hint="Look at the free space and the permissions of the repository.",
                program="libgit2",
                stderr_tail=str(error)[-500:],
            ) from error
        finally:
            for one in held.values():
                one.release()

    def put_back(self, ref: str, commit: str) -> None:
        """Point one of our refs that cannot be read to a commit; raises `Contention` if it is locked."""
        held = self._lock(ref)
        try:
            held.move(commit)
        finally:
            held.release()

    def _lock(self, ref: str) -> "Held":
        file = self._files.get(ref)
        return (file.lock() if file else None) or Transaction(self._objects.repo, ref)

    def break_stale(self, ref: str) -> bool:
        """Put aside the lock file of one of our refs that a killed writer left. Only for who holds the gate.

        It must be the same file on two looks and older than two seconds, and no git of ours may be at work, which keeps
        its lock files while a hook runs; the user's own refs are never touched.
        """
        if not ref.startswith(OURS):
            return False
        lock = self._common_dir / f"{ref}.lock"
        try:
            found = lock.stat()
        except FileNotFoundError:
            self._seen.pop(ref, None)
            return False
        look = (found.st_ino, found.st_mtime_ns)
        seen, self._seen[ref] = self._seen.get(ref), look
        if is_moving(self._common_dir / "codestrator" / "moving"):
            return False
        if seen != look or time.time() - found.st_mtime < STALE_SECONDS:
            return False
        aside = self._common_dir / "codestrator" / f"stale-{os.getpid()}.lock"  # beside the ref it could pass for one
        try:
            lock.rename(aside)
        except FileNotFoundError:
            return False
        aside.unlink(missing_ok=True)
        return True
