"""The plan: epics, features, test groups and cases; what they wait for; states of parents derived when read."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Tx
from codestrator.errors import Conflict, InvalidParams, WrongState
from codestrator.ids import PREFIX_OF_LEVEL
from codestrator.methods import liveness, who
from codestrator.model import shown
from codestrator.params import Params, Path, SessionId, Short, Summary, TaskId, Title
from codestrator.records import CLOSED, FINISHED, Checkpoint, Level, Session, Step, Task

PARENTS: dict[str, tuple[str, ...]] = {
    "epic": (),
    "feature": ("epic",),
    "test_group": ("feature",),
    "case": ("test_group", "feature"),
}
MAY_STAND_ALONE = ("epic", "feature")
Priority = Annotated[int, Meta(ge=-1000, le=1000, description="higher first")]
STORED_ONLY = ("claim", "claim_fence", "step_count", "steps")


def status_of(tx: Tx, task: Any) -> str:
    """A case's own status; a parent's follows from its children. Takes a task or its row."""
    if task.level == "case" or task.status == "cancelled":
        return str(task.status)
    if task.level == "epic":  # reading every row once is cheaper than asking for the children of many features
        plan = Plan(tx)
        return plan.status(plan.rows.get(task.id, task))
    return derived(status_of(tx, child) for child in tx.where(Task, parent_id=task.id))


def derived(children: Iterable[str]) -> str:
    """The rule of parents.

    >>> derived([]), derived(["done", "cancelled"]), derived(["done", "todo"]), derived(["blocked", "todo"])
    ('todo', 'done', 'in_progress', 'blocked')
    """
    found = list(children)
    if not found:
        return "todo"
    found = [status for status in found if status != "cancelled"]
    if not found:
        return "cancelled"
    if all(status == "landed" for status in found):
        return "landed"
    if all(status in FINISHED for status in found):
        return "done"
    for status in ("in_progress", "blocked"):
        if status in found:
            return status
    return "in_progress" if any(status in FINISHED for status in found) else "todo"


class Plan:
    """All tasks of one picture by row, for answers about many of them."""

    def __init__(self, tx: Tx) -> None:
        self.rows = {row.id: row for row in tx.rows(Task)}
        self.children: dict[str | None, list[Any]] = {}
        for row in self.rows.values():
            self.children.setdefault(row.parent_id, []).append(row)
        self._status: dict[str, str] = {}
        self._waits: dict[str | None, list[str]] = {}

    def status(self, row: Any) -> str:
        known = self._status.get(row.id)
        if known is None:
            if row.level == "case" or row.status == "cancelled":
                known = row.status
            else:
                known = derived(self.status(child) for child in self.children.get(row.id, ()))
            self._status[row.id] = known
        return known

    def ancestors(self, row: Any) -> list[Any]:
        """Its parent first."""
        found = []
        while (row := self.rows.get(row.parent_id)) is not None:
            found.append(row)
        return found

    def under(self, task_id: str) -> list[Any]:
        """The task and everything below it."""
        found = [self.rows[task_id]] if task_id in self.rows else []
        for row in found:
            found += self.children.get(row.id, ())
        return found

    def finished(self, task_id: str) -> bool:
        row = self.rows.get(task_id)
        return row is not None and self.status(row) in FINISHED

    def waits_on(self, row: Any) -> list[str]:
        """Unfinished tasks that it or one of its ancestors waits for."""
        inherited = self._waits_under(row.parent_id)
        if not row.waits_for:
            return inherited
        own = [task_id for task_id in row.waits_for if not self.finished(task_id)]
        return list(dict.fromkeys([*own, *inherited]))

    def _waits_under(self, parent_id: str | None) -> list[str]:
        if parent_id not in self._waits:
            parent = self.rows.get(parent_id) if parent_id else None
            self._waits[parent_id] = self.waits_on(parent) if parent else []
        return self._waits[parent_id]


def steps_of(task: Task) -> list[tuple[str, Step]]:
    """Its steps in order, each with its id."""
    ordered = sorted(task.steps.items(), key=lambda one: (one[1].order, int(one[0])))
    return [(f"{task.id}.{number}", step) for number, step in ordered]


def shown_step(step_id: str, step: Step) -> dict[str, Any]:
    found = shown(step)
    found.pop("order", None)
    return {"id": step_id} | found


def shown_task(tx: Tx, task: Task, *, steps: bool = True, status: str | None = None) -> dict[str, Any]:
    """A task as callers see it."""
    found = shown(task)
    for name in STORED_ONLY:
        found.pop(name, None)
    found["status"] = status or status_of(tx, task)
    if task.level == "case":
        if steps:
            found["steps"] = [shown_step(step_id, step) for step_id, step in steps_of(task)]
        else:
            found |= {"steps_done": task.steps_done, "steps_total": task.steps_total}
    return found


def progress(task: Task) -> dict[str, Any]:
    """What comes next in a case, and how many steps are left."""
    left = [(step_id, step) for step_id, step in steps_of(task) if step.status not in ("done", "skipped")]
    found: dict[str, Any] = {"remaining_steps": len(left)}
    if left:
        found["next_step"] = {"id": left[0][0], "title": left[0][1].title, "status": left[0][1].status}
    return found


def path_to(tx: Tx, task: Task) -> list[dict[str, str]]:
    """The ancestors, the topmost first."""
    found: list[dict[str, str]] = []
    one = tx.get(Task, task.parent_id)
    while one is not None:
        found.insert(0, {"id": one.id, "level": one.level, "title": one.title})
        one = tx.get(Task, one.parent_id)
    return found


def unfinished_dependencies(tx: Tx, task: Task) -> list[str]:
    """What it, or one of its ancestors, still waits for."""
    wanted: dict[str, None] = {}
    one: Task | None = task
    while one is not None:
        wanted |= dict.fromkeys(one.waits_for)
        one = tx.get(Task, one.parent_id)
    return [task_id for task_id in wanted if not _is_finished(tx, task_id)]


def _is_finished(tx: Tx, task_id: str) -> bool:
    task = tx.get(Task, task_id)
    return task is not None and status_of(tx, task) in FINISHED


def check_cycles(tx: Tx, task: Task) -> None:
    """Refuse dependencies through which a task would wait for itself, counting that parents wait for children.

    A task starts after its dependencies have finished and its parent may start; it finishes after its children have.
    """
    goal = ("start", task.id)
    for dependency in task.waits_for:
        came: dict[tuple[str, str], tuple[str, str] | None] = {("finish", dependency): None}
        waiting = [("finish", dependency)]
        while waiting:
            at = waiting.pop()
            if at == goal:
                raise _cycle(task, came, at)
            for then in _needs(tx, at, task):
                if then not in came:
                    came[then] = at
                    waiting.append(then)


def _needs(tx: Tx, at: tuple[str, str], changed: Task) -> list[tuple[str, str]]:
    what, task_id = at
    task = changed if task_id == changed.id else tx.get(Task, task_id)
    if task is None:
        return []
    if what == "finish":
        children = [row.id for row in tx.where(Task, parent_id=task_id)]
        if changed.parent_id == task_id and changed.id not in children:
            children.append(changed.id)
        return [("start", task_id), *(("finish", child) for child in children)]
    found = [("finish", dependency) for dependency in task.waits_for]
    return [*found, ("start", task.parent_id)] if task.parent_id else found


def _cycle(task: Task, came: dict[tuple[str, str], tuple[str, str] | None], at: tuple[str, str] | None) -> Conflict:
    path: list[str] = []
    while at is not None:
        path.append(at[1])
        at = came[at]
    around = [*dict.fromkeys([task.id, *reversed(path)]), task.id]
    return Conflict(
        f"'{task.id}' would wait for itself through {' → '.join(repr(one) for one in around)}, expected no cycle",
        hint="Leave one of these dependencies out.",
        path=around,
    )


def plan_steps(task: Task, titles: Sequence[str]) -> Task:
    """The case with steps added at its end; numbers are never used again."""
    steps, count = dict(task.steps), task.step_count
    order = max((step.order for step in steps.values()), default=0)
    for title in titles:
        count, order = count + 1, order + 1
        steps[str(count)] = Step(title=title, status="todo", order=order)
    return task.but(steps=steps, step_count=count)


class Create(Params, frozen=True, kw_only=True):
    level: Level
    title: Title
    parent_id: TaskId | None = None
    priority: Priority = 0
    assignee_session: Annotated[SessionId | None, Meta(description="only its threads may begin it")] = None
    session_id: SessionId | None = None
    description: Summary | None = None
    steps: Annotated[tuple[Title, ...], Meta(description="cases only, in order")] = ()
    depends_on: tuple[TaskId, ...] = ()
    acceptance: tuple[Short, ...] = ()
    files: tuple[Path, ...] = ()


def create(tx: Tx, want: Create) -> dict[str, Any]:
    """Add an epic, feature, test group or case to the plan."""
    session = who.active_session(tx, want.session_id)
    _check_parent(tx, want)
    _check_steps(want.level, want.steps)
    if want.assignee_session:
        tx.require(Session, want.assignee_session)
    for dependency in want.depends_on:
        tx.require(Task, dependency)
    task = Task(
        id=tx.mint(PREFIX_OF_LEVEL[want.level]),
        level=want.level,
        title=want.title,
        parent_id=want.parent_id,
        priority=want.priority,
        status="todo",
        created_by=tx.caller.thread_id or session.root_thread_id,
        session_id=session.id,
        assignee_session=want.assignee_session,
        description=want.description,
        depends_on=tuple(dict.fromkeys(want.depends_on)),
        acceptance=want.acceptance,
        files=tuple(dict.fromkeys(want.files)),
    )
    task = plan_steps(task, want.steps)
    check_cycles(tx, task)
    return {"task": shown_task(tx, tx.put(task))}


def _check_parent(tx: Tx, want: Create) -> None:
    allowed = PARENTS[want.level]
    if want.parent_id is None:
        if want.level not in MAY_STAND_ALONE:
            raise InvalidParams(
                f"a {want.level} needs a parent, expected parent_id of a {' or '.join(allowed)}",
                field="parent_id",
                expected=" or ".join(allowed),
            )
        return
    parent = tx.require(Task, want.parent_id)
    if parent.level not in allowed:
        expected = " or ".join(allowed) or "none"
        raise InvalidParams(
            f"'{parent.id}' is of level '{parent.level}', expected {expected} as parent of a {want.level}",
            field="parent_id",
            found=parent.level,
            expected=expected,
        )
    status = status_of(tx, parent)
    if status in CLOSED:
        raise WrongState(
            f"'{parent.id}' is '{status}', expected an open parent",
            hint="Create it under another parent, or create a new one.",
            found=status,
            expected="open",
        )


def _check_steps(level: str, steps: Sequence[str]) -> None:
    if steps and level != "case":
        raise InvalidParams(
            f"a {level} has no steps, expected them on a case", field="steps", found=level, expected="case"
        )


class Get(Params, frozen=True, kw_only=True):
    task_id: TaskId


def get(tx: Tx, want: Get) -> dict[str, Any]:
    """Show a task with its steps, ancestors, children, claim and what it waits for."""
    task = tx.require(Task, want.task_id)
    children = sorted(tx.where(Task, parent_id=task.id), key=lambda row: (-row.priority, row.updated_at, row.id))
    plan = Plan(tx) if task.level == "epic" else None  # its features have children of their own to be asked for
    statuses = [plan.status(row) if plan else status_of(tx, row) for row in (task, *children)]
    found: dict[str, Any] = {"task": shown_task(tx, task, status=statuses[0]), "path": path_to(tx, task)}
    found["children"] = [
        {"id": row.id, "title": row.title, "status": status} for row, status in zip(children, statuses[1:], strict=True)
    ]
    if task.level == "case":
        found |= progress(task)
    if task.claim and not liveness.claim_over(tx, task.claim):
        found["claim"] = liveness.shown_claim(tx, task.claim, task.id)
    if checkpoint := tx.get(Checkpoint, task.latest_checkpoint_id):
        found["checkpoint"] = checkpoint
    if task.status not in CLOSED and (waits := unfinished_dependencies(tx, task)):
        found["waits_on"] = waits
    return found
