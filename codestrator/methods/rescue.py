"""Snapshots: uncommitted work kept under a ref of its own before anything is said of it, or done to it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codestrator.calls import Flow, Tx
from codestrator.errors import Busy, External
from codestrator.methods import paging
from codestrator.params import Paged, SessionId, WorktreeId
from codestrator.ports import Contention, Move, Snapshot
from codestrator.records import Rescue, Session, Skipped, Worktree


class Listing(Paged, frozen=True, kw_only=True):
    worktree_id: WorktreeId | None = None
    session_id: SessionId | None = None


FOLDER = "refs/codestrator/rescue/"
REF = re.compile(FOLDER + r"wt-[0-9a-z]{10}/(snap-[0-9a-z]{10})")


def ref_of(snapshot: Rescue) -> str:
    return f"{FOLDER}{snapshot.worktree_id}/{snapshot.id}"


def refs(flow: Flow) -> dict[str, str]:
    """The refs of snapshots that are here, and their commits."""
    return flow.store.refs.under(FOLDER, REF)


def id_of(ref: str) -> str:
    """The snapshot that a ref is for."""
    return ref.rpartition("/")[2]


def restore(snapshot: Rescue) -> dict[str, Any]:
    """The call that brings a snapshot back, and the command of plain git that puts its files in a new folder."""
    command = f"git worktree add --detach ../{snapshot.id} {ref_of(snapshot)}"
    return {"method": "rescue.restore", "params": {"snapshot_id": snapshot.id}, "command": command}


def take(
    flow: Flow,
    worktree: Worktree,
    folder: Path,
    reason: str,
    *,
    case_id: str | None = None,
    thread_id: str | None = None,
    own: bool = False,
    check: Callable[[Snapshot], None] | None = None,
) -> tuple[Rescue, bool]:
    """Keep what a worktree has now: (its document, to be published by the caller, whether it is new).

    The ref is written and read back before this returns; an unchanged worktree gives its newest snapshot again, with
    `own` only if that was taken for the same reason and thread. `check` may refuse it while no ref names it.
    """
    limit = flow.settings.snapshot_max_bytes
    taken = flow.world.worktrees.snapshot(folder, message=f"{reason} {worktree.id}", max_untracked_bytes=limit)
    if check:
        check(taken)
    tx = flow.read()
    newest = tx.get(Rescue, worktree.latest_snapshot_id)
    skipped = tuple(Skipped(path=path, bytes=size) for path, size in taken.skipped)
    fits = newest and (not own or (newest.reason, newest.thread_id) == (reason, thread_id))
    same = newest and (newest.tree, newest.head, newest.skipped) == (taken.tree, taken.head, skipped)
    if newest and fits and same and same_index(flow, newest.commit, taken.commit):
        return newest, False
    about = {"worktree_id": worktree.id, "reason": reason, "case_id": case_id, "thread_id": thread_id}
    snapshot = _document(tx.mint("snap"), taken, skipped, **about)
    _write_ref(flow, snapshot)
    return snapshot, True


def _document(snapshot_id: str, taken: Snapshot, skipped: tuple[Skipped, ...], **about: Any) -> Rescue:
    return Rescue(
        id=snapshot_id,
        commit=taken.commit,
        tree=taken.tree,
        head=taken.head,
        branch=taken.branch,
        files=taken.files,
        bytes=taken.bytes,
        skipped=skipped,
        **about,
    )


def same_index(flow: Flow, one: str, other: str) -> bool:
    """Whether two snapshots have the same staged: the same files may be staged in another way."""
    found = [
        flow.world.git.try_run("rev-parse", "--verify", "--quiet", f"{commit}^2^{{tree}}")[1] for commit in (one, other)
    ]
    return found[0] == found[1]


def _write_ref(flow: Flow, snapshot: Rescue) -> None:
    ref = ref_of(snapshot)
    try:
        flow.store.refs.move([Move(ref, None, snapshot.commit)])
    except Contention:
        raise Busy(f"'{ref}' is locked by another program, expected to make it", ref=ref) from None
    if flow.store.refs.read(ref) != snapshot.commit:
        raise External(f"'{ref}' does not hold what was written, expected '{snapshot.commit}'", program="git")


def keep(tx: Tx, snapshot: Rescue) -> None:
    """Stage a snapshot's document, and that it is the newest of its worktree."""
    tx.put(snapshot)
    worktree = tx.get(Worktree, snapshot.worktree_id)
    if worktree is not None:
        tx.put(worktree.but(latest_snapshot_id=snapshot.id))


def listing(tx: Tx, want: Listing) -> dict[str, Any]:
    """List snapshots of uncommitted work, newest first, each with the call that brings it back."""
    if want.worktree_id:
        tx.require(Worktree, want.worktree_id)
    if want.session_id:
        tx.require(Session, want.session_id)

    def listed(then: Tx) -> list[Rescue]:
        of = {"worktree_id": want.worktree_id} if want.worktree_id else {}
        found = then.found(Rescue, released_at=None, **of)
        if want.session_id:
            own = {row.id for row in then.where(Worktree, owner_session_id=want.session_id)}
            found = [one for one in found if one.worktree_id in own]
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    return paging.page(tx, want, listed, _show)


def _show(tx: Tx, snapshot: Rescue) -> dict[str, Any]:
    item: dict[str, Any] = {
        "snapshot_id": snapshot.id,
        "ref": ref_of(snapshot),
        "worktree_id": snapshot.worktree_id,
        "branch": snapshot.branch,
        "head": snapshot.head,
        "reason": snapshot.reason,
        "at": snapshot.created_at,
        "files": snapshot.files,
        "bytes": snapshot.bytes,
        "restore": restore(snapshot),
    }
    if snapshot.skipped:
        item["skipped"] = [{"path": one.path, "bytes": one.bytes} for one in snapshot.skipped]
    return {name: value for name, value in item.items() if value is not None}
