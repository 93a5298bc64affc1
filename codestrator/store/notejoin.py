"""Joins two histories of our notes: by the commit they are on, as the union of their lines."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from codestrator.store.journal import trailers_of
from codestrator.store.notes import NOTES, UPTO, Lines, with_lines
from codestrator.store.objects import TREE, Entry, Node, Objects

if TYPE_CHECKING:
    from codestrator.store.store import Store

NOTE_BYTES = 1024 * 1024  # what is larger is no list of checkpoints
DIGITS = frozenset("0123456789abcdef")
DEEPEST = 19  # git cuts a note's path after at most so many pairs of digits


def join_notes(store: "Store", ours: str, theirs: str, bases: Sequence[str], message: str) -> str:
    """A commit with both as parents, which keeps the older `Upto` mark."""
    mine, other = (store.objects.commit(one) for one in (ours, theirs))
    base = store.objects.node(store.objects.commit(bases[0]).tree_id.raw) if bases else None
    groups: dict[bytes, Lines] = {}
    for name, entry in _differing(store.objects, base, store.objects.node(other.tree_id.raw), ""):
        raw = store.objects.raw(entry.oid)
        if len(raw) <= NOTE_BYTES:
            groups[name.encode()] = dict.fromkeys(line for line in raw.split(b"\n") if line)
    root = store.objects.node(mine.tree_id.raw)
    new = with_lines(store.objects, root, groups, 0) or root
    counter = max(mine.commit_time, other.commit_time) + 1
    return store.commit(new, [ours, theirs], counter, message + _mark(store, mine.message, other.message))


def _mark(store: "Store", ours: str, theirs: str) -> str:
    """Up to which commit of the state both are whole; none where one of them does not know."""
    mine, other = (trailers_of(message).get(UPTO) for message in (ours, theirs))
    if not mine or not other:
        return ""
    has = store.objects.is_ancestor
    older = mine if has(mine, other) else other if has(other, mine) else None
    return f"{UPTO}: {older}\n" if older else ""


def _differing(objects: Objects, base: Node | None, node: Node, above: str) -> Iterator[tuple[str, Entry]]:
    """The notes of a tree that the base does not have just so, by the id of their commit."""
    old = objects.entries(base, NOTES) if base else {}
    for name, entry in objects.entries(node, NOTES).items():
        whole = above + name.decode("ascii", "replace")
        if entry == old.get(name) or not DIGITS.issuperset(whole):
            continue
        if entry.mode != TREE:
            if len(whole) == 40:
                yield whole, entry
        elif len(whole) <= 2 * DEEPEST:
            there = old.get(name)
            below = objects.node(there.oid) if there and there.mode == TREE else None
            yield from _differing(objects, below, objects.node(entry.oid), whole)
