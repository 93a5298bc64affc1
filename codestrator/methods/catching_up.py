"""A worktree that this machine kept from before, brought to what was done with it on another machine since."""

from pathlib import Path
from typing import Any

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError
from codestrator.methods import bringing, intents, places, rescue
from codestrator.ports import Snapshot
from codestrator.records import Intent, Rescue, Worktree


def catch_up(flow: Flow, worktree: Worktree, folder: Path, snapshot: Rescue, owner: str) -> bool:
    """Files, index and branch of the newest snapshot, if what is here is exactly what an older one keeps.

    False where there is nothing to do. Refused where somebody has worked here since.
    """
    tx = flow.read()
    if snapshot.writer == tx.machine or _done(tx, worktree, snapshot):
        return False  # what is here is the newest, or went on from it
    here = _look(flow, folder)
    if _same(flow, here, snapshot):
        return False
    known = [one for one in tx.found(Rescue, worktree_id=worktree.id) if _same(flow, here, one)]
    if not known or here.branch != worktree.branch or here.skipped or flow.world.worktrees.operation(folder):
        raise bringing.refuse(
            worktree,
            "was worked on here since it was handed over",
            f"it as it was; '{snapshot.id}' has the newest",
        )
    about: dict[str, Any] = {"worktree_id": worktree.id, "session_id": owner, "snapshot_id": snapshot.id}
    intent_id = flow.transact(lambda tx: intents.plan(flow, tx, "bring_up", **about).id, worktree.id)
    try:
        flow.world.worktrees.replace(folder, here.commit, snapshot.commit, str(worktree.branch))
    except CodestratorError as error:
        message = error.message
        flow.transact(lambda tx: intents.end(tx, intent_id, "failed", message=message), worktree.id)
        raise
    flow.transact(lambda tx: intents.end(tx, intent_id, "done"), worktree.id)
    return True


def _look(flow: Flow, folder: Path) -> Snapshot:
    limit = flow.settings.snapshot_max_bytes
    return flow.world.worktrees.snapshot(folder, message="compared", max_untracked_bytes=limit)


def _same(flow: Flow, here: Snapshot, kept: Rescue) -> bool:
    return (here.tree, here.head) == (kept.tree, kept.head) and rescue.same_index(flow, here.commit, kept.commit)


def _done(tx: Tx, worktree: Worktree, snapshot: Rescue) -> bool:
    """Whether that snapshot was brought here before: what is there now went on from it."""
    return any(
        (one.args.get("worktree_id"), one.args.get("snapshot_id")) == (worktree.id, snapshot.id)
        for one in tx.found(Intent, state="done", machine=tx.machine)
        if one.args.get("action") in ("bring_back", "bring_up")
    )


def settle(flow: Flow, intent: Intent) -> intents.Publish:
    """Finish it: the files are partly of the one, partly of the other. What is there is kept first, whoever made it."""
    tx = flow.read()
    worktree = tx.require(Worktree, str(intent.args["worktree_id"]))
    snapshot = tx.require(Rescue, str(intent.args["snapshot_id"]))
    folder = places.path_of(tx, worktree)
    if folder is None or not folder.is_dir():
        return lambda tx: intents.end(tx, intent.id, "reversed")
    kept, _ = rescue.take(flow, worktree, folder, "interrupted", own=True)
    outcome: dict[str, str] = {}
    try:
        flow.world.worktrees.replace(folder, kept.commit, snapshot.commit, str(worktree.branch))
    except CodestratorError as error:  # what is there is kept; the next taking tells of it
        outcome["message"] = error.message

    def finish(tx: Tx) -> None:
        if tx.get(Rescue, kept.id) is None:
            tx.put(kept)
        intents.end(tx, intent.id, "failed" if outcome else "done", **outcome)

    return finish
