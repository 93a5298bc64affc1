"""Joins two histories of one of our refs: by document, then by field, against what both had before.

What comes from elsewhere is hostile until it is read: a document that does not fit its kind or lies in another's place
is left out, and named. Nothing is moved here; who calls this pushes, then moves.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from codestrator.errors import Diverged, SchemaNewer, UnreadableState
from codestrator.model import Document
from codestrator.store.documents import META, Damage, Layout, Place, damage, decode, encode
from codestrator.store.merge import merge_document
from codestrator.store.notejoin import join_notes
from codestrator.store.notes import NOTES
from codestrator.store.objects import BLOB, MISSING, TREE, Entry, Node, Objects
from codestrator.store.picture import Picture

if TYPE_CHECKING:
    from codestrator.store.store import Store

__all__ = ["Finish", "Joined", "Picture", "join", "merge_bases"]

MOST_OPERATIONS = 10**9  # counters are commit dates too: above, they would mix with the dates of the user's work
Three = tuple[Entry | None, Entry | None, Entry | None]
# What has to be put right in a tree of documents that were joined one by one: the documents to replace.
Finish = Callable[[Picture], Sequence[Document]]


class Joined(NamedTuple):
    """`commit` has all of both histories; `rejected` tells what of theirs was left out."""

    commit: str
    rejected: tuple[Damage, ...] = ()


def join(
    store: "Store", ref: str, ours: str | None, theirs: str, *, message: str, finish: Finish | None = None
) -> Joined:
    """One of the two if it has all of the other and nothing is wrong with it, else a new commit with both as parents.

    `Diverged` lists what no rule can join; `UnreadableState` or `SchemaNewer` where theirs is no state of ours.
    """
    if ours is not None and store.objects.is_ancestor(theirs, ours):
        return Joined(ours)
    ahead = ours is None or store.objects.is_ancestor(ours, theirs)
    bases = ([ours] if ours else []) if ahead else merge_bases(store, str(ours), theirs)
    if ref == NOTES:
        _require_commit(store, ref, theirs)
        return Joined(theirs if ahead else join_notes(store, str(ours), theirs, bases, message))
    layout = store.layout(ref)
    base, _ = _base(store, layout, bases)
    mine, other = (store.read_commit(ref, commit) if commit else None for commit in (ours, theirs))
    assert other is not None
    _check_counter(other)
    walk = _Walk(store.objects, layout, newest=other.counter)
    root = walk.joined(base, mine.root if mine else None, other.root)
    if walk.diverged:
        raise Diverged(
            f"{len(walk.diverged)} documents of '{ref}' differ in what may not change, first '{walk.diverged[0]}'",
            hint="Compare both sides with git log -p; journal.undo takes a change of this side back.",
            ref=ref,
            documents=walk.diverged,
        )
    counter = max(mine.counter if mine else 0, other.counter) + 1
    picture = Picture(store.objects, layout, theirs, counter, root)
    if finish and (changed := finish(picture)):
        changes = {one.id: (type(one), one, encode(one)) for one in changed}
        root = picture.rewritten(changes)
    if ahead and root.oid == other.root.oid:
        return Joined(theirs, tuple(walk.rejected))
    parents = [ours, theirs] if ours else [theirs]
    return Joined(store.commit(root, parents, counter, message), tuple(walk.rejected))


def _require_commit(store: "Store", ref: str, found: str) -> None:
    try:
        store.objects.commit(found)
    except MISSING as error:
        raise damage(ref, None, found, f"is no commit, which '{ref}' should be: {str(error)[:200]}") from None


def _check_counter(theirs: Picture) -> None:
    if theirs.counter > MOST_OPERATIONS:
        ref = theirs.layout.ref
        raise UnreadableState(
            f"'{theirs.commit}' of '{ref}' counts {theirs.counter} operations, expected at most {MOST_OPERATIONS}",
            hint="Somebody else wrote it; put the ref of the remote back to where it was.",
            ref=ref,
            document=theirs.commit,
            reason="a counter that no state has",
        )


def merge_bases(store: "Store", ours: str, theirs: str) -> list[str]:
    """The newest commits that both have; several where work went over two servers, none where each began alone."""
    status, out, _ = store.git.try_run("merge-base", "--all", ours, theirs)
    return sorted(out.split()) if status == 0 else []


def _base(store: "Store", layout: Layout, commits: Sequence[str]) -> tuple[Node | None, str | None]:
    """The tree that changes are told against: of several bases, what they give when they are joined themselves."""
    pictures = [(store.read_commit(layout.ref, one).root, one) for one in commits]
    if not pictures:
        return None, None

    def folded(one: tuple[Node, str], other: tuple[Node, str]) -> tuple[Node, str]:
        below, _ = _base(store, layout, merge_bases(store, one[1], other[1])[:1])
        return _Walk(store.objects, layout).joined(below, one[0], other[0]), other[1]

    return reduce(folded, pictures)


class _Walk:
    """Two trees walked beside their base; what is alike is not looked into."""

    def __init__(self, objects: Objects, layout: Layout, *, newest: int = MOST_OPERATIONS) -> None:
        self._objects = objects
        self._layout = layout
        self._newest = newest
        self.rejected: list[Damage] = []
        self.diverged: list[str] = []

    def joined(self, base: Node | None, ours: Node | None, theirs: Node | None, folders: tuple[str, ...] = ()) -> Node:
        old, mine, other = (self._entries(node) for node in (base, ours, theirs))
        found: dict[bytes, Entry] = {}
        for name in sorted(mine.keys() | other.keys()):
            taken = self._taken(name, (old.get(name), mine.get(name), other.get(name)), folders)
            if taken is not None:
                found[name] = taken
        for node, entries in ((ours, mine), (theirs, other)):
            if node is not None and found == entries:
                return node
        return self._objects.write_tree(found)

    def _entries(self, node: Node | None) -> dict[bytes, Entry]:
        return dict(self._objects.entries(node, self._layout.ref)) if node else {}

    def _taken(self, name: bytes, three: Three, folders: tuple[str, ...]) -> Entry | None:
        base, ours, theirs = three
        if ours == theirs or theirs == base:
            return ours
        if theirs is None:
            return None if ours == base else ours  # what one side deleted and the other changed is kept
        if TREE in (theirs.mode, ours.mode if ours else None):
            return self._tree(name, three, folders)
        return self._document(name, three, folders)

    def _tree(self, name: bytes, three: Three, folders: tuple[str, ...]) -> Entry | None:
        if len(folders) >= self._layout.depth or any(one.mode != TREE for one in three if one):
            self._reject("/".join((*folders, name.decode("utf-8", "replace"))), "is no document's place")
            return three[1]
        below = (*folders, name.decode("utf-8", "replace"))
        base, ours, theirs = (self._objects.node(one.oid) if one else None for one in three)
        node = self.joined(base, ours, theirs, below)
        return Entry(TREE, node.oid) if node.entries else None

    def _document(self, name: bytes, three: Three, folders: tuple[str, ...]) -> Entry | None:
        base, ours, theirs = three
        assert theirs is not None
        stem = name.decode("utf-8", "replace").removesuffix(".json")
        kind_name, document_id = self._layout.name(Place(folders, stem))
        if document_id == META and not folders:
            return ours or theirs
        if not name.endswith(b".json") or theirs.mode != BLOB or self._layout.place(document_id) != (folders, stem):
            self._reject(document_id, "is no document, or lies in another's place")
            return ours
        try:
            if kind_name is None:
                raise SchemaNewer(f"'{document_id}' is of a kind unknown to this version")
            other = self._read(kind_name, document_id, theirs)
            if other.rev > self._newest:  # it would win against all that is ever written
                raise damage(self._layout.ref, kind_name, document_id, f"has rev {other.rev} above {self._newest}")
        except UnreadableState as error:
            self.rejected.append(error)
            return ours
        except SchemaNewer:  # carried as it is, but never joined by rules that this version does not know
            if ours != base:
                self.diverged.append(document_id)
            return theirs
        mine = self._lenient(kind_name, document_id, ours)
        if mine is None or ours == base:
            return theirs
        try:
            merged = merge_document(self._lenient(kind_name, document_id, base), mine, other)
        except Diverged:
            self.diverged.append(document_id)
            return ours
        return ours if merged == mine else Entry(BLOB, self._objects.write_blob(encode(merged)))

    def _read(self, kind: str, document_id: str, entry: Entry) -> Document:
        try:
            raw = self._objects.raw(entry.oid)
        except MISSING:
            raise damage(self._layout.ref, kind, document_id, f"has its content '{entry.oid.hex()}' missing") from None
        return decode(self._layout.kind(kind), document_id, raw, self._layout.ref)

    def _lenient(self, kind: str, document_id: str, entry: Entry | None) -> Document | None:
        """None for what is not there or cannot be read: the other side's is better than that."""
        try:
            return self._read(kind, document_id, entry) if entry else None
        except (UnreadableState, SchemaNewer):
            return None

    def _reject(self, document_id: str, reason: str) -> None:
        self.rejected.append(damage(self._layout.ref, None, document_id[:200], reason))
