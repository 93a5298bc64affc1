"""What a brief says of children: how they are, what they wait for, and what was sent to them."""

from typing import Any

from codestrator.calls import Flow, Tx
from codestrator.methods import children
from codestrator.methods.pointing import active_ref
from codestrator.model import shown
from codestrator.records import THREAD_ENDED, Directive, Message, Session, Thread
from codestrator.table import TOOL_OF

WAITED_FOR = 3
TIMES = ("created_at", "expires_at", "delivered_at")


def call(method: str, params: dict[str, Any], why: str) -> dict[str, Any]:
    """One call to make next, as the tools take it."""
    return {"tool": TOOL_OF[method], "method": method, "params": params, "why": why}


def of_session(tx: Tx, session: Session) -> list[Thread]:
    """The children of a session, those that live first, then by age; no root that made way for a resumed one."""
    found = [one for one in tx.found(Thread, session_id=session.id) if one.parent_thread_id]
    return sorted(found, key=lambda one: (one.status in THREAD_ENDED, one.created_at, one.id))


def entry(tx: Tx, child: Thread) -> dict[str, Any]:
    """A child in one line: who it is, what it does, what it said last."""
    seen = children.in_sight(tx, child)
    said = child.final_message or child.reason if child.status in THREAD_ENDED else None
    ref = active_ref(child)
    found = {
        "id": child.id,
        "role": child.role,
        "title": child.title,
        "status": child.status,
        "case_id": ref.node_id if ref and ref.node_type == "case" else None,
        "last_report": said or seen.get("progress"),
        "reported_at": seen.get("reported_at"),
        "blocker": child.blocker,
    }
    return {name: value for name, value in found.items() if value}


def waited_for(tx: Tx, session: Session) -> list[dict[str, Any]]:
    """The calls that wait for children at work."""
    targets = ["completed", "failed", "waiting"]
    return [
        call("thread.child.wait_status", {"thread_id": one.id, "target_statuses": targets}, f"'{one.title}' is at work")
        for one in of_session(tx, session)
        if one.status in ("initializing", "running")
    ][:WAITED_FOR]


def decisions(tx: Tx, session: Session) -> list[dict[str, Any]]:
    """What children wait for: an answer to a question, or a way around what stops them."""
    found = []
    for child in of_session(tx, session):
        if child.status != "waiting":
            continue
        answer = call("thread.child.directive", {"thread_id": child.id, "directive": "…"}, "once it is decided")
        what, why = ("is blocked", child.blocker) if child.blocker else ("asks", question(tx, session, child))
        if why:
            found.append({"what": f"'{child.title}' ({child.id}) {what}", "why": why, "options": [answer]})
    return found


def question(tx: Tx, session: Session, child: Thread) -> str | None:
    """The last that it wrote to the root."""
    rows = tx.where(Message, sender_thread_id=child.id, receiver_thread_id=session.root_thread_id)
    newest = max(rows, key=lambda row: (row.created_at, row.id), default=None)
    return tx.require(Message, newest.id).text if newest else None


def directives(flow: Flow, tx: Tx, session: Session, thread: Thread) -> list[dict[str, Any]]:
    """What was sent to it, or by it to its children: open, or expired since it was last told."""
    is_root = thread.id == session.root_thread_id
    threads = [one.id for one in of_session(tx, session)] if is_root else [thread.id]
    sent = [one for name in threads for one in tx.found(Directive, thread_id=name)]
    since = (flow.world.live.told(f"{thread.id}.brief") or b"").decode()
    if flow.seat.kind in ("root", "child"):  # a person who looks takes nothing away from the agent
        flow.world.live.tell(f"{thread.id}.brief", tx.at.encode())
    found = []
    for one in sorted(sent, key=lambda one: (one.created_at, one.id)):
        state = children.state_of(tx, one)
        if one.mode == "restart" and not is_root:
            continue
        if state in ("queued", "delivered") or (state == "expired" and one.expires_at > since):
            known = shown(one)
            whose = {"thread_id": one.thread_id} if is_root else {}
            times = {name: known[name] for name in TIMES if name in known}
            found.append({"id": one.id, "mode": one.mode, "state": state} | whose | times)
    return found
