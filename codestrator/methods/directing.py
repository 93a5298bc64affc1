"""What a root tells its children while they work: directives with receipts, and interrupts."""

from datetime import timedelta
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.clock import rfc3339
from codestrator.errors import Forbidden
from codestrator.methods import children, spawning, waiting, who
from codestrator.methods.paging import page
from codestrator.model import shown as as_seen
from codestrator.params import Message, Paged, Params, SessionId, ThreadId
from codestrator.records import THREAD_ENDED, Directive, DirectiveMode, DirectiveState, Session, Thread


class Direct(Params, frozen=True, kw_only=True):
    thread_id: ThreadId
    directive: Message
    mode: Annotated[
        DirectiveMode,
        Meta(description="interrupt_patch: cut the turn off; queue: after it; restart: a new thread, same worktree"),
    ] = "interrupt_patch"
    expires_seconds: Annotated[int, Meta(ge=30, le=86400)] = 900
    wait_seconds: Annotated[waiting.WaitSeconds, Meta(description="until it is applied")] = 0


class Interrupt(Params, frozen=True, kw_only=True):
    thread_id: ThreadId
    wait_seconds: waiting.WaitSeconds = 10


class Listing(Paged, frozen=True, kw_only=True):
    thread_id: ThreadId | None = None
    session_id: SessionId | None = None
    state: tuple[DirectiveState, ...] = ()
    wait_seconds: Annotated[waiting.WaitSeconds, Meta(description="until one matches")] = 0


def directive(flow: Flow, want: Direct) -> dict[str, Any]:
    """Tell a child something while it works: at once, after its turn, or by starting it anew."""
    if want.mode == "restart":
        return _restart(flow, want)
    sent = flow.transact(lambda tx: _send(tx, want), want.thread_id)
    result: dict[str, Any] = {"result": "directive_sent", "mode": want.mode}

    def look(tx: Tx) -> Directive | None:
        found = tx.require(Directive, sent.id)
        return found if children.state_of(tx, found) not in ("queued", "delivered") else None

    found = waiting.first(flow, want.wait_seconds, look) if want.wait_seconds else None
    tx = flow.read()
    result["directive"] = shown(tx, found or tx.require(Directive, sent.id))
    result["thread"] = children.in_sight(tx, tx.require(Thread, want.thread_id))
    return result | ({"timed_out": True} if want.wait_seconds and found is None else {})


def _check(tx: Tx, want: Direct) -> Session:
    """Refuse a thread that cannot be told anything; a new one may take the place of one that has ended."""
    session, thread = children.child(tx, want.thread_id)
    who.active_session(tx, session.id)
    ended = THREAD_ENDED if want.mode == "restart" else ()
    hint = "Start it anew: the same call with mode restart."
    if thread.status == "planned":
        hint = "Wait until it runs: thread.child.wait_status; one that has no agent can only be stopped."
    children.expect(thread, "initializing", *children.WORKING, *ended, hint=hint)
    return session


def _send(tx: Tx, want: Direct) -> Directive:
    session = _check(tx, want)
    expires = tx.now.at + timedelta(seconds=want.expires_seconds)
    return tx.put(
        Directive(
            id=tx.mint("dir"),
            thread_id=want.thread_id,
            text=want.directive,
            mode=want.mode,
            sender_thread_id=tx.caller.thread_id or session.root_thread_id,
            expires_at=rfc3339(expires),
        )
    )


def _restart(flow: Flow, want: Direct) -> dict[str, Any]:
    """A new thread with all settings of the old one; the old one is stopped once the new one is ready."""
    _check(flow.read(), want)
    order = spawning.anew(flow, want.thread_id)
    sent = flow.transact(lambda tx: _send(tx, want), want.thread_id)
    try:
        made = spawning.carry_out(flow, order._replace(directive=sent))
    except BaseException as error:
        detail = str(error)[:500]
        flow.transact(lambda tx: tx.put(tx.require(Directive, sent.id).but(state="failed", detail=detail)), sent.id)
        raise
    tx = flow.read()
    return {
        "result": "respawned_with_directive",
        "mode": want.mode,
        "directive": shown(tx, tx.require(Directive, sent.id)),
        "replaces_thread_id": want.thread_id,
    } | made


def interrupt(flow: Flow, want: Interrupt) -> dict[str, Any]:
    """Cancel the turn that a child is at; it then waits for what it is told next."""

    def ask(tx: Tx) -> Thread:
        _, thread = children.child(tx, want.thread_id)
        mode = ", with mode restart" if thread.status in THREAD_ENDED else ""
        children.expect(thread, "running", hint=f"Send a directive{mode}: it begins the next turn.")
        return tx.put(thread.but(status="interrupted", interrupts=thread.interrupts + 1))

    number = flow.transact(ask, want.thread_id).interrupts

    def obeyed(tx: Tx) -> bool | None:
        return True if children.told(tx, want.thread_id).interrupts >= number else None

    acknowledged = waiting.first(flow, want.wait_seconds, obeyed) is not None
    tx = flow.read()
    thread = children.in_sight(tx, tx.require(Thread, want.thread_id))
    return {"thread": thread, "result": "interrupt_sent", "acknowledged": acknowledged}


def listing(flow: Flow, want: Listing) -> dict[str, Any]:
    """List directives, oldest first, with their receipts; with wait_seconds it waits for the first that matches."""

    def look(tx: Tx) -> dict[str, Any] | None:
        found = page(tx, want, lambda then: _listed(then, want), lambda then, one: item(then, one))
        return found if found["items"] else None

    found = waiting.first(flow, want.wait_seconds, look)
    return found or {"items": [], "count": 0} | ({"timed_out": True} if want.wait_seconds else {})


def _listed(tx: Tx, want: Listing) -> list[Directive]:
    thread_id = want.thread_id or (tx.caller.thread_id if tx.caller.kind == "child" else None)
    if thread_id is not None:
        _check_may_read(tx, tx.require(Thread, thread_id))
        threads = [thread_id]
    else:
        session = who.session_of(tx, want.session_id)
        threads = [row.id for row in tx.where(Thread, session_id=session.id)]
    found = [one for thread_id in threads for one in tx.found(Directive, thread_id=thread_id)]
    if tx.caller.kind == "child":  # a restart is for the one that follows it
        found = [one for one in found if one.mode != "restart"]
    wanted = [one for one in found if not want.state or children.state_of(tx, one) in want.state]
    return sorted(wanted, key=lambda one: (one.created_at, one.id))


def _check_may_read(tx: Tx, thread: Thread) -> None:
    """A child reads its own, a root those of its session; a shell that only looks on may see all."""
    own = thread.id == tx.caller.thread_id if tx.caller.kind == "child" else who.owns(tx, thread.session_id)
    if not own and tx.caller.kind != "bystander":
        raise Forbidden(
            f"'{thread.id}' of '{thread.session_id}' is not the caller's, expected "
            + ("its own thread" if tx.caller.kind == "child" else "a thread of its session"),
            hint="Leave thread_id out.",
            role=tx.caller.role,
            needs="its own thread" if tx.caller.kind == "child" else "the root of its session",
        )


def shown(tx: Tx, one: Directive) -> dict[str, Any]:
    return as_seen(one) | {"state": children.state_of(tx, one)}


def item(tx: Tx, one: Directive) -> dict[str, Any]:
    found = shown(tx, one)
    names = ("thread_id", "mode", "text", "created_at", "delivered_at", "applied_at", "turn", "expires_at", "detail")
    kept = {name: found[name] for name in names if name in found}
    return {"directive_id": one.id, "state": found["state"], "sender": one.sender_thread_id} | kept
