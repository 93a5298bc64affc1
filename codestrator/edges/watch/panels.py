"""The six panels: what each shows of a look, as rows; the busiest and the newest first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.text import Text

from codestrator.edges.report.pieces import DASH, lasting
from codestrator.edges.watch.looking import Seen
from codestrator.edges.watch.rows import Column, Row, bar, clock, kept, sign, state, text
from codestrator.records import FINISHED

MOST = 200  # parts of one task that are listed; a filter finds the others
FOUND = 500  # tasks that a filter lists
SHOWN = ("sessions", "cases", "queue")  # of the status; its locks run down, and are shown from their own list
BUSY = ("in_progress", "in_review", "blocked")
NOBODY = Text("")


@dataclass
class View:
    """How somebody looks: with which filter, and with which tasks folded otherwise than they would be."""

    query: str = ""
    turned: set[str] = field(default_factory=set)


class Panel(NamedTuple):
    """A panel: how its rows come to be, and what they come from, for which an error may stand in."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Callable[[Seen, View], list[Row]]
    parts: tuple[str, ...]
    empty: str


def agents(seen: Seen, view: View) -> list[Row]:
    """Sessions with their children below them."""
    below: dict[str, list[dict[str, Any]]] = {}
    for one in seen.children:
        below.setdefault(one["thread"]["session_id"], []).append(one)
    found = []
    for item in seen.status.get("sessions", ()):
        found.append(_session(seen, item))
        found += [_child(seen, one) for one in below.pop(item["session"]["id"], ())]
    found += [_child(seen, one) for rest in below.values() for one in rest]
    return kept(found, view.query)


def _session(seen: Seen, item: Mapping[str, Any]) -> Row:
    one = item["session"]
    holds = [count(item.get("active_cases", 0), "case"), count(item.get("held_leases", 0), "lease")]
    place = seen.places.get(one.get("session_root_worktree_id", ""))
    cells = (
        state(item.get("liveness", one["status"])),
        text(one.get("user_request") or one.get("worktree_slug") or one["id"], "bold"),
        NOBODY,
        text(", ".join(each for each in holds if each)),
        text(place.branch if place else ""),
    )
    return Row(one["id"], cells, 0, "session", item, one["id"], words=f"{one['id']} {one.get('owner', '')}")


def _child(seen: Seen, item: Mapping[str, Any]) -> Row:
    one = item["thread"]
    gone = one["id"] in seen.silent
    says = one.get("blocker") or one.get("reason") or one.get("progress") or ""
    asks = count(item.get("open_directives", 0), "directive")
    place = seen.places.get(one.get("worktree_id", ""))
    cells = (
        Text("! no process", "bold red", end="") if gone else state(one["status"]),
        text(f"  {one['title']}"),
        text(f"t{one['turn']}" if one.get("turn") else "", "dim"),
        text("; ".join(each for each in (says, asks and f"{asks} open") if each)),
        text(place.branch if place else ""),
    )
    words = f"{one['id']} {one.get('role', '')} {item.get('case_id', '')}"
    return Row(one["id"], cells, 1, "child", item, one["session_id"], one["id"], words)


def count(number: int, what: str, many: str = "") -> str:
    return f"{number} {what if number == 1 else many or what + 's'}" if number else ""


def tasks(seen: Seen, view: View) -> list[Row]:
    """The tree of tasks; what is in work is open, the rest opens by hand, and a filter opens all that it finds."""
    plan = seen.plan
    wanted = _wanted(seen, view.query) if view.query else None
    works = {one["id"]: one for one in seen.status.get("cases", ())}
    found: list[Row] = []

    def grow(parent: str | None, depth: int) -> None:
        parts = [one for one in plan.parts.get(parent, ()) if wanted is None or one in wanted]
        for one in parts[:MOST]:
            if len(found) >= FOUND * 4:
                return
            inside = plan.parts.get(one)
            opened = wanted is not None or (plan.status[one] in BUSY or depth == 0) != (one in view.turned)
            found.append(_task(seen, one, depth, bool(inside) and opened, works))
            if inside and opened:
                grow(one, depth + 1)
        if len(parts) > MOST:
            more = text(f"{'  ' * (depth + 1)}… {len(parts) - MOST:,} more, found by a filter", "dim")
            found.append(Row(f"more {parent}", (more, NOBODY, NOBODY, NOBODY), depth))

    grow(None, 0)
    return found


