"""What graph and plan share: nodes as callers see them, who may change one, edges without cycles, snapshots."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta

from codestrator import scopes
from codestrator.calls import Tx
from codestrator.errors import Conflict, Forbidden, InvalidParams, WrongState
from codestrator.methods import who
from codestrator.model import shown
from codestrator.records import (
    SESSION_ENDED,
    Check,
    Edge,
    EdgeType,
    Node,
    NodeSnapshot,
    NodeSnapshotType,
    Session,
    Thread,
)

ABOVE = {"initiative": None, "plan": "initiative", "slice": "plan", "task": "slice"}
ACYCLIC = ("contains", "depends_on", "blocks")
PARTS = ("edges", "checklist", "checklist_count", "snapshots", "snapshot_count")
MOST = 1_000_000_000

Priority = Annotated[int, Meta(ge=-1000, le=1000, description="higher first")]
Tokens = Annotated[int, Meta(ge=0, le=MOST)]


def shown_node(node: Node) -> dict[str, Any]:
    """A node as callers see it, without its parts."""
    return {name: value for name, value in shown(node).items() if name not in PARTS}


def shown_edge(node_id: str, edge: Edge) -> dict[str, Any]:
    return {
        "id": f"{node_id}.{edge.edge_type}.{edge.to}",
        "from_node_id": node_id,
        "to_node_id": edge.to,
        "edge_type": edge.edge_type,
    }


def shown_check(node_id: str, number: str, check: Check) -> dict[str, Any]:
    return {
        "id": f"{node_id}.c{number}",
        "node_id": node_id,
        "order_no": check.order,
        "item_text": check.text,
        "status": check.status,
        "facet": check.facet,
    }


def shown_snapshot(node_id: str, snapshot: NodeSnapshot) -> dict[str, Any]:
    found = shown(snapshot)
    return {"id": f"{node_id}.s{found.pop('n')}", "node_id": node_id} | found


def owning(tx: Tx, given: str | None) -> Session:
    """The session that new things of the plan belong to: the caller's own, which a given one must agree with."""
    session = who.active_session(tx, given)
    if not who.owns(tx, session.id):
        raise Forbidden(
            f"'{session.id}' is another's session, expected '{tx.caller.session_id}'",
            hint="Leave 'owner_session_id' out: it is the caller's own.",
            role=tx.caller.role,
            needs="a session of its own",
        )
    return session


def writable(tx: Tx, node_id: str) -> Node:
    """The node; refused while it belongs to another session that has not ended."""
    node = tx.require(Node, node_id)
    owner = tx.get(Session, node.owner_session_id)
    if owner and owner.status not in SESSION_ENDED and not who.owns(tx, owner.id):
        raise Forbidden(
            f"'{node.id}' belongs to '{owner.id}', expected a node of the caller's session or of one that has ended",
            hint="Ask its root with inbox.send, or relate a node of your own to it with graph.edge.create.",
            role=tx.caller.role,
            needs=f"the session '{owner.id}'",
        )
    return node


def acting_thread(tx: Tx) -> Thread:
    """The thread that a call is made for; of a root, and of a person, the session's root thread."""
    return who.thread_of(tx, None, who.active_session(tx, None))


def check_top(tx: Tx) -> None:
    """Refuse a new initiative by a child that has a scope: it would lie outside of it."""
    thread = tx.get(Thread, tx.caller.thread_id) if tx.caller.kind == "child" else None
    if thread and (scope := scopes.of(thread)):
        raise Forbidden(
            f"a new initiative is out of the scope of '{thread.id}', expected a node below one of {', '.join(scope)}",
            hint="Ask the root to widen the scope: call inbox.send with receiver_thread_id 'root'.",
            role=tx.caller.role,
            needs="a scope that holds it",
            scope=sorted(scope),
        )


def link(
    tx: Tx, from_id: str, edge_type: EdgeType, to_id: str, names: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Stage an edge, unless it is there; refused where it would close a cycle.

    `names` says what to call nodes that this very call makes: their ids would mean nothing after a refusal.
    """
    if from_id == to_id:
        raise InvalidParams(
            f"'{names.get(from_id, from_id)}' cannot have an edge to itself, expected two nodes",
            field="to_node_id",
            found=names.get(to_id, to_id),
            expected="another node",
        )
    node, edge = tx.require(Node, from_id), Edge(edge_type=edge_type, to=to_id)
    if edge not in node.edges:
        if edge_type in ACYCLIC and (path := _way(tx, edge_type, to_id, from_id)):
            around = [names.get(one, one) for one in (from_id, *path)]
            raise Conflict(
                f"{edge_type} would close the cycle {' → '.join(map(repr, around))}, expected none",
                hint="Leave this edge out, or turn it round; graph.node.list with include edges shows those there are.",
                path=around,
            )
        tx.put(node.but(edges=(*node.edges, edge)))
    return shown_edge(from_id, edge)


def _way(tx: Tx, edge_type: str, start: str, goal: str) -> list[str]:
    """The nodes from start to goal along edges of that type; none if there is no way."""
    came: dict[str, str | None] = {start: None}
    waiting = [start]
    while waiting and goal not in came:
        node = tx.get(Node, at := waiting.pop())
        for edge in node.edges if node else ():
            if edge.edge_type == edge_type and edge.to not in came:
                came[edge.to] = at
                waiting.append(edge.to)
    path: list[str] = []
    one = goal if goal in came else None
    while one is not None:
        path.insert(0, one)
        one = came[one]
    return path


def add_snapshot(
    tx: Tx,
    node: Node,
    snapshot_type: NodeSnapshotType,
    summary: str | None,
    affected_files: Sequence[str],
    next_action: str | None,
) -> Node:
    """The node with one more snapshot; numbers are never used again."""
    number = max([node.snapshot_count, *(one.n for one in node.snapshots)]) + 1
    snapshot = NodeSnapshot(
        n=number,
        snapshot_type=snapshot_type,
        at=tx.at,
        summary=summary,
        affected_files=tuple(dict.fromkeys(affected_files)),
        next_action=next_action,
    )
    return node.but(snapshots=(*node.snapshots, snapshot), snapshot_count=number)


def check_undecided(node: Node) -> None:
    """Refuse to set the status of a node that waits for a decision, or has got its approval."""
    if node.approval_state in ("pending", "approved"):
        raise WrongState(
            f"'{node.id}' is '{node.approval_state}', expected a node that is not under decision",
            hint="Decide it with plan.rollup.approve or plan.rollup.reject."
            if node.approval_state == "pending"
            else "Make a new node with graph.node.create for what is still to do.",
            found=node.approval_state,
            expected=["none", "rejected"],
        )
