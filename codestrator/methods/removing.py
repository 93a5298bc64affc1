"""Removal of worktrees: only of what is kept elsewhere, and so that a crash in between is finished or undone."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Forbidden, WrongState
from codestrator.methods import intents, places, rescue, who
from codestrator.methods.worktrees import check_owner, live_threads
from codestrator.params import Params, SessionId, WorktreeId
from codestrator.ports import Snapshot
from codestrator.records import Intent, Rescue, Session, Worktree
from codestrator.text import counted, one_line

MERGED = ("merged_to_parent", "landed")
SHOWN = 20


class Remove(Params, frozen=True, kw_only=True):
    worktree_id: WorktreeId
    session_id: SessionId | None = None
    rescue: Annotated[bool, Meta(description="keep unmerged or uncommitted work in a snapshot first")] = False
    delete_branch: Annotated[bool, Meta(description="the branch too, which is merged")] = False
    dry_run: bool = False


class Found(NamedTuple):
    """What a worktree has: its folder if it is there, its branch's head, how that is kept elsewhere, if it is."""

    folder: Path | None
    head: str | None
    merge_state: str
    unsafe: bool = False


def remove(flow: Flow, want: Remove) -> dict[str, Any]:
    """Remove a worktree; with uncommitted or unmerged work only with rescue, which keeps it in a snapshot first.

    Its branch stays unless told otherwise.
    """
    intents.settle(flow, "remove_worktree")
    tx = flow.read()
    worktree = _own(tx, want)
    if worktree.status == "removed":
        return answer(tx, worktree)
    found = inspect(flow, tx, worktree, rescue=want.rescue)
    if want.delete_branch:
        _check_branch_unused(flow, tx, worktree, found.head)
    if want.dry_run:
        return _answer(tx, worktree, not want.delete_branch, found.head)
    snapshot = _rescued(flow, worktree, found, want.delete_branch) if found.unsafe else None
    return take_away(flow, worktree, found, want.delete_branch, snapshot)


def _rescued(flow: Flow, worktree: Worktree, found: Found, delete_branch: bool) -> Rescue | None:
    """Everything that is there in a snapshot, published before anything is touched."""
    if found.folder is None:
        if found.head and found.head != _tip(flow, worktree):
            raise _refuse(
                worktree,
                f"has no folder, and was at '{found.head[:12]}' with commits that are not merged anywhere",
                "them on a branch",
                hint=f"Keep them with git branch <name> {found.head}, then call the same again.",
                commits=[found.head],
            )
        if delete_branch:
            raise _refuse(worktree, "has no folder to take a snapshot of", "its branch kept", hint="Keep its branch.")
        return None
    trees = flow.world.worktrees
    if trees.has_submodules(found.folder) and (files := trees.unsaved(found.folder)):
        raise _refuse(
            worktree,
            f"has submodules, of which a snapshot holds no content, and {len(files)} uncommitted changes",
            "none",
            hint="Commit what is there, in a submodule too and pushed from it, then call the same again.",
            files=files[:SHOWN],
        )
    snapshot, new = rescue.take(
        flow, worktree, found.folder, "removal", own=True, check=lambda taken: _check_whole(worktree, taken)
    )
    if new:
        flow.transact(lambda tx: rescue.keep(tx, snapshot), worktree.id)
    return snapshot


def _check_whole(worktree: Worktree, taken: Snapshot) -> None:
    if names := [name for name, _ in taken.skipped]:
        raise _refuse(
            worktree,
            f"has {counted(len(names), 'file')} that a snapshot leaves out, first '{names[0]}'",
            "none",
            hint="Move it out of the worktree, or give codestrator.snapshotMaxBytes a greater value for a large file.",
            files=names,
        )


def _own(tx: Tx, want: Remove) -> Worktree:
    session = who.session_of(tx, want.session_id)
    worktree = tx.require(Worktree, want.worktree_id)
    if worktree.kind == "main":
        raise Forbidden(
            f"'{worktree.id}' is the main worktree, expected one made by codestrator",
            role=tx.caller.role,
            needs="nobody may",
        )
    check_owner(tx, worktree, session, or_left=True)
    return worktree


