"""Plans: an initiative with its plan, slices within a budget, replanning, and rollups that another thread decides."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from codestrator import ids, scopes
from codestrator.calls import Tx
from codestrator.errors import AmbiguousId, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.methods.graph import FACET, added
from codestrator.methods.nodes import (
    Priority,
    Tokens,
    acting_thread,
    add_snapshot,
    check_top,
    link,
    owning,
    shown_node,
    shown_snapshot,
    writable,
)
from codestrator.methods.paging import fitting
from codestrator.params import NodeId, Params, Path, SessionId, Summary, Title
from codestrator.records import Node, NodeSnapshot, NodeStatus, NodeType, PlanSettings, Thread

MOST_SLICES = 100


class Bootstrap(Params, frozen=True, kw_only=True):
    initiative_title: Title
    plan_title: Title
    priority: Priority = 0
    owner_session_id: SessionId | None = None
    summary: Annotated[Summary | None, Meta(description="of the initiative")] = None


def bootstrap(tx: Tx, want: Bootstrap) -> dict[str, Any]:
    """Begin an initiative with an empty plan in it, in one operation."""
    check_top(tx)
    owner = owning(tx, want.owner_session_id).id
    about: dict[str, Any] = {"priority": want.priority, "owner_session_id": owner}
    top = _node(tx, "initiative", want.initiative_title, status="in_progress", summary=want.summary, **about)
    below = _node(tx, "plan", want.plan_title, parent_id=top.id, **about)
    added(tx, top)
    found = added(tx, below)
    return {"initiative": shown_node(tx.require(Node, top.id)), "plan": found["node"], "edge": found["edge"]}


def _node(tx: Tx, node_type: NodeType, title: str, *, status: NodeStatus = "todo", **fields: Any) -> Node:
    about = {"facet": FACET, "status": status, "approval_state": "none"}
    return Node(id=tx.mint("node"), node_type=node_type, title=title, **about | fields)


class SliceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: Title
    priority: Priority = 0
    token_estimate: Tokens | None = None
    affected_files: tuple[Path, ...] = ()
    summary: Summary | None = None
    depends_on: Annotated[tuple[Title, ...], Meta(description="titles of slices, or ids of nodes")] = ()


class Generate(Params, frozen=True, kw_only=True):
    plan_node_id: NodeId
    slice_specs: Annotated[tuple[SliceSpec, ...], Meta(description=f"1 to {MOST_SLICES}")]
    owner_session_id: SessionId | None = None


def generate(tx: Tx, want: Generate) -> dict[str, Any]:
    """Cut a plan into slices that keep within the budget of tokens and files; all of them or none."""
    owner = owning(tx, want.owner_session_id).id
    plan = writable(tx, want.plan_node_id)
    if plan.node_type != "plan":
        raise WrongState(
            f"'{plan.id}' is a node of type '{plan.node_type}', expected a plan",
            hint="List plans with graph.node.list node_type plan.",
            found=plan.node_type,
            expected=["plan"],
        )
    if not 1 <= len(want.slice_specs) <= MOST_SLICES:
        raise InvalidParams(
            f"'slice_specs' has {len(want.slice_specs)} entries, expected 1 to {MOST_SLICES}",
            field="slice_specs",
            found=len(want.slice_specs),
            expected=f"1 to {MOST_SLICES}",
        )
    _check_budget(tx, [(one.title, one.token_estimate, one.affected_files) for one in want.slice_specs])
    there = sorted((row.title, row.id) for row in tx.where(Node, parent_id=plan.id))
    made = [_slice(tx, plan, spec, owner) for spec in want.slice_specs]
    edges = [added(tx, one)["edge"] for one in made]
    edges += _dependencies(tx, want.slice_specs, made, there)
    slices, cut = fitting(shown_node(tx.require(Node, one.id)) for one in made)
    edges, cut_too = fitting(edges)
    return {"plan_node_id": plan.id, "slices": slices, "edges": edges, "truncated": cut or cut_too or None}


def _slice(tx: Tx, plan: Node, spec: SliceSpec, owner: str) -> Node:
    fields = {name: getattr(spec, name) for name in ("priority", "token_estimate", "summary")}
    files = tuple(dict.fromkeys(spec.affected_files))
    return _node(tx, "slice", spec.title, parent_id=plan.id, owner_session_id=owner, affected_files=files, **fields)


def _check_budget(tx: Tx, slices: Sequence[tuple[str, int | None, Sequence[str]]]) -> None:
    """Refuse slices that no agent could finish in one go, naming all of them."""
    budget = tx.get(PlanSettings, "settings") or PlanSettings(id="settings")
    tokens, files = budget.max_token_per_slice, budget.max_files_per_slice
    over = [
        {"index": index, "title": title, "token_estimate": estimate, "files": len(set(paths))}
        for index, (title, estimate, paths) in enumerate(slices)
        if (estimate or 0) > tokens or len(set(paths)) > files
    ]
    if over:
        named = "; ".join(f"'{one['title']}' {one['token_estimate'] or 0} and {one['files']}" for one in over[:5])
        raise InvalidParams(
            f"{len(over)} of {len(slices)} slices are over the budget: {named}; "
            f"expected at most {tokens} tokens and {files} files each",
            hint="Split them and call plan.slice.generate again.",
            field="slice_specs",
            found=over,
            expected={"token_estimate": tokens, "files": files},
        )


def _dependencies(
    tx: Tx, specs: Sequence[SliceSpec], made: Sequence[Node], there: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Stage what the slices wait for."""
    names = {node.id: node.title for node in made}
    fresh = [(node.title, node.id) for node in made]
    return [
        link(tx, node.id, "depends_on", to_id, names)
        for spec, node in zip(specs, made, strict=True)
        for to_id in dict.fromkeys(_meant(tx, one, fresh, there) for one in spec.depends_on)
    ]


