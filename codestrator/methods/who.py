"""Whose call it is: the session and thread that a method works for, refused where they are another's."""

from codestrator import scopes
from codestrator.calls import Tx
from codestrator.errors import Forbidden, InvalidParams, StaleFence, WrongState
from codestrator.records import SESSION_ENDED, THREAD_ENDED, Hold, Lease, Session, Task, Thread

HINTS = {
    "offered": "Call handoff.offer with withdraw true to go on here.",
    "handoff_attached": "Go on in the session that took it over, or call session.open for a new one.",
}


def session_of(tx: Tx, given: str | None) -> Session:
    """The session named, or the caller's own; a child may name no other than its own."""
    session_id = given or tx.caller.session_id
    if session_id is None:
        raise InvalidParams(
            "'session_id' is missing and this caller has no session of its own, expected id(session)",
            hint="Call session.open first, or name the session.",
            field="session_id",
            expected="id(session)",
        )
    if tx.caller.kind == "child" and session_id != tx.caller.session_id:
        raise Forbidden(
            f"'{session_id}' is not the session of '{tx.caller.thread_id}', expected '{tx.caller.session_id}'",
            role=tx.caller.role,
            needs="a thread of that session",
        )
    return tx.require(Session, session_id)


def active_session(tx: Tx, given: str | None) -> Session:
    """The same, refused unless it may write: not closed, not handed over, not offered."""
    session = session_of(tx, given)
    if session.status in SESSION_ENDED or session.status == "offered":
        by = f" by '{session.handed_to}'" if session.handed_to else ""
        raise WrongState(
            f"'{session.id}' is '{session.status}'{by}, expected an active session",
            hint=HINTS.get(session.status, "Call session.open for a new one."),
            found=session.status,
            expected=["opened", "awaiting_resume", "active_new", "active_resume"],
        )
    return session


def thread_of(tx: Tx, given: str | None, session: Session) -> Thread:
    """The thread named, or the caller's own (a root's: its root thread), of that session and not ended."""
    thread_id = given or tx.caller.thread_id or session.root_thread_id
    thread = tx.require(Thread, thread_id)
    if thread.session_id != session.id:
        raise Forbidden(
            f"'{thread_id}' belongs to '{thread.session_id}', expected a thread of '{session.id}'",
            role=tx.caller.role,
            needs=f"a thread of '{session.id}'",
        )
    if tx.caller.kind == "child" and thread_id != tx.caller.thread_id:
        raise Forbidden(
            f"'{thread_id}' is not the caller, expected '{tx.caller.thread_id}'",
            role=tx.caller.role,
            needs="its own thread",
        )
    if thread.status in THREAD_ENDED:
        raise WrongState(
            f"'{thread_id}' is '{thread.status}', expected a running thread",
            found=thread.status,
            expected=["running", "waiting", "interrupted"],
        )
    return thread


def check_scope(tx: Tx, task: Task, thread: Thread) -> None:
    """Refuse a task that lies outside the thread's scope, whoever works for it; an empty scope is everything."""
    scopes.check(tx, thread, task.id)


def check_fence(name: str, given: int | None, hold: Hold | None, owner: tuple[str, str | None]) -> None:
    """Refuse unless `owner` (session, thread) has the hold, with the fence it states; holder and number both count."""
    if hold is not None and (hold.session_id, hold.thread_id) == owner and given in (None, hold.fence):
        return
    current = f"{hold.fence} held by '{hold.thread_id or hold.session_id}'" if hold else "none"
    raise StaleFence(
        f"fence {given if given is not None else 'of the caller'} on '{name}' is out of date, current is {current}",
        hint="Read task.get for who has it now; begin another case.",
        given=given,
        current=hold.fence if hold else None,
        holder={"session_id": hold.session_id, "thread_id": hold.thread_id} if hold else None,
    )


def check_not_taken(session: Session, name: str, hold: Hold | Lease | None, given: int | None = None) -> None:
    """Tell a session that was handed over who has what it held."""
    if session.status != "handoff_attached" or hold is None or hold.session_id == session.id:
        return
    raise StaleFence(
        f"fence {given if given is not None else 'of the caller'} on '{name}' is out of date, current is {hold.fence} "
        f"held by '{hold.session_id}', to which '{session.id}' was handed over",
        hint=HINTS["handoff_attached"],
        given=given,
        current=hold.fence,
        holder={"session_id": hold.session_id, "thread_id": hold.thread_id, "machine": hold.machine},
    )


def check_root_of(tx: Tx, task: Task) -> None:
    """Refuse a child that would change the plan outside of its scope."""
    if tx.caller.kind == "child" and tx.caller.thread_id:
        check_scope(tx, task, tx.require(Thread, tx.caller.thread_id))


def owns(tx: Tx, session_id: str) -> bool:
    """Whether the caller works for that session: as its root, as a person, or as one of its threads."""
    if tx.caller.kind == "operator" or session_id == tx.caller.session_id:
        return True
    return tx.caller.kind == "root" and tx.live.mine(session_id)
