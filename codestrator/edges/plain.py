"""Results as text for pipes and simple terminals, and as the JSON envelope; nothing in them can act on a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codestrator.text import replace_unwanted

SCHEMA_VERSION = 1

# The columns of each list, as dotted ways into its items; a list that is not named here shows what its items have.
COLUMNS = {
    "session.list": ("session.id", "session.status", "liveness", "active_cases", "held_leases", "session.user_request"),
    "task.list": ("id", "level", "status", "priority", "title"),
    "graph.node.list": ("id", "node_type", "status", "approval_state", "priority", "title"),
    "task.ready": ("task.id", "task.priority", "unblocks", "task.title"),
    "resume.candidates.list": ("session.id", "reason", "silent_seconds", "machine", "session.user_request"),
    "lock.list": ("id", "scope_type", "scope_path", "mode", "session_id", "seconds_left"),
    "merge.main.status": ("id", "target_branch", "state", "position", "session_id", "reason"),
    "journal.list": ("op", "at", "method", "actor"),
    "inbox.list": ("id", "status", "sender_thread_id", "receiver_thread_id", "text"),
    "inbox.pending": ("id", "sender_thread_id", "text"),
    "worktree.list": ("worktree.id", "worktree.status", "path", "head", "dirty", "ahead", "behind"),
    "rescue.show": ("change", "path"),
    "sync.run": ("ref", "verdict", "detail"),
    "sync.status": ("ref", "ahead", "behind", "last_verdict"),
    "status.cases": ("id", "status", "steps", "title", "owner_session_id"),
    "status.needs": ("what", "call"),
    "status.children": ("id", "status", "turn", "title", "progress", "case_id"),
    "thread.child.list": (
        "thread.id",
        "thread.role",
        "thread.status",
        "thread.title",
        "last_report.progress",
        "case_id",
    ),
    "doctor.check": ("id", "severity", "finding", "fixed", "consequence", "fix"),
    "thread.directive.list": ("directive_id", "thread_id", "mode", "state", "text"),
}
MOST_COLUMNS = 7
# The parts of the status: where it lies in the result, its heading, and the columns it has.
SECTIONS = (
    ("sessions", "Sessions", "session.list"),
    ("children", "Children at work", "status.children"),
    ("cases", "Cases in work", "status.cases"),
    ("queue", "Waiting to land", "merge.main.status"),
    ("locks", "Locks", "lock.list"),
    ("needs", "Needs you", "status.needs"),
)
NOTHING = "nothing"


def visible(text: str) -> str:
    """The text with every character that could act on a terminal written out, newlines and tabs kept."""
    return replace_unwanted(text, _written)


def cell(value: Any) -> str:
    """A value on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return visible(value).replace("\n", "\\n").replace("\t", "\\t")
    if isinstance(value, list | tuple) and all(isinstance(one, str | int | float) for one in value):
        return ", ".join(cell(one) for one in value)
    return visible(_json(value)) if isinstance(value, Mapping | list | tuple) else str(value)


def _written(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def success(method: str, result: Any) -> str:
    """The envelope of a result, on one line."""
    return as_json({"schema_version": SCHEMA_VERSION, "ok": True, "method": method, "result": result})


def refusal(method: str, error: Mapping[str, Any]) -> str:
    """The envelope of a refusal, on one line."""
    return as_json({"schema_version": SCHEMA_VERSION, "ok": False, "method": method, "error": error})


def as_json(value: Any) -> str:
    """JSON in which characters that could act on a terminal are escaped; it reads back as the same value."""
    return replace_unwanted(_json(value), lambda one: f"\\u{ord(one):04x}")


def _json(value: Any) -> str:
    import json  # a screen without nested values need not wait for it

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=list)


def columns(method: str, items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The ways into the items that a table shows: those of `COLUMNS` that any item has, else the plain fields."""
    known = COLUMNS.get(method)
    if known:
        return tuple(way for way in known if any(at(item, way) is not None for item in items))
    ways: dict[str, bool] = {}
    for item in items:
        for name, value in item.items():
            if isinstance(value, Mapping):
                ways |= {f"{name}.{inner}": True for inner in ("id", "status", "title") if inner in value}
            elif not isinstance(value, list):
                ways[name] = True
    return tuple(ways)[:MOST_COLUMNS]


def at(item: Mapping[str, Any], way: str) -> Any:
    """What lies at the end of a dotted way, None where it ends early."""
    value: Any = item
    for name in way.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def heading(way: str) -> str:
    """A column's name for people."""
    head, dot, last = way.rpartition(".")
    return (head if dot and last == "id" else last).replace("_", " ")


def render(method: str, result: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a result: a list as fields between tabs under a line of names, anything else as `name: value`."""
    if method == "status":
        yield from _status(result)
        return
    items = result.get("items")
    if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
        yield from outline(result)
        return
    yield from table(method, items)
    yield from outline(beside_items(result))


def beside_items(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a list tells beside its items; what is empty tells nothing."""
    return {name: value for name, value in result.items() if name not in ("items", "count") and value not in ([], {})}


def _status(found: Mapping[str, Any]) -> Iterator[str]:
    for name, title, method in SECTIONS:
        yield f"{title}:" if found[name] else f"{title}: {NOTHING}"
        yield from (f"  {line}" for line in table(method, found[name]))
    yield "Next:"
    yield from (f"  {cell(call)}" for call in found["next"])


def table(method: str, items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line an item; nothing at all for no items."""
    if not items:
        return
    ways = columns(method, items)
    yield "\t".join(heading(way) for way in ways)
    for item in items:
        yield "\t".join(cell(at(item, way)) for way in ways)


def outline(value: Any, indent: str = "") -> Iterator[str]:
    """Nested values as indented lines."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _entry(f"{indent}{visible(str(name))}:", one, indent)
    elif isinstance(value, list | tuple):
        for one in value:
            if isinstance(one, Mapping) and one:
                first, *rest = outline(one)
                yield f"{indent}- {first}"
                yield from (f"{indent}  {line}" for line in rest)
            else:
                yield from _entry(f"{indent}-", one, indent)
    else:
        yield indent + cell(value)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(_deep(one) for one in value)):
        yield head
        yield from outline(value, indent + "  ")
    elif isinstance(value, str) and "\n" in value:
        yield head
        yield from (f"{indent}  {line}" for line in visible(value).split("\n"))
    else:
        yield f"{head} {cell(value)}".rstrip()


def _deep(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)
