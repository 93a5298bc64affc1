"""Nodes of two machines merge field by field: no edge, item or snapshot of either is lost, whoever is called ours."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codestrator.records import Check, Edge, Node, NodeSnapshot
from codestrator.store.documents import STATE, decode, encode
from codestrator.store.merge import merge_document
from codestrator.store.undo import undo_document

AT = "2026-05-04T09:30:00.000Z"
HERE, THERE = "aaaaaaaaaa", "bbbbbbbbbb"


def a_node(**fields: Any) -> Node:
    known: dict[str, Any] = {
        **{"id": "node-0000000001", "node_type": "plan", "facet": "planning", "title": "Sessions", "priority": 0},
        **{"status": "todo", "approval_state": "none", "created_at": AT, "rev": 1, "writer": HERE},
    }
    return Node(**known | fields)


words = st.sampled_from("xyz")
numbers = st.sampled_from("123")
checks = st.dictionaries(
    numbers,
    st.builds(
        Check,
        text=words,
        status=st.sampled_from(["todo", "done"]),
        facet=st.sampled_from(["planning", "security"]),
        order=st.integers(1, 2),
    ),
)
snapshots = st.dictionaries(numbers, words).map(
    lambda found: tuple(
        NodeSnapshot(n=int(number), snapshot_type="note", at=AT, summary=found[number]) for number in sorted(found)
    )
)
edges = st.lists(
    st.builds(Edge, edge_type=st.sampled_from(["contains", "blocks"]), to=st.sampled_from(["node-a", "node-b"])),
    unique=True,
    max_size=3,
).map(tuple)
nodes = st.builds(
    a_node,
    title=words,
    status=st.sampled_from(["todo", "in_review", "done"]),
    approval_state=st.sampled_from(["none", "pending", "approved"]),
    decided_by=st.one_of(st.none(), words),
    owner_session_id=st.one_of(st.none(), words),
    affected_files=st.lists(words, unique=True).map(tuple),
    edges=edges,
    checklist=checks,
    checklist_count=st.integers(3, 5),
    snapshots=snapshots,
    snapshot_count=st.integers(3, 5),
    rev=st.integers(1, 4),
    writer=st.sampled_from([HERE, THERE]),
)


@given(nodes)
def test_a_node_is_read_as_it_was_written(node: Node) -> None:
    assert decode(Node, node.id, encode(node), STATE) == node


@given(st.one_of(st.none(), nodes), nodes, nodes)
def test_a_merge_is_the_same_whichever_side_is_called_ours(base: Node | None, ours: Node, theirs: Node) -> None:
    merged = merge_document(base, ours, theirs)
    assert merged == merge_document(base, theirs, ours)
    assert decode(Node, merged.id, encode(merged), STATE) == merged
    assert merged.checklist_count >= max(map(int, merged.checklist), default=0)


@given(nodes, nodes, nodes)
def test_no_item_snapshot_or_edge_that_is_new_is_lost(base: Node, ours: Node, theirs: Node) -> None:
    merged = merge_document(base, ours, theirs)
    kept = [check.but(was=None) for check in merged.checklist.values()]
    told = [(one.summary, one.at) for one in merged.snapshots]
    old = {one.n for one in base.snapshots}
    for side in (ours, theirs):
        assert all(check in kept for number, check in side.checklist.items() if number not in base.checklist)
        assert all((one.summary, one.at) in told for one in side.snapshots if one.n not in old)
        assert all(edge in merged.edges for edge in side.edges if edge not in base.edges)
    assert [one.n for one in merged.snapshots] == sorted({one.n for one in merged.snapshots})


@given(nodes, nodes, nodes)
def test_status_and_decision_come_from_one_side(base: Node, ours: Node, theirs: Node) -> None:
    merged = merge_document(base, ours, theirs)
    life = [(one.status, one.approval_state, one.decided_by) for one in (merged, ours, theirs)]
    assert life[0] in life[1:]


def test_an_item_that_both_sides_added_under_one_number_keeps_what_it_was() -> None:
    base = a_node()
    ours, theirs = (
        base.but(checklist={"1": Check(text=text, status="todo", facet="planning", order=1)}, checklist_count=1, rev=2)
        for text in ("mine", "theirs")
    )
    merged = merge_document(base, ours, theirs.but(writer=THERE))
    assert {number: (check.text, check.was) for number, check in merged.checklist.items()} == {
        "1": ("mine", None),
        "2": ("theirs", (1, THERE)),
    }
    assert merged.checklist_count == 2


def test_a_snapshot_that_both_sides_added_takes_the_next_number() -> None:
    base = a_node()
    ours, theirs = (
        base.but(snapshots=(NodeSnapshot(n=1, snapshot_type="note", at=AT, summary=text),), snapshot_count=1, rev=2)
        for text in ("mine", "theirs")
    )
    merged = merge_document(base, ours, theirs.but(writer=THERE))
    assert [(one.n, one.summary) for one in merged.snapshots] == [(1, "mine"), (2, "theirs")]


def test_an_edge_that_one_side_removed_stays_removed() -> None:
    edge = Edge(edge_type="blocks", to="node-a")
    base = a_node(edges=(edge,))
    assert merge_document(base, base.but(edges=(), rev=2), base.but(title="new", rev=3)).edges == ()


@given(nodes, nodes)
def test_an_undo_restores_what_was_there_but_no_number(before: Node, after: Node) -> None:
    after = after.but(rev=before.rev + 1)
    undone = undo_document(after, after, before)
    kept = ("schema", "rev", "writer", "created_at", "updated_at", "checklist_count", "snapshot_count")
    assert undone == before.but(**{name: getattr(after, name) for name in kept})
    assert undo_document(undone, undone, after) == after
