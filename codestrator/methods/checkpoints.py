"""Progress put in safety: a commit if asked for, a snapshot of what is uncommitted, a checkpoint that names both."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Forbidden, InvalidParams, NotFound, WrongState
from codestrator.methods import liveness, places, pointing, recording, rescue
from codestrator.params import CaseId, Json, Path, StepId, Summary
from codestrator.records import ACTIVE, Checkpoint, Rescue, Session, Task, Thread, Worktree


class Save(recording.Called, frozen=True, kw_only=True):
    summary: Summary
    case_id: Annotated[CaseId | None, Meta(description="default: the thread's active case")] = None
    step_id: StepId | None = None
    next_action: Summary | None = None
    data: Json | None = None
    required_files: tuple[Path, ...] = ()
    snapshot: Annotated[bool, Meta(description="keep uncommitted work, if there is any")] = True
    commit_message: Annotated[Summary | None, Meta(description="commit everything in the worktree first")] = None
    fence: int | None = None


def checkpoint(flow: Flow, want: Save) -> dict[str, Any]:
    """Save progress: a checkpoint, with a snapshot of uncommitted work; a commit too, if a message is given.

    Nothing to commit is no error. Neither the index nor any file is touched by a snapshot.
    """
    tx = flow.read()
    session, thread, _ = _checked(tx, want)
    worktree = places.worktree_of(tx, session, thread)
    commit = _commit(flow, tx, worktree, want.commit_message) if want.commit_message else None
    spot = places.spot_of(flow, tx, session, thread)
    snapshot, new = None, False
    folder = places.path_of(tx, worktree) if worktree else None
    if want.snapshot and spot.dirty and worktree and folder:
        case_id = _case_id(tx, want, thread)
        snapshot, new = rescue.take(flow, worktree, folder, "checkpoint", case_id=case_id, thread_id=thread.id)
    lines: list[recording.Line] = []

    def act(tx: Tx) -> dict[str, Any]:
        lines.clear()
        if snapshot and new:
            rescue.keep(tx, snapshot)
        return _record(tx, want, spot, snapshot, lines)

    result = flow.transact(act)
    for line in lines:
        flow.world.notes.add(*line)
    return result | {"commit": commit} if commit else result


def _case_id(tx: Tx, want: Save, thread: Thread) -> str | None:
    of_step = want.step_id.partition(".")[0] if want.step_id else None
    if want.case_id and of_step and of_step != want.case_id:
        raise InvalidParams(
            f"'{want.step_id}' is no step of '{want.case_id}', expected one of its own",
            field="step_id",
            found=want.step_id,
            expected=f"{want.case_id}.n",
        )
    owned = (row.id for row in tx.where(Task, level="case", owner_thread_id=thread.id) if row.status in ACTIVE)
    return want.case_id or of_step or next(owned, None)


def _checked(tx: Tx, want: Save) -> tuple[Session, Thread, Task | None]:
    """Who saves, and for which case; refused without the case's claim."""
    session, thread = recording.caller_of(tx, want, want.case_id)
    case_id = _case_id(tx, want, thread)
    if case_id is None:
        return session, thread, None
    task = tx.require(Task, case_id)
    recording.check_owner(tx, task, session, thread, want.fence)
    if task.status not in ACTIVE:
        raise WrongState(
            f"'{task.id}' is '{task.status}', expected 'in_progress' or 'blocked'",
            hint="Leave case_id out, or begin a case.",
            found=task.status,
            expected=list(ACTIVE),
        )
    if want.step_id and want.step_id.partition(".")[2] not in task.steps:
        raise NotFound(f"no step '{want.step_id}'", hint="Read the steps with task.get.", kind="step", id=want.step_id)
    return session, thread, task


def _commit(flow: Flow, tx: Tx, worktree: Worktree | None, message: str) -> str | None:
    """Commit everything in the thread's own worktree; the user's main worktree is never committed for them."""
    folder = places.path_of(tx, worktree) if worktree else None
    if worktree is None or folder is None or worktree.kind == "main":
        raise Forbidden(
            f"'{worktree.id if worktree else 'no worktree'}' is not the thread's own, expected a worktree of its own",
            hint="Leave commit_message out.",
            role=tx.caller.role,
            needs="a worktree of its own",
        )
    if operation := flow.world.worktrees.operation(folder):
        raise WrongState(
            f"a {operation} is in progress in '{worktree.id}', expected none",
            hint="Finish it there, then call again.",
            found=operation,
            expected="no operation in progress",
        )
    return flow.world.worktrees.commit_all(folder, message)


def _record(
    tx: Tx, want: Save, spot: places.Spot, snapshot: Rescue | None, lines: list[recording.Line]
) -> dict[str, Any]:
    session, thread, task = _checked(tx, want)
    made = recording.record_checkpoint(
        tx, session, thread, spot, "manual", lines,
        case_id=task.id if task else None, step_id=want.step_id, summary=want.summary, next_action=want.next_action,
        data=want.data, snapshot_id=snapshot.id if snapshot else None,
        fence=task.claim.fence if task and task.claim else None,
    )  # fmt: skip
    if task:
        claim = liveness.renewed(tx, task.claim) if task.claim else None
        action = want.next_action or task.next_action
        tx.put(task.but(latest_checkpoint_id=made.id, claim=claim, next_action=action))
    thread = _pointed(tx, want, thread, task, made)
    result: dict[str, Any] = {"checkpoint": made}
    if thread.ref is not None:
        result["current_ref"] = pointing.shown_ref(thread)
    if snapshot:
        result["snapshot_id"] = snapshot.id
        if snapshot.skipped:
            result["skipped"] = [{"path": one.path, "bytes": one.bytes} for one in snapshot.skipped]
    return result


def _pointed(tx: Tx, want: Save, thread: Thread, task: Task | None, made: Checkpoint) -> Thread:
    active = pointing.active_ref(thread)
    if task is None and active is None:
        return thread
    return pointing.point(
        tx,
        thread,
        node_id=task.id if task else active.node_id if active else "",
        node_type="case" if task else active.node_type if active else "node",
        checkpoint_id=made.id,
        next_action=want.next_action,
        summary=want.summary,
        required_files=want.required_files,
    )
