"""Asking to be merged: the request, the place in the queue, and giving it up."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, Forbidden, InvalidParams, WrongState
from codestrator.methods import forecast, liveness, places, queue, reviewing, reviews, stopping, who
from codestrator.methods.tasks import status_of
from codestrator.params import Json, LandId, Line, Params, RequestId, SessionId, Summary, TaskId, Title, WorktreeId
from codestrator.records import LAND_OPEN, REQUEST_OPEN, Land, Lease, MergeRequest, Session, Task, Thread, Worktree
from codestrator.text import counted


class Request(Params, frozen=True, kw_only=True):
    feature_task_id: TaskId
    session_id: SessionId | None = None
    worktree_id: WorktreeId | None = None
    target_branch: Title | None = None
    reviewer_session: SessionId | None = None
    notes: Json | None = None
    notes_json: Annotated[Json | None, Meta(description="another name of notes")] = None


class Queue(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    from_worktree_id: Annotated[WorktreeId | None, Meta(description="the session's root")] = None
    target_branch: Title | None = None
    merge_request_id: RequestId | None = None
    auto_review: Annotated[bool | None, Meta(description="default: if merge_request_id is given")] = None
    reviewer_role: Title = reviewing.ROLE
    agent_guide_path: Line | None = None


class Cancel(Params, frozen=True, kw_only=True):
    request_id: LandId
    reason: Summary
    session_id: SessionId | None = None


def request(flow: Flow, want: Request) -> dict[str, Any]:
    """Ask that the session's branch be merged into a target for a feature; it is queued by merge.main.request."""
    target = queue.target_of(flow, flow.read(), want.target_branch)

    def act(tx: Tx) -> MergeRequest:
        session = who.active_session(tx, want.session_id)
        worktree = _root(tx, session, want.worktree_id)
        feature = tx.require(Task, want.feature_task_id)
        if feature.level != "feature":
            raise WrongState(
                f"'{feature.id}' is of level '{feature.level}', expected a feature",
                hint="Name the feature that its cases belong to.",
                found=feature.level,
                expected="feature",
            )
        if known := _open_request(tx, worktree.id, target):
            return known
        return tx.put(
            MergeRequest(
                id=tx.mint("mrq"),
                session_id=session.id,
                worktree_id=worktree.id,
                target_branch=target,
                feature_task_id=feature.id,
                notes=want.notes or want.notes_json,
                reviewer_session=want.reviewer_session,
            )
        )

    made = flow.transact(act)
    return {"merge_request": queue.shown_request(flow, flow.read(), made)}


def _root(tx: Tx, session: Session, given: str | None) -> Worktree:
    """The session's root worktree; refused for any other, and unless it is active."""
    worktree = tx.require(Worktree, given or session.session_root_worktree_id or session.main_worktree_id)
    if worktree.kind != "session_root" or worktree.id != session.session_root_worktree_id:
        raise WrongState(
            f"'{worktree.id}' is not the root worktree of '{session.id}', expected "
            f"'{session.session_root_worktree_id}'",
            hint="Merge other worktrees into it with worktree.merge_to_parent first.",
            found=worktree.id,
            expected=session.session_root_worktree_id,
        )
    if worktree.status != "active":
        raise WrongState(
            f"'{worktree.id}' is '{worktree.status}', expected an active worktree",
            found=worktree.status,
            expected="active",
        )
    return worktree


def _open_request(tx: Tx, worktree_id: str, target: str) -> MergeRequest | None:
    rows = tx.where(MergeRequest, worktree_id=worktree_id, target_branch=target)
    found = [row for row in rows if row.status in REQUEST_OPEN]
    oldest = min(found, key=lambda row: (row.created_at, row.id), default=None)
    return tx.require(MergeRequest, oldest.id) if oldest else None


def enqueue(flow: Flow, want: Queue) -> dict[str, Any]:
    """Put the session's work into the queue of its target; everything is checked before anything is stored.

    With auto_review a reviewer is started as soon as it is this item's turn.
    """
    tx = flow.read()
    target = _target(flow, tx, want)
    session = who.active_session(tx, want.session_id)
    worktree = _root(tx, session, want.from_worktree_id)
    _check_review(tx, want, worktree.id, target)
    head = _check_work(flow, tx, worktree, target)

    def act(tx: Tx) -> Land:
        _root(tx, who.active_session(tx, session.id), worktree.id)
        _check_merged(tx, worktree)
        return _queued(tx, want, session, worktree, target)

    item = flow.transact(act)
    found = _answer(flow, item, head)
    auto = want.auto_review if want.auto_review is not None else want.merge_request_id is not None
    if auto:
        found |= _dispatch(flow, want, item)
    return found


