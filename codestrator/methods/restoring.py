"""A snapshot brought back: into a fresh worktree, or into the one that it was taken of."""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import WrongState
from codestrator.methods import bringing, names, places, placing, who
from codestrator.methods.worktrees import check_owner, live_threads
from codestrator.params import Params, SessionId, Short, SnapshotId
from codestrator.records import Rescue, Session, Worktree


class Restore(Params, frozen=True, kw_only=True):
    snapshot_id: SnapshotId
    into: Annotated[
        Literal["new", "same"], Meta(description="a fresh worktree, or the one it was taken of, which must be clean")
    ] = "new"
    slug: Short | None = None
    session_id: SessionId | None = None


def restore(flow: Flow, want: Restore) -> dict[str, Any]:
    """Bring a snapshot back with files and index as they were; the snapshot itself stays."""
    tx = flow.read()
    session = who.active_session(tx, want.session_id)
    snapshot = tx.require(Rescue, want.snapshot_id)
    _check_there(flow, snapshot)
    if want.into == "new":
        worktree, counted = _fresh(flow, want, session, snapshot), None
    else:
        worktree, counted = _same(flow, session, snapshot)
    tx = flow.read()
    folder = places.path_of(tx, tx.require(Worktree, worktree.id))
    assert folder is not None  # it was just made, or looked at
    counted = counted or flow.world.worktrees.restore(folder, snapshot.commit)
    return {
        "worktree": places.shown_worktree(tx, tx.require(Worktree, worktree.id)),
        "path": str(folder),
        "head": snapshot.head,
        "restored": {"tracked": counted[0], "untracked": counted[1], "index": True},
    }


def _check_there(flow: Flow, snapshot: Rescue) -> None:
    if flow.world.worktrees.resolve(snapshot.commit) is None:
        known = "Fetch refs/codestrator/rescue/* from where it was taken."
        over = f"It was released at {snapshot.released_at}, being old; rescue.list shows what is kept."
        raise WrongState(
            f"the commit '{snapshot.commit}' of '{snapshot.id}' is not in this repository, expected it here",
            hint=over if snapshot.released_at else known,
            found="no commit",
            expected=snapshot.commit,
        )


def _fresh(flow: Flow, want: Restore, session: Session, snapshot: Rescue) -> Worktree:
    last = (snapshot.branch or "rescued").rpartition("/")[2]  # our branches begin with the session, which says nothing
    words, worktree_id = names.slug(want.slug, last), flow.read().mint("wt")

    def choose(tx: Tx) -> placing.Spot:
        who.active_session(tx, session.id)
        return placing.free_spot(flow, tx, words, snapshot.head, f"task/{session.id}/{{slug}}")

    def record(tx: Tx, spot: placing.Spot) -> Worktree:
        return placing.new_worktree(
            flow, tx, spot, worktree_id, kind="task_branch", parent_worktree_id=session.session_root_worktree_id,
            owner_session_id=session.id, reason=f"rescued {snapshot.id}",
        )  # fmt: skip

    return placing.make(flow, choose, record, session_id=session.id, about=worktree_id)


def _same(flow: Flow, session: Session, snapshot: Rescue) -> tuple[Worktree, tuple[int, int] | None]:
    """The worktree, and what was brought back with it if it was not there any more."""
    tx = flow.read()
    worktree = tx.require(Worktree, snapshot.worktree_id)
    check_owner(tx, worktree, session, or_left=True)
    if worktree.kind == "main":
        raise bringing.refuse(worktree, "is the user's own worktree", "one made by codestrator")
    place = worktree.places.get(tx.machine)
    folder = flow.world.repo / place.path if place else placing.root_folder(flow) / worktree.slug
    if folder.is_dir() and place is not None and place.status != "removed":
        _check_untouched(flow, tx, worktree, folder, snapshot, session)
        return worktree, None
    with bringing.alone(flow, worktree.id):
        return worktree, bringing.bring(flow, worktree, folder, snapshot, session.id)


def _check_untouched(flow: Flow, tx: Tx, worktree: Worktree, folder: Path, snapshot: Rescue, session: Session) -> None:
    if threads := [one for one in live_threads(tx, worktree) if one != session.root_thread_id]:
        raise bringing.refuse(worktree, f"is where '{threads[0]}' works", "no other live thread in it")
    if operation := flow.world.worktrees.operation(folder):
        raise bringing.refuse(worktree, f"has a {operation} in progress", "no operation in progress")
    if files := flow.world.worktrees.changes(folder):
        raise bringing.refuse(worktree, f"has {len(files)} uncommitted changes, first '{files[0]}'", "none")
    head = flow.store.head(folder)[0]
    if head != snapshot.head:
        raise bringing.refuse(worktree, f"is at '{head[:12]}'", f"'{snapshot.head[:12]}', where the snapshot was taken")
