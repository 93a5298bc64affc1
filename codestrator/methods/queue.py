"""The queue of a target branch: who waits to land there, in what state, and whose turn it is."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from codestrator.calls import Flow, Tx
from codestrator.clock import parse
from codestrator.errors import InvalidParams
from codestrator.methods import forecast, leases, liveness, removing, who
from codestrator.model import shown
from codestrator.params import LandId, Params, Title
from codestrator.records import (
    LAND_OPEN,
    REVIEW_OPEN,
    THREAD_ENDED,
    Land,
    Lease,
    MergeRequest,
    Review,
    Session,
    Thread,
    Worktree,
)
from codestrator.text import counted


class Next(Params, frozen=True, kw_only=True):
    target_branch: Title | None = None


class Status(Params, frozen=True, kw_only=True):
    request_id: LandId | None = None
    target_branch: Title | None = None


class Standing(NamedTuple):
    """An open item as it is now; `reason` says why it may not land yet, and is empty where it may."""

    item: Land
    state: str
    head: str | None
    reason: str
    suspended: bool
    clashes: tuple[str, ...] = ()


def target_of(flow: Flow, tx: Tx, given: str | None, worktree: Worktree | None = None) -> str:
    """The branch that work lands on: the one named, else where the session's work is to land."""
    target = given
    if target is None:
        worktree = worktree or tx.get(Worktree, _root_worktree(tx)) or next(iter(tx.all(Worktree)), None)
        target = removing.target_branch(flow, tx, worktree) if worktree else None
    if target is None or flow.store.refs.read(f"refs/heads/{target}") is None:
        raise InvalidParams(
            f"'target_branch' is '{target}', expected a branch of this repository",
            hint="Name one that `git branch` lists.",
            field="target_branch",
            found=target,
            expected="an existing branch",
        )
    return target


def _root_worktree(tx: Tx) -> str | None:
    session = tx.get(Session, tx.caller.session_id)
    return session.session_root_worktree_id if session else None


def tip_of(flow: Flow, branch: str | None) -> str | None:
    found: str | None = flow.store.refs.read(f"refs/heads/{branch}") if branch else None
    return found


def head_of(flow: Flow, tx: Tx, worktree_id: str) -> str | None:
    """The commit that the worktree's branch is at."""
    worktree = tx.get(Worktree, worktree_id)
    return tip_of(flow, worktree.branch) if worktree else None


def latest_review(tx: Tx, request_id: str) -> Review | None:
    rows = sorted(tx.where(Review, merge_request_id=request_id), key=lambda row: (row.created_at, row.id))
    return tx.require(Review, rows[-1].id) if rows else None


def review_state(tx: Tx, review: Review) -> str:
    """Its state; a reviewer that ended without a verdict has failed, whether that was recorded or not."""
    thread = tx.get(Thread, review.reviewer_thread_id)
    over = thread is not None and thread.status in THREAD_ENDED
    return "failed" if review.state in REVIEW_OPEN and over else review.state


def running_review(tx: Tx, request_id: str) -> Review | None:
    """The review of a request that is at work."""
    review = latest_review(tx, request_id)
    return review if review and review_state(tx, review) in REVIEW_OPEN else None


def state_of(tx: Tx, item: Land, head: str | None) -> str:
    """Its state as it is now: a new commit or a failed review puts it back, a worktree that is gone ends it."""
    worktree = tx.get(Worktree, item.from_worktree_id)
    if item.state not in LAND_OPEN:
        return item.state
    if worktree is None or worktree.status in ("removed", "lost") or head is None:
        return "failed"
    if item.state in ("approved", "blocked") and head != item.head:
        return "queued"
    if item.state == "reviewing" and running_review(tx, item.merge_request_id) is None:
        return "queued"
    return item.state


def request_status(flow: Flow, tx: Tx, request: MergeRequest) -> str:
    """Its status as it is now: an approval holds for one head alone."""
    head = head_of(flow, tx, request.worktree_id)
    if request.status in ("approved", "blocked") and request.approved_head not in (None, head):
        return "requested"
    if request.status == "in_review" and running_review(tx, request.id) is None:
        return "requested"
    return request.status


def shown_request(flow: Flow, tx: Tx, request: MergeRequest) -> dict[str, Any]:
    return shown(request) | {"status": request_status(flow, tx, request)}


def items_of(tx: Tx, target: str) -> list[Land]:
    """The items of a target that have not come to their end, the oldest first."""
    found = [tx.require(Land, row.id) for row in tx.where(Land, target_branch=target) if row.state in LAND_OPEN]
    return sorted(found, key=lambda one: (one.queued_at, one.id))


def judge(flow: Flow, tx: Tx, target: str) -> list[Standing]:
    """Every open item of the target as it stands now, the oldest first; merges are tried in memory."""
    tip = tip_of(flow, target)
    items = [(item, head_of(flow, tx, item.from_worktree_id)) for item in items_of(tx, target)]
    merged = forecast.clashes(flow, [(tip, head) for _, head in items if tip and head])
    found = []
    for item, head in items:
        state = state_of(tx, item, head)
        session = tx.get(Session, item.session_id)
        suspended = session is None or liveness.of_session(tx, session) in ("suspended", "ended")
        files = tuple(merged.get((tip or "", head or ""), ()))
        if state in LAND_OPEN:
            found.append(Standing(item, state, head, _reason(target, state, suspended, files), suspended, files))
    return found


