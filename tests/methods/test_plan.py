"""Plans: slices within their budget, replanning, and rollups that are never decided by who submitted them."""

from collections.abc import Callable
from typing import Any

import pytest

from codestrator.errors import AmbiguousId, Conflict, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.records import PlanSettings
from tests.actors import Actor, unchanged
from tests.methods import crew

GONE = "node-0000000000"


@pytest.fixture
def plan(root: Actor) -> str:
    """An empty plan; its id."""
    return str(root("plan.bootstrap", initiative_title="Faster login", plan_title="Sessions")["plan"]["id"])


def slices(one: Actor, plan_id: str, *specs: Any, **given: Any) -> list[str]:
    """Slices, by their titles or their whole specs; their ids."""
    wanted = [{"title": spec} if isinstance(spec, str) else spec for spec in specs]
    found = one("plan.slice.generate", plan_node_id=plan_id, slice_specs=wanted, **given)
    return [made["id"] for made in found["slices"]]


def finish(one: Actor, node_id: str, status: str = "done") -> None:
    one("graph.snapshot.create", node_id=node_id, snapshot_type="status", status=status)


def whole(one: Actor, node_id: str) -> dict[str, Any]:
    """A node with all its parts."""
    listed = one("graph.node.list", include=["edges", "checklist", "snapshot"])["items"]
    (found,) = (item for item in listed if item["id"] == node_id)
    return dict(found)


@pytest.fixture
def reviewer(root: Actor, actor: Callable[..., Actor]) -> Actor:
    return crew.child(actor, root, role="merge-reviewer")


@pytest.fixture
def architect(root: Actor, actor: Callable[..., Actor]) -> Actor:
    return crew.child(actor, root, role="plan-architect")


def test_an_initiative_begins_with_its_plan_in_one_operation(root: Actor) -> None:
    given = {"initiative_title": "Faster login", "plan_title": "Sessions", "priority": 3, "summary": "why"}
    found = root("plan.bootstrap", **given, idempotency_key="k")
    top, below = found["initiative"], found["plan"]
    assert (top["node_type"], top["status"], top["priority"], top["summary"]) == ("initiative", "in_progress", 3, "why")
    assert (below["node_type"], below["status"], below["priority"], below["parent_id"]) == (
        "plan",
        "todo",
        3,
        top["id"],
    )
    assert found["edge"]["id"] == f"{top['id']}.contains.{below['id']}"
    newest = root("journal.list", limit=1)["items"][0]
    assert newest["method"] == "plan.bootstrap" and {one["change"] for one in newest["documents"]} == {"added"}
    with unchanged(root):
        assert root("plan.bootstrap", **given, idempotency_key="k") == found | {"repeated": True}
    assert root("plan.bootstrap", **given)["plan"]["id"] != below["id"]


