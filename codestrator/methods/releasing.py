"""Snapshots that checkpoints took are not kept for ever: the old ones are released, and their refs go.

Each ref costs every fetch and push of the user, and git never deletes what one holds. A release is told in the
snapshot's document first, which travels; whoever has the ref and reads that, drops it.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import groupby
from typing import Any

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
    if _own(flow.read()):
        flow.transact(_mark)
    drop(flow, rescue.refs(flow))


def drop(flow: Flow, refs: Mapping[str, str]) -> None:
    """Remove those of these refs, with their commits, whose snapshots were released."""
    lines = [f"delete {ref} {refs[ref]}" for ref in released(flow.read(), refs)]
    for at in range(0, len(lines), AT_ONCE):
        # Not through libgit2, which cannot delete a ref that git packs at that moment. Who loses leaves it for later.
        flow.world.git.try_run("update-ref", "--stdin", stdin=("\n".join(lines[at : at + AT_ONCE]) + "\n").encode())


def released(tx: Tx, refs: Mapping[str, str]) -> set[str]:
    """Which of these refs hold a snapshot that was released, and that alone.

    What another machine says is not enough for it: by what is known here it must be over too.
    """
    if not refs or not any(row.released_at for row in tx.rows(Rescue)):
        return set()
    over = {row.id for row in _over(tx) if row.released_at}
    return {ref for ref in refs if (one := rescue.id_of(ref)) in over and tx.require(Rescue, one).commit == refs[ref]}


def _mark(tx: Tx) -> None:
    for one in _own(tx)[:AT_ONCE]:
        tx.put(one.but(released_at=rfc3339(tx.now.at)))


def _own(tx: Tx) -> list[Rescue]:
    """What this machine has to release: the times of another are its own to judge."""
    found = (tx.require(Rescue, row.id) for row in _over(tx) if not row.released_at)
    return [one for one in found if one.writer == tx.machine]


def _over(tx: Tx) -> Iterator[Any]:
    """Older than they are kept, not among the newest of their worktree, and named by nothing that needs them."""
    rows = tx.where(Rescue, reason=REASON)
    if not any(_old(tx, row) for row in rows):
        return
    needed = {tx.require(Worktree, row.id).latest_snapshot_id for row in tx.rows(Worktree)}
    needed |= {one for offer in tx.all(Handoff) for one in offer.snapshots}
    rows.sort(key=lambda row: (row.worktree_id, row.created_at, row.id), reverse=True)
    for _, of_worktree in groupby(rows, key=lambda row: row.worktree_id):
        yield from (row for row in list(of_worktree)[NEWEST:] if row.id not in needed and _old(tx, row))


def _old(tx: Tx, row: Any) -> bool:
    """Not where the time is none: a document from elsewhere may say anything, and that is no reason to let it go."""
    try:
        at = parse(row.created_at)
    except ValueError:
        return False
    return at.tzinfo is not None and tx.now.at - at > KEPT
