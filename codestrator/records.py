"""The format: every document and lease that is kept, field by field, each with its merge rule.

Absent means the default, so a default never changes once released; a new field always has one.
"""

from typing import Annotated, Any, ClassVar, Literal

from codestrator.model import IMMUTABLE, LOG, MAP, MAX, SCALAR, SET, Document, Part, group

LIFE, PLACE, WORK, CLAIM, POINT, REPORT = (
    group(name) for name in ("life", "place", "work", "claim", "point", "report")
)

SESSION_ENDED = ("closed", "handoff_attached")
THREAD_ENDED = ("completed", "failed", "stopped", "cancelled")
FINISHED = ("done", "landed")
CLOSED = (*FINISHED, "cancelled")
ACTIVE = ("in_progress", "blocked")

Level = Literal["epic", "feature", "test_group", "case"]
CaseStatus = Literal["todo", "in_progress", "blocked", "done", "landed", "cancelled"]
SessionStatus = Literal[
    "opened", "awaiting_resume", "active_new", "active_resume", "offered", "handoff_attached", "closed"
]
ThreadStatus = Literal[
    "planned", "initializing", "running", "interrupted", "waiting", "completed", "failed", "stopped", "cancelled"
]
RunnerKind = Literal["agents_sdk_codex_mcp", "codex_app_server", "codex_exec", "command"]
DirectiveMode = Literal["interrupt_patch", "queue", "restart"]
DirectiveState = Literal["queued", "delivered", "applied", "failed", "expired"]
NodeType = Literal["initiative", "plan", "slice", "task"]
NodeStatus = Literal["todo", "in_progress", "in_review", "done", "blocked"]
ApprovalState = Literal["none", "pending", "approved", "rejected"]
EdgeType = Literal["contains", "depends_on", "blocks", "relates_to"]
CheckStatus = Literal["todo", "in_progress", "done", "blocked"]
NodeSnapshotType = Literal["replan", "rollup", "status", "note"]


