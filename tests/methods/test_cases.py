"""A case begun, its steps checked, completed; and everything that keeps a caller from it."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import msgspec
import pytest

from codestrator.errors import AmbiguousId, Conflict, Forbidden, InvalidParams, NotFound, StaleFence, WrongState
from codestrator.records import Checkpoint
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.methods.crew import child, done, feature, make, status

LAPSED_SECONDS = 700


def check(caller: Actor, case_id: str, title: str, result: str = "pass", **given: Any) -> dict[str, Any]:
    return caller("step.check", case_id=case_id, step_title=title, result=result, **given)


def operations(root: Actor) -> int:
    return int(git("rev-list", "--count", "refs/codestrator/state", at=Path(root.world.repo)))


def loose_objects(root: Actor) -> int:
    return int(git("count-objects", at=Path(root.world.repo)).split()[0])


def test_begin_claims_points_and_records_in_one_operation(root: Actor) -> None:
    one = root.case("first", "second", files=["README.md"])
    before = operations(root)
    found = root("case.begin", case_id=one, input_contract={"a": [1]}, required_files=["README.md", "new file.py"])
    assert operations(root) == before + 1
    assert found["task"]["status"] == "in_progress" and found["task"]["owner_thread_id"] == root.thread
    assert found["task"]["input_contract"] == {"a": [1]} and found["fence"] == 1
    assert found["next_step"]["id"] == f"{one}.1" and found["remaining_steps"] == 2
    assert found["current_ref"]["id"] == f"{root.thread}.1" and found["current_ref"]["version"] == 1
    assert found["current_ref"]["next_action"] == "first" and found["missing_files"] == ["new file.py"]
    assert root("task.get", task_id=one)["checkpoint"]["event"] == "case.begin"


@pytest.mark.parametrize("call", ["case.begin", "step.check"])
def test_a_call_writes_at_most_12_loose_objects(root: Actor, call: str) -> None:
    one = root.case("first", "second")
    if call == "step.check":
        root("case.begin", case_id=one)
    before = loose_objects(root)
    given = {"step_title": "first", "result": "pass"} if call == "step.check" else {}
    root(call, case_id=one, **given)
    assert 0 < loose_objects(root) - before <= 12


def test_beginning_again_answers_the_same_and_changes_nothing(root: Actor) -> None:
    one = root.case("first")
    first = root("case.begin", case_id=one, input_contract={"a": 1}, required_files=["README.md"])
    with unchanged(root):
        again = root("case.begin", case_id=one, input_contract={"a": 1}, required_files=["README.md"])
    assert again == first


def test_beginning_with_another_contract_keeps_the_fence(root: Actor) -> None:
    one = root.case("first")
    first = root("case.begin", case_id=one, input_contract={"a": 1}, fixtures=["note"])
    second = root("case.begin", case_id=one, input_contract={"a": 2})
    assert second["fence"] == first["fence"] and second["task"]["input_contract"] == {"a": 2}
    assert second["task"]["fixtures"] == ["note"]


def test_steps_are_planned_only_where_there_are_none(root: Actor) -> None:
    bare, planned = root.case(), root.case("kept")
    assert root("case.begin", case_id=bare, steps=["a", "b"])["remaining_steps"] == 2
    root("task.cancel", task_id=bare, reason="enough")
    assert root("case.begin", case_id=planned, steps=["a", "b"])["next_step"]["title"] == "kept"


def test_a_case_of_another_live_session_is_a_conflict(root: Actor, other: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    with unchanged(root), pytest.raises(Conflict) as refusal:
        other("case.begin", case_id=one)
    assert refusal.value.details["holder"]["session_id"] == root.session


def test_of_two_who_begin_at_once_one_gets_the_case(root: Actor, other: Actor) -> None:
    one = root.case("first")
    together = Barrier(2)

    def begin(caller: Actor) -> str:
        together.wait(10)
        try:
            caller("case.begin", case_id=one)
        except Conflict:
            return ""
        return caller.session

    with ThreadPoolExecutor() as pool:
        won = [session for session in pool.map(begin, (root, other)) if session]
    assert won == [root("task.get", task_id=one)["task"]["owner_session_id"]]


def test_a_thread_has_one_active_case(root: Actor) -> None:
    top = feature(root)
    first, second = (make(root, "case", name, parent_id=top) for name in "ab")
    root("case.begin", case_id=first)
    with unchanged(root), pytest.raises(WrongState, match=first):
        root("case.begin", case_id=second)
    check(root, first, "x", "blocked")
    with unchanged(root), pytest.raises(WrongState, match=first):
        root("case.begin", case_id=second)


def test_an_unfinished_dependency_is_named(root: Actor) -> None:
    top = feature(root)
    first = make(root, "case", "first", parent_id=top)
    second = make(root, "case", "second", parent_id=top, depends_on=[first])
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("case.begin", case_id=second)
    assert refusal.value.details["unfinished"] == [first]


def test_an_unfinished_unknown_or_malformed_fixture_is_refused(root: Actor) -> None:
    top = feature(root)
    base, one = (make(root, "case", name, parent_id=top) for name in ("base", "one"))
    for fixture, error in (
        (f"case:{base}", WrongState),
        ("case:case-0000000000", NotFound),
        ("case:", InvalidParams),
        (f"case:{top}", InvalidParams),
    ):
        with unchanged(root), pytest.raises(error):
            root("case.begin", case_id=one, fixtures=[fixture])


def test_a_fixture_may_be_named_by_the_beginning_of_its_id(root: Actor) -> None:
    top = feature(root)
    base, one = (make(root, "case", name, parent_id=top) for name in ("base", "one"))
    done(root, base)
    assert root("case.begin", case_id=one, fixtures=[f"case:{base[:-1]}"])["task"]["fixtures"] == [f"case:{base}"]


def test_an_ambiguous_fixture_lists_its_candidates(root: Actor) -> None:
    top = feature(root)
    made = [make(root, "case", f"c{number}", parent_id=top) for number in range(33)]
    starts = [one[:6] for one in made]
    twice = next(start for start in starts if starts.count(start) > 1)  # 33 cases, 32 first characters
    with unchanged(root), pytest.raises(AmbiguousId) as refusal:
        root("case.begin", case_id=made[0], fixtures=[f"case:{twice}"])
    assert len(refusal.value.details["candidates"]) == starts.count(twice)


def test_a_case_assigned_to_another_session_is_forbidden(root: Actor, other: Actor) -> None:
    one = root.case("first", assignee_session=other.session)
    with unchanged(root), pytest.raises(Forbidden):
        root("case.begin", case_id=one)
    assert other("case.begin", case_id=one)["fence"] == 1


def test_a_child_begins_only_what_is_in_its_scope(root: Actor, actor: Any) -> None:
    top, elsewhere = feature(root), feature(root, "else")
    inside = make(root, "case", "inside", parent_id=top)
    outside = make(root, "case", "outside", parent_id=elsewhere)
    worker = child(actor, root, scope_task_ids=(top,))
    with unchanged(root), pytest.raises(Forbidden):
        worker("case.begin", case_id=outside)
    assert worker("case.begin", case_id=inside)["task"]["owner_thread_id"] == worker.thread


def test_a_child_speaks_for_its_own_thread_only(root: Actor, actor: Any) -> None:
    one = root.case("first")
    worker = child(actor, root)
    with unchanged(root), pytest.raises(Forbidden):
        worker("case.begin", case_id=one, thread_id=root.thread)


def test_a_lapsed_claim_is_taken_over_with_a_new_fence(root: Actor, other: Actor, clock: SteeredClock) -> None:
    one = root.case("first")
    fence = other("case.begin", case_id=one)["fence"]
    other.close()
    clock.advance(LAPSED_SECONDS)
    found = root("case.begin", case_id=one)
    assert found["fence"] == fence + 1
    assert found["taken_over_from"] == {"session_id": other.session, "thread_id": other.thread, "fence": fence}
    assert root("task.get", task_id=one)["checkpoint"]["data"]["taken_over_from"]["thread_id"] == other.thread


def test_a_claim_of_a_live_process_never_lapses(root: Actor, other: Actor, clock: SteeredClock) -> None:
    one = root.case("first")
    other("case.begin", case_id=one)
    clock.advance(LAPSED_SECONDS)
    with unchanged(root), pytest.raises(Conflict):
        root("case.begin", case_id=one)


def test_who_lost_its_claim_is_told_the_present_holder(root: Actor, actor: Any, clock: SteeredClock) -> None:
    one = root.case("first")
    worker = child(actor, root)
    fence = worker("case.begin", case_id=one)["fence"]
    clock.advance(LAPSED_SECONDS)
    root("case.begin", case_id=one)
    for given in ({}, {"fence": fence}, {"fence": fence + 1}):
        with unchanged(root), pytest.raises(StaleFence) as refusal:
            check(worker, one, "first", **given)
        assert refusal.value.details["holder"]["thread_id"] == root.thread
    with unchanged(root), pytest.raises(StaleFence):
        worker("case.complete", case_id=one)
    assert worker("work.current_ref")["source"] == "none"


def test_a_lapsed_claim_that_nobody_took_is_renewed_by_its_owner(root: Actor, actor: Any, clock: SteeredClock) -> None:
    one = root.case("first")
    worker = child(actor, root)
    fence = worker("case.begin", case_id=one)["fence"]
    clock.advance(LAPSED_SECONDS)
    assert worker("case.begin", case_id=one)["fence"] == fence
    assert root("task.get", task_id=one)["claim"]["seconds_left"] > 590


def test_a_check_renews_the_claim(root: Actor, actor: Any, clock: SteeredClock) -> None:
    one = root.case("first", "second")
    worker = child(actor, root)
    worker("case.begin", case_id=one)
    clock.advance(400)
    check(worker, one, "first")
    assert root("task.get", task_id=one)["claim"]["seconds_left"] > 590


def test_only_a_root_opens_a_done_case_again(root: Actor, actor: Any) -> None:
    one = root.case()
    done(root, one)
    worker = child(actor, root)
    with unchanged(root), pytest.raises(WrongState):
        root("case.begin", case_id=one)
    with unchanged(root), pytest.raises(Forbidden):
        worker("case.begin", case_id=one, reopen=True)
    found = root("case.begin", case_id=one, reopen=True)
    assert found["task"]["status"] == "in_progress" and found["fence"] == 2 and "done_at" not in found["task"]


def test_reopen_is_for_done_cases(root: Actor) -> None:
    one = root.case()
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("case.begin", case_id=one, reopen=True)
    assert refusal.value.details == {"found": "todo", "expected": ["done"]}


def test_a_check_answers_with_the_step_and_what_is_next(root: Actor) -> None:
    one = root.case("first", "second")
    root("case.begin", case_id=one)
    evidence = {"command": "pytest -q", "exit_status": 0, "duration_seconds": 3}
    found = check(root, one, "first", evidence=evidence, artifacts=["out.log"])
    assert (found["step"]["id"], found["step"]["status"], found["step"]["attempts"]) == (f"{one}.1", "done", 1)
    assert found["step"]["evidence"]["commit"] == git("rev-parse", "HEAD", at=root.path)
    assert found["step"]["evidence"]["tree"] == git("rev-parse", "HEAD^{tree}", at=root.path)
    assert found["next_step"]["id"] == f"{one}.2" and found["remaining_steps"] == 1
    assert found["task"] == {"id": one, "status": "in_progress"}
    ref = root("work.current_ref")["current_ref"]
    assert ref["version"] == 2 and ref["next_action"] == "second" and ref["checkpoint_id"] == found["checkpoint_id"]


@pytest.mark.parametrize(
    ("word", "status_after"),
    [("PASSED", "done"), ("ok", "done"), ("Success", "done"), ("failed", "failed"), ("error", "failed")],
)
def test_other_words_for_a_result_are_understood(root: Actor, word: str, status_after: str) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    assert check(root, one, "first", word)["step"]["status"] == status_after


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_title": "first", "result": "perhaps"},
        {"step_title": "first", "result": "skip"},
        {"step_title": "first", "result": "pass", "evidence": {"exit_status": 1}},
        {"step_title": "first", "result": "pass", "evidence": {"exit_status": True}},
        {"step_title": "first", "result": "pass", "evidence": {"colour": "green"}},
        {"step_title": "first", "result": "pass", "evidence": {"commit": "no commit"}},
        {"step_title": "first", "result": "pass", "evidence": {"duration_seconds": -1}},
        {"step_title": "first", "step_id": "1", "result": "pass"},
        {"result": "pass"},
        {"step_title": "first", "result": "pass", "artifacts": ["x" * 1025]},
    ],
)
def test_a_bad_check_is_refused(root: Actor, wrong: dict[str, Any]) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    if "step_id" in wrong:
        wrong = wrong | {"step_id": f"{one}.1"}
    with unchanged(root), pytest.raises(InvalidParams):
        root("step.check", case_id=one, **wrong)


def test_a_step_may_be_named_by_its_id_alone(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    assert root("step.check", step_id=f"{one}.1", result="pass")["step"]["status"] == "done"
    with unchanged(root), pytest.raises(NotFound):
        root("step.check", step_id=f"{one}.7", result="pass")
    with unchanged(root), pytest.raises(InvalidParams):
        root("step.check", step_title="first", result="pass")


def test_a_step_of_another_case_is_refused(root: Actor) -> None:
    one, two = root.case("first"), root.case("first")
    root("case.begin", case_id=one)
    with unchanged(root), pytest.raises(InvalidParams):
        root("step.check", case_id=one, step_id=f"{two}.1", result="pass")


def test_an_unknown_title_becomes_a_new_step(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    assert check(root, one, "unforeseen")["step"]["id"] == f"{one}.2"


def test_of_two_steps_with_one_title_the_next_to_do_is_meant(root: Actor) -> None:
    one = root.case("run", "run")
    root("case.begin", case_id=one)
    assert [check(root, one, "run", evidence={"note": note})["step"]["id"] for note in "abc"] == [
        f"{one}.1",
        f"{one}.2",
        f"{one}.2",
    ]


def test_an_identical_check_adds_nothing(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    first = check(root, one, "first", "fail", evidence={"exit_status": 1})
    with unchanged(root):
        assert check(root, one, "first", "fail", evidence={"exit_status": 1}) == first
    other_evidence = check(root, one, "first", "fail", evidence={"exit_status": 2})
    assert other_evidence["step"]["attempts"] == 2 and other_evidence["checkpoint_id"] != first["checkpoint_id"]


def test_a_keyed_check_is_made_once(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    first = check(root, one, "first", idempotency_key="k")
    assert check(root, one, "first", idempotency_key="k") == first | {"repeated": True}
    with unchanged(root), pytest.raises(Conflict):
        check(root, one, "first", "fail", idempotency_key="k")


def test_earlier_results_stay_in_checkpoints(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    failed = check(root, one, "first", "fail", evidence={"exit_status": 3})["checkpoint_id"]
    check(root, one, "first")
    data = root.world.store.read().require(Checkpoint, failed).data
    assert data and data["result"] == "fail" and data["evidence"]["exit_status"] == 3


def test_a_blocked_step_blocks_the_case_until_it_is_checked_otherwise(root: Actor) -> None:
    one = root.case("first", "second")
    root("case.begin", case_id=one)
    assert check(root, one, "first", "blocked")["task"]["status"] == "blocked"
    assert check(root, one, "second")["task"]["status"] == "blocked"
    assert check(root, one, "first")["task"]["status"] == "in_progress"


def test_its_owner_begins_a_blocked_case_again_without_a_new_checkpoint(root: Actor) -> None:
    one = root.case("first", "second")
    root("case.begin", case_id=one)
    blocked = check(root, one, "first", "blocked")["checkpoint_id"]
    found = root("case.begin", case_id=one)
    assert found["task"]["status"] == "in_progress" and found["task"]["latest_checkpoint_id"] == blocked
    assert check(root, one, "second")["task"]["status"] == "in_progress"


def test_who_never_had_a_case_is_forbidden_to_check_it(root: Actor, other: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    with unchanged(root), pytest.raises(Forbidden):
        check(other, one, "first")
    with unchanged(root), pytest.raises(Forbidden):
        other("case.complete", case_id=one)


def test_a_wrong_fence_is_stale_even_for_the_owner(root: Actor) -> None:
    one = root.case("first")
    fence = root("case.begin", case_id=one)["fence"]
    with unchanged(root), pytest.raises(StaleFence) as refusal:
        check(root, one, "first", fence=fence + 1)
    assert refusal.value.details["current"] == fence


@pytest.mark.parametrize("call", ["step.check", "case.complete"])
def test_a_case_that_was_not_begun_is_in_the_wrong_state(root: Actor, call: str) -> None:
    one = root.case("first")
    given = {"step_title": "first", "result": "pass"} if call == "step.check" else {}
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root(call, case_id=one, **given)
    assert refusal.value.details["found"] == "todo"


@pytest.mark.parametrize("result", ["fail", "blocked", None])
def test_a_case_with_an_unfinished_step_is_not_completed(root: Actor, result: str | None) -> None:
    one = root.case("first", "second")
    root("case.begin", case_id=one)
    check(root, one, "first")
    if result:
        check(root, one, "second", result)
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("case.complete", case_id=one)
    assert [step["id"] for step in refusal.value.details["unfinished"]] == [f"{one}.2"]


def test_a_case_without_any_checked_step_is_not_completed(root: Actor) -> None:
    one = root.case()
    root("case.begin", case_id=one)
    with unchanged(root), pytest.raises(WrongState):
        root("case.complete", case_id=one)


def test_force_needs_a_root_and_a_summary_and_is_recorded(root: Actor, actor: Any) -> None:
    one = root.case("first")
    worker = child(actor, root)
    worker("case.begin", case_id=one)
    with unchanged(root), pytest.raises(Forbidden):
        worker("case.complete", case_id=one, force=True, summary="enough")
    mine = root.case("second")
    root("case.begin", case_id=mine)
    with unchanged(root), pytest.raises(InvalidParams):
        root("case.complete", case_id=mine, force=True, summary="  ")
    root("case.complete", case_id=mine, force=True, summary="enough")
    assert root("task.get", task_id=mine)["checkpoint"]["data"] == {"forced": True, "unfinished": [f"{mine}.1"]}


def test_completion_frees_the_claim_and_tells_parents_and_what_is_ready(root: Actor) -> None:
    top = feature(root)
    first = make(root, "case", "first", parent_id=top, steps=["s"])
    second = make(root, "case", "second", parent_id=top, depends_on=[first])
    root("case.begin", case_id=first)
    check(root, first, "s")
    found = root("case.complete", case_id=first, summary="it works", next_action="tell them")
    assert found["task"]["status"] == "done" and found["task"]["summary"] == "it works"
    assert [up["status"] for up in found["parents"]] == ["in_progress", "in_progress"]
    assert found["parents"][0]["id"] == top and found["now_ready"] == [second]
    assert "claim" not in root("task.get", task_id=first)
    with unchanged(root):
        assert root("case.complete", case_id=first) == found
    assert status(root, top) == "in_progress"


def test_another_owner_may_not_complete_it_again(root: Actor, other: Actor) -> None:
    one = root.case()
    done(root, one)
    with unchanged(root), pytest.raises(WrongState):
        other("case.complete", case_id=one)


def test_checkpoints_are_told_in_notes_on_the_commit(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    check(root, one, "first", evidence={"command": "make"})
    root("case.complete", case_id=one, summary="fertig: ✓")
    root.world.notes.flush()
    shown = git("notes", "--ref=codestrator", "show", "HEAD", at=root.path)
    lines = [msgspec.json.decode(line) for line in shown.splitlines()]
    assert [line["event"] for line in lines] == ["case.begin", "step.check", "case.complete"]
    assert lines[1]["result"] == "pass" and lines[1]["evidence"]["command"] == "make"
    assert lines[1]["step"] == f"{one}.1" and lines[2]["summary"] == "fertig: ✓"


def test_a_checkpoint_says_whether_the_worktree_was_dirty(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    assert root("task.get", task_id=one)["checkpoint"]["dirty"] is False
    (root.path / "schön neu.txt").write_text("x", encoding="utf-8")
    check(root, one, "first")
    assert root("task.get", task_id=one)["checkpoint"]["dirty"] is True


def test_evidence_is_of_the_commit_that_the_worktree_has(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    (root.path / "new.txt").write_text("x", encoding="utf-8")
    git("add", ".", at=root.path)
    git("commit", "-qm", "new", at=root.path)
    found = check(root, one, "first")
    assert found["step"]["evidence"]["commit"] == git("rev-parse", "HEAD", at=root.path)
    assert found["step"]["evidence"]["commit"] != git("rev-parse", "HEAD", at=Path(root.world.repo))


def test_a_worktree_that_is_gone_does_not_stop_the_work(root: Actor) -> None:
    one = root.case("first")
    subprocess.run(["rm", "-rf", str(root.path)], check=True)
    assert root("case.begin", case_id=one)["task"]["status"] == "in_progress"