def _reason(target: str, state: str, suspended: bool, files: Sequence[str]) -> str:
    if suspended:
        return "its session is suspended"
    if state == "blocked":
        return "its review blocked it"
    if files:
        return f"its branch conflicts with '{target}' in {counted(len(files), 'file')}, first '{files[0]}'"
    return ""


def first(standings: Sequence[Standing]) -> Standing | None:
    """Whose turn it is: the oldest that is ready, else the oldest whose session is not suspended."""
    ready = [one for one in standings if not one.reason]
    return next(iter([*ready, *(one for one in standings if not one.suspended)]), None)


def position(standings: Sequence[Standing], land_id: str) -> int | None:
    """1 for the head, then those that are ready by age, then the others."""
    head = first(standings)
    order = sorted(standings, key=lambda one: (one is not head, bool(one.reason)))
    return next((number for number, one in enumerate(order, 1) if one.item.id == land_id), None)


def why_waiting(standings: Sequence[Standing], one: Standing) -> str:
    head = first(standings)
    if one is head or head is None:
        return one.reason or ("is next" if one.state == "approved" else "is next, needs its review")
    return one.reason or f"'{head.item.id}' came before"


def shown_item(one: Standing, standings: Sequence[Standing]) -> dict[str, Any]:
    return shown(one.item) | {"state": one.state, "position": position(standings, one.item.id)}


# The lock of a target


def lock_id(target: str) -> str:
    """A branch's name as one name of a file."""
    return "merge/" + target.replace("%", "%25").replace("/", "%2F")


def lock_of(tx: Tx, target: str) -> Lease | None:
    """The merge lock of a target while somebody has it."""
    lease = tx.get(Lease, lock_id(target))
    return lease if lease and not liveness.lease_over(tx, lease) else None


def shown_lock(tx: Tx, target: str) -> dict[str, Any]:
    lease = lock_of(tx, target)
    if lease is None:
        return {"target_branch": target, "state": "unlocked"}
    left = liveness.lease_seconds_left(tx, lease)
    return {
        "target_branch": target,
        "state": "locked",
        "holder_session_id": lease.session_id,
        "fence": lease.fence,
        "lease_until": liveness.until(tx, left),
        "seconds_left": left,
    }


def _lock(tx: Tx, target: str) -> dict[str, Any] | None:
    lease = lock_of(tx, target)
    return None if lease is None else shown_lock(tx, target) | {"holder": leases.owner(tx, lease)}


# Reads


def next_item(flow: Flow, want: Next) -> dict[str, Any]:
    """Say whose turn it is to land, and why each of the others waits."""
    tx = flow.read()
    target = target_of(flow, tx, want.target_branch)
    standings = judge(flow, tx, target)
    head = first(standings)
    waiting = [
        {
            "land_id": one.item.id,
            "session_id": one.item.session_id,
            "state": one.state,
            "reason": why_waiting(standings, one),
            "age_seconds": int((tx.now.at - parse(one.item.queued_at)).total_seconds()),
        }
        for one in standings
        if one is not head
    ]
    return {
        "item": shown_item(head, standings) | {"reason": why_waiting(standings, head)} if head else None,
        "lock": _lock(tx, target),
        "waiting": waiting,
        "count": len(standings),
    }


def status(flow: Flow, want: Status) -> dict[str, Any]:
    """Show the merge lock and the queue of a target, or one item with its place and the reason why it waits."""
    tx = flow.read()
    if want.request_id is None:
        target = target_of(flow, tx, want.target_branch)
        standings = judge(flow, tx, target)
        items = [shown_item(one, standings) | {"reason": why_waiting(standings, one)} for one in standings]
        return {"lock": _lock(tx, target), "items": items, "count": len(items)}
    item = tx.require(Land, want.request_id)
    standings = judge(flow, tx, item.target_branch)
    one = next((one for one in standings if one.item.id == item.id), None)
    state = state_of(tx, item, head_of(flow, tx, item.from_worktree_id))
    return {
        "item": shown(item) | {"state": state},
        "merge_request": shown_request(flow, tx, tx.require(MergeRequest, item.merge_request_id)),
        "position": position(standings, item.id),
        "reason": why_waiting(standings, one) if one else item.error_message,
        "lock": _lock(tx, item.target_branch),
    }


def own_item(tx: Tx, session_id: str | None, land_id: str | None = None, request_id: str | None = None) -> Land | None:
    """The session's open item: the one named, that of a request, or its oldest."""
    session = who.session_of(tx, session_id)
    if land_id:
        return tx.require(Land, land_id)
    rows = [row for row in tx.where(Land, session_id=session.id) if row.state in LAND_OPEN]
    rows = [row for row in rows if request_id in (None, row.merge_request_id)]
    oldest = min(rows, key=lambda row: (row.queued_at, row.id), default=None)
    return tx.require(Land, oldest.id) if oldest else None
