"""Children brought to their end: asked, then made to, and seen to be gone."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, External, WrongState
from codestrator.methods import children, rescue
from codestrator.params import Params, Summary, ThreadId
from codestrator.records import THREAD_ENDED, Rescue, Thread, Worktree

# Together with what git needs for a snapshot: within 10 s.
GRACE_SECONDS, FORCE_SECONDS = 5.0, 3.0
REASON = "stop"


class Stop(Params, frozen=True, kw_only=True):
    thread_id: ThreadId
    terminate_pane: Annotated[bool, Meta(description="false: the pane stays readable")] = False
    reason: Summary | None = None


def stop(flow: Flow, want: Stop) -> dict[str, Any]:
    """End a child within 10 s and see that it is gone; what it had not committed is kept in a snapshot.

    Its claims and locks are released; its case stays in work for the next.
    """
    session, thread = children.child(flow.read(), want.thread_id)
    if thread.status not in THREAD_ENDED:
        _check_here(flow, thread)
        for error in bring_down(flow, [thread], want.reason or children.STOPPED):
            raise error
    if want.terminate_pane and thread.tmux_pane_id:
        flow.world.tmux.end_pane(thread.tmux_pane_id, children.tmux_tag(flow, session.id))
    tx = flow.read()
    thread = tx.require(Thread, thread.id)
    return {
        "thread": children.in_sight(tx, thread),
        "result": "stopped",
        "exit_status": thread.exit_status,
        "snapshot_id": snapshot_of(tx, thread),
    }


def snapshot_of(tx: Tx, thread: Thread) -> str | None:
    """What was kept of a child's work when it was stopped or found dead."""
    found = [row.id for row in tx.where(Rescue, worktree_id=thread.worktree_id, reason=REASON)]
    return next((one for one in found if tx.require(Rescue, one).thread_id == thread.id), None)


def _check_here(flow: Flow, thread: Thread) -> None:
    if thread.machine != flow.settings.machine:
        raise WrongState(
            f"'{thread.id}' runs on machine '{thread.machine}', expected this one, '{flow.settings.machine}'",
            hint="Stop it there, or take its session over with handoff.take.",
            found=thread.machine,
            expected=flow.settings.machine,
        )


def bring_down(flow: Flow, threads: Sequence[Thread], reason: str) -> list[CodestratorError]:
    """End live children together: their runners are asked, what is left is ended, their work is kept.

    What hindered a snapshot is returned: it changes nothing about their end, and their files are where they were.
    """
    asked = [one.id for one in threads]
    flow.transact(lambda tx: _ask(tx, asked, reason), asked[0])
    hear = [one for one in asked if flow.world.live.held(one)]  # only a runner that is at work can
    if deaf := [one for one in asked if one not in hear]:
        put_down(flow, *deaf)
    if hear:
        put_down(flow, *hear, grace=GRACE_SECONDS)
    found = [keep_work(flow, one) for one in threads]
    flow.transact(lambda tx: _publish(tx, asked, reason), asked[0])
    for thread_id in asked:
        flow.world.live.forget_told(thread_id)
        flow.world.live.leave(thread_id)
    return [error for error in found if error]


def _ask(tx: Tx, thread_ids: Sequence[str], reason: str) -> None:
    for thread in (tx.require(Thread, one) for one in thread_ids):
        if thread.status not in (*THREAD_ENDED, "planned"):
            tx.put(thread.but(stop_requested=True, reason=reason))


def put_down(flow: Flow, *thread_ids: str, grace: float = 0) -> None:
    """End every process that carries the mark of these threads; `external` if one will not go."""
    left = flow.world.runners.end(thread_ids, FORCE_SECONDS, grace=grace)
    if left:
        raise External(
            f"processes {', '.join(map(str, left[:5]))} of '{thread_ids[0]}' did not end, expected none",
            hint="Call the same again; if they stay, they wait for a disk or a device.",
            program="codestrator runner",
        )


def keep_work(flow: Flow, thread: Thread) -> CodestratorError | None:
    """Take a snapshot of what the child has not committed; what hindered it."""
    try:
        _snapshot(flow, thread)
    except CodestratorError as error:
        return error
    return None


def _snapshot(flow: Flow, thread: Thread) -> None:
    tx = flow.read()
    worktree = tx.get(Worktree, thread.worktree_id)
    place = worktree.places.get(tx.machine) if worktree else None
    if worktree is None or place is None:
        return
    folder = flow.world.repo / place.path
    if not folder.is_dir() or not flow.world.worktrees.changes(folder):
        return
    snapshot, new = rescue.take(flow, worktree, folder, REASON, thread_id=thread.id, own=True)
    if new:
        flow.transact(lambda tx: rescue.keep(tx, snapshot), worktree.id)


def _publish(tx: Tx, thread_ids: Sequence[str], reason: str) -> None:
    for thread in (tx.require(Thread, one) for one in thread_ids):
        if thread.status not in THREAD_ENDED:
            status = "cancelled" if thread.status == "planned" else "stopped"
            children.end(tx, thread, status, reason=reason)
