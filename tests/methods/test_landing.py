"""Landing through review: requests, the queue, the merge lock, verdicts, and the merge itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Conflict, External, Forbidden, InvalidParams, LockHeld, StaleFence, WrongState
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.methods.test_worktrees import commit

FINDING = {"file": "a.txt", "severity": "blocking", "description": "it is wrong", "evidence": "line 1 says so"}


def work(actor: Actor, name: str = "a.txt", text: str = "one\n", cases: int = 1, left: int = 0) -> str:
    """A feature with cases, all done, and a commit that is theirs; the feature's id."""
    epic = actor("task.create", level="epic", title="Shop")["task"]["id"]
    feature = actor("task.create", level="feature", title="Login", parent_id=epic)["task"]["id"]
    made = [
        actor("task.create", level="case", title=f"Case {number}", parent_id=feature, steps=["edit"])["task"]["id"]
        for number in range(cases + left)
    ]
    for case in made[:cases]:
        actor("case.begin", case_id=case)
        actor("step.check", step_id=f"{case}.1", result="pass")
        actor("case.complete", case_id=case, summary="done")
    commit(actor.path, name, text)
    return str(feature)


def head(actor: Actor) -> str:
    return git("rev-parse", "HEAD", at=actor.path)


def main(actor: Actor) -> str:
    return git("rev-parse", "main", at=actor.path)


def approved(actor: Actor, name: str = "a.txt", text: str = "one\n", **how: Any) -> dict[str, Any]:
    """Work that is queued, under the lock, and approved by the root itself; its queue item."""
    feature = work(actor, name, text, **how)
    actor("merge.request", feature_task_id=feature)
    item: dict[str, Any] = actor("merge.main.request", auto_review=False)["main_merge_request"]
    actor("merge.main.acquire_lock")
    actor("merge.review.verdict", verdict="approve", head=head(actor), summary="all met")
    return item


def test_work_lands_as_a_merge_commit_with_everything_that_follows(root: Actor, repo: Path) -> None:
    before = main(root)
    item = approved(root, cases=2)
    found = root("merge.main.land")
    assert found["landed"] and found["target_before"] == before and found["target_branch"] == "main"
    assert main(root) == found["merge_commit"]
    assert git("rev-parse", "main^1", "main^2", at=repo).split() == [before, head(root)]
    message = git("log", "-1", "--format=%B", "main", at=repo)
    assert f"Codestrator-Land: {item['id']}" in message and "Fence: merge/main:" in message
    assert (repo / "a.txt").read_text() == "one\n" and git("status", "--porcelain", at=repo) == ""
    assert found["item"]["state"] == "merged" and found["merge_request"]["status"] == "merged"
    assert [one["status"] for one in found["tasks"]] == ["landed"] * 3
    assert found["main_lock"] == {"target_branch": "main", "state": "unlocked"}
    assert root("merge.main.status")["count"] == 0 and "lock" not in root("merge.main.status")
    assert found["updated_worktrees"] == [str(repo)]
    tree = root("worktree.list")["items"]
    assert [one["worktree"]["merge_state"] for one in tree if one["worktree"]["id"] == root.worktree] == ["landed"]


def test_landing_again_gives_the_same_answer(root: Actor) -> None:
    item = approved(root)
    first = root("merge.main.land")
    with unchanged(root):
        assert root("merge.main.land", request_id=item["id"]) == first
        assert root("merge.main.land") == first
    commit(root.path, "more.txt")
    with pytest.raises(WrongState, match="nothing in the queue"):
        root("merge.main.land")


def test_a_landing_leaves_a_checkpoint_and_its_note(root: Actor, repo: Path) -> None:
    approved(root)
    commit_id = root("merge.main.land")["merge_commit"]
    root.world.notes.flush()
    assert '"event":"land"' in git("notes", "--ref=codestrator", "show", commit_id, at=repo)


def test_a_dry_run_says_what_would_land_and_moves_nothing(root: Actor) -> None:
    approved(root)
    with unchanged(root):
        found = root("merge.main.land", dry_run=True)
    assert found["would_land"] and found["head"] == head(root)


