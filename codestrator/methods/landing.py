"""A landing: everything checked, merged in memory, then folders, branch, state and lock book, in that order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from codestrator import params
from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Conflict, WrongState
from codestrator.methods import authority, intents, liveness, mainlock, places, queue, recording, targets, who
from codestrator.methods.tasks import Plan as Tasks
from codestrator.params import LandId, Oid, Params, SessionId
from codestrator.ports import Move
from codestrator.records import CLOSED, Intent, Land, Lease, MergeRequest, Session, Task, Thread, Worktree
from codestrator.text import counted


class Landing(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    request_id: LandId | None = None
    head: Oid | None = None
    message: Annotated[str, params._text(size=8 * 1024)] | None = None
    fence: int | None = None
    dry_run: bool = False


class Plan(NamedTuple):
    """What is to be done: `old` is where the target is, `commit` the merge of `head` into it."""

    item: Land
    target: str
    old: str
    head: str
    commit: str
    fence: int
    folders: Sequence[Path]


def land(flow: Flow, want: Landing) -> dict[str, Any]:
    """Merge the session's approved work into its target, under the merge lock, which is then given back.

    All or nothing: target, tasks, queue and lock move together, and a crash leaves what the next call completes.
    Conflicts are refused with their files, nothing moved and the lock still held.
    """
    intents.settle(flow, "land")
    tx = flow.read()
    item = _item(flow, tx, want)
    if item.state == "merged":
        return _answer(flow, item.id)
    lease = mainlock.require(tx, item.target_branch, item.session_id, want.fence)
    head = _check_head(flow, tx, want, item)
    _check_source(flow, tx, item)
    _check_cases(tx, item)
    plan = _plan(flow, tx, item, head, lease, want.message)
    targets.check(flow, plan.folders, plan.target, flow.world.branches.changed(plan.old, plan.commit))
    if want.dry_run:
        for folder in plan.folders:
            flow.world.branches.expect_room(folder, plan.old, plan.commit)
        return {"would_land": True, "target_branch": plan.target, "target_before": plan.old, "head": head, "item": item}
    _act(flow, plan)
    return _answer(flow, item.id)


def _item(flow: Flow, tx: Tx, want: Landing) -> Land:
    session = who.session_of(tx, want.session_id)
    for lease in tx.found(Lease, domain="merge", session_id=session.handed_to, state="held"):
        who.check_not_taken(session, lease.id, lease, want.fence)
    session = who.active_session(tx, session.id)
    item = queue.own_item(tx, session.id, want.request_id) or _just_landed(flow, tx, session)
    if item is None or item.session_id != session.id:
        raise WrongState(
            (f"'{item.id}' is of '{item.session_id}'" if item else f"'{session.id}' has nothing in the queue")
            + f", expected an item of '{session.id}'",
            hint="Call merge.main.request first.",
            found=item.session_id if item else "no item",
            expected=session.id,
        )
    return item


def _just_landed(flow: Flow, tx: Tx, session: Session) -> Land | None:
    """What landed last, while nothing was added to it: who asks again did not get the answer."""
    merged = [tx.require(Land, row.id) for row in tx.where(Land, session_id=session.id, state="merged")]
    last = max(merged, key=lambda one: (one.completed_at or "", one.id), default=None)
    return last if last and last.head == queue.head_of(flow, tx, last.from_worktree_id) else None


def _check_head(flow: Flow, tx: Tx, want: Landing, item: Land) -> str:
    """The approved head; refused where nothing is approved, or the branch went on since."""
    head = queue.head_of(flow, tx, item.from_worktree_id)
    if want.head not in (None, head):
        raise Conflict(
            f"'head' is '{want.head}', expected '{head}', where the branch is", found=want.head, expected=head
        )
    request = tx.require(MergeRequest, item.merge_request_id)
    if head is not None and request.approved_head == head and request.status == item.state == "approved":
        return head
    state = queue.state_of(tx, item, head)
    approved = request.approved_head if item.state == "approved" else None
    found = f"approved for '{approved[:12]}'" if approved else f"'{state}'"
    raise WrongState(
        f"'{item.id}' is {found}, expected it approved for '{(head or 'nothing')[:12]}', the head of its branch",
        hint="Mend what the review named, then call merge.review.request_auto."
        if item.state == "blocked"
        else "Call merge.review.request_auto for a review of this head.",
        found=approved or state,
        expected=head,
    )


def _check_source(flow: Flow, tx: Tx, item: Land) -> None:
    worktree = tx.require(Worktree, item.from_worktree_id)
    folder = places.path_of(tx, worktree)
    if folder is None or not folder.is_dir():
        return  # its branch is all that is needed, and nothing can be uncommitted there
    found = flow.world.worktrees.operation(folder)
    files = flow.world.worktrees.changes(folder)
    if found or files:
        raise WrongState(
            f"'{worktree.id}' has "
            + (f"a {found} in progress" if found else f"{len(files)} uncommitted changes, first '{files[0]}'")
            + ", expected none",
            hint="Commit or finish it, have the new head reviewed, then call the same again.",
            found=found or counted(len(files), "change"),
            expected="none",
            files=files[:20],
        )


def _cases(tx: Tx, item: Land) -> list[Any]:
    """The cases of the request's feature, as rows."""
    feature = tx.require(MergeRequest, item.merge_request_id).feature_task_id
    return [row for row in Tasks(tx).under(feature) if row.level == "case"] if feature else []


