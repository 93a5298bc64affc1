"""Where a thread is: its current ref, and the case it should go on with."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Conflict, NotFound
from codestrator.methods import cases, who
from codestrator.methods.places import Spot, missing_files, spot_of
from codestrator.methods.pointing import active_ref, point, shown_ref
from codestrator.methods.tasks import path_to, progress, shown_task
from codestrator.params import AnyId, CheckpointId, Params, Path, RefId, SessionId, Summary, ThreadId
from codestrator.records import Checkpoint, Session, Task, Thread

WRITES = ("node_type", "node_id", "checkpoint_id", "next_action", "summary")


class CurrentRef(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    thread_id: ThreadId | None = None
    mode: Literal["compact", "resume", "handoff"] = "compact"
    required_files: tuple[Path, ...] = ()
    node_type: Annotated[Literal["case", "task", "node"] | None, Meta(description="this and the next four write")] = (
        None
    )
    node_id: AnyId | None = None
    checkpoint_id: CheckpointId | None = None
    next_action: Summary | None = None
    summary: Summary | None = None
    expected_version: int | None = None


def current_ref(flow: Flow, want: CurrentRef) -> dict[str, Any]:
    """Answer where this thread is; without a pointer, take the next case. With writing fields, set it."""
    tx = flow.read()
    session, thread = _who(tx, want)
    if not any(getattr(want, name) for name in WRITES) and active_ref(thread):
        return answer(tx, session, thread, "current_refs")
    spot = spot_of(flow, tx, session, thread)
    lines: list[cases.Line] = []

    def act(tx: Tx) -> dict[str, Any]:
        lines.clear()
        session, thread = _who(tx, want)
        if any(getattr(want, name) for name in WRITES):
            return answer(tx, session, _set(tx, thread, want), "current_refs")
        if active_ref(thread):
            return answer(tx, session, thread, "current_refs")
        return _take(tx, session, thread, spot, want, lines)

    found = flow.transact(act, thread.id)
    for line in lines:
        flow.world.notes.add(*line)
    return found


def _who(tx: Tx, want: CurrentRef) -> tuple[Session, Thread]:
    session = who.active_session(tx, want.session_id)
    return session, who.thread_of(tx, want.thread_id, session)


def _set(tx: Tx, thread: Thread, want: CurrentRef) -> Thread:
    ref = thread.ref
    version = ref.version if ref else 0
    if want.expected_version is not None and want.expected_version != version:
        raise Conflict(
            f"the current ref of '{thread.id}' has version {version}, expected {want.expected_version}",
            hint="Read work.current_ref, then decide again.",
            found=version,
            expected=want.expected_version,
        )
    node_id = want.node_id or (ref.node_id if ref else None)
    if node_id is None:
        raise NotFound(f"'{thread.id}' points at nothing, expected node_id", kind="task", id="")
    task = tx.require(Task, node_id)
    who.check_scope(tx, task, thread)
    if want.checkpoint_id:
        tx.require(Checkpoint, want.checkpoint_id)
    return point(
        tx,
        thread,
        node_id=node_id,
        node_type=want.node_type or ("case" if task.level == "case" else "task"),
        checkpoint_id=want.checkpoint_id,
        next_action=want.next_action,
        summary=want.summary,
        required_files=want.required_files,
        mode=want.mode,
    )


def _take(
    tx: Tx, session: Session, thread: Thread, spot: Spot, want: CurrentRef, lines: "list[cases.Line]"
) -> dict[str, Any]:
    """Claim what comes next and point at it, in this operation."""
    task = cases.find_next(tx, session, thread)
    if task is None:
        return {"source": "none", "remaining_steps": 0}
    if not (task.status == "in_progress" and task.owner_thread_id == thread.id):
        task, _ = cases.claim(
            tx, task, session, thread, spot, cases.Contract(required_files=want.required_files), lines
        )
    elif not active_ref(thread):
        point(tx, thread, node_id=task.id, checkpoint_id=task.latest_checkpoint_id, mode=want.mode)
    return answer(tx, session, tx.require(Thread, thread.id), "resume.next")


def answer(tx: Tx, session: Session, thread: Thread, source: str) -> dict[str, Any]:
    """The pointer and what it points at."""
    ref = thread.ref
    assert ref
    found: dict[str, Any] = {"source": source, "current_ref": shown_ref(thread)}
    task = tx.get(Task, ref.node_id)
    if task:
        found |= {"task": shown_task(tx, task), "path": path_to(tx, task), **progress(task)}
    if checkpoint := tx.get(Checkpoint, ref.checkpoint_id):
        found["checkpoint"] = checkpoint
    if missing := missing_files(tx, session, thread, ref.required_files):
        found["missing_files"] = missing
    if thread.id == session.root_thread_id:
        others = [one for one in tx.found(Thread, session_id=session.id) if one.id != thread.id and active_ref(one)]
        if others:
            found["children_refs"] = [shown_ref(one) for one in others]
    return found


class Acknowledge(Params, frozen=True, kw_only=True):
    ref_id: RefId
    session_id: SessionId | None = None


def acknowledge(tx: Tx, want: Acknowledge) -> dict[str, Any]:
    """Say that the current ref was read; any later change asks for it anew."""
    session = who.active_session(tx, want.session_id)
    thread_id, _, number = want.ref_id.partition(".")
    thread = tx.get(Thread, thread_id)
    if thread is None or thread.session_id != session.id or thread.ref is None or str(thread.ref.n) != number:
        raise NotFound(
            f"no current ref '{want.ref_id}' in '{session.id}'",
            hint="Read work.current_ref for the one that counts.",
            kind="ref",
            id=want.ref_id,
        )
    who.thread_of(tx, thread.id, session)
    if thread.ref.acked_at is None:
        ref = thread.ref.but(acked_at=tx.at, version=thread.ref.version + 1)
        thread = tx.put(thread.but(ref=ref))
    return {"current_ref": shown_ref(thread)}
