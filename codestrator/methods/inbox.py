"""Messages between the threads of one session: written, waited for, marked as delivered."""

from datetime import timedelta
from itertools import count
from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator import ids, params
from codestrator.calls import Flow, Tx
from codestrator.clock import rfc3339
from codestrator.errors import AmbiguousId, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.methods import waiting, who
from codestrator.methods.paging import page
from codestrator.params import MessageId, Paged, Params, ThreadId
from codestrator.records import THREAD_ENDED, Message, Session, Thread

ROOT = "root"
Status = Literal["pending", "delivered"]


class Send(Params, frozen=True, kw_only=True):
    receiver_thread_id: Annotated[str, Meta(description="a thread of the same session, or 'root'")]
    message: params.Message
    sender_thread_id: ThreadId | None = None


class Pending(Paged, frozen=True, kw_only=True):
    receiver_thread_id: ThreadId | None = None
    after_id: Annotated[MessageId | None, Meta(description="only what came after that message")] = None
    wait_seconds: waiting.WaitSeconds = 0


class Listing(Paged, frozen=True, kw_only=True):
    thread_id: ThreadId | None = None
    after_id: Annotated[MessageId | None, Meta(description="only what came after that message")] = None
    status: Status | None = None


class Deliver(Params, frozen=True, kw_only=True):
    message_id: MessageId


def send(tx: Tx, want: Send) -> dict[str, Any]:
    """Send a message to a thread of the same session; a child writes to the root or its parent, the root to any."""
    sender = _mailbox(tx, want.sender_thread_id)
    session = who.active_session(tx, sender.session_id)
    who.thread_of(tx, sender.id, session)
    receiver = tx.require(Thread, _whole(tx, want.receiver_thread_id, session))
    _check_receiver(tx, sender, receiver, session)
    message = Message(
        id=tx.mint("msg"),
        sender_thread_id=sender.id,
        receiver_thread_id=receiver.id,
        session_id=session.id,
        text=want.message,
        status="pending",
        created_at=_next_time(tx, receiver.id),
    )
    return {"message": tx.put(message)}


def _next_time(tx: Tx, receiver_id: str) -> str:
    """Now, or the first millisecond after it that no message there has: they are read in this order."""
    taken = {row.created_at for row in tx.where(Message, receiver_thread_id=receiver_id)}
    times = (rfc3339(tx.now.at + timedelta(milliseconds=more)) for more in count())
    return next(one for one in times if one not in taken)


def pending(flow: Flow, want: Pending) -> dict[str, Any]:
    """List the messages that wait for a thread, oldest first; marks none. With wait_seconds it waits for the first."""

    def look(tx: Tx) -> dict[str, Any] | None:
        receiver = _mailbox(tx, want.receiver_thread_id)
        found = page(tx, want, lambda then: _waiting_for(then, receiver.id, want.after_id), _shown)
        return found if found["items"] else None

    found = waiting.first(flow, want.wait_seconds, look)
    if found is not None:
        return found
    return {"items": [], "count": 0} | ({"timed_out": True} if want.wait_seconds else {})


def listing(tx: Tx, want: Listing) -> dict[str, Any]:
    """List the messages that a thread sent or received, oldest first."""
    thread = _mailbox(tx, want.thread_id)

    def listed(then: Tx) -> list[Any]:
        rows = {
            row.id: row
            for side in ("sender_thread_id", "receiver_thread_id")
            for row in then.where(Message, **{side: thread.id})
            if want.status in (None, row.status)
        }
        return _after(then, list(rows.values()), want.after_id)

    return page(tx, want, listed, lambda then, row: then.require(Message, row.id))


def deliver(tx: Tx, want: Deliver) -> dict[str, Any]:
    """Mark a message as delivered: by its receiver or the root; again changes nothing."""
    message = tx.require(Message, want.message_id)
    mine = tx.caller.kind != "child" or message.receiver_thread_id == tx.caller.thread_id
    if not mine or not who.owns(tx, message.session_id):
        raise Forbidden(
            f"'{message.id}' is for '{message.receiver_thread_id}', expected a message to the caller",
            hint="Call inbox.pending for the caller's own messages.",
            role=tx.caller.role,
            needs="its receiver or the root",
        )
    if message.status == "pending":
        message = tx.put(message.but(status="delivered", delivered_at=tx.at))
    return {"message": message}