def test_a_dry_run_refuses_what_the_landing_would_refuse(root: Actor, repo: Path) -> None:
    approved(root)
    (repo / ".git" / "info").mkdir(exist_ok=True)
    names = git("diff", "--name-only", "main", head(root), at=repo).splitlines()
    (repo / ".git" / "info" / "exclude").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (repo / names[0]).write_text("secret\n", encoding="utf-8")
    with unchanged(root), pytest.raises(Conflict, match="without overwriting") as refused:
        root("merge.main.land", dry_run=True)
    assert refused.value.details["files"] == [names[0]]


def test_without_approval_nothing_lands(root: Actor) -> None:
    work(root)
    root("merge.main.request")
    root("merge.main.acquire_lock")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("merge.main.land")
    assert refused.value.details["expected"] == head(root)


def test_without_the_lock_nothing_lands(root: Actor) -> None:
    approved(root)
    root("merge.main.release_lock")
    with unchanged(root), pytest.raises(WrongState, match="merge lock of 'main' is free"):
        root("merge.main.land")


def test_an_approval_holds_for_one_head_alone(root: Actor) -> None:
    approved(root)
    commit(root.path, "b.txt")
    with unchanged(root), pytest.raises(WrongState):
        root("merge.main.land")
    status = root("merge.main.status")
    assert status["items"][0]["state"] == "queued"
    root("merge.review.verdict", verdict="approve", head=head(root), summary="the rest too")
    assert root("merge.main.land")["landed"]


def test_an_expected_head_that_is_not_there_is_refused(root: Actor) -> None:
    approved(root)
    with unchanged(root), pytest.raises(Conflict):
        root("merge.main.land", head="0" * 40)


def test_a_conflict_names_the_files_and_keeps_the_lock(root: Actor, repo: Path) -> None:
    approved(root, "README.md", "mine\n")
    commit(repo, "README.md", "theirs\n")
    with unchanged(root), pytest.raises(Conflict) as refused:
        root("merge.main.land")
    assert refused.value.details["files"] == ["README.md"]
    assert root("merge.main.status")["lock"]["holder_session_id"] == root.session
    git("merge", "-q", "-X", "ours", "main", "-m", "settled", at=root.path)
    root("merge.review.verdict", verdict="approve", head=head(root), summary="settled")
    assert root("merge.main.land")["landed"]
    assert (repo / "README.md").read_text() == "mine\n"


def test_unclosed_cases_are_named(root: Actor) -> None:
    approved(root, left=1)
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("merge.main.land")
    assert [one["title"] for one in refused.value.details["unfinished"]] == ["Case 1"]


@pytest.mark.parametrize("state", ["changed", "untracked", "bisect", "rebase"])
def test_a_target_checkout_that_would_lose_something_is_refused(root: Actor, repo: Path, state: str) -> None:
    (repo / "a.txt").write_text("old\n")
    git("add", "a.txt", at=repo)
    git("commit", "-qm", "old", at=repo)
    git("merge", "-q", "main", at=root.path)
    name = "new.txt" if state == "untracked" else "a.txt"
    approved(root, name)
    if state in ("changed", "untracked"):
        (repo / name).write_text("the user's\n")
    elif state == "bisect":
        git("bisect", "start", at=repo)
    else:
        git("-c", "sequence.editor=sed -i 1ibreak", "rebase", "-qi", "--root", at=repo)
    with unchanged(root), pytest.raises(WrongState):
        root("merge.main.land")


def test_local_changes_elsewhere_stay(root: Actor, repo: Path) -> None:
    approved(root)
    (repo / "README.md").write_text("the user's\n")
    (repo / "own.txt").write_text("the user's\n")
    root("merge.main.land")
    assert git("status", "--porcelain", at=repo).split() == ["M", "README.md", "??", "own.txt"]


def test_a_dirty_source_is_refused(root: Actor) -> None:
    approved(root)
    (root.path / "b.txt").write_text("more\n")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("merge.main.land")
    assert refused.value.details["files"] == ["b.txt"]


