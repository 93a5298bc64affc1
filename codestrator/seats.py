"""Who a call is made for: the session it names, the one its folder belongs to, and the adoption of one left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codestrator import identity, params, threadfiles
from codestrator.calls import Caller, Seat, Tx
from codestrator.errors import Forbidden
from codestrator.params import Params
from codestrator.records import SESSION_ENDED, Session, Thread, Worktree
from codestrator.table import ROOT_ROLES, WORKER

if TYPE_CHECKING:
    from codestrator.ports import World
    from codestrator.table import Method

SESSION_FIELDS = ("session_id", "requester_session_id", "owner_session", "owner_session_id")
THREAD_FIELDS = ("thread_id", "receiver_thread_id")  # left out, they mean one of the session's threads
NOBODY = Caller("bystander", "bystander", "nobody")
ADOPT_BY_FOLDER = ("work.brief", "work.current_ref")
# Naming another's session in these is what they are for.
TAKES_OVER = ("resume.candidates.attach", "handoff.take", "session.cleanup")


def child_seat(world: "World", place: Path) -> Seat:
    """The seat of the child whose private file that is.

    `forbidden` where the file or its token proves nothing here, `wrong_state` where its thread has ended.
    """
    found = threadfiles.read(world.files, place)
    if Path(found.repo).resolve() != world.repo.resolve():
        raise threadfiles.refused(f"'{found.thread_id}' is of the repository '{found.repo}'", f"'{world.repo}'")
    thread = look(world, NOBODY).get(Thread, found.thread_id)
    if thread is None or thread.token_hash is None or threadfiles.token_hash(found.token) != thread.token_hash:
        raise threadfiles.refused(
            f"the token of '{found.thread_id}' proves nothing", "the one that its thread was made with"
        )
    identity.alive(thread, world.settings.machine)
    # Whatever a document says: who was started as a child is no root.
    role = WORKER if thread.role in ROOT_ROLES else thread.role
    return Seat("child", session_id=thread.session_id, thread_id=thread.id, role=role)


def caller_for(world: "World", seat: Seat, method: "Method", want: Params, resolve: Callable[[Tx, str], str]) -> Caller:
    """The caller of one call; a root process becomes root of the session it names, if nobody else is."""
    if seat.kind == "child":  # whatever session it names, it speaks for the one that its thread is in now
        thread = _look(world, seat).get(Thread, seat.thread_id)
        return describe(world, seat, thread.session_id if thread else seat.session_id)
    named = _named(want)
    if named:
        named = resolve(_look(world, seat), named)
        _claim_seat(world, seat, method, named)
    session_id = named or seat.default_session
    works = seat.kind == "operator" and method.kind != "read"  # who only looks proves nobody alive
    if session_id is None and (_wants_session(want) or (seat.kind == "operator" and method.kind == "write")):
        session_id = _by_folder(world, seat, method)
    if session_id and works and not world.live.held(session_id):
        world.live.renew(session_id)
    return describe(world, seat, session_id)


def describe(world: "World", seat: Seat, session_id: str | None) -> Caller:
    """The caller as the journal names it."""
    machine = world.settings.machine
    actor = seat.thread_id or f"{'operator' if seat.kind in ('operator', 'bystander') else 'root'}@{machine}"
    return Caller(seat.kind, seat.role, actor, session_id, seat.thread_id)


def _named(want: Params) -> str | None:
    given = (getattr(want, name, None) for name in SESSION_FIELDS)
    return next((value for value in given if value), None)


def _wants_session(want: Params) -> bool:
    told = (*SESSION_FIELDS, *THREAD_FIELDS)
    return any(shape.name in told and not shape.required for shape in params.shapes(type(want)))


def look(world: "World", caller: Caller) -> Tx:
    """The present picture, as that caller sees it."""
    return Tx(world.store.read(), caller, world.live, world.settings, (str(world.repo),))


def _look(world: "World", seat: Seat) -> Tx:
    return look(world, describe(world, seat, None))


def _claim_seat(world: "World", seat: Seat, method: "Method", session_id: str) -> None:
    if seat.kind != "root" or method.kind == "read" or seat.owns(session_id) or method.name in TAKES_OVER:
        return
    session = _look(world, seat).require(Session, session_id)
    here = session.machine == world.settings.machine
    if session.status in SESSION_ENDED:
        return  # the method says in its own words what is wrong with it
    if not here or not world.live.take(session_id):
        where = "another process of this machine" if here else f"machine '{session.machine}'"
        raise Forbidden(
            f"'{session_id}' belongs to {where}, expected a session of this process",
            hint="List what can be taken over with resume.candidates.list, then call resume.candidates.attach.",
            role=seat.role,
            method=method.name,
            needs="its root",
        )
    seat.take(session_id)


def _by_folder(world: "World", seat: Seat, method: "Method") -> str | None:
    """The one session that this process's folder belongs to: adopted by a root, named for an operator."""
    if (seat.kind == "root" and method.name not in ADOPT_BY_FOLDER) or not world.store.initialised:
        return None
    tx = _look(world, seat)
    by_root = seat.kind == "root"
    found = _sessions_at(tx, world.cwd, of_roots=by_root)
    free = [one for one in found if not (by_root and world.live.held(one))]
    if len(free) != 1:
        return None
    if by_root:
        if not world.live.take(free[0]):
            return None
        seat.take(free[0])
    return free[0]


def _sessions_at(tx: Tx, folder: Path, *, of_roots: bool) -> list[str]:
    """The sessions, not ended, of this machine that have a worktree, or their root, which contains the folder."""
    found: dict[str, Any] = {}
    for worktree in tx.found(Worktree, status="active"):
        place = worktree.places.get(tx.machine)
        if worktree.owner_session_id and place and place.path and _within(folder, tx, place.path):
            session = tx.get(Session, worktree.owner_session_id)
            if of_roots and session and session.session_root_worktree_id != worktree.id:
                continue
            if session and session.status not in SESSION_ENDED and session.machine == tx.machine:
                found[session.id] = True
    return list(found)


def _within(folder: Path, tx: Tx, path: str) -> bool:
    place = Path(path) if path.startswith("/") else Path(tx.roots[0]) / path
    return folder == place or place in folder.parents
