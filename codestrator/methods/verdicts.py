"""Verdicts: a reviewer, or the root itself, approves or blocks exactly the head that was reviewed."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import Conflict, Forbidden, InvalidParams, WrongState
from codestrator.methods import mainlock, queue, reviews, who
from codestrator.params import Oid, Params, Path, ReviewId, Short, Summary
from codestrator.records import REVIEW_OPEN, Finding, Land, MergeRequest, Review, Severity, Verdict


class Found(Params, frozen=True, kw_only=True):
    file: Path
    severity: Severity
    description: Short
    evidence: Annotated[Summary | None, Meta(description="required: what shows it")] = None
    line: Annotated[int, Meta(ge=1)] | None = None


class Judgement(Params, frozen=True, kw_only=True):
    verdict: Verdict
    head: Annotated[Oid, Meta(description="the commit that was reviewed")]
    summary: Summary
    review_job_id: ReviewId | None = None
    findings: tuple[Found, ...] = ()


def verdict(flow: Flow, want: Judgement) -> dict[str, Any]:
    """Decide a review: approve or block exactly the head that was reviewed, with findings and their evidence."""
    _check_findings(want)

    def act(tx: Tx) -> str:
        job = _job(flow, tx, want)
        request = tx.require(MergeRequest, job.merge_request_id)
        if job.state == "completed" and (job.verdict, job.reviewed_head) == (want.verdict, want.head):
            return job.id
        _check_open(tx, job, request)
        head = queue.head_of(flow, tx, request.worktree_id)
        if head != want.head:
            raise Conflict(
                f"'head' is '{want.head[:12]}', expected the branch's head '{(head or 'nothing')[:12]}'",
                hint="Read merge.review_context again, review what is new, give the new head.",
                found=want.head,
                expected=head,
            )
        _decide(tx, want, job, request)
        return job.id

    job_id = flow.transact(act)
    tx = flow.read()
    job = tx.require(Review, job_id)
    items = [row.id for row in tx.where(Land, merge_request_id=job.merge_request_id)]
    newest = max((tx.require(Land, one) for one in items), key=lambda one: (one.queued_at, one.id), default=None)
    request = tx.require(MergeRequest, job.merge_request_id)
    return {"review_job": job, "merge_request": queue.shown_request(flow, tx, request), "queue_item": newest}


def _decide(tx: Tx, want: Judgement, job: Review, request: MergeRequest) -> None:
    state = "approved" if want.verdict == "approve" else "blocked"
    reviewer = job.reviewer_thread_id if tx.caller.kind == "child" else tx.caller.thread_id or job.reviewer_thread_id
    tx.put(
        job.but(
            state="completed",
            verdict=want.verdict,
            summary=want.summary,
            findings=tuple(
                Finding(file=one.file, line=one.line, severity=one.severity, description=one.description,
                        evidence=one.evidence or "")
                for one in want.findings
            ),
            reviewed_head=want.head,
            reviewer_thread_id=reviewer,
            completed_at=tx.at,
        )
    )  # fmt: skip
    tx.put(request.but(status=state, approved_head=want.head, review_id=job.id))
    for item in reviews.items_of(tx, request.id):
        tx.put(item.but(state=state, head=want.head))


def _check_findings(want: Judgement) -> None:
    for number, one in enumerate(want.findings):
        if one.evidence is None:
            raise InvalidParams(
                f"'findings[{number}]' of '{one.file}' has no evidence, expected what shows it",
                field=f"findings[{number}].evidence",
                expected="text",
            )
    blocking = [one for one in want.findings if one.severity == "blocking"]
    if want.verdict == "approve" and blocking:
        raise InvalidParams(
            f"'verdict' is 'approve' with {len(blocking)} blocking findings, expected none",
            hint="Block, or lower what need not be mended before it lands to warning.",
            field="verdict",
            found="approve",
            expected="block",
        )
    if want.verdict == "block" and not blocking:
        raise InvalidParams(
            "'verdict' is 'block' without a blocking finding, expected at least one",
            hint="Name what has to change, with its evidence.",
            field="findings",
            found=0,
            expected="at least 1 blocking",
        )


def _job(flow: Flow, tx: Tx, want: Judgement) -> Review:
    """The job that is judged: the caller's own, or one of the root's session."""
    if tx.caller.kind == "child":
        rows = tx.where(Review, reviewer_thread_id=tx.caller.thread_id)
        mine = max(rows, key=lambda row: (row.created_at, row.id), default=None)
        if mine is None or want.review_job_id not in (None, mine.id):
            raise Forbidden(
                f"'{tx.caller.thread_id}' is not the reviewer of '{want.review_job_id or 'any job'}', expected "
                f"its own job{f' {mine.id}' if mine else ''}",
                role=tx.caller.role,
                needs="the reviewer of that job",
            )
        return tx.require(Review, mine.id)
    if want.review_job_id:
        job = tx.require(Review, want.review_job_id)
        who.active_session(tx, job.session_id)
        if not who.owns(tx, job.session_id):
            raise Forbidden(
                f"'{job.id}' is of '{job.session_id}', expected a job of the caller's session",
                role=tx.caller.role,
                needs="the root of that session",
            )
        return job
    return _own_review(flow, tx)


def _own_review(flow: Flow, tx: Tx) -> Review:
    """The root judges by itself: the job at work, the one that it decided so, or a new one."""
    session = who.active_session(tx, None)
    item = queue.own_item(tx, session.id)
    if item is None:
        raise WrongState(
            f"'{session.id}' has nothing in the queue, expected an item to judge",
            hint="Call merge.main.request first.",
            found="no item",
            expected="an open queue item",
        )
    known = queue.latest_review(tx, item.merge_request_id)
    head = queue.head_of(flow, tx, item.from_worktree_id)
    decided = known is not None and known.state == "completed" and known.reviewed_head == head
    if known and (decided or queue.review_state(tx, known) in REVIEW_OPEN):
        return known
    mainlock.require(tx, item.target_branch, session.id)
    job = Review(
        id=tx.mint("rev"),
        merge_request_id=item.merge_request_id,
        session_id=session.id,
        reviewer_thread_id=session.root_thread_id,
        state="running",
        reviewed_head=head,
        base=queue.tip_of(flow, item.target_branch),
    )
    reviews.begin(tx, job, head or "")
    return tx.require(Review, job.id)


def _check_open(tx: Tx, job: Review, request: MergeRequest) -> None:
    state = queue.review_state(tx, job)
    if state not in REVIEW_OPEN:
        decided = f" with the verdict '{job.verdict}'" if job.verdict else ""
        raise WrongState(
            f"'{job.id}' is '{state}'{decided}, expected a review at work",
            hint="Call merge.review.request_auto for a new one.",
            found=job.verdict or state,
            expected=list(REVIEW_OPEN),
        )
    lease = queue.lock_of(tx, request.target_branch)
    if lease is None or lease.session_id != job.session_id:
        raise WrongState(
            f"the merge lock of '{request.target_branch}' is not held by '{job.session_id}', expected it held",
            hint="Its root calls merge.main.acquire_lock.",
            found=lease.session_id if lease else "free",
            expected=job.session_id,
        )