def _wanted(seen: Seen, query: str) -> set[str]:
    """The tasks that a filter finds, and what they are parts of."""
    found: set[str] = set()
    rows, status = seen.plan.rows, seen.plan.status
    hits = 0
    for row in rows.values():
        if query in row.title.lower() or query in row.id or query in status[row.id].replace("_", " "):
            hits += 1
            above = row
            while above is not None and above.id not in found:
                found.add(above.id)
                above = rows.get(above.parent_id)
            if hits == FOUND:
                break
    return found


def _task(seen: Seen, task_id: str, depth: int, opened: bool, works: Mapping[str, Any]) -> Row:
    plan = seen.plan
    row, status = plan.rows[task_id], plan.status[task_id]
    case = row.level == "case"
    mark = "▾ " if opened else "▸ " if plan.parts.get(task_id) else "  "
    finished, counts, _ = plan.below[task_id]
    progress = bar(row.steps_done, row.steps_total) if case else bar(finished, counts)
    cells = (
        text("  " * depth + mark).append_text(sign(status)).append_text(text(f" {row.title}", "" if depth else "bold")),
        progress,
        text(status.replace("_", " "), sign(status).style),
        _why(seen, row, status, works.get(task_id, {})),
    )
    return Row(task_id, cells, depth, "case" if case else "task", row, row.owner_session_id, row.owner_thread_id)


def _why(seen: Seen, row: Any, status: str, work: Mapping[str, Any]) -> Text:
    """Who works on it, or what it waits for."""
    if status == "blocked" and row.level == "case":
        why = seen.blocked.get(row.id) or work.get("next_action")
        return text(why or who(seen, row.owner_session_id, row.owner_thread_id), "red")
    if status == "in_progress" and row.level == "case":
        return text(who(seen, row.owner_session_id, row.owner_thread_id))
    rows, done = seen.plan.rows, (*FINISHED, "cancelled")
    waits = [one for one in row.waits_for if seen.plan.status.get(one) not in done] if status == "todo" else []
    names = [rows[one].title if one in rows else one for one in waits]
    return text(f"waits for {', '.join(names)}", "yellow") if names else NOBODY


def who(seen: Seen, session_id: str | None, thread_id: str | None = None) -> str:
    """A person's word for whoever that is: a child's title, else what its session was asked for."""
    for child in seen.children:
        if child["thread"]["id"] == thread_id:
            return str(child["thread"]["title"])
    for item in seen.status.get("sessions", ()):
        one = item["session"]
        if one["id"] == session_id:
            return str(one.get("user_request") or one.get("worktree_slug") or session_id)
    return session_id or ""


def locks(seen: Seen, view: View) -> list[Row]:
    """Locks by path, then the branches that somebody may merge into, with those who wait for each."""
    found = []
    for one in seen.locks.get("items", ()):
        if one["domain"] not in ("paths", "merge"):
            continue
        merging = one["domain"] == "merge"
        path = f"merge into {one.get('target_branch', '')}" if merging else _path(one)
        found.append((merging, path, _lock(seen, one, path)))
    for one in seen.locks.get("waiters", ()):
        path = ", ".join(_path(scope) for scope in one.get("scopes", ()))
        key = f"{one['session_id']} {one.get('since', '')} {path}"
        found.append((False, f"{path}\x7f", _row(seen, key, path, "waiting", one)))
    return kept((row for _, _, row in sorted(found, key=lambda item: item[:2])), view.query)


def _path(scope: Mapping[str, Any]) -> str:
    path = str(scope.get("scope_path", "."))
    return path + "/" if scope.get("scope_type") == "prefix" else path


def _lock(seen: Seen, one: Mapping[str, Any], path: str) -> Row:
    return _row(seen, str(one["id"]), path, "held", one)


def _row(seen: Seen, key: str, path: str, how: str, one: Mapping[str, Any]) -> Row:
    session_id, thread_id = one.get("session_id"), one.get("thread_id")
    left = int(one.get("seconds_left", 0))
    cells = (
        text(path),
        state(how),
        text(who(seen, session_id, thread_id)),
        text(lasting(left), "yellow" if left < 60 else ""),
    )
    return Row(key, cells, 0, "lock", one, session_id, thread_id, f"{key} {session_id} {thread_id}")


