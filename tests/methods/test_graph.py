"""The planning graph: nodes, edges, checklists and snapshots; who may change them, and what a merge makes of two."""

from collections.abc import Callable
from typing import Any

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.records import Check, Node, NodeSnapshot
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods.crew import child, put

GONE = "node-0000000000"
Kin = tuple[str, str, str, str]


def node(one: Actor, node_type: str, title: str, **given: Any) -> str:
    """A node; its id."""
    return str(one("graph.node.create", node_type=node_type, title=title, **given)["node"]["id"])


@pytest.fixture
def kin(root: Actor) -> Kin:
    """An initiative, its plan, the plan's slice and the slice's task."""
    found: list[str] = []
    for node_type in ("initiative", "plan", "slice", "task"):
        found.append(node(root, node_type, f"the {node_type}", **({"parent_id": found[-1]} if found else {})))
    return found[0], found[1], found[2], found[3]


def listed(one: Actor, **given: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = one("graph.node.list", **given)["items"]
    return items


def edges(one: Actor, node_id: str) -> list[str]:
    """The ids of a node's edges."""
    (found,) = (item for item in listed(one, include=["edges"]) if item["id"] == node_id)
    return [edge["id"] for edge in found["edges"]]


def test_a_node_is_contained_in_its_parent_in_the_same_operation(root: Actor) -> None:
    top = node(root, "initiative", "Faster login")
    found = root("graph.node.create", node_type="plan", title="Sessions", parent_id=top)
    made = found["node"]
    assert made["id"].startswith("node-")
    assert (made["status"], made["priority"], made["facet"], made["approval_state"]) == ("todo", 0, "planning", "none")
    assert made["parent_id"] == top and made["owner_session_id"] == root.session
    assert found["edge"] == {
        "id": f"{top}.contains.{made['id']}",
        "from_node_id": top,
        "to_node_id": made["id"],
        "edge_type": "contains",
    }
    newest = root("journal.list", limit=1)["items"][0]
    assert (newest["method"], sorted(one["change"] for one in newest["documents"])) == (
        "graph.node.create",
        ["added", "changed"],
    )


def test_an_initiative_has_no_edge_and_everything_given_is_kept(root: Actor) -> None:
    given = {
        "facet": "security",
        "status": "in_progress",
        "priority": 7,
        "summary": "why",
        "risk_level": 10,
        "token_estimate": 0,
        "affected_files": ["src/a.py", "src/ü b.py"],
        "worktree_id": root.worktree,
        "owner_session_id": root.session,
    }
    found = root("graph.node.create", node_type="initiative", title="x", **given)
    assert "edge" not in found
    assert {name: found["node"][name] for name in given} == given
    assert {"edges", "checklist", "snapshots", "snapshot_count", "rev", "writer"}.isdisjoint(found["node"])


@pytest.mark.parametrize(
    ("node_type", "above"),
    [
        *(("plan", None), ("slice", None), ("task", None)),
        *(("initiative", 0), ("initiative", 3), ("plan", 1), ("plan", 2), ("slice", 0), ("slice", 2)),
        *(("task", 0), ("task", 1), ("task", 3)),
    ],
)
def test_a_parent_is_one_type_up(root: Actor, kin: Kin, node_type: str, above: int | None) -> None:
    parent = {} if above is None else {"parent_id": kin[above]}
    with unchanged(root), pytest.raises(InvalidParams) as refusal:
        node(root, node_type, "x", **parent)
    assert refusal.value.details["field"] == "parent_id"


@pytest.mark.parametrize(
    "given",
    [
        {"node_type": "epic"},
        {"title": "  "},
        {"title": "x" * 301},
        {"priority": 1001},
        {"priority": 1.5},
        {"risk_level": 11},
        {"risk_level": -1},
        {"risk_level": True},
        {"token_estimate": -1},
        {"token_estimate": 10**30},
        {"status": "landed"},
        {"approval_state": "approved"},
        {"affected_files": ["../outside"]},
        {"affected_files": ["a"] * 1001},
        {"summary": "x" * 8193},
        {"parent_id": "case-0000000000"},
        {"parent_id": 7},
        {"parnet_id": GONE},
    ],
)
def test_bad_values_of_a_node_are_refused(root: Actor, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("graph.node.create", **{"node_type": "initiative", "title": "x"} | given)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("graph.node.create", {"node_type": "plan", "title": "x", "parent_id": GONE}),
        ("graph.node.create", {"node_type": "initiative", "title": "x", "worktree_id": "wt-0000000000"}),
        ("graph.node.create", {"node_type": "initiative", "title": "x", "owner_session_id": "ses-0000000000"}),
        ("graph.node.list", {"parent_id": GONE}),
        ("graph.edge.create", {"from_node_id": GONE, "to_node_id": "node-1111111111", "edge_type": "blocks"}),
        ("graph.checklist.upsert", {"node_id": GONE, "item_text": "x"}),
        ("graph.snapshot.create", {"node_id": GONE, "snapshot_type": "note"}),
    ],
)
def test_what_is_not_there_is_not_found(root: Actor, method: str, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(NotFound):
        root(method, **given)


def test_creating_again_makes_another_and_a_key_does_not(root: Actor) -> None:
    given = {"node_type": "initiative", "title": "x"}
    first = root("graph.node.create", **given, idempotency_key="k")
    assert root("graph.node.create", **given)["node"]["id"] != first["node"]["id"]
    with unchanged(root):
        assert root("graph.node.create", **given, idempotency_key="k") == first | {"repeated": True}
        with pytest.raises(Conflict):
            root("graph.node.create", **given | {"title": "y"}, idempotency_key="k")


def test_lists_by_priority_then_age_then_filters(root: Actor, clock: SteeredClock) -> None:
    first = node(root, "initiative", "first")
    clock.advance(1)
    second = node(root, "initiative", "second", facet="security", status="blocked")
    clock.advance(1)
    urgent = node(root, "initiative", "urgent", priority=1)
    below = node(root, "plan", "below", parent_id=second, priority=-1)

    def ids_of(**given: Any) -> list[str]:
        return [one["id"] for one in listed(root, **given)]

    assert ids_of() == [urgent, first, second, below]
    assert ids_of(node_type="plan") == ids_of(parent_id=second) == [below]
    assert ids_of(facet="security") == ids_of(status="blocked") == [second]
    assert ids_of(node_type="initiative", status="todo") == [urgent, first]
    assert ids_of(node_type="task") == []


def test_a_list_has_the_parts_that_are_asked_for(root: Actor, kin: Kin) -> None:
    _, plan, part, _ = kin
    root("graph.checklist.upsert", node_id=part, item_text="test")
    for number in range(2):
        root("graph.snapshot.create", node_id=part, snapshot_type="note", summary=f"note {number}")
    (bare,) = listed(root, parent_id=plan)
    assert {"edges", "checklist", "snapshot"}.isdisjoint(bare)
    (whole,) = listed(root, parent_id=plan, include=["edges", "checklist", "snapshot"])
    assert whole["edges"][0]["to_node_id"] == kin[3]
    assert whole["checklist"][0]["item_text"] == "test"
    assert whole["snapshot"]["id"] == f"{part}.s2" and whole["snapshot"]["summary"] == "note 1"
    with unchanged(root), pytest.raises(InvalidParams):
        listed(root, include=["everything"])


def test_pages_hold_still_while_the_graph_changes(root: Actor) -> None:
    made = {node(root, "initiative", f"i{number}") for number in range(5)}
    page = root("graph.node.list", limit=2)
    seen = [one["id"] for one in page["items"]]
    late = node(root, "initiative", "late", priority=9)
    while "next_cursor" in page:
        page = root("graph.node.list", limit=2, cursor=page["next_cursor"])
        seen += [one["id"] for one in page["items"]]
    assert sorted(seen) == sorted(made) and late not in seen


def test_a_list_answers_as_of_an_operation(root: Actor) -> None:
    first = node(root, "initiative", "first")
    op = root("journal.list", limit=1)["items"][0]["op"]
    node(root, "initiative", "second")
    assert [one["id"] for one in listed(root, at=op)] == [first]


def test_a_beginning_of_a_nodes_id_is_enough(root: Actor) -> None:
    top = node(root, "initiative", "x")
    assert root("graph.checklist.upsert", node_id=top[:-1], item_text="a")["item"]["node_id"] == top


def test_an_edge_is_laid_once(root: Actor, kin: Kin) -> None:
    given = {"from_node_id": kin[2], "to_node_id": kin[0], "edge_type": "relates_to"}
    found = root("graph.edge.create", **given)
    assert found["edge"] == {"id": f"{kin[2]}.relates_to.{kin[0]}", **given}
    with unchanged(root):
        assert root("graph.edge.create", **given) == found
    assert edges(root, kin[2]) == [f"{kin[2]}.contains.{kin[3]}", f"{kin[2]}.relates_to.{kin[0]}"]


def test_a_node_has_no_edge_to_itself(root: Actor, kin: Kin) -> None:
    for edge_type in ("contains", "depends_on", "blocks", "relates_to"):
        with unchanged(root), pytest.raises(InvalidParams):
            root("graph.edge.create", from_node_id=kin[0], to_node_id=kin[0], edge_type=edge_type)
    with unchanged(root), pytest.raises(InvalidParams):
        root("graph.edge.create", from_node_id=kin[0], to_node_id=kin[1], edge_type="follows")


@pytest.mark.parametrize("edge_type", ["depends_on", "blocks"])
def test_a_cycle_is_refused_and_named(root: Actor, edge_type: str) -> None:
    a, b, c, aside = (node(root, "initiative", name) for name in "abcd")
    for one, other in ((a, b), (a, aside), (b, aside), (b, c)):
        root("graph.edge.create", from_node_id=one, to_node_id=other, edge_type=edge_type)
    with unchanged(root), pytest.raises(Conflict) as refusal:
        root("graph.edge.create", from_node_id=c, to_node_id=a, edge_type=edge_type)
    assert refusal.value.details["path"] == [c, a, b, c]
    assert all(repr(one) in refusal.value.message for one in (a, b, c)) and aside not in refusal.value.message


def test_what_contains_is_not_contained(root: Actor, kin: Kin) -> None:
    with unchanged(root), pytest.raises(Conflict) as refusal:
        root("graph.edge.create", from_node_id=kin[3], to_node_id=kin[0], edge_type="contains")
    assert refusal.value.details["path"] == [kin[3], *kin]


def test_relations_and_edges_of_different_types_make_no_cycle(root: Actor) -> None:
    a, b = (node(root, "initiative", name) for name in "ab")
    for one, other, edge_type in ((a, b, "relates_to"), (b, a, "relates_to"), (a, b, "depends_on"), (b, a, "contains")):
        root("graph.edge.create", from_node_id=one, to_node_id=other, edge_type=edge_type)
    assert len(edges(root, a)) == len(edges(root, b)) == 2


def items(one: Actor, node_id: str) -> list[tuple[int, str, str, str]]:
    (found,) = (item for item in listed(one, include=["checklist"]) if item["id"] == node_id)
    return [(item["order_no"], item["item_text"], item["status"], item["facet"]) for item in found["checklist"]]


def test_checklist_items_are_set_by_their_text_or_added(root: Actor) -> None:
    top = node(root, "initiative", "x")
    first = root("graph.checklist.upsert", node_id=top, item_text="write")["item"]
    assert first == {
        **{"id": f"{top}.c1", "node_id": top, "order_no": 1},
        **{"item_text": "write", "status": "todo", "facet": "planning"},
    }
    root("graph.checklist.upsert", node_id=top, item_text="run")
    again = root("graph.checklist.upsert", node_id=top, item_text="write", status="done")["item"]
    assert again == first | {"status": "done"}
    with unchanged(root):
        assert root("graph.checklist.upsert", node_id=top, item_text="write", status="done")["item"] == again
    assert items(root, top) == [(1, "write", "done", "planning"), (2, "run", "todo", "planning")]


def test_checklist_items_are_set_by_their_number_within_a_facet(root: Actor) -> None:
    top = node(root, "initiative", "x")
    root("graph.checklist.upsert", node_id=top, item_text="third", order_no=3)
    root("graph.checklist.upsert", node_id=top, item_text="first", order_no=1)
    root("graph.checklist.upsert", node_id=top, item_text="first", facet="security")
    changed = root("graph.checklist.upsert", node_id=top, item_text="other", order_no=3, status="blocked")["item"]
    assert changed["id"] == f"{top}.c1"
    with unchanged(root):
        root("graph.checklist.upsert", node_id=top, item_text="other", order_no=3, status="blocked")
    root("graph.checklist.upsert", node_id=top, item_text="last")
    assert items(root, top) == [
        *((1, "first", "todo", "planning"), (3, "other", "blocked", "planning"), (4, "last", "todo", "planning")),
        (1, "first", "todo", "security"),
    ]


@pytest.mark.parametrize(
    "given", [{"item_text": " "}, {"item_text": "x" * 301}, {"status": "in_review"}, {"order_no": 0}, {"order_no": "1"}]
)
def test_bad_values_of_an_item_are_refused(root: Actor, kin: Kin, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("graph.checklist.upsert", **{"node_id": kin[0], "item_text": "x"} | given)


def test_snapshots_are_numbered_and_only_added(root: Actor, kin: Kin) -> None:
    given = {"node_id": kin[2], "snapshot_type": "note", "summary": "s", "affected_files": ["a", "a"]}
    first = root("graph.snapshot.create", **given, next_action="go on", idempotency_key="k")
    assert first["snapshot"].pop("at")
    assert first["snapshot"] == {
        **{"id": f"{kin[2]}.s1", "node_id": kin[2], "snapshot_type": "note", "summary": "s"},
        **{"affected_files": ["a"], "next_action": "go on"},
    }
    with unchanged(root):
        assert root("graph.snapshot.create", **given, next_action="go on", idempotency_key="k")["repeated"] is True
    assert root("graph.snapshot.create", **given)["snapshot"]["id"] == f"{kin[2]}.s2"


def test_numbers_go_on_behind_those_that_a_merge_gave(root: Actor) -> None:
    top = node(root, "initiative", "x")
    kept = root.world.store.read().require(Node, top)
    shots = tuple(NodeSnapshot(n=n, snapshot_type="note", at="2026-05-04T09:30:00.000Z") for n in (1, 2))
    checks = {"4": Check(text="a", status="todo", facet="planning", order=1)}
    put(root, kept.but(snapshots=shots, snapshot_count=1, checklist=checks, checklist_count=1))
    assert root("graph.snapshot.create", node_id=top, snapshot_type="note")["snapshot"]["id"] == f"{top}.s3"
    assert root("graph.checklist.upsert", node_id=top, item_text="b")["item"]["id"] == f"{top}.c5"


def test_a_status_snapshot_sets_the_status_and_no_other_may(root: Actor, kin: Kin) -> None:
    found = root("graph.snapshot.create", node_id=kin[2], snapshot_type="status", status="in_progress")
    assert found["node"]["status"] == "in_progress"
    for snapshot_type in ("replan", "rollup", "note"):
        with unchanged(root), pytest.raises(InvalidParams) as refusal:
            root("graph.snapshot.create", node_id=kin[2], snapshot_type=snapshot_type, status="done")
        assert refusal.value.details["field"] == "status"
    with unchanged(root), pytest.raises(InvalidParams):
        root("graph.snapshot.create", node_id=kin[2], snapshot_type="status", status="landed")
    with unchanged(root), pytest.raises(InvalidParams):
        root("graph.snapshot.create", node_id=kin[2], snapshot_type="photo")


def test_a_node_under_decision_keeps_its_status(root: Actor) -> None:
    waiting = node(root, "initiative", "x", approval_state="pending")
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("graph.snapshot.create", node_id=waiting, snapshot_type="status", status="done")
    assert refusal.value.details["found"] == "pending"
    root("graph.snapshot.create", node_id=waiting, snapshot_type="status", status="todo", summary="still")


def test_another_sessions_nodes_can_be_read_and_related_to_but_not_changed(root: Actor, other: Actor, kin: Kin) -> None:
    theirs = node(other, "initiative", "theirs")
    assert {one["id"] for one in listed(other)} == {*kin, theirs}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("graph.node.create", {"node_type": "plan", "title": "x", "parent_id": kin[0]}),
        ("graph.edge.create", {"from_node_id": kin[0], "to_node_id": theirs, "edge_type": "blocks"}),
        ("graph.checklist.upsert", {"node_id": kin[0], "item_text": "x"}),
        ("graph.snapshot.create", {"node_id": kin[0], "snapshot_type": "note"}),
        ("graph.node.create", {"node_type": "initiative", "title": "x", "worktree_id": root.worktree}),
        ("graph.node.create", {"node_type": "initiative", "title": "x", "owner_session_id": root.session}),
    ]
    for method, given in calls:
        with unchanged(root), pytest.raises(Forbidden):
            other(method, **given)
    other("graph.edge.create", from_node_id=theirs, to_node_id=kin[0], edge_type="depends_on")


def test_nodes_of_an_ended_session_are_everybodys(root: Actor, other: Actor, kin: Kin) -> None:
    root("session.close", session_id=root.session)
    assert other("graph.checklist.upsert", node_id=kin[0], item_text="x")["item"]["node_id"] == kin[0]


def test_a_closed_session_adds_no_nodes(root: Actor, other: Actor) -> None:
    other("session.close", session_id=other.session)
    with unchanged(root), pytest.raises(WrongState):
        other("graph.node.create", node_type="initiative", title="x", owner_session_id=other.session)
    with unchanged(root), pytest.raises(InvalidParams, match="session_id"):
        other("graph.node.create", node_type="initiative", title="x")


def test_an_architect_calls_all_of_it_for_its_session(root: Actor, actor: Callable[..., Actor], kin: Kin) -> None:
    one = child(actor, root, role="plan-architect")
    top = node(one, "initiative", "by a child")
    assert listed(one, status="todo")
    one("graph.edge.create", from_node_id=top, to_node_id=kin[0], edge_type="relates_to")
    one("graph.checklist.upsert", node_id=kin[1], item_text="x")
    found = one("graph.snapshot.create", node_id=top, snapshot_type="status", status="in_progress")
    assert found["node"]["owner_session_id"] == root.session


def test_a_reviewer_lists_and_checks_off_and_a_worker_does_neither(
    root: Actor, actor: Callable[..., Actor], kin: Kin
) -> None:
    reviewer, worker = child(actor, root, role="merge-reviewer"), child(actor, root)
    assert len(listed(reviewer)) == 4
    reviewer("graph.checklist.upsert", node_id=kin[0], item_text="x", status="done")
    calls: dict[str, dict[str, Any]] = {
        "graph.node.create": {"node_type": "initiative", "title": "x"},
        "graph.edge.create": {"from_node_id": kin[0], "to_node_id": kin[1], "edge_type": "blocks"},
        "graph.snapshot.create": {"node_id": kin[0], "snapshot_type": "note"},
    }
    more = {"graph.node.list": {}, "graph.checklist.upsert": {"node_id": kin[0], "item_text": "x"}}
    for one, forbidden in ((reviewer, calls), (worker, calls | more)):
        for method, given in forbidden.items():
            with unchanged(root), pytest.raises(Forbidden):
                one(method, **given)


def test_a_scoped_architect_changes_only_what_lies_below_its_nodes(
    root: Actor, actor: Callable[..., Actor], kin: Kin
) -> None:
    one = child(actor, root, role="plan-architect", scope_node_ids=(kin[1],))
    below = node(one, "slice", "inside", parent_id=kin[1])
    one("graph.edge.create", from_node_id=below, to_node_id=kin[2], edge_type="depends_on")
    one("graph.checklist.upsert", node_id=kin[3], item_text="x")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("graph.node.create", {"node_type": "initiative", "title": "x"}),
        ("graph.node.create", {"node_type": "plan", "title": "x", "parent_id": kin[0]}),
        ("graph.edge.create", {"from_node_id": kin[0], "to_node_id": kin[2], "edge_type": "blocks"}),
        ("graph.checklist.upsert", {"node_id": kin[0], "item_text": "x"}),
        ("graph.snapshot.create", {"node_id": kin[0], "snapshot_type": "note"}),
    ]
    for method, given in calls:
        with unchanged(root), pytest.raises(Forbidden, match="out of the scope"):
            one(method, **given)


def test_an_undo_takes_a_node_and_its_edge_away_and_never_uses_a_number_again(root: Actor) -> None:
    top = node(root, "initiative", "x")
    root("graph.checklist.upsert", node_id=top, item_text="a")
    root("graph.snapshot.create", node_id=top, snapshot_type="note")
    below = node(root, "plan", "y", parent_id=top)
    root("journal.undo", count=3)
    assert [one["id"] for one in listed(root)] == [top] and edges(root, top) == [] and below
    assert items(root, top) == []
    assert root("graph.checklist.upsert", node_id=top, item_text="b")["item"]["id"] == f"{top}.c2"
    assert root("graph.snapshot.create", node_id=top, snapshot_type="note")["snapshot"]["id"] == f"{top}.s2"


def test_a_node_that_another_needs_is_not_taken_back(root: Actor, other: Actor) -> None:
    top = node(root, "initiative", "x")
    mine = node(other, "initiative", "y")
    other("graph.edge.create", from_node_id=mine, to_node_id=top, edge_type="depends_on")
    with unchanged(root), pytest.raises(Conflict, match=mine):
        root("journal.undo")
