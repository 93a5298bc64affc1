"""Children whose runner is gone without a word: their state is made true, and what they left running is ended."""

from codestrator import threadfiles
from codestrator.calls import Flow, Tx
from codestrator.clock import parse
from codestrator.errors import CodestratorError
from codestrator.methods import children, letters, stopping
from codestrator.records import THREAD_ENDED, Session, Thread

# A runner has so long to take its thread's lock; looked for every 20 s, the state is true within a minute.
START_SECONDS = 35
FORCE_SECONDS = 2.0


def reconcile(flow: Flow, session_id: str | None = None) -> list[str]:
    """Settle each child of this machine whose runner is gone, and directives that are late; the threads settled.

    Of one session, where that is named: whose places and worktrees its dead children are not to hold.
    """
    tx = flow.read()
    rows = tx.rows(Thread) if session_id is None else tx.where(Thread, session_id=session_id)
    gone = [row.id for row in rows if _may_be_gone(tx, row) and vanished(flow, tx.require(Thread, row.id))]
    hindered: CodestratorError | None = None
    for thread_id in gone:
        try:
            settle(flow, thread_id)
        except CodestratorError as error:  # of one; the others are not to wait for it
            hindered = error
    if letters.late(flow.read()):
        flow.transact(letters.expire)
    if hindered is not None:
        raise hindered
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
    if thread.status == "initializing" and thread.pid is not None and not flow.world.runners.alive(thread.pid):
        return True
    if thread.status == "planned" and thread.log_file_path is not None:
        return _lost_its_pane(flow, thread)  # it was asked for without an agent, and waits
    if thread.status == "planned" and _abandoned(flow, thread):
        return True
    return (tx.now.at - parse(thread.updated_at or thread.created_at)).total_seconds() >= START_SECONDS


def _abandoned(flow: Flow, thread: Thread) -> bool:
    """Whether the process that was to start its runner died before it did."""
    try:
        spawner = threadfiles.find(flow.world.files, thread.id).spawner
    except CodestratorError:
        return False  # not written yet: its age decides
    return spawner is not None and not flow.world.process_alive(*spawner)


def _lost_its_pane(flow: Flow, thread: Thread) -> bool:
    try:
        tag = children.tmux_tag(flow, thread.session_id)
        return thread.tmux_pane_id is not None and flow.world.tmux.pane(thread.tmux_pane_id, tag) is None
    except CodestratorError:
        return False  # a tmux that does not answer proves nothing


def settle(flow: Flow, thread_id: str) -> None:
    """End what it left running, keep what it had not committed, publish that it failed."""
    if not flow.world.live.take(thread_id):
        return  # its runner is there after all
    try:
        flow.world.runners.end([thread_id], FORCE_SECONDS)
        stopping.keep_work(flow, flow.read().require(Thread, thread_id))
        flow.transact(lambda tx: _publish(tx, thread_id), thread_id)
        flow.world.live.forget_told(thread_id)
    finally:
        flow.world.live.leave(thread_id)


def _publish(tx: Tx, thread_id: str) -> None:
    thread = tx.require(Thread, thread_id)
    if thread.status in THREAD_ENDED:
        return
    said = children.told(tx, thread_id)
    number = said.exit_status if said.exit_status is not None else "no status"
    reason = f"process ended with {number}"
    if thread.status == "planned":
        why = "its spawning was broken off" if thread.log_file_path is None else "its pane is gone"
        children.end(tx, thread, "cancelled", reason=why)
        return
    if children.end(tx, thread, "failed", reason=reason).status != "failed":
        return
    session = tx.require(Session, thread.session_id)
    words = f"{thread.id} '{thread.title}' failed: {reason}"
    letters.post(tx, thread.id, session.root_thread_id, session.id, words)