def test_a_hook_of_the_user_that_refuses_leaves_all_as_it_was(root: Actor, repo: Path) -> None:
    approved(root)
    hook = repo / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        '#!/bin/sh\ntest "$1" != prepared || { grep -q refs/heads/main && { echo not today >&2; exit 1; }; }\n:'
    )
    hook.chmod(0o755)
    before = main(root), git("status", "--porcelain", at=repo)
    with pytest.raises(External) as refused:
        root("merge.main.land")
    assert "not today" in refused.value.details["stderr_tail"]
    assert (main(root), git("status", "--porcelain", at=repo)) == before
    assert root("merge.main.status")["items"][0]["state"] == "approved"
    hook.unlink()
    assert root("merge.main.land")["landed"]


def test_only_one_session_has_the_lock_and_in_the_order_of_the_queue(actor: Callable[..., Actor]) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    for each, name in ((one, "a.txt"), (two, "b.txt")):
        work(each, name)
        each("merge.main.request")
    with pytest.raises(WrongState) as refused:
        two("merge.main.acquire_lock")
    assert refused.value.details["found"].startswith("land-")
    assert one("merge.main.acquire_lock")["main_lock"]["state"] == "locked"
    with pytest.raises(LockHeld):
        two("merge.main.acquire_lock")
    assert two("merge.main.acquire_lock", wait_seconds=1)["timed_out"]
    with pytest.raises(LockHeld):
        two("merge.main.release_lock")
    found = two("merge.main.next")
    assert found["item"]["session_id"] == one.session
    assert [each["reason"] for each in found["waiting"]] == [f"'{found['item']['id']}' came before"]
    one("merge.review.verdict", verdict="approve", head=head(one), summary="fine")
    one("merge.main.land")
    assert two("merge.main.acquire_lock")["main_lock"]["holder_session_id"] == two.session


def test_the_holder_renews_with_the_same_fence(root: Actor) -> None:
    first = root("merge.main.acquire_lock")["main_lock"]
    again = root("merge.main.acquire_lock", ttl_seconds=900)["main_lock"]
    assert again["fence"] == first["fence"] and again["seconds_left"] > first["seconds_left"]
    shorter = root("merge.main.acquire_lock", ttl_seconds=30)["main_lock"]
    assert shorter["seconds_left"] > 600


def test_a_holder_that_slept_past_its_lease_is_refused(actor: Callable[..., Actor], clock: SteeredClock) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    approved(one)
    work(two, "b.txt")
    two("merge.main.request")
    fence = one("merge.main.acquire_lock")["main_lock"]["fence"]
    clock.advance(601)
    one("merge.main.cancel", request_id=one("merge.main.status")["items"][0]["id"], reason="later")
    two("merge.main.acquire_lock")
    one("merge.main.request")
    before = main(one)
    with pytest.raises((StaleFence, WrongState)):
        one("merge.main.land", fence=fence)
    assert main(one) == before


def test_a_blocked_item_is_bypassed_with_its_reason(actor: Callable[..., Actor]) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    for each, name in ((one, "a.txt"), (two, "b.txt")):
        work(each, name)
        each("merge.main.request")
    one("merge.main.acquire_lock")
    one("merge.review.verdict", verdict="block", head=head(one), summary="no", findings=[FINDING])
    one("merge.main.release_lock")
    found = one("merge.main.next")
    assert found["item"]["session_id"] == two.session
    assert [each["reason"] for each in found["waiting"]] == ["its review blocked it"]
    two("merge.main.acquire_lock")


