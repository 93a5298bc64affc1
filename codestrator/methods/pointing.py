"""A thread's current ref: moved with each step of its work, read after a restart or a compaction."""

from typing import Any, Literal

from codestrator.calls import Tx
from codestrator.model import shown
from codestrator.records import Ref, Thread


def active_ref(thread: Thread) -> Ref | None:
    """The ref, if there is one that counts."""
    return thread.ref if thread.ref and thread.ref.status == "active" else None


def point(
    tx: Tx,
    thread: Thread,
    *,
    node_id: str,
    node_type: Literal["case", "task", "node"] = "case",
    status: Literal["active", "completed", "suspended", "handed_off"] = "active",
    checkpoint_id: str | None = None,
    next_action: str | None = None,
    summary: str | None = None,
    required_files: tuple[str, ...] = (),
    mode: Literal["compact", "resume", "handoff"] = "compact",
) -> Thread:
    """Stage the thread with its ref moved: a new one for another thing or after an end, else the next version.

    What is not given stays as it was while the ref points at the same thing; an empty text clears. Acknowledgement
    ends with each change.
    """
    old = active_ref(thread)
    same = old if old and old.node_id == node_id else None
    number = same.n if same else thread.ref_count + 1
    ref = Ref(
        n=number,
        node_type=node_type,
        node_id=node_id,
        status=status,
        version=same.version + 1 if same else 1,
        mode=mode,
        checkpoint_id=checkpoint_id or (same.checkpoint_id if same else None),
        next_action=(same.next_action if next_action is None and same else next_action) or None,
        summary=(same.summary if summary is None and same else summary) or None,
        required_files=required_files or (same.required_files if same else ()),
    )
    return tx.put(thread.but(ref=ref, ref_count=number))


def shown_ref(thread: Thread) -> dict[str, Any]:
    """A ref as callers see it, with its id `<thread>.<n>`."""
    assert thread.ref
    found = shown(thread.ref)
    number = found.pop("n")
    return {"id": f"{thread.id}.{number}", "thread_id": thread.id, "session_id": thread.session_id} | found
