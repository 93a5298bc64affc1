"""Trees and blobs of the object database, each tree read once: two pictures share what they have in common."""

import threading
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import pygit2
from pygit2.enums import ObjectType

from codestrator.errors import External, SchemaNewer, UnreadableState
from codestrator.model import Document
from codestrator.store.configuration import open_repository
from codestrator.store.documents import META, Damage, Layout, Place, check, damage, decode
from codestrator.store.loose import LooseObjects
from codestrator.store.rowcache import RowCache

BLOB, TREE = b"100644", b"40000"
MISSING = (KeyError, OSError, ValueError, pygit2.GitError)
LONG = 2048  # bytes of a tree: below, its lines are joined as fast as one is replaced
Rows = dict[str, dict[str, Any]]


class Entry(NamedTuple):
    """One line of a tree; `oid` is 20 bytes."""

    mode: bytes
    oid: bytes


class Node:
    """One tree, and what has been read below it. Entries are read when first asked for, rows and documents too."""

    __slots__ = ("__weakref__", "children", "damaged", "documents", "entries", "indexes", "oid", "raw", "rows")

    def __init__(self, oid: bytes) -> None:
        self.oid = oid
        self.entries: dict[bytes, Entry] | None = None
        self.raw = b""  # what they were read from, if that is long
        self.children: dict[bytes, Node] = {}
        self.documents: dict[str, Document] = {}
        self.rows: Rows | None = None
        self.damaged: list[Damage] = []
        self.indexes: dict[tuple[str, str], dict[Any, list[Any]] | None] = {}


@cache
def row_type(kind: type[Document]) -> Any:
    """The NamedTuple of a kind's row: its id, then the attributes that the kind names."""
    return namedtuple(f"{kind.__name__}Row", ("id", *kind.ROW))


def row_of(document: Document) -> Any:
    kind = type(document)
    return row_type(kind)(document.id, *[getattr(document, name) for name in kind.ROW])


def split_tree(raw: bytes) -> dict[bytes, Entry]:
    """The lines of a tree object (gitformat: mode, space, name, NUL, 20 bytes)."""
    found: dict[bytes, Entry] = {}
    at, end = 0, len(raw)
    while at < end:
        space = raw.index(b" ", at)
        nul = raw.index(b"\0", space)
        found[raw[space + 1 : nul]] = Entry(raw[at:space], raw[nul + 1 : nul + 21])
        at = nul + 21
    return found


def join_tree(entries: Mapping[bytes, Entry]) -> bytes:
    """The reverse, in git's order: a folder sorts as if its name ended in a slash."""
    lines = sorted(entries.items(), key=lambda one: one[0] + b"/" if one[1].mode == TREE else one[0])
    return b"".join(b"%s %s\0%s" % (entry.mode, name, entry.oid) for name, entry in lines)


def spliced(old: Node, entries: Mapping[bytes, Entry], changed: Iterable[bytes]) -> bytes | None:
    """The content of a long tree of which some lines name other objects now; None where it has to be made anew."""
    raw, before = old.raw, old.entries or {}
    for name in changed if raw else ():
        entry = entries.get(name)
        if entry is None or name not in before or before[name].mode != entry.mode:
            return None
        line = b"%s %s\0" % (entry.mode, name)
        if raw.count(line) != 1:  # it is there once, unless an id happens to have the same bytes
            return None
        at = raw.index(line) + len(line)
        raw = raw[:at] + entry.oid + raw[at + len(entry.oid) :]
    return raw or None