def test_one_that_conflicts_is_bypassed_and_may_land_when_settled(actor: Callable[..., Actor], repo: Path) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    work(one, "README.md", "one\n")
    one("merge.main.request")
    work(two, "b.txt")
    two("merge.main.request")
    commit(repo, "README.md", "meanwhile\n")
    found = one("merge.main.next")
    assert found["item"]["session_id"] == two.session
    assert "conflicts with 'main' in 1 file, first 'README.md'" in found["waiting"][0]["reason"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"verdict": "approve", "findings": [FINDING]}, "verdict"),
        ({"verdict": "block"}, "findings"),
        ({"verdict": "block", "findings": [{**FINDING, "evidence": None}]}, "findings[0].evidence"),
    ],
)
def test_a_verdict_agrees_with_its_findings(root: Actor, given: dict[str, Any], field: str) -> None:
    work(root)
    root("merge.main.request")
    root("merge.main.acquire_lock")
    with unchanged(root), pytest.raises(InvalidParams) as refused:
        root("merge.review.verdict", head=head(root), summary="x", **given)
    assert refused.value.details["field"] == field


def test_a_verdict_on_another_head_is_a_conflict(root: Actor) -> None:
    work(root)
    root("merge.main.request")
    root("merge.main.acquire_lock")
    with unchanged(root), pytest.raises(Conflict):
        root("merge.review.verdict", verdict="approve", head=main(root), summary="x")


def test_a_verdict_without_the_lock_is_refused(root: Actor) -> None:
    work(root)
    root("merge.main.request")
    with unchanged(root), pytest.raises(WrongState):
        root("merge.review.verdict", verdict="approve", head=head(root), summary="x")


def test_the_same_verdict_twice_is_one_and_another_is_refused(root: Actor) -> None:
    work(root)
    root("merge.main.request")
    root("merge.main.acquire_lock")
    first = root("merge.review.verdict", verdict="approve", head=head(root), summary="x")
    assert root("merge.review.verdict", verdict="approve", head=head(root), summary="x") == first
    with pytest.raises(WrongState):
        root("merge.review.verdict", verdict="block", head=head(root), summary="x", findings=[FINDING])


def test_requests_are_checked_before_anything_is_stored(root: Actor) -> None:
    epic = root("task.create", level="epic", title="Shop")["task"]["id"]
    with unchanged(root):
        with pytest.raises(WrongState, match="expected a feature"):
            root("merge.request", feature_task_id=epic)
        with pytest.raises(WrongState, match="no commit that 'main' lacks"):
            root("merge.main.request")
        with pytest.raises(InvalidParams):
            root("merge.main.request", target_branch="nowhere")
    commit(root.path, "a.txt")
    with unchanged(root), pytest.raises(InvalidParams, match="auto_review"):
        root("merge.main.request", auto_review=True)
    child = root("worktree.spawn")["worktree"]["id"]
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("merge.main.request")
    assert refused.value.details["unfinished"] == [child]


@pytest.mark.parametrize(("words", "told"), [(("-c", "mine"), "'mine'"), (("--detach",), "a detached HEAD")])
def test_commits_on_another_branch_are_told_of(root: Actor, words: tuple[str, ...], told: str) -> None:
    git("switch", "-q", *words, at=root.path)
    commit(root.path, "a.txt", "one\n")
    with unchanged(root), pytest.raises(WrongState, match="no commit that 'main' lacks") as refused:
        root("merge.main.request")
    assert told in (refused.value.hint or "")


def test_asking_twice_is_asking_once(root: Actor) -> None:
    feature = work(root)
    first = root("merge.request", feature_task_id=feature, notes={"why": "now"})
    assert first["merge_request"]["notes"] == {"why": "now"}
    with unchanged(root):
        assert root("merge.request", feature_task_id=feature) == first
    item = root("merge.main.request")
    assert item["merge_request"]["id"] == first["merge_request"]["id"]
    with unchanged(root):
        assert root("merge.main.request") == item


def test_a_request_without_feature_takes_the_one_that_was_worked_on(root: Actor) -> None:
    feature = work(root)
    assert root("merge.main.request")["merge_request"]["feature_task_id"] == feature