def _meant(tx: Tx, given: str, fresh: Sequence[tuple[str, str]], there: Sequence[tuple[str, str]]) -> str:
    """The node that a dependency names: by the title of a slice of this call, then of the plan, else by its id."""
    made = [node_id for _, node_id in fresh]
    for titles in (fresh, there):
        found = [node_id for title, node_id in titles if title == given]
        if len(found) == 1:
            return found[0]
        if found:
            raise _ambiguous(tx, given, found if titles is there else [])
    is_id = ids.is_start(given) and ids.prefix_of(given) == "node"
    matches = [one for one in tx.base.starting(given, [Node]) if one not in made] if is_id else []
    if not matches:
        raise NotFound(
            f"no slice or node '{given}' to depend on, expected the title of a slice of this plan or a node's id",
            hint="List nodes with graph.node.list.",
            kind="node",
            id=given,
            field="depends_on",
        )
    if len(matches) > 1:
        raise _ambiguous(tx, given, matches)
    if thread := tx.get(Thread, tx.caller.thread_id) if tx.caller.kind == "child" else None:
        scopes.check(tx, thread, matches[0])
    return matches[0]


def _ambiguous(tx: Tx, given: str, found: Sequence[str]) -> AmbiguousId:
    return AmbiguousId(
        f"'{given}' names several slices or nodes, expected exactly one",
        hint="Give each slice a title of its own, or depend on the whole id of a node.",
        candidates=[{"id": one, "title": tx.require(Node, one).title} for one in found[:10]] or None,
    )


class Replan(Params, frozen=True, kw_only=True):
    node_id: NodeId
    reason: Summary
    affected_files: Annotated[tuple[Path, ...], Meta(description="replace the node's")] = ()
    next_action: Summary | None = None
    owner_session_id: Annotated[SessionId | None, Meta(description="takes the node over")] = None


def replan(tx: Tx, want: Replan) -> dict[str, Any]:
    """Record that a node has to be planned anew, and why; files that are given become the node's.

    A slice must keep within the budget of files.
    """
    node = writable(tx, want.node_id)
    if want.owner_session_id:
        node = node.but(owner_session_id=owning(tx, want.owner_session_id).id)
    if want.affected_files:
        files = tuple(dict.fromkeys(want.affected_files))
        if node.node_type == "slice":
            _check_budget(tx, [(node.title, None, files)])
        node = node.but(affected_files=files)
    node = tx.put(add_snapshot(tx, node, "replan", want.reason, want.affected_files, want.next_action))
    return {"snapshot": shown_snapshot(node.id, node.snapshots[-1]), "node": shown_node(node)}


class Preview(Params, frozen=True, kw_only=True):
    parent_node_id: NodeId


def preview(tx: Tx, want: Preview) -> dict[str, Any]:
    """What a node's children have come to; ready when none of them is left to do."""
    return _rolled_up(tx, tx.require(Node, want.parent_node_id))


