"""Changes to the plan: editing a task, and cancelling one with what is below it."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Tx
from codestrator.errors import Conflict, InvalidParams, WrongState
from codestrator.methods import liveness, who
from codestrator.methods.tasks import Plan, check_cycles, plan_steps, shown_task, status_of, steps_of
from codestrator.params import Params, Path, Short, Summary, TaskId, Title
from codestrator.records import CLOSED, Session, Step, Task

FIELDS = ("title", "description", "priority", "next_action", "depends_on", "acceptance", "files")
ELSEWHERE = {
    "status": "case.begin, step.check, case.complete or task.cancel",
    "level": "task.create, which makes a task of that level",
}


class Update(Params, frozen=True, kw_only=True):
    task_id: TaskId
    title: Title | None = None
    description: Summary | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    assignee_session: Annotated[str | None, Meta(extra={"blank": True}, description="empty text clears it")] = None
    next_action: Summary | None = None
    depends_on: Annotated[tuple[TaskId, ...] | None, Meta(description="replaces")] = None
    acceptance: tuple[Short, ...] | None = None
    files: tuple[Path, ...] | None = None
    steps: Annotated[tuple[Title, ...] | None, Meta(description="replaces all that are still todo")] = None
    add_steps: tuple[Title, ...] = ()
    expected_updated_at: str | None = None


def update(tx: Tx, want: Update) -> dict[str, Any]:
    """Change a task's texts, priority, dependencies, files or steps."""
    task = tx.require(Task, want.task_id)
    changes = {name: getattr(want, name) for name in FIELDS if getattr(want, name) is not None}
    if not (changes or want.add_steps or want.steps is not None or want.assignee_session is not None):
        raise InvalidParams(
            "task.update has nothing to change, expected at least one field", field="task_id", expected=list(FIELDS)
        )
    who.check_root_of(tx, task)
    if (status := status_of(tx, task)) in CLOSED and task.status in CLOSED:
        raise WrongState(f"'{task.id}' is '{status}', expected an open task", found=status, expected="open")
    if want.expected_updated_at and want.expected_updated_at != task.updated_at:
        raise Conflict(
            f"'{task.id}' was changed at '{task.updated_at}', expected '{want.expected_updated_at}'",
            hint="Read task.get, then decide again.",
            found=task.updated_at,
            expected=want.expected_updated_at,
        )
    if want.assignee_session is not None:
        changes["assignee_session"] = _assignee(tx, want.assignee_session)
    for dependency in want.depends_on or ():
        tx.require(Task, dependency)
    changed = _with_steps(task.but(**changes), want)
    check_cycles(tx, changed)
    return {"task": shown_task(tx, tx.put(changed))}


def _assignee(tx: Tx, given: str) -> str | None:
    return tx.require(Session, given).id if given.strip() else None


def _with_steps(task: Task, want: Update) -> Task:
    if want.steps is None and not want.add_steps:
        return task
    if task.level != "case":
        raise InvalidParams(f"a {task.level} has no steps, expected them on a case", field="steps", found=task.level)
    if want.steps is not None:
        kept: dict[str, Step] = {}
        for order, (step_id, step) in enumerate(
            ((step_id, step) for step_id, step in steps_of(task) if step.status != "todo"), start=1
        ):
            kept[step_id.rpartition(".")[2]] = step.but(order=order)
        task = plan_steps(task.but(steps=kept), want.steps)
    return plan_steps(task, want.add_steps)


class Cancel(Params, frozen=True, kw_only=True):
    task_id: TaskId
    reason: Summary
    cascade: Annotated[bool, Meta(description="its open children too")] = False


def cancel(tx: Tx, want: Cancel) -> dict[str, Any]:
    """Cancel a task; what depends on it keeps waiting and is listed."""
    task = tx.require(Task, want.task_id)
    who.check_root_of(tx, task)
    plan = Plan(tx)
    status = plan.status(plan.rows[task.id])
    if status == "cancelled":
        return _cancelled(tx, task, [], set())
    if task.status in CLOSED or status in CLOSED:
        raise WrongState(f"'{task.id}' is '{status}', expected an open task", found=status, expected="open")
    ready = ready_ids(plan)
    open_below = [row for row in plan.under(task.id) if plan.status(row) not in CLOSED]
    below = [row for row in open_below if row.id != task.id]
    if below and not want.cascade:
        raise WrongState(
            f"'{task.id}' has {len(below)} open children, expected none",
            hint="Cancel them too with cascade true.",
            found=[row.id for row in below[:20]],
            expected="no open children",
        )
    victims = [tx.require(Task, row.id) for row in open_below]
    for one in victims:
        _refuse_live_claim(tx, one)
    for one in victims:
        tx.put(one.but(status="cancelled", cancel_reason=want.reason, claim=None))
    return _cancelled(tx, tx.require(Task, task.id), [one.id for one in victims], ready)


def _refuse_live_claim(tx: Tx, task: Task) -> None:
    claim = task.claim
    if claim is None or liveness.claim_over(tx, claim) or claim.session_id == tx.caller.session_id:
        return
    raise WrongState(
        f"'{task.id}' is claimed by live thread '{claim.thread_id}' of '{claim.session_id}', expected no live claim",
        hint="Ask its session with inbox.send to let go of it.",
        found=claim.thread_id,
        expected="no live claim",
    )


def _cancelled(tx: Tx, task: Task, ids: list[str], ready_before: set[str]) -> dict[str, Any]:
    plan = Plan(tx)
    found: dict[str, Any] = {"task": shown_task(tx, task), "cancelled": ids}
    found["now_ready"] = sorted(ready_ids(plan) - ready_before) if ids else []
    gone = set(ids) | {task.id}
    dependants = sorted(row.id for row in plan.rows.values() if gone.intersection(row.waits_for) and row.id not in gone)
    return found | ({"dependants": dependants} if dependants else {})


def ready_ids(plan: Plan) -> set[str]:
    """The cases that nothing in the plan keeps from being begun."""
    return {
        row.id for row in plan.rows.values() if row.level == "case" and row.status == "todo" and not plan.waits_on(row)
    }