def test_cancelling_frees_the_lock_and_ends_the_request(root: Actor) -> None:
    work(root)
    item = root("merge.main.request")["main_merge_request"]
    root("merge.main.acquire_lock")
    found = root("merge.main.cancel", request_id=item["id"], reason="not now")
    assert (found["item"]["state"], found["merge_request"]["status"]) == ("cancelled", "cancelled")
    assert found["lock_released"]
    assert root("merge.main.next")["count"] == 0


def test_what_landed_is_not_cancelled(root: Actor) -> None:
    item = approved(root)
    root("merge.main.land")
    with unchanged(root), pytest.raises(WrongState):
        root("merge.main.cancel", request_id=item["id"], reason="too late")


def test_the_item_of_a_live_session_is_not_anothers_to_cancel(actor: Callable[..., Actor]) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    work(one)
    item = one("merge.main.request")["main_merge_request"]
    with unchanged(one), pytest.raises(Forbidden):
        two("merge.main.cancel", request_id=item["id"], reason="mine first")


def test_the_context_of_a_review_says_what_is_judged(root: Actor) -> None:
    feature = work(root, cases=2)
    request = root("merge.request", feature_task_id=feature)["merge_request"]["id"]
    found = root("merge.review_context", merge_request_id=request, diff_bytes=20)
    assert (found["head"], found["base"]) == (head(root), main(root))
    assert [one["subject"] for one in found["commits"]] and found["changed_files"] == ["a.txt"]
    assert found["diff_truncated"] and len(found["diff"]) == 20
    assert len(found["cases"]) == 2 and found["unfinished"] == [] and len(found["checkpoints"]) == 2
    assert found["conflicts"] == [] and found["feature"]["id"] == feature


def test_work_can_land_twice_from_one_session(root: Actor) -> None:
    approved(root)
    root("merge.main.land")
    approved(root, "b.txt")
    assert root("merge.main.land")["landed"]


@pytest.mark.parametrize("end", ["close", "cleanup"])
def test_a_session_that_ends_leaves_the_queue(root: Actor, actor: Callable[..., Actor], end: str) -> None:
    work(root)
    item = root("merge.main.request")["main_merge_request"]["id"]
    other = actor()
    other.open()
    found = root(f"session.{end}")
    if end == "close":
        assert found["released"]["queue_items"] == 1
    shown = other("merge.main.status", request_id=item)
    assert (shown["item"]["state"], shown["merge_request"]["status"]) == ("cancelled", "cancelled")


def test_who_takes_a_session_over_takes_its_place_in_the_queue(
    actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    one = actor()
    one("workspace.init")
    one.open()
    approved(one)
    one.close()
    clock.advance(1000)
    two = actor()
    two("session.open", intent="resume_work")
    found = two("resume.candidates.attach", target_session_id=one.session)
    assert found["transferred"]["queue_items"] == 1
    two("merge.main.acquire_lock")
    assert two("merge.main.land")["landed"]


def test_a_brief_leads_through_the_landing(root: Actor) -> None:
    def following() -> str:
        return str(root("work.brief")["next_calls"][0]["method"])

    work(root)
    assert following() == "merge.main.request"
    item = root("merge.main.request")["main_merge_request"]["id"]
    assert following() == "merge.main.acquire_lock"
    root("merge.main.acquire_lock")
    assert following() == "merge.review.request_auto"
    root("merge.review.verdict", verdict="approve", head=head(root), summary="x")
    found = root("work.brief")
    assert found["queue"] == [{"id": item, "state": "approved", "position": 1}]
    assert found["next_calls"][0]["method"] == "merge.main.land"
    assert found["next_calls"][0]["params"] == {"request_id": item}
    root("merge.main.land")
    assert "queue" not in root("work.brief")


def test_a_landing_is_not_undone_but_reverted(root: Actor) -> None:
    approved(root)
    found = root("merge.main.land")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("journal.undo")
    assert refused.value.details["use"] == f"git revert -m 1 {found['merge_commit']}"


def test_a_place_in_the_queue_can_be_undone(root: Actor) -> None:
    work(root)
    root("merge.main.request")
    assert root("merge.main.next")["count"] == 1
    root("journal.undo")
    assert root("merge.main.next")["count"] == 0
