"""Messages that the program itself puts into an inbox, and the directives whose time has passed."""

from codestrator.calls import Tx
from codestrator.records import Directive, Message, Thread


def post(tx: Tx, sender: str, receiver: str, session_id: str, words: str) -> None:
    """Put a message into an inbox."""
    tx.put(
        Message(
            id=tx.mint("msg"),
            sender_thread_id=sender,
            receiver_thread_id=receiver,
            session_id=session_id,
            text=words,
            status="pending",
        )
    )


def late(tx: Tx) -> list[Directive]:
    """Directives that nobody carried out in time."""
    found = [one for state in ("queued", "delivered") for one in tx.found(Directive, state=state)]
    return [one for one in found if one.expires_at <= tx.at]


def expire(tx: Tx) -> int:
    """Publish of each of them that it is over, and tell its sender; how many."""
    over = late(tx)
    for one in over:
        tx.put(one.but(state="expired"))
        thread = tx.require(Thread, one.thread_id)
        words = f"Directive {one.id} to {one.thread_id} expired, {one.state}; it began: {one.text[:200]}"
        post(tx, one.thread_id, one.sender_thread_id, thread.session_id, words)
    return len(over)
