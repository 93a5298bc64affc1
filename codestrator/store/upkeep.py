"""Keeps the repository small: packs the loose objects of our own journals in the background, and merges our packs.

Nothing here decides anything: a kill at any step leaves every object in at least one place. Objects of the user are
never packed or deleted, and git's own gc may run at any moment: it takes over what we packed.
"""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pygit2
from pygit2.enums import SortMode

from codestrator.errors import UnreadableState
from codestrator.store.documents import LOCKS, STATE
from codestrator.store.notes import NOTES
from codestrator.store.objects import MISSING, TREE, Entry, split_tree
from codestrator.store.packs import Packs, side_by_side

REFS = (STATE, LOCKS, NOTES)  # not rescue/…: what snapshots hold is the user's content
OBJECTS_OF_MUTATION = 5  # blob, three trees, commit
DUE_OBJECTS = 1_000
MOST_PACKS = 8
CLOSE_SECONDS = 5.0
# How long it may keep the calls of this process from running; Python's own 5 ms, at each file, would be felt.
SWITCH_SECONDS = 0.0003
TREES_KEPT = 4_096

Trees = dict[bytes, dict[bytes, Entry]]


class Done(msgspec.Struct, frozen=True):
    """What is packed: up to which commit and counter of each ref, and the names of our packs."""

    tips: dict[str, str] = {}
    counters: dict[str, int] = {}
    packs: tuple[str, ...] = ()


