"""Looks at the refs of a store whatever state they are in, and points one that broke or vanished to where it was."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from codestrator.errors import Busy, SchemaNewer, UnreadableState, WrongState
from codestrator.ports import Contention, Move
from codestrator.store.documents import META, STATE, Damage, Layout, Place, check
from codestrator.store.notes import NOTES
from codestrator.store.objects import MISSING, TREE, Node
from codestrator.store.store import Store

_OID = re.compile(r"[0-9a-f]{40}")


class Found(NamedTuple):
    """One document as it is stored: its kind (None: unknown), its id, its file in the tree of the ref, its content."""

    kind: str | None
    id: str
    path: str
    raw: bytes


class Soundness:
    """What can be said of a store, and done for it, without reading it as a whole."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects = store.objects

    @contextmanager
    def only_looking(self) -> Iterator[None]:
        """Let reading leave no trace, not even in a cache."""
        cache = self._objects.rowcache
        cache.only_looking = True
        try:
            yield
        finally:
            cache.only_looking = False

    def tip(self, ref: str) -> str | None:
        """What the ref says, if that is a commit's id; None where there is no ref, or no id in it."""
        try:
            found = self._store.refs.read(ref)
        except UnreadableState:
            return None
        return found if found is not None and _OID.fullmatch(found) else None

    def tree(self, ref: str) -> str | None:
        """The id of the tree that the ref's commit has: equal where what it holds is equal."""
        tip = self.tip(ref)
        try:
            return str(self._objects.commit(tip).tree_id) if tip else None
        except MISSING:
            return None

    def broken(self, ref: str) -> Damage | None:
        """Why the ref cannot be read as a whole; None where it can be, or where there never was one."""
        try:
            self._store._picture(ref)
        except WrongState:
            return None
        except (UnreadableState, SchemaNewer) as error:
            return error
        return None

    def readable(self, commit: str) -> bool:
        try:
            self._objects.commit(commit)
        except MISSING:
            return False
        return True

    def whole(self, ref: str, commit: str) -> bool:
        """Whether every object of that one commit can be read; its history is not looked at."""
        try:
            self._store.read_commit(ref, commit)
            root = self._objects.node(self._objects.commit(commit).tree_id.raw)
            return all(self._objects.raw(oid) is not None for oid in self._blobs(root, ref))
        except (UnreadableState, SchemaNewer, *MISSING):
            return False

    def _blobs(self, node: Node, ref: str) -> Iterator[bytes]:
        for entry in self._objects.entries(node, ref).values():
            if entry.mode == TREE:
                yield from self._blobs(self._objects.node(entry.oid), ref)
            else:
                yield entry.oid

    def newest_whole(self, ref: str) -> str | None:
        """The newest of the recent tips of that ref of which every object is there."""
        tips = dict.fromkeys(one.state if ref == STATE else one.locks for one in self._store.recent.recent())
        return next((commit for commit in tips if self.whole(ref, commit)), None)

    def keep(self, ref: str, commit: str) -> None:
        """Make a ref that is not there yet."""
        self._store.refs.move([Move(ref, None, commit)])

    def put_back(self, ref: str, commit: str) -> bool:
        """Point a broken or vanished ref to that commit, unless it is sound by now; `Busy` where it is locked."""
        with self._store.gate():
            if self.broken(ref) is not None:
                try:
                    self._store.refs.put_back(ref, commit)
                except Contention:
                    raise Busy(f"'{ref}' is locked by another program, expected to put it back", ref=ref) from None
            return self.broken(ref) is None

    def breaks(self, ref: str) -> list[str]:
        """The commits of the ref's history that are missing or damaged."""
        start = self.tip(ref)
        waiting, seen, lost = [start] if start else [], set(), []
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            try:
                waiting += [str(parent) for parent in self._objects.commit(one).parent_ids]
            except MISSING:
                lost.append(one)
        return lost

    def documents(self, ref: str) -> Iterator[Found]:
        """Every document that is there, whether it can be understood or not; what is missing is passed over."""
        tip, layout = self.tip(ref), self._store.layout(ref)
        if tip is not None and self.broken(ref) is None:
            yield from self._below(self._objects.node(self._objects.commit(tip).tree_id.raw), (), layout)

    def _below(self, node: Node, folders: tuple[str, ...], layout: Layout) -> Iterator[Found]:
        try:
            entries = self._objects.entries(node, layout.ref)
        except UnreadableState:
            return
        for name, entry in entries.items():
            words = name.decode("utf-8", "replace")
            if entry.mode == TREE:
                yield from self._below(self._objects.node(entry.oid), (*folders, words), layout)
            elif name.endswith(b".json"):
                kind, document_id = layout.name(Place(folders, words[:-5]))
                try:
                    raw = self._objects.raw(entry.oid)
                except MISSING:
                    continue
                if document_id != META:
                    yield Found(kind, document_id, "/".join((*folders, words)), raw)

    def path(self, ref: str, document_id: str) -> str:
        """A document's file in the tree of its ref."""
        place = self._store.layout(ref).place(document_id)
        return "/".join((*place.folders, f"{place.stem}.json"))

    def last_good(self, ref: str, kind: str, document_id: str) -> str | None:
        """The newest commit of the ref in which that document can be read."""
        layout, known = self._store.layout(ref), dict[bytes, bool]()
        place = layout.place(document_id)
        start = self.tip(ref)
        try:
            for operation in self._store.journal(start) if ref == STATE else self._store.book_journal(start):
                if self._good(operation.commit, layout, place, kind, document_id, known):
                    return operation.commit
        except UnreadableState:  # the journal ends where its chain is broken
            pass
        return None

    def _good(
        self, commit: str, layout: Layout, place: Place, kind: str, document_id: str, known: dict[bytes, bool]
    ) -> bool:
        node: Node | None = self._objects.node(self._objects.commit(commit).tree_id.raw)
        try:
            for folder in place.folders:
                node = self._objects.child(node, folder.encode(), layout.ref) if node else None
            entry = self._objects.entries(node, layout.ref).get(f"{place.stem}.json".encode()) if node else None
            if entry is None:
                return False
            if entry.oid not in known:
                known[entry.oid] = False
                check(layout.kind(kind), document_id, self._objects.raw(entry.oid), layout.ref)
                known[entry.oid] = True
            return known[entry.oid]
        except (UnreadableState, SchemaNewer, *MISSING):
            return False

    def notes(self) -> dict[str, set[bytes]]:
        """The lines of each commit's note; `UnreadableState` where the notes are damaged."""
        tip = self.tip(NOTES)
        if tip is None:
            return {}
        try:
            return dict(self._notes(self._objects.node(self._objects.commit(tip).tree_id.raw), ""))
        except MISSING as error:
            reason = str(error)[:200] or "missing object"
            raise UnreadableState(
                f"'{NOTES}' cannot be read: {reason}", ref=NOTES, document=NOTES, reason=reason
            ) from None

    def _notes(self, node: Node, start: str) -> Iterator[tuple[str, set[bytes]]]:
        for name, entry in self._objects.entries(node, NOTES).items():
            commit = start + name.decode("ascii", "replace")
            if entry.mode == TREE:
                yield from self._notes(self._objects.node(entry.oid), commit)
            elif _OID.fullmatch(commit):
                yield commit, set(self._objects.raw(entry.oid).split(b"\n"))
