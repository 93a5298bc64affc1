"""Who works: sessions and their agents, what these are told and say, and the machines they are on."""

from typing import Annotated, Any, ClassVar, Literal

from codestrator.model import IMMUTABLE, MAX, SCALAR, SECONDS, SET, Document, Part, group

LIFE, PLACE, POINT, REPORT = (group(name) for name in ("life", "place", "point", "report"))

SESSION_ENDED = ("closed", "handoff_attached")
THREAD_ENDED = ("completed", "failed", "stopped", "cancelled")

SessionStatus = Literal[
    "opened", "awaiting_resume", "active_new", "active_resume", "offered", "handoff_attached", "closed"
]
ThreadStatus = Literal[
    "planned", "initializing", "running", "interrupted", "waiting", "completed", "failed", "stopped", "cancelled"
]
RunnerKind = Literal["agents_sdk_codex_mcp", "codex_app_server", "codex_exec", "command"]
DirectiveMode = Literal["interrupt_patch", "queue", "restart"]
DirectiveState = Literal["queued", "delivered", "applied", "failed", "expired"]


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
    heartbeat_timeout_seconds: Annotated[int, SCALAR, SECONDS]
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


class Handoff(Document, frozen=True, kw_only=True):
    """A session offered to whoever takes it, on whatever machine; `<session>.h<n>`, the newest counts."""

    KIND: ClassVar[str] = "handoff"
    ROW: ClassVar[tuple[str, ...]] = ("from_session_id", "state")

    from_session_id: Annotated[str, IMMUTABLE]
    offered_by: Annotated[str, IMMUTABLE]
    state: Annotated[Literal["offered", "taken", "withdrawn"], LIFE]
    snapshots: Annotated[tuple[str, ...], SET] = ()
    note: Annotated[str | None, IMMUTABLE] = None
    to_session_id: Annotated[str | None, LIFE] = None
    taken_at: Annotated[str | None, LIFE] = None


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


class Machine(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "machine"

    label: Annotated[str, SCALAR]
    git_version: Annotated[str, SCALAR]
    program_version: Annotated[str, SCALAR]
    tmux_version: Annotated[str | None, SCALAR] = None
