"""Sessions whose work another one may take over: suspended, offered, or away on another machine."""

from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from codestrator.calls import Tx
from codestrator.methods import liveness, paging, places, pointing, who
from codestrator.model import shown
from codestrator.params import Paged, SessionId
from codestrator.records import ACTIVE, SESSION_ENDED, Rescue, Session, Task, Thread, Worktree

Reason = Literal["suspended", "offered", "away"]


class Listing(Paged, frozen=True, kw_only=True):
    requester_session_id: SessionId | None = None
    heartbeat_timeout_seconds: (
        Annotated[int, Meta(ge=10, le=86400, description="default: each session's own")] | None
    ) = None


class Candidate(NamedTuple):
    session: Session
    reason: Reason
    silent_seconds: float


def listing(tx: Tx, want: Listing) -> dict[str, Any]:
    """List sessions that can be taken over, longest silent first.

    One that is away on another machine and was not offered needs `force`.
    """
    given = want.requester_session_id or tx.caller.session_id
    requester = who.session_of(tx, given).id if given else ""
    timeout = want.heartbeat_timeout_seconds
    return paging.page(tx, want, lambda then: candidates(then, requester, timeout), show)


def candidates(tx: Tx, requester: str, timeout: int | None = None) -> list[Candidate]:
    """Sessions active or offered that could be attached, but the requester."""
    found: list[Candidate] = []
    for row in tx.rows(Session):
        if row.id == requester or row.status in SESSION_ENDED or row.status == "awaiting_resume":
            continue
        session = tx.require(Session, row.id)
        if reason := reason_of(tx, session, timeout):
            found.append(Candidate(session, reason, liveness.silent_seconds(tx, session)))
    return sorted(found, key=lambda one: (-one.silent_seconds, one.session.id))


def reason_of(tx: Tx, session: Session, timeout: int | None = None) -> Reason | None:
    """Why a session may be taken over; None if it is live or has ended."""
    if session.status == "offered":
        return "offered"
    judged = liveness.of_session(tx, session.but(heartbeat_timeout_seconds=timeout) if timeout else session)
    return judged if judged in ("suspended", "away") else None


def show(tx: Tx, one: Candidate) -> dict[str, Any]:
    """A candidate as callers see it."""
    session, root = one.session, tx.get(Thread, one.session.root_thread_id)
    worktree = tx.get(Worktree, session.session_root_worktree_id)
    cases = tx.where(Task, level="case", owner_session_id=session.id)
    item: dict[str, Any] = {
        "session": shown(session),
        "silent_seconds": round(one.silent_seconds, 1),
        "reason": one.reason,
        "machine": session.machine,
        "active_cases": sum(row.status in ACTIVE for row in cases),
    }
    if root and root.ref:
        item["current_ref"] = pointing.shown_ref(root)
    if worktree:
        item["session_root_worktree"] = places.shown_worktree(tx, worktree)
        if snapshot := tx.get(Rescue, worktree.latest_snapshot_id):
            item["snapshot"] = {"snapshot_id": snapshot.id, "at": snapshot.created_at, "files": snapshot.files}
    return item