@pytest.mark.parametrize("given", [{"plan_title": " "}, {"initiative_title": "x" * 301}, {"priority": -1001}])
def test_a_bad_beginning_is_refused(root: Actor, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("plan.bootstrap", **{"initiative_title": "x", "plan_title": "y"} | given)


def test_slices_come_all_at_once_with_what_they_wait_for(root: Actor, plan: str) -> None:
    (old,) = slices(root, plan, "old")
    aside = root("graph.node.create", node_type="initiative", title="aside")["node"]["id"]
    specs: list[dict[str, Any]] = [
        {"title": "second", "depends_on": ["first", "old", aside, aside[:-1]], "priority": 2},
        {
            "title": "first",
            "token_estimate": 18_000,
            "affected_files": [f"f{one}" for one in range(12)],
            "summary": "s",
        },
    ]
    found = root("plan.slice.generate", plan_node_id=plan, slice_specs=specs, idempotency_key="k")
    second, first = found["slices"]
    assert (second["title"], second["priority"], second["parent_id"]) == ("second", 2, plan)
    assert (first["token_estimate"], len(first["affected_files"]), first["summary"]) == (18_000, 12, "s")
    assert found["plan_node_id"] == plan and "truncated" not in found
    assert [edge["id"] for edge in found["edges"]] == [
        *(f"{plan}.contains.{second['id']}", f"{plan}.contains.{first['id']}"),
        *(f"{second['id']}.depends_on.{one}" for one in (first["id"], old, aside)),
    ]
    assert len(whole(root, plan)["edges"]) == len(whole(root, second["id"])["edges"]) == 3
    assert root("journal.list", limit=1)["items"][0]["method"] == "plan.slice.generate"
    with unchanged(root):
        again = root("plan.slice.generate", plan_node_id=plan, slice_specs=specs, idempotency_key="k")
    assert again == found | {"repeated": True}


def test_every_slice_over_the_budget_is_named_and_none_is_made(root: Actor, plan: str) -> None:
    files = [f"f{one}" for one in range(13)]
    with unchanged(root), pytest.raises(InvalidParams) as refusal:
        slices(
            root,
            plan,
            {"title": "long", "token_estimate": 18_001},
            "small",
            {"title": "wide", "affected_files": files},
            {"title": "the same file again and again", "affected_files": ["f"] * 13},
        )
    found = [(one["index"], one["title"]) for one in refusal.value.details["found"]]
    assert found == [(0, "long"), (2, "wide")]
    assert "'long'" in refusal.value.message and "'wide'" in refusal.value.message
    assert refusal.value.details["expected"] == {"token_estimate": 18_000, "files": 12}


def test_the_budget_is_that_of_the_settings(root: Actor, plan: str) -> None:
    crew.put(root, PlanSettings(id="settings", max_token_per_slice=10, max_files_per_slice=1))
    for spec in ({"title": "x", "token_estimate": 11}, {"title": "x", "affected_files": ["a", "b"]}):
        with unchanged(root), pytest.raises(InvalidParams, match="budget"):
            slices(root, plan, spec)
    slices(root, plan, {"title": "x", "token_estimate": 10, "affected_files": ["a"]})


def test_there_are_one_to_a_hundred_slices_at_a_time(root: Actor, plan: str) -> None:
    for count in (0, 101):
        with unchanged(root), pytest.raises(InvalidParams) as refusal:
            slices(root, plan, *(f"s{one}" for one in range(count)))
        assert (refusal.value.details["found"], refusal.value.details["expected"]) == (count, "1 to 100")
    assert len(slices(root, plan, *(f"s{one}" for one in range(100)))) == 100


def test_a_result_that_would_be_too_large_is_cut_and_says_so(root: Actor, plan: str) -> None:
    specs = [{"title": f"s{one}", "summary": "x" * 8000} for one in range(100)]
    found = root("plan.slice.generate", plan_node_id=plan, slice_specs=specs)
    assert found["truncated"] is True and 50 < len(found["slices"]) < 100
    assert root("plan.rollup.preview", parent_node_id=plan)["child_count"] == 100


@pytest.mark.parametrize(
    "spec",
    [
        {"title": " "},
        {"titel": "x"},
        {"title": "x", "token_estimate": "many"},
        {"title": "x", "affected_files": ["/etc/passwd"]},
        {"title": "x", "depends_on": ["x"]},
        "only a title",
    ],
)
def test_bad_specs_are_refused(root: Actor, plan: str, spec: Any) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("plan.slice.generate", plan_node_id=plan, slice_specs=[{"title": "good"}, spec])


def test_slices_that_wait_for_each_other_are_refused_by_their_titles(root: Actor, plan: str) -> None:
    specs = [{"title": one, "depends_on": [other]} for one, other in (("a", "b"), ("b", "c"), ("c", "a"))]
    with unchanged(root), pytest.raises(Conflict) as refusal:
        slices(root, plan, *specs)
    assert refusal.value.details["path"] == ["c", "a", "b", "c"]


def test_a_dependency_that_names_nothing_or_several_is_refused(root: Actor, plan: str) -> None:
    twice = slices(root, plan, "twice", "twice")
    for unknown in ("nothing", GONE, "case-0000000000", "node-"):
        with unchanged(root), pytest.raises(NotFound) as missing:
            slices(root, plan, {"title": "x", "depends_on": [unknown]})
        assert missing.value.details["id"] == unknown
    with unchanged(root), pytest.raises(AmbiguousId) as refusal:
        slices(root, plan, {"title": "x", "depends_on": ["twice"]})
    assert [one["id"] for one in refusal.value.details["candidates"]] == sorted(twice)
    with unchanged(root), pytest.raises(AmbiguousId):
        slices(root, plan, "same", "same", {"title": "x", "depends_on": ["same"]})


@pytest.mark.parametrize("node_type", ["initiative", "slice"])
def test_only_a_plan_has_slices(root: Actor, plan: str, node_type: str) -> None:
    ids = {"initiative": whole(root, plan)["parent_id"], "slice": slices(root, plan, "x")[0]}
    with unchanged(root), pytest.raises(WrongState) as refusal:
        slices(root, ids[node_type], "y")
    assert refusal.value.details["found"] == node_type


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("plan.slice.generate", {"plan_node_id": GONE, "slice_specs": [{"title": "x"}]}),
        ("plan.slice.replan", {"node_id": GONE, "reason": "x"}),
        ("plan.rollup.preview", {"parent_node_id": GONE}),
        ("plan.rollup.submit", {"node_id": GONE}),
        ("plan.rollup.approve", {"node_id": GONE}),
        ("plan.rollup.reject", {"node_id": GONE}),
    ],
)
def test_what_is_not_there_is_not_found(root: Actor, method: str, given: dict[str, Any]) -> None:
    with unchanged(root), pytest.raises(NotFound):
        root(method, **given)


