"""How children are: listed, looked at closely, waited for, and where a person can watch them."""

import shlex
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Forbidden, InvalidParams
from codestrator.methods import children, reconciling, waiting, who
from codestrator.methods.paging import page
from codestrator.methods.pointing import active_ref
from codestrator.params import Paged, Params, SessionId, ThreadId, Title
from codestrator.records import THREAD_ENDED, Session, Thread, ThreadStatus
from codestrator.text import waits_for
from codestrator.threadfiles import Told

STATUSES = (*children.LIVE, *THREAD_ENDED)


class Listing(Paged, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    parent_thread_id: ThreadId | None = None
    status: ThreadStatus | None = None
    role: Title | None = None
    include_root: bool = True


class Status(Params, frozen=True, kw_only=True):
    thread_id: ThreadId
    capture_lines: Annotated[int, Meta(ge=1, le=2000)] = 200


class WaitStatus(Params, frozen=True, kw_only=True):
    thread_id: ThreadId
    target_statuses: Annotated[tuple[str, ...], Meta(description="of a thread or its provider")]
    timeout_seconds: Annotated[int, Meta(ge=0, description="at most 50")] = 45
    since_turn: Annotated[int, Meta(ge=0, description="only a later turn counts")] | None = None


class AttachInfo(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    thread_id: ThreadId | None = None


def listing(tx: Tx, want: Listing) -> dict[str, Any]:
    """List the threads of a session, oldest first, with what each last reported and what is open for it."""
    session = who.session_of(tx, want.session_id)

    def listed(then: Tx) -> list[Thread]:
        found = [one for one in then.found(Thread, session_id=session.id) if _wanted(one, want)]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    return page(tx, want, listed, _item)


def _wanted(thread: Thread, want: Listing) -> bool:
    return (
        want.parent_thread_id in (None, thread.parent_thread_id)
        and want.status in (None, thread.status)
        and want.role in (None, thread.role)
        and (want.include_root or thread.parent_thread_id is not None)
    )


def _item(tx: Tx, thread: Thread) -> dict[str, Any]:
    seen = children.in_sight(tx, thread)
    seen.pop("task_spec", None)
    ref = active_ref(thread)
    found: dict[str, Any] = {"thread": seen, "open_directives": len(children.open_directives(tx, thread.id))}
    if ref and ref.node_type == "case":
        found["case_id"] = ref.node_id
    report = {name: seen[name] for name in ("turn", "progress", "blocker", "reported_at") if name in seen}
    return found | ({"last_report": report} if "reported_at" in report else {})


def status(flow: Flow, want: Status) -> dict[str, Any]:
    """Look at one child: what it reports, whether its process lives, and what its pane shows."""
    session, thread = children.child(flow.read(), want.thread_id)
    if reconciling.vanished(flow, thread):
        reconciling.settle(flow, thread.id)
    tx = flow.read()
    thread = tx.require(Thread, thread.id)
    said = children.told(tx, thread.id)
    result: dict[str, Any] = {
        "thread_id": thread.id,
        "db_status": thread.status,
        "process_alive": tx.live.held(thread.id),
        "provider_status": provider_status(thread, said),
        "detection_tier": "report" if said.reported_at or thread.reported_at else "process",
        "turn": max(thread.turn, said.turn),
        "progress": said.progress or thread.progress,
        "blocker": thread.blocker,
        "last_response": said.last_response or thread.final_message,
        "reported_at": said.reported_at or thread.reported_at,
    }
    result |= _pane(flow, session, thread, want.capture_lines)
    if thread.resolved_runner_kind == "command" and thread.status == "running":
        shows = waits_for(result.get("screen", ""))
        result |= {"provider_status": shows, "detection_tier": "screen"} if shows else {}
    return {name: value for name, value in result.items() if value is not None}


def provider_status(thread: Thread, said: Told) -> str | None:
    """What its agent does: as it ended, what it waits for, or what its runner said."""
    ended = {"completed": "completed", "failed": "error"}.get(thread.status)
    waits = "waiting_user_answer" if thread.status == "waiting" else None
    return ended or waits or (said.provider_status if thread.status not in THREAD_ENDED else None)


def _pane(flow: Flow, session: Session, thread: Thread, lines: int) -> dict[str, Any]:
    if thread.tmux_pane_id is None or thread.machine != flow.settings.machine:
        return {"pane_exists": False}
    tag, exists = children.tmux_tag(flow, session.id), False
    try:
        exists = flow.world.tmux.pane(thread.tmux_pane_id, tag) is not None
        screen = {"screen": flow.world.tmux.capture(thread.tmux_pane_id, tag, lines)} if exists else {}
    except CodestratorError as error:
        screen = {"capture_error": error.message}
    return {"pane_exists": exists, **screen}


def wait_status(flow: Flow, want: WaitStatus) -> dict[str, Any]:
    """Wait until a child has one of these statuses, or has ended in any way."""
    known = (*STATUSES, *children.PROVIDER)
    wrong = [one for one in want.target_statuses if one not in known]
    if wrong or not want.target_statuses:
        found = wrong[0][:80] if wrong else "nothing"
        raise InvalidParams(
            f"'target_statuses' has '{found}', expected some of {', '.join(known)}",
            field="target_statuses",
            found=found,
            expected=list(known),
        )
    begun = flow.now().boot_ms
    children.child(flow.read(), want.thread_id)
    achieved = waiting.first(flow, want.timeout_seconds, lambda tx: _achieved(flow, tx, want))
    tx = flow.read()
    thread = tx.require(Thread, want.thread_id)
    said = children.told(tx, thread.id)
    result: dict[str, Any] = {
        "thread_id": thread.id,
        "turn": max(thread.turn, said.turn),
        "last_response": thread.final_message or said.last_response,
        "elapsed_ms": flow.now().boot_ms - begun,
        "achieved_status": achieved or thread.status,
        "timed_out": True if achieved is None else None,
    }
    return {name: value for name, value in result.items() if value is not None}


def _achieved(flow: Flow, tx: Tx, want: WaitStatus) -> str | None:
    thread = tx.require(Thread, want.thread_id)
    if thread.status not in THREAD_ENDED and reconciling.vanished(flow, thread):
        reconciling.settle(flow, thread.id)
        thread = flow.read().require(Thread, thread.id)
    if thread.status in THREAD_ENDED:
        return thread.status
    said = children.told(tx, thread.id)
    if want.since_turn is not None and max(thread.turn, said.turn) <= want.since_turn:
        return None
    now: tuple[str | None, ...] = (thread.status, provider_status(thread, said))
    return next((one for one in now if one in want.target_statuses), None)


def attach_info(flow: Flow, want: AttachInfo) -> dict[str, Any]:
    """Tell how a person can watch the children: read-only, without disturbing them."""
    tx = flow.read()
    session = who.session_of(tx, want.session_id)
    thread = tx.require(Thread, want.thread_id or session.root_thread_id)
    if thread.session_id != session.id:
        raise Forbidden(
            f"'{thread.id}' belongs to '{thread.session_id}', expected a thread of '{session.id}'",
            role=tx.caller.role,
            needs=f"a thread of '{session.id}'",
        )
    return attach(flow, tx, session, thread)


def attach(flow: Flow, tx: Tx, session: Session, thread: Thread) -> dict[str, Any]:
    name = thread.tmux_session_name or session.tmux_session_name or ""
    here = session.machine == tx.machine
    socket = flow.settings.tmux_socket
    option: list[str] = [] if socket is None else ["-S" if "/" in socket else "-L", socket]
    attach_command = shlex.join(["tmux", *option, "attach", "-r", "-t", name])
    return {
        "available": bool(here and name and flow.world.tmux.session_alive(name)),
        "tmux_session": name,
        "expected_session": session.tmux_session_name,
        "tmux_pane_id": thread.tmux_pane_id,
        "read_only": True,
        "attach_command": attach_command,
        "attach_readonly_command": attach_command,
        "switch_command": shlex.join(["tmux", *option, "switch-client", "-r", "-t", name]),
    }
