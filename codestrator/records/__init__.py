"""The format: every document and lease that is kept, field by field, each with its merge rule.

Absent means the default, so a default never changes once released; a new field always has one.
"""

from codestrator.model import Document
from codestrator.records.acts import (
    Intent,
)
from codestrator.records.locking import (
    Fence,
    Lease,
    Scope,
    Waiter,
)
from codestrator.records.planning import (
    ApprovalState,
    Check,
    CheckStatus,
    Edge,
    EdgeType,
    Node,
    NodeSnapshot,
    NodeSnapshotType,
    NodeStatus,
    NodeType,
    PlanSettings,
)
from codestrator.records.sessions import (
    SESSION_ENDED,
    THREAD_ENDED,
    Directive,
    DirectiveMode,
    DirectiveState,
    Machine,
    Message,
    Ref,
    RunnerKind,
    Session,
    SessionStatus,
    Thread,
    ThreadStatus,
)
from codestrator.records.work import (
    ACTIVE,
    CLOSED,
    FINISHED,
    CaseStatus,
    Checkpoint,
    Evidence,
    Hold,
    Level,
    Place,
    Rescue,
    Skipped,
    Step,
    Task,
    Worktree,
)

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

__all__ = [
    "ACTIVE",
    "CLOSED",
    "FINISHED",
    "KINDS",
    "SESSION_ENDED",
    "THREAD_ENDED",
    "ApprovalState",
    "CaseStatus",
    "Check",
    "CheckStatus",
    "Checkpoint",
    "Directive",
    "DirectiveMode",
    "DirectiveState",
    "Edge",
    "EdgeType",
    "Evidence",
    "Fence",
    "Hold",
    "Intent",
    "Lease",
    "Level",
    "Machine",
    "Message",
    "Node",
    "NodeSnapshot",
    "NodeSnapshotType",
    "NodeStatus",
    "NodeType",
    "Place",
    "PlanSettings",
    "Ref",
    "Rescue",
    "RunnerKind",
    "Scope",
    "Session",
    "SessionStatus",
    "Skipped",
    "Step",
    "Task",
    "Thread",
    "ThreadStatus",
    "Waiter",
    "Worktree",
]
