"""The documents of one commit of one ref, and the trees of the next commit."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from codestrator.decoding import decoder
from codestrator.errors import UnreadableState
from codestrator.model import Document
from codestrator.store.documents import Damage, Layout
from codestrator.store.objects import BLOB, TREE, Entry, Node, Objects, row_of


class Meta(msgspec.Struct):
    """What is read of `meta.json`."""

    schema: int = 0


class Picture:
    """One commit of one ref, read as far as it is asked."""

    def __init__(self, objects: Objects, layout: Layout, commit: str, counter: int, root: Node) -> None:
        self.objects = objects
        self.layout = layout
        self.commit = commit
        self.counter = counter
        self.root = root
        self._by_kind: dict[str, list[Node]] | None = None

    def _leaf(self, folders: tuple[str, ...]) -> Node | None:
        node: Node | None = self.root
        for name in folders:
            if node is None:
                return None
            node = self.objects.child(node, name.encode(), self.layout.ref)
        return node

    def get(self, kind: type[Document], document_id: str) -> Any:
        place = self.layout.place(document_id)
        node = self._leaf(place.folders)
        return self.objects.document(node, place, kind, document_id, self.layout) if node is not None else None

    def schema(self) -> int:
        """What the state says that it was written with; 0 where it does not."""
        entry = self.objects.entries(self.root, self.layout.ref).get(b"meta.json")
        return decoder(Meta).decode(self.objects.raw(entry.oid)).schema if entry else 0

    def nodes(self, node: Node | None = None, folders: tuple[str, ...] = ()) -> Iterator[tuple[Node, tuple[str, ...]]]:
        """Every tree that documents may lie in; a missing one is passed over (`damaged` names it)."""
        node = node or self.root
        yield node, folders
        if len(folders) < self.layout.depth:
            try:
                entries = list(self.objects.entries(node, self.layout.ref).items())
            except UnreadableState:
                return
            for name, entry in entries:
                below = self.objects.child(node, name, self.layout.ref) if entry.mode == TREE else None
                if below is not None:
                    yield from self.nodes(below, (*folders, name.decode("utf-8", "replace")))

    def _holding(self, kind: type[Document]) -> list[Node]:
        """The trees with documents of a kind; told once for all kinds, since a screen asks for a dozen of them."""
        if self._by_kind is None:
            found: dict[str, list[Node]] = {}
            for node, folders in list(self.nodes()):
                try:
                    rows = self.objects.rows(node, folders, self.layout)
                except UnreadableState as error:
                    node.damaged = [error]
                    continue
                for name in rows:
                    found.setdefault(name, []).append(node)
            self._by_kind = found
            self.objects.rowcache.keep(self)
        return self._by_kind.get(kind.KIND, [])

    def rows(self, kind: type[Document]) -> Iterator[Any]:
        for node in self._holding(kind):
            yield from list((node.rows or {}).get(kind.KIND, {}).values())

    def where(self, kind: type[Document], field: str, value: Any) -> Iterator[Any]:
        """The rows of a kind with that value, by an index that each tree keeps."""
        for node in self._holding(kind):
            yield from self.objects.matching(node, kind.KIND, field, value)

    def damaged(self) -> list[Damage]:
        """What cannot be read; every document is looked at, whatever the cache says of it."""
        found: list[Damage] = []
        self._by_kind = None
        for node, folders in list(self.nodes()):
            try:
                found += self.objects.verify(node, folders, self.layout)
            except UnreadableState as error:
                found.append(error)
        return found

    def rewritten(self, changes: Mapping[str, tuple[type[Document], Document | None, bytes]]) -> Node:
        """Write blobs and trees of this picture with documents put (their JSON) or dropped (None)."""
        by_folder: dict[tuple[str, ...], dict[str, str]] = {}
        for document_id in changes:
            place = self.layout.place(document_id)
            by_folder.setdefault(place.folders, {})[document_id] = place.stem
        return self._rewrite(self.root, (), by_folder, changes)

    def _rewrite(
        self,
        node: Node | None,
        folders: tuple[str, ...],
        by_folder: Mapping[tuple[str, ...], Mapping[str, str]],
        changes: Mapping[str, tuple[type[Document], Document | None, bytes]],
    ) -> Node:
        entries = dict(self.objects.entries(node, self.layout.ref)) if node else {}
        children = dict(node.children) if node else {}
        here = by_folder.get(folders, {})
        for document_id, stem in here.items():
            _, document, raw = changes[document_id]
            name = f"{stem}.json".encode()
            if document is None:
                entries.pop(name, None)
            else:
                entries[name] = Entry(BLOB, self.objects.write_blob(raw))
        depth, changed = len(folders), [f"{stem}.json".encode() for stem in here.values()]
        for step in dict.fromkeys(one[depth] for one in by_folder if len(one) > depth and one[:depth] == folders):
            name = step.encode()
            changed.append(name)
            old = self.objects.child(node, name, self.layout.ref) if node else None
            below = self._rewrite(old, (*folders, step), by_folder, changes)
            if below.entries:
                entries[name], children[name] = Entry(TREE, below.oid), below
            else:
                entries.pop(name, None)
                children.pop(name, None)
        written = self.objects.write_tree(entries, node, changed)
        if written is not node:
            written.children = children
            self._carry(node, written, {one: changes[one][:2] for one in here})
        return written

    def _carry(
        self, old: Node | None, new: Node, changed: Mapping[str, tuple[type[Document], Document | None]]
    ) -> None:
        """What was read of a tree holds for the next one, but for what changed."""
        new.documents = dict(old.documents) if old else {}
        rows = (
            None
            if old and old.rows is None
            else {kind: dict(of) for kind, of in (old.rows or {}).items()}
            if old
            else {}
        )
        if old and rows is not None:
            new.damaged = [error for error in old.damaged if error.details["document"].split("/", 1)[-1] not in changed]
        for document_id, (kind, document) in changed.items():
            new.documents.pop(document_id, None)
            if rows is not None:
                rows.setdefault(kind.KIND, {}).pop(document_id, None)
            if document is not None:
                new.documents[document_id] = document
                if rows is not None:
                    rows[kind.KIND][document_id] = row_of(document)
        new.rows = rows
