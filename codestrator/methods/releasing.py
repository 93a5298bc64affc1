"""Snapshots that checkpoints took are not kept for ever: the old ones are released, and their refs go.

Each ref costs every fetch and push of the user, and git never deletes what one holds. A release is told in the
snapshot's document first, which travels; whoever has the ref and reads that, drops it.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import groupby

from codestrator.calls import Flow, Tx
from codestrator.clock import parse, rfc3339
from codestrator.methods import rescue
from codestrator.records import Handoff, Rescue, Worktree

REASON = "checkpoint"  # what was taken before a removal, a stop or a handoff stays for good
NEWEST = 10  # of each worktree
KEPT = timedelta(days=14)
AT_ONCE = 500


def release(flow: Flow) -> None:
    """Release what is over, and drop the refs of all that were released, here or elsewhere."""
    if next(_over(flow.read()), None):
        flow.transact(_mark)
    drop(flow, rescue.refs(flow))


def drop(flow: Flow, refs: Mapping[str, str]) -> None:
    """Remove those of these refs, with their commits, whose snapshots were released."""
    gone = released(flow.read(), refs)
    lines = [f"delete {ref} {refs[ref]}" for ref in gone]
    for at in range(0, len(lines), AT_ONCE):
        # Not through libgit2, which cannot delete a ref that git packs at that moment. Who loses leaves it for later.
        flow.world.git.try_run("update-ref", "--stdin", stdin=("\n".join(lines[at : at + AT_ONCE]) + "\n").encode())


def released(tx: Tx, refs: Mapping[str, str]) -> set[str]:
    """Which of these refs hold a snapshot that was released, and that alone."""
    over = {row.id for row in tx.rows(Rescue) if row.released_at} if refs else set()
    return {ref for ref in refs if (one := rescue.id_of(ref)) in over and tx.require(Rescue, one).commit == refs[ref]}


def _mark(tx: Tx) -> None:
    for one in list(_over(tx))[:AT_ONCE]:
        tx.put(one.but(released_at=rfc3339(tx.now.at)))


def _over(tx: Tx) -> Iterator[Rescue]:
    """Older than they are kept, not among the newest of their worktree, and named by nothing that needs them."""
    rows = [row for row in tx.where(Rescue, reason=REASON) if not row.released_at]
    if not any(_old(tx, row.created_at) for row in rows):
        return
    needed = {tx.require(Worktree, row.id).latest_snapshot_id for row in tx.rows(Worktree)}
    needed |= {one for offer in tx.all(Handoff) for one in offer.snapshots}
    rows.sort(key=lambda row: (row.worktree_id, row.created_at, row.id), reverse=True)
    for _, of_worktree in groupby(rows, key=lambda row: row.worktree_id):
        for row in list(of_worktree)[NEWEST:]:
            if row.id not in needed and _old(tx, row.created_at):
                yield tx.require(Rescue, row.id)


def _old(tx: Tx, created_at: str) -> bool:
    return tx.now.at - parse(created_at) > KEPT