class Objects:
    """The object database of one repository, with a cache by tree id; for any thread."""

    def __init__(self, common_dir: Path, rowcache: RowCache, *, durable: bool = False) -> None:
        self._common_dir = common_dir
        self._local = threading.local()
        self._nodes: WeakValueDictionary[bytes, Node] = WeakValueDictionary()
        self.rowcache = rowcache
        self._loose = LooseObjects(common_dir, durable=durable)
        if durable:
            pygit2.option(pygit2.enums.Option.ENABLE_FSYNC_GITDIR, True)

    @property
    def repo(self) -> pygit2.Repository:
        """This thread's own handle: libgit2's are not for several threads at once."""
        repo: pygit2.Repository | None = getattr(self._local, "repo", None)
        if repo is None:
            repo = self._local.repo = open_repository(self._common_dir)
        return repo

    def prepare(self) -> None:
        """What can be done for the next writing before others have to wait for it."""
        self._loose.prepare()

    def close(self) -> None:
        """Let go of this thread's handle."""
        self._local.__dict__.clear()
        self._loose.close()

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` has all of `older`; one that is not here, or is no commit, is nobody's ancestor."""
        if older == newer:
            return True
        try:
            return bool(self.repo.descendant_of(newer, older))
        except MISSING:
            return False

    def raw(self, oid: bytes) -> bytes:
        """An object's content; KeyError if it is missing, GitError if it is damaged."""
        content: bytes = self.repo.read(pygit2.Oid(raw=oid))[1]
        return content

    def commit(self, commit: str) -> pygit2.Commit:
        """KeyError if it is missing or no commit."""
        found: Any = self.repo.get(commit)  # its stub knows no kinds of objects
        if found is None or found.type != ObjectType.COMMIT:
            raise KeyError(commit)
        return found  # type: ignore[no-any-return]

    def node(self, oid: bytes) -> Node:
        found = self._nodes.get(oid)
        if found is None:
            found = self._nodes[oid] = Node(oid)
        return found

    def entries(self, node: Node, where: str) -> dict[bytes, Entry]:
        """The lines of a tree; `UnreadableState` if the tree is missing."""
        if node.entries is None:
            try:
                raw = self.raw(node.oid)
                node.entries, node.raw = split_tree(raw), raw if len(raw) > LONG else b""
            except MISSING:
                raise UnreadableState(
                    f"tree '{node.oid.hex()}' of '{where}' is missing or damaged, expected a tree",
                    hint="Run doctor.check to see what is damaged and what can be repaired.",
                    ref=where,
                    document=f"tree/{node.oid.hex()}",
                    reason="missing object",
                ) from None
        return node.entries

    def child(self, node: Node, name: bytes, where: str) -> Node | None:
        found = node.children.get(name)
        if found is None:
            entry = self.entries(node, where).get(name)
            if entry is None or entry.mode != TREE:
                return None
            found = node.children[name] = self.node(entry.oid)
        return found

    def write_commit(self, raw: bytes) -> str:
        return self._loose.write(b"commit", raw).hex()

    def write_blob(self, raw: bytes) -> bytes:
        return self._loose.write(b"blob", raw)

    def write_tree(self, entries: dict[bytes, Entry], old: Node | None = None, changed: Iterable[bytes] = ()) -> Node:
        """Write a tree; its node knows its lines. With the names in which it differs from an old one it is faster."""
        raw = (spliced(old, entries, changed) if old else None) or join_tree(entries)
        node = self.node(self._loose.write(b"tree", raw))
        node.entries, node.raw = entries, raw if len(raw) > LONG else b""
        return node

    def document(self, node: Node, place: Place, kind: type[Document], document_id: str, layout: Layout) -> Any:
        """One document of a tree, validated; None if there is none."""
        known = node.documents.get(document_id)
        if known is None:
            entry = self.entries(node, layout.ref).get(f"{place.stem}.json".encode())
            if entry is None:
                return None
            known = decode(kind, document_id, self._content(entry, layout, kind.KIND, document_id), layout.ref)
            node.documents[document_id] = known
        return known

    def _content(self, entry: Entry, layout: Layout, kind: str, document_id: str) -> bytes:
        try:
            return self.raw(entry.oid)
        except MISSING:
            raise damage(layout.ref, kind, document_id, f"has its content '{entry.oid.hex()}' missing") from None

    def rows(self, node: Node, folders: tuple[str, ...], layout: Layout) -> Rows:
        """The rows of the documents that lie directly in a tree, by kind and id; damaged ones are noted, not raised."""
        if node.rows is None:
            cached = self.rowcache.rows(node.oid) if len(folders) == layout.depth else None
            node.rows = self._cached(cached, layout) if cached is not None else self._read_rows(node, folders, layout)
        return node.rows

    def verify(self, node: Node, folders: tuple[str, ...], layout: Layout) -> list[Damage]:
        """Read the rows of a tree from its documents, and tell what is damaged."""
        node.documents, node.indexes = {}, {}
        node.rows = self._read_rows(node, folders, layout)
        return node.damaged

    def _cached(self, cached: list[Any], layout: Layout) -> Rows:
        found: Rows = {}
        makers: dict[str, Callable[[Any], Any]] = {}
        for kind, values in cached:
            if kind not in makers:
                makers[kind], found[kind] = row_type(layout.kind(kind))._make, {}
            found[kind][values[0]] = makers[kind](values)
        return found

    def _read_rows(self, node: Node, folders: tuple[str, ...], layout: Layout) -> Rows:
        found: Rows = {}
        broken: list[Damage] = []
        for name, entry in self.entries(node, layout.ref).items():
            if entry.mode == TREE or not name.endswith(b".json"):
                continue
            kind, document_id = layout.name(Place(folders, name[:-5].decode("utf-8", "replace")))
            if document_id == META:
                continue
            if kind is None:
                broken.append(damage(layout.ref, None, document_id, "is of a kind unknown to this version"))
                continue
            try:
                document = node.documents.get(document_id) or check(
                    layout.kind(kind), document_id, self._content(entry, layout, kind, document_id), layout.ref
                )
            except (UnreadableState, SchemaNewer) as error:
                broken.append(error)
            else:
                found.setdefault(kind, {})[document_id] = row_of(document)
        node.damaged = broken
        if len(folders) == layout.depth and not broken:
            self.rowcache.learn(sum(len(of) for of in found.values()))
        return found

    def matching(self, node: Node, kind: str, field: str, value: Any) -> Sequence[Any]:
        """The rows of one kind of a tree with that value of one attribute; `rows` was called before.

        An index is made when the same is asked a second time: a short command asks once.
        """
        of, rows = attrgetter(field), (node.rows or {}).get(kind, {}).values()
        if (kind, field) not in node.indexes:
            node.indexes[kind, field] = None
            return [row for row in rows if of(row) == value]
        found = node.indexes[kind, field]
        if found is None:
            found = node.indexes[kind, field] = {}
            for row in rows:
                found.setdefault(of(row), []).append(row)
        return found.get(value, ())


def cannot_write(common_dir: Path, error: Exception) -> External:
    return External(
        f"nothing could be written under '{common_dir}': {str(error)[:200]}",
        hint="Look at the free space and the permissions of the repository, then call the same again.",
        program="libgit2",
        stderr_tail=str(error)[-500:],
    )
