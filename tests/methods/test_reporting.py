"""What a child reports of itself, where it is kept, and what it is told in return."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator import threadfiles
from codestrator.errors import Forbidden, InvalidParams, NotFound, WrongState
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.methods.crew import child as crew_child

REPORT = "thread.child.report"


@pytest.fixture
def child(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A child at work, as its own server makes calls for it."""
    one = crew_child(actor, root)
    assert one.world.live.take(one.thread)
    return one


def objects(repo: Path) -> str:
    return git("count-objects", "-v", at=repo)


def sent(root: Actor, child: Actor, words: str = "Keep the cookie.", **given: object) -> str:
    found = root("thread.child.directive", thread_id=child.thread, directive=words, **given)
    return str(found["directive"]["id"])


def state(root: Actor, directive_id: str) -> dict[str, object]:
    items = root("thread.directive.list")["items"]
    return next(one for one in items if one["directive_id"] == directive_id)


def test_a_report_is_answered_with_what_the_child_must_know(root: Actor, child: Actor) -> None:
    case = root.case("a", "b")
    child("case.begin", case_id=case)
    first, second = sent(root, child, "one"), sent(root, child, "two", mode="queue")
    found = child(REPORT, status="running", turn=3, progress="1 of 2", pid=4321)
    assert set(found) == {"thread", "directives", "stop_requested", "claims"}
    assert (found["thread"]["id"], found["thread"]["status"]) == (child.thread, "running")
    assert (found["thread"]["turn"], found["thread"]["progress"]) == (3, "1 of 2")
    assert [one["id"] for one in found["directives"]] == [first, second]
    assert found["stop_requested"] is False
    (claim,) = found["claims"]
    assert (claim["case_id"], claim["fence"]) == (case, 1) and 0 < claim["seconds_left"] <= 600


def test_progress_writes_no_git_object_and_is_shown_everywhere(root: Actor, child: Actor, repo: Path) -> None:
    child(REPORT, status="running", turn=1)
    with unchanged(root):
        before = objects(repo)
        for number in range(5):
            child(REPORT, status="running", turn=2, progress=f"{number} of 9", pid=4321)
        assert objects(repo) == before
    (item,) = root("thread.child.list", include_root=False)["items"]
    assert item["last_report"]["progress"] == item["thread"]["progress"] == "4 of 9"
    assert (item["last_report"]["turn"], item["open_directives"]) == (2, 0)
    status = root("thread.child.status", thread_id=child.thread)
    assert (status["turn"], status["progress"], status["detection_tier"]) == (2, "4 of 9", "report")
    assert root("work.brief")["children"][0]["last_report"] == "4 of 9"
    done = child(REPORT, status="completed", final_message="all of it")["thread"]
    assert (done["turn"], done["progress"], done["final_message"]) == (2, "4 of 9", "all of it")


def test_a_turn_never_runs_backwards(root: Actor, child: Actor) -> None:
    child(REPORT, turn=4)
    assert child(REPORT, turn=2, status="waiting")["thread"]["turn"] == 4


def test_a_report_renews_the_thread_and_its_claim(root: Actor, child: Actor, clock: SteeredClock) -> None:
    child("case.begin", case_id=root.case("a"))
    clock.advance(500)
    assert child(REPORT, progress="still here")["claims"][0]["seconds_left"] > 590


def test_a_question_goes_to_the_root_and_the_thread_waits(root: Actor, child: Actor) -> None:
    for _ in range(2):  # the same report again
        assert child(REPORT, question="Which cookie name?")["thread"]["status"] == "waiting"
    (letter,) = root("inbox.pending")["items"]
    assert (letter["sender"], letter["text"]) == (child.thread, "Which cookie name?")
    assert root("thread.child.status", thread_id=child.thread)["provider_status"] == "waiting_user_answer"
    assert child(REPORT, status="running")["thread"]["status"] == "running"
    root("inbox.deliver", message_id=letter["id"])
    child(REPORT, question="Which cookie name?")
    assert root("inbox.pending")["count"] == 1


def test_a_blocker_blocks_its_case_until_it_goes_on(root: Actor, child: Actor) -> None:
    case = root.case("a")
    child("case.begin", case_id=case)
    found = child(REPORT, blocker="no access to staging")["thread"]
    assert (found["status"], found["blocker"]) == ("waiting", "no access to staging")
    task = root("task.get", task_id=case)["task"]
    assert (task["status"], task["next_action"]) == ("blocked", "no access to staging")
    with unchanged(root):
        child(REPORT, blocker="no access to staging")
    going = child(REPORT, status="running")["thread"]
    assert going["status"] == "running" and "blocker" not in going
    assert child("case.begin", case_id=case)["task"]["status"] == "in_progress"


def test_a_child_may_fail_with_a_blocker_and_a_question(root: Actor, child: Actor) -> None:
    case = root.case("a")
    child("case.begin", case_id=case)
    found = child(REPORT, status="failed", blocker="no disk left", question="May I delete?", exit_status=6)["thread"]
    assert (found["status"], found["reason"], found["exit_status"]) == ("failed", "no disk left", 6)
    assert root("inbox.pending")["items"][0]["text"] == "May I delete?"
    task = root("task.get", task_id=case)
    assert task["task"]["status"] == "blocked" and "claim" not in task


