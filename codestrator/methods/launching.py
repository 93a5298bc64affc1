"""The program of a child brought up: a pane of the session's viewer, or a process of its own with a log."""

from pathlib import Path
from typing import Any

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, External
from codestrator.methods import children, stopping, waiting, watching
from codestrator.methods.orders import Order
from codestrator.methods.system import INSTALL_HINT
from codestrator.records import THREAD_ENDED, Directive, Session, Thread, Worktree
from codestrator.text import one_line

READY_SECONDS = 30
CAPTURED_LINES = 100


def check_tmux(flow: Flow, needed: bool) -> None:
    """Refuse where a pane is wanted and there is no tmux."""
    if needed and flow.world.tmux.version() is None:
        raise External(
            "tmux is not installed, expected it for the pane",
            hint=f"{INSTALL_HINT} Or give ensure_tmux false: the child then runs without a pane.",
            program="tmux",
        )


def launch(flow: Flow, order: Order, thread: Thread) -> dict[str, Any]:
    """Start the runner and wait until it reports; whatever fails leaves no pane, no process and a failed thread."""
    try:
        place = _start(flow, order, thread)
        check = _wait(flow, order, thread.id)
        if order.replaces is not None:
            _replace(flow, order.replaces, order.directive, thread.id, check)
    except BaseException as error:
        _take_back(flow, thread.id, error)
        raise
    tx = flow.read()
    version = flow.world.tmux.version()
    session, now = tx.require(Session, order.session.id), tx.require(Thread, thread.id)
    return {
        "thread": children.in_sight(tx, now),
        "attach_info": watching.attach(flow, tx, session, now),
        "tmux": {
            "status": "ready" if version else "manual_required",
            "tmux_path": version[0] if version else None,
            "session": place.get("tmux_session_name"),
            "ready_check": check,
        },
        "preflight": order.preflight,
    }


def _take_back(flow: Flow, thread_id: str, error: BaseException) -> None:
    """End its processes and its pane, and publish why it failed; its worktree and its log stay."""
    reason = error.message if isinstance(error, CodestratorError) else type(error).__name__
    try:
        stopping.put_down(flow, thread_id)
        thread = flow.read().require(Thread, thread_id)
        if thread.tmux_pane_id:
            flow.world.tmux.end_pane(thread.tmux_pane_id, children.tmux_tag(flow, thread.session_id))
    finally:
        flow.transact(lambda tx: _failed(tx, thread_id, reason), thread_id)
        flow.world.live.leave(thread_id)


def _failed(tx: Tx, thread_id: str, reason: str) -> None:
    thread = tx.require(Thread, thread_id)
    if thread.status not in THREAD_ENDED:
        children.end(tx, thread, "failed", reason=reason)


def marks(flow: Flow, thread: Thread) -> dict[str, str]:
    """What marks the processes of a child; only the private file proves anything."""
    return {
        "CODESTRATOR_RUNNER_MODE": "child",
        "CODESTRATOR_SESSION_ID": thread.session_id,
        "CODESTRATOR_THREAD_ID": thread.id,
        "CODESTRATOR_THREAD_ROLE": thread.role,
        "CODESTRATOR_THREAD_FILE": str(flow.world.files.root / "threads" / f"{thread.id}.json"),
    }


def _start(flow: Flow, order: Order, thread: Thread) -> dict[str, Any]:
    """In a pane where there is tmux, else detached; the thread is then initializing."""
    folder = _folder(flow.read(), flow, thread)
    command = flow.world.runners.command("runner", thread.id) if order.launches else []
    if flow.world.tmux.version() is not None:
        place = _in_pane(flow, order, thread, folder, command)
    else:
        place = _detached(flow, thread, folder, command)

    try:
        flow.transact(lambda tx: _record(tx, order, thread.id, place), thread.id)
    except BaseException:
        if "tmux_pane_id" in place:  # nobody else knows of it
            flow.world.tmux.end_pane(place["tmux_pane_id"], children.tmux_tag(flow, thread.session_id))
        raise
    return place


def _record(tx: Tx, order: Order, thread_id: str, place: dict[str, Any]) -> None:
    """Where it is; a pane that was used again is no longer that of the child before."""
    now = tx.require(Thread, thread_id)
    status = "initializing" if now.status == "planned" and order.launches else now.status
    pane_id = place.get("tmux_pane_id")
    for one in tx.found(Thread, session_id=now.session_id) if pane_id else ():
        if one.id != thread_id and one.tmux_pane_id == pane_id and one.machine == now.machine:
            tx.put(one.but(tmux_pane_id=None))
    tx.put(now.but(status=status, **place))
    session, name = tx.require(Session, now.session_id), place.get("tmux_session_name")
    if name and order.want.tmux_session_name not in (None, session.tmux_session_name):
        name = session.tmux_session_name or name  # one of its own beside the session's
    if name and (session.tmux_session_name, session.runtime_state) != (name, "tmux_ready"):
        tx.put(session.but(tmux_session_name=name, runtime_state="tmux_ready"))