def _rolled_up(tx: Tx, node: Node) -> dict[str, Any]:
    children = sorted(_children(tx, node), key=lambda one: (-one.priority, one.updated_at, one.id))
    counts: dict[str, int] = {}
    for one in children:
        counts[one.status] = counts.get(one.status, 0) + 1
    shown, cut = fitting(
        {name: getattr(one, name) for name in ("id", "node_type", "title", "status", "approval_state")}
        for one in children
    )
    return {
        "parent_node_id": node.id,
        "child_count": len(children),
        "status_counts": counts,
        "children": shown,
        "ready": counts.get("done", 0) == len(children),
        "truncated": cut or None,
    }


def _children(tx: Tx, node: Node) -> Iterator[Node]:
    """What was made below it, and what a later edge says that it contains."""
    below = {row.id: None for row in tx.where(Node, parent_id=node.id)}
    below |= {edge.to: None for edge in node.edges if edge.edge_type == "contains"}
    for node_id in below:
        if found := tx.get(Node, node_id):
            yield found


class Submit(Params, frozen=True, kw_only=True):
    node_id: NodeId
    summary: Annotated[Summary | None, Meta(description="needed while children are not done")] = None
    affected_files: tuple[Path, ...] = ()
    next_action: Summary | None = None


def submit(tx: Tx, want: Submit) -> dict[str, Any]:
    """Submit what a node's children have come to; another thread approves or rejects it."""
    node = writable(tx, want.node_id)
    rolled_up = _rolled_up(tx, node)
    known = [one for one in node.snapshots if one.snapshot_type == "rollup"]
    if node.approval_state == "pending" and node.status == "in_review" and known:
        return _submitted(node, known[-1], rolled_up)
    if node.approval_state == "approved":
        raise _not_open(node, ["none", "rejected"], "Make a new node with graph.node.create for what is still to do.")
    left = [one for one in rolled_up["children"] if one["status"] != "done"]
    if not rolled_up["ready"] and not want.summary:
        raise WrongState(
            f"'{node.id}' has {rolled_up['child_count'] - rolled_up['status_counts'].get('done', 0)} children "
            "that are not done, expected none or a summary",
            hint="Say in 'summary' why it is submitted all the same.",
            found="children that are not done",
            expected="all children done",
            unfinished=[{name: one[name] for name in ("id", "title", "status")} for one in left[:20]],
        )
    node = add_snapshot(tx, node, "rollup", want.summary, want.affected_files, want.next_action)
    node = node.but(status="in_review", approval_state="pending", submitted_by=acting_thread(tx).id)
    node = tx.put(node.but(decided_by=None, decision_reason=None))
    return _submitted(node, node.snapshots[-1], rolled_up)


def _submitted(node: Node, snapshot: NodeSnapshot, rolled_up: dict[str, Any]) -> dict[str, Any]:
    return {"snapshot": shown_snapshot(node.id, snapshot), "node": shown_node(node), "preview": rolled_up}


class Decide(Params, frozen=True, kw_only=True):
    node_id: NodeId
    reason: Summary | None = None


def approve(tx: Tx, want: Decide) -> dict[str, Any]:
    """Approve what another thread has submitted: the node is done."""
    return _decided(tx, want, "approved", "done")


def reject(tx: Tx, want: Decide) -> dict[str, Any]:
    """Reject what another thread has submitted: the node is blocked until it is submitted again."""
    return _decided(tx, want, "rejected", "blocked")


def _decided(
    tx: Tx, want: Decide, decision: Literal["approved", "rejected"], status: Literal["done", "blocked"]
) -> dict[str, Any]:
    node, thread = writable(tx, want.node_id), acting_thread(tx)
    if (node.approval_state, node.decided_by, node.decision_reason) == (decision, thread.id, want.reason):
        return {"node": shown_node(node)}
    if node.approval_state != "pending":
        raise _not_open(node, ["pending"], "Submit it with plan.rollup.submit first.")
    if node.submitted_by == thread.id:
        raise Forbidden(
            f"'{node.id}' was submitted by '{thread.id}' itself, expected another thread to decide",
            hint="Have a reviewer decide: call thread.child.spawn with role merge-reviewer.",
            role=tx.caller.role,
            needs="another thread than the submitting one",
        )
    decided = node.but(approval_state=decision, status=status, decided_by=thread.id, decision_reason=want.reason)
    return {"node": shown_node(tx.put(decided))}


def _not_open(node: Node, expected: list[str], hint: str) -> WrongState:
    return WrongState(
        f"approval of '{node.id}' is '{node.approval_state}', expected {' or '.join(map(repr, expected))}",
        hint=hint,
        found=node.approval_state,
        expected=expected,
    )
