"""Children: whether what the state says of them is true of their panes and processes."""

from codestrator.errors import CodestratorError
from codestrator.methods import children, reconciling
from codestrator.methods.doctor.look import Found, Look, ok, warning
from codestrator.records import SESSION_ENDED, THREAD_ENDED, Session, Thread

LOOKED_AT = 200


def gone(look: Look) -> Found:
    """Every child that counts as alive has its runner, and none that has ended left a process or a pane at work."""
    tx, found = look.tx, 0
    threads = [one for one in tx.all(Thread) if one.parent_thread_id and one.machine == tx.machine]
    for thread in threads:
        if thread.status in THREAD_ENDED or not reconciling.vanished(look.flow, thread):
            continue
        found += 1
        yield warning(
            f"'{thread.id}' is '{thread.status}', and its runner is gone",
            "its case and its place are held until that is noticed",
            f"git codestrator thread child status --thread-id {thread.id} --session {thread.session_id}",
        )
    ended = sorted((one for one in threads if one.status in THREAD_ENDED), key=lambda one: one.completed_at or "")
    for thread in ended[-LOOKED_AT:]:
        for said, call in _left(look, thread):
            found += 1
            yield warning(said, "it runs unseen", call)
    if not found:
        yield ok(f"{len(threads)} children, each as the state says")


def _left(look: Look, thread: Thread) -> list[tuple[str, str]]:
    """What an ended child left at work, and how to look at it."""
    pids = look.world.runners.working([thread.id])
    found = [(f"process {pid} of '{thread.id}' runs, which is '{thread.status}'", f"ps -fp {pid}") for pid in pids]
    session = look.tx.get(Session, thread.session_id)
    if thread.tmux_pane_id is None or session is None or session.status in SESSION_ENDED:
        return found
    try:
        pane = look.world.tmux.pane(thread.tmux_pane_id, children.tmux_tag(look.flow, thread.session_id))
    except CodestratorError:
        return found  # a tmux that does not answer shows no pane
    if pane is not None and not pane.dead:
        socket = f"-S {look.settings.tmux_socket} " if look.settings.tmux_socket else ""
        call = f"tmux {socket}capture-pane -p -t {pane.id}"
        found.append((f"a program runs in pane '{pane.id}' of '{thread.id}', which is '{thread.status}'", call))
    return found