def test_replanning_is_recorded_and_changes_the_files(root: Actor, plan: str) -> None:
    (part,) = slices(root, plan, {"title": "x", "affected_files": ["old"], "token_estimate": 5})
    given = {"node_id": part, "reason": "it grew", "affected_files": ["a", "b", "a"], "next_action": "split it"}
    found = root("plan.slice.replan", **given, idempotency_key="k")
    assert found["snapshot"].pop("at")
    assert found["snapshot"] == {
        **{"id": f"{part}.s1", "node_id": part, "snapshot_type": "replan", "summary": "it grew"},
        **{"affected_files": ["a", "b"], "next_action": "split it"},
    }
    assert found["node"]["affected_files"] == ["a", "b"] and found["node"]["status"] == "todo"
    with unchanged(root):
        assert root("plan.slice.replan", **given, idempotency_key="k")["repeated"] is True
    kept = root("plan.slice.replan", node_id=part, reason="again")
    assert kept["snapshot"]["id"] == f"{part}.s2" and kept["node"]["affected_files"] == ["a", "b"]


def test_replanning_needs_a_reason_and_keeps_a_slice_within_its_budget(root: Actor, plan: str) -> None:
    (part,) = slices(root, plan, "x")
    files = [f"f{one}" for one in range(13)]
    for given in ({"reason": " "}, {"reason": "x" * 8193}, {"reason": "x", "affected_files": files}):
        with unchanged(root), pytest.raises(InvalidParams):
            root("plan.slice.replan", node_id=part, **given)
    root("plan.slice.replan", node_id=plan, reason="x", affected_files=files)


def test_replanning_takes_over_what_an_ended_session_left(root: Actor, other: Actor, plan: str) -> None:
    given = {"node_id": plan, "reason": "mine now", "owner_session_id": other.session}
    with unchanged(root), pytest.raises(Forbidden):
        other("plan.slice.replan", **given)
    root("session.close", session_id=root.session)
    assert other("plan.slice.replan", **given)["node"]["owner_session_id"] == other.session


def test_a_preview_counts_what_the_children_have_come_to(root: Actor, plan: str) -> None:
    empty = root("plan.rollup.preview", parent_node_id=plan)
    assert empty == {"parent_node_id": plan, "child_count": 0, "status_counts": {}, "children": [], "ready": True}
    a, b, c = slices(root, plan, {"title": "a", "priority": 1}, "b", "c")
    finish(root, a)
    finish(root, b)
    with unchanged(root):
        found = root("plan.rollup.preview", parent_node_id=plan)
    assert (found["child_count"], found["status_counts"], found["ready"]) == (3, {"done": 2, "todo": 1}, False)
    first = {"id": a, "node_type": "slice", "title": "a", "status": "done", "approval_state": "none"}
    assert found["children"][0] == first and {one["id"] for one in found["children"]} == {a, b, c}
    finish(root, c)
    assert root("plan.rollup.preview", parent_node_id=plan)["ready"] is True


def test_what_an_edge_contains_is_rolled_up_too(root: Actor, plan: str) -> None:
    far = root("graph.node.create", node_type="initiative", title="far")["node"]["id"]
    root("graph.edge.create", from_node_id=plan, to_node_id=far, edge_type="contains")
    found = root("plan.rollup.preview", parent_node_id=plan)
    assert [one["id"] for one in found["children"]] == [far] and found["ready"] is False


def test_a_rollup_is_submitted_once_and_approved_by_another(root: Actor, reviewer: Actor, plan: str) -> None:
    (part,) = slices(root, plan, "a")
    finish(root, part)
    found = root("plan.rollup.submit", node_id=plan, affected_files=["a"], next_action="land")
    assert (found["snapshot"]["snapshot_type"], found["snapshot"]["next_action"]) == ("rollup", "land")
    pending = found["node"]
    assert (pending["status"], pending["approval_state"], pending["submitted_by"]) == (
        *("in_review", "pending"),
        root.thread,
    )
    assert found["preview"]["ready"] is True
    with unchanged(root):
        assert root("plan.rollup.submit", node_id=plan, summary="the same again") == found
    done = reviewer("plan.rollup.approve", node_id=plan, reason="good")["node"]
    assert (done["status"], done["approval_state"], done["decided_by"], done["decision_reason"]) == (
        *("done", "approved"),
        *(reviewer.thread, "good"),
    )
    with unchanged(root):
        assert reviewer("plan.rollup.approve", node_id=plan, reason="good")["node"] == done


