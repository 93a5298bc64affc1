"""A child's scope: it changes only the tasks named there and what lies below them, whatever the method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from codestrator import registry, scopes, table
from codestrator.calls import Caller, Tx
from codestrator.errors import Forbidden, NotFound
from codestrator.records import Thread
from tests.actors import Actor, unchanged
from tests.methods import crew

NODE = "node-0000000000"


class Plan(NamedTuple):
    """Two features of one epic with a case each, the one outside more urgent; and an epic elsewhere."""

    epic: str
    inner: str
    inside: str
    outer: str
    outside: str
    elsewhere: str


@pytest.fixture
def plan(root: Actor) -> Plan:
    epic = crew.make(root, "epic", "Shop")
    inner, outer = (crew.make(root, "feature", name, parent_id=epic) for name in ("Login", "Invoices"))
    inside = crew.make(root, "case", "inside", parent_id=inner, steps=["first"])
    outside = crew.make(root, "case", "outside", parent_id=outer, steps=["first"], priority=9)
    return Plan(epic, inner, inside, outer, outside, crew.make(root, "epic", "Elsewhere"))


SCOPES: dict[str, Callable[[Plan], dict[str, tuple[str, ...]]]] = {
    "the case": lambda plan: {"scope_case_ids": (plan.inside,)},
    "its feature": lambda plan: {"scope_task_ids": (plan.inner,)},
    "the case as a task": lambda plan: {"scope_task_ids": (plan.inside,)},
    "the case and what holds nothing": lambda plan: {
        "scope_case_ids": (plan.inside,),
        "scope_task_ids": (plan.elsewhere,),
        "scope_node_ids": (NODE,),
    },
}
# What beside the ids a call needs to be whole.
FILLS: dict[str, dict[str, Any]] = {
    "step.check": {"result": "pass", "step_title": "first"},
    "work.checkpoint": {"summary": "half", "snapshot": False},
}


def scoped_fields() -> list[tuple[str, str, bool]]:
    """Every parameter of a worker's writing methods that takes a task's, a case's or a step's id."""
    return [
        (name, shape.name, shape.part)
        for name, method in table.METHODS.items()
        if method.kind != "read" and table.may_call("worker", name)
        for shape in registry.shapes(name)
        if shape.form == "id" and "case" in shape.prefixes
    ]


def test_the_walk_over_the_table_finds_the_writes_of_tasks() -> None:
    found = {f"{name} {field}" for name, field, _ in scoped_fields()}
    assert found >= {
        *("case.begin case_id", "step.check case_id", "step.check step_id", "case.complete case_id"),
        *("work.checkpoint case_id", "work.checkpoint step_id", "work.current_ref node_id"),
    }


@pytest.mark.parametrize("scope", SCOPES)
def test_no_write_reaches_outside_of_the_scope(scope: str, root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root, **SCOPES[scope](plan))
    beyond = [plan.outside, plan.outside[:-1]]
    wrong = []
    with unchanged(root):
        for name, field, part in scoped_fields():
            tasks = [plan.epic, plan.outer, *beyond] if field == "node_id" else beyond
            for task_id in tasks:
                given = FILLS.get(name, {}) | {field: f"{task_id}.1" if part else task_id}
                if field == "step_id":
                    given.pop("step_title", None)
                try:
                    worker(name, **given)
                    wrong.append((name, field, task_id, "was done"))
                except Forbidden as error:
                    if "out of the scope" not in error.message:
                        wrong.append((name, field, task_id, error.message))
    assert wrong == []


@pytest.mark.parametrize("scope", SCOPES)
def test_a_child_works_its_case_from_beginning_to_end_within_its_scope(
    scope: str, root: Actor, plan: Plan, actor: Any
) -> None:
    worker = crew.child(actor, root, **SCOPES[scope](plan))
    assert worker("work.brief")["next_calls"][0]["params"] == {"case_id": plan.inside}
    assert worker("work.current_ref")["task"]["id"] == plan.inside
    worker("work.checkpoint", case_id=plan.inside, summary="half")
    worker("step.check", step_id=f"{plan.inside}.1", result="pass")
    worker("step.check", case_id=plan.inside, step_title="one more", result="pass")
    assert worker("case.complete", case_id=plan.inside)["task"]["status"] == "done"
    assert worker("resume.next") == {}
    assert worker("work.current_ref")["source"] == "none"
    assert worker("work.brief")["next_calls"][0]["method"] == "thread.child.report"


def ready(one: Actor, **given: Any) -> list[str]:
    return [item["task"]["id"] for item in one("task.ready", **given)["items"]]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_child_is_shown_as_ready_only_what_it_may_begin(scope: str, root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root, **SCOPES[scope](plan))
    later = crew.make(root, "case", "later", parent_id=plan.outer, depends_on=[plan.inside])
    assert ready(root) == [plan.outside, plan.inside]
    assert ready(worker) == ready(worker, limit=1) == [plan.inside]
    assert ready(worker, include_waiting=True) == [plan.inside]
    assert ready(worker, under=plan.outer) == []
    assert worker("resume.next")["task"]["id"] == plan.inside
    assert later in ready(root, include_waiting=True)


def test_pages_of_what_is_ready_stay_within_the_scope(root: Actor, plan: Plan, actor: Any) -> None:
    more = {crew.make(root, "case", f"more {number}", parent_id=plan.inner) for number in range(3)}
    worker = crew.child(actor, root, scope_task_ids=(plan.inner,))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = worker("task.ready", limit=2, **cursor)
        seen += [item["task"]["id"] for item in page["items"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == 4 and set(seen) == {plan.inside, *more}


def test_a_case_made_later_below_what_is_in_scope_is_in_scope(root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root, scope_task_ids=(plan.inner,))
    group = crew.make(root, "test_group", "Errors", parent_id=plan.inner)
    late = crew.make(root, "case", "late", parent_id=group, steps=["first"])
    assert worker("case.begin", case_id=late)["task"]["owner_thread_id"] == worker.thread


def test_reading_is_open_beyond_the_scope(root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root, scope_case_ids=(plan.inside,))
    assert worker("task.get", task_id=plan.outside)["task"]["title"] == "outside"
    assert worker("task.list", level="case")["count"] == 2
    assert worker("task.list", under=plan.outer)["count"] == 2


def test_a_child_without_a_scope_may_begin_anything(root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root)
    assert ready(worker) == [plan.outside, plan.inside]
    assert worker("case.begin", case_id=plan.outside)["fence"] == 1


def test_a_scope_of_nodes_alone_holds_no_case(root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root, scope_node_ids=(NODE,))
    assert ready(worker) == [] and worker("resume.next") == {}
    with unchanged(root), pytest.raises(Forbidden) as refused:
        worker("case.begin", case_id=plan.inside)
    assert refused.value.details["scope"] == [NODE]


def test_what_does_not_exist_is_not_found_or_out_of_scope_but_never_made(root: Actor, plan: Plan, actor: Any) -> None:
    for scope in ((), (plan.inside,)):
        worker = crew.child(actor, root, scope_case_ids=scope)
        with unchanged(root), pytest.raises(Forbidden if scope else NotFound):
            worker("case.begin", case_id="case-0000000000")


def test_the_scope_of_a_thread_binds_its_root_too_when_it_works_for_it(root: Actor, plan: Plan, actor: Any) -> None:
    worker = crew.child(actor, root, scope_case_ids=(plan.inside,))
    with unchanged(root), pytest.raises(Forbidden):
        root("case.begin", case_id=plan.outside, thread_id=worker.thread)
    assert root("case.begin", case_id=plan.outside)["fence"] == 1


def test_who_waits_for_a_case_beyond_the_scope_may_still_begin_its_own(root: Actor, plan: Plan, actor: Any) -> None:
    """A fixture is waited for, not written."""
    root("case.begin", case_id=plan.outside)
    root("step.check", case_id=plan.outside, step_title="first", result="pass")
    root("case.complete", case_id=plan.outside)
    worker = crew.child(actor, root, scope_case_ids=(plan.inside,))
    begun = worker("case.begin", case_id=plan.inside, fixtures=[f"case:{plan.outside}"])
    assert begun["task"]["fixtures"] == [f"case:{plan.outside}"]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ((), "epic inner inside outer outside elsewhere"),
        (("inside",), "inside"),
        (("inner",), "inner inside"),
        (("epic",), "epic inner inside outer outside"),
        (("inside", "outer"), "inside outer outside"),
        (("elsewhere",), "elsewhere"),
    ],
)
def test_a_scope_holds_its_ids_and_all_below_them(
    scope: tuple[str, ...], expected: str, root: Actor, plan: Plan
) -> None:
    tx = Tx(root.world.store.read(), Caller("operator", "root", "x"), root.world.live, root.world.settings, ())
    ids = frozenset(getattr(plan, name) for name in scope)
    assert [name for name in plan._fields if scopes.holds(tx, ids, getattr(plan, name))] == expected.split()


def test_the_refusal_names_the_scope_shortened(root: Actor, plan: Plan, actor: Any) -> None:
    many = tuple(f"case-00000000{number:02}" for number in range(40))
    worker = crew.child(actor, root, scope_case_ids=many)
    with pytest.raises(Forbidden) as refused:
        worker("case.begin", case_id=plan.inside)
    assert "and 35 more" in refused.value.message and len(refused.value.details["scope"]) == 40
    assert root.world.store.read().require(Thread, worker.thread).scope_case_ids == many