class Session(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "session"
    ROW: ClassVar[tuple[str, ...]] = ("status", "machine", "root_thread_id")

    agent_role: Annotated[str, SCALAR]
    owner: Annotated[str, SCALAR]
    intent: Annotated[Literal["new_work", "resume_work", "auto"], SCALAR]
    base_commit: Annotated[str, IMMUTABLE]
    main_worktree_id: Annotated[str, PLACE]
    root_thread_id: Annotated[str, PLACE]
    machine: Annotated[str, PLACE]
    heartbeat_timeout_seconds: Annotated[int, SCALAR]
    max_children: Annotated[int, SCALAR]
    status: Annotated[SessionStatus, LIFE]
    runtime_state: Annotated[
        Literal["root_local_ready", "root_local_active", "tmux_ready", "tmux_manual_required"], SCALAR
    ] = "root_local_ready"
    terminal_fingerprint: Annotated[str | None, SCALAR] = None
    user_request: Annotated[str | None, IMMUTABLE] = None
    base_branch: Annotated[str | None, IMMUTABLE] = None
    worktree_slug: Annotated[str | None, IMMUTABLE] = None
    session_root_worktree_id: Annotated[str | None, PLACE] = None
    tmux_session_name: Annotated[str | None, SCALAR] = None
    closed_at: Annotated[str | None, LIFE] = None
    handed_to: Annotated[str | None, LIFE] = None
    offered_at: Annotated[str | None, LIFE] = None
    offer_note: Annotated[str | None, LIFE] = None
    resumed_from: Annotated[str | None, IMMUTABLE] = None


class Place(Part, frozen=True, kw_only=True):
    """Where one machine has a worktree."""

    path: str
    status: Literal["planned", "active", "removed", "lost"]


class Worktree(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "worktree"
    ROW: ClassVar[tuple[str, ...]] = ("owner_session_id", "parent_worktree_id", "status", "slug", "branch", "kind")

    slug: Annotated[str, IMMUTABLE]
    kind: Annotated[Literal["main", "session_root", "task_branch"], IMMUTABLE]
    base_commit: Annotated[str, IMMUTABLE]
    status: Annotated[Literal["planned", "active", "closed", "removed", "lost"], LIFE]
    merge_state: Annotated[Literal["attached", "active", "merged_to_parent", "landed", "abandoned"], LIFE]
    branch: Annotated[str | None, SCALAR] = None
    parent_worktree_id: Annotated[str | None, IMMUTABLE] = None
    owner_session_id: Annotated[str | None, SCALAR] = None
    task_id: Annotated[str | None, SCALAR] = None
    reason: Annotated[str | None, IMMUTABLE] = None
    places: Annotated[dict[str, Place], MAP] = {}
    latest_snapshot_id: Annotated[str | None, SCALAR] = None
    merged_at: Annotated[str | None, LIFE] = None
    merged_commit: Annotated[str | None, LIFE] = None


class Evidence(Part, frozen=True, kw_only=True):
    """What a step's result rests on."""

    command: str | None = None
    exit_status: int | None = None
    commit: str | None = None
    tree: str | None = None
    duration_seconds: float | None = None
    note: str | None = None


class Step(Part, frozen=True, kw_only=True):
    title: str
    status: Literal["todo", "done", "failed", "skipped", "blocked"]
    order: int
    attempts: int = 0
    result: Literal["pass", "fail", "skip", "blocked"] | None = None
    result_text: str | None = None
    evidence: Evidence | None = None
    artifacts: tuple[str, ...] = ()
    checkpoint_id: str | None = None
    checked_by: str | None = None
    checked_at: str | None = None
    was: tuple[int, str] | None = None  # the number it had, and the machine that gave it, before a merge moved it


class Hold(Part, frozen=True, kw_only=True):
    """What every time-bound hold says of itself.

    `beat` (milliseconds) and `boot_id` are its last renewal on a clock that counts suspend; `renewed_at` is the same
    on the wall clock, used only after a reboot. `nonce` changes with each renewal that is written to git.
    """

    session_id: str
    machine: str
    fence: int
    ttl_seconds: int
    granted_at: str
    renewed_at: str
    beat: int
    boot_id: str
    nonce: str
    op: str
    thread_id: str | None = None


class Task(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "task"
    ROW: ClassVar[tuple[str, ...]] = (
        "level",
        "parent_id",
        "status",
        "priority",
        "updated_at",
        "session_id",
        "assignee_session",
        "owner_session_id",
        "owner_thread_id",
        "title",
        "waits_for",
        "steps_done",
        "steps_total",
    )
    KEEP: ClassVar[tuple[str, ...]] = ("claim", "claim_fence", "step_count")
    LEAD: ClassVar[str] = "claim_fence"

    level: Annotated[Level, IMMUTABLE]
    title: Annotated[str, SCALAR]
    priority: Annotated[int, SCALAR]
    created_by: Annotated[str, IMMUTABLE]
    session_id: Annotated[str, IMMUTABLE]
    status: Annotated[CaseStatus, WORK]
    parent_id: Annotated[str | None, IMMUTABLE] = None
    description: Annotated[str | None, SCALAR] = None
    assignee_session: Annotated[str | None, SCALAR] = None
    depends_on: Annotated[tuple[str, ...], SET] = ()
    acceptance: Annotated[tuple[str, ...], SCALAR] = ()
    files: Annotated[tuple[str, ...], SET] = ()
    input_contract: Annotated[dict[str, Any] | None, SCALAR] = None
    fixtures: Annotated[tuple[str, ...], SET] = ()
    next_action: Annotated[str | None, SCALAR] = None
    owner_session_id: Annotated[str | None, WORK] = None
    owner_thread_id: Annotated[str | None, WORK] = None
    begun_at: Annotated[str | None, WORK] = None
    done_at: Annotated[str | None, WORK] = None
    summary: Annotated[str | None, WORK] = None
    latest_checkpoint_id: Annotated[str | None, WORK] = None
    landed_commit: Annotated[str | None, WORK] = None
    cancel_reason: Annotated[str | None, WORK] = None
    claim: Annotated[Hold | None, CLAIM] = None
    claim_fence: Annotated[int, MAX] = 0
    steps: Annotated[dict[str, Step], MAP] = {}
    step_count: Annotated[int, MAX] = 0

    @property
    def waits_for(self) -> tuple[str, ...]:
        """What must be finished before this may begin: dependencies, and fixtures that name a case."""
        return (*self.depends_on, *(name.removeprefix("case:") for name in self.fixtures if name.startswith("case:")))

    @property
    def steps_done(self) -> int:
        return sum(step.status in ("done", "skipped") for step in self.steps.values())

    @property
    def steps_total(self) -> int:
        return len(self.steps)


class Checkpoint(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "checkpoint"
    ROW: ClassVar[tuple[str, ...]] = ("session_id", "thread_id", "case_id", "worktree_id", "event", "created_at")

    session_id: Annotated[str, IMMUTABLE]
    thread_id: Annotated[str, IMMUTABLE]
    event: Annotated[Literal["case.begin", "step.check", "case.complete", "manual", "handoff", "land"], IMMUTABLE]
    commit: Annotated[str, IMMUTABLE]
    tree: Annotated[str, IMMUTABLE]
    dirty: Annotated[bool, IMMUTABLE]
    worktree_id: Annotated[str | None, IMMUTABLE] = None
    case_id: Annotated[str | None, IMMUTABLE] = None
    step_id: Annotated[str | None, IMMUTABLE] = None
    summary: Annotated[str | None, IMMUTABLE] = None
    next_action: Annotated[str | None, IMMUTABLE] = None
    data: Annotated[dict[str, Any] | None, IMMUTABLE] = None
    snapshot_id: Annotated[str | None, IMMUTABLE] = None
    fence: Annotated[int | None, IMMUTABLE] = None
    rewritten: Annotated[dict[str, str], MAP] = {}


class Ref(Part, frozen=True, kw_only=True):
    """What a thread points at: the answer to "where was I"."""

    n: int
    node_type: Literal["case", "task", "node"]
    node_id: str
    status: Literal["active", "completed", "suspended", "handed_off"]
    version: int
    mode: Literal["compact", "resume", "handoff"] = "compact"
    checkpoint_id: str | None = None
    next_action: str | None = None
    summary: str | None = None
    required_files: tuple[str, ...] = ()
    acked_at: str | None = None


class Thread(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "thread"
    ROW: ClassVar[tuple[str, ...]] = ("session_id", "parent_thread_id", "role", "status", "worktree_id")
    KEEP: ClassVar[tuple[str, ...]] = ("ref_count",)

    session_id: Annotated[str, SCALAR]
    role: Annotated[str, SCALAR]
    title: Annotated[str, SCALAR]
    machine: Annotated[str, PLACE]
    status: Annotated[ThreadStatus, LIFE]
    parent_thread_id: Annotated[str | None, SCALAR] = None
    objective: Annotated[str | None, SCALAR] = None
    worktree_id: Annotated[str | None, SCALAR] = None
    provider: Annotated[str, IMMUTABLE] = "codex"
    scope_task_ids: Annotated[tuple[str, ...], IMMUTABLE] = ()
    scope_case_ids: Annotated[tuple[str, ...], IMMUTABLE] = ()
    scope_node_ids: Annotated[tuple[str, ...], IMMUTABLE] = ()
    replaces_thread_id: Annotated[str | None, IMMUTABLE] = None
    agent_guide_path: Annotated[str | None, IMMUTABLE] = None
    agent_override: Annotated[dict[str, Any] | None, IMMUTABLE] = None
    task_spec: Annotated[dict[str, Any] | None, IMMUTABLE] = None
    runner_kind: Annotated[RunnerKind | None, IMMUTABLE] = None
    resolved_runner_kind: Annotated[RunnerKind | None, IMMUTABLE] = None
    resolved_because: Annotated[str | None, IMMUTABLE] = None
    interaction_mode: Annotated[Literal["view_only", "interactive"] | None, IMMUTABLE] = None
    token_hash: Annotated[str | None, SCALAR] = None
    pid: Annotated[int | None, PLACE] = None
    tmux_session_name: Annotated[str | None, PLACE] = None
    tmux_window_name: Annotated[str | None, PLACE] = None
    tmux_pane_id: Annotated[str | None, PLACE] = None
    log_file_path: Annotated[str | None, PLACE] = None
    started_at: Annotated[str | None, LIFE] = None
    completed_at: Annotated[str | None, LIFE] = None
    reason: Annotated[str | None, LIFE] = None
    exit_status: Annotated[int | None, LIFE] = None
    turn: Annotated[int, LIFE] = 0
    stop_requested: Annotated[bool, LIFE] = False
    interrupts: Annotated[int, MAX] = 0  # asked for so far; the runner reports how many it has obeyed
    progress: Annotated[str | None, REPORT] = None
    blocker: Annotated[str | None, REPORT] = None
    final_message: Annotated[str | None, REPORT] = None
    reported_at: Annotated[str | None, REPORT] = None
    ref: Annotated[Ref | None, POINT] = None
    ref_count: Annotated[int, MAX] = 0


class Directive(Document, frozen=True, kw_only=True):
    """What the root tells a child while it works; its receipts are its states."""

    KIND: ClassVar[str] = "directive"
    ROW: ClassVar[tuple[str, ...]] = ("thread_id", "sender_thread_id", "state", "created_at", "mode")

    thread_id: Annotated[str, IMMUTABLE]
    text: Annotated[str, IMMUTABLE]
    mode: Annotated[DirectiveMode, IMMUTABLE]
    sender_thread_id: Annotated[str, IMMUTABLE]
    expires_at: Annotated[str, IMMUTABLE]
    state: Annotated[DirectiveState, LIFE] = "queued"
    delivered_at: Annotated[str | None, LIFE] = None
    applied_at: Annotated[str | None, LIFE] = None
    turn: Annotated[int | None, LIFE] = None
    detail: Annotated[str | None, LIFE] = None


class Message(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "message"
    ROW: ClassVar[tuple[str, ...]] = ("session_id", "sender_thread_id", "receiver_thread_id", "status", "created_at")

    sender_thread_id: Annotated[str, IMMUTABLE]
    receiver_thread_id: Annotated[str, IMMUTABLE]
    session_id: Annotated[str, IMMUTABLE]
    text: Annotated[str, IMMUTABLE]
    status: Annotated[Literal["pending", "delivered"], LIFE]
    delivered_at: Annotated[str | None, LIFE] = None


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


class Skipped(Part, frozen=True, kw_only=True):
    path: str
    bytes: int


class Rescue(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "rescue"
    ROW: ClassVar[tuple[str, ...]] = ("worktree_id", "reason", "created_at", "tree")

    worktree_id: Annotated[str, IMMUTABLE]
    commit: Annotated[str, IMMUTABLE]
    tree: Annotated[str, IMMUTABLE]
    head: Annotated[str, IMMUTABLE]
    reason: Annotated[str, IMMUTABLE]
    files: Annotated[int, IMMUTABLE]
    bytes: Annotated[int, IMMUTABLE]
    branch: Annotated[str | None, IMMUTABLE] = None
    case_id: Annotated[str | None, IMMUTABLE] = None
    thread_id: Annotated[str | None, IMMUTABLE] = None
    skipped: Annotated[tuple[Skipped, ...], IMMUTABLE] = ()


class Intent(Document, frozen=True, kw_only=True):
    """An act begun: what to look for if the process that wrote this died, or the receipt of a keyed call."""

    KIND: ClassVar[str] = "intent"
    ROW: ClassVar[tuple[str, ...]] = ("state", "machine", "session_id", "method", "ended_at")

    method: Annotated[str, IMMUTABLE]
    machine: Annotated[str, IMMUTABLE]
    params_digest: Annotated[str, IMMUTABLE]
    state: Annotated[Literal["planned", "done", "failed", "reversed"], LIFE]
    session_id: Annotated[str | None, IMMUTABLE] = None
    pid: Annotated[int, IMMUTABLE] = 0
    process_started_at: Annotated[str, IMMUTABLE] = ""
    args: Annotated[dict[str, Any], IMMUTABLE] = {}
    ended_at: Annotated[str | None, LIFE] = None
    outcome: Annotated[dict[str, Any] | None, LIFE] = None


class Machine(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "machine"

    label: Annotated[str, SCALAR]
    git_version: Annotated[str, SCALAR]
    program_version: Annotated[str, SCALAR]
    tmux_version: Annotated[str | None, SCALAR] = None


class Lease(Document, frozen=True, kw_only=True):
    """An entry of the lock book; what `Hold` says, and its scope. Released or lost ones stay a while, to be told."""

    KIND: ClassVar[str] = "lock"
    REF: ClassVar[Literal["state", "locks"]] = "locks"
    FOLDERS: ClassVar[tuple[str, ...]] = ("paths", "merge", "sessions")
    ROW: ClassVar[tuple[str, ...]] = ("domain", "session_id", "state", "fence")

    domain: Annotated[Literal["paths", "merge", "sessions"], IMMUTABLE]
    session_id: Annotated[str, SCALAR]
    machine: Annotated[str, SCALAR]
    fence: Annotated[int, MAX]
    ttl_seconds: Annotated[int, SCALAR]
    granted_at: Annotated[str, SCALAR]
    renewed_at: Annotated[str, SCALAR]
    beat: Annotated[int, SCALAR]
    boot_id: Annotated[str, SCALAR]
    nonce: Annotated[str, SCALAR]
    op: Annotated[str, SCALAR]
    state: Annotated[Literal["held", "released", "lost"], SCALAR] = "held"
    thread_id: Annotated[str | None, SCALAR] = None
    scope_type: Annotated[Literal["file", "prefix"] | None, IMMUTABLE] = None
    scope_path: Annotated[str | None, IMMUTABLE] = None
    target_branch: Annotated[str | None, IMMUTABLE] = None
    land_id: Annotated[str | None, SCALAR] = None


class Scope(Part, frozen=True, kw_only=True):
    scope_type: Literal["file", "prefix"]
    scope_path: str


class Waiter(Document, frozen=True, kw_only=True):
    """Someone who waits for path locks, in the order of `since` (the fence counter when it came, then id)."""

    KIND: ClassVar[str] = "waiter"
    REF: ClassVar[Literal["state", "locks"]] = "locks"
    FOLDERS: ClassVar[tuple[str, ...]] = ("waiters",)

    session_id: Annotated[str, IMMUTABLE]
    machine: Annotated[str, IMMUTABLE]
    scopes: Annotated[tuple[Scope, ...], LOG]
    place: Annotated[int, IMMUTABLE]
    until_boot_ms: Annotated[int, SCALAR]
    until: Annotated[str, SCALAR]
    boot_id: Annotated[str, SCALAR]
    thread_id: Annotated[str | None, IMMUTABLE] = None


class Fence(Document, frozen=True, kw_only=True):
    """The counter that every grant of the lock book takes its number from; it never decreases."""

    KIND: ClassVar[str] = "fence"
    REF: ClassVar[Literal["state", "locks"]] = "locks"
    FOLDERS: ClassVar[tuple[str, ...]] = ("",)

    value: Annotated[int, MAX] = 0


KINDS: dict[str, type[Document]] = {
    kind.KIND: kind
    for kind in (
        Session,
        Worktree,
        Task,
        Checkpoint,
        Thread,
        Directive,
        Message,
        Node,
        PlanSettings,
        Rescue,
        Intent,
        Machine,
        Lease,
        Waiter,
        Fence,
    )
}
