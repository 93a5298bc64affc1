"""What to go on with: a case in work, a blocked one, or the first that is ready."""

from typing import Any

from codestrator import scopes
from codestrator.calls import Tx
from codestrator.methods import liveness, who
from codestrator.methods.ready import first_ready
from codestrator.methods.recording import Called
from codestrator.methods.tasks import path_to, progress, shown_task
from codestrator.records import ACTIVE, Checkpoint, Session, Task, Thread


class Next(Called, frozen=True, kw_only=True):
    pass


def find_next(tx: Tx, session: Session, thread: Thread | None) -> Task | None:
    """The case to go on with: one of the thread (or session) in work, then a blocked one, then the first ready.

    What another thread of the session has in work is passed over while that thread's claim counts.
    """
    mine = thread.id if thread else session.root_thread_id
    owned = {"owner_thread_id": thread.id} if thread else {"owner_session_id": session.id}
    rows = [row for row in tx.where(Task, **owned) if row.status in ACTIVE]
    for row in sorted(rows, key=lambda row: (row.owner_thread_id != mine, ACTIVE.index(row.status), row.updated_at)):
        task = tx.require(Task, row.id)
        if row.owner_thread_id == mine or task.claim is None or liveness.claim_over(tx, task.claim):
            return task
    return first_ready(tx, session.id, scopes.of(thread) if thread else frozenset())


def next_case(tx: Tx, want: Next) -> dict[str, Any]:
    """Answer which case and step to go on with; an empty answer if there is none."""
    session = who.session_of(tx, want.session_id)
    thread = who.thread_of(tx, want.thread_id, session) if want.thread_id or tx.caller.kind == "child" else None
    task = find_next(tx, session, thread)
    if task is None:
        return {}
    found: dict[str, Any] = {"task": shown_task(tx, task), "path": path_to(tx, task), **progress(task)}
    return found | {"checkpoint": tx.get(Checkpoint, task.latest_checkpoint_id)}