def pending_count(tx: Tx, thread_id: str) -> int:
    return len(tx.where(Message, receiver_thread_id=thread_id, status="pending"))


def _mailbox(tx: Tx, thread_id: str | None) -> Thread:
    """The thread named, or the caller's own; a child's only its own, a root's any of its sessions."""
    if thread_id is None:
        thread_id = tx.caller.thread_id or who.session_of(tx, None).root_thread_id
    thread = tx.require(Thread, thread_id)
    if not who.owns(tx, thread.session_id) or (tx.caller.kind == "child" and thread_id != tx.caller.thread_id):
        raise Forbidden(
            f"'{thread_id}' is not the caller's, expected the caller's own thread",
            hint="Leave the thread out: it defaults to the caller's own.",
            role=tx.caller.role,
            needs="its own thread",
        )
    return thread


def _whole(tx: Tx, given: str, session: Session) -> str:
    """The receiver's whole id; `root` and the beginning of an id are understood."""
    if given.strip().lower() == ROOT:
        return session.root_thread_id
    if not (ids.is_start(given) and ids.prefix_of(given) == "thr"):
        raise InvalidParams(
            f"'receiver_thread_id' is '{given[:80]}', expected a thread's id or '{ROOT}'",
            field="receiver_thread_id",
            found=given[:80],
            expected=f"'thr-…' or '{ROOT}'",
        )
    found = [given] if ids.is_whole(given) else tx.base.starting(given, [Thread])
    if not found:
        raise NotFound(f"no thread '{given}'", kind="thread", id=given, field="receiver_thread_id")
    if len(found) > 1:
        raise AmbiguousId(
            f"'{given}' matches {len(found)} threads, expected exactly one",
            hint="Give more characters of the id.",
            candidates=[{"id": one, "title": tx.require(Thread, one).title} for one in found[:10]],
        )
    return found[0]


def _check_receiver(tx: Tx, sender: Thread, receiver: Thread, session: Session) -> None:
    if receiver.id == sender.id:
        raise InvalidParams(
            f"'receiver_thread_id' is the sender '{sender.id}', expected another thread",
            field="receiver_thread_id",
            found=receiver.id,
            expected="another thread of the session",
        )
    is_root = sender.id == session.root_thread_id
    allowed = is_root or receiver.id in (session.root_thread_id, sender.parent_thread_id)
    if receiver.session_id != session.id or not allowed:
        raise Forbidden(
            f"'{receiver.id}' may not be written to by '{sender.id}', expected "
            + ("a thread of the same session" if is_root else "the root or its parent"),
            hint="Send to 'root'." if not is_root else "Call thread.child.list for the threads of this session.",
            role=tx.caller.role,
            needs="a receiver in the same session",
        )
    if receiver.status in THREAD_ENDED:
        raise WrongState(
            f"'{receiver.id}' is '{receiver.status}', expected a thread that has not ended",
            hint="Send to 'root'." if not is_root else "Call thread.child.list for the threads that run.",
            found=receiver.status,
            expected=["running", "waiting", "interrupted"],
        )


def _waiting_for(tx: Tx, thread_id: str, after_id: str | None) -> list[Any]:
    return _after(tx, tx.where(Message, receiver_thread_id=thread_id, status="pending"), after_id)


def _after(tx: Tx, rows: list[Any], after_id: str | None) -> list[Any]:
    """Oldest first; only those that came after a message."""
    rows = sorted(rows, key=lambda row: (row.created_at, row.id))
    if after_id is None:
        return rows
    mark = tx.require(Message, after_id)
    return [row for row in rows if (row.created_at, row.id) > (mark.created_at, mark.id)]


def _shown(tx: Tx, row: Any) -> dict[str, Any]:
    message = tx.require(Message, row.id)
    return {
        "id": message.id,
        "sender": message.sender_thread_id,
        "text": message.text,
        "created_at": message.created_at,
    }