def _folder(tx: Tx, flow: Flow, thread: Thread) -> Path:
    worktree = tx.require(Worktree, thread.worktree_id or "")
    return flow.world.repo / worktree.places[tx.machine].path


def _in_pane(flow: Flow, order: Order, thread: Thread, folder: Path, command: list[str]) -> dict[str, Any]:
    want, session, tmux = order.want, order.session, flow.world.tmux
    tag = children.tmux_tag(flow, session.id)
    asked = want.tmux_session_name or session.tmux_session_name or "codestrator"
    overview = flow.world.runners.command("watch")
    name = tmux.ensure_session(asked, tag, folder=folder, overview=overview, env={})
    ended = [one for one in flow.read().found(Thread, session_id=session.id) if one.status in THREAD_ENDED]
    pane_id = tmux.open_pane(
        name,
        tag,
        window=want.tmux_window_name,
        folder=folder,
        command=command,
        env=marks(flow, thread),
        title=thread.title,
        vertical=want.split_direction == "vertical",
        view_only=want.interaction_mode == "view_only",
        reuse=[one.tmux_pane_id for one in ended if one.tmux_pane_id and one.machine == flow.settings.machine],
    )
    pane = tmux.pane(pane_id, tag)
    log = str(log_of(flow, thread.id))
    return {
        "tmux_session_name": name,
        "tmux_window_name": pane.window if pane else want.tmux_window_name,
        "tmux_pane_id": pane_id,
        "pid": pane.pid if pane and command else None,
        "log_file_path": log,
    }


def log_of(flow: Flow, thread_id: str) -> Path:
    return flow.world.files.root / "logs" / f"{thread_id}.log"


def _detached(flow: Flow, thread: Thread, folder: Path, command: list[str]) -> dict[str, Any]:
    flow.world.files.write(f"logs/{thread.id}.log", b"")
    log = log_of(flow, thread.id)
    if not command:
        return {"log_file_path": str(log)}
    pid, _ = flow.world.runners.start(command, folder, marks(flow, thread), log)
    return {"pid": pid, "log_file_path": str(log)}


def _wait(flow: Flow, order: Order, thread_id: str) -> str:
    """`ready`, `timeout`, `skipped`, or `detached`: ready without a pane; a runner that ends at once is an error."""
    if order.want.skip_ready_check or not order.launches:
        return "skipped"

    def look(tx: Tx) -> Thread | None:
        thread = tx.require(Thread, thread_id)
        if thread.status in ("planned", "initializing"):
            return None if _alive(flow, tx, thread) else thread
        return thread

    found = waiting.first(flow, READY_SECONDS, look)
    if found is None:
        return "timeout"
    if found.started_at is None:
        words = _last_words(flow, found)
        why = found.reason or one_line(words.rpartition("\n")[2])[:300] or "no word"
        raise External(
            f"the runner of '{thread_id}' ended before its first report, expected one: {why}",
            hint="Look at what it said last; thread.child.directive with mode restart tries again.",
            program="codestrator runner",
            thread_id=thread_id,
            last_line=words,
        )
    return "ready" if found.tmux_pane_id else "detached"


def _alive(flow: Flow, tx: Tx, thread: Thread) -> bool:
    if tx.live.held(thread.id) or thread.pid is None:
        return True
    if thread.tmux_pane_id:
        pane = flow.world.tmux.pane(thread.tmux_pane_id, children.tmux_tag(flow, thread.session_id))
        return pane is not None and not pane.dead
    return flow.world.runners.alive(thread.pid)


def _last_words(flow: Flow, thread: Thread) -> str:
    """What its runner said last: on its pane, or in its log."""
    if thread.tmux_pane_id:
        tag = children.tmux_tag(flow, thread.session_id)
        try:
            said = flow.world.tmux.capture(thread.tmux_pane_id, tag, CAPTURED_LINES)
        except CodestratorError:
            return ""
    else:
        said = (flow.world.files.read(f"logs/{thread.id}.log") or b"")[-10_000:].decode("utf-8", "replace")
    lines = [line.rstrip() for line in said.splitlines() if line.strip() and not line.startswith("Pane is dead")]
    return "\n".join(lines[-10:])[-2000:]


def _replace(flow: Flow, old: Thread, directive: Directive | None, new_id: str, check: str) -> None:
    """The new one is ready: the old one is stopped, the directive applied."""
    if check == "timeout":
        raise External(
            f"'{new_id}' did not report within {READY_SECONDS} s, expected it to take over; '{old.id}' goes on",
            hint="Send the directive again.",
            program="codestrator runner",
        )

    def publish(tx: Tx) -> None:
        thread = tx.require(Thread, old.id)
        if directive is not None:
            sent = tx.require(Directive, directive.id)
            tx.put(sent.but(state="applied", delivered_at=tx.at, applied_at=tx.at, turn=1, detail=f"by '{new_id}'"))
        if thread.status not in THREAD_ENDED:
            children.end(tx, thread, "stopped", reason=f"replaced by '{new_id}'")

    flow.transact(publish, old.id)  # with that its claim is free, and its runner ends by itself
    stopping.put_down(flow, old.id, grace=stopping.GRACE_SECONDS)
