"""What the page is made of, read at once: from one picture of the state, or, while others write, nearly one."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from codestrator.clock import parse
from codestrator.edges import verbs
from codestrator.edges.context import Context
from codestrator.errors import NotFound, SchemaNewer, UnreadableState
from codestrator.model import Document
from codestrator.records import (
    FINISHED,
    LAND_OPEN,
    SESSION_ENDED,
    THREAD_ENDED,
    Land,
    Lease,
    Node,
    Review,
    Session,
    Task,
    Thread,
)

if TYPE_CHECKING:
    from codestrator.calls import Tx

T = TypeVar("T")
D = TypeVar("D", bound=Document)
TRIES = 3  # so often it is read again because somebody wrote meanwhile
SESSIONS, CHILDREN, TASKS, CASES, LANDS, NODES, LEASES, LOCKS, OPERATIONS = 40, 80, 600, 150, 60, 300, 200, 200, 40
RANKS = ("in_progress", "in_review", "blocked", "todo", "done", "landed", "cancelled")
LEVELS = ("epic", "feature", "test_group", "case")
NODE_TYPES = ("initiative", "plan", "slice", "task")


class Some(NamedTuple, Generic[T]):
    """The first of a list, and how many there are."""

    items: list[T]
    total: int


class Plan(NamedTuple):
    """The tasks that are shown, with the statuses and numbers that come from all of them."""

    tasks: Some[Task]
    status: dict[str, str]
    below: dict[
        str, tuple[int, int, int]
    ]  # of a task: cases finished, cases that count, parts of it that are not shown
    cases: dict[str, int]  # by status
    steps: tuple[int, int]


class Found(NamedTuple):
    """One reading of the state."""

    repository: str
    at: datetime
    version: int
    commit: str
    now: dict[str, Any]  # as the verb `status` has it
    plan: Plan
    sessions: Some[Session]
    children: Some[Thread]
    begun: Some[Task]  # cases that were begun, the last changed first
    locks: Some[dict[str, Any]]
    waiters: list[dict[str, Any]]
    leases: Some[Lease]
    lands: Some[Land]  # those whose end has come
    reviews: dict[str, Review]  # the newest, by request
    nodes: Some[Node]
    journal: list[dict[str, Any]]


def gathered(context: Context) -> Found:
    """Read all that the page shows; again if the state moved meanwhile, so that its parts speak of one state."""
    for _ in range(TRIES):
        before = context.world.store.tips()
        found = _read(context, context.tx())
        if context.world.store.tips() == before:
            break
    return found


def _read(context: Context, tx: "Tx") -> Found:
    locks = context.call("lock.list", {"domain": "all", "limit": verbs.PAGE})
    held = [one for one in locks["items"] if one["domain"] in ("paths", "merge")]
    lands = _ended_lands(tx)
    sessions = first(sorted(tx.all(Session), key=_born, reverse=True), SESSIONS)
    log = context.call("journal.list", {"limit": OPERATIONS})
    leases = _readable(tx, Lease, (row for row in tx.rows(Lease) if row.domain in ("paths", "merge")))
    return Found(
        repository=context.world.repo.name,
        at=tx.now.at,
        version=tx.base.db_version,
        commit=tx.base.state_commit,
        now=verbs.status(context),
        plan=_plan(context, tx),
        sessions=sessions,
        children=_children(tx, sessions.items),
        begun=_begun(tx),
        locks=first(held, LOCKS),
        waiters=locks.get("waiters", [])[:LOCKS],
        leases=first(sorted(leases, key=lambda one: (one.granted_at, one.id), reverse=True), LEASES),
        lands=lands,
        reviews=_reviews(tx, lands.items),
        nodes=_nodes(tx),
        journal=log["items"],
    )


def first(found: list[T], limit: int) -> Some[T]:
    return Some(found[:limit], len(found))


def _readable(tx: "Tx", kind: type[D], rows: Iterable[Any]) -> list[D]:
    """The documents of rows; a damaged one is left out, for all others can be shown."""
    found = []
    for row in rows:
        with suppress(UnreadableState, SchemaNewer, NotFound):
            found.append(tx.require(kind, row.id))
    return found


def moment(given: object) -> datetime | None:
    """A time as documents hold it; None for anything else: what another machine wrote need not be one."""
    try:
        at = parse(str(given))
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _born(document: Any) -> tuple[str, str]:
    return document.created_at, document.id


def rank(status: str) -> int:
    return RANKS.index(status) if status in RANKS else len(RANKS)


def _children(tx: "Tx", sessions: Iterable[Session]) -> Some[Thread]:
    """Those of the sessions shown: live ones first, then the newest."""
    shown = {one.id for one in sessions}
    rows = [row for row in tx.rows(Thread) if row.parent_thread_id and row.session_id in shown]
    rows.sort(key=lambda row: row.status in THREAD_ENDED)
    found = sorted(_readable(tx, Thread, rows[: verbs.PAGE // 2]), key=_born, reverse=True)
    found.sort(key=lambda one: one.status in THREAD_ENDED)
    return Some(found[:CHILDREN], len(rows))


def _begun(tx: "Tx") -> Some[Task]:
    rows = [row for row in tx.rows(Task) if row.level == "case" and row.status not in ("todo", "cancelled")]
    rows.sort(key=lambda row: (row.updated_at, row.id), reverse=True)
    return Some(_readable(tx, Task, rows[:CASES]), len(rows))


def _ended_lands(tx: "Tx") -> Some[Land]:
    rows = [row for row in tx.rows(Land) if row.state not in LAND_OPEN]
    rows.sort(key=lambda row: (row.queued_at, row.id), reverse=True)
    return Some(_readable(tx, Land, rows[:LANDS]), len(rows))


def _reviews(tx: "Tx", lands: Iterable[Land]) -> dict[str, Review]:
    rows = (tx.where(Review, merge_request_id=land.merge_request_id) for land in lands)
    newest = _readable(tx, Review, (max(found, key=_born) for found in rows if found))
    return {one.merge_request_id: one for one in newest}


def _nodes(tx: "Tx") -> Some[Node]:
    """What contains others before what it contains, so that what is cut off is cut off below."""
    rows = sorted(
        tx.rows(Node), key=lambda row: (NODE_TYPES.index(row.node_type), rank(row.status), -row.priority, row.id)
    )
    return Some(_readable(tx, Node, rows[:NODES]), len(rows))


def _plan(context: Context, tx: "Tx") -> Plan:
    rows = {row.id: row for row in tx.rows(Task)}
    status = statuses(context, rows)
    cases: dict[str, int] = {}
    done = total = 0
    for row in rows.values():
        if row.level == "case":
            cases[row.status] = cases.get(row.status, 0) + 1
            done, total = done + row.steps_done, total + row.steps_total
    shown = _shown_tasks(rows, status)
    tasks = Some(_readable(tx, Task, shown), len(rows))
    below = counted(rows)
    for task_id, counts in counted({row.id: row for row in shown}).items():
        below[task_id][2] -= counts[2]
    return Plan(tasks, status, {name: (one[0], one[1], one[2]) for name, one in below.items()}, cases, (done, total))


def statuses(context: Context, rows: Mapping[str, Any]) -> dict[str, str]:
    """The status of all tasks; that of epics, features and test groups is read off what is below them."""
    found = {row.id: str(row.status) for row in rows.values() if row.level == "case"}
    for level in LEVELS[:-1]:
        if any(row.level == level for row in rows.values()):
            found |= {one["id"]: one["status"] for one in verbs.everything(context, "task.list", {"level": level})}
    return found


def _shown_tasks(rows: dict[str, Any], status: dict[str, str]) -> list[Any]:
    """Those in work before those to come and those done; never one without what it is a part of."""

    def order(row: Any) -> tuple[int, int, int, str, str]:
        own = status.get(row.id, row.status)
        return LEVELS.index(row.level), rank(own), -row.priority, row.title, row.id

    chosen: dict[str, Any] = {}
    for row in sorted(rows.values(), key=order):
        if len(chosen) == TASKS:
            break
        if row.parent_id is None or row.parent_id in chosen or row.parent_id not in rows:
            chosen[row.id] = row
    return list(chosen.values())


def counted(rows: Mapping[str, Any]) -> dict[str, list[int]]:
    """Of each: the finished cases below it, those that count, and the tasks that are its own parts."""
    below = {task_id: [0, 0, 0] for task_id in rows}
    for row in rows.values():
        counts = row.level == "case" and row.status != "cancelled"
        above, climbed = rows.get(row.parent_id), 0
        while above is not None and climbed < len(LEVELS):  # no more levels than there are, whatever was merged
            below[above.id][0] += counts and row.status in FINISHED
            below[above.id][1] += counts
            below[above.id][2] += not climbed
            above, climbed = rows.get(above.parent_id), climbed + 1
    return below


def session_over(session: Session) -> bool:
    return session.status in SESSION_ENDED
