"""Where worktrees lie on this machine, and what they have checked out."""

from pathlib import Path
from typing import Any, NamedTuple

from codestrator.calls import Flow, Tx
from codestrator.errors import External, WrongState
from codestrator.model import shown
from codestrator.records import Session, Thread, Worktree

LOCKED = "in use by codestrator"  # how the lock begins that git shows of a worktree of ours


class Spot(NamedTuple):
    """The state of a worktree that a checkpoint is about; `dirty` if it has uncommitted changes."""

    worktree_id: str | None
    commit: str
    tree: str
    dirty: bool


def path_of(tx: Tx, worktree: Worktree) -> Path | None:
    """Its folder on this machine, absolute; None where this machine has none."""
    place = worktree.places.get(tx.machine)
    return Path(tx.roots[0]) / place.path if place and place.status != "removed" else None


def shown_worktree(tx: Tx, worktree: Worktree) -> dict[str, Any]:
    """A worktree as callers see it: with its path here, and `lost` where the folder is gone.

    `places` is told only where another machine has a place too: else path and status say it all.
    """
    found = shown(worktree)
    place = worktree.places.get(tx.machine)
    if place:
        if len(worktree.places) == 1:
            del found["places"]
        found["path"] = place.path
        here = place.status in ("active", "lost")
        if worktree.status == "active" and here and not (Path(tx.roots[0]) / place.path).is_dir():
            found["status"] = "lost"
    return found


def worktree_of(tx: Tx, session: Session, thread: Thread | None) -> Worktree | None:
    """The worktree a thread works in: its own, else its session's root, else the main one."""
    named = (thread.worktree_id if thread else None) or session.session_root_worktree_id or session.main_worktree_id
    return tx.get(Worktree, named)


def spot_of(flow: Flow, tx: Tx, session: Session, thread: Thread | None) -> Spot:
    """What the thread's worktree has checked out now; where there is no folder, what the session started from."""
    worktree = worktree_of(tx, session, thread)
    path = path_of(tx, worktree) if worktree else None
    if worktree and path and path.is_dir() and not (flow.world.bare and worktree.kind == "main"):
        try:
            commit, tree, _ = flow.store.head(path)
            return Spot(worktree.id, commit, tree, bool(flow.world.worktrees.changes(path)))
        except (External, WrongState):
            pass  # the folder was taken away while we looked
    tree = flow.world.git.run("rev-parse", f"{session.base_commit}^{{tree}}")
    return Spot(worktree.id if worktree else None, session.base_commit, tree, False)


def missing_files(tx: Tx, session: Session, thread: Thread, names: tuple[str, ...]) -> list[str]:
    """Those of the files that the thread's worktree does not have."""
    worktree = worktree_of(tx, session, thread)
    path = path_of(tx, worktree) if worktree else None
    return [name for name in names if path is None or not (path / name).exists()]
