"""How work lands: what is asked to be merged, its reviews, and its place in the queue of its target."""

from typing import Annotated, Any, ClassVar, Literal

from codestrator.model import IMMUTABLE, SCALAR, Document, Part, group

LIFE = group("life")

LAND_OPEN = ("queued", "reviewing", "approved", "blocked")
REQUEST_OPEN = ("requested", "in_review", "approved", "blocked")
REVIEW_OPEN = ("requested", "running")

RequestStatus = Literal["requested", "in_review", "approved", "blocked", "merged", "cancelled"]
ReviewState = Literal["requested", "running", "completed", "failed", "cancelled"]
LandState = Literal["queued", "reviewing", "approved", "blocked", "merged", "cancelled", "failed"]
Verdict = Literal["approve", "block"]
Severity = Literal["blocking", "warning", "info"]


class MergeRequest(Document, frozen=True, kw_only=True):
    """That a session's branch is to be merged into a target, for a feature or for none."""

    KIND: ClassVar[str] = "merge_request"
    ROW: ClassVar[tuple[str, ...]] = ("worktree_id", "target_branch", "status", "session_id", "created_at")

    session_id: Annotated[str, IMMUTABLE]
    worktree_id: Annotated[str, IMMUTABLE]
    target_branch: Annotated[str, IMMUTABLE]
    feature_task_id: Annotated[str | None, IMMUTABLE] = None
    notes: Annotated[dict[str, Any] | None, SCALAR] = None
    reviewer_session: Annotated[str | None, SCALAR] = None
    status: Annotated[RequestStatus, LIFE] = "requested"
    approved_head: Annotated[str | None, LIFE] = None
    review_id: Annotated[str | None, LIFE] = None


class Finding(Part, frozen=True, kw_only=True):
    """What a reviewer found, and what shows it."""

    file: str
    severity: Severity
    description: str
    evidence: str
    line: int | None = None


class Review(Document, frozen=True, kw_only=True):
    """One review of a request: of the head that was there when it began, or that the verdict names."""

    KIND: ClassVar[str] = "review"
    ROW: ClassVar[tuple[str, ...]] = ("merge_request_id", "session_id", "state", "reviewer_thread_id", "created_at")

    merge_request_id: Annotated[str, IMMUTABLE]
    session_id: Annotated[str, IMMUTABLE]
    agent_override: Annotated[dict[str, Any] | None, IMMUTABLE] = None
    reviewer_thread_id: Annotated[str | None, SCALAR] = None
    state: Annotated[ReviewState, LIFE] = "requested"
    verdict: Annotated[Verdict | None, LIFE] = None
    summary: Annotated[str | None, LIFE] = None
    findings: Annotated[tuple[Finding, ...], LIFE] = ()
    reviewed_head: Annotated[str | None, LIFE] = None
    base: Annotated[str | None, LIFE] = None
    completed_at: Annotated[str | None, LIFE] = None


class Land(Document, frozen=True, kw_only=True):
    """A place in the queue of a target; `head` is the commit that its review judged."""

    KIND: ClassVar[str] = "land"
    ROW: ClassVar[tuple[str, ...]] = (
        "session_id", "target_branch", "state", "queued_at", "merge_request_id", "from_worktree_id"
    )  # fmt: skip

    session_id: Annotated[str, SCALAR]
    from_worktree_id: Annotated[str, IMMUTABLE]
    target_branch: Annotated[str, IMMUTABLE]
    merge_request_id: Annotated[str, IMMUTABLE]
    queued_at: Annotated[str, IMMUTABLE]
    state: Annotated[LandState, LIFE] = "queued"
    head: Annotated[str | None, LIFE] = None
    merge_commit: Annotated[str | None, LIFE] = None
    started_at: Annotated[str | None, LIFE] = None
    completed_at: Annotated[str | None, LIFE] = None
    error_message: Annotated[str | None, LIFE] = None
