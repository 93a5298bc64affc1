"""What a child may name in a call: its own session and thread, its own things, and, where it writes, its scope.

Asked once for every call of a child, whatever the method; what only one method knows (who owns a case, who holds a
lock, whom one may write to) that method asks itself.
"""

from collections.abc import Callable

from codestrator import ids, params, scopes
from codestrator.calls import Tx
from codestrator.errors import Forbidden, WrongState
from codestrator.params import Params
from codestrator.records import (
    THREAD_ENDED,
    Checkpoint,
    Directive,
    Land,
    MergeRequest,
    Message,
    Review,
    Session,
    Task,
    Thread,
    Worktree,
)
from codestrator.table import Method

# What they show is open across sessions, so they may be asked for another one's.
OPEN = frozenset({"task.list", "task.get", "task.ready", "graph.node.list", "lock.list", "conflict.forecast"})
# What a session that is on offer may call: to hand it over, to look, and to end it, which asks for itself.
OF_OFFERED = frozenset({
    "handoff.offer", "handoff.take", "resume.candidates.attach", "sync.run", "workspace.init", "work.brief",
    "thread.child.status", "thread.child.wait_status", "session.open", "session.close", "session.cleanup",
})  # fmt: skip
GUARDED = ("step.check", "case.complete", "lock.heartbeat", "lock.release", "merge.main.release_lock")
SCOPED = (*ids.PREFIXES_OF["task"], *ids.PREFIXES_OF["node"])


def alive(thread: Thread, machine: str) -> Thread:
    """The thread; refused once it has ended, or where another machine has it now."""
    if thread.status in THREAD_ENDED:
        raise WrongState(
            f"'{thread.id}' is '{thread.status}', expected a thread that has not ended",
            hint="End: a thread that is over calls nothing more.",
            found=thread.status,
            expected=["planned", "initializing", "running", "waiting", "interrupted"],
        )
    if thread.machine != machine:
        raise Forbidden(
            f"'{thread.id}' is of machine '{thread.machine}', expected '{machine}'",
            hint="Ask the root to start it anew with thread.child.directive mode restart.",
            role=thread.role,
            needs="a thread of this machine",
        )
    return thread


def check(tx: Tx, method: Method, want: Params) -> None:
    """Refuse what a session that is not its own any more would write, and a child's call that is none of its business.

    Other callers are judged by the methods alone.
    """
    if method.kind != "read" and method.name not in OF_OFFERED:
        _check_own(tx, method)
    if tx.caller.kind != "child":
        return
    found = tx.get(Thread, tx.caller.thread_id)
    if found is None:
        raise _refused(tx, "thread", str(tx.caller.thread_id), "nobody", "a thread that is known here")
    thread = alive(found, tx.machine)
    for field, given in params.every_id(want):
        item_id, dot, _ = given.partition(".")
        prefix = ids.prefix_of(item_id)
        if prefix in SCOPED and method.kind != "read":
            scopes.check(tx, thread, item_id)
        elif prefix in OWN and method.name not in OPEN and not (prefix == "thr" and dot):
            OWN[prefix](tx, thread, field, item_id)


def _check_own(tx: Tx, method: Method) -> None:
    """Nothing is written for a session that is on offer, or that another one took over.

    What is guarded by a lease or a claim says in its own words who holds that now.
    """
    session = tx.get(Session, tx.caller.session_id)
    if session is None:
        return
    if session.status == "offered":
        found, hint = "is 'offered'", "Call handoff.offer with withdraw true to go on here."
    elif session.status == "handoff_attached" and method.kind == "write" and method.name not in GUARDED:
        found, hint = f"was taken over by '{session.handed_to}'", "Go on there, or call session.open for a new session."
    else:
        return
    raise WrongState(
        f"'{session.id}' {found}, expected an active session",
        hint=hint,
        found=session.status,
        expected=["active_new", "active_resume"],
    )


def _session(tx: Tx, thread: Thread, field: str, session_id: str) -> None:
    if session_id != thread.session_id:
        raise _refused(tx, field, session_id, "another session", f"'{thread.session_id}'")


def _thread(tx: Tx, thread: Thread, field: str, thread_id: str) -> None:
    if thread_id != thread.id and tx.get(Thread, thread_id):
        raise _refused(tx, field, thread_id, "another thread", f"'{thread.id}'")


def _worktree(tx: Tx, thread: Thread, field: str, worktree_id: str) -> None:
    found = tx.get(Worktree, worktree_id)
    if found and found.owner_session_id != thread.session_id:
        raise _refused(tx, field, worktree_id, found.owner_session_id, "a worktree of its own session")


def _message(tx: Tx, thread: Thread, field: str, message_id: str) -> None:
    found = tx.get(Message, message_id)
    if found and thread.id not in (found.sender_thread_id, found.receiver_thread_id):
        raise _refused(tx, field, message_id, found.receiver_thread_id, "a message to or from the caller")


def _directive(tx: Tx, thread: Thread, field: str, directive_id: str) -> None:
    found = tx.get(Directive, directive_id)
    if found and found.thread_id != thread.id:
        raise _refused(tx, field, directive_id, found.thread_id, f"a directive to '{thread.id}'")


def _checkpoint(tx: Tx, thread: Thread, field: str, checkpoint_id: str) -> None:
    """Of its session; or of the case that it has now, whoever had that before."""
    found = tx.get(Checkpoint, checkpoint_id)
    if found is None or found.session_id == thread.session_id:
        return
    task = tx.get(Task, found.case_id)
    if task is None or task.owner_thread_id != thread.id:
        raise _refused(tx, field, checkpoint_id, found.session_id, "a checkpoint of its own session or case")


def _request(tx: Tx, thread: Thread, field: str, request_id: str) -> None:
    found = tx.get(MergeRequest, request_id)
    if found and found.session_id != thread.session_id:
        raise _refused(tx, field, request_id, found.session_id, "a merge request of its own session")


def _review(tx: Tx, thread: Thread, field: str, review_id: str) -> None:
    found = tx.get(Review, review_id)
    if found and found.reviewer_thread_id != thread.id:
        raise _refused(tx, field, review_id, found.reviewer_thread_id, "the job that was given to it")


def _land(tx: Tx, thread: Thread, field: str, land_id: str) -> None:
    found = tx.get(Land, land_id)
    if found and found.session_id != thread.session_id:
        raise _refused(tx, field, land_id, found.session_id, "a queue item of its own session")


OWN: dict[str, Callable[[Tx, Thread, str, str], None]] = {
    "ses": _session,
    "thr": _thread,
    "wt": _worktree,
    "msg": _message,
    "dir": _directive,
    "cp": _checkpoint,
    "mrq": _request,
    "rev": _review,
    "land": _land,
}


def _refused(tx: Tx, field: str, item_id: str, owner: str | None, expected: str) -> Forbidden:
    return Forbidden(
        f"'{field}' is '{item_id}' of '{owner or 'nobody'}', expected {expected} for '{tx.caller.thread_id}'",
        hint=f"Leave '{field}' out, or give one of the caller's own.",
        role=tx.caller.role,
        needs=expected,
    )
