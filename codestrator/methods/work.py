"""Where a thread is: its current ref, and the case it should go on with."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound
from codestrator.methods import cases, recording, who
from codestrator.methods.places import Spot, missing_files
from codestrator.methods.pointing import active_ref, point, shown_ref
from codestrator.methods.resuming import find_next
from codestrator.methods.tasks import path_to, progress, shown_task
from codestrator.params import AnyId, CheckpointId, Params, Path, RefId, SessionId, Summary
from codestrator.records import ACTIVE, CLOSED, Checkpoint, Session, Task, Thread

__all__ = ["acknowledge", "answer", "current_ref", "point"]

WRITES = ("node_type", "node_id", "checkpoint_id", "next_action", "summary")


class CurrentRef(recording.Called, frozen=True, kw_only=True):
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
    writes = any(getattr(want, name) for name in WRITES)
    tx = flow.read()
    session, thread = recording.caller_of(tx, want)
    _check_version(thread, want)
    if not writes and _counts(tx, thread):
        return answer(tx, session, thread, "current_refs", want.required_files)

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[recording.Line]) -> dict[str, Any]:
        _check_version(thread, want)
        if writes:
            return answer(tx, session, _set(tx, thread, want), "current_refs")
        if _counts(tx, thread):
            return answer(tx, session, thread, "current_refs", want.required_files)
        return _take(tx, session, thread, spot, want, lines)

    return recording.publish(flow, want, thread.id, act)


def _counts(tx: Tx, thread: Thread) -> bool:
    """Whether the thread has a ref that still says what to do: not to a case that has ended, or that another has."""
    ref = active_ref(thread)
    task = tx.get(Task, ref.node_id) if ref else None
    if ref is None or (task is None and ref.node_type != "node"):
        return False
    if task is None or task.level != "case":
        return True
    elsewhere = task.status in ACTIVE and task.owner_thread_id != thread.id
    return task.status not in CLOSED and not elsewhere


def _check_version(thread: Thread, want: CurrentRef) -> None:
    version = thread.ref.version if thread.ref else 0
    if want.expected_version is not None and want.expected_version != version:
        raise Conflict(
            f"the current ref of '{thread.id}' has version {version}, expected {want.expected_version}",
            hint="Read work.current_ref, then decide again.",
            found=version,
            expected=want.expected_version,
        )


def _set(tx: Tx, thread: Thread, want: CurrentRef) -> Thread:
    old = active_ref(thread)
    node_id = want.node_id or (old.node_id if old else None)
    if node_id is None:
        raise InvalidParams(
            f"'node_id' is missing and '{thread.id}' points at nothing, expected id(task)",
            field="node_id",
            found="nothing",
            expected="id(task)",
        )
    task = tx.require(Task, node_id)
    fits: Literal["case", "task"] = "case" if task.level == "case" else "task"
    if want.node_type not in (None, fits):
        raise InvalidParams(
            f"'node_type' is '{want.node_type}' for '{node_id}', expected '{fits}'",
            field="node_type",
            found=want.node_type,
            expected=fits,
        )
    who.check_scope(tx, task, thread)
    if tx.caller.kind == "child" and task.status in ACTIVE and task.owner_thread_id not in (None, thread.id):
        raise Forbidden(
            f"'{node_id}' belongs to '{task.owner_thread_id}', expected a case of '{thread.id}'",
            hint="Begin it first, if it is free.",
            role=tx.caller.role,
            needs="its owner",
        )
    if want.checkpoint_id:
        tx.require(Checkpoint, want.checkpoint_id)
    return point(
        tx,
        thread,
        node_id=node_id,
        node_type=fits,
        checkpoint_id=want.checkpoint_id,
        next_action=want.next_action,
        summary=want.summary,
        required_files=want.required_files,
        mode=want.mode,
    )


def _take(
    tx: Tx, session: Session, thread: Thread, spot: Spot, want: CurrentRef, lines: list[recording.Line]
) -> dict[str, Any]:
    """Claim what comes next and point at it, in this operation."""
    task = find_next(tx, session, thread if tx.caller.kind == "child" or want.thread_id else None)
    if task is None:
        return {"source": "none", "remaining_steps": 0} | _children(tx, session, thread)
    contract = cases.Contract(required_files=want.required_files)
    cases.claim(tx, task, session, thread, spot, contract, lines)
    thread = tx.require(Thread, thread.id)
    if thread.ref and thread.ref.mode != want.mode:
        thread = tx.put(thread.but(ref=thread.ref.but(mode=want.mode)))
    return answer(tx, session, thread, "resume.next")


def answer(
    tx: Tx, session: Session, thread: Thread, source: str, required_files: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The pointer and what it points at; `required_files` are looked for instead of the ref's own, if given."""
    ref = thread.ref
    assert ref
    found: dict[str, Any] = {"source": source, "current_ref": shown_ref(thread)}
    task = tx.get(Task, ref.node_id)
    if task:
        found |= {"task": shown_task(tx, task), "path": path_to(tx, task), **progress(task)}
    if checkpoint := tx.get(Checkpoint, ref.checkpoint_id):
        found["checkpoint"] = checkpoint
    if missing := missing_files(tx, session, thread, required_files or ref.required_files):
        found["missing_files"] = missing
    return found | _children(tx, session, thread)


def _children(tx: Tx, session: Session, thread: Thread) -> dict[str, Any]:
    """Where a root's other threads are."""
    if thread.id != session.root_thread_id:
        return {}
    others = [one for one in tx.found(Thread, session_id=session.id) if one.id != thread.id and active_ref(one)]
    others.sort(key=lambda one: (one.created_at, one.id))
    return {"children_refs": [shown_ref(one) for one in others]} if others else {}


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
