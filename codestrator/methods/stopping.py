"""Children brought to their end: asked, then made to, and seen to be gone."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import External
from codestrator.methods import children, closing, rescue, waiting
from codestrator.params import Params, Summary, ThreadId
from codestrator.records import THREAD_ENDED, Thread, Worktree

GRACE_SECONDS = 6
FORCE_SECONDS = 4.0


class Stop(Params, frozen=True, kw_only=True):
    thread_id: ThreadId
    terminate_pane: Annotated[bool, Meta(description="false: the pane stays readable")] = False
    reason: Summary | None = None


def stop(flow: Flow, want: Stop) -> dict[str, Any]:
    """End a child within 10 s and see that it is gone; what it had not committed is kept in a snapshot.

    Its claims and locks are released; its case stays in work for the next.
    """
    session, thread = children.child(flow.read(), want.thread_id)
    snapshot_id = None
    if thread.status not in THREAD_ENDED:
        _ask(flow, thread)
        put_down(flow, thread.id)
        snapshot_id = _snapshot(flow, thread)
        thread = flow.transact(lambda tx: _publish(tx, want), thread.id)
        flow.world.live.forget_told(thread.id)
    if want.terminate_pane and thread.tmux_pane_id:
        flow.world.tmux.end_pane(thread.tmux_pane_id, closing.tmux_tag(flow, session))
    found = {"thread": thread, "result": "stopped", "exit_status": thread.exit_status, "snapshot_id": snapshot_id}
    return {name: value for name, value in found.items() if value is not None}


def _ask(flow: Flow, thread: Thread) -> None:
    """Tell the runner, and give it a while to end its agent and itself."""
    if thread.status == "planned" or not flow.world.live.held(thread.id):
        return

    def ask(tx: Tx) -> None:
        now = tx.require(Thread, thread.id)
        if now.status not in THREAD_ENDED and not now.stop_requested:
            tx.put(now.but(stop_requested=True))

    flow.transact(ask, thread.id)
    waiting.first(flow, GRACE_SECONDS, lambda tx: True if not tx.live.held(thread.id) else None)


def put_down(flow: Flow, thread_id: str) -> None:
    """End every process that carries the thread's mark; `external` if one will not go."""
    left = flow.world.runners.end(thread_id, FORCE_SECONDS)
    if left:
        raise External(
            f"processes {', '.join(map(str, left[:5]))} of '{thread_id}' did not end, expected none",
            hint="End them by hand, then call the same again.",
            program="codestrator runner",
        )


def _snapshot(flow: Flow, thread: Thread) -> str | None:
    tx = flow.read()
    worktree = tx.get(Worktree, thread.worktree_id)
    place = worktree.places.get(tx.machine) if worktree else None
    if worktree is None or place is None:
        return None
    folder = flow.world.repo / place.path
    if not folder.is_dir() or not flow.world.worktrees.changes(folder):
        return None
    snapshot, new = rescue.take(flow, worktree, folder, "stop", thread_id=thread.id)
    if new:
        flow.transact(lambda tx: rescue.keep(tx, snapshot), worktree.id)
    return snapshot.id


def _publish(tx: Tx, want: Stop) -> Thread:
    thread = tx.require(Thread, want.thread_id)
    if thread.status in THREAD_ENDED:
        return thread
    status = "cancelled" if thread.status == "planned" else "stopped"
    return children.end(tx, thread, status, reason=want.reason or "stopped by the root")
