"""The plan: making, listing, changing and cancelling of tasks."""

from typing import Any

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound, WrongState
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods.crew import child, done, feature, make, status


def test_a_case_comes_back_with_its_numbered_steps(root: Actor) -> None:
    one = root.case("write it", "run it", acceptance=["it runs"], files=["src/über uns.py"])
    task = root("task.get", task_id=one)["task"]
    assert [(step["id"], step["title"], step["status"]) for step in task["steps"]] == [
        (f"{one}.1", "write it", "todo"),
        (f"{one}.2", "run it", "todo"),
    ]
    assert task["acceptance"] == ["it runs"] and task["files"] == ["src/über uns.py"]
    assert task["created_by"] == root.thread and task["session_id"] == root.session and task["priority"] == 0


@pytest.mark.parametrize("level", ["TestGroup", "test-group", "TEST_GROUP"])
def test_level_text_is_normalised(root: Actor, level: str) -> None:
    made = root("task.create", level=level, title="x", parent_id=feature(root))
    assert made["task"]["level"] == "test_group" and made["task"]["id"].startswith("grp-")


@pytest.mark.parametrize(
    ("level", "parent"),
    [("epic", "epic"), ("feature", "feature"), ("test_group", "epic"), ("case", "epic"), ("case", None)],
)
def test_a_parent_of_the_wrong_level_is_refused(root: Actor, level: str, parent: str | None) -> None:
    epic = make(root, "epic", "e")
    parents = {"epic": epic, "feature": make(root, "feature", "f", parent_id=epic), None: None}
    with unchanged(root), pytest.raises(InvalidParams) as refusal:
        root("task.create", level=level, title="x", parent_id=parents[parent])
    assert refusal.value.details["field"] == "parent_id"


def test_a_feature_may_stand_alone(root: Actor) -> None:
    assert "parent_id" not in root("task.create", level="feature", title="f")["task"]


