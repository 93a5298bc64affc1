"""A session taken from another machine: granted on the remote, then its worktrees made here, with what was unsaved."""

from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Forbidden, InvalidParams, Offline
from codestrator.methods import (
    brief,
    bringing,
    catching_up,
    children,
    deciding,
    handoff,
    intents,
    places,
    resume,
    sessions,
    sync,
    system,
)
from codestrator.params import Params, SessionId, Summary, Title
from codestrator.records import SESSION_ENDED, THREAD_ENDED, Machine, Rescue, Session, Thread, Worktree

HANDED_OFF = "handed off"


class Take(Params, frozen=True, kw_only=True):
    target_session_id: SessionId
    requester_session_id: Annotated[SessionId | None, Meta(description="default: a session is opened for it")] = None
    remote: Annotated[Title | None, Meta(description="default: git config codestrator.remote")] = None
    force: Annotated[bool, Meta(description="even if it is live, away, or the remote is silent; needs a reason")] = (
        False
    )
    reason: Summary | None = None


class _Taker(NamedTuple):
    """Who takes it: a session that is here, or one that begins with the taking and else never was."""

    id: str
    opening: sessions.Opening | None = None

    def session(self, tx: Tx) -> Session:
        return self.opening.stage(tx) if self.opening and not tx.get(Session, self.id) else tx.require(Session, self.id)


def take(flow: Flow, want: Take) -> dict[str, Any]:
    """Take over an offered or suspended session: its worktrees are made here with their uncommitted files and index.

    Decided on the remote: of two takers one wins. Children of the former machine end as failed; spawn them anew.
    """
    if want.force and not want.reason:
        raise InvalidParams("'reason' is missing, expected one with force", field="reason", expected="text")
    if want.force and not flow.caller.is_root:
        raise Forbidden("'force' is for root or operator, expected neither", role=flow.caller.role, needs="root")
    remote = _fetched(flow, want)
    intents.settle(flow)
    tx = flow.read()
    taker = _taker(flow, tx, want, tx.require(Session, want.target_session_id))
    before = tx.get(Session, taker.id)
    try:
        transferred = _granted(flow, want, taker, remote)
    except BaseException:
        if taker.opening:
            flow.world.live.leave(taker.id)
        raise
    if flow.seat.kind == "root":
        flow.seat.take(taker.id)
    if before:
        resume.remove_own_root(flow, before)
    worktrees = [_brought_back(flow, one.id, taker.id) for one in _worktrees(flow.read(), taker.id)]
    found = resume.answer(flow.read(), taker.id) | {"transferred": transferred, "worktrees": worktrees}
    return found | {"brief": brief.brief(flow, brief.Brief(session_id=taker.id))}


def _fetched(flow: Flow, want: Take) -> str | None:
    """The newest of what the remote has; the remote to decide on, None where this machine decides alone."""
    remote = sync.remote_of(flow, want.remote) if want.remote or flow.settings.remote else None
    try:
        if remote:
            deciding.share(flow, remote, ("rescue", "notes", "state", "locks"), direction="fetch")
    except Offline:
        if not want.force:
            raise
        remote = None
    if not flow.store.initialised or flow.read().get(Machine, flow.settings.machine) is None:
        system.initialise(flow, system.Initialise())
    return remote


def _taker(flow: Flow, tx: Tx, want: Take, target: Session) -> _Taker:
    given = want.requester_session_id or _winner(flow, tx, target)
    if given is not None:
        resume.own(flow, tx.require(Session, given))
        return _Taker(given)
    resume.check_target(tx, target, force=want.force)
    opening = sessions.Opening(flow, sessions.Open(intent="resume_work"))
    flow.world.live.take(opening.session_id)  # an id that nobody else has
    return _Taker(opening.session_id, opening)


def _winner(flow: Flow, tx: Tx, target: Session) -> str | None:
    """The session of this machine that has taken it, if the caller may speak for it: the same call again."""
    taker = tx.get(Session, target.handed_to) if target.status == "handoff_attached" else None
    if taker is None or taker.machine != tx.machine or taker.status in SESSION_ENDED:
        return None
    free = flow.seat.kind != "root" or tx.live.mine(taker.id) or not tx.live.held(taker.id)
    return taker.id if free else None


def _granted(flow: Flow, want: Take, taker: _Taker, remote: str | None) -> dict[str, int]:
    tx = flow.read()
    touched = "" if taker.opening else resume.touched_by(flow, tx, tx.require(Session, taker.id))

    def act(tx: Tx) -> dict[str, int]:
        target = tx.require(Session, want.target_session_id)
        if target.status == "handoff_attached" and target.handed_to == taker.id:
            return resume.told_before(tx, tx.require(Session, taker.id), target)
        resume.check_target(tx, target, force=want.force)
        mine = taker.session(tx)
        resume.check_requester(tx, mine, target, touched)
        _end_children(tx, target)
        count = resume.transfer(flow, tx, mine, target, want.reason)
        if (offer := handoff.newest(tx, target.id)) and offer.state == "offered":
            tx.put(offer.but(state="taken", to_session_id=mine.id, taken_at=tx.at))
        return count

    if remote:
        try:
            about = want.target_session_id
            return deciding.decided(flow, remote, act, about, order=("locks", "state"), forced=want.force)
        except Offline:  # fallen silent since it was asked, with nothing sent
            if not want.force:
                raise
    return flow.transact(act, want.target_session_id, order=("locks", "state"))


def _end_children(tx: Tx, target: Session) -> None:
    """Their processes are on the former machine; what they were to do stays with them for a new spawn."""
    for thread in tx.found(Thread, session_id=target.id):
        if thread.status not in THREAD_ENDED and thread.id != target.root_thread_id:
            children.end(tx, thread, "failed", reason=HANDED_OFF)


def _worktrees(tx: Tx, session_id: str) -> list[Worktree]:
    found = [one for one in tx.found(Worktree, owner_session_id=session_id) if one.status in ("active", "lost")]
    return sorted((one for one in found if one.kind != "main"), key=lambda one: one.id)


def _brought_back(flow: Flow, worktree_id: str, session_id: str) -> dict[str, Any]:
    """Folder, branch, index and files as they were kept; one that is here already is left alone."""
    item: dict[str, Any] = {"worktree_id": worktree_id, "restored": False}
    try:
        with bringing.alone(flow, worktree_id):
            return item | _brought(flow, worktree_id, session_id)
    except CodestratorError as error:
        folder = places.path_of(tx := flow.read(), tx.require(Worktree, worktree_id))
        here = {"path": str(folder)} if folder and folder.is_dir() else {}
        return item | here | {"missing": error.message}


def _brought(flow: Flow, worktree_id: str, session_id: str) -> dict[str, Any]:
    tx = flow.read()
    worktree = tx.require(Worktree, worktree_id)
    folder, snapshot = places.path_of(tx, worktree), tx.get(Rescue, worktree.latest_snapshot_id)
    if snapshot is not None and flow.world.worktrees.resolve(snapshot.commit) is None:
        raise bringing.refuse(worktree, f"has its snapshot '{snapshot.id}' elsewhere", "its commit here")
    kept = {"snapshot_id": snapshot.id if snapshot else None, "restored": True}
    if folder is not None and folder.is_dir():
        new = snapshot is not None and catching_up.catch_up(flow, worktree, folder, snapshot, session_id)
        return {"path": str(folder)} | (kept if new else {})
    path = bringing.free_place(flow, tx, worktree)
    bringing.bring(flow, worktree, path, snapshot, session_id)
    return {"path": str(path)} | kept
