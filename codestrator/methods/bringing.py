"""A worktree of which there is only a branch or a snapshot made again: made aside, so that it is whole or not there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codestrator.calls import Flow, Tx
from codestrator.errors import Busy, CodestratorError, Conflict, WrongState
from codestrator.methods import intents, names, places, placing
from codestrator.ports import Contention, Move
from codestrator.records import SESSION_ENDED, Intent, Place, Rescue, Session, Worktree

_one_at_a_time = threading.Lock()


@contextmanager
def alone(flow: Flow, worktree_id: str) -> Iterator[None]:
    """Nobody else on this machine brings the same worktree meanwhile; `busy` if somebody does."""
    name = f"{worktree_id}.bring"
    with _one_at_a_time:
        if not flow.world.live.take(name):
            raise Busy(f"'{worktree_id}' is just being brought here by another process", hint="Call the same again.")
        try:
            yield
        finally:
            flow.world.live.leave(name)


def free_place(flow: Flow, tx: Tx, worktree: Worktree) -> Path:
    """Where it can lie here: this machine may have one of that name, which is another session's, or a folder of it."""
    root = placing.root_folder(flow)
    others = [one for one in tx.all(Worktree) if one.id != worktree.id and one.status != "removed"]
    taken = {place.path for one in others if (place := one.places.get(tx.machine))}
    for slug in names.attempts(worktree.slug):
        path = root / slug
        if placing.stored_path(flow, path) not in taken and not path.exists() and not path.is_symlink():
            return path
    raise Conflict(f"'{worktree.slug}' and the names after it are taken, expected a free place", found=worktree.slug)


def bring(flow: Flow, worktree: Worktree, path: Path, snapshot: Rescue | None, owner: str) -> tuple[int, int]:
    """Folder, branch, index and files as the snapshot has them, or else as its branch has; the session's own then.

    How many files the snapshot gave back: tracked, untracked.

    Refused where either is somebody's by now. After a crash the next call removes what is half made.
    """
    branch, head = _branch(flow, worktree, snapshot)
    if path.exists() or path.is_symlink():
        raise refuse(worktree, f"cannot come back: '{path.name}' is there already", "its place free")
    aside = path.with_name(f".{path.name}.{flow.read().mint('wt')}")  # of this call alone: another may be at it too
    made = flow.store.refs.read(f"refs/heads/{branch}") is None
    stored = {name: placing.stored_path(flow, one) for name, one in (("path", path), ("aside", aside))}
    about = {"worktree_id": worktree.id, "session_id": owner, "branch": branch, "head": head, "made": made}
    about |= {"snapshot_id": snapshot.id if snapshot else None}
    intent_id = flow.transact(lambda tx: intents.plan(flow, tx, "bring_back", **about, **stored).id, worktree.id)
    try:
        _at(flow, worktree, branch, head)
        kept = snapshot.commit if snapshot else None
        counted = flow.world.worktrees.recreate(path, branch, kept, aside=aside, reason=f"{places.LOCKED} {owner}")
        flow.transact(lambda tx: _recorded(tx, tx.require(Intent, intent_id)), worktree.id)
        return counted
    except CodestratorError as error:
        message = error.message
        flow.world.worktrees.unmake(aside)
        if made and not path.exists():
            _drop(flow, branch, head)
        flow.transact(lambda tx: intents.end(tx, intent_id, "failed", message=message), worktree.id)
        raise


def _branch(flow: Flow, worktree: Worktree, snapshot: Rescue | None) -> tuple[str, str]:
    """Its branch, and the commit that is to be checked out; refused where commits would be lost or are missing."""
    branch = worktree.branch or (snapshot.branch if snapshot else None)
    if branch is None:
        raise refuse(worktree, "cannot come back: it had no branch", "a branch")
    tip = flow.store.refs.read(f"refs/heads/{branch}")
    head = snapshot.head if snapshot else tip
    if head is None:
        raise refuse(worktree, "cannot come back: neither a snapshot nor its branch is here", "one of them")
    if tip is not None and not flow.store.objects.is_ancestor(tip, head):
        raise refuse(worktree, f"has its branch '{branch}' at '{tip[:12]}'", f"'{head[:12]}', or what came before")
    return branch, head


def _at(flow: Flow, worktree: Worktree, branch: str, head: str) -> None:
    """The branch at that commit: made, or gone on from where this machine left it."""
    ref = f"refs/heads/{branch}"
    tip = flow.store.refs.read(ref)
    if tip == head or (tip is None and flow.world.worktrees.reserve_branch(branch, head)):
        return
    there = next((one.path for one in flow.world.worktrees.folders() if one.branch == branch), None)
    if there is not None and there.exists():
        raise refuse(worktree, f"has its branch '{branch}' checked out in '{there}'", "it free")
    try:
        flow.store.refs.move([Move(ref, tip, head)])
    except Contention:
        raise refuse(worktree, f"has its branch '{branch}' moved by somebody", f"'{head[:12]}'") from None


def _drop(flow: Flow, branch: str, head: str) -> None:
    """Delete a branch that was made for nothing; one that is checked out was not."""
    if not any(one.branch == branch for one in flow.world.worktrees.folders()):
        flow.world.worktrees.delete_branch(branch, head)


def _recorded(tx: Tx, intent: Intent) -> Worktree:
    """Stage that the worktree is here; its owner's, if that has not ended."""
    worktree = tx.require(Worktree, str(intent.args["worktree_id"]))
    owner = tx.get(Session, worktree.owner_session_id)
    mine = intent.session_id if owner is None or owner.status in SESSION_ENDED else owner.id
    here = {tx.machine: Place(path=str(intent.args["path"]), status="active")}
    intents.end(tx, intent.id, "done")
    return tx.put(
        worktree.but(
            status="active", merge_state="active", places=worktree.places | here, owner_session_id=mine,
            merged_at=None, merged_commit=None,
        )
    )  # fmt: skip


def settle(flow: Flow, intent: Intent) -> intents.Publish | None:
    """What came to its place is whole and stays; what did not is removed with the branch made for it."""
    args, worktrees = intent.args, flow.world.worktrees
    path, aside = (flow.world.repo / str(args[name]) for name in ("path", "aside"))
    if not aside.exists() and worktrees.repaired(path, str(args["branch"])):

        def finish(tx: Tx) -> None:
            _recorded(tx, tx.require(Intent, intent.id))

        return finish
    worktrees.unmake(aside)
    if aside.exists():
        return None  # a git that outlived its process still writes there: looked at again by the next call
    if args.get("made"):
        _drop(flow, str(args["branch"]), str(args["head"]))
    return lambda tx: intents.end(tx, intent.id, "reversed")


def refuse(worktree: Worktree, found: str, expected: str) -> WrongState:
    return WrongState(
        f"'{worktree.id}' {found}, expected {expected}",
        hint="Bring it into a fresh worktree with rescue.restore and into 'new'.",
        found=found,
        expected=expected,
    )
