"""One session taking over another's work: worktrees, threads, locks and claims in one operation, with new fences."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Conflict, Forbidden, InvalidParams, WrongState
from codestrator.methods import authority, intents, leases, liveness, places, pointing, removing, sessions, waiting, who
from codestrator.methods.closing import with_ref
from codestrator.methods.tasks import progress
from codestrator.params import Params, SessionId, Summary
from codestrator.records import (
    ACTIVE,
    CLOSED,
    LAND_OPEN,
    THREAD_ENDED,
    Hold,
    Intent,
    Land,
    Session,
    Task,
    Thread,
    Worktree,
)

NOTHING = {"worktrees": 0, "threads": 0, "locks": 0, "claims": 0, "queue_items": 0}


class Attach(Params, frozen=True, kw_only=True):
    target_session_id: SessionId
    requester_session_id: SessionId | None = None
    force: Annotated[bool, Meta(description="even if it is live or away; needs a reason")] = False
    reason: Summary | None = None


def attach(flow: Flow, want: Attach) -> dict[str, Any]:
    """Take over the work of a suspended or offered session: worktrees, threads, locks and claims, all or nothing."""
    if want.force and not want.reason:
        raise InvalidParams("'reason' is missing, expected one with force", field="reason", expected="text")
    if want.force and not flow.caller.is_root:
        raise Forbidden("'force' is for root or operator, expected neither", role=flow.caller.role, needs="root")
    intents.settle(flow)
    requester = who.session_of(flow.read(), want.requester_session_id)
    own(flow, requester)
    touched = touched_by(flow, flow.read(), requester)

    def act(tx: Tx) -> dict[str, Any]:
        mine = who.session_of(tx, requester.id)
        target = tx.require(Session, want.target_session_id)
        if target.status == "handoff_attached" and target.handed_to == mine.id:
            return told_before(tx, mine, target)
        check_requester(tx, mine, target, touched)
        check_target(tx, target, force=want.force)
        return transfer(flow, tx, mine, target, want.reason)

    # What is granted moves before what it enables: after a crash in between the book holds leases that lapse.
    transferred = authority.publish(flow, act, want.target_session_id, order=("locks", "state"))
    if flow.seat.kind == "root":
        flow.seat.take(requester.id)
    remove_own_root(flow, requester)
    return answer(flow.read(), requester.id) | {"transferred": transferred}


def own(flow: Flow, requester: Session) -> None:
    """A root process takes over only for a session that is its own, or that no process is root of."""
    live, here = flow.world.live, requester.machine == flow.settings.machine
    if here and flow.seat.kind != "root":
        live.renew(requester.id)
    elif not here or not live.take(requester.id):
        raise Forbidden(
            f"'{requester.id}' belongs to another process, expected a session of this one",
            hint="Call session.open with intent resume_work first.",
            role=flow.caller.role,
            needs="its root",
        )


def touched_by(flow: Flow, tx: Tx, session: Session) -> str:
    """What the requester has done in its own root worktree; empty if nothing."""
    worktree = tx.get(Worktree, session.session_root_worktree_id)
    folder = places.path_of(tx, worktree) if worktree else None
    if worktree is None or folder is None or not folder.is_dir():
        return ""
    if files := flow.world.worktrees.changes(folder):
        return f"uncommitted changes, first '{files[0]}'"
    return "commits of its own" if flow.store.head(folder)[0] != worktree.base_commit else ""


def check_requester(tx: Tx, mine: Session, target: Session, touched: str) -> None:
    found = ""
    if mine.id == target.id:
        found = "is the session itself"
    elif mine.status not in ("awaiting_resume", "opened", "active_new"):
        found = f"is '{mine.status}'"
    elif touched:
        found = f"has {touched}"
    elif any(row.status in ACTIVE for row in tx.where(Task, level="case", owner_session_id=mine.id)):
        found = "has a case of its own"
    elif leases.held(tx, "all", mine.id):
        found = "holds locks"
    elif len(tx.where(Worktree, owner_session_id=mine.id)) > 1:
        found = "has worktrees of its own"
    if found:
        raise WrongState(
            f"'{mine.id}' {found}, expected a session that has done nothing yet",
            hint="Call session.open with intent resume_work, and attach with that session.",
            found=found,
            expected=["awaiting_resume", "opened", "active_new with an untouched root"],
        )


def check_target(tx: Tx, target: Session, *, force: bool) -> None:
    """Refuse what nobody may take over now."""
    if target.status == "handoff_attached":
        raise Conflict(
            f"'{target.id}' was taken over by '{target.handed_to}', expected one that is free",
            hint="List what can be taken over with resume.candidates.list.",
            holder=target.handed_to,
            found=target.status,
        )
    if target.status in ("closed", "awaiting_resume"):
        raise WrongState(
            f"'{target.id}' is '{target.status}', expected a suspended or offered session",
            hint="List what can be taken over with resume.candidates.list.",
            found=target.status,
            expected=["active_new", "active_resume", "offered"],
        )
    judged = liveness.of_session(tx, target)
    if target.status != "offered" and judged != "suspended" and not force:
        raise Conflict(
            f"'{target.id}' is {judged}, expected suspended or offered",
            hint="Wait until it is suspended, or ask its root to offer it.",
            found=judged,
            expected=["suspended", "offered"],
            holder=target.id,
        )


def transfer(flow: Flow, tx: Tx, mine: Session, target: Session, reason: str | None) -> dict[str, int]:
    count = dict(NOTHING)
    count["locks"] = _transfer_leases(tx, mine, target)
    count["claims"] = _transfer_cases(tx, mine, target)
    count["threads"] = _transfer_threads(tx, mine, target)
    for worktree in tx.found(Worktree, owner_session_id=target.id):
        if worktree.status != "removed":
            tx.put(worktree.but(owner_session_id=mine.id))
            count["worktrees"] += 1
    count["queue_items"] = _transfer_queue(tx, mine, target)
    tx.put(
        mine.but(
            status="active_resume",
            runtime_state="root_local_active",
            root_thread_id=target.root_thread_id,
            session_root_worktree_id=target.session_root_worktree_id,
            tmux_session_name=target.tmux_session_name,
            user_request=mine.user_request or target.user_request,
            resumed_from=target.id,
        )
    )
    tx.put(target.but(status="handoff_attached", handed_to=mine.id))
    pid, started = flow.world.process_identity()
    tx.put(
        Intent(
            id=tx.mint("op"),
            method=flow.method,
            machine=tx.machine,
            params_digest=flow.params_digest,
            state="done",
            session_id=mine.id,
            pid=pid,
            process_started_at=started,
            args={"action": "attach", "target_session_id": target.id, "reason": reason or ""},
            ended_at=tx.at,
            outcome=count,
        )
    )
    return count


def _transfer_queue(tx: Tx, mine: Session, target: Session) -> int:
    """Its places in the queues, each as old as it is."""
    found = [row for row in tx.where(Land, session_id=target.id) if row.state in LAND_OPEN]
    for row in found:
        tx.put(tx.require(Land, row.id).but(session_id=mine.id))
    return len(found)


def _transfer_leases(tx: Tx, mine: Session, target: Session) -> int:
    """All with one new fence; what has lapsed is not revived."""
    held = leases.held(tx, "all", target.id)
    if not held:
        return 0
    fence = waiting.next_fence(tx)
    for lease in held:
        tx.put(lease.but(**liveness.granted(tx, mine.id, lease.thread_id, fence, lease.ttl_seconds)))
    return len(held)


def _transfer_cases(tx: Tx, mine: Session, target: Session) -> int:
    claims = 0
    for row in tx.where(Task, level="case", owner_session_id=target.id):
        task = tx.require(Task, row.id)
        if row.status in CLOSED:
            continue
        task = task.but(owner_session_id=mine.id)
        if task.claim and task.claim.session_id == target.id:
            fence, thread_id = task.claim_fence + 1, task.claim.thread_id or target.root_thread_id
            claim = Hold(**liveness.granted(tx, mine.id, thread_id, fence, task.claim.ttl_seconds))
            task = task.but(claim=claim, claim_fence=fence)
            claims += 1
        tx.put(task)
    for row in tx.where(Task, assignee_session=target.id):
        if row.status not in CLOSED:  # nobody else could ever begin it
            tx.put(tx.require(Task, row.id).but(assignee_session=mine.id))
    return claims


def _transfer_threads(tx: Tx, mine: Session, target: Session) -> int:
    own = tx.require(Thread, mine.root_thread_id)
    ended = own.but(status="stopped", completed_at=tx.at, reason=f"replaced by {target.root_thread_id}")
    tx.put(with_ref(ended, "suspended"))
    count = 0
    for thread in tx.found(Thread, session_id=target.id):
        if thread.status in THREAD_ENDED:
            continue
        thread = thread.but(session_id=mine.id, machine=tx.machine)
        count += 1
        ref = pointing.active_ref(thread) if thread.id == target.root_thread_id else None
        if ref is not None:  # handed off; it goes on as the next one
            number = thread.ref_count + 1
            thread = thread.but(ref=ref.but(n=number, version=1, mode="resume", acked_at=None), ref_count=number)
        tx.put(thread)
    return count


def told_before(tx: Tx, mine: Session, target: Session) -> dict[str, Any]:
    """What the winner was told the first time."""
    for intent in tx.found(Intent, session_id=mine.id):
        if intent.args.get("target_session_id") == target.id and intent.outcome:
            return intent.outcome
    return NOTHING


def remove_own_root(flow: Flow, before: Session) -> None:
    """The requester's own worktree, in which nothing was done, is of no use any more."""
    tx = flow.read()
    now = tx.require(Session, before.id)
    if before.session_root_worktree_id in (None, now.session_root_worktree_id):
        return
    worktree = tx.get(Worktree, before.session_root_worktree_id)
    if worktree is None or worktree.status == "removed":
        return
    try:
        removing.take_away(flow, worktree, removing.inspect(flow, tx, worktree), delete_branch=True)
    except CodestratorError:
        return  # somebody began to work there in this moment; it stays the session's, in worktree.list


def answer(tx: Tx, session_id: str) -> dict[str, Any]:
    session = tx.require(Session, session_id)
    result = sessions.context_of(tx, session)
    thread = tx.get(Thread, session.root_thread_id)
    ref = pointing.active_ref(thread) if thread else None
    task = tx.get(Task, ref.node_id) if ref and ref.node_type == "case" else None
    if task is not None and (step := progress(task).get("next_step")):
        result["next_step"] = step
    return result
