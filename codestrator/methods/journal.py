"""The journal as callers see it: every operation on the state and the lock book, newest first."""

from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from codestrator import ids
from codestrator.calls import Flow
from codestrator.clock import parse, rfc3339
from codestrator.errors import InvalidParams, NotFound
from codestrator.params import AnyId, Paged, SessionId, Short
from codestrator.records import Lease

if TYPE_CHECKING:
    from codestrator.store.journal import Operation, Touched

UNDO = "journal.undo"
MARK = "an operation's id, or a time"


class Listing(Paged, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    method: Short | None = None
    document: AnyId | None = None
    since: Annotated[Short | None, Meta(description=MARK)] = None
    until: Annotated[Short | None, Meta(description=MARK)] = None


class Line(NamedTuple):
    """One operation with the undo that took it back, if one did."""

    operation: "Operation"
    of_book: bool
    undone_by: str | None


def method_of(operation: "Operation") -> str:
    return operation.subject.partition(" ")[0]


def undoes(operation: "Operation") -> list[str]:
    """The operations that an undo took back."""
    return operation.subject.split()[1:] if method_of(operation) == UNDO else []


class Undone:
    """Which operations are taken back, learnt while walking from the newest to the oldest."""

    def __init__(self) -> None:
        self.by: dict[str, str] = {}

    def see(self, operation: "Operation") -> None:
        if operation.op not in self.by:  # an undo that was undone takes nothing back
            for op in undoes(operation):
                self.by[op] = operation.op


def listing(flow: Flow, want: Listing) -> dict[str, Any]:
    """List the operations on state and locks, newest first, with the documents that each changed."""
    start, state, book = _opened(flow, want.cursor)
    chosen = _chosen(_between(_lines(flow, state, book), _mark("since", want.since), _mark("until", want.until)), want)
    found = list(islice(chosen, start, start + want.limit + 1))
    items = [_shown(line) for line in found[: want.limit]]
    result: dict[str, Any] = {"items": items, "count": len(items)}
    if len(found) > want.limit:
        result["next_cursor"] = f"{start + want.limit}.{state}.{book}"
    return result


def _opened(flow: Flow, cursor: str | None) -> tuple[int, str, str]:
    """Where the page begins, and the tips that its first page was read from."""
    base = flow.read().base
    if cursor is None:
        return 0, base.state_commit, base.book_commit
    start, _, tips = cursor.partition(".")
    state, _, book = tips.partition(".")
    commits = all(len(one) == 40 and set(one) <= set("0123456789abcdef") for one in (state, book))
    if not (start.isdecimal() and len(start) < 10 and commits):
        raise InvalidParams(
            f"'cursor' is '{cursor[:80]}', expected the next_cursor of the page before",
            field="cursor",
            found=cursor[:80],
            expected="next_cursor of the page before",
        )
    base.as_of(state)  # refuses a commit that is none of the journal
    return int(start), state, book


def _lines(flow: Flow, state: str, book: str) -> Iterator[Line]:
    """Both journals in one order; what moved both refs stands in it once, as an operation of the state."""
    undone = Undone()

    def of_state() -> Iterator[Line]:
        for operation in flow.store.journal(state):
            undone.see(operation)
            yield Line(operation, False, undone.by.get(operation.op))

    of_book = (Line(operation, True, None) for operation in flow.store.book_journal(book))
    last = ""
    for line in merge(of_state(), of_book, key=lambda one: one.operation.at, reverse=True):
        if not line.of_book or not last or line.operation.op != last:
            yield line
        last = line.operation.op


def _mark(field: str, given: str | None) -> str | datetime | None:
    """An operation's id, or a time."""
    if given is None or (ids.is_start(given) and ids.prefix_of(given) == "op"):
        return given
    try:
        at = parse(given)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidParams(
            f"'{field}' is '{given[:80]}', expected an operation's id or a time with its zone",
            hint="Write a time as 2026-05-04T09:30:00Z.",
            field=field,
            found=given[:80],
            expected=MARK,
        )
    return at.replace(microsecond=0)  # the journal keeps whole seconds


def _between(lines: Iterator[Line], since: str | datetime | None, until: str | datetime | None) -> Iterator[Line]:
    """Those from `since` to `until`, both included."""
    begun = not isinstance(until, str)
    for line in lines:
        operation = line.operation
        begun = begun or operation.op.startswith(str(until))
        if begun and not (isinstance(until, datetime) and operation.at > until):
            if isinstance(since, datetime) and operation.at < since:
                return
            yield line
        if isinstance(since, str) and operation.op.startswith(since):
            return
    missing = since if isinstance(since, str) else None if begun else str(until)
    if missing:
        raise NotFound(
            f"no operation '{missing}' in the journal",
            hint="List operations with journal.list.",
            kind="operation",
            id=missing,
        )


def _chosen(lines: Iterator[Line], want: Listing) -> Iterator[Line]:
    for line in lines:
        trailers = line.operation.trailers
        if want.session_id not in (None, trailers.get("Session")):
            continue
        if want.method not in (None, method_of(line.operation)):
            continue
        if want.document is None or any(one.id == want.document for one in line.operation.documents()):
            yield line


def _shown(line: Line) -> dict[str, Any]:
    operation = line.operation
    documents = operation.documents()
    return {
        "op": operation.op or None,
        "commit": operation.commit,
        "at": rfc3339(operation.at),
        "method": method_of(operation),
        "actor": operation.trailers.get("Actor"),
        "session_id": operation.trailers.get("Session"),
        "machine": operation.trailers.get("Machine"),
        "domain": _domain(documents) if line.of_book else None,
        "documents": [{"name": name_of(one), "change": _change(one)} for one in documents],
        "undoes": undoes(operation) or None,
        "undone_by": line.undone_by,
    }


def name_of(touched: "Touched") -> str:
    return f"{touched.kind or 'unknown'}/{touched.id}"


def _change(touched: "Touched") -> str:
    if touched.old is None:
        return "added"
    return "removed" if touched.new is None else "changed"


def _domain(documents: "list[Touched]") -> str:
    """Whose leases an operation on the book is about; fence and waiters belong to path locks."""
    for one in documents:
        raw = one.new or one.old
        if one.kind == Lease.KIND and raw:
            return str(msgspec.json.decode(raw).get("domain", "paths"))
    return "paths"