def _check_cases(tx: Tx, item: Land) -> None:
    if left := [row for row in _cases(tx, item) if row.status not in CLOSED]:
        raise WrongState(
            f"the feature has {counted(len(left), 'case')} not closed, first '{left[0].id}', expected none",
            hint="Complete or cancel them first.",
            found=len(left),
            expected=0,
            unfinished=[{"id": row.id, "title": row.title, "status": row.status} for row in left],
        )


def _plan(flow: Flow, tx: Tx, item: Land, head: str, lease: Lease, message: str | None) -> Plan:
    target = item.target_branch
    old = queue.tip_of(flow, target)
    if old is None:
        raise WrongState(f"branch '{target}' is gone, expected it to land on", found="nothing", expected=target)
    branch = tx.require(Worktree, item.from_worktree_id).branch
    request = tx.require(MergeRequest, item.merge_request_id)
    feature = tx.get(Task, request.feature_task_id)
    subject = message or f"Merge {feature.title if feature else branch} into {target}"
    trailers = (
        f"Codestrator-Land: {item.id}\nCodestrator-Review: {request.review_id}\nFence: merge/{target}:{lease.fence}\n"
    )
    text = f"{subject.rstrip()}\n\n{trailers}"
    commit, files = flow.world.branches.merge(old, head, message=text, sign=True)
    if files:
        raise Conflict(
            f"'{branch}' conflicts with '{target}' in {counted(len(files), 'file')}, first '{files[0]}'",
            hint=f"Merge '{target}' into '{branch}', settle the conflicts there, and have the new head reviewed.",
            files=files,
        )
    return Plan(item, target, old, head, commit, lease.fence, targets.folders_of(flow, target))


def _act(flow: Flow, plan: Plan) -> None:
    """Folders first: a kill in between leaves a staged landing, never a checkout that silently reverts it."""
    item = plan.item
    args = {"land_id": item.id, "target": plan.target, "old": plan.old, "new": plan.commit, "fence": plan.fence}
    folders = [str(one) for one in plan.folders]
    intent_id = flow.transact(
        lambda tx: intents.plan(flow, tx, "land", session_id=item.session_id, folders=folders, **args).id,
        item.id,
    )
    lines: list[recording.Line] = []

    def publish(tx: Tx) -> None:
        lines.clear()
        _compare(flow, tx, plan)
        tx.base.also_move(Move(f"refs/heads/{plan.target}", plan.old, plan.commit))
        _record(flow, tx, tx.require(Intent, intent_id), lines)

    try:
        for folder in plan.folders:
            flow.world.branches.bring_up(folder, plan.old, plan.commit)
        aside = flow.world.branches.hooked()
        authority.publish(flow, publish, item.id, mover=flow.world.branches.move, aside=aside)
    except BaseException as error:
        why = error.message if isinstance(error, CodestratorError) else type(error).__name__
        ended = intents.give_up(flow, intent_id, why)
        if ended.state != "done" or not isinstance(error, CodestratorError):
            raise  # otherwise git failed after it had moved the refs: it has landed
    for line in lines:
        flow.world.notes.add(*line)


