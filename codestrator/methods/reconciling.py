"""Children whose runner is gone without a word: their state is made true, and what they left running is ended."""

from codestrator.calls import Flow, Tx
from codestrator.clock import parse
from codestrator.errors import CodestratorError
from codestrator.methods import children, letters, rescue
from codestrator.records import THREAD_ENDED, Intent, Session, Thread, Worktree

# A runner that was started has so long to take its thread's lock.
START_SECONDS = 45


def reconcile(flow: Flow) -> list[str]:
    """Settle each child of this machine whose runner is gone, and directives that are late; the threads settled."""
    tx = flow.read()
    gone = [row.id for row in tx.rows(Thread) if _may_be_gone(tx, row) and vanished(flow, tx.require(Thread, row.id))]
    for thread_id in gone:
        settle(flow, thread_id)
    if letters.late(flow.read()):
        flow.transact(letters.expire)
    return gone


def _may_be_gone(tx: Tx, row: Thread) -> bool:
    return row.parent_thread_id is not None and row.status not in THREAD_ENDED and not tx.live.held(row.id)


def vanished(flow: Flow, thread: Thread) -> bool:
    """Whether its runner should be there and is not."""
    tx = flow.read()
    thread = tx.require(Thread, thread.id)
    if thread.machine != tx.machine or thread.status in THREAD_ENDED or thread.parent_thread_id is None:
        return False
    if tx.live.held(thread.id):
        return False
    if thread.status in children.WORKING:
        return True
    young = (tx.now.at - parse(thread.updated_at or thread.created_at)).total_seconds() < START_SECONDS
    if thread.status == "initializing" and thread.pid is not None and not flow.world.runners.alive(thread.pid):
        return True
    empty = thread.status == "planned" and thread.tmux_pane_id is not None  # a pane that was asked for without agent
    return not young and not empty and not _being_spawned(flow, tx, thread)


def _being_spawned(flow: Flow, tx: Tx, thread: Thread) -> bool:
    return any(
        one.args.get("thread_id") == thread.id and flow.world.process_alive(one.pid, one.process_started_at)
        for one in tx.found(Intent, state="planned", machine=tx.machine)
    )


def settle(flow: Flow, thread_id: str) -> None:
    """End what it left running, keep what it had not committed, publish that it failed."""
    if not flow.world.live.take(thread_id):
        return  # its runner is there after all
    try:
        flow.world.runners.end(thread_id, 2.0)
        _keep_work(flow, thread_id)
        flow.transact(lambda tx: _publish(tx, thread_id), thread_id)
        flow.world.live.forget_told(thread_id)
    finally:
        flow.world.live.leave(thread_id)


def _keep_work(flow: Flow, thread_id: str) -> None:
    tx = flow.read()
    worktree = tx.get(Worktree, tx.require(Thread, thread_id).worktree_id)
    place = worktree.places.get(tx.machine) if worktree else None
    folder = flow.world.repo / place.path if place else None
    if worktree is None or folder is None or not folder.is_dir():
        return
    try:
        if flow.world.worktrees.changes(folder):
            snapshot, new = rescue.take(flow, worktree, folder, "stop", thread_id=thread_id)
            if new:
                flow.transact(lambda tx: rescue.keep(tx, snapshot), worktree.id)
    except CodestratorError:
        return  # the files are still where they were; the state must become true all the same


def _publish(tx: Tx, thread_id: str) -> None:
    thread = tx.require(Thread, thread_id)
    if thread.status in THREAD_ENDED:
        return
    said = children.told(tx, thread_id)
    number = said.exit_status if said.exit_status is not None else "no status"
    reason = f"process ended with {number}"
    if thread.status == "planned":
        children.end(tx, thread, "cancelled", reason="its spawning was broken off")
        return
    children.end(tx, thread, "failed", reason=reason)
    session = tx.require(Session, thread.session_id)
    words = f"{thread.id} '{thread.title}' failed: {reason}"
    letters.post(tx, thread.id, session.root_thread_id, session.id, words)
