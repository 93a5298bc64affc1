"""What waits to land: how long already, and whether its approval is for what is there now."""

from codestrator.clock import parse
from codestrator.methods import queue
from codestrator.methods.doctor.look import Found, Look, ok, warning
from codestrator.records import LAND_OPEN, Land, MergeRequest
from codestrator.text import counted

OLD_SECONDS = 24 * 3600


def waiting(look: Look) -> Found:
    """The head of each queue has not waited for longer than a day."""
    tx, old = look.tx, 0
    targets = sorted({row.target_branch for row in tx.rows(Land) if row.state in LAND_OPEN})
    for target in targets:
        head = queue.items_of(tx, target)[0]
        hours = (tx.now.at - parse(head.queued_at)).total_seconds() / 3600
        if hours * 3600 > OLD_SECONDS:
            old += 1
            yield warning(
                f"'{head.id}' is at the head of the queue of '{target}' for {hours:.0f} h",
                "what lands is delayed, and conflicts grow",
                f"git codestrator merge main status --request-id {head.id}",
            )
    if not old:
        yield ok(f"{counted(len(targets), 'queue')}, nothing old in them")


def approvals(look: Look) -> Found:
    """What is approved is what is there now."""
    tx, old, good = look.tx, 0, 0
    asked = [(one.id, one.id, one.worktree_id, one.approved_head) for one in tx.found(MergeRequest, status="approved")]
    asked += [
        (one.id, one.merge_request_id, one.from_worktree_id, one.head) for one in tx.found(Land, state="approved")
    ]
    for name, request_id, worktree_id, approved in asked:
        head = queue.head_of(look.flow, tx, worktree_id)
        if head in (None, approved):  # None: its branch is on another machine
            good += 1
            continue
        old += 1
        yield warning(
            f"the approval of '{name}' is for '{str(approved)[:12]}', its branch is at '{str(head)[:12]}'",
            "it does not land before the new head is reviewed",
            f"git codestrator merge review thread-status --merge-request-id {request_id}",
        )
    if not old:
        yield ok(f"{good} approvals, each of what is there now")
