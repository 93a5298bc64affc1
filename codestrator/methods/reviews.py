"""Review jobs in the state: begun, judged, ended; the request and the queue item follow them."""

from codestrator.calls import Tx
from codestrator.methods import queue
from codestrator.records import LAND_OPEN, REQUEST_OPEN, REVIEW_OPEN, THREAD_ENDED, Land, MergeRequest, Review, Thread


def items_of(tx: Tx, request_id: str) -> list[Land]:
    """The open queue items of a request."""
    rows = tx.where(Land, merge_request_id=request_id)
    return [tx.require(Land, row.id) for row in rows if row.state in LAND_OPEN]


def begin(tx: Tx, job: Review, head: str) -> None:
    """A review is at work: its request is in review, its item reviewing."""
    tx.put(job)
    request = tx.require(MergeRequest, job.merge_request_id)
    tx.put(request.but(status="in_review", approved_head=None, review_id=job.id))
    for item in items_of(tx, request.id):
        tx.put(item.but(state="reviewing", head=head, started_at=tx.at, error_message=None))


def fail(tx: Tx, job_id: str, why: str) -> None:
    """The reviewer ended without verdict, or did not start: the item waits again."""
    job = tx.get(Review, job_id)
    if job is None or job.state not in REVIEW_OPEN:
        return
    tx.put(job.but(state="failed", summary=why[:2000], completed_at=tx.at))
    request = tx.require(MergeRequest, job.merge_request_id)
    if request.status == "in_review":
        tx.put(request.but(status="requested"))
    for item in items_of(tx, request.id):
        if item.state == "reviewing":
            tx.put(item.but(state="queued", error_message=why[:2000]))


def cancel(tx: Tx, job: Review) -> list[Thread]:
    """Stage the end of a review that is not wanted any more; its reviewer, if that is a child still at work."""
    if job.state in REVIEW_OPEN:
        tx.put(job.but(state="cancelled", completed_at=tx.at))
        request = tx.require(MergeRequest, job.merge_request_id)
        if request.status == "in_review":
            tx.put(request.but(status="requested"))
    thread = tx.get(Thread, job.reviewer_thread_id)
    at_work = thread is not None and thread.parent_thread_id and thread.status not in THREAD_ENDED
    return [thread] if thread and at_work else []


def cancel_item(tx: Tx, item: Land, reason: str) -> tuple[Review | None, list[Thread]]:
    """Stage the end of a queue item, of its review, and of its request unless another item uses that."""
    tx.put(item.but(state="cancelled", error_message=reason, completed_at=tx.at))
    job = queue.running_review(tx, item.merge_request_id)
    stopped = cancel(tx, job) if job else []
    request = tx.require(MergeRequest, item.merge_request_id)
    if request.status in REQUEST_OPEN and not items_of(tx, request.id):
        tx.put(request.but(status="cancelled"))
    return (tx.require(Review, job.id) if job else None), stopped
