"""Where a thread is: its current ref, read, set, taken and acknowledged."""

from typing import Any

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods.crew import child, done, feature, make


def test_without_anything_to_do_there_is_no_ref(root: Actor) -> None:
    with unchanged(root):
        assert root("work.current_ref") == {"source": "none", "remaining_steps": 0}


def test_without_a_ref_the_next_case_is_claimed(root: Actor) -> None:
    one = root.case("first", files=["README.md", "later.py"])
    found = root("work.current_ref", mode="resume")
    assert found["source"] == "resume.next" and found["task"]["id"] == one
    assert found["task"]["status"] == "in_progress" and found["task"]["owner_thread_id"] == root.thread
    assert found["current_ref"]["mode"] == "resume" and found["next_step"]["title"] == "first"
    assert found["missing_files"] == ["later.py"] and found["checkpoint"]["event"] == "case.begin"
    assert [up["level"] for up in found["path"]] == ["epic", "feature"]


def test_an_active_ref_is_returned_and_nothing_is_published(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    with unchanged(root):
        found = root("work.current_ref")
    assert found["source"] == "current_refs" and found["current_ref"]["node_id"] == one


def test_after_completion_the_next_case_gets_a_new_ref(root: Actor) -> None:
    top = feature(root)
    first, second = (make(root, "case", name, parent_id=top) for name in "ab")
    done(root, first)
    found = root("work.current_ref")
    assert found["task"]["id"] == second and found["current_ref"]["id"] == f"{root.thread}.2"


def test_writing_fields_set_the_ref(root: Actor) -> None:
    one = root.case("first")
    root("case.begin", case_id=one)
    found = root("work.current_ref", next_action="look at the log", summary="half way", required_files=["a b.txt"])
    ref = found["current_ref"]
    assert (ref["next_action"], ref["summary"], ref["version"]) == ("look at the log", "half way", 2)
    assert ref["node_id"] == one and ref["id"] == f"{root.thread}.1" and found["missing_files"] == ["a b.txt"]


def test_a_ref_may_point_at_any_task(root: Actor) -> None:
    top = feature(root)
    ref = root("work.current_ref", node_id=top, next_action="plan it")["current_ref"]
    assert ref["node_type"] == "task" and ref["node_id"] == top
    assert root("work.current_ref")["current_ref"] == ref


def test_a_version_that_has_passed_is_a_conflict(root: Actor) -> None:
    top = feature(root)
    root("work.current_ref", node_id=top)
    root("work.current_ref", summary="a", expected_version=1)
    with unchanged(root), pytest.raises(Conflict) as refusal:
        root("work.current_ref", summary="b", expected_version=1)
    assert refusal.value.details == {"found": 2, "expected": 1}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"summary": "x"}, InvalidParams),
        ({"node_id": "case-0000000000"}, NotFound),
        ({"node_id": "nonsense"}, InvalidParams),
        ({"node_type": "case", "node_id": "feature"}, InvalidParams),
        ({"node_id": "feature", "checkpoint_id": "cp-0000000000"}, NotFound),
    ],
)
def test_a_ref_to_nothing_is_refused(root: Actor, given: dict[str, Any], error: type[Exception]) -> None:
    top = feature(root)
    given = {name: top if value == "feature" else value for name, value in given.items()}
    with unchanged(root), pytest.raises(error):
        root("work.current_ref", **given)


def test_a_child_points_only_inside_its_scope(root: Actor, actor: Any) -> None:
    top, elsewhere = feature(root), feature(root, "else")
    worker = child(actor, root, scope_task_ids=(top,))
    with unchanged(root), pytest.raises(Forbidden):
        worker("work.current_ref", node_id=elsewhere)


def test_a_root_sees_the_refs_of_its_children(root: Actor, actor: Any) -> None:
    top = feature(root)
    mine, theirs = (make(root, "case", name, parent_id=top) for name in "ab")
    root("case.begin", case_id=mine)
    worker = child(actor, root)
    worker("case.begin", case_id=theirs)
    found = root("work.current_ref")
    assert [(ref["thread_id"], ref["node_id"]) for ref in found["children_refs"]] == [(worker.thread, theirs)]
    assert "children_refs" not in worker("work.current_ref")


def test_a_root_without_work_of_its_own_still_sees_its_children(root: Actor, actor: Any) -> None:
    one = root.case("first")
    worker = child(actor, root)
    assert worker.world.live.take(worker.thread)
    worker("case.begin", case_id=one)
    found = root("work.current_ref")
    assert found["source"] == "none" and [ref["node_id"] for ref in found["children_refs"]] == [one]


def test_a_root_goes_on_with_what_its_child_left(root: Actor, actor: Any, clock: SteeredClock) -> None:
    one = root.case("first")
    child(actor, root)("case.begin", case_id=one)
    clock.advance(700)
    found = root("work.current_ref")
    assert found["task"]["id"] == one and found["task"]["owner_thread_id"] == root.thread
    assert "children_refs" not in found


def test_acknowledging_raises_the_version_once_and_ends_with_the_next_change(root: Actor) -> None:
    one = root.case("first")
    ref = root("case.begin", case_id=one)["current_ref"]
    acknowledged = root("work.current_ref.ack", ref_id=ref["id"])["current_ref"]
    assert acknowledged["version"] == ref["version"] + 1 and acknowledged["acked_at"]
    with unchanged(root):
        assert root("work.current_ref.ack", ref_id=ref["id"])["current_ref"] == acknowledged
    root("step.check", case_id=one, step_title="first", result="pass")
    assert "acked_at" not in root("work.current_ref")["current_ref"]


def test_a_ref_of_another_session_or_number_is_not_found(root: Actor, other: Actor) -> None:
    one = root.case("first")
    ref = root("case.begin", case_id=one)["current_ref"]
    with unchanged(root), pytest.raises(NotFound):
        other("work.current_ref.ack", ref_id=ref["id"], session_id=other.session)
    with unchanged(root), pytest.raises(NotFound):
        root("work.current_ref.ack", ref_id=f"{root.thread}.9")


def test_a_child_acknowledges_only_its_own_ref(root: Actor, actor: Any) -> None:
    ref = root("case.begin", case_id=root.case("first"))["current_ref"]
    worker = child(actor, root)
    with unchanged(root), pytest.raises(Forbidden):
        worker("work.current_ref.ack", ref_id=ref["id"])
