"""Child threads: who they are, how far they say they are, and what follows from the end of one."""

from typing import Any

from codestrator import threadfiles
from codestrator.calls import Flow, Tx
from codestrator.errors import Forbidden, WrongState
from codestrator.methods import liveness, who
from codestrator.model import shown
from codestrator.records import ACTIVE, THREAD_ENDED, Directive, DirectiveState, Session, Task, Thread
from codestrator.threadfiles import Told

LIVE = ("planned", "initializing", "running", "interrupted", "waiting")
WORKING = ("running", "waiting", "interrupted")
# What an agent does, as far as it can be told apart from its thread's status.
PROVIDER = ("idle", "processing", "completed", "waiting_user_answer", "error")
REFS = {"completed": "completed"}
STOPPED = "stopped by the root"


def told(tx: Tx, thread_id: str) -> Told:
    """The last that its runner said; nothing where that cannot be read."""
    return threadfiles.told(tx.live, thread_id)


def child(tx: Tx, thread_id: str) -> tuple[Session, Thread]:
    """A child of the caller's session; refuses the root thread and threads of other sessions."""
    thread = tx.require(Thread, thread_id)
    session = tx.require(Session, thread.session_id)
    if not who.owns(tx, session.id):
        raise Forbidden(
            f"'{thread_id}' belongs to '{thread.session_id}', expected a child of the caller's session",
            hint="Call thread.child.list for the children of this session.",
            role=tx.caller.role,
            needs="the root of its session",
        )
    if thread.id == session.root_thread_id:
        raise WrongState(
            f"'{thread_id}' is the root thread of '{session.id}', expected a child",
            hint="Call thread.child.list with include_root false.",
            found="root thread",
            expected="child",
        )
    return session, thread


def expect(thread: Thread, *statuses: str, hint: str | None = None) -> None:
    """Refuse unless its status is one of these."""
    if thread.status not in statuses:
        raise WrongState(
            f"'{thread.id}' is '{thread.status}', expected {' or '.join(statuses)}",
            hint=hint,
            found=thread.status,
            expected=list(statuses),
        )


def in_sight(tx: Tx, thread: Thread) -> dict[str, Any]:
    """A thread as callers see it: its document, and what its runner said since."""
    found = shown(thread)
    if thread.status in THREAD_ENDED or thread.parent_thread_id is None:
        return found
    said = told(tx, thread.id)
    newer = {"turn": max(said.turn, thread.turn), "progress": said.progress, "reported_at": said.reported_at}
    return found | {name: value for name, value in newer.items() if value}


def state_of(tx: Tx, one: Directive) -> DirectiveState:
    """Its state; what is still open when its time has passed is over, published or not."""
    return "expired" if one.state in ("queued", "delivered") and one.expires_at <= tx.at else one.state


def open_directives(tx: Tx, thread_id: str) -> list[Directive]:
    """What was sent to it and is neither carried out nor over, oldest first; a restart is for the one that follows."""
    found = [
        one
        for state in ("queued", "delivered")
        for one in tx.found(Directive, thread_id=thread_id, state=state)
        if one.expires_at > tx.at and one.mode != "restart"
    ]
    return sorted(found, key=lambda one: (one.created_at, one.id))


def active_case(tx: Tx, thread: Thread) -> Task | None:
    """The case that the thread has in work."""
    rows = [row for row in tx.where(Task, owner_thread_id=thread.id, level="case") if row.status in ACTIVE]
    found = [tx.require(Task, row.id) for row in rows]
    return next((task for task in found if task.claim and task.claim.thread_id == thread.id), None)


def claims(tx: Tx, thread: Thread) -> list[dict[str, Any]]:
    task = active_case(tx, thread)
    if task is None or task.claim is None:
        return []
    left = liveness.claim_seconds_left(tx, task.claim)
    return [{"case_id": task.id, "fence": task.claim.fence, "seconds_left": left}]


def tmux_tag(flow: Flow, session_id: str) -> str:
    """What marks the tmux sessions and panes of a session as ours."""
    return f"{flow.world.common_dir}:{session_id}"


def end(tx: Tx, thread: Thread, status: str, said: Told | None = None, **fields: Any) -> Thread:
    """Stage a child's end: its claim is given back, its ref ends with it; its case stays as it is, for the next.

    `said` is the last that its runner said, where that is not what lies in its file.
    """
    if thread.stop_requested and status == "failed":
        # It did as it was told, however its runner put it.
        status, fields = "stopped", fields | {"reason": thread.reason or STOPPED}
    task = active_case(tx, thread)
    if task is not None:
        tx.put(task.but(claim=None))
    for one in open_directives(tx, thread.id):
        tx.put(one.but(state="failed", detail=f"the thread is {status}"))
    said = said or told(tx, thread.id)
    ref = thread.ref
    if ref is not None and ref.status == "active":
        ref = ref.but(status=REFS.get(status, "suspended"), version=ref.version + 1, acked_at=None)
    given = {
        "turn": max(thread.turn, said.turn),
        "progress": said.progress or thread.progress,
        "exit_status": said.exit_status if thread.exit_status is None else thread.exit_status,
        "reported_at": said.reported_at or thread.reported_at,
    }
    return tx.put(thread.but(status=status, completed_at=tx.at, ref=ref, stop_requested=False, **given | fields))
