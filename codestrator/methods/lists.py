"""The list of tasks: filtered, in order, page by page, and not made anew while nothing has changed."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from codestrator.calls import Tx
from codestrator.methods.paging import page
from codestrator.methods.tasks import Plan, shown_task
from codestrator.model import Presented
from codestrator.params import Paged, SessionId, TaskId
from codestrator.records import CaseStatus, Level, Task


class Listing(Paged, frozen=True, kw_only=True):
    level: Level | None = None
    status: CaseStatus | None = None
    parent_id: TaskId | None = None
    session_id: SessionId | None = None
    under: Annotated[TaskId | None, Meta(description="the whole subtree")] = None


def tasks(tx: Tx, want: Listing) -> dict[str, Any]:
    """List tasks by priority, then age of their last change."""
    for task_id in (want.parent_id, want.under):
        if task_id:
            tx.require(Task, task_id)
    return page(tx, want, lambda then: _listed(then, want), lambda then, one: _shown_in_list(then, *one))


# Reading a long list page by page, or again while nothing has changed, does not sort or show it anew. What is kept
# names the commit it was read from, or the revision of its document, so it is never out of date.
_lists: dict[tuple[str, ...], list[tuple[Any, str]]] = {}
_shown: dict[tuple[str, int, str, str], Presented] = {}
LISTS_KEPT = 4
SHOWN_KEPT = 20_000


def _listed(tx: Tx, want: Listing) -> list[tuple[Any, str]]:
    filters = (want.level, want.status, want.parent_id, want.session_id, want.under)
    key = (tx.base.state_commit, *(str(one) for one in filters))
    found = _lists.get(key)
    if found is None:
        found = sorted(_wanted(tx, want), key=lambda one: (-one[0].priority, one[0].updated_at, one[0].id))
        if len(_lists) >= LISTS_KEPT:
            _lists.pop(next(iter(_lists)), None)
        _lists[key] = found
    return found


def _wanted(tx: Tx, want: Listing) -> Iterator[tuple[Any, str]]:
    """Rows with their status; a case says its own, of the others it is read off all that is below them."""
    plan = None if want.level == "case" and not want.under else Plan(tx)
    if want.under and plan:
        rows: Iterable[Any] = plan.under(want.under)
    elif want.level == "case" and want.status:
        rows = tx.where(Task, status=want.status)
    else:
        rows = tx.rows(Task)
    for row in rows:
        status = str(row.status) if row.level == "case" or plan is None else plan.status(row)
        if (
            want.level in (None, row.level)
            and want.parent_id in (None, row.parent_id)
            and want.session_id in (None, row.session_id)
            and want.status in (None, status)
        ):
            yield row, status


def _shown_in_list(tx: Tx, row: Any, status: str) -> Presented:
    task = tx.require(Task, row.id)
    key = (task.id, task.rev, task.writer, status)
    found = _shown.get(key)
    if found is None:
        found = Presented(shown_task(tx, task, steps=False, status=status))
        found.size = len(msgspec.json.encode(found))
        if len(_shown) >= SHOWN_KEPT:
            _shown.clear()
        _shown[key] = found
    return found
