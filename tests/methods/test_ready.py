"""What can be begun now, in which order, and what keeps the rest."""

from typing import Any

import pytest

from codestrator.errors import NotFound
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods.crew import child, done, feature, make


def ready(caller: Actor, **given: Any) -> list[str]:
    return [item["task"]["id"] for item in caller("task.ready", **given)["items"]]


def test_a_case_without_dependencies_is_ready_with_its_path(root: Actor) -> None:
    one = root.case("a")
    item = root("task.ready")["items"][0]
    assert item["task"]["id"] == one and [up["level"] for up in item["path"]] == ["epic", "feature"]


def test_only_cases_to_do_are_ready(root: Actor) -> None:
    one = root.case("a")
    root("case.begin", case_id=one)
    assert ready(root) == []


def test_a_case_waits_for_its_own_and_its_ancestors_dependencies(root: Actor) -> None:
    first = make(root, "case", "first", parent_id=feature(root, "one"))
    second = make(root, "case", "second", parent_id=feature(root, "two"), depends_on=[first])
    later = make(root, "feature", "three", depends_on=[second])
    third = make(root, "case", "third", parent_id=later)
    assert ready(root) == [first]
    assert done(root, first)["now_ready"] == [second]
    assert done(root, second)["now_ready"] == [third]
    assert ready(root) == [third]


def test_a_dependency_on_a_feature_waits_for_all_its_cases(root: Actor) -> None:
    top = feature(root)
    a, b = (make(root, "case", name, parent_id=top) for name in "ab")
    after = make(root, "case", "after", parent_id=feature(root, "next"), depends_on=[top])
    assert done(root, a)["now_ready"] == []
    assert done(root, b)["now_ready"] == [after]


def test_waiting_cases_come_with_what_they_wait_on(root: Actor) -> None:
    top = feature(root)
    first = make(root, "case", "first", parent_id=top)
    second = make(root, "case", "second", parent_id=top, depends_on=[first], priority=9)
    items = root("task.ready", include_waiting=True)["items"]
    assert [item["task"]["id"] for item in items] == [first, second]
    assert items[1]["waits_on"] == [first] and items[1]["reason"]


def test_a_case_assigned_to_another_session_is_not_ready_here(root: Actor, other: Actor) -> None:
    one = root.case("a", assignee_session=other.session)
    assert ready(root) == [] and ready(other) == [one]
    assert ready(root, session_id=other.session) == [one]


def test_under_names_a_subtree(root: Actor) -> None:
    one, two = feature(root, "one"), feature(root, "two")
    a = make(root, "case", "a", parent_id=one)
    make(root, "case", "b", parent_id=two)
    assert ready(root, under=one) == [a]
    with unchanged(root), pytest.raises(NotFound):
        root("task.ready", under="feat-0000000000")


def test_order_is_priority_then_what_it_unblocks_then_age(root: Actor, clock: SteeredClock) -> None:
    top = feature(root)
    made = {}
    for name, priority in (("old", 0), ("young", 0), ("unblocks", 0), ("urgent", 1)):
        clock.advance(1)
        made[name] = make(root, "case", name, parent_id=top, priority=priority)
    make(root, "case", "waits", parent_id=top, depends_on=[made["unblocks"]])
    assert ready(root) == [made["urgent"], made["unblocks"], made["old"], made["young"]]
    assert root("task.ready", limit=2)["items"][1]["unblocks"] == 1


def test_a_fixture_case_must_be_finished(root: Actor) -> None:
    top = feature(root)
    base, one = (make(root, "case", name, parent_id=top) for name in ("base", "one"))
    done(root, base)
    begun = root("case.begin", case_id=one, fixtures=[f"case:{base}", "a note"])
    assert begun["task"]["fixtures"] == [f"case:{base}", "a note"]


def test_resume_next_prefers_own_work_then_blocked_then_ready(root: Actor, actor: Any) -> None:
    top = feature(root)
    mine, spare = (make(root, "case", name, parent_id=top) for name in ("mine", "spare"))
    assert root("resume.next")["task"]["id"] == mine
    root("case.begin", case_id=mine, steps=["s"])
    found = root("resume.next")
    assert found["task"]["id"] == mine and found["next_step"]["title"] == "s"
    assert found["checkpoint"]["event"] == "case.begin" and len(found["path"]) == 2
    root("step.check", case_id=mine, step_title="s", result="blocked")
    assert root("resume.next")["task"]["status"] == "blocked"
    assert child(actor, root)("resume.next")["task"]["id"] == spare


def test_resume_next_is_empty_when_nothing_is_left(root: Actor) -> None:
    with unchanged(root):
        assert root("resume.next") == {}


def test_resume_next_passes_over_what_a_live_child_or_another_session_has(
    root: Actor, other: Actor, actor: Any
) -> None:
    top = feature(root)
    first, second = (make(root, "case", name, parent_id=top) for name in "ab")
    worker = child(actor, root)
    assert worker.world.live.take(worker.thread)
    worker("case.begin", case_id=first)
    other("case.begin", case_id=second)
    assert root("resume.next") == {}


def test_resume_next_stays_within_a_childs_scope(root: Actor, actor: Any) -> None:
    top = feature(root)
    make(root, "case", "outside", parent_id=top, priority=9)
    inside = make(root, "case", "inside", parent_id=top)
    assert child(actor, root, scope_case_ids=(inside,))("resume.next")["task"]["id"] == inside