def _target(flow: Flow, tx: Tx, want: Queue) -> str:
    if want.merge_request_id is None:
        return queue.target_of(flow, tx, want.target_branch)
    asked = tx.require(MergeRequest, want.merge_request_id)
    if asked.status not in REQUEST_OPEN:
        raise WrongState(
            f"'{asked.id}' is '{asked.status}', expected an open request",
            hint="Make a new one with merge.request.",
            found=asked.status,
            expected=list(REQUEST_OPEN),
        )
    if want.target_branch not in (None, asked.target_branch):
        raise InvalidParams(
            f"'target_branch' is '{want.target_branch}', expected '{asked.target_branch}' of '{asked.id}'",
            field="target_branch",
            found=want.target_branch,
            expected=asked.target_branch,
        )
    return queue.target_of(flow, tx, asked.target_branch)


def _check_review(tx: Tx, want: Queue, worktree_id: str, target: str) -> None:
    if want.merge_request_id is not None:
        asked = tx.require(MergeRequest, want.merge_request_id)
        if asked.worktree_id != worktree_id:
            raise WrongState(
                f"'{asked.id}' is of worktree '{asked.worktree_id}', expected one of '{worktree_id}'",
                found=asked.worktree_id,
                expected=worktree_id,
            )
    elif want.auto_review and _open_request(tx, worktree_id, target) is None:
        raise InvalidParams(
            "'auto_review' is true without a merge request, expected one",
            hint="Call merge.request first.",
            field="auto_review",
            found=True,
            expected="merge_request_id",
        )


def _check_work(flow: Flow, tx: Tx, worktree: Worktree, target: str) -> str:
    """The head that is to land: with commits of its own, and nothing of the session's left outside of it."""
    _check_merged(tx, worktree)
    head, tip = queue.head_of(flow, tx, worktree.id), queue.tip_of(flow, target)
    if head is None or tip is None or not flow.world.worktrees.ahead(head, tip):
        raise WrongState(
            f"'{worktree.branch}' has no commit that '{target}' lacks, expected at least one",
            hint=_elsewhere(flow, tx, worktree) or "Commit what is to land first.",
            found=0,
            expected="at least 1 commit",
        )
    return head


def _elsewhere(flow: Flow, tx: Tx, worktree: Worktree) -> str | None:
    """What to do where somebody committed in its folder, but on another branch or on none."""
    folder = places.path_of(tx, worktree)
    found = flow.store.head(folder)[2] if folder and folder.is_dir() else worktree.branch
    if found == worktree.branch:
        return None
    there = f"'{found}'" if found else "a detached HEAD"
    return (
        f"Its folder has {there} checked out: bring those commits onto '{worktree.branch}', and check that out there."
    )


def _check_merged(tx: Tx, worktree: Worktree) -> None:
    rows = tx.where(Worktree, owner_session_id=worktree.owner_session_id, kind="task_branch")
    if left := sorted(row.id for row in rows if row.status in ("planned", "active", "lost")):
        raise WrongState(
            f"{counted(len(left), 'worktree')} neither merged nor removed, first '{left[0]}', expected none",
            hint="Call worktree.merge_to_parent or worktree.remove for each.",
            found=len(left),
            expected=0,
            unfinished=left,
        )


def _queued(tx: Tx, want: Queue, session: Session, worktree: Worktree, target: str) -> Land:
    for row in tx.where(Land, from_worktree_id=worktree.id, target_branch=target):
        if row.state in LAND_OPEN:
            return tx.require(Land, row.id)
    asked = tx.get(MergeRequest, want.merge_request_id) or _open_request(tx, worktree.id, target)
    if asked is None:
        asked = tx.put(
            MergeRequest(
                id=tx.mint("mrq"),
                session_id=session.id,
                worktree_id=worktree.id,
                target_branch=target,
                feature_task_id=_only_feature(tx, session),
            )
        )
    if worktree.merge_state != "active":
        tx.put(worktree.but(merge_state="active", merged_at=None, merged_commit=None))
    return tx.put(
        Land(
            id=tx.mint("land"),
            session_id=session.id,
            from_worktree_id=worktree.id,
            target_branch=target,
            merge_request_id=asked.id,
            queued_at=tx.at,
        )
    )