def _compare(flow: Flow, tx: Tx, plan: Plan) -> None:
    """What was checked still holds, in the picture that is published on."""
    mainlock.require(tx, plan.target, plan.item.session_id, plan.fence)
    now = tx.require(Land, plan.item.id)
    head, tip = queue.head_of(flow, tx, now.from_worktree_id), queue.tip_of(flow, plan.target)
    if (now.state, now.head, head) != ("approved", plan.head, plan.head):
        raise WrongState(
            f"'{now.id}' became '{now.state}' at '{(head or '')[:12]}' meanwhile, expected it approved at "
            f"'{plan.head[:12]}'",
            hint="Look at merge.main.status, then call again.",
            found=head,
            expected=plan.head,
        )
    if tip != plan.old:
        raise Conflict(
            f"'{plan.target}' moved to '{tip}' meanwhile, expected '{plan.old}'",
            hint="Call the same again.",
            found=tip,
            expected=plan.old,
        )


def _record(flow: Flow, tx: Tx, intent: Intent, lines: list[recording.Line]) -> None:
    """Everything that follows from a target that holds the merge; done twice it is done once."""
    args = intent.args
    commit, target = str(args["new"]), str(args["target"])
    item = tx.require(Land, str(args["land_id"]))
    done = {"merge_commit": commit, "completed_at": tx.at, "error_message": None}
    tx.put(item.but(state="merged", **done))
    tx.put(tx.require(MergeRequest, item.merge_request_id).but(status="merged"))
    landed = [row.id for row in _cases(tx, item) if row.status == "done"]
    for case_id in landed:
        tx.put(tx.require(Task, case_id).but(status="landed", landed_commit=commit))
    worktree = tx.require(Worktree, item.from_worktree_id)
    tx.put(worktree.but(merge_state="landed", merged_at=tx.at, merged_commit=commit))
    lease = tx.get(Lease, queue.lock_id(target))
    if lease is not None and (lease.state, lease.fence) == ("held", args["fence"]):
        tx.put(lease.but(state="released"))
        tx.live.leave(liveness.lease_file(lease))
    session = tx.require(Session, item.session_id)
    thread = tx.require(Thread, session.root_thread_id)
    tree = str(flow.store.objects.commit(commit).tree_id)
    spot = places.Spot(worktree.id, commit, tree, False)
    recording.record_checkpoint(tx, session, thread, spot, "land", lines, summary=f"{item.id} landed on {target}")
    intents.end(tx, intent.id, "done", case_ids=landed)


def _answer(flow: Flow, land_id: str) -> dict[str, Any]:
    tx = flow.read()
    item = tx.require(Land, land_id)
    request = tx.require(MergeRequest, item.merge_request_id)
    ended = [one for one in tx.found(Intent, state="done") if one.args.get("land_id") == land_id]
    args = ended[0].args if ended else {}
    tasks = Tasks(tx)
    feature = tasks.rows.get(request.feature_task_id) if request.feature_task_id else None
    mine = [tx.require(Task, row.id) for row in _cases(tx, item) if row.status == "landed"]
    landed = [{"id": one.id, "status": one.status} for one in mine if one.landed_commit == item.merge_commit]
    return {
        "landed": True,
        "merge_commit": item.merge_commit,
        "target_branch": item.target_branch,
        "target_before": args.get("old") or flow.world.worktrees.resolve(f"{item.merge_commit}^1"),
        "item": item,
        "merge_request": request,
        "tasks": ([{"id": feature.id, "status": tasks.status(feature)}] if feature else []) + landed,
        "main_lock": {"target_branch": item.target_branch, "state": "unlocked"},
        "updated_worktrees": args.get("folders", []),
    }


def settle(flow: Flow, intent: Intent) -> intents.Publish | None:
    """Complete a landing whose target holds the merge; take the folders back where it does not."""
    old, new, target = (str(intent.args[name]) for name in ("old", "new", "target"))
    if not targets.holds(flow, target, new):  # perhaps not yet: git may have outlived a landing that was killed
        flow.transact(lambda tx: intents.mark(tx, intent.id, "its process ended"), intent.id)
        if flow.read().require(Intent, intent.id).state != "planned":
            return None
    if targets.holds(flow, target, new):
        lines: list[recording.Line] = []
        flow.transact(lambda tx: _record(flow, tx, tx.require(Intent, intent.id), lines), intent.id)
        for line in lines:
            flow.world.notes.add(*line)
        return lambda _: None
    folders = [Path(one) for one in intent.args.get("folders", ())]
    problems = targets.bring_back(flow, folders, target, old, new)
    outcome = {**(intent.outcome or {}), **({"left": problems} if problems else {})}
    return lambda tx: intents.end(tx, intent.id, "failed" if intent.outcome else "reversed", **outcome)