def queue(seen: Seen, view: View) -> list[Row]:
    """Who may land next, and why the others wait."""
    items = sorted(
        seen.status.get("queue", ()), key=lambda one: (one.get("target_branch", ""), one.get("position") or 99)
    )
    found = []
    for one in items:
        cells = (
            text(one.get("position") or "-"),
            state(one["state"]),
            text(who(seen, one.get("session_id"))),
            text(one.get("target_branch", "")),
            text(one.get("reason") or ""),
        )
        words = f"{one['id']} {one.get('session_id')}"
        found.append(Row(one["id"], cells, 0, "land", one, one.get("session_id"), words=words))
    return kept(found, view.query)


def directives(seen: Seen, view: View) -> list[Row]:
    """What children were told: what is open first, with its receipts."""
    found = []
    for one in sorted(seen.directives, key=lambda one: one.get("state") not in ("queued", "delivered")):
        receipts = [f"{name} {clock(one[f'{name}_at'])}" for name in ("delivered", "applied") if one.get(f"{name}_at")]
        turn = f"in turn {one['turn']}" if one.get("turn") and receipts else ""
        cells = (
            _receipt(one["state"]),
            text(who(seen, None, one["thread_id"])),
            text(one.get("text", "")),
            text(", ".join(each for each in (*receipts, turn, one.get("detail", "")) if each) or "no receipt yet"),
        )
        words = f"{one['directive_id']} {one['thread_id']}"
        found.append(Row(one["directive_id"], cells, 0, "directive", one, None, one["thread_id"], words))
    return kept(found, view.query)


def _receipt(status: str) -> Text:
    signs = {"queued": ("○", "yellow"), "delivered": ("●", "cyan"), "applied": ("✓", "green"), "failed": ("!", "red")}
    sign, style = signs.get(status, (DASH, "dim"))
    return text(f"{sign} {status}", style)


def journal(seen: Seen, view: View) -> list[Row]:
    """The newest operations."""
    return kept(_operations(seen), view.query)


def _operations(seen: Seen) -> Iterator[Row]:
    for one in seen.journal:
        style = "dim" if one.get("undone_by") else ""
        documents = [each["name"] for each in one.get("documents", ())]
        undone = "undone; " if one.get("undone_by") else ""
        cells = (
            text(clock(one["at"]), "dim"),
            text(one["method"], style or "cyan"),
            text(undone + ", ".join(documents), style),
            text(who(seen, one.get("session_id"), one.get("actor")) or one.get("actor") or "", "dim"),
        )
        words = f"{one.get('op', '')} {one.get('session_id', '')}"
        yield Row(one["commit"], cells, 0, "operation", one, one.get("session_id"), words=words)


PANELS = (
    Panel("agents", "Agents", (Column("state"), Column("who", 3, 16), Column("turn", 0, 0, 3), Column("says", 3, 14, 1),
          Column("branch", 2, 18, 4)), agents, ("status", "children", "silent", "places"),
          "no session is open: git codestrator session open"),
    Panel("tasks", "Tasks", (Column("task", 4, 20), Column("progress"), Column("state", 0, 0, 2),
          Column("by or why", 2, 10, 1)), tasks, ("plan", "blocked"),
          "nothing is planned: git codestrator task create"),
    Panel("locks", "Locks", (Column("path", 3, 20), Column("state"), Column("whose", 2, 14), Column("time left")),
          locks, ("locks",), "no path is locked"),
    Panel("queue", "Queue", (Column("place"), Column("state"), Column("session", 2, 12), Column("into", 1, 6, 2),
          Column("why it waits", 3, 16, 1)), queue, ("status",), "nobody waits to land"),
    Panel("directives", "Directives", (Column("state"), Column("child", 2, 8), Column("text", 3, 14),
          Column("receipts", 3, 12, 1)), directives, ("directives",), "no child was directed"),
    Panel("journal", "Journal", (Column("at"), Column("operation"), Column("what", 3, 14, 1), Column("by", 1, 8, 2)),
          journal, ("journal",), "nothing happened yet"),
)  # fmt: skip


def inputs(panel: Panel, seen: Seen) -> list[object]:
    """What the rows of a panel are made from, names of sessions and children too: while it stays, so do they."""
    status = {name: seen.status[name] for name in SHOWN if name in seen.status}
    own = [status if name == "status" else getattr(seen, name) for name in panel.parts]
    return [*own, status, seen.children, {name: why for name, why in seen.errors.items() if name in panel.parts}]


def total(panel: Panel, seen: Seen, view: View, rows: Sequence[Row]) -> int:
    """How many there are, folded ones too."""
    return len(seen.plan.rows) if panel.name == "tasks" and not view.query else len(rows)