@pytest.mark.parametrize(("status", "ref"), [("completed", "completed"), ("failed", "suspended")])
def test_the_end_of_a_child_frees_its_case_and_is_final(root: Actor, child: Actor, status: str, ref: str) -> None:
    case = root.case("a")
    child("case.begin", case_id=case)
    open_one = sent(root, child)
    found = child(REPORT, status=status, final_message="what came of it", exit_status=1)["thread"]
    assert (found["status"], found["final_message"], found["exit_status"]) == (status, "what came of it", 1)
    assert found["completed_at"] and found["ref"]["status"] == ref
    task = root("task.get", task_id=case)
    assert task["task"]["status"] == "in_progress" and "claim" not in task
    assert (state(root, open_one)["state"], state(root, open_one)["detail"]) == ("failed", f"the thread is {status}")
    for again in ({"status": status, "final_message": "what came of it"}, {"progress": "more"}):
        with unchanged(root), pytest.raises(WrongState) as refused:
            child(REPORT, **again)
        assert refused.value.details["found"] == status


def test_receipts_go_forward_with_their_times(root: Actor, child: Actor) -> None:
    child(REPORT, turn=2)
    one = sent(root, child)
    found = child(REPORT, receipts=[{"directive_id": one, "state": "delivered"}])
    assert [(open_one["id"], open_one["state"]) for open_one in found["directives"]] == [(one, "delivered")]
    child(REPORT, receipts=[{"directive_id": one, "state": "delivered"}])
    found = child(REPORT, turn=3, receipts=[{"directive_id": one, "state": "applied", "detail": "done so"}])
    assert found["directives"] == []
    kept = state(root, one)
    assert (kept["state"], kept["turn"], kept["detail"]) == ("applied", 3, "done so")
    assert str(kept["created_at"]) <= str(kept["delivered_at"]) <= str(kept["applied_at"])


@pytest.mark.parametrize(
    ("first", "then"), [("applied", "delivered"), ("applied", "failed"), ("failed", "applied"), ("failed", "delivered")]
)
def test_receipts_that_run_backwards_are_refused(root: Actor, child: Actor, first: str, then: str) -> None:
    one, fresh = sent(root, child), sent(root, child)
    child(REPORT, receipts=[{"directive_id": one, "state": first}])
    backwards = [{"directive_id": fresh, "state": "delivered"}, {"directive_id": one, "state": then}]
    with unchanged(root), pytest.raises(WrongState) as refused:
        child(REPORT, progress="and more", receipts=backwards)
    assert (refused.value.details["found"], refused.value.details["expected"]) == (first, then)
    assert state(root, fresh)["state"] == "queued"


def test_a_refused_report_leaves_no_progress_behind(root: Actor, child: Actor) -> None:
    child(REPORT, progress="before")
    with unchanged(root), pytest.raises(NotFound, match="no directive 'dir-0000000000'"):
        child(REPORT, progress="after", receipts=[{"directive_id": "dir-0000000000", "state": "applied"}])
    assert root("thread.child.status", thread_id=child.thread)["progress"] == "before"


def test_an_applied_receipt_ends_the_waiting(root: Actor, child: Actor) -> None:
    child(REPORT, blocker="which one?")
    one = sent(root, child, "The second.")
    found = child(REPORT, receipts=[{"directive_id": one, "state": "applied"}])["thread"]
    assert found["status"] == "running" and "blocker" not in found


def test_an_interrupt_lasts_until_the_runner_has_heard_of_it(root: Actor, child: Actor) -> None:
    child(REPORT, status="running", turn=1)
    root("thread.child.interrupt", thread_id=child.thread, wait_seconds=0)
    assert child(REPORT, status="running", turn=2)["thread"]["status"] == "interrupted"
    threadfiles.tell(child.world.live, child.thread, threadfiles.Told(interrupts=1))
    assert child(REPORT, status="running", turn=3)["thread"]["status"] == "running"


def test_a_child_reports_of_itself_alone(root: Actor, child: Actor, actor: Callable[..., Actor]) -> None:
    sister = crew_child(actor, root)
    with unchanged(root), pytest.raises(Forbidden, match=sister.thread):
        child(REPORT, thread_id=sister.thread, progress="I am she")
    hers = sent(root, sister)
    with unchanged(root), pytest.raises((Forbidden, NotFound), match=hers):
        child(REPORT, receipts=[{"directive_id": hers, "state": "applied"}])


def test_a_root_thread_is_not_reported_of(root: Actor) -> None:
    with unchanged(root), pytest.raises(WrongState, match="is the root thread"):
        root(REPORT, progress="I lead")


@pytest.mark.parametrize(
    "given",
    [
        {"status": "stopped"},
        {"turn": -1},
        {"progress": "x" * 8193},
        {"final_message": "x" * 65537},
        {"receipts": [{"directive_id": "dir-0000000000", "state": "queued"}]},
        {"receipts": [{"state": "applied"}]},
        {"mood": "good"},
    ],
)
def test_a_malformed_report_is_refused(root: Actor, child: Actor, given: dict[str, object]) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        child(REPORT, **given)


def test_control_characters_do_not_reach_the_root(root: Actor, child: Actor) -> None:
    found = child(REPORT, question="name\x1b[2J \u202eevil\x00?", progress="\x07ring")["thread"]
    assert root("inbox.pending")["items"][0]["text"] == "name evil?"
    assert found["progress"] == "ring"


def test_a_child_that_was_told_to_stop_has_stopped_however_it_puts_it(root: Actor, actor: Callable[..., Actor]) -> None:
    child = crew_child(actor, root, stop_requested=True, reason="enough")
    found = child(REPORT, status="failed", final_message="ended by signal 15", exit_status=130)["thread"]
    assert (found["status"], found["reason"], found["exit_status"]) == ("stopped", "enough", 130)