def test_children_that_are_not_done_need_a_summary(root: Actor, plan: str) -> None:
    a, b = slices(root, plan, "a", "b")
    finish(root, a)
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("plan.rollup.submit", node_id=plan, summary="  ")
    assert refusal.value.details["unfinished"] == [{"id": b, "title": "b", "status": "todo"}]
    assert root("plan.rollup.submit", node_id=plan, summary="b is not needed")["node"]["approval_state"] == "pending"


@pytest.mark.parametrize("method", ["plan.rollup.approve", "plan.rollup.reject"])
def test_nobody_decides_what_it_submitted_itself(
    root: Actor, operator: Actor, architect: Actor, plan: str, method: str
) -> None:
    root("plan.rollup.submit", node_id=plan)
    for one in (root, operator):
        with unchanged(root), pytest.raises(Forbidden, match="itself"):
            one(method, node_id=plan)
    with unchanged(root), pytest.raises(Forbidden):
        architect(method, node_id=plan)


@pytest.mark.parametrize("method", ["plan.rollup.approve", "plan.rollup.reject"])
def test_who_makes_a_node_that_waits_for_a_decision_does_not_decide_it(
    root: Actor, reviewer: Actor, method: str
) -> None:
    given = {"node_type": "initiative", "title": "x", "approval_state": "pending"}
    made = root("graph.node.create", **given)["node"]
    assert made["submitted_by"] == root.thread
    with unchanged(root), pytest.raises(Forbidden, match="itself"):
        root(method, node_id=made["id"])
    assert reviewer(method, node_id=made["id"])["node"]["decided_by"] == reviewer.thread


def test_a_node_made_as_pending_can_still_be_submitted_with_what_it_came_to(root: Actor) -> None:
    made = root("graph.node.create", node_type="initiative", title="x", approval_state="pending")["node"]
    found = root("plan.rollup.submit", node_id=made["id"])
    assert found["snapshot"]["id"] == f"{made['id']}.s1" and found["node"]["status"] == "in_review"


def test_a_root_decides_what_a_child_submitted(root: Actor, architect: Actor, plan: str) -> None:
    assert architect("plan.rollup.submit", node_id=plan)["node"]["submitted_by"] == architect.thread
    assert root("plan.rollup.approve", node_id=plan)["node"]["decided_by"] == root.thread


@pytest.mark.parametrize("method", ["plan.rollup.approve", "plan.rollup.reject"])
def test_only_what_is_pending_is_decided(root: Actor, reviewer: Actor, plan: str, method: str) -> None:
    with unchanged(root), pytest.raises(WrongState) as refusal:
        reviewer(method, node_id=plan)
    assert (refusal.value.details["found"], refusal.value.details["expected"]) == ("none", ["pending"])
    root("plan.rollup.submit", node_id=plan)
    reviewer("plan.rollup.approve", node_id=plan)
    for again in ("approve", "reject"):
        with unchanged(root), pytest.raises(WrongState):
            reviewer(f"plan.rollup.{again}", node_id=plan, reason="after all")


def test_what_was_rejected_is_blocked_until_it_is_submitted_again(root: Actor, reviewer: Actor, plan: str) -> None:
    root("plan.rollup.submit", node_id=plan)
    rejected = reviewer("plan.rollup.reject", node_id=plan, reason="tests are missing")["node"]
    assert (rejected["status"], rejected["approval_state"], rejected["decision_reason"]) == (
        *("blocked", "rejected"),
        "tests are missing",
    )
    with unchanged(root):
        assert reviewer("plan.rollup.reject", node_id=plan, reason="tests are missing")["node"] == rejected
    finish(root, plan, "in_progress")
    again = root("plan.rollup.submit", node_id=plan)
    assert again["snapshot"]["id"] == f"{plan}.s3" and again["node"]["approval_state"] == "pending"
    assert {"decided_by", "decision_reason"}.isdisjoint(again["node"])


