"""A case completed: its steps all checked, its claim freed, its parents and what waited for it told."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Forbidden, InvalidParams, WrongState
from codestrator.methods.places import Spot
from codestrator.methods.pointing import point
from codestrator.methods.ready import made_ready
from codestrator.methods.recording import Called, Line, check_owner, publish, record_checkpoint
from codestrator.methods.tasks import Plan, shown_task, steps_of
from codestrator.params import CaseId, Path, Summary
from codestrator.records import Session, Task, Thread


class Complete(Called, frozen=True, kw_only=True):
    case_id: CaseId
    summary: Summary | None = None
    next_action: Summary | None = None
    required_files: tuple[Path, ...] = ()
    fence: int | None = None
    force: Annotated[bool, Meta(description="root, with a summary: although steps are unfinished")] = False


def complete(flow: Flow, want: Complete) -> dict[str, Any]:
    """Finish a case whose steps are all checked; frees its claim."""

    def act(tx: Tx, session: Session, thread: Thread, spot: Spot, lines: list[Line]) -> dict[str, Any]:
        task = tx.require(Task, want.case_id)
        mine = (task.owner_session_id, task.owner_thread_id) == (session.id, thread.id)
        if not (mine and task.status == "done"):
            _check_in_progress(task)
            check_owner(tx, task, session, thread, want.fence)
            task = _finish(tx, task, session, thread, spot, want, lines)
        return _completed(tx, task)

    return publish(flow, want, want.case_id, act, guarded=True)


def _finish(
    tx: Tx, task: Task, session: Session, thread: Thread, spot: Spot, want: Complete, lines: list[Line]
) -> Task:
    texts: dict[str, Any] = {"summary": want.summary, "next_action": want.next_action}
    checkpoint = record_checkpoint(
        tx,
        session,
        thread,
        spot,
        "case.complete",
        lines,
        case_id=task.id,
        fence=task.claim_fence,
        data=_forced(tx, task, want),
        **texts,
    )
    point(
        tx,
        thread,
        node_id=task.id,
        status="completed",
        checkpoint_id=checkpoint.id,
        required_files=want.required_files,
        summary=want.summary,
        next_action=want.next_action or "",
    )
    return tx.put(
        task.but(
            status="done",
            done_at=tx.at,
            summary=want.summary or task.summary,
            next_action=want.next_action or task.next_action,
            latest_checkpoint_id=checkpoint.id,
            claim=None,
        )
    )


def _check_in_progress(task: Task) -> None:
    if task.status == "in_progress":
        return
    raise WrongState(
        f"'{task.id}' is '{task.status}', expected 'in_progress'",
        hint="Check its blocked step otherwise first." if task.status == "blocked" else None,
        found=task.status,
        expected="in_progress",
        unfinished=_unfinished(task) or None,
    )


def _unfinished(task: Task) -> list[dict[str, str]]:
    return [
        {"id": step_id, "title": step.title, "status": step.status}
        for step_id, step in steps_of(task)
        if step.status not in ("done", "skipped")
    ]


def _forced(tx: Tx, task: Task, want: Complete) -> dict[str, Any] | None:
    """What the checkpoint says of a completion by force; None for one that needs none."""
    unfinished = _unfinished(task)
    if task.steps and not unfinished:
        return None
    if not want.force:
        raise _not_finished(task, unfinished)
    if not tx.caller.is_root:
        raise Forbidden(
            f"'{task.id}' may be completed by force by its root only",
            hint="Check its steps, or ask the root with inbox.send.",
            role=tx.caller.role,
            needs="root",
        )
    if want.summary is None:
        raise InvalidParams(
            "'summary' of case.complete is missing or blank, expected the reason for the force",
            field="summary",
            found="nothing",
            expected="summary",
        )
    return {"forced": True, "unfinished": [one["id"] for one in unfinished]}


def _not_finished(task: Task, unfinished: list[dict[str, str]]) -> WrongState:
    if unfinished:
        first = unfinished[0]
        found = f"{len(unfinished)} unfinished step{'s' * (len(unfinished) > 1)}, expected none"
        hint = f"Check step {first['id']}{'' if first['status'] == 'todo' else ' again'}, then complete."
    else:
        found, hint = "no checked step, expected at least one", "Check a step, then complete."
    return WrongState(f"'{task.id}' has {found}", hint=hint, found=len(unfinished), expected=0, unfinished=unfinished)


def _completed(tx: Tx, task: Task) -> dict[str, Any]:
    plan = Plan(tx)
    return {
        "task": shown_task(tx, task),
        "parents": [{"id": up.id, "status": plan.status(up)} for up in plan.ancestors(task)],
        "now_ready": made_ready(plan, task.id),
        "checkpoint_id": task.latest_checkpoint_id,
    }