@pytest.mark.parametrize(
    "given",
    [
        {"level": "step", "title": "x"},
        {"level": "epic", "title": "   "},
        {"level": "epic", "title": "x" * 301},
        {"level": "epic", "title": "x", "priority": 1001},
        {"level": "epic", "title": "x", "priority": True},
        {"level": "epic", "title": "x", "steps": ["a"]},
        {"level": "feature", "title": "x", "files": ["../outside"]},
        {"level": "feature", "title": "x", "acceptance": ["y" * 1025]},
    ],
)
def test_bad_values_are_refused(root: Actor, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("task.create", **given)


def test_unknown_dependency_and_assignee_are_refused(root: Actor) -> None:
    for wrong in ({"depends_on": ["case-0000000000"]}, {"assignee_session": "ses-0000000000"}):
        with unchanged(root), pytest.raises(NotFound):
            root("task.create", level="epic", title="x", **wrong)


def test_a_closed_parent_takes_no_child(root: Actor) -> None:
    top = feature(root)
    done(root, make(root, "case", "only", parent_id=top))
    with unchanged(root), pytest.raises(WrongState) as refusal:
        make(root, "case", "late", parent_id=top)
    assert refusal.value.details["found"] == "done"


def test_a_closed_session_makes_no_tasks(root: Actor, other: Actor) -> None:
    other("session.close", session_id=other.session)
    with unchanged(root), pytest.raises(WrongState):
        other("task.create", level="epic", title="x", session_id=other.session)


def test_a_child_does_not_plan(root: Actor, actor: Any) -> None:
    one = child(actor, root)
    with unchanged(root), pytest.raises(Forbidden):
        one("task.create", level="epic", title="x")


def test_creating_again_makes_another_and_a_key_does_not(root: Actor) -> None:
    first = root("task.create", level="epic", title="x", idempotency_key="k")
    assert root("task.create", level="epic", title="x")["task"]["id"] != first["task"]["id"]
    again = root("task.create", level="epic", title="x", idempotency_key="k")
    assert again == first | {"repeated": True}


def test_a_cycle_is_refused_with_its_path(root: Actor) -> None:
    top = feature(root)
    a = make(root, "case", "a", parent_id=top)
    b = make(root, "case", "b", parent_id=top, depends_on=[a])
    with unchanged(root), pytest.raises(Conflict) as refusal:
        root("task.update", task_id=a, depends_on=[b])
    assert refusal.value.details["path"] == [a, b, a]


def test_a_case_cannot_wait_for_its_own_feature(root: Actor) -> None:
    top = feature(root)
    with unchanged(root), pytest.raises(Conflict):
        make(root, "case", "a", parent_id=top, depends_on=[top])


def test_a_cycle_through_parents_is_refused(root: Actor) -> None:
    first, second = feature(root, "first"), feature(root, "second")
    inside = make(root, "case", "inside", parent_id=first)
    root("task.update", task_id=second, depends_on=[first])
    under = make(root, "case", "under", parent_id=second)
    with unchanged(root), pytest.raises(Conflict):
        root("task.update", task_id=inside, depends_on=[under])


def test_siblings_may_wait_for_each_other_in_one_direction(root: Actor) -> None:
    top = feature(root)
    a = make(root, "case", "a", parent_id=top)
    b = make(root, "case", "b", parent_id=top, depends_on=[a])
    assert root("task.get", task_id=b)["waits_on"] == [a]


def test_get_shows_path_children_and_what_is_next(root: Actor) -> None:
    one = root.case("first", "second")
    found = root("task.get", task_id=one)
    assert [up["level"] for up in found["path"]] == ["epic", "feature"]
    assert found["next_step"]["id"] == f"{one}.1" and found["remaining_steps"] == 2
    assert "claim" not in found and "checkpoint" not in found
    above = root("task.get", task_id=found["path"][1]["id"])
    assert above["children"] == [{"id": one, "title": "Refresh", "status": "todo"}]


def test_get_shows_the_live_claim_and_the_latest_checkpoint(root: Actor) -> None:
    one = root.case("first")
    fence = root("case.begin", case_id=one)["fence"]
    found = root("task.get", task_id=one)
    assert found["claim"]["fence"] == fence and found["claim"]["thread_id"] == root.thread
    assert found["checkpoint"]["event"] == "case.begin"


def test_a_beginning_of_an_id_is_enough(root: Actor) -> None:
    one = root.case("first")
    assert root("task.get", task_id=one[:-1])["task"]["id"] == one


def test_get_answers_as_of_an_operation(root: Actor) -> None:
    one = root.case("first")
    op = root("journal.list", limit=1)["items"][0]["op"]
    root("task.update", task_id=one, title="Renamed")
    assert root("task.get", task_id=one, at=op)["task"]["title"] == "Refresh"
    assert root("task.get", task_id=one)["task"]["title"] == "Renamed"


def test_list_filters_by_level_parent_subtree_session_and_derived_status(root: Actor, other: Actor) -> None:
    one = root.case("first")
    epic, top = (up["id"] for up in root("task.get", task_id=one)["path"])
    lone = make(other, "epic", "Other")

    def listed(**given: Any) -> set[str]:
        return {task["id"] for task in root("task.list", **given)["items"]}

    assert listed() == {epic, top, one, lone}
    assert listed(level="case") == {one} and listed(parent_id=epic) == {top}
    assert listed(under=top) == {top, one} and listed(session_id=other.session) == {lone}
    root("case.begin", case_id=one)
    assert listed(status="in_progress") == {epic, top, one}


def test_list_has_counts_instead_of_steps_in_order_of_priority(root: Actor) -> None:
    top = feature(root)
    low = make(root, "case", "low", parent_id=top, steps=["a", "b"])
    high = make(root, "case", "high", parent_id=top, priority=5)
    items = root("task.list", level="case")["items"]
    assert [task["id"] for task in items] == [high, low]
    assert items[1]["steps_total"] == 2 and items[1]["steps_done"] == 0 and "steps" not in items[1]


def test_pages_neither_skip_nor_repeat_while_the_list_changes(root: Actor) -> None:
    top = feature(root)
    made = {make(root, "case", f"c{number}", parent_id=top) for number in range(5)}
    first = root("task.list", level="case", limit=2)
    late = make(root, "case", "late", parent_id=top, priority=9)
    second = root("task.list", level="case", limit=2, cursor=first["next_cursor"])
    third = root("task.list", level="case", limit=2, cursor=second["next_cursor"])
    seen = [task["id"] for page in (first, second, third) for task in page["items"]]
    assert sorted(seen) == sorted(made) and late not in seen and "next_cursor" not in third


def test_update_changes_what_is_given_and_nothing_else(root: Actor) -> None:
    one = root.case("first", description="old", files=["a"])
    task = root("task.update", task_id=one, title="New", priority=3, files=["b", "b"], acceptance=["c"])["task"]
    assert (task["title"], task["priority"], task["files"], task["acceptance"]) == ("New", 3, ["b"], ["c"])
    assert task["description"] == "old"


def test_update_without_anything_to_change_is_refused(root: Actor) -> None:
    one = root.case("first")
    with unchanged(root), pytest.raises(InvalidParams):
        root("task.update", task_id=one)


@pytest.mark.parametrize(("field", "instead"), [("status", "case.complete"), ("level", "task.create")])
def test_status_and_level_name_the_method_that_sets_them(root: Actor, field: str, instead: str) -> None:
    one = root.case("first")
    with unchanged(root), pytest.raises(InvalidParams, match=instead) as refusal:
        root("task.update", task_id=one, **{field: "done"})
    assert refusal.value.details["field"] == field


def test_an_empty_assignee_clears_it(root: Actor, other: Actor) -> None:
    one = root.case("first", assignee_session=other.session)
    assert root("task.update", task_id=one, title="kept")["task"]["assignee_session"] == other.session
    assert "assignee_session" not in root("task.update", task_id=one, assignee_session="")["task"]


def test_replaced_steps_stand_behind_checked_ones_and_a_repeat_changes_nothing(root: Actor) -> None:
    one = root.case("first", "second", "third")
    root("case.begin", case_id=one)
    root("step.check", case_id=one, step_title="second", result="pass")
    changed = root("task.update", task_id=one, steps=["third", "new"])["task"]
    expected = [(f"{one}.2", "second"), (f"{one}.3", "third"), (f"{one}.4", "new")]
    assert [(step["id"], step["title"]) for step in changed["steps"]] == expected
    with unchanged(root):
        assert root("task.update", task_id=one, steps=["third", "new"])["task"] == changed
    added = root("task.update", task_id=one, add_steps=["last"])["task"]["steps"]
    assert [step["id"] for step in added][-1] == f"{one}.5"


def test_step_numbers_are_never_used_again(root: Actor) -> None:
    one = root.case("first")
    root("task.update", task_id=one, steps=[])
    steps = root("task.update", task_id=one, add_steps=["again"])["task"]["steps"]
    assert [step["id"] for step in steps] == [f"{one}.2"]


def test_an_expectation_that_is_out_of_date_is_a_conflict(root: Actor, clock: SteeredClock) -> None:
    one = root.case("first")
    seen = root("task.get", task_id=one)["task"]["updated_at"]
    clock.advance(1)
    root("task.update", task_id=one, title="x", expected_updated_at=seen)
    with unchanged(root), pytest.raises(Conflict) as refusal:
        root("task.update", task_id=one, title="y", expected_updated_at=seen)
    assert refusal.value.details["expected"] == seen


def test_a_closed_task_is_not_changed(root: Actor) -> None:
    one = root.case()
    done(root, one)
    with unchanged(root), pytest.raises(WrongState):
        root("task.update", task_id=one, title="late")


def test_cancelling_a_parent_needs_cascade_and_then_takes_its_open_children(root: Actor) -> None:
    top = feature(root)
    finished, open_case = (make(root, "case", name, parent_id=top) for name in ("a", "b"))
    done(root, finished)
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("task.cancel", task_id=top, reason="no")
    assert [one["id"] for one in refusal.value.details["unfinished"]] == [open_case]
    found = root("task.cancel", task_id=top, reason="no", cascade=True)
    assert sorted(found["cancelled"]) == sorted([top, open_case]) and found["task"]["cancel_reason"] == "no"
    assert (status(root, top), status(root, open_case), status(root, finished)) == ("cancelled", "cancelled", "done")


def test_what_depends_on_a_cancelled_case_keeps_waiting_and_is_listed(root: Actor) -> None:
    top = feature(root)
    gone = make(root, "case", "gone", parent_id=top)
    after = make(root, "case", "after", parent_id=top, depends_on=[gone])
    found = root("task.cancel", task_id=gone, reason="no")
    assert found["dependants"] == [after] and found["now_ready"] == []
    assert root("task.get", task_id=after)["waits_on"] == [gone]


def test_cancelling_the_last_open_case_frees_what_waited_for_its_feature(root: Actor) -> None:
    top = feature(root)
    first, last = (make(root, "case", name, parent_id=top) for name in ("a", "b"))
    after = make(root, "case", "after", parent_id=feature(root, "next"), depends_on=[top])
    done(root, first)
    assert root("task.cancel", task_id=last, reason="no")["now_ready"] == [after]


def test_a_case_that_a_live_child_has_is_not_cancelled(root: Actor, actor: Any) -> None:
    one = root.case("first")
    worker = child(actor, root)
    assert worker.world.live.take(worker.thread)
    worker("case.begin", case_id=one)
    with unchanged(root), pytest.raises(WrongState, match=worker.thread) as refusal:
        root("task.cancel", task_id=one, reason="no")
    assert "thread.child.stop" in str(refusal.value.hint)


def test_no_hint_sends_a_message_to_another_session(root: Actor, other: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    held = root("lock.acquire", scope_type="file", scope_path="a")["lock"]["id"]
    refusals = (("task.cancel", {"task_id": one, "reason": "no"}), ("lock.release", {"lock_id": held}))
    for method, given in refusals:
        with pytest.raises((WrongState, Forbidden)) as refusal:
            other(method, **given)
        assert refusal.value.hint and "inbox.send" not in refusal.value.hint


def test_a_root_cancels_what_it_works_on_itself(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    assert root("task.cancel", task_id=one, reason="no")["cancelled"] == [one]
    found = root("task.get", task_id=one)
    assert found["task"]["status"] == "cancelled" and "claim" not in found
    assert root("work.current_ref")["source"] == "none"


def test_a_cancelled_task_is_not_cancelled_again(root: Actor) -> None:
    one = root.case()
    root("task.cancel", task_id=one, reason="no")
    with unchanged(root), pytest.raises(WrongState):
        root("task.cancel", task_id=one, reason="no")


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([], "todo"),
        (["cancelled"], "cancelled"),
        (["done", "cancelled"], "done"),
        (["done", "todo"], "in_progress"),
        (["blocked", "todo"], "blocked"),
        (["blocked", "in_progress"], "in_progress"),
        (["done", "blocked"], "blocked"),
        (["todo", "todo"], "todo"),
    ],
)
def test_a_parent_derives_its_status(root: Actor, actor: Any, children: list[str], expected: str) -> None:
    top = feature(root)
    made = [(make(root, "case", wanted, parent_id=top), wanted) for wanted in children]
    for one, wanted in made:
        worker = child(actor, root)
        if wanted == "cancelled":
            root("task.cancel", task_id=one, reason="no")
        elif wanted == "done":
            done(worker, one)
        elif wanted != "todo":
            worker("case.begin", case_id=one)
        if wanted == "blocked":
            worker("step.check", case_id=one, step_title="x", result="blocked")
    assert status(root, top) == expected
    assert root("task.list", level="feature")["items"][0]["status"] == expected
