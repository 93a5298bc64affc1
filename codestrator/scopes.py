"""A thread's scope: the tasks and nodes that it may change, each with all that lies below it."""

from codestrator import ids
from codestrator.calls import Tx
from codestrator.errors import Forbidden
from codestrator.records import KINDS, Thread

NAMED = 5


def of(thread: Thread) -> frozenset[str]:
    """The ids of a thread's scope; an empty one is no limit."""
    return frozenset((*thread.scope_task_ids, *thread.scope_case_ids, *thread.scope_node_ids))


def holds(tx: Tx, scope: frozenset[str], item_id: str) -> bool:
    """Whether it, or something above it, is in the scope."""
    one: str | None = item_id
    while scope and one is not None and one not in scope:
        kind = KINDS.get(ids.kind_of(one) or "")
        one = getattr(tx.get(kind, one), "parent_id", None) if kind else None
    return one is not None


def check(tx: Tx, thread: Thread, item_id: str) -> None:
    """Refuse what lies outside of the thread's scope."""
    scope = of(thread)
    if not holds(tx, scope, item_id):
        named = sorted(scope)
        raise Forbidden(
            f"'{item_id}' is out of the scope of '{thread.id}', expected one of {', '.join(named[:NAMED])}"
            + (f" and {len(named) - NAMED} more" if len(named) > NAMED else ""),
            hint="Ask the root to widen the scope: call inbox.send with receiver_thread_id 'root'.",
            role=tx.caller.role,
            needs="a scope that holds it",
            scope=named[:100],
        )
