"""A worktree's branch merged into its parent's: computed in memory, then folder, branch and record, in that order."""

from pathlib import Path
from typing import Any, NamedTuple

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Conflict, Forbidden, WrongState
from codestrator.methods import intents, places, targets, who
from codestrator.methods.worktrees import check_owner, live_threads
from codestrator.params import Params, SessionId, WorktreeId
from codestrator.ports import Move
from codestrator.records import Intent, Thread, Worktree
from codestrator.text import counted


class Merge(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    worktree_id: WorktreeId | None = None


class Side(NamedTuple):
    """One of the two worktrees, with its folder and its branch's head."""

    worktree: Worktree
    folder: Path
    branch: str
    head: str


class Plan(NamedTuple):
    child: Side
    parent: Side
    commit: str
    files: list[str]


def merge_to_parent(flow: Flow, want: Merge) -> dict[str, Any]:
    """Merge a worktree's branch into its parent's, always with a merge commit; conflicts leave all as it was."""
    intents.settle(flow, "merge")
    tx = flow.read()
    worktree = _child(tx, want)
    child = _side(flow, tx, worktree)
    parent = _side(flow, tx, _parent(tx, worktree))
    if flow.world.worktrees.ahead(child.head, parent.head):
        _check_child(flow, tx, child)
        plan = _plan(flow, child, parent)
        _check_parent(flow, plan)
        _act(flow, plan)
    elif worktree.merge_state != "merged_to_parent":  # nothing of its own, or merged by hand
        _check_child(flow, tx, child)
        fields = {"old": parent.head, "new": parent.head}
        flow.transact(lambda tx: _recorded(tx, worktree.id, fields["new"]), worktree.id)
    return _answer(flow, worktree.id, parent.worktree.id)


def _child(tx: Tx, want: Merge) -> Worktree:
    session = who.active_session(tx, want.session_id)
    thread = tx.get(Thread, tx.caller.thread_id)
    own = thread.worktree_id if thread else session.session_root_worktree_id
    worktree = tx.require(Worktree, want.worktree_id or own or "")
    if tx.caller.kind == "child" and worktree.id != own:
        raise Forbidden(
            f"'{worktree.id}' is not the worktree of '{tx.caller.thread_id}', expected '{own}'",
            role=tx.caller.role,
            needs="its own worktree",
        )
    check_owner(tx, worktree, session)
    if worktree.kind != "task_branch":
        raise Forbidden(
            f"'{worktree.id}' is a {worktree.kind.replace('_', ' ')}, expected a task branch",
            hint="Land a session's root with merge.main.request.",
            role=tx.caller.role,
            needs="a worktree of kind task_branch",
        )
    return worktree


def _parent(tx: Tx, worktree: Worktree) -> Worktree:
    parent = tx.get(Worktree, worktree.parent_worktree_id)
    if parent is None or parent.status != "active":
        found = f"has the parent '{parent.id}' that is '{parent.status}'" if parent else "has no parent"
        raise _refuse(worktree, found, "an active parent")
    return parent


def _side(flow: Flow, tx: Tx, worktree: Worktree) -> Side:
    folder = places.path_of(tx, worktree)
    if folder is None or not folder.is_dir() or worktree.branch is None:
        raise _refuse(worktree, "has no folder on this machine", "one on disk")
    head, _, branch = flow.store.head(folder)
    if branch != worktree.branch:
        raise _refuse(worktree, f"has '{branch or 'a detached HEAD'}' checked out", f"'{worktree.branch}'")
    if operation := flow.world.worktrees.operation(folder):
        raise _refuse(worktree, f"has a {operation} in progress", "no operation in progress")
    return Side(worktree, folder, worktree.branch, head)


def _check_child(flow: Flow, tx: Tx, child: Side) -> None:
    if files := flow.world.worktrees.changes(child.folder):
        raise _refuse(
            child.worktree, f"has {len(files)} uncommitted changes, first '{files[0]}'", "none", files=files[:20]
        )
    rows = tx.where(Worktree, parent_worktree_id=child.worktree.id)
    if unmerged := [row.id for row in rows if row.status in ("planned", "active", "lost")]:
        raise _refuse(
            child.worktree, f"has the child '{unmerged[0]}'", "children merged or removed", unfinished=unmerged
        )
    mine = {tx.caller.thread_id}
    if others := [one for one in live_threads(tx, child.worktree) if one not in mine]:
        raise _refuse(child.worktree, f"is where '{others[0]}' works", "no other live thread", threads=others)


def _plan(flow: Flow, child: Side, parent: Side) -> Plan:
    message = f"Merge branch '{child.branch}' into {parent.branch}"
    commit, conflicts = flow.world.branches.merge(parent.head, child.head, message=message)
    if conflicts:
        raise Conflict(
            f"'{child.branch}' conflicts with '{parent.branch}' in {counted(len(conflicts), 'file')}",
            hint=f"Merge '{parent.branch}' into '{child.branch}', settle the conflicts there, then call again.",
            files=conflicts,
        )
    return Plan(child, parent, commit, flow.world.branches.changed(parent.head, commit))


def _check_parent(flow: Flow, plan: Plan) -> None:
    written = set(plan.files)
    if files := [name for name in flow.world.worktrees.changes(plan.parent.folder, plan.files) if name in written]:
        raise _refuse(
            plan.parent.worktree,
            f"has local changes on {counted(len(files), 'file')} that the merge writes, first '{files[0]}'",
            "none",
            files=files[:20],
        )


def _refuse(worktree: Worktree, found: str, expected: str, **details: Any) -> WrongState:
    return WrongState(
        f"'{worktree.id}' {found}, expected {expected}",
        hint="Put that right, then call the same again.",
        found=found,
        expected=expected,
        **details,
    )


def _act(flow: Flow, plan: Plan) -> None:
    """Bring the parent's folder up, then move its branch together with what is recorded of it."""
    child, parent = plan.child.worktree, plan.parent
    args = {"branch": parent.branch, "old": parent.head, "new": plan.commit, "path": str(parent.folder)}
    intent_id = flow.transact(
        lambda tx: intents.plan(flow, tx, "merge", worktree_id=child.id, parent_id=parent.worktree.id, **args).id,
        child.id,
    )

    def publish(tx: Tx) -> None:
        now = flow.store.refs.read(f"refs/heads/{parent.branch}")
        if now != parent.head:
            raise Conflict(
                f"'{parent.branch}' moved to '{now}' meanwhile, expected '{parent.head}'",
                hint="Call the same again.",
                found=now,
                expected=parent.head,
            )
        tx.base.also_move(Move(f"refs/heads/{parent.branch}", parent.head, plan.commit))
        _recorded(tx, child.id, plan.commit)
        intents.end(tx, intent_id, "done")

    try:
        flow.world.branches.bring_up(parent.folder, parent.head, plan.commit)
        flow.transact(publish, child.id, mover=flow.world.branches.move)
    except BaseException as error:
        why = error.message if isinstance(error, CodestratorError) else type(error).__name__
        ended = intents.give_up(flow, intent_id, why)
        if ended.state != "done" or not isinstance(error, CodestratorError):
            raise  # otherwise git failed after it had moved the refs: it is merged


def _recorded(tx: Tx, worktree_id: str, commit: str) -> None:
    worktree = tx.require(Worktree, worktree_id)
    tx.put(worktree.but(status="closed", merge_state="merged_to_parent", merged_at=tx.at, merged_commit=commit))


def _answer(flow: Flow, child_id: str, parent_id: str) -> dict[str, Any]:
    tx = flow.read()
    child = tx.require(Worktree, child_id)
    merged = child.merged_commit or child.base_commit
    head = flow.store.refs.read(f"refs/heads/{child.branch}")
    own = head is not None and flow.world.worktrees.resolve(f"{merged}^2") == head
    before = flow.world.worktrees.resolve(f"{merged}^1") if own else None
    return {
        "result": "merged_to_parent",
        "child_worktree": places.shown_worktree(tx, child),
        "parent_worktree": places.shown_worktree(tx, tx.require(Worktree, parent_id)),
        "merge_commit": merged,
        "changed_files": flow.world.branches.changed(before, merged) if before else [],
    }


def settle(flow: Flow, intent: Intent) -> intents.Publish | None:
    """Record a merge whose branch had moved; take the parent's folder back where it had not."""
    branch, old, new = (str(intent.args[name]) for name in ("branch", "old", "new"))
    if not targets.holds(flow, branch, new):  # perhaps not yet: git may have outlived a merge that was killed
        flow.transact(lambda tx: intents.mark(tx, intent.id, "its process ended"), intent.id)
        if flow.read().require(Intent, intent.id).state != "planned":
            return None
    if targets.holds(flow, branch, new):

        def finish(tx: Tx) -> None:
            _recorded(tx, str(intent.args["worktree_id"]), new)
            intents.end(tx, intent.id, "done")

        return finish
    problems = targets.bring_back(flow, [Path(str(intent.args["path"]))], branch, old, new)
    outcome = {**(intent.outcome or {}), **({"left": problems} if problems else {})}
    return lambda tx: intents.end(tx, intent.id, "failed" if intent.outcome else "reversed", **outcome)
