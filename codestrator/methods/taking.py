"""A session taken from another machine: granted on the remote, then its worktrees made here, with what was unsaved."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Forbidden, InvalidParams, Offline
from codestrator.methods import (
    brief,
    children,
    closing,
    deciding,
    handoff,
    intents,
    places,
    placing,
    restoring,
    resume,
    sessions,
    sync,
    system,
)
from codestrator.params import Params, SessionId, Summary, Title
from codestrator.records import THREAD_ENDED, Machine, Rescue, Session, Thread, Worktree

HANDED_OFF = "handed off"


class Take(Params, frozen=True, kw_only=True):
    target_session_id: SessionId
    requester_session_id: Annotated[SessionId | None, Meta(description="default: a session is opened for it")] = None
    remote: Annotated[Title | None, Meta(description="default: git config codestrator.remote")] = None
    force: Annotated[bool, Meta(description="even if it is live, away, or the remote is silent; needs a reason")] = (
        False
    )
    reason: Summary | None = None


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
    target = tx.require(Session, want.target_session_id)
    requester, opened = _requester(flow, tx, want, target)
    try:
        transferred = _granted(flow, want, requester, remote)
    except CodestratorError:
        if opened:
            closing.close(flow, closing.Close(session_id=requester.id))
        raise
    if flow.seat.kind == "root":
        flow.seat.take(requester.id)
    resume.remove_own_root(flow, requester)
    worktrees = [_brought_back(flow, one, requester.id) for one in _worktrees(flow.read(), requester.id)]
    found = resume.answer(flow.read(), requester.id) | {"transferred": transferred, "worktrees": worktrees}
    return found | {"brief": brief.brief(flow, brief.Brief(session_id=requester.id))}


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


def _requester(flow: Flow, tx: Tx, want: Take, target: Session) -> tuple[Session, bool]:
    """The session that takes it, and whether it was opened for that."""
    given = want.requester_session_id
    taker = tx.get(Session, target.handed_to) if target.status == "handoff_attached" else None
    if given is None and taker is not None and taker.machine == tx.machine and not tx.live.held(taker.id):
        given = taker.id  # the same call again
    if given is not None:
        return tx.require(Session, given), False
    resume.check_target(tx, target, force=want.force)
    made = sessions.open(flow, sessions.Open(intent="resume_work"))
    return flow.read().require(Session, made["session_context"]["session"]["id"]), True


def _granted(flow: Flow, want: Take, requester: Session, remote: str | None) -> dict[str, int]:
    resume.own(flow, requester)
    touched = resume.touched_by(flow, flow.read(), requester)

    def act(tx: Tx) -> dict[str, int]:
        mine, target = tx.require(Session, requester.id), tx.require(Session, want.target_session_id)
        if target.status == "handoff_attached" and target.handed_to == mine.id:
            return resume.told_before(tx, mine, target)
        resume.check_requester(tx, mine, target, touched)
        resume.check_target(tx, target, force=want.force)
        _end_children(tx, target)
        count = resume.transfer(flow, tx, mine, target, want.reason)
        if (offer := handoff.newest(tx, target.id)) and offer.state == "offered":
            tx.put(offer.but(state="taken", to_session_id=mine.id, taken_at=tx.at))
        return count

    if remote:
        return deciding.decided(flow, remote, act, want.target_session_id, order=("locks", "state"))
    return flow.transact(act, want.target_session_id, order=("locks", "state"))


def _end_children(tx: Tx, target: Session) -> None:
    """Their processes are on the former machine; what they were to do stays with them for a new spawn."""
    for thread in tx.found(Thread, session_id=target.id):
        if thread.status not in THREAD_ENDED and thread.id != target.root_thread_id:
            children.end(tx, thread, "failed", reason=HANDED_OFF)


def _worktrees(tx: Tx, session_id: str) -> list[Worktree]:
    found = [one for one in tx.found(Worktree, owner_session_id=session_id) if one.status in ("active", "lost")]
    return sorted((one for one in found if one.kind != "main"), key=lambda one: one.id)


def _brought_back(flow: Flow, worktree: Worktree, session_id: str) -> dict[str, Any]:
    """Folder, branch, index and files as they were kept; one that is here already is left alone."""
    tx = flow.read()
    item: dict[str, Any] = {"worktree_id": worktree.id, "restored": False}
    folder = places.path_of(tx, worktree)
    if folder is not None and folder.is_dir():
        return item | {"path": str(folder)}
    snapshot = tx.get(Rescue, worktree.latest_snapshot_id)
    if snapshot is None or flow.world.worktrees.resolve(snapshot.commit) is None:
        return item | {"missing": f"no snapshot of '{worktree.id}' is here, expected one to make it from"}
    path: Path = placing.root_folder(flow) / worktree.slug
    try:
        restoring.recreate(flow, worktree, path, snapshot)
        session = tx.require(Session, session_id)
        flow.transact(lambda tx: restoring.back(flow, tx, worktree.id, session, path), worktree.id)
        flow.world.worktrees.restore(path, snapshot.commit)
    except CodestratorError as error:
        return item | {"missing": error.message}
    return item | {"path": str(path), "snapshot_id": snapshot.id, "restored": True}