def inspect(flow: Flow, tx: Tx, worktree: Worktree, *, rescue: bool = False) -> Found:
    """Refuse with `wrong_state` whatever would lose something: somebody's place of work, files, commits.

    Files and commits are no reason where they are to be rescued.
    """
    if threads := live_threads(tx, worktree):
        hint = "End it first: thread.child.stop for a child, session.close for a session's own thread."
        raise _refuse(worktree, f"is where '{threads[0]}' works", "no live thread in it", hint=hint, threads=threads)
    place = places.path_of(tx, worktree)
    folder = place if place is not None and place.is_dir() else None
    if folder is not None and (operation := flow.world.worktrees.operation(folder)):
        hint = f"Finish or abort the {operation} there, then call the same again."
        raise _refuse(worktree, f"has a {operation} in progress", "no operation in progress", hint=hint)
    if place is not None:
        _check_inner(flow, worktree, place)
    files = flow.world.worktrees.unsaved(folder) if folder is not None else []
    if files and not rescue:
        raise _refuse(
            worktree, f"has {len(files)} uncommitted changes, first '{files[0]}'", "none", files=files[:SHOWN]
        )
    # What is checked out counts: a detached HEAD may hold commits that no branch has.
    checked_out = flow.store.head(folder)[0] if folder else _last_head(flow, place)
    heads = list(dict.fromkeys(one for one in (checked_out, _tip(flow, worktree)) if one))
    try:
        states = [_merged(flow, tx, worktree, head) for head in heads]
    except WrongState:
        if not rescue:
            raise
        return Found(folder, heads[0], "abandoned", True)
    state = worktree.merge_state if worktree.merge_state in MERGED else next(iter(states), "abandoned")
    return Found(folder, heads[0] if heads else None, state, bool(files))


def _check_inner(flow: Flow, worktree: Worktree, place: Path) -> None:
    """Refuse one that somebody has locked, and what would go with it: worktrees inside, what submodules alone have."""
    folders = flow.world.worktrees.folders()
    why = next((one.locked for one in folders if one.path == place), None)
    if why is not None and not why.startswith(places.LOCKED):
        raise _refuse(
            worktree,
            f"was locked by hand ('{one_line(why)[:100]}')",
            "it unlocked",
            hint=f"Call git worktree unlock {quote(str(place))}, then the same again.",
        )
    if inner := [str(one.path) for one in folders if place in one.path.parents and one.path.is_dir()]:
        raise _refuse(
            worktree,
            f"has another worktree inside, '{inner[0]}'",
            "none",
            hint="Move that elsewhere with git worktree move, then call the same again.",
            files=inner,
        )
    if names := flow.world.worktrees.unshared(place):
        raise _refuse(
            worktree,
            f"has commits in the submodule '{names[0]}' that no remote of it has",
            "them pushed",
            hint="Push them from that submodule, then call the same again.",
            submodules=names,
        )


def _tip(flow: Flow, worktree: Worktree) -> str | None:
    return flow.store.refs.read(f"refs/heads/{worktree.branch}") if worktree.branch else None


def _last_head(flow: Flow, place: Path | None) -> str | None:
    """What git knows to have been checked out in a folder that is gone."""
    known = (one.head for one in flow.world.worktrees.folders() if one.path == place)
    return next((head for head in known if head.strip("0")), None)


def _check_branch_unused(flow: Flow, tx: Tx, worktree: Worktree, head: str | None) -> None:
    """Git would leave whoever has it checked out on a branch without a commit; and only what was looked at may go."""
    tip = _tip(flow, worktree)
    if tip not in (None, head):
        raise _refuse(
            worktree,
            f"is at '{(head or 'nothing')[:12]}', and its branch '{worktree.branch}' at '{str(tip)[:12]}'",
            "both at one commit",
            hint="Call it without delete_branch, which keeps the branch.",
        )
    place = places.path_of(tx, worktree)
    users = [one.path for one in flow.world.worktrees.folders() if one.branch == worktree.branch and one.path != place]
    if worktree.branch and users:
        raise _refuse(
            worktree,
            f"has its branch '{worktree.branch}' checked out in '{users[0]}'",
            "it checked out nowhere else",
            hint="Call it without delete_branch, which keeps the branch.",
        )


def _merged(flow: Flow, tx: Tx, worktree: Worktree, head: str) -> str:
    """How a head's commits are kept elsewhere; refused if they are not."""
    parent = tx.get(Worktree, worktree.parent_worktree_id)
    kept = {"merged_to_parent": parent.branch if parent and parent.kind != "main" else None}
    kept["landed"] = target_branch(flow, tx, worktree)
    missing: list[str] = []
    for state, branch in kept.items():
        tip = flow.store.refs.read(f"refs/heads/{branch}") if branch else None
        missing = flow.world.worktrees.ahead(head, tip or worktree.base_commit)
        if not missing:
            return state if tip and head != worktree.base_commit else "abandoned"
    raise _refuse(
        worktree,
        f"has {counted(len(missing), 'commit')} not merged anywhere, first '{missing[0][:12]}'",
        "merged commits only",
        hint="Call worktree.merge_to_parent first, or give rescue true.",
        commits=missing[:SHOWN],
    )