def _only_feature(tx: Tx, session: Session) -> str | None:
    """The one feature that holds the cases which the session worked on; None where there is none, or several."""
    features = set()
    for row in tx.where(Task, level="case", owner_session_id=session.id):
        parent = tx.get(Task, row.parent_id)
        while parent is not None and parent.level != "feature":
            parent = tx.get(Task, parent.parent_id)
        if parent is not None and status_of(tx, parent) not in ("landed", "cancelled"):
            features.add(parent.id)
    return features.pop() if len(features) == 1 else None


def _answer(flow: Flow, item: Land, head: str) -> dict[str, Any]:
    tx = flow.read()
    standings = queue.judge(flow, tx, item.target_branch)
    place = queue.position(standings, item.id) or 1
    tip = queue.tip_of(flow, item.target_branch)
    others = sorted((queue.position(standings, one.item.id) or 0, one.item.id) for one in standings)
    return {
        "main_merge_request": next(
            (queue.shown_item(one, standings) for one in standings if one.item.id == item.id), item
        ),
        "merge_request": queue.shown_request(flow, tx, tx.require(MergeRequest, item.merge_request_id)),
        "position": place,
        "ahead": [land_id for number, land_id in others if number < place],
        "forecast": forecast.clashes(flow, [(tip, head)]).get((tip, head), []) if tip else [],
    }


def _dispatch(flow: Flow, want: Queue, item: Land) -> dict[str, Any]:
    """Start the reviewer; the item stays queued where that is not possible yet, and the answer says why."""
    asked = reviewing.RequestAuto(
        session_id=item.session_id,
        merge_request_id=item.merge_request_id,
        reviewer_role=want.reviewer_role,
        agent_guide_path=want.agent_guide_path,
    )
    try:
        return {"review_dispatch": reviewing.request_auto(flow, asked)}
    except CodestratorError as error:
        return {"review_dispatch_error": error.as_dict()}


def cancel(flow: Flow, want: Cancel) -> dict[str, Any]:
    """Take an item out of the queue, with its review and its request; another session's only if that is suspended."""
    stopped: list[Thread] = []

    def act(tx: Tx) -> dict[str, Any]:
        stopped.clear()
        item = tx.require(Land, want.request_id)
        _check_may_cancel(tx, item, who.session_of(tx, want.session_id or tx.caller.session_id or item.session_id))
        if item.state == "cancelled":
            return {"item": item, "merge_request": tx.require(MergeRequest, item.merge_request_id)}
        job, threads = reviews.cancel_item(tx, item, want.reason)
        stopped.extend(threads)
        lease = queue.lock_of(tx, item.target_branch)
        mine = lease is not None and lease.session_id == item.session_id and lease.land_id == item.id
        if lease is not None and mine:
            tx.put(tx.require(Lease, lease.id).but(state="released"))
            tx.live.leave(liveness.lease_file(lease))
        return {
            "item": tx.require(Land, item.id),
            "merge_request": tx.require(MergeRequest, item.merge_request_id),
            "review_job": job,
            "lock_released": mine,
        }

    found = flow.transact(act, want.request_id)
    if stopped:
        stopping.bring_down(flow, stopped, "its review was cancelled")
    return {"lock_released": False} | found


def _check_may_cancel(tx: Tx, item: Land, session: Session) -> None:
    if item.state in ("merged", "failed"):
        raise WrongState(
            f"'{item.id}' is '{item.state}', expected an open item", found=item.state, expected=list(LAND_OPEN)
        )
    owner = tx.get(Session, item.session_id)
    if session.id != item.session_id and owner is not None and liveness.of_session(tx, owner) in ("live", "away"):
        raise Forbidden(
            f"'{item.id}' is of '{item.session_id}' which is {liveness.of_session(tx, owner)}, expected an own item",
            hint="Ask its owner; the item of a suspended session may be cancelled.",
            role=tx.caller.role,
            needs="its session",
        )
