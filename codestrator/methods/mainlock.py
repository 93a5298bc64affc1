"""The merge lock of a target branch: one session at a time reviews and lands there, in the order of the queue."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, LockHeld, StaleFence, WrongState
from codestrator.methods import authority, intents, leases, liveness, queue, reviews, stopping, waiting, who
from codestrator.params import Params, SessionId, Title
from codestrator.records import LAND_OPEN, Land, Lease, Thread

TTL_SECONDS = 600


class Acquire(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    target_branch: Title | None = None
    ttl_seconds: Annotated[int, Meta(ge=30, le=3600)] = TTL_SECONDS
    wait_seconds: waiting.WaitSeconds = 0


class Release(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    target_branch: Title | None = None
    abandon: Annotated[bool, Meta(description="even while a review runs, which is cancelled")] = False
    fence: int | None = None


def acquire(flow: Flow, want: Acquire) -> dict[str, Any]:
    """Take the merge lock of a target, or renew it; with items queued only the queue head's session may.

    With wait_seconds it waits its turn; after waiting in vain the answer has timed_out true.
    """
    tx = flow.read()
    session = who.active_session(tx, want.session_id)
    target = queue.target_of(flow, tx, want.target_branch)
    try:
        return take(flow, session.id, target, want.ttl_seconds)
    except (LockHeld, WrongState) as error:
        if not want.wait_seconds:
            raise
        refused: CodestratorError = error
    for _ in flow.world.waiting(waiting.bounded(want.wait_seconds)):
        authority.refresh(flow)
        try:
            return take(flow, session.id, target, want.ttl_seconds)
        except (LockHeld, WrongState) as error:
            refused = error
    return {"timed_out": True, **{name: refused.details.get(name) for name in ("blocked_by", "position")}}


def take(flow: Flow, session_id: str, target: str, ttl_seconds: int) -> dict[str, Any]:
    """Grant or renew it, or refuse with `lock_held` or, before one's turn, `wrong_state`."""
    intents.settle(flow, "land")
    picture = flow.read()
    standings = queue.judge(flow, picture, target)
    head = queue.first(standings)
    outdated = False

    def act(tx: Tx) -> None:
        nonlocal outdated
        outdated = False
        session = who.active_session(tx, session_id)
        held = queue.lock_of(tx, target)
        if held is not None and held.session_id == session.id:
            tx.base.must_still_be_gated()
            leases.renew(tx, held, ttl_seconds)
        elif held is not None:
            raise _held(tx, held, target, _place(standings, session_id))
        elif not all((now := tx.get(Land, one.item.id)) and now.state in LAND_OPEN for one in standings):
            outdated = True  # one has landed since the queue was judged, or gave up: the turn is another's
        else:
            _check_turn(tx, target, session_id, standings)
            _grant(tx, target, session_id, ttl_seconds, head)

    authority.publish(flow, act, target)
    if outdated:
        return take(flow, session_id, target, ttl_seconds)
    tx = flow.read()
    own = queue.own_item(tx, session_id)
    return {"main_lock": queue.shown_lock(tx, target), "land_id": own.id if own else None}


def _place(standings: list[queue.Standing], session_id: str) -> int | None:
    mine = next((one for one in standings if one.item.session_id == session_id), None)
    return queue.position(standings, mine.item.id) if mine else None


def _held(tx: Tx, lease: Lease, target: str, place: int | None) -> LockHeld:
    left = liveness.lease_seconds_left(tx, lease)
    return LockHeld(
        f"the merge lock of '{target}' is held by '{lease.session_id}' for {left} s, expected it free",
        hint="Wait in line: call merge.main.acquire_lock with wait_seconds 50.",
        holders=[leases.holder(tx, lease)],
        retry_after_seconds=max(1, left),
        blocked_by=[leases.holder(tx, lease)],
        position=place,
    )


def _check_turn(tx: Tx, target: str, session_id: str, standings: list[queue.Standing]) -> None:
    head = queue.first(standings)
    if head is None or head.item.session_id == session_id:
        return
    mine = next((one for one in standings if one.item.session_id == session_id), None)
    reason = queue.why_waiting(standings, mine) if mine else "this session has nothing in the queue"
    raise WrongState(
        f"the next to land on '{target}' is '{head.item.id}' of '{head.item.session_id}', expected an item of "
        f"'{session_id}': {reason}",
        hint="Call merge.main.acquire_lock with wait_seconds 50; merge.main.next shows who waits and why.",
        found=head.item.id,
        expected=f"an item of '{session_id}'",
        reason=reason,
        blocked_by=[{"land_id": head.item.id, "session_id": head.item.session_id}],
        position=_place(standings, session_id),
    )