class Upkeep:
    """The maintenance of one repository; any number of processes may have one, one of them packs at a time."""

    def __init__(
        self, common_dir: Path, opener: Callable[[Path], pygit2.Repository], *, due_objects: int = DUE_OBJECTS
    ) -> None:
        self._common_dir = common_dir
        self._opener = opener
        self._due = due_objects
        self._private = common_dir / "codestrator"
        self._packs = Packs(common_dir)
        self._packed: dict[str, int] | None = None
        self._known: dict[str, int] = {}
        self._extra = 0
        self._guard = threading.Lock()
        self._packing = False
        self._threads: list[threading.Thread] = []
        self.problem: str | None = None

    def after(self, counters: Mapping[str, int], documents: int = 1) -> None:
        """Say what was published: the refs' new counters. Starts packing in the background when it is due."""
        self._known.update(counters)
        self._extra += 2 * max(0, documents - 1)
        if self._is_due():
            self._packed = self._done().counters  # another process may have packed meanwhile
            if self._is_due():
                self._start()

    def _is_due(self) -> bool:
        if self._packed is None:
            self._packed = self._done().counters
        mutations = sum(counter - self._packed.get(ref, 0) for ref, counter in self._known.items())
        return mutations * OBJECTS_OF_MUTATION + self._extra >= self._due

    def _start(self) -> None:
        with self._guard:
            if self._packing:
                return
            self._packing = True
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(threading.Thread(target=self._quietly, name="codestrator-upkeep", daemon=True))
            self._threads[-1].start()

    def _quietly(self) -> None:
        try:
            self._maintain()
        except (*MISSING, TypeError) as error:  # TypeError: pygit2's, for an object of another type than expected
            self.problem = str(error)[:500]
            self._packed, self._extra = dict(self._known), 0  # try again after as many mutations, not at the next
        finally:
            self._packing = False

    def close(self) -> None:
        """Let a packing that has begun end, for a few seconds: else short processes would never finish one."""
        give_up = time.monotonic() + CLOSE_SECONDS
        with self._guard:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def maintain(self) -> bool:
        """Pack now, after what this process has begun in the background; False if another process is at it.

        `UnreadableState` when something of the journals is missing; nothing is deleted then.
        """
        self.close()
        try:
            return self._maintain()
        except KeyError as error:
            raise UnreadableState(
                f"object {error} is missing, expected the journal to be whole",
                hint="Run doctor.check to see what is damaged and what can be repaired.",
                document=str(error),
                reason="missing object",
            ) from None

    def _maintain(self) -> bool:
        repo = self._opener(self._common_dir)
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            with self._alone("packing") as alone:
                if not alone:
                    return False
                self._pack_new(repo)
            self._packed, self._extra = self._done().counters, 0
            self._packing = False  # merging may take seconds, and what is new must not wait for it
            with self._alone("merging") as alone:
                if alone:
                    self._merge_packs(repo)
        finally:
            sys.setswitchinterval(before)
            repo.free()
        self.problem = None
        return True

    @contextmanager
    def _alone(self, what: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold the kernel lock for packing or merging; yields False if another has it."""
        self._private.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._private / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    def _done(self) -> Done:
        try:
            done = msgspec.json.decode((self._private / "packed").read_bytes(), type=Done)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return Done()
        return msgspec.structs.replace(done, packs=tuple(name for name in done.packs if self._packs.exists(name)))

    def _remember(self, done: Done) -> None:
        aside = self._private / "packed.new"
        with aside.open("wb") as file:
            file.write(msgspec.json.encode(done))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._private / "packed")

    def _loose(self, oid: bytes) -> Path:
        digits = oid.hex()
        return self._common_dir / "objects" / digits[:2] / digits[2:]

    def _pack_new(self, repo: pygit2.Repository) -> None:
        """Loose objects of our journals into one pack; then their files go; then it is remembered how far."""
        done = self._done()
        tips, counters = dict(done.tips), dict(done.counters)
        found: dict[bytes, bytes] = {}
        for ref in REFS:
            reference = repo.references.get(ref)
            if reference is not None:
                tips[ref] = str(reference.target)
                counters[ref] = self._collect(repo, tips[ref], done.tips.get(ref), found)
        packs = done.packs
        if found:
            name = self._packs.write(repo, sorted(found, key=found.__getitem__), self._private / "packing")
            packs = (*(one for one in packs if one != name), name)
            self._remember(Done(done.tips, done.counters, packs))
            if not self._delete_loose(found, name):
                return
        self._remember(Done(tips, counters, packs))

    def _collect(self, repo: pygit2.Repository, tip: str, known: str | None, found: dict[bytes, bytes]) -> int:
        """Add the loose objects that the commits after `known` brought, with where they lie; the tip's counter.

        Each commit comes behind its own. Versions of one file or folder lie in one place, so that they meet in a pack.

        A commit's objects are deleted before itself, so one that is packed has nothing loose left.
        """
        walk = repo.walk(tip, SortMode.NONE)
        if known is not None and known in repo:
            walk.hide(known)
        trees: Trees = {}
        for commit in walk:
            if self._loose(commit.id.raw).exists():
                old = commit.parents[0].tree_id.raw if commit.parent_ids else None
                self._differences(repo, old, commit.tree_id.raw, trees, found)
                found[commit.id.raw] = b""
                if len(trees) > TREES_KEPT:
                    trees.clear()
        counter: int = repo[tip].commit_time  # type: ignore[attr-defined]  # the tip of a walk is a commit
        return counter

    def _differences(
        self,
        repo: pygit2.Repository,
        old: bytes | None,
        new: bytes,
        trees: Trees,
        found: dict[bytes, bytes],
        place: bytes = b"/",
    ) -> None:
        if old == new or new in found:
            return
        before = _entries(repo, old, trees) if old else {}
        for name, entry in _entries(repo, new, trees).items():
            was = before.get(name)
            if entry == was:
                continue
            if entry.mode == TREE:
                below = b"%s%s/" % (place, name)
                self._differences(repo, was.oid if was and was.mode == TREE else None, entry.oid, trees, found, below)
            elif entry.oid not in found and self._loose(entry.oid).exists():
                found[entry.oid] = name
        if self._loose(new).exists():
            found[new] = place

    def _delete_loose(self, oids: Mapping[bytes, bytes], name: str) -> bool:
        """False, with nothing deleted, if the pack is not there: git's own repacking was faster."""
        if not oids.keys() <= self._packs.oids(name).keys():
            return False
        for oid in oids:
            self._loose(oid).unlink(missing_ok=True)
        return True

    def _merge_packs(self, repo: pygit2.Repository) -> None:
        """Keep our packs few; each round takes the small ones, so that no object is packed again and again."""
        packs = self._done().packs
        if len(packs) <= MOST_PACKS or self._packs.indexed_together:
            return
        merged, oids = self._small_ones(packs)
        if len(merged) < 2:
            return
        made = self._packs.write(repo, side_by_side(repo, oids), self._private / "merging")
        with self._alone("packing", wait=True):
            done = self._done()
            kept = tuple(name for name in done.packs if name not in merged and name != made)
            self._remember(Done(done.tips, done.counters, (*merged, *kept, made)))
            if oids.keys() <= self._packs.oids(made).keys():
                for name in merged - {made}:
                    self._packs.delete(name)
                self._remember(Done(done.tips, done.counters, (*kept, made)))

    def _small_ones(self, packs: tuple[str, ...]) -> tuple[set[str], dict[bytes, None]]:
        """The smallest half, and the next ones while they are no more than twice as large as all before."""
        contents = {name: self._packs.oids(name) for name in packs if self._packs.may_go(name)}
        merged: set[str] = set()
        oids: dict[bytes, None] = {}
        for name in sorted(contents, key=lambda one: len(contents[one])):
            if len(merged) >= MOST_PACKS // 2 and len(contents[name]) > 2 * sum(len(contents[one]) for one in merged):
                break
            merged.add(name)
        for name in reversed(packs):  # the newest first, as they lie in each
            if name in merged:
                oids.update(contents[name])
        return merged, oids


def _entries(repo: pygit2.Repository, oid: bytes, trees: Trees) -> dict[bytes, Entry]:
    if oid not in trees:
        trees[oid] = split_tree(repo.read(pygit2.Oid(raw=oid))[1])
    return trees[oid]
