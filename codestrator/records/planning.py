"""The planning graph: nodes with their edges, checklists and snapshots, and what plans are held to."""

from typing import Annotated, ClassVar, Literal

from codestrator.model import IMMUTABLE, LOG, MAP, MAX, SCALAR, SET, Document, Part, group

LIFE = group("life")

NodeType = Literal["initiative", "plan", "slice", "task"]
NodeStatus = Literal["todo", "in_progress", "in_review", "done", "blocked"]
ApprovalState = Literal["none", "pending", "approved", "rejected"]
EdgeType = Literal["contains", "depends_on", "blocks", "relates_to"]
CheckStatus = Literal["todo", "in_progress", "done", "blocked"]
NodeSnapshotType = Literal["replan", "rollup", "status", "note"]


class Edge(Part, frozen=True, kw_only=True):
    """From the node that has it to another."""

    edge_type: EdgeType
    to: str


class Check(Part, frozen=True, kw_only=True):
    """An item of a node's checklist; `order` counts within its facet."""

    text: str
    status: CheckStatus
    facet: str
    order: int
    was: tuple[int, str] | None = None  # the number it had, and the machine that gave it, before a merge moved it


class NodeSnapshot(Part, frozen=True, kw_only=True):
    """What was said of a node at one time; never changed."""

    n: int
    snapshot_type: NodeSnapshotType
    at: str
    summary: str | None = None
    affected_files: tuple[str, ...] = ()
    next_action: str | None = None


class Node(Document, frozen=True, kw_only=True):
    """One thing of the planning graph; an edge lies in the node that it comes from."""

    KIND: ClassVar[str] = "node"
    ROW: ClassVar[tuple[str, ...]] = ("node_type", "facet", "status", "parent_id", "priority", "updated_at", "title")
    KEEP: ClassVar[tuple[str, ...]] = ("checklist_count", "snapshot_count")

    node_type: Annotated[NodeType, IMMUTABLE]
    facet: Annotated[str, SCALAR]
    title: Annotated[str, SCALAR]
    priority: Annotated[int, SCALAR]
    status: Annotated[NodeStatus, LIFE]
    approval_state: Annotated[ApprovalState, LIFE]
    parent_id: Annotated[str | None, IMMUTABLE] = None
    worktree_id: Annotated[str | None, SCALAR] = None
    owner_session_id: Annotated[str | None, SCALAR] = None
    summary: Annotated[str | None, SCALAR] = None
    risk_level: Annotated[int | None, SCALAR] = None
    token_estimate: Annotated[int | None, SCALAR] = None
    affected_files: Annotated[tuple[str, ...], SET] = ()
    decided_by: Annotated[str | None, LIFE] = None
    decision_reason: Annotated[str | None, LIFE] = None
    submitted_by: Annotated[str | None, LIFE] = None
    edges: Annotated[tuple[Edge, ...], SET] = ()
    checklist: Annotated[dict[str, Check], MAP] = {}
    checklist_count: Annotated[int, MAX] = 0
    snapshots: Annotated[tuple[NodeSnapshot, ...], LOG] = ()
    snapshot_count: Annotated[int, MAX] = 0


class PlanSettings(Document, frozen=True, kw_only=True):
    """What plans are held to; there is one, or none while the defaults are right."""

    KIND: ClassVar[str] = "settings"

    max_token_per_slice: Annotated[int, SCALAR] = 18_000
    max_files_per_slice: Annotated[int, SCALAR] = 12
    replan_triggers: Annotated[tuple[str, ...], SCALAR] = ()
    approval_policy: Annotated[str, SCALAR] = ""