def _grant(tx: Tx, target: str, session_id: str, ttl_seconds: int, head: queue.Standing | None) -> None:
    """Under a new number; what was held before, and is over, is held no more."""
    before = tx.get(Lease, queue.lock_id(target))
    if before is not None and before.state == "held":
        tx.base.must_still_be_gated()
        tx.live.leave(liveness.lease_file(before))
    fence = waiting.next_fence(tx)
    leases.sweep(tx)
    tx.put(
        Lease(
            id=queue.lock_id(target),
            domain="merge",
            target_branch=target,
            land_id=head.item.id if head and head.item.session_id == session_id else None,
            **liveness.granted(tx, session_id, tx.caller.thread_id, fence, ttl_seconds),
        )
    )


def require(tx: Tx, target: str, session_id: str, fence: int | None = None) -> Lease:
    """The session's merge lock of a target; `stale_fence` if it was lost, `wrong_state` if it never was its."""
    found = tx.get(Lease, queue.lock_id(target))
    live = queue.lock_of(tx, target)
    if live is not None and live.session_id == session_id and fence in (None, live.fence):
        return live
    if fence is not None or (found is not None and found.session_id == session_id and found.state == "held"):
        current = f"{live.fence} held by '{live.session_id}'" if live else "none: the lock is free"
        given = fence if fence is not None else found.fence if found else None
        raise StaleFence(
            f"fence {given} on the merge lock of '{target}' is out of date, current is {current}",
            hint="Call merge.main.acquire_lock again, then look at what landed meanwhile.",
            given=given,
            current=live.fence if live else None,
            holder=leases.holder(tx, live) if live else None,
        )
    holder = f"held by '{live.session_id}'" if live else "free"
    raise WrongState(
        f"the merge lock of '{target}' is {holder}, expected it held by '{session_id}'",
        hint="Call merge.main.acquire_lock first.",
        found=holder,
        expected=f"held by '{session_id}'",
    )


def release(flow: Flow, want: Release) -> dict[str, Any]:
    """Give the merge lock back, also after it lapsed; refused while an own review runs, unless abandon."""
    tx = flow.read()
    session = who.session_of(tx, want.session_id)
    target = queue.target_of(flow, tx, want.target_branch)
    stopped: list[Thread] = []

    def act(tx: Tx) -> None:
        stopped.clear()
        lease = tx.get(Lease, queue.lock_id(target))
        if lease is None or lease.state != "held":
            return
        if lease.session_id != session.id:
            who.check_not_taken(session, lease.id, lease, want.fence)
            if liveness.lease_over(tx, lease):
                return
            raise _held(tx, lease, target, None)
        if want.fence not in (None, lease.fence):
            require(tx, target, session.id, want.fence)
        stopped.extend(_end_reviews(tx, session.id, target, abandon=want.abandon))
        tx.put(lease.but(state="released"))
        tx.live.leave(liveness.lease_file(lease))

    authority.publish(flow, act, target)
    if stopped:
        stopping.bring_down(flow, stopped, "its review was abandoned")
    return _released(flow, session.id, target)


def _end_reviews(tx: Tx, session_id: str, target: str, *, abandon: bool) -> list[Thread]:
    found: list[Thread] = []
    for item in queue.items_of(tx, target):
        job = queue.running_review(tx, item.merge_request_id) if item.session_id == session_id else None
        if job is None:
            continue
        if not abandon:
            raise WrongState(
                f"review '{job.id}' of '{item.id}' is '{job.state}', expected no review at work",
                hint="Wait for its verdict with merge.review.thread_status, or give abandon true.",
                found=job.state,
                expected="completed, failed or cancelled",
                review_job_id=job.id,
            )
        found += reviews.cancel(tx, job)
        tx.put(item.but(state="queued"))
    return found


def _released(flow: Flow, session_id: str, target: str) -> dict[str, Any]:
    tx = flow.read()
    standings = queue.judge(flow, tx, target)
    head = queue.first(standings)
    return {
        "main_lock": queue.shown_lock(tx, target),
        "unmerged": [
            {"land_id": one.item.id, "method": "merge.main.land", "params": {"request_id": one.item.id}}
            for one in standings
            if one.state == "approved" and one.item.session_id == session_id
        ]
        or None,
        "next": queue.shown_item(head, standings) if head else None,
    }
