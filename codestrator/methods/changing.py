"""Changes to the plan: editing a task, and cancelling one with what is below it."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from codestrator.calls import Tx
from codestrator.errors import Conflict, InvalidParams, WrongState
from codestrator.methods import liveness, who
from codestrator.methods.pointing import active_ref
from codestrator.methods.ready import made_ready
from codestrator.methods.tasks import Plan, check_cycles, plan_steps, shown_task, status_of, steps_of
from codestrator.params import Params, Path, SessionId, Short, Summary, TaskId, Title
from codestrator.records import CLOSED, Session, Step, Task, Thread

FIELDS = ("title", "description", "priority", "next_action", "depends_on", "acceptance", "files")


class Update(Params, frozen=True, kw_only=True):
    ELSEWHERE: ClassVar = {
        "status": "one of case.begin, step.check, case.complete and task.cancel",
        "level": "task.create, which makes a task of that level",
    }

    task_id: TaskId
    title: Title | None = None
    description: Summary | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    assignee_session: Annotated[SessionId | None, Meta(extra={"blank": True}, description="empty text clears it")] = (
        None
    )
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
    for name in ("depends_on", "files"):
        if name in changes:
            changes[name] = tuple(dict.fromkeys(changes[name]))
    if not (changes or want.add_steps or want.steps is not None or want.assignee_session is not None):
        raise InvalidParams(
            "task.update has nothing to change, expected at least one field", field="task_id", expected=list(FIELDS)
        )
    who.check_root_of(tx, task)
    if (status := status_of(tx, task)) in CLOSED:
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
        task = _replan(task, want.steps)
    return plan_steps(task, want.add_steps)


def _replan(task: Task, titles: tuple[str, ...]) -> Task:
    """Checked steps in front, then these; one that is still todo keeps its number, so that a repeat changes nothing."""
    checked = [(number, step) for number, step in _numbered(task) if step.status != "todo"]
    todo = [(number, step) for number, step in _numbered(task) if step.status == "todo"]
    steps, count = (
        {number: step.but(order=order) for order, (number, step) in enumerate(checked, start=1)},
        task.step_count,
    )
    for order, title in enumerate(titles, start=len(checked) + 1):
        known = next((number for number, step in todo if step.title == title and number not in steps), None)
        count += known is None
        steps[known or str(count)] = Step(title=title, status="todo", order=order)
    return task.but(steps=steps, step_count=count)


def _numbered(task: Task) -> list[tuple[str, Step]]:
    return [(step_id.rpartition(".")[2], step) for step_id, step in steps_of(task)]


class Cancel(Params, frozen=True, kw_only=True):
    task_id: TaskId
    reason: Summary
    cascade: Annotated[bool, Meta(description="its open children too")] = False


def cancel(tx: Tx, want: Cancel) -> dict[str, Any]:
    """Cancel a task; what depends on it keeps waiting and is listed."""
    task = tx.require(Task, want.task_id)
    who.check_root_of(tx, task)
    plan = Plan(tx)
    if (status := plan.status(plan.rows[task.id])) in CLOSED:
        raise WrongState(f"'{task.id}' is '{status}', expected an open task", found=status, expected="open")
    open_below = [row for row in plan.under(task.id) if plan.status(row) not in CLOSED]
    below = [row for row in open_below if row.id != task.id]
    if below and not want.cascade:
        raise WrongState(
            f"'{task.id}' has {len(below)} open children, expected none",
            hint="Cancel them too with cascade true.",
            found=f"{len(below)} open children",
            expected="none",
            unfinished=[{"id": row.id, "title": row.title, "status": plan.status(row)} for row in below[:20]],
        )
    victims = [tx.require(Task, row.id) for row in open_below]
    for one in victims:
        _refuse_live_claim(tx, one)
    for one in victims:
        _suspend_ref(tx, one)
        tx.put(one.but(status="cancelled", cancel_reason=want.reason, claim=None))
    gone = [one.id for one in victims]
    dependants = sorted(row.id for row in plan.rows.values() if not set(gone).isdisjoint(row.waits_for))
    found: dict[str, Any] = {"task": shown_task(tx, tx.require(Task, task.id)), "cancelled": gone}
    found["now_ready"] = made_ready(Plan(tx), *gone)
    return found | {"dependants": [one for one in dependants if one not in gone] or None}


def _refuse_live_claim(tx: Tx, task: Task) -> None:
    """A root may cancel what it has in work itself; another thread has to let go, or be stopped, first."""
    claim = task.claim
    if claim is None or liveness.claim_over(tx, claim):
        return
    session = tx.require(Session, claim.session_id)
    mine = session.id == tx.caller.session_id or (tx.caller.kind == "root" and tx.live.mine(session.id))
    if mine and claim.thread_id == session.root_thread_id:
        return
    raise WrongState(
        f"'{task.id}' is claimed by live thread '{claim.thread_id}' of '{claim.session_id}', expected no live claim",
        hint="Stop that thread first: thread.child.stop."
        if mine
        else "Wait until that session lets go of it; lock.list with domain claims tells how long it lasts.",
        found=claim.thread_id,
        expected="no live claim",
    )


def _suspend_ref(tx: Tx, task: Task) -> None:
    thread = tx.get(Thread, task.owner_thread_id)
    ref = active_ref(thread) if thread else None
    if thread and ref and ref.node_id == task.id:
        tx.put(thread.but(ref=ref.but(status="suspended", version=ref.version + 1, acked_at=None)))
