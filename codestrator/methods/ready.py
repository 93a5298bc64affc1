"""What can be begun now, in the order in which it is worth beginning."""

from collections.abc import Iterator
from heapq import heapify, heappop
from typing import Annotated, Any

from msgspec import Meta

from codestrator import scopes
from codestrator.calls import Tx
from codestrator.methods import liveness
from codestrator.methods.paging import page
from codestrator.methods.tasks import Plan, shown_task
from codestrator.params import Paged, SessionId, TaskId
from codestrator.records import Task, Thread


class Ready(Paged, frozen=True, kw_only=True):
    session_id: Annotated[SessionId | None, Meta(description="also what is assigned to it")] = None
    under: TaskId | None = None
    include_waiting: bool = False


def ready(tx: Tx, want: Ready) -> dict[str, Any]:
    """List the cases that can be begun now, most worthwhile first."""
    session_id = want.session_id or tx.caller.session_id
    if want.under:
        tx.require(Task, want.under)
    boards: dict[str, Board] = {}
    thread = tx.get(Thread, tx.caller.thread_id)
    scope = scopes.of(thread) if thread else frozenset()

    def listed(then: Tx) -> list[tuple[Any, list[str], str]]:
        board = boards.setdefault(then.base.state_commit, Board(then, session_id, scope))
        found = board.listed(want.under)
        return found if want.include_waiting else [one for one in found if not one[2]]

    def show(then: Tx, one: tuple[Any, list[str], str]) -> dict[str, Any]:
        row, waits, reason = one
        board = boards[then.base.state_commit]
        task = shown_task(then, then.require(Task, row.id), steps=False)
        if reason:
            return {"task": task, "waits_on": waits, "reason": reason}
        path = [{"id": up.id, "level": up.level, "title": up.title} for up in reversed(board.plan.ancestors(row))]
        return {"task": task, "path": path, "unblocks": board.unblocks.get(row.id, 0)}

    return page(tx, want, listed, show)


class Board:
    """The cases to do of one picture, as one session sees them, within a scope of ids if one is given."""

    def __init__(self, tx: Tx, session_id: str | None, scope: frozenset[str] = frozenset()) -> None:
        self._tx = tx
        self._session_id = session_id
        self._scope = scope
        self.plan = Plan(tx)
        self.unblocks: dict[str, int] = {}
        for row in self.plan.rows.values():
            if row.status == "todo":
                for waited in row.waits_for:
                    self.unblocks[waited] = self.unblocks.get(waited, 0) + 1

    def listed(self, under: str | None) -> list[tuple[Any, list[str], str]]:
        """Rows with what they wait on and why; the ready ones first, their reason empty."""
        judged = [(row, *self._judge(row)) for row in sorted(self._to_do(under), key=self._order)]
        return sorted(judged, key=lambda one: bool(one[2]))

    def in_order(self) -> Iterator[Any]:
        """The ready rows, looked for one by one."""
        heap = [(*self._order(row), row) for row in self._to_do(None)]
        heapify(heap)  # in most plans one of the first is ready: no need to sort all
        while heap:
            row = heappop(heap)[-1]
            if not self._judge(row)[1]:
                yield row

    def _to_do(self, under: str | None) -> list[Any]:
        rows = self.plan.under(under) if under else self.plan.rows.values()
        return [row for row in rows if row.level == "case" and row.status == "todo" and self._holds(row)]

    def _holds(self, row: Any) -> bool:
        scope = self._scope
        return not scope or row.id in scope or any(up.id in scope for up in self.plan.ancestors(row))

    def _order(self, row: Any) -> tuple[int, int, str, str]:
        return -row.priority, -self.unblocks.get(row.id, 0), row.updated_at, row.id

    def _judge(self, row: Any) -> tuple[list[str], str]:
        if waits := self.plan.waits_on(row):
            return waits, "waits for unfinished tasks"
        if row.assignee_session and row.assignee_session != self._session_id:
            return [], f"assigned to '{row.assignee_session}'"
        claim = self._tx.require(Task, row.id).claim if row.owner_session_id else None
        if claim and not liveness.claim_over(self._tx, claim):
            return [], f"claimed by '{claim.thread_id}'"
        return [], ""


def first_ready(tx: Tx, session_id: str | None, scope: frozenset[str] = frozenset()) -> Task | None:
    """The case to begin next, within a scope of task ids if one is given."""
    first = next(Board(tx, session_id, scope).in_order(), None)
    return tx.require(Task, first.id) if first else None


def made_ready(plan: Plan, *changed: str) -> list[str]:
    """The cases that nothing keeps from being begun, now that these tasks, or what is above them, have finished."""
    above = [up.id for task_id in changed if (row := plan.rows.get(task_id)) for up in plan.ancestors(row)]
    finished = {task_id for task_id in (*changed, *above) if plan.finished(task_id)}
    freed = [row.id for row in plan.rows.values() if row.waits_for and not finished.isdisjoint(row.waits_for)]
    below = {row.id: row for task_id in freed for row in plan.under(task_id)}
    return sorted(
        row.id for row in below.values() if row.level == "case" and row.status == "todo" and not plan.waits_on(row)
    )
