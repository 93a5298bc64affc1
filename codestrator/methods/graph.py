"""The planning graph: initiatives, plans, slices and tasks; edges between them, their checklists and snapshots."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Tx
from codestrator.errors import Forbidden, InvalidParams
from codestrator.methods import who
from codestrator.methods.nodes import (
    ABOVE,
    MOST,
    Priority,
    Tokens,
    acting_thread,
    add_snapshot,
    check_top,
    check_undecided,
    link,
    owning,
    shown_check,
    shown_edge,
    shown_node,
    shown_snapshot,
    writable,
)
from codestrator.methods.paging import page
from codestrator.params import NodeId, Paged, Params, Path, SessionId, Summary, Title, WorktreeId
from codestrator.records import (
    Check,
    CheckStatus,
    EdgeType,
    Node,
    NodeSnapshotType,
    NodeStatus,
    NodeType,
    Worktree,
)

FACET = "planning"


class Create(Params, frozen=True, kw_only=True):
    node_type: NodeType
    title: Title
    parent_id: Annotated[NodeId | None, Meta(description="one type up; required below initiative")] = None
    status: NodeStatus = "todo"
    priority: Priority = 0
    summary: Summary | None = None
    risk_level: Annotated[int, Meta(ge=0, le=10)] | None = None
    token_estimate: Tokens | None = None
    affected_files: tuple[Path, ...] = ()
    facet: Title = FACET
    worktree_id: WorktreeId | None = None
    owner_session_id: SessionId | None = None
    approval_state: Annotated[Literal["none", "pending"], Meta(description="pending: it waits for a decision")] = "none"


def create(tx: Tx, want: Create) -> dict[str, Any]:
    """Add an initiative, plan, slice or task to the planning graph, contained in its parent."""
    session = owning(tx, want.owner_session_id)
    _check_parent(tx, want)
    if want.worktree_id:
        _check_worktree(tx, want.worktree_id)
    node = Node(
        id=tx.mint("node"),
        node_type=want.node_type,
        title=want.title,
        parent_id=want.parent_id,
        status=want.status,
        priority=want.priority,
        summary=want.summary,
        risk_level=want.risk_level,
        token_estimate=want.token_estimate,
        affected_files=tuple(dict.fromkeys(want.affected_files)),
        facet=want.facet,
        worktree_id=want.worktree_id,
        owner_session_id=session.id,
        approval_state=want.approval_state,
        submitted_by=acting_thread(tx).id if want.approval_state == "pending" else None,
    )
    return added(tx, node)


def added(tx: Tx, node: Node) -> dict[str, Any]:
    """Stage a new node, contained in its parent."""
    tx.put(node)
    edge = link(tx, node.parent_id, "contains", node.id) if node.parent_id else None
    return {"node": shown_node(tx.require(Node, node.id)), "edge": edge}


def _check_parent(tx: Tx, want: Create) -> None:
    above = ABOVE[want.node_type]
    if want.parent_id is None:
        if above is None:
            check_top(tx)
            return
        raise InvalidParams(
            f"a {want.node_type} needs a parent, expected parent_id of a {above}",
            field="parent_id",
            found="nothing",
            expected=above,
        )
    parent = writable(tx, want.parent_id)
    if parent.node_type != above:
        raise InvalidParams(
            f"'{parent.id}' is a {parent.node_type}, expected {f'a {above}' if above else 'no parent'} "
            f"above a node of type {want.node_type}",
            field="parent_id",
            found=parent.node_type,
            expected=above or "none",
        )


def _check_worktree(tx: Tx, worktree_id: str) -> None:
    owner = tx.require(Worktree, worktree_id).owner_session_id
    if owner and not who.owns(tx, owner):
        raise Forbidden(
            f"'{worktree_id}' belongs to '{owner}', expected a worktree of the caller's session",
            hint="List those there are with worktree.list.",
            role=tx.caller.role,
            needs=f"the session '{owner}'",
        )


class Listing(Paged, frozen=True, kw_only=True):
    node_type: NodeType | None = None
    facet: Title | None = None
    status: NodeStatus | None = None
    parent_id: NodeId | None = None
    include: Annotated[
        tuple[Literal["edges", "checklist", "snapshot"], ...], Meta(description="snapshot: the latest")
    ] = ()


def listing(tx: Tx, want: Listing) -> dict[str, Any]:
    """List nodes by priority, then age of their last change, with the parts that are asked for."""
    if want.parent_id:
        tx.require(Node, want.parent_id)
    return page(tx, want, lambda then: _listed(then, want), lambda then, row: _with_parts(then, row.id, want.include))


def _listed(tx: Tx, want: Listing) -> list[Any]:
    filters = {name: getattr(want, name) for name in ("node_type", "facet", "status", "parent_id")}
    equals = {name: value for name, value in filters.items() if value is not None}
    rows = tx.where(Node, **equals) if equals else tx.rows(Node)
    return sorted(rows, key=lambda row: (-row.priority, row.updated_at, row.id))


def _with_parts(tx: Tx, node_id: str, include: Sequence[str]) -> dict[str, Any]:
    node = tx.require(Node, node_id)
    found = shown_node(node)
    if "edges" in include:
        found["edges"] = [shown_edge(node.id, edge) for edge in node.edges]
    if "checklist" in include:
        found["checklist"] = [shown_check(node.id, number, check) for number, check in checks_of(node)]
    if "snapshot" in include and node.snapshots:
        found["snapshot"] = shown_snapshot(node.id, node.snapshots[-1])
    return found


def checks_of(node: Node) -> list[tuple[str, Check]]:
    """Its checklist, facet by facet in order, each item with its number."""
    return sorted(node.checklist.items(), key=lambda one: (one[1].facet, one[1].order, int(one[0])))


class Join(Params, frozen=True, kw_only=True):
    from_node_id: NodeId
    to_node_id: NodeId
    edge_type: EdgeType


def join(tx: Tx, want: Join) -> dict[str, Any]:
    """Lay an edge between two nodes; contains, depends_on and blocks make no cycles.

    It is a part of the node that it comes from. The same again changes nothing.
    """
    writable(tx, want.from_node_id)
    tx.require(Node, want.to_node_id)
    return {"edge": link(tx, want.from_node_id, want.edge_type, want.to_node_id)}


class Upsert(Params, frozen=True, kw_only=True):
    node_id: NodeId
    item_text: Title
    status: CheckStatus = "todo"
    order_no: Annotated[int, Meta(ge=1, le=MOST, description="sets or makes that item of the facet")] | None = None
    facet: Title = FACET


def upsert(tx: Tx, want: Upsert) -> dict[str, Any]:
    """Set an item of a node's checklist, or add it.

    Without `order_no`, the item of the facet that has the same text is set, else one is added at the facet's end.
    """
    node = writable(tx, want.node_id)
    of_facet = [(number, check) for number, check in checks_of(node) if check.facet == want.facet]
    if want.order_no:
        known = [number for number, check in of_facet if check.order == want.order_no]
    else:
        known = [number for number, check in of_facet if check.text == want.item_text]
    if known:
        number, count = known[0], node.checklist_count
        check = node.checklist[number].but(text=want.item_text, status=want.status)
    else:
        count = max([node.checklist_count, *map(int, node.checklist)]) + 1
        number = str(count)
        order = want.order_no or max((check.order for _, check in of_facet), default=0) + 1
        check = Check(text=want.item_text, status=want.status, facet=want.facet, order=order)
    tx.put(node.but(checklist=node.checklist | {number: check}, checklist_count=count))
    return {"item": shown_check(node.id, number, check)}


class Snapshot(Params, frozen=True, kw_only=True):
    node_id: NodeId
    snapshot_type: NodeSnapshotType
    summary: Summary | None = None
    affected_files: tuple[Path, ...] = ()
    next_action: Summary | None = None
    status: Annotated[NodeStatus | None, Meta(description="only with type status: sets the node's")] = None


def snapshot(tx: Tx, want: Snapshot) -> dict[str, Any]:
    """Record what is to be said of a node now; with type status, set its status too.

    Snapshots are never changed. A node that waits for a decision, or was approved, keeps its status.
    """
    node = writable(tx, want.node_id)
    if want.status and want.snapshot_type != "status":
        raise InvalidParams(
            f"'status' is given with snapshot_type '{want.snapshot_type}', expected it only with 'status'",
            field="status",
            found=want.snapshot_type,
            expected="snapshot_type status",
        )
    if want.status and want.status != node.status:
        check_undecided(node)
        node = node.but(status=want.status)
    node = tx.put(add_snapshot(tx, node, want.snapshot_type, want.summary, want.affected_files, want.next_action))
    return {"snapshot": shown_snapshot(node.id, node.snapshots[-1]), "node": shown_node(node)}
