"""What a reviewer reads first: the request, its cases with their evidence, the commits and the diff."""

from typing import Annotated, Any

from msgspec import Meta

from codestrator.calls import Flow, Tx
from codestrator.errors import WrongState
from codestrator.methods import forecast, queue
from codestrator.methods.tasks import Plan, shown_task
from codestrator.params import Params, RequestId
from codestrator.records import CLOSED, Checkpoint, MergeRequest, Review, Task, Worktree

COMMITS = 200
DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv")


class Context(Params, frozen=True, kw_only=True):
    merge_request_id: RequestId
    diff_bytes: Annotated[int, Meta(ge=0, le=524288)] = 65536


def context(flow: Flow, want: Context) -> dict[str, Any]:
    """Show what a merge request is about: cases with acceptance and evidence, commits, diff, conflicts, reviews."""
    tx = flow.read()
    request = tx.require(MergeRequest, want.merge_request_id)
    head, tip = queue.head_of(flow, tx, request.worktree_id), queue.tip_of(flow, request.target_branch)
    if head is None or tip is None:
        gone = request.target_branch if tip is None else request.worktree_id
        raise WrongState(
            f"the branch of '{gone}' is gone, expected both branches of '{request.id}'",
            hint="Cancel the item with merge.main.cancel.",
            found=gone,
            expected="source and target branch",
        )
    worktree = tx.require(Worktree, request.worktree_id)
    found = {
        "merge_request": queue.shown_request(flow, tx, request),
        "source_branch": worktree.branch,
        "target_branch": request.target_branch,
        "conflicts": forecast.clashes(flow, [(tip, head)]).get((tip, head), []),
        "previous_reviews": _reviews(tx, request),
    }
    return found | _tasks(tx, request) | _content(flow, tip, head, want.diff_bytes)


def _reviews(tx: Tx, request: MergeRequest) -> list[Review]:
    found = tx.found(Review, merge_request_id=request.id)
    return sorted((one for one in found if one.verdict), key=lambda one: (one.created_at, one.id))


def _tasks(tx: Tx, request: MergeRequest) -> dict[str, Any]:
    feature = tx.get(Task, request.feature_task_id)
    if feature is None:
        return {"children": [], "cases": [], "checkpoints": {}, "unfinished": []}
    plan = Plan(tx)
    below = [row for row in plan.under(feature.id) if row.id != feature.id]
    cases = [tx.require(Task, row.id) for row in below if row.level == "case"]
    newest = {one.id: tx.get(Checkpoint, one.latest_checkpoint_id) for one in cases}
    return {
        "feature": shown_task(tx, feature, status=plan.status(plan.rows[feature.id])),
        "children": [
            {"id": row.id, "level": row.level, "title": row.title, "status": plan.status(row)} for row in below
        ],
        "cases": [shown_task(tx, one) for one in cases],
        "checkpoints": {case_id: one for case_id, one in newest.items() if one},
        "unfinished": [one.id for one in cases if one.status not in CLOSED],
    }


def _content(flow: Flow, tip: str, head: str, most: int) -> dict[str, Any]:
    """What the branch changes against where it left the target."""
    git = flow.world.git
    base = git.try_run("merge-base", tip, head)[1].split("\n")[0] or tip
    lines = git.run("log", f"--max-count={COMMITS}", "--format=%H%x00%an%x00%aI%x00%s", f"{base}..{head}").split("\n")
    words = [line.split("\0") for line in lines if line]
    diff = git.run(*DIFF, base, head).encode()
    return {
        "base": base,
        "head": head,
        "commits": [
            {"commit": one[0], "author": one[1], "at": one[2], "subject": one[3]} for one in words if len(one) == 4
        ],
        "diff_stat": git.run(*DIFF, "--stat=100", base, head),
        "changed_files": flow.world.branches.changed(base, head),
        "diff": diff[:most].decode("utf-8", "ignore"),
        "diff_truncated": len(diff) > most,
    }
