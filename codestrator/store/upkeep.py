"""Keeps the repository small: packs the loose objects of our own journals in the background, and merges our packs.

Nothing here decides anything: a kill at any step leaves every object in at least one place. Objects of the user are
never packed or deleted, and git's own gc may run at any moment: it takes over what we packed.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pygit2
from pygit2.enums import SortMode

from codestrator.errors import CodestratorError
from codestrator.store.documents import LOCKS, STATE
from codestrator.store.notes import NOTES
from codestrator.store.objects import MISSING, TREE, Entry, split_tree

REFS = (STATE, LOCKS, NOTES)  # not rescue/…: what snapshots hold is the user's content
OBJECTS_OF_MUTATION = 5  # blob, three trees, commit
DUE_OBJECTS = 1_000
MOST_PACKS = 8
CLOSE_SECONDS = 5.0
TREES_KEPT = 4_096


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
        self._objects = common_dir / "objects"
        self._packed: dict[str, int] | None = None
        self._known: dict[str, int] = {}
        self._extra = 0
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
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
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._quietly, name="codestrator-upkeep", daemon=True)
                self._thread.start()

    def _quietly(self) -> None:
        try:
            self.maintain()
        except (CodestratorError, OSError, *MISSING) as error:
            self.problem = str(error)[:500]
            self._packed, self._extra = dict(self._known), 0  # try again after as many mutations, not at the next

    def close(self) -> None:
        """Let a packing that has begun end, for a few seconds: else short processes would never finish one."""
        with self._guard:
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)

    def maintain(self) -> bool:
        """Pack now; False if another process is at it."""
        with self._alone() as alone:
            if not alone:
                return False
            repo = self._opener(self._common_dir)
            try:
                self._clear_leftovers()
                self._pack_new(repo)
                self._merge_packs(repo)
            finally:
                repo.free()
        self._packed, self._extra = self._done().counters, 0
        self.problem = None
        return True

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        self._private.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._private / "packing.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            yield False
            return
        try:
            yield True
        finally:
            os.close(handle)

    def _done(self) -> Done:
        try:
            done = msgspec.json.decode((self._private / "packed").read_bytes(), type=Done)
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return Done()
        packs = tuple(name for name in done.packs if _is_name(name) and self._pack(name, "idx").exists())
        return msgspec.structs.replace(done, packs=packs)

    def _remember(self, done: Done) -> None:
        aside = self._private / "packed.new"
        with aside.open("wb") as file:
            file.write(msgspec.json.encode(done))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._private / "packed")

    def _pack(self, name: str, suffix: str) -> Path:
        return self._objects / "pack" / f"{name}.{suffix}"

    def _loose(self, oid: bytes) -> Path:
        digits = oid.hex()
        return self._objects / digits[:2] / digits[2:]

    def _pack_new(self, repo: pygit2.Repository) -> None:
        """Loose objects of our journals into one pack; then their files go; then it is remembered how far."""
        done = self._done()
        tips, counters = dict(done.tips), dict(done.counters)
        found: dict[bytes, None] = {}
        for ref in REFS:
            reference = repo.references.get(ref)
            if reference is not None:
                tip = str(reference.target)
                counter = self._collect(repo, tip, done.tips.get(ref), found)
                tips[ref] = tip
                counters[ref] = counter
        packs = done.packs
        if found:
            name = self._write(repo, list(found))
            packs = (*(one for one in packs if one != name), name)
            self._remember(Done(done.tips, done.counters, packs))
            self._delete_loose(found, name)
        self._remember(Done(tips, counters, packs))

    def _collect(self, repo: pygit2.Repository, tip: str, known: str | None, found: dict[bytes, None]) -> int:
        """Add the loose objects that the commits after `known` brought, each commit behind its own; the tip's counter.

        A commit's objects are deleted before itself, so one that is packed has nothing loose left.
        """
        walk = repo.walk(tip, SortMode.NONE)
        if known is not None and known in repo:
            walk.hide(known)
        trees: dict[bytes, dict[bytes, Entry]] = {}
        for commit in walk:
            if self._loose(commit.id.raw).exists():
                parents = commit.parents
                old = parents[0].tree_id.raw if parents else None
                self._differences(repo, old, commit.tree_id.raw, trees, found)
                found[commit.id.raw] = None
                if len(trees) > TREES_KEPT:
                    trees.clear()
        counter: int = repo[tip].commit_time  # type: ignore[attr-defined]  # the tip of a walk is a commit
        return counter

    def _differences(
        self,
        repo: pygit2.Repository,
        old: bytes | None,
        new: bytes,
        trees: dict[bytes, dict[bytes, Entry]],
        found: dict[bytes, None],
    ) -> None:
        if old == new or new in found:
            return
        before = _entries(repo, old, trees) if old else {}
        for name, entry in _entries(repo, new, trees).items():
            was = before.get(name)
            if entry == was:
                continue
            if entry.mode == TREE:
                self._differences(repo, was.oid if was and was.mode == TREE else None, entry.oid, trees, found)
            elif entry.oid not in found and self._loose(entry.oid).exists():
                found[entry.oid] = None
        if self._loose(new).exists():
            found[new] = None

    def _write(self, repo: pygit2.Repository, oids: list[bytes]) -> str:
        """Write a pack whole, flush it to disk, and put it in place: the pack first, its index makes it known."""
        folder = self._workshop()
        builder = pygit2.PackBuilder(repo)
        builder.set_threads(1)
        for oid in oids:
            builder.add(pygit2.Oid(raw=oid))
        builder.write(str(folder))
        (index,) = folder.glob("*.idx")
        target = self._objects / "pack"
        target.mkdir(exist_ok=True)
        for place in (index.with_suffix(".pack"), index):
            _flush(place)
            shutil.move(place, target / place.name)  # across file systems as well, if objects/ is elsewhere
        _flush(target)
        folder.rmdir()
        return index.stem

    def _workshop(self) -> Path:
        folder = self._private / "packing"
        folder.mkdir(mode=0o700)
        return folder

    def _clear_leftovers(self) -> None:
        """What a killed process left; this one alone may pack."""
        shutil.rmtree(self._private / "packing", ignore_errors=True)

    def _delete_loose(self, oids: Mapping[bytes, None], name: str) -> None:
        packed = _oids(self._pack(name, "idx"))
        for oid in oids:
            if oid in packed:
                self._loose(oid).unlink(missing_ok=True)

    def _merge_packs(self, repo: pygit2.Repository) -> None:
        """Keep our packs few; each round takes the small ones, so that no object is packed again and again."""
        done = self._done()
        if len(done.packs) <= MOST_PACKS or (self._objects / "pack" / "multi-pack-index").exists():
            return  # git would miss a pack that its multi-pack-index names
        contents = {name: _oids(self._pack(name, "idx")) for name in done.packs if self._is_free(name)}
        taken: dict[bytes, None] = {}
        merged: list[str] = []
        for name, oids in sorted(contents.items(), key=lambda one: len(one[1])):
            if len(merged) >= MOST_PACKS // 2 and len(oids) > 2 * len(taken):
                break
            merged.append(name)
            taken.update(oids)
        if len(merged) < 2:
            return
        made = self._write(repo, list(taken))
        if taken.keys() <= _oids(self._pack(made, "idx")).keys():
            kept = tuple(name for name in done.packs if name not in merged and name != made)
            self._remember(Done(done.tips, done.counters, (*merged, *kept, made)))
            for name in merged:
                if name != made:
                    self._delete_pack(name)
            self._remember(Done(done.tips, done.counters, (*kept, made)))

    def _is_free(self, name: str) -> bool:
        return not any(self._pack(name, suffix).exists() for suffix in ("keep", "promisor", "bitmap"))

    def _delete_pack(self, name: str) -> None:
        for suffix in ("idx", "rev", "pack"):  # the index first: without it no program looks for the pack
            self._pack(name, suffix).unlink(missing_ok=True)


def _entries(repo: pygit2.Repository, oid: bytes, trees: dict[bytes, dict[bytes, Entry]]) -> dict[bytes, Entry]:
    if oid not in trees:
        content: Any = repo.read(pygit2.Oid(raw=oid))[1]
        trees[oid] = split_tree(content)
    return trees[oid]


def _oids(index: Path) -> dict[bytes, None]:
    """The object ids of a pack, from its index (gitformat-pack, version 2): in the order of their names."""
    raw = index.read_bytes()
    if raw[:8] != b"\xfftOc\0\0\0\x02":
        raise ValueError(f"'{index}' is no pack index of version 2")
    start, count = 8 + 1024, int.from_bytes(raw[8 + 1020 : 8 + 1024])
    return {raw[at : at + 20]: None for at in range(start, start + 20 * count, 20)}


def _is_name(name: str) -> bool:
    return name.startswith("pack-") and name[5:].isalnum()


def _flush(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
