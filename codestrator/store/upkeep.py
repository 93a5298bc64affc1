"""Keeps the repository small: packs the loose objects of our own journals in the background, and merges our packs.

Nothing here decides anything: a kill at any step leaves every object in at least one place. Objects of the user are
never packed or deleted, and git's own gc may run at any moment: it takes over what we packed.
"""

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pygit2

from codestrator.decoding import decoder
from codestrator.errors import External, UnreadableState
from codestrator.ports import Git
from codestrator.store.documents import LOCKS, STATE
from codestrator.store.loose import loose_path
from codestrator.store.notes import NOTES
from codestrator.store.objects import MISSING
from codestrator.store.packs import Packs

REFS = (STATE, LOCKS, NOTES)  # not rescue/…: what snapshots hold is the user's content
OBJECTS_OF_MUTATION = 5  # blob, three trees, commit
DUE_OBJECTS = 1_000
MOST_PACKS = 8
CLOSE_SECONDS = 5.0
_OID = re.compile(r"\b[0-9a-f]{40}\b")


class Done(msgspec.Struct, frozen=True):
    """What is packed: up to which commit and counter of each ref, and the names of our packs."""

    tips: dict[str, str] = {}
    counters: dict[str, int] = {}
    packs: tuple[str, ...] = ()
    begun: bool = False  # a packing that was not ended


class Upkeep:
    """The maintenance of one repository; any number of processes may have one, one of them packs at a time."""

    def __init__(
        self,
        common_dir: Path,
        opener: Callable[[Path], pygit2.Repository],
        git: Callable[[], Git],
        *,
        due_objects: int = DUE_OBJECTS,
    ) -> None:
        self._common_dir = common_dir
        self._opener = opener
        self._git = git
        self._due = due_objects
        self._objects = f"{common_dir}/objects"
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
        except (External, *MISSING) as error:
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
        except External as error:
            lost = _OID.search(error.details.get("stderr_tail", ""))
            if lost is None:
                raise
            raise UnreadableState(
                f"object {lost[0]} cannot be read, expected the journal to be whole",
                hint="Run doctor.check to see what is damaged and what can be repaired.",
                document=lost[0],
                reason="missing object",
            ) from None

    def _maintain(self) -> bool:
        with self._alone("packing") as alone:
            if not alone:
                return False
            self._pack_new()
        self._packed, self._extra = self._done().counters, 0
        self._packing = False  # merging may take seconds, and what is new must not wait for it
        with self._alone("merging") as alone:
            if alone:
                self._merge_packs()
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
            done = decoder(Done).decode((self._private / "packed").read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeError):
            return Done()
        return msgspec.structs.replace(done, packs=tuple(name for name in done.packs if self._packs.exists(name)))

    def _remember(self, done: Done) -> None:
        """Not flushed to the disk: where it is lost, loose objects are looked for in the whole journal."""
        aside = self._private / "packed.new"
        aside.write_bytes(msgspec.json.encode(done))
        aside.replace(self._private / "packed")

    def _pack_new(self) -> None:
        """Loose objects of our journals into one pack; then their files go; then it is remembered how far."""
        done = self._done()
        repo = self._opener(self._common_dir)
        tips: dict[str, str] = {}
        counters: dict[str, int] = {}
        try:
            for ref in REFS:
                if reference := repo.references.get(ref):
                    tips[ref] = str(reference.target)
                    counters[ref] = repo[reference.target].commit_time  # type: ignore[attr-defined]  # a commit
            known = [f"^{tip}" for tip in done.tips.values() if tip in repo]
        finally:
            repo.free()
        if not tips or tips == done.tips:
            return
        # What a killed process has packed may still lie there loose too: it is packed again, so that it goes.
        only = () if done.begun else ("--unpacked",)
        self._remember(msgspec.structs.replace(done, begun=True))
        name = self._packs.write(self._git(), "--revs", *only, "--no-sparse", stdin=lines(*tips.values(), *known))
        packs = done.packs
        if name is not None:
            packs = (*(one for one in packs if one != name), name)
            if not self._delete_loose(name):
                return
        self._remember(Done(tips, counters, packs))

    def _delete_loose(self, name: str) -> bool:
        """False, with nothing deleted, if the pack is not there: git's own repacking was faster."""
        oids = self._packs.oids(name)
        for oid in oids:
            with suppress(FileNotFoundError):
                os.unlink(loose_path(self._objects, oid))  # noqa: PTH108  # strings: a thousand, beside the calls
        return bool(oids)

    def _merge_packs(self) -> None:
        """Keep our packs few; each round takes the small ones, so that no object is packed again and again."""
        packs = self._done().packs
        if len(packs) <= MOST_PACKS or self._packs.indexed_together:
            return
        merged, oids = self._small_ones(packs)
        if len(merged) < 2:
            return
        made = self._packs.write(self._git(), "--stdin-packs", stdin=lines(*(f"{name}.pack" for name in merged)))
        if made is None:
            return
        with self._alone("packing", wait=True):
            done = self._done()
            kept = tuple(name for name in done.packs if name not in merged and name != made)
            self._remember(msgspec.structs.replace(done, packs=(*merged, *kept, made)))
            if oids <= self._packs.oids(made):
                for name in merged - {made}:
                    self._packs.delete(name)
                self._remember(msgspec.structs.replace(done, packs=(*kept, made)))

    def _small_ones(self, packs: tuple[str, ...]) -> tuple[set[str], set[bytes]]:
        """The smallest half, and the next ones while they are no more than twice as large as all before."""
        contents = {name: self._packs.oids(name) for name in packs if self._packs.may_go(name)}
        merged: set[str] = set()
        for name in sorted(contents, key=lambda one: len(contents[one])):
            if len(merged) >= MOST_PACKS // 2 and len(contents[name]) > 2 * sum(len(contents[one]) for one in merged):
                break
            merged.add(name)
        return merged, {oid for name in merged for oid in contents[name]}


def lines(*words: str) -> str:
    return "".join(f"{one}\n" for one in words)