def target_branch(flow: Flow, tx: Tx, worktree: Worktree) -> str | None:
    """Where the session's work is to land: `main` where there is one, else the branch that the session began at."""
    if flow.store.refs.read("refs/heads/main") is not None:
        return "main"
    session = tx.get(Session, worktree.owner_session_id)
    return session.base_branch if session else None


def _refuse(worktree: Worktree, found: str, expected: str, **details: Any) -> WrongState:
    hint = details.pop("hint", "Finish or commit what is there, or give rescue true.")
    return WrongState(
        f"'{worktree.id}' {found}, expected {expected}", hint=hint, found=found, expected=expected, **details
    )


def take_away(
    flow: Flow, worktree: Worktree, found: Found, delete_branch: bool = False, snapshot: Rescue | None = None
) -> dict[str, Any]:
    """Remove what `inspect` let pass, or what is in the snapshot, with its intent before and its record after."""
    flow.world.notes.flush()

    def plan(tx: Tx) -> str:
        fields = {"head": found.head, "merge_state": found.merge_state, "delete_branch": delete_branch}
        path = str(found.folder) if found.folder else None
        return intents.plan(flow, tx, "remove_worktree", worktree_id=worktree.id, path=path, **fields).id

    intent_id = flow.transact(plan, worktree.id)
    try:
        kept = snapshot.commit if snapshot else None
        _act(flow, worktree, found.folder, found.head if delete_branch else None, kept)
    except CodestratorError as error:
        message = error.message
        flow.transact(lambda tx: intents.end(tx, intent_id, "failed", message=message), worktree.id)
        raise

    def record(tx: Tx) -> dict[str, Any]:
        removed = _recorded(tx, tx.require(Intent, intent_id))
        return _answer(tx, removed, not delete_branch, found.head)

    return flow.transact(record, worktree.id)


def _act(
    flow: Flow, worktree: Worktree, folder: Path | None, delete_at: str | None, rescued: str | None = None
) -> None:
    if folder is not None:
        flow.world.worktrees.remove(folder, rescued)
    else:  # git may still list a folder that somebody deleted
        place = worktree.places.get(flow.settings.machine)
        if place is not None:
            flow.world.worktrees.discard(flow.world.repo / place.path, None, None)
    if delete_at and worktree.branch:
        flow.world.worktrees.delete_branch(worktree.branch, delete_at)


def _recorded(tx: Tx, intent: Intent) -> Worktree:
    worktree = tx.require(Worktree, str(intent.args["worktree_id"]))
    place = worktree.places.get(tx.machine)
    gone = {tx.machine: place.but(status="removed")} if place else {}
    intents.end(tx, intent.id, "done")
    return tx.put(worktree.but(status="removed", merge_state=intent.args["merge_state"], places=worktree.places | gone))


def answer(tx: Tx, worktree: Worktree) -> dict[str, Any]:
    """The answer that the removal gave, as far as it is still known."""
    done = [one for one in tx.found(Intent, state="done") if one.args.get("worktree_id") == worktree.id]
    args = next((one.args for one in done if one.args.get("action") == "remove_worktree"), {})
    return _answer(tx, worktree, not args.get("delete_branch"), args.get("head"))


def _answer(tx: Tx, worktree: Worktree, kept: bool, head: str | None) -> dict[str, Any]:
    place = worktree.places.get(tx.machine)
    where = quote(place.path if place else worktree.slug)
    branch = quote(worktree.branch or "")
    command = f"git worktree add {where} {branch}" if kept else f"git worktree add -b {branch} {where} {head or ''}"
    snapshot = worktree.latest_snapshot_id
    params = {"snapshot_id": snapshot} if snapshot else {"worktree_id": worktree.id}
    result = {"worktree": places.shown_worktree(tx, worktree), "branch_kept": kept, "snapshot_id": snapshot}
    return result | {"restore": {"method": "rescue.restore", "params": params, "command": command.strip()}}


def settle(flow: Flow, intent: Intent) -> intents.Publish:
    """Finish a removal that had begun; one that had not is given up."""
    args = intent.args
    worktree = flow.read().require(Worktree, str(args["worktree_id"]))
    folder = Path(str(args["path"])) if args.get("path") else None
    if folder is not None and folder.exists():
        return lambda tx: intents.end(tx, intent.id, "reversed")
    try:
        _act(flow, worktree, folder, str(args["head"]) if args.get("delete_branch") and args.get("head") else None)
    except WrongState:  # somebody wrote into it meanwhile: it is back in its place
        return lambda tx: intents.end(tx, intent.id, "reversed")

    def finish(tx: Tx) -> None:
        _recorded(tx, tx.require(Intent, intent.id))

    return finish
