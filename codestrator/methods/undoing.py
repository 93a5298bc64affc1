"""Takes back what a session's newest operations did to documents, where nobody built on it since."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.clock import rfc3339
from codestrator.errors import Busy, Conflict, Forbidden, NotFound, WrongState
from codestrator.methods import who
from codestrator.methods.journal import UNDO, Undone, method_of, name_of, undoes
from codestrator.model import Document
from codestrator.params import OpId, Params, SessionId
from codestrator.records import KINDS, SESSION_ENDED, Land, Lease, Node, Session, Task, Thread, Worktree

if TYPE_CHECKING:
    from codestrator.store.journal import Operation, Touched

# What was recorded of the world, or of a call, stays true whatever is undone.
STAYS = ("checkpoint", "rescue", "intent", "machine", "mirror")
TRIES = 5


class Undo(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    count: Annotated[int, Meta(ge=1, le=20, description="that many of the newest operations")] = 1
    op: Annotated[OpId | None, Meta(description="instead: this one and all later ones of the session")] = None
    dry_run: bool = False


class Change(NamedTuple):
    """One document as it was before an operation and after it."""

    name: str
    kind: type[Document]
    id: str
    before: Document | None
    after: Document | None


class Step(NamedTuple):
    """One operation to take back."""

    operation: "Operation"
    changes: list[Change]


class _Moved(Exception):
    """The session did something else in between."""


def undo(flow: Flow, want: Undo) -> dict[str, Any]:
    """Take back the session's newest operations: the documents they touched are as before.

    Refused where another session changed one of them since, and for what moved branches or made worktrees, threads
    or grants. Called again it takes back the next earlier one; an undo can be undone by its own operation id.
    """
    for _ in range(TRIES):
        steps = _steps(flow, flow.read(), want)
        if want.dry_run:
            return _take_back(flow.read(), steps) | {"op": None}
        names = [step.operation.op for step in steps]

        def act(tx: Tx, names: list[str] = names) -> dict[str, Any]:
            now = _steps(flow, tx, want)
            if [step.operation.op for step in now] != names:
                raise _Moved
            return _take_back(tx, now)

        try:
            return flow.transact(act, " ".join(names))
        except _Moved:
            continue
    raise Busy(
        f"the session changed something in each of {TRIES} tries, expected it to rest", hint="Call the same again."
    )


def _steps(flow: Flow, tx: Tx, want: Undo) -> list[Step]:
    """The operations to take back, newest first; refused where one of them cannot be."""
    session = who.active_session(tx, want.session_id)
    others: dict[str, Operation] = {}
    steps: list[Step] = []
    for operation in _newest(flow, tx, session.id, want, others):
        touched = [one for one in operation.documents() if one.kind and one.kind not in STAYS]
        changes = [_change(one, KINDS[one.kind]) for one in touched if one.kind]
        if changes:
            _refuse_effects(operation, changes)
            _refuse_touched(operation, touched, others)
            steps.append(Step(operation, changes))
        if want.op is None and len(steps) == want.count:
            break
    if not steps:
        raise WrongState(
            f"'{session.id}' has nothing to undo, expected an operation of its own",
            hint="Call journal.list with session_id for what it did.",
            found="none",
            expected=["an operation that changed documents"],
        )
    return steps


def _newest(flow: Flow, tx: Tx, session_id: str, want: Undo, others: "dict[str, Operation]") -> "Iterator[Operation]":
    """The session's operations that still count, newest first, down to the one named; `others` is told the rest."""
    undone = Undone()
    mine: list[Operation] = []
    for operation in flow.store.journal(tx.base.state_commit):
        undone.see(operation)
        if operation.trailers.get("Session") != session_id or len(operation.parents) > 1:
            if want.op and operation.op == want.op:
                raise _of_another(operation)
            for one in operation.documents() if len(operation.parents) == 1 else ():
                others.setdefault(name_of(one), operation)
        elif want.op is None:
            if operation.op not in undone.by and method_of(operation) != UNDO:
                yield operation
        else:
            mine.append(operation)
            if operation.op == want.op:
                break
    else:
        if want.op:
            raise _unknown(flow, want.op)
    yield from _effective(mine, undone)


def _effective(mine: "list[Operation]", undone: Undone) -> "Iterator[Operation]":
    """Without those that were undone within the list, and without the undos that did it."""
    listed = {operation.op for operation in mine}
    kept: set[str] = set()
    for operation in mine:
        by = undone.by.get(operation.op)
        inside = method_of(operation) == UNDO and set(undoes(operation)) <= listed
        if not inside and (by is None or by in kept):
            kept.add(operation.op)
            yield operation


def _change(touched: "Touched", kind: type[Document]) -> Change:
    from codestrator.store.documents import STATE, decode  # its parameters are described without the store

    old, new = (decode(kind, touched.id, raw, STATE) if raw else None for raw in (touched.old, touched.new))
    return Change(name_of(touched), kind, touched.id, old, new)


def _refuse_effects(operation: "Operation", changes: list[Change]) -> None:
    # A landing first: of all that it moved, only the merge itself can be taken back.
    for change in sorted(changes, key=lambda one: one.kind is not Land):
        if use := _reversed_by(change):
            raise WrongState(
                f"'{operation.op}' ({method_of(operation)}) did more than change documents, expected one that only did",
                hint=f"Use {use} for it.",
                found=method_of(operation),
                expected=["an operation on documents alone"],
                op=operation.op,
                use=use,
            )


