"""The content of trees: read, written, and written anew where only some lines changed."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codestrator.store.objects import BLOB, TREE, Entry, Node, join_tree, spliced, split_tree
from codestrator.store.sha import LONG, sha1

names = st.sampled_from([b"case-%010d.json" % number for number in range(40)])
ids = st.binary(min_size=20, max_size=20)
trees = st.dictionaries(names, st.builds(Entry, st.just(BLOB), ids), min_size=1)


def known(entries: dict[bytes, Entry]) -> Node:
    """A tree that was read."""
    node = Node(os.urandom(20))
    node.entries, node.raw = entries, join_tree(entries)
    return node


@given(trees)
def test_what_is_written_is_what_is_read(entries: dict[bytes, Entry]) -> None:
    assert split_tree(join_tree(entries)) == entries


@given(trees, trees)
def test_other_objects_in_the_same_lines_give_the_tree_that_would_be_made_anew(
    entries: dict[bytes, Entry], others: dict[bytes, Entry]
) -> None:
    changed = {name: entry for name, entry in others.items() if name in entries}
    assert spliced(known(entries), entries | changed, changed) == join_tree(entries | changed)


@given(trees, trees)
def test_new_and_lost_lines_are_not_replaced(entries: dict[bytes, Entry], others: dict[bytes, Entry]) -> None:
    new = others.keys() - entries.keys()
    if new:
        assert spliced(known(entries), entries | others, others) is None
    (first, *_) = entries
    assert spliced(known(entries), {name: entries[name] for name in entries if name != first}, [first]) is None


def test_an_id_with_the_bytes_of_a_line_is_told_apart() -> None:
    line = b"%s a\0" % TREE
    entries = {b"a": Entry(TREE, b"1" * 20), b"b": Entry(BLOB, line.ljust(20, b"x"))}
    assert spliced(known(entries), entries | {b"a": Entry(TREE, b"2" * 20)}, [b"a"]) is None
    assert spliced(known(entries), entries | {b"a": Entry(BLOB, b"2" * 20)}, [b"a"]) is None
    assert spliced(Node(b"x" * 20), entries, [b"b"]) is None


@pytest.mark.parametrize("size", [0, LONG, LONG + 1, 100_000])
def test_an_id_is_the_same_whoever_works_it_out(size: int) -> None:
    content = os.urandom(size)
    assert sha1(content) == hashlib.sha1(content, usedforsecurity=False).digest()
