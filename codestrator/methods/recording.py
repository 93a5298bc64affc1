"""Checkpoints: one document and one note line each, published with the work that they tell of."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from codestrator.calls import Flow, Tx
from codestrator.errors import Forbidden
from codestrator.methods import authority, who
from codestrator.methods.places import Spot, spot_of
from codestrator.params import Params, SessionId, ThreadId
from codestrator.records import Checkpoint, Session, Task, Thread

Line = tuple[str, Mapping[str, Any]]
Event = Literal["case.begin", "step.check", "case.complete", "manual", "handoff", "land"]
T = TypeVar("T")


class Called(Params, frozen=True, kw_only=True):
    """What all calls about a case say of the caller."""

    session_id: SessionId | None = None
    thread_id: ThreadId | None = None


def caller_of(tx: Tx, want: Called, guarded: str | None = None) -> tuple[Session, Thread]:
    """The session and thread that a call works for; refused unless both are active.

    `guarded` is the case whose claim the call needs: who has lost it is told who has it.
    """
    if guarded and (task := tx.get(Task, guarded)):
        who.check_not_taken(who.session_of(tx, want.session_id), task.id, task.claim, getattr(want, "fence", None))
    session = who.active_session(tx, want.session_id)
    return session, who.thread_of(tx, want.thread_id, session)


def publish(
    flow: Flow,
    want: Called,
    about: str,
    act: Callable[[Tx, Session, Thread, Spot, list[Line]], T],
    *,
    decided: bool = False,
    guarded: bool = False,
) -> T:
    """Look at the worktree, publish what `act` stages as one operation, then add the notes of its checkpoints.

    `decided`: it grants something, so it is published where that is decided. `guarded`: by the claim of the case that
    `about` names.
    """
    picture, claimed = flow.read(), about if guarded else None
    spot = spot_of(flow, picture, *caller_of(picture, want, claimed))
    lines: list[Line] = []

    def once(tx: Tx) -> T:
        lines.clear()
        return act(tx, *caller_of(tx, want, claimed), spot, lines)

    authority.keep(flow, caller_of(picture, want, claimed)[0].id)
    found = authority.publish(flow, once, about) if decided else flow.transact(once, about)
    for line in lines:
        flow.world.notes.add(*line)
    return found


def record_checkpoint(
    tx: Tx, session: Session, thread: Thread, spot: Spot, event: Event, lines: list[Line], **fields: Any
) -> Checkpoint:
    """Stage a checkpoint; `lines` gets its note, to be added once this is published."""
    checkpoint = tx.put(
        Checkpoint(
            id=tx.mint("cp"),
            session_id=session.id,
            thread_id=thread.id,
            event=event,
            commit=spot.commit,
            tree=spot.tree,
            dirty=spot.dirty,
            worktree_id=spot.worktree_id,
            **fields,
        )
    )
    lines.append(note_of(checkpoint))
    return checkpoint


def note_of(checkpoint: Checkpoint) -> Line:
    """The line that `git log --notes=codestrator` shows at a checkpoint's commit; the same whenever it is made."""
    data = checkpoint.data or {}
    line = {
        "cp": checkpoint.id,
        "event": checkpoint.event,
        "at": checkpoint.created_at,
        "case": checkpoint.case_id,
        "step": checkpoint.step_id,
        "summary": checkpoint.summary,
    }
    if checkpoint.event == "step.check":
        line |= {"result": data.get("result"), "evidence": data.get("evidence") or None}
    return checkpoint.commit, {name: value for name, value in line.items() if value is not None}


def check_owner(tx: Tx, task: Task, session: Session, thread: Thread, fence: int | None) -> None:
    """Refuse unless the thread owns the case: `stale_fence` if it was taken from it, `forbidden` if it never had it."""
    mine = (task.owner_session_id, task.owner_thread_id) == (session.id, thread.id)
    if mine and task.claim is None:
        return  # its status says what is wrong
    if mine or tx.where(Checkpoint, case_id=task.id, thread_id=thread.id, event="case.begin"):
        who.check_fence(task.id, fence, task.claim, (session.id, thread.id))
        return
    raise Forbidden(
        f"'{task.id}' belongs to '{task.owner_thread_id or 'nobody'}', expected '{thread.id}'",
        hint="Begin it first, if it is free.",
        role=tx.caller.role,
        needs="its owner",
    )
