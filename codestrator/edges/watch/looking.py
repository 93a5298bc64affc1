"""What the screen shows, read from the state part by part: what cannot be read keeps its place and says why."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from codestrator.edges import verbs
from codestrator.edges.context import Context
from codestrator.edges.report.gathering import counted, rank, statuses
from codestrator.errors import CodestratorError
from codestrator.records import Directive, Session, Task, Thread, Worktree

if TYPE_CHECKING:
    from codestrator.calls import Tx

OPERATIONS = 100
ENDED_DIRECTIVES = 30  # those that are over, beside all that are open
Items = list[dict[str, Any]]


class Place(NamedTuple):
    """Where a thread works on this machine."""

    branch: str
    path: str


class Plan(NamedTuple):
    """All tasks, with what is read off others: their statuses, and the finished and counted cases below each."""

    rows: dict[str, Any]
    status: dict[str, str]
    below: dict[str, list[int]]
    parts: dict[str | None, list[str]]  # by what they are a part of, those in work first


@dataclass
class Seen:
    """One look. What could not be read is that of the look before, with the reason under its name in `errors`."""

    repository: str
    at: datetime | None = None
    commit: str = ""
    version: int = 0
    status: dict[str, Any] = field(default_factory=dict)  # as the verb has it
    children: Items = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)  # by worktree
    silent: set[str] = field(default_factory=set)  # children that should run here and whose process is gone
    plan: Plan = field(default_factory=lambda: Plan({}, {}, {}, {}))
    blocked: dict[str, str] = field(default_factory=dict)  # why, by case
    locks: dict[str, Any] = field(default_factory=dict)
    directives: Items = field(default_factory=list)
    journal: Items = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def error(self) -> str:
        """What is to be told of this look as a whole."""
        return next(iter(self.errors.values()), "")


class Looker:
    """Looks for the screen, one call after the other whatever thread asks."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._guard = threading.Lock()
        self._tips: object = None
        self.seen = Seen(context.world.repo.name)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        with self._guard:
            return self.context.call(method, given)

    def first(self) -> Seen:
        """The first look, which is refused where nothing can be seen at all."""
        with self._guard:
            self.context.method = "watch"
            self.context.tx()
            verbs.status(self.context)
        return self.look()

    def look(self) -> Seen:
        """Everything as it is now; a refusal leaves what it is about as it was."""
        with self._guard:
            self.seen = self._look(self.seen)
            return self.seen

    def _look(self, before: Seen) -> Seen:
        seen = replace(before, errors={})
        try:
            tx = self.context.tx()
        except CodestratorError as error:
            seen.errors = {"state": error.message}
            return seen
        seen.at, seen.commit, seen.version = tx.now.at, tx.base.state_commit, tx.base.db_version
        tips = (tx.base.state_commit, tx.base.book_commit)
        moved = tips != self._tips
        for name, read, beside in PARTS:
            if not (moved or beside or name in before.errors):
                continue  # it lies in the refs alone, and they are where they were
            try:
                setattr(seen, name, read(self.context, tx))
            except CodestratorError as error:
                seen.errors[name] = error.message
        self._tips = tips
        return seen


def _children(context: Context, tx: "Tx") -> Items:
    return verbs.children(context)


def _places(context: Context, tx: "Tx") -> dict[str, Place]:
    """The worktrees of all sessions and children that are shown."""
    from codestrator.records import SESSION_ENDED, THREAD_ENDED

    found = {row.worktree_id for row in tx.rows(Thread) if row.status not in THREAD_ENDED or row.status == "failed"}
    open_sessions = [row.id for row in tx.rows(Session) if row.status not in SESSION_ENDED]
    wanted = found | {tx.require(Session, one).session_root_worktree_id for one in open_sessions}
    places = {}
    for one in wanted:
        if worktree := tx.get(Worktree, one):
            here = worktree.places.get(tx.machine)
            places[worktree.id] = Place(worktree.branch or "", here.path if here else "")
    return places


def _silent(context: Context, tx: "Tx") -> set[str]:
    at_work = (row for status in ("running", "waiting", "interrupted") for row in tx.where(Thread, status=status))
    gone = (row.id for row in at_work if row.parent_thread_id and not tx.live.held(row.id))
    return {one for one in gone if tx.require(Thread, one).machine == tx.machine}


def _plan(context: Context, tx: "Tx") -> Plan:
    rows = {row.id: row for row in tx.rows(Task)}
    status = statuses(context, rows)
    parts: dict[str | None, list[str]] = {}
    for row in sorted(rows.values(), key=lambda row: (rank(status[row.id]), -row.priority, row.title, row.id)):
        parts.setdefault(row.parent_id if row.parent_id in rows else None, []).append(row.id)
    return Plan(rows, status, counted(rows), parts)


def _blocked(context: Context, tx: "Tx") -> dict[str, str]:
    """What the blocked steps of cases were noted with."""
    found = {}
    for row in tx.where(Task, level="case", status="blocked")[: verbs.SHOWN]:
        steps = [one for one in tx.require(Task, row.id).steps.values() if one.status == "blocked"]
        notes = ((one.evidence and one.evidence.note) or one.result_text or one.title for one in steps)
        if why := "; ".join(notes):
            found[row.id] = why
    return found


def _locks(context: Context, tx: "Tx") -> dict[str, Any]:
    return context.call("lock.list", {"domain": "all", "limit": verbs.PAGE})


def _directives(context: Context, tx: "Tx") -> Items:
    """Those that are open, then the newest of the others."""
    rows = sorted(tx.rows(Directive), key=lambda row: (row.created_at, row.id), reverse=True)
    threads = {row.thread_id for row in rows if row.state in ("queued", "delivered")}
    sessions = dict.fromkeys(row.session_id for row in tx.rows(Thread) if row.id in threads)
    found: Items = []
    for one in sessions:
        found += verbs.everything(
            context, "thread.directive.list", {"session_id": one, "state": ["queued", "delivered"]}
        )
    known = {one["directive_id"] for one in found}
    for row in [row for row in rows if row.id not in known][:ENDED_DIRECTIVES]:
        one = tx.require(Directive, row.id)
        over = "expired" if one.state in ("queued", "delivered") else one.state
        shown = {name: getattr(one, name) for name in ("thread_id", "mode", "text", "delivered_at", "applied_at")}
        shown |= {"turn": one.turn, "detail": one.detail, "expires_at": one.expires_at}
        found.append({"directive_id": one.id, "state": over, "created_at": one.created_at} | shown)
    return [{name: value for name, value in one.items() if value is not None} for one in found]


def _journal(context: Context, tx: "Tx") -> Items:
    items: Items = context.call("journal.list", {"limit": OPERATIONS})["items"]
    return items


def _status(context: Context, tx: "Tx") -> Mapping[str, Any]:
    return verbs.status(context)


# What is looked at, and whether it changes also while the refs stay: by time, or in the files of who is alive.
PARTS: tuple[tuple[str, Callable[[Context, "Tx"], Any], bool], ...] = (
    ("status", _status, True),
    ("children", _children, True),
    ("silent", _silent, True),
    ("places", _places, False),
    ("plan", _plan, False),
    ("blocked", _blocked, False),
    ("locks", _locks, True),
    ("directives", _directives, True),
    ("journal", _journal, False),
)
