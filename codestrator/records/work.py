"""What is worked on, and where: worktrees, tasks with their steps and claims, checkpoints, snapshots."""

from typing import Annotated, Any, ClassVar, Literal

from codestrator.model import IMMUTABLE, MAP, MAX, SCALAR, SECONDS, SET, Document, Part, group

LIFE, WORK, CLAIM = (group(name) for name in ("life", "work", "claim"))

FINISHED = ("done", "landed")
CLOSED = (*FINISHED, "cancelled")
ACTIVE = ("in_progress", "blocked")

RANKS = ("epic", "feat", "grp", "case")

Level = Literal["epic", "feature", "test_group", "case"]
CaseStatus = Literal["todo", "in_progress", "blocked", "done", "landed", "cancelled"]


def _rank(task_id: str) -> int:
    """How deep a task of that id lies; what is no task's id lies nowhere."""
    prefix = task_id.partition("-")[0]
    return RANKS.index(prefix) if prefix in RANKS else len(RANKS)


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
    ttl_seconds: Annotated[int, SECONDS]
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

    def __post_init__(self) -> None:
        """A parent is always of a higher level, so that no two are above each other, whoever wrote them."""
        if self.parent_id is not None and not _rank(self.parent_id) < _rank(self.id):
            raise ValueError(f"'{self.parent_id}' cannot be above '{self.id}'")

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
    ROW: ClassVar[tuple[str, ...]] = (
        "session_id",
        "thread_id",
        "case_id",
        "worktree_id",
        "event",
        "commit",
        "created_at",
    )

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
    rewritten: Annotated[dict[str, str], MAP] = {}  # old commit to new, one entry for each time it was rewritten


class Skipped(Part, frozen=True, kw_only=True):
    path: str
    bytes: int


class Rescue(Document, frozen=True, kw_only=True):
    KIND: ClassVar[str] = "rescue"
    ROW: ClassVar[tuple[str, ...]] = ("worktree_id", "reason", "created_at", "tree", "released_at")
    TELLS: ClassVar[str] = "commit"

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
    released_at: Annotated[str | None, MAX] = None  # its ref is gone then, or about to go
