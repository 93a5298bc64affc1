"""What a child reports of itself: progress beside the state, all else published; and what it is told in return."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator import params, threadfiles
from codestrator.calls import Flow, Tx
from codestrator.errors import Forbidden, NotFound, WrongState
from codestrator.methods import children, letters, who
from codestrator.params import AnyId, Params, Summary, ThreadId
from codestrator.records import THREAD_ENDED, Directive, Message, Session, Thread
from codestrator.threadfiles import Told

ORDER = ("queued", "delivered", "applied", "failed")


class Receipt(Params, frozen=True, kw_only=True):
    directive_id: AnyId
    state: Literal["delivered", "applied", "failed"]
    detail: Summary | None = None


class Report(Params, frozen=True, kw_only=True):
    thread_id: ThreadId | None = None
    status: Literal["running", "waiting", "completed", "failed"] | None = None
    turn: Annotated[int, Meta(ge=0)] | None = None
    progress: Summary | None = None
    blocker: Annotated[Summary | None, Meta(description="what stops it; its case becomes blocked")] = None
    question: Annotated[Summary | None, Meta(description="for the root's inbox; the thread then waits")] = None
    final_message: Annotated[params.Message | None, Meta(description="the result; with status completed or failed")] = (
        None
    )
    exit_status: int | None = None
    pid: int | None = None
    receipts: tuple[Receipt, ...] = ()


def report(flow: Flow, want: Report) -> dict[str, Any]:
    """Tell how far this child is, what stops it, or how it ended; answers with what was sent to it.

    What changes only progress or liveness writes no git object.
    """
    tx = flow.read()
    thread = _own(tx, want.thread_id)
    flow.world.live.renew(thread.id)
    said = _said(tx, thread, want)
    if _is_news(tx, thread, want):
        thread = flow.transact(lambda tx: _publish(tx, want, said), thread.id)
        tx = flow.read()
    if thread.status in THREAD_ENDED:
        flow.world.live.forget_told(thread.id)
    else:
        threadfiles.tell(flow.world.live, thread.id, _said(tx, thread, want))  # its runner may have spoken meanwhile
    return {
        "thread": children.in_sight(tx, thread),
        "directives": children.open_directives(tx, thread.id),
        "stop_requested": thread.stop_requested,
        "claims": children.claims(tx, thread),
    }


def _own(tx: Tx, given: str | None) -> Thread:
    thread_id = given or tx.caller.thread_id
    if thread_id is None:
        thread_id = who.session_of(tx, None).root_thread_id
    thread = tx.require(Thread, thread_id)
    if tx.caller.kind == "child" and thread_id != tx.caller.thread_id:
        raise Forbidden(
            f"'{thread_id}' is not the caller, expected '{tx.caller.thread_id}'",
            role=tx.caller.role,
            needs="its own thread",
        )
    children.child(tx, thread_id) if tx.caller.kind != "child" else None
    if thread.status in THREAD_ENDED:
        raise WrongState(
            f"'{thread.id}' is '{thread.status}', expected a thread that has not ended",
            hint="End: a thread that is over reports no more.",
            found=thread.status,
            expected=list(children.LIVE),
        )
    return thread


def _said(tx: Tx, thread: Thread, want: Report) -> Told:
    said = children.told(tx, thread.id)
    said.reported_at = tx.at
    if want.turn is not None:
        said.turn = max(want.turn, said.turn)
    if want.progress is not None:
        said.progress = want.progress
    if want.pid is not None:
        said.pid = want.pid
    if want.exit_status is not None:
        said.exit_status = want.exit_status
    return said


def _is_news(tx: Tx, thread: Thread, want: Report) -> bool:
    """Whether it must be published: a status, a receipt, a result, a word for the root; or a change of blocker."""
    status = want.status not in (None, thread.status)
    return bool(status or want.receipts or want.question or want.final_message) or want.blocker not in (
        None,
        thread.blocker,
    )


def _publish(tx: Tx, want: Report, said: Told) -> Thread:
    thread = _own(tx, want.thread_id)
    for receipt in want.receipts:
        _take(tx, thread, receipt, said.turn)
    if want.question:
        _ask(tx, thread, want.question)
    if want.blocker:
        _block(tx, thread, want.blocker)
    if want.status in ("completed", "failed"):
        reason = {"reason": want.blocker or want.final_message} if want.status == "failed" else {}
        given = {"final_message": want.final_message, "exit_status": want.exit_status, "blocker": want.blocker}
        shortened = {name: value[:2000] for name, value in reason.items() if value}
        fields = {name: value for name, value in given.items() if value is not None} | shortened
        return children.end(tx, thread, want.status, said, **fields)
    waits = bool(want.question or want.blocker)
    status = "waiting" if waits else want.status or thread.status
    applied = any(one.state == "applied" for one in want.receipts)
    blocker = want.blocker or (None if applied or status == "running" else thread.blocker)
    if thread.status == "waiting" and applied:
        status = "running"
    if status == "running" and thread.status == "interrupted" and said.interrupts < thread.interrupts:
        status = "interrupted"  # its runner has not heard of that yet
    return tx.put(
        thread.but(
            status=status,
            turn=said.turn,
            progress=said.progress or thread.progress,
            blocker=blocker,
            final_message=want.final_message or thread.final_message,
            reported_at=tx.at,
            pid=said.pid or thread.pid,
            started_at=thread.started_at or tx.at,
        )
    )


def _take(tx: Tx, thread: Thread, receipt: Receipt, turn: int) -> None:
    """A directive's states go forward only; the same receipt again changes nothing."""
    directive = tx.get(Directive, receipt.directive_id)
    if directive is None or directive.thread_id != thread.id:
        raise NotFound(
            f"no directive '{receipt.directive_id}' of '{thread.id}', expected one of thread.directive.list",
            kind="directive",
            id=receipt.directive_id,
        )
    if directive.state == receipt.state:
        return
    if directive.state not in ORDER[:2] or ORDER.index(receipt.state) < ORDER.index(directive.state):
        raise WrongState(
            f"'{directive.id}' is '{directive.state}', expected a state before '{receipt.state}'",
            hint="Call thread.directive.list for what is open.",
            found=directive.state,
            expected=receipt.state,
        )
    changes: dict[str, Any] = {"state": receipt.state, "detail": receipt.detail}
    if directive.delivered_at is None:
        changes["delivered_at"] = tx.at
    if receipt.state == "applied":
        changes |= {"applied_at": tx.at, "turn": turn}
    tx.put(directive.but(**changes))


def _ask(tx: Tx, thread: Thread, question: str) -> None:
    """Put it into the root's inbox, unless it lies there already: a report may be sent again."""
    session = tx.require(Session, thread.session_id)
    asked = tx.found(Message, sender_thread_id=thread.id, receiver_thread_id=session.root_thread_id, status="pending")
    if any(one.text == question for one in asked):
        return
    letters.post(tx, thread.id, session.root_thread_id, session.id, question)


def _block(tx: Tx, thread: Thread, blocker: str) -> None:
    task = children.active_case(tx, thread)
    if task is not None and task.status == "in_progress":
        tx.put(task.but(status="blocked", next_action=blocker))
