"""Reviews: a reviewer dispatched under the merge lock, watched, and its verdict, bound to the head that it judged."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator import table
from codestrator.calls import Flow, Tx
from codestrator.errors import CodestratorError, InvalidParams, WrongState
from codestrator.methods import children, mainlock, places, queue, reviews, spawning, watching, who
from codestrator.methods.orders import Spawn
from codestrator.model import shown
from codestrator.params import Json, Line, Params, RequestId, ReviewId, SessionId, Title
from codestrator.records import (
    Land,
    MergeRequest,
    Review,
    RunnerKind,
    Session,
    Thread,
    Worktree,
)
from codestrator.text import counted

ROLE = table.REVIEWER
READ_ONLY = {"sandbox": "read-only"}


class RequestAuto(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    merge_request_id: Annotated[RequestId | None, Meta(description="of the session's own queue item")] = None
    reviewer_role: Title = ROLE
    agent_guide_path: Line | None = None
    agent_override: Json | None = None
    ensure_tmux: bool = True
    auto_install: bool = True
    runner_kind: RunnerKind | None = None


class ThreadStatus(Params, frozen=True, kw_only=True):
    review_job_id: ReviewId | None = None
    merge_request_id: RequestId | None = None


def request_auto(flow: Flow, want: RequestAuto) -> dict[str, Any]:
    """Start a reviewer for the session's queue item, under the merge lock of its target, which is taken first.

    The lock stays held, and renews itself while the reviewer lives. A review that is at work is answered again.
    """
    item, worktree, head = _to_review(flow, want)
    held = queue.lock_of(flow.read(), item.target_branch)
    had = held is not None and held.session_id == item.session_id
    lock = mainlock.take(flow, item.session_id, item.target_branch, mainlock.TTL_SECONDS)["main_lock"]
    running = queue.running_review(flow.read(), item.merge_request_id)
    if running is not None:
        return _answer(flow, running, lock)
    job_id = flow.read().mint("rev")
    try:
        return _start(flow, want, item, worktree, head, job_id) | {"main_lock": lock}
    except CodestratorError as error:
        message = error.message
        flow.transact(lambda tx: reviews.fail(tx, job_id, message), item.id)
        if not had:
            given_back = mainlock.Release(session_id=item.session_id, target_branch=item.target_branch)
            mainlock.release(flow, given_back)
        raise


def _to_review(flow: Flow, want: RequestAuto) -> tuple[Land, Worktree, str]:
    tx = flow.read()
    session = who.active_session(tx, want.session_id)
    item = queue.own_item(tx, session.id, request_id=want.merge_request_id)
    if item is None:
        raise WrongState(
            f"'{session.id}' has nothing in the queue" + (" of that request" if want.merge_request_id else "")
            + ", expected an item",
            hint="Call merge.main.request first.",
            found="no item",
            expected="an open queue item",
        )  # fmt: skip
    worktree = tx.require(Worktree, item.from_worktree_id)
    folder = places.path_of(tx, worktree)
    if folder is None or not folder.is_dir():
        raise WrongState(f"'{worktree.id}' has no folder on this machine, expected one on disk", found="no folder")
    if files := flow.world.worktrees.changes(folder):
        raise WrongState(
            f"'{worktree.id}' has {len(files)} uncommitted changes, first '{files[0]}', expected none",
            hint="Commit what is to be reviewed with work.checkpoint first.",
            found=counted(len(files), "change"),
            expected="none",
            files=files[:20],
        )
    return item, worktree, flow.store.head(folder)[0]


def _start(flow: Flow, want: RequestAuto, item: Land, worktree: Worktree, head: str, job_id: str) -> dict[str, Any]:
    asked = item.merge_request_id
    order = spawning.check(flow, _reviewer_for(want, item, worktree, head, job_id))
    tip = queue.tip_of(flow, item.target_branch)

    def publish(tx: Tx, thread: Thread) -> None:
        mainlock.require(tx, item.target_branch, item.session_id)
        job = Review(
            id=job_id,
            merge_request_id=asked,
            session_id=item.session_id,
            agent_override=want.agent_override,
            reviewer_thread_id=thread.id,
            reviewed_head=head,
            base=tip,
        )
        reviews.begin(tx, job, head)

    started = spawning.carry_out(flow, order._replace(publish=publish))
    flow.transact(lambda tx: _running(tx, job_id), job_id)
    tx = flow.read()
    return {
        "review_job": tx.require(Review, job_id),
        "merge_review": {"merge_request_id": asked, "head": head},
        **{name: started.get(name) for name in ("thread", "attach_info", "tmux")},
    }


def _reviewer_for(want: RequestAuto, item: Land, worktree: Worktree, head: str, job_id: str) -> Spawn:
    asked = item.merge_request_id
    return Spawn(
        session_id=item.session_id,
        worktree_id=worktree.id,
        role=want.reviewer_role,
        title=f"Review {asked}",
        objective=f"Review merge request {asked}, head {head}, and give your verdict for job {job_id}.",
        agent_guide_path=want.agent_guide_path,
        agent_override=READ_ONLY | (want.agent_override or {}),
        ensure_tmux=want.ensure_tmux,
        auto_install=want.auto_install,
        runner_kind=want.runner_kind,
        task_spec={"merge_request_id": asked, "review_job_id": job_id, "head": head, "base": item.target_branch},
    )


def _running(tx: Tx, job_id: str) -> None:
    job = tx.require(Review, job_id)
    if job.state == "requested":
        tx.put(job.but(state="running"))


def _answer(flow: Flow, job: Review, lock: dict[str, Any]) -> dict[str, Any]:
    tx = flow.read()
    return {
        "review_job": job,
        "main_lock": lock,
        "merge_review": {"merge_request_id": job.merge_request_id, "head": job.reviewed_head},
    } | _reviewer(flow, tx, job)


def _reviewer(flow: Flow, tx: Tx, job: Review) -> dict[str, Any]:
    thread = tx.get(Thread, job.reviewer_thread_id)
    if thread is None:
        return {}
    session = tx.require(Session, thread.session_id)
    return {"thread": children.in_sight(tx, thread), "attach_info": watching.attach(flow, tx, session, thread)}


def thread_status(flow: Flow, want: ThreadStatus) -> dict[str, Any]:
    """Say how a review is: its job, its reviewer, its verdict and findings, and whether its head is still current."""
    tx = flow.read()
    if want.review_job_id is None and want.merge_request_id is None:
        raise InvalidParams(
            "review_job_id and merge_request_id are missing, expected one of them",
            field="review_job_id",
            expected="id(review) or id(merge_request)",
        )
    job = tx.require(Review, want.review_job_id) if want.review_job_id else None
    request = tx.require(MergeRequest, job.merge_request_id if job else want.merge_request_id or "")
    job = job or queue.latest_review(tx, request.id)
    head = queue.head_of(flow, tx, request.worktree_id)
    if job is None:
        return {"head_is_current": False}
    state = queue.review_state(tx, job)
    return {
        "review_job": {**shown(job), "state": state},
        "head_is_current": job.reviewed_head == head,
        "verdict": job.verdict,
        "findings": list(job.findings) or None,
        "summary": job.summary,
    } | _reviewer(flow, tx, job)