def test_what_was_approved_is_neither_submitted_nor_moved_again(root: Actor, reviewer: Actor, plan: str) -> None:
    root("plan.rollup.submit", node_id=plan)
    reviewer("plan.rollup.approve", node_id=plan)
    with unchanged(root), pytest.raises(WrongState) as refusal:
        root("plan.rollup.submit", node_id=plan)
    assert refusal.value.details["found"] == "approved"
    with unchanged(root), pytest.raises(WrongState):
        finish(root, plan, "todo")


def test_an_architect_plans_and_does_not_decide(root: Actor, architect: Actor, reviewer: Actor) -> None:
    made = architect("plan.bootstrap", initiative_title="x", plan_title="y")["plan"]["id"]
    (part,) = slices(architect, made, "a")
    architect("plan.slice.replan", node_id=part, reason="x")
    finish(architect, part)
    assert architect("plan.rollup.preview", parent_node_id=made)["ready"] is True
    architect("plan.rollup.submit", node_id=made)
    assert reviewer("plan.rollup.preview", parent_node_id=made)["child_count"] == 1
    with unchanged(root), pytest.raises(Forbidden, match="plan-architect"):
        architect("plan.rollup.approve", node_id=made)
    assert reviewer("plan.rollup.approve", node_id=made)["node"]["status"] == "done"


def test_the_rows_of_the_roles_hold(root: Actor, actor: Callable[..., Actor], reviewer: Actor, plan: str) -> None:
    planning: dict[str, dict[str, Any]] = {
        "plan.bootstrap": {"initiative_title": "x", "plan_title": "y"},
        "plan.slice.generate": {"plan_node_id": plan, "slice_specs": [{"title": "x"}]},
        "plan.slice.replan": {"node_id": plan, "reason": "x"},
        "plan.rollup.submit": {"node_id": plan},
    }
    deciding: dict[str, dict[str, Any]] = {f"plan.rollup.{one}": {"node_id": plan} for one in ("approve", "reject")}
    deciding["plan.rollup.preview"] = {"parent_node_id": plan}
    everything = planning | deciding
    for one, forbidden in (
        (reviewer, planning),
        (crew.child(actor, root), everything),
        (crew.child(actor, root, role="doc-mirror-manager"), everything),
    ):
        for method, given in forbidden.items():
            with unchanged(root), pytest.raises(Forbidden):
                one(method, **given)


def test_a_scoped_architect_plans_below_its_nodes_only(root: Actor, actor: Callable[..., Actor], plan: str) -> None:
    one = crew.child(actor, root, role="plan-architect", scope_node_ids=(plan,))
    top = whole(root, plan)["parent_id"]
    (part,) = slices(one, plan, "inside")
    one("plan.slice.replan", node_id=part, reason="x")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("plan.bootstrap", {"initiative_title": "x", "plan_title": "y"}),
        ("plan.slice.generate", {"plan_node_id": plan, "slice_specs": [{"title": "x", "depends_on": [top]}]}),
        ("plan.slice.replan", {"node_id": top, "reason": "x"}),
        ("plan.rollup.submit", {"node_id": top}),
    ]
    for method, given in calls:
        with unchanged(root), pytest.raises(Forbidden, match="out of the scope"):
            one(method, **given)


def test_another_sessions_plan_is_its_own(root: Actor, other: Actor, plan: str) -> None:
    (part,) = slices(root, plan, "a")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("plan.slice.generate", {"plan_node_id": plan, "slice_specs": [{"title": "x"}]}),
        ("plan.slice.replan", {"node_id": part, "reason": "x"}),
        ("plan.rollup.submit", {"node_id": plan, "summary": "x"}),
        ("plan.rollup.approve", {"node_id": plan}),
        ("plan.rollup.reject", {"node_id": plan}),
        ("plan.bootstrap", {"initiative_title": "x", "plan_title": "y", "owner_session_id": root.session}),
    ]
    for method, given in calls:
        with unchanged(root), pytest.raises(Forbidden):
            other(method, **given)
    assert other("plan.rollup.preview", parent_node_id=plan)["child_count"] == 1


def test_a_decision_is_undone_by_the_session_that_made_it(root: Actor, reviewer: Actor, plan: str) -> None:
    root("plan.rollup.submit", node_id=plan)
    reviewer("plan.rollup.approve", node_id=plan)
    root("journal.undo")
    found = whole(root, plan)
    assert (found["status"], found["approval_state"]) == ("in_review", "pending") and "decided_by" not in found
    root("journal.undo")
    found = whole(root, plan)
    assert (found["status"], found["approval_state"]) == ("todo", "none") and "snapshot" not in found
