"""The journal: each commit of a ref as the operation it records, and the documents that it changed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import pygit2

from codestrator.errors import UnreadableState
from codestrator.store.documents import META, Layout, Place
from codestrator.store.objects import MISSING, TREE, Entry, Node, Objects


class Touched(NamedTuple):
    """One document that an operation changed; `old` or `new` is None where it was not there."""

    kind: str | None
    id: str
    old: bytes | None
    new: bytes | None


class Operation:
    """One commit of the journal."""

    def __init__(self, objects: Objects, layout: Layout, commit: pygit2.Commit) -> None:
        self._objects = objects
        self._layout = layout
        self._tree = commit.tree_id.raw
        self.commit = str(commit.id)
        self.at = datetime.fromtimestamp(commit.author.time, UTC)
        self.counter: int = commit.commit_time
        self.subject, _, rest = commit.message.partition("\n")
        self.trailers = trailers_of(rest)
        self.op = self.trailers.get("Op", "")
        self.parents = tuple(str(parent) for parent in commit.parent_ids)

    def documents(self) -> list[Touched]:
        """What it changed beside its first parent."""
        old = self._objects.node(self._objects.commit(self.parents[0]).tree_id.raw) if self.parents else None
        return list(self._differences(old, self._objects.node(self._tree), ()))

    def _differences(self, old: Node | None, new: Node | None, folders: tuple[str, ...]) -> Iterator[Touched]:
        ref = self._layout.ref
        before = self._objects.entries(old, ref) if old else {}
        after = self._objects.entries(new, ref) if new else {}
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name), after.get(name)
            if was == now:
                continue
            if TREE in (was and was.mode, now and now.mode):
                below = (*folders, name.decode("utf-8", "replace"))
                yield from self._differences(self._below(was), self._below(now), below)
            elif name.endswith(b".json"):
                kind, document_id = self._layout.name(Place(folders, name[:-5].decode("utf-8", "replace")))
                if document_id != META:
                    yield Touched(kind, document_id, self._content(was), self._content(now))

    def _below(self, entry: Entry | None) -> Node | None:
        return self._objects.node(entry.oid) if entry and entry.mode == TREE else None

    def _content(self, entry: Entry | None) -> bytes | None:
        return self._objects.raw(entry.oid) if entry else None


def trailers_of(message: str) -> dict[str, str]:
    """The `Name: value` lines at the end of a commit message."""
    lines = message.strip().rpartition("\n\n")[2].splitlines()
    return {name: value for name, colon, value in (line.partition(": ") for line in lines) if colon}


def journal(objects: Objects, layout: Layout, start: str) -> Iterator[Operation]:
    """The commits that lead to `start`, those with a greater counter first."""
    waiting: dict[str, int] = {start: 0}
    while waiting:
        commit_id = max(waiting, key=lambda one: (waiting[one], one))
        del waiting[commit_id]
        try:
            commit = objects.commit(commit_id)
        except MISSING:
            raise UnreadableState(
                f"commit '{commit_id}' of '{layout.ref}' is missing, expected the journal to be whole",
                hint="Run doctor.check to see what is damaged and what can be repaired.",
                ref=layout.ref,
                document=commit_id,
                reason="missing object",
            ) from None
        yield Operation(objects, layout, commit)
        for parent in commit.parent_ids:
            there = parent in objects.repo  # a missing one is told when its turn comes
            waiting[str(parent)] = objects.commit(str(parent)).commit_time if there else commit.commit_time
