"""What a brief says of landing: the session's places in the queue, and the calls that take them further."""

from typing import Any

from codestrator.calls import Flow, Tx
from codestrator.methods import queue
from codestrator.methods.dispatch import call
from codestrator.records import LAND_OPEN, Land, Session


def told(flow: Flow, tx: Tx, session: Session, found: dict[str, Any]) -> dict[str, Any]:
    """The brief with `queue`, and, where nothing is left to be worked on, with the next calls of landing first."""
    places, calls = [], []
    for row in tx.where(Land, session_id=session.id):
        if row.state in LAND_OPEN:
            standings = queue.judge(flow, tx, row.target_branch)
            mine = next((one for one in standings if one.item.id == row.id), None)
            if mine is not None:
                places.append({"id": row.id, "state": mine.state, "position": queue.position(standings, row.id)})
                calls += _calls(tx, session, standings, mine)
    if not places:
        return found
    rest = found.get("next_calls", [])
    working = "next_step" in found or any(one["method"] == "case.begin" for one in rest)
    return found | {"queue": places, "next_calls": [*rest, *calls] if working else [*calls, *rest]}


def _calls(tx: Tx, session: Session, standings: list[queue.Standing], mine: queue.Standing) -> list[dict[str, Any]]:
    item = mine.item
    lock = queue.shown_lock(tx, item.target_branch)
    if lock.get("holder_session_id") != session.id:
        first = queue.first(standings)
        if first is mine and lock["state"] == "unlocked":
            return [call("merge.main.acquire_lock", {}, f"'{item.id}' is next on '{item.target_branch}'")]
        why = queue.why_waiting(standings, mine) if first is not mine else "another session holds the merge lock"
        return [call("merge.main.acquire_lock", {"wait_seconds": 50}, why)]
    held = f"the lock is held for {lock['seconds_left']} s"
    if mine.state == "approved":
        return [call("merge.main.land", {"request_id": item.id}, f"approved for head {str(mine.head)[:12]}, {held}")]
    if mine.state == "reviewing":
        why = "its review is at work"
        return [call("merge.review.thread_status", {"merge_request_id": item.merge_request_id}, why)]
    return [call("merge.review.request_auto", {}, f"it needs a review; {held}")]
