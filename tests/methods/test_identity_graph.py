"""The planning graph and the roles that work on it: whose nodes a child may change, and which its scope holds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from codestrator import registry, table
from codestrator.errors import CodestratorError, Forbidden
from tests.actors import Actor, unchanged
from tests.methods import crew

ROLES = ("plan-architect", "merge-reviewer")
WRITES = [
    (role, name)
    for role in ROLES
    for name, method in table.METHODS.items()
    if method.kind != "read" and table.may_call(role, name) and name.startswith(("graph.", "plan."))
]
# Required parameters by name; ids are those of the child's own session.
FILLS: dict[str, Any] = {
    "node_type": "initiative",
    "title": "x",
    "edge_type": "relates_to",
    "item_text": "x",
    "snapshot_type": "note",
    "initiative_title": "x",
    "plan_title": "x",
    "slice_specs": [{"title": "x"}],
    "reason": "x",
}
# An edge may lead to another's node: it is a part of the node that it comes from.
OPEN = {("graph.edge.create", "to_node_id")}


class Graph(NamedTuple):
    """Two plans of the child's session, and one of another session; the plan of each with its initiative."""

    mine: dict[str, str]
    beside: dict[str, str]
    theirs: dict[str, str]


@pytest.fixture
def graph(root: Actor, other: Actor) -> Graph:
    def plan(one: Actor, name: str) -> dict[str, str]:
        made = one("plan.bootstrap", initiative_title=name, plan_title=name)
        return {kind: made[kind]["id"] for kind in ("initiative", "plan")}

    return Graph(plan(root, "Mine"), plan(root, "Beside"), plan(other, "Theirs"))


def refusal(one: Actor, name: str, **given: Any) -> CodestratorError | None:
    try:
        one(name, **given)
    except CodestratorError as error:
        return error
    return None


def whole(graph: Graph, name: str, **given: Any) -> dict[str, Any]:
    """A call that would be good but for what is given."""
    required = {shape.name for shape in registry.shapes(name) if shape.required}
    nodes = {"from_node_id": graph.mine["plan"], "to_node_id": graph.mine["initiative"]}
    return {field: nodes.get(field, FILLS.get(field, graph.mine["plan"])) for field in required} | given


@pytest.mark.parametrize("role", ROLES)
def test_no_write_takes_an_id_of_another_session(
    role: str, root: Actor, other: Actor, graph: Graph, actor: Callable[..., Actor]
) -> None:
    one = crew.child(actor, root, role=role)
    foreign = {"node": graph.theirs["plan"], "ses": other.session, "wt": other.worktree}
    wrong, tried = [], 0
    for _, name in [pair for pair in WRITES if pair[0] == role]:
        for shape in registry.shapes(name):
            if shape.form == "id" and (name, shape.name) not in OPEN:
                before = root.world.store.tips()
                given = whole(graph, name, **{shape.name: foreign[shape.prefixes[0]]})
                if name == "graph.node.create" and shape.name == "parent_id":
                    given["node_type"] = "slice"
                found = refusal(one, name, **given)
                if type(found) is not Forbidden or root.world.store.tips() != before:
                    wrong.append((name, shape.name, found))
                tried += 1
    assert wrong == [] and tried


@pytest.mark.parametrize("role", ROLES)
def test_no_write_reaches_a_node_outside_of_the_scope(
    role: str, root: Actor, graph: Graph, actor: Callable[..., Actor]
) -> None:
    one = crew.child(actor, root, role=role, scope_node_ids=(graph.mine["plan"],))
    wrong = []
    with unchanged(root):
        for _, name in [pair for pair in WRITES if pair[0] == role]:
            for shape in registry.shapes(name):
                if shape.form == "id" and shape.prefixes == ("node",):
                    for node_id in (graph.beside["plan"], graph.mine["initiative"]):
                        own = {"to_node_id": graph.mine["plan"]} if name == "graph.edge.create" else {}
                        found = refusal(one, name, **whole(graph, name, **own | {shape.name: node_id}))
                        if not isinstance(found, Forbidden) or "out of the scope" not in found.message:
                            wrong.append((name, shape.name, node_id, found))
    assert wrong == []


def test_a_scope_lets_no_new_initiative_be_made(root: Actor, graph: Graph, actor: Callable[..., Actor]) -> None:
    one = crew.child(actor, root, role="plan-architect", scope_node_ids=(graph.mine["plan"],))
    for name in ("plan.bootstrap", "graph.node.create"):
        with unchanged(root), pytest.raises(Forbidden, match="out of the scope"):
            one(name, **whole(graph, name))


def test_what_lies_below_the_scope_is_worked_on_and_all_is_read(
    root: Actor, graph: Graph, actor: Callable[..., Actor]
) -> None:
    one = crew.child(actor, root, role="plan-architect", scope_node_ids=(graph.mine["plan"],))
    made = one("plan.slice.generate", plan_node_id=graph.mine["plan"], slice_specs=[{"title": "Sum"}])["slices"][0]
    assert one("graph.checklist.upsert", node_id=made["id"], item_text="adds")["item"]["item_text"] == "adds"
    assert one("graph.node.list")["count"] == 7
    assert one("graph.node.list", parent_id=graph.theirs["initiative"])["count"] == 1
    assert one("plan.rollup.preview", parent_node_id=graph.beside["plan"])["child_count"] == 0
    newest = root("journal.list", limit=1)["items"][0]
    assert (newest["method"], newest["actor"]) == ("graph.checklist.upsert", one.thread)
