"""A session offered with all that it has, its uncommitted files too, to whoever takes it on whatever machine."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Conflict, WrongState
from codestrator.methods import children, deciding, intents, places, recording, rescue, stopping, sync, syncing, who
from codestrator.params import Params, SessionId, Summary, Title
from codestrator.records import THREAD_ENDED, Handoff, Rescue, Session, Thread, Worktree
from codestrator.store.documents import STATE


class Offer(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    remote: Annotated[Title | None, Meta(description="default: git config codestrator.remote")] = None
    note: Summary | None = None
    stop_children: Annotated[bool, Meta(description="end live children first; else they refuse the offer")] = False
    withdraw: Annotated[bool, Meta(description="take the offer back, if nobody has taken it")] = False


def offer(flow: Flow, want: Offer) -> dict[str, Any]:
    """Offer a session for another machine: checkpoints and snapshots are taken and pushed, then it waits to be taken.

    Until it is taken or withdrawn the session writes nothing. No branch of the user is pushed. Called again it keeps
    what changed since, in the same offer.
    """
    remote = sync.remote_of(flow, want.remote)
    intents.settle(flow)
    session = who.session_of(flow.read(), want.session_id)
    if want.withdraw:
        return _withdraw(flow, remote, session)
    _offerable(flow.read(), session.id)
    # Somebody may have it by now; what is kept then would hide what they have.
    deciding.share(flow, remote, ("state", "locks"), direction="fetch")
    session = _offerable(flow.read(), session.id)
    _check_ready(flow, session, want)
    _check_whole(flow, session)
    kept = _snapshots(flow, session)
    lines: list[recording.Line] = []
    spots = {one.id: places.spot_of(flow, flow.read(), session, one) for one in _threads(flow.read(), session.id)}

    def act(tx: Tx) -> tuple[Session, Handoff]:
        lines.clear()
        return _stage(tx, session.id, want.note, kept, spots, lines)

    before = deciding.share(flow, remote, deciding.DATA)
    offered, handoff = deciding.decided(flow, remote, act, session.id)
    for line in lines:
        flow.world.notes.add(*line)
    flow.world.notes.flush()
    after = deciding.share(flow, remote, deciding.DATA)
    return {
        "session": offered,
        "handoff": handoff,
        "snapshots": [_shown(worktree_id, snapshot) for worktree_id, snapshot in kept.items()],
        "verdicts": _verdicts(before, after),
        "take_with": _take_with(session.id, remote),
    }


def _take_with(session_id: str, remote: str) -> dict[str, Any]:
    """The call and the command for the other machine."""
    params = {"target_session_id": session_id, "remote": remote}
    command = f"git codestrator handoff take {session_id} --remote {quote(remote)}"
    return {"method": "handoff.take", "params": params, "command": command}


def _verdicts(before: syncing.Sync, after: syncing.Sync) -> list[dict[str, Any]]:
    """What became of each ref: the data went first, then the offer itself, then the notes on it."""
    found = {one["ref"]: one for one in before.shown()}
    found |= {one["ref"]: one for one in after.shown() if one["verdict"] != "up_to_date"}
    return [{"ref": STATE, "verdict": "pushed"}, *found.values()]


def _check_ready(flow: Flow, session: Session, want: Offer) -> None:
    """No child at work: it would go on writing while another machine has the session."""
    tx = flow.read()
    live = [one for one in _threads(tx, session.id) if one.parent_thread_id]
    if live and want.stop_children:
        for error in stopping.bring_down(flow, live, "handed over"):
            raise error
    elif live:
        raise WrongState(
            f"'{session.id}' has {len(live)} live children, first '{live[0].id}', expected none",
            hint="Give stop_children true, or wait for them with thread.child.wait_status.",
            found=[one.id for one in live],
            expected="no live children",
        )


def _offerable(tx: Tx, session_id: str) -> Session:
    """The session, at work or offered already."""
    session = tx.require(Session, session_id)
    if session.status != "offered":
        session = who.active_session(tx, session_id)
    if session.status not in ("offered", "active_new", "active_resume"):
        raise WrongState(
            f"'{session.id}' is '{session.status}', expected one at work",
            hint="Take over a session with it first, or close it.",
            found=session.status,
            expected=["active_new", "active_resume"],
        )
    return session


def _threads(tx: Tx, session_id: str) -> list[Thread]:
    return [one for one in tx.found(Thread, session_id=session_id) if one.status not in THREAD_ENDED]


def _folders(flow: Flow, session: Session) -> Iterator[tuple[Worktree, Path]]:
    tx = flow.read()
    for worktree in tx.found(Worktree, owner_session_id=session.id, status="active"):
        folder = places.path_of(tx, worktree)
        if worktree.kind != "main" and folder is not None and folder.is_dir():
            yield worktree, folder


def _check_whole(flow: Flow, session: Session) -> None:
    """What a snapshot cannot carry: a merge or rebase that is half done, and commits of the branch that HEAD lacks."""
    for worktree, folder in _folders(flow, session):
        if operation := flow.world.worktrees.operation(folder):
            raise WrongState(
                f"'{worktree.id}' has a {operation} in progress, expected no operation in progress",
                hint="Finish or abort it, then offer the session.",
                found=operation,
                expected="no operation in progress",
            )
        head, tip = flow.store.head(folder)[0], flow.store.refs.read(f"refs/heads/{worktree.branch}")
        if tip is not None and not flow.store.objects.is_ancestor(tip, head):
            raise WrongState(
                f"'{worktree.id}' is at '{head[:12]}', which lacks commits of its branch '{worktree.branch}', "
                "expected that branch checked out",
                hint=f"Check out '{worktree.branch}' there, then offer the session.",
                found=head,
                expected=worktree.branch,
            )


def _snapshots(flow: Flow, session: Session) -> dict[str, Rescue]:
    """What each worktree of the session has now, published before it is offered."""
    found = {}
    for worktree, folder in _folders(flow, session):
        snapshot, new = rescue.take(flow, worktree, folder, "handoff")
        found[worktree.id] = snapshot
        if new:
            flow.transact(partial(rescue.keep, snapshot=snapshot), worktree.id)
    return found


def _stage(
    tx: Tx,
    session_id: str,
    note: str | None,
    kept: dict[str, Rescue],
    spots: dict[str, places.Spot],
    lines: list[recording.Line],
) -> tuple[Session, Handoff]:
    session = _offerable(tx, session_id)
    for thread in _threads(tx, session_id):
        snapshot = kept.get(thread.worktree_id or session.session_root_worktree_id or "")
        if thread.id in spots and session.status != "offered":
            case = children.active_case(tx, thread)
            recording.record_checkpoint(
                tx, session, thread, spots[thread.id], "handoff", lines, summary=note,
                case_id=case.id if case else None, snapshot_id=snapshot.id if snapshot else None,
            )  # fmt: skip
    before = newest(tx, session_id)
    if before is not None and before.state == "offered":
        handoff = before.but(snapshots=tuple(dict.fromkeys((*before.snapshots, *(one.id for one in kept.values())))))
    else:
        number = len(tx.where(Handoff, from_session_id=session_id)) + 1
        handoff = Handoff(
            id=f"{session_id}.h{number}",
            from_session_id=session_id,
            offered_by=tx.caller.actor,
            state="offered",
            note=note,
            snapshots=tuple(one.id for one in kept.values()),
        )
    changed = (
        session if session.status == "offered" else session.but(status="offered", offered_at=tx.at, offer_note=note)
    )
    return tx.put(changed), tx.put(handoff)


def newest(tx: Tx, session_id: str) -> Handoff | None:
    """The last offer of a session."""
    found = tx.found(Handoff, from_session_id=session_id)
    return max(found, key=lambda one: int(one.id.rpartition(".h")[2]), default=None)


def _withdraw(flow: Flow, remote: str, session: Session) -> dict[str, Any]:
    deciding.share(flow, remote, ("state", "locks"), direction="fetch")
    if newest(flow.read(), session.id) is None:
        raise WrongState(
            f"'{session.id}' is '{session.status}' and was never offered, expected 'offered'",
            found=session.status,
            expected=["offered"],
        )

    def act(tx: Tx) -> tuple[Session, Handoff]:
        now, handoff = tx.require(Session, session.id), newest(tx, session.id)
        if now.status == "handoff_attached":
            raise Conflict(
                f"'{now.id}' was taken by '{now.handed_to}', expected it to be still offered",
                hint="Go on in the session that took it over.",
                holder=now.handed_to,
                found=now.status,
            )
        assert handoff is not None  # it was here, and is never dropped
        if now.status == "offered":
            former = "active_resume" if now.resumed_from else "active_new"
            now = tx.put(now.but(status=former, offered_at=None, offer_note=None))
            handoff = tx.put(handoff.but(state="withdrawn"))
        return now, handoff

    now, handoff = deciding.decided(flow, remote, act, session.id)
    return {"session": now, "handoff": handoff, "snapshots": [], "verdicts": []}


def _shown(worktree_id: str, snapshot: Rescue) -> dict[str, Any]:
    found: dict[str, Any] = {"worktree_id": worktree_id, "snapshot_id": snapshot.id, "files": snapshot.files}
    if snapshot.skipped:
        found["skipped"] = [{"path": one.path, "bytes": one.bytes} for one in snapshot.skipped]
    return found