def _reversed_by(change: Change) -> str | None:
    """The methods that take back an effect on the world or a grant; None where documents are all there is."""
    before, after = change.before, change.after
    if isinstance(after, Land):
        return f"git revert -m 1 {after.merge_commit}" if after.state == "merged" else None
    if isinstance(after, Session):
        ended = before is not None and after.status in SESSION_ENDED
        return "session.open" if ended else "session.close" if before is None else None
    if change.kind is Worktree:
        ended = isinstance(after, Worktree) and after.status in ("removed", "lost")
        return "rescue.restore" if ended else "worktree.remove"
    if isinstance(after, Thread) and before is None:
        return "thread.child.stop"
    if isinstance(after, Task) and after.claim_fence > (before.claim_fence if isinstance(before, Task) else 0):
        return "task.cancel or case.complete"
    return None


def _refuse_touched(operation: "Operation", touched: "list[Touched]", others: "dict[str, Operation]") -> None:
    found = [(name_of(one), others[name_of(one)]) for one in touched if name_of(one) in others]
    if found:
        name, later = found[0]
        session_id = later.trailers.get("Session")
        whose = f"'{session_id}'" if session_id else "no session"
        raise Conflict(
            f"'{name}' was changed by '{later.op}' of {whose} after '{operation.op}', expected nobody else's change",
            hint="Call journal.list with document for who changed it, and change it with its own method.",
            found=[{"op": by.op, "document": one, "session_id": by.trailers.get("Session")} for one, by in found],
            expected="no later change by another session",
        )


def _of_another(operation: "Operation") -> Forbidden:
    session_id = operation.trailers.get("Session", "no session")
    return Forbidden(
        f"'{operation.op}' is an operation of '{session_id}', expected one of the caller's session",
        hint="Call journal.list with session_id for the session's own.",
        needs="the session that did it",
        method=UNDO,
    )


def _unknown(flow: Flow, op: str) -> WrongState | NotFound:
    """An operation on the lock book is a grant or its end; another one is unknown."""
    if any(operation.op == op for operation in flow.store.book_journal()):
        return WrongState(
            f"'{op}' moved locks alone, expected an operation on documents",
            hint="Use lock.release for it.",
            found="an operation on the lock book",
            expected=["an operation on documents alone"],
            op=op,
            use="lock.release",
        )
    return NotFound(
        f"no operation '{op}' in the journal", hint="List operations with journal.list.", kind="operation", id=op
    )


def _take_back(tx: Tx, steps: list[Step]) -> dict[str, Any]:
    """Stage each document without what the operations did to it."""
    from codestrator.store.undo import undo_document

    names: dict[str, None] = {}
    for step in steps:
        for change in step.changes:
            restored = undo_document(tx.get(change.kind, change.id), change.after, change.before)
            names[change.name] = None
            if restored is None:
                tx.drop(change.kind, change.id)
            else:
                tx.put(restored)
    _refuse_dangling(tx, steps)
    return {
        "undone": [step.operation.op for step in steps],
        "op": tx.op,
        "documents": sorted(names),
        "not_undone": list(_left(tx, steps)),
    }


def _refuse_dangling(tx: Tx, steps: list[Step]) -> None:
    """A task or node that came away must not be missed by one that stays."""
    touched = [change for step in steps for change in step.changes if change.kind in (Task, Node)]
    gone = {change.id for change in touched if tx.get(change.kind, change.id) is None}
    if not gone:
        return
    for one_id, needs in _needs(tx, {change.kind for change in touched}):
        missed = gone.intersection(needs)
        if missed:
            raise Conflict(
                f"'{one_id}' needs '{min(missed)}', expected nothing to need what is taken back",
                hint="Undo that first with journal.undo, or cancel a task with task.cancel instead.",
                found=one_id,
                expected="nothing that needs it",
            )


def _needs(tx: Tx, kinds: set[type[Document]]) -> Iterator[tuple[str, set[str | None]]]:
    """Of each task and node, what it would miss."""
    if Task in kinds:
        yield from ((row.id, {row.parent_id, *row.waits_for}) for row in tx.rows(Task))
    if Node in kinds:
        yield from ((node.id, {node.parent_id, *(edge.to for edge in node.edges)}) for node in tx.all(Node))


def _left(tx: Tx, steps: list[Step]) -> Iterator[dict[str, Any]]:
    """What these operations, or the locks taken beside them, leave behind."""
    for step in steps:
        for one in step.operation.documents():
            if one.kind == "checkpoint" and one.old is None:
                yield {"op": step.operation.op, "effect": f"checkpoint '{one.id}' stays", "use": "work.checkpoint"}
            if one.kind == "rescue" and one.old is None:
                yield {"op": step.operation.op, "effect": f"snapshot '{one.id}' stays", "use": "rescue.restore"}
    oldest = steps[-1].operation
    session_id = oldest.trailers.get("Session")
    for lease in tx.found(Lease, state="held", session_id=session_id):
        if lease.granted_at >= rfc3339(oldest.at):
            use = "merge.main.release_lock" if lease.domain == "merge" else "lock.release"
            yield {"op": lease.op, "effect": f"'{lease.id}' is held", "use": use}
