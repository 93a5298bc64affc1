"""The end of a session: what it held is free, what it made stays, unless it is merged and asked to go."""

from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Forbidden, WrongState
from codestrator.methods import (
    children,
    intents,
    leases,
    liveness,
    places,
    reconciling,
    removing,
    rescue,
    reviews,
    stopping,
    who,
)
from codestrator.params import Params, SessionId, Summary
from codestrator.records import ACTIVE, LAND_OPEN, SESSION_ENDED, THREAD_ENDED, Land, Session, Task, Thread, Worktree

NONE_RELEASED = {"locks": 0, "claims": 0, "queue_items": 0}


class Close(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    force: Annotated[
        bool, Meta(description="even with live children, active cases or the main merge lock; cases stay in progress")
    ] = False
    reason: Summary | None = None


class Cleanup(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    remove_worktrees: Annotated[
        bool, Meta(description="remove clean merged ones; others are kept, with a snapshot")
    ] = False


def close(flow: Flow, want: Close) -> dict[str, Any]:
    """Close a session and release what it holds; refused while something of it is active, unless forced."""
    session = who.session_of(flow.read(), want.session_id)
    _check_not_handed_over(session)
    session_id, claims = session.id, 0
    reconciling.reconcile(flow, session_id)
    if want.force:
        stopped = _stop_children(flow, session, want.reason or "its session was closed")
        claims = stopped.claims
        for error in stopped.errors:
            raise error

    def act(tx: Tx) -> dict[str, Any]:
        session = tx.require(Session, session_id)
        _check_not_handed_over(session)
        if session.status == "closed":
            return {"session": session, "released": NONE_RELEASED}
        if not want.force:
            _check_not_offered(session)
            _check_idle(tx, session)
        released = end(tx, session, "completed", want.reason)
        released["claims"] += claims
        return {"session": tx.require(Session, session_id), "released": released}

    result = flow.transact(act, session_id)
    _leave(flow, session_id)
    return result


def _check_not_handed_over(session: Session) -> None:
    if session.status == "handoff_attached":
        raise WrongState(
            f"'{session.id}' was taken over by '{session.handed_to}', expected a session of its own",
            hint=f"Call it for '{session.handed_to}'.",
            found=session.status,
            expected=["any but handoff_attached"],
        )


def _check_not_offered(session: Session) -> None:
    """Somebody may take it in this moment, and would then have a session that has ended."""
    if session.status == "offered":
        raise WrongState(
            f"'{session.id}' is 'offered', expected one that nobody is about to take",
            hint="Call handoff.offer with withdraw true first.",
            found=session.status,
            expected=["any but offered"],
        )


def _check_idle(tx: Tx, session: Session) -> None:
    """Refuse with every cause: live children, active cases, the main merge lock."""
    working = [one.id for one in _open_threads(tx, session) if one.id != session.root_thread_id]
    cases = [row.id for row in tx.where(Task, level="case", owner_session_id=session.id) if row.status in ACTIVE]
    merges = [one.target_branch or one.id for one in leases.held(tx, "merge", session.id)]
    causes = [
        (working, "live children"),
        (cases, "active cases"),
        (merges, "the main merge lock"),
    ]
    if found := [f"{name} ({', '.join(names[:5])})" for names, name in causes if names]:
        raise WrongState(
            f"'{session.id}' has {' and '.join(found)}, expected nothing active",
            hint="Complete or hand on what is active first.",
            found=found,
            expected="nothing active",
            unfinished=[*working, *cases, *merges],
        )


def _open_threads(tx: Tx, session: Session) -> list[Thread]:
    return [one for one in tx.found(Thread, session_id=session.id) if one.status not in THREAD_ENDED]


class Stopped(NamedTuple):
    """Children that were ended: what they held, what of theirs was kept, what went wrong."""

    threads: int = 0
    claims: int = 0
    snapshots: tuple[str, ...] = ()
    errors: tuple[CodestratorError, ...] = ()


def _stop_children(flow: Flow, session: Session, reason: str) -> Stopped:
    """End the children of this machine with all their processes."""
    tx = flow.read()
    here = [one for one in _open_threads(tx, session) if one.machine == tx.machine and one.parent_thread_id]
    if not here:
        return Stopped()
    claims = sum(children.active_case(tx, one) is not None for one in here)
    errors = stopping.bring_down(flow, here, reason)
    kept = {one.id: stopping.snapshot_of(flow.read(), one) for one in here}
    return Stopped(len(here), claims, tuple(one for one in kept.values() if one), tuple(errors))


def end(tx: Tx, session: Session, refs: str, reason: str | None) -> dict[str, int]:
    """Stage the end of a session, its threads and claims: what was released.

    Its leases stay in the book and are over at once, because their owner has ended: one ref moves, not two.
    """
    released = NONE_RELEASED | {"locks": len(leases.held(tx, "all", session.id))}
    for row in tx.where(Task, level="case", owner_session_id=session.id):
        task = tx.require(Task, row.id)
        if task.claim is not None and task.claim.session_id == session.id:
            released["claims"] += not liveness.claim_over(tx, task.claim)
            tx.put(task.but(claim=None))
    for row in tx.where(Land, session_id=session.id):
        if row.state in LAND_OPEN:
            reviews.cancel_item(tx, tx.require(Land, row.id), reason or "its session ended")
            released["queue_items"] += 1
    for thread in _open_threads(tx, session):
        root = thread.id == session.root_thread_id
        status = "completed" if root and refs == "completed" else "stopped"
        ended = thread.but(status=status, completed_at=tx.at, reason=reason)
        tx.put(with_ref(ended, refs))
    tx.put(session.but(status="closed", closed_at=tx.at))
    return released


def with_ref(thread: Thread, status: str) -> Thread:
    """The thread with its active ref brought to an end."""
    ref = thread.ref
    if ref is None or ref.status != "active":
        return thread
    return thread.but(ref=ref.but(status=status, version=ref.version + 1, acked_at=None))


def _leave(flow: Flow, session_id: str) -> None:
    """The process is its root no more."""
    flow.world.live.leave(session_id)
    flow.seat.leave(session_id)
    flow.world.notes.flush()


def cleanup(flow: Flow, want: Cleanup) -> dict[str, Any]:
    """End a session whatever is open in it, and remove its merged worktrees if asked to; one failure stops nothing."""
    intents.settle(flow)
    session = who.session_of(flow.read(), want.session_id)
    _check_not_handed_over(session)
    _check_may_end(flow, session)
    reason = "session cleaned up"
    try:
        stopped = _stop_children(flow, session, reason)
    except CodestratorError as error:
        stopped = Stopped(errors=(error,))

    def act(tx: Tx) -> int:
        now = tx.require(Session, session.id)
        _check_not_handed_over(now)
        if now.status in SESSION_ENDED:
            return 0
        left = [one for one in _open_threads(tx, now) if one.id != now.root_thread_id]
        end(tx, now, "suspended", reason)
        return len(left)

    left, errors = flow.transact(act, session.id), list(stopped.errors)
    result: dict[str, Any] = {"result": "cleaned_up", "threads_stopped": stopped.threads + left}
    result |= {"session_killed": _end_tmux(flow, session, errors), "removed": [], "kept": []}
    result |= {"snapshots": list(stopped.snapshots), "errors": [error.as_dict() for error in errors]}
    _leave(flow, session.id)
    _clear(flow, session, want, result)
    return result


def _clear(flow: Flow, session: Session, want: Cleanup, result: dict[str, Any]) -> None:
    """Remove its worktrees where that is asked for and loses nothing."""
    owned = [one for one in flow.read().found(Worktree, owner_session_id=session.id) if one.status != "removed"]
    # A branch of a branch was made later than what it came from, and goes first.
    for worktree in sorted(owned, key=lambda one: (one.created_at, one.id), reverse=True):
        if want.remove_worktrees:
            _remove(flow, worktree, result)
        else:
            result["kept"].append({"worktree_id": worktree.id, "reason": "remove_worktrees is false"})


def _end_tmux(flow: Flow, session: Session, errors: list[CodestratorError]) -> bool:
    """End the tmux sessions that carry the session's tag; whether there was one."""
    tx = flow.read()
    names = {session.tmux_session_name} | {one.tmux_session_name for one in tx.found(Thread, session_id=session.id)}
    ended = False
    for name in sorted(one for one in names if one):
        try:
            ended |= flow.world.tmux.end_session(name, children.tmux_tag(flow, session.id))
        except CodestratorError as error:
            errors.append(error)
    return ended


def _check_may_end(flow: Flow, session: Session) -> None:
    """A person may end any session; a process none that another one is at work in."""
    if flow.seat.kind != "root" or session.status in SESSION_ENDED or flow.world.live.mine(session.id):
        return
    judged = liveness.of_session(flow.read(), session)
    if judged in ("live", "away"):
        raise Forbidden(
            f"'{session.id}' is {judged} and of another process, expected an own or a suspended session",
            hint="Ask its root to close it.",
            role=flow.caller.role,
            needs="its root",
        )


def _remove(flow: Flow, worktree: Worktree, result: dict[str, Any]) -> None:
    tx = flow.read()
    try:
        removing.take_away(flow, worktree, removing.inspect(flow, tx, worktree))
        result["removed"].append(worktree.id)
    except WrongState as error:
        result["kept"].append({"worktree_id": worktree.id, "reason": error.message})
        _keep(flow, worktree, result)
    except CodestratorError as error:
        result["kept"].append({"worktree_id": worktree.id, "reason": error.message})
        result["errors"].append(error.as_dict())


def _keep(flow: Flow, worktree: Worktree, result: dict[str, Any]) -> None:
    folder = places.path_of(flow.read(), worktree)
    if folder is None or not folder.is_dir():
        return
    try:
        snapshot, new = rescue.take(flow, worktree, folder, "cleanup")
        if new:
            flow.transact(lambda tx: rescue.keep(tx, snapshot), worktree.id)
        if snapshot.id not in result["snapshots"]:  # its child's work was kept already
            result["snapshots"].append(snapshot.id)
    except CodestratorError as error:
        result["errors"].append(error.as_dict())
