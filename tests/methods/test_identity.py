"""Who a child is, what its role may call, and whose things it may name: every method of this version, one by one."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from codestrator import params, registry, seats, table
from codestrator.errors import CodestratorError, Conflict, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.records import Session, Thread
from tests.actors import Actor, unchanged
from tests.methods import crew

TALK = {"inbox.send", "inbox.pending", "inbox.list", "inbox.deliver"}
CHILD = {"work.brief", "thread.child.report", "thread.directive.list"}
# The rows of the contract, word for word; a role that nobody knows has the worker's.
ROWS = {
    "worker": {
        *("task.get", "task.list", "task.ready", "case.begin", "step.check", "case.complete", "resume.next"),
        *("worktree.list", "worktree.merge_to_parent", "lock.acquire", "lock.heartbeat", "lock.release", "lock.list"),
        *("conflict.forecast", "rescue.list", "work.current_ref", "work.current_ref.ack", "work.checkpoint"),
        *("sync.status", *CHILD, *TALK),
    },
    "merge-reviewer": {
        *("task.get", "task.list", "graph.node.list", "graph.checklist.upsert", "merge.review_context"),
        *("merge.review.thread_status", "merge.review.verdict", "plan.rollup.preview", "plan.rollup.approve"),
        *("plan.rollup.reject", "lock.list", "conflict.forecast", *CHILD, *TALK),
    },
    "plan-architect": {
        *("task.get", "task.list", "task.ready", "graph.node.create", "graph.node.list", "graph.edge.create"),
        *("graph.checklist.upsert", "graph.snapshot.create", "plan.bootstrap", "plan.slice.generate"),
        *("plan.slice.replan", "plan.rollup.preview", "plan.rollup.submit", *CHILD, *TALK),
    },
    "doc-mirror-manager": {"mirror.status", "mirror.refresh", *CHILD},
}
ROWS["a role that nobody knows"] = ROWS["Root"] = ROWS["worker"]
MINE = sorted(ROWS["worker"])


@pytest.mark.parametrize("role", ROWS)
def test_a_child_may_call_exactly_the_row_of_its_role(role: str, root: Actor, actor: Callable[..., Actor]) -> None:
    one = crew.child(actor, root, role=role)
    wrong = []
    with unchanged(root):
        for name in table.METHODS:
            expected: type[CodestratorError] = Forbidden
            if name in ROWS[role]:
                expected = InvalidParams
            found = refusal(one, name, no_such_parameter=1)
            if type(found) is not expected or (expected is Forbidden and name not in found.message):
                wrong.append((name, found))
    assert wrong == []


@pytest.mark.parametrize("role", table.ROOT_ROLES)
def test_a_child_whose_document_says_root_is_none(role: str, root: Actor, actor: Callable[..., Actor]) -> None:
    _, place = crew.lettered(root, role=role)
    assert seats.child_seat(root.world, place).role == "worker"
    one = crew.child(actor, root, role=role)
    with unchanged(root), pytest.raises(Forbidden):
        one("task.create", level="epic", title="x")


def test_a_bystander_may_call_exactly_what_reads(root: Actor, actor: Callable[..., Actor]) -> None:
    one = actor("bystander", session_id=root.session)
    with unchanged(root):
        for name, method in table.METHODS.items():
            found = refusal(one, name, no_such_parameter=1)
            assert isinstance(found, Forbidden) == (method.kind != "read"), (name, found)


def refusal(one: Actor, method: str, **given: Any) -> CodestratorError | None:
    try:
        one(method, **given)
    except CodestratorError as error:
        return error
    return None


class Town(NamedTuple):
    """A worker amid what is not its own: its root, a sibling, another session with a child of its own."""

    root: Actor
    me: Actor
    foreign: dict[str, list[str]]  # by prefix
    fills: dict[str, Any]  # of required parameters, by name: all the worker's own


@pytest.fixture
def town(root: Actor, other: Actor, actor: Callable[..., Actor]) -> Iterator[Town]:
    mine = root("worktree.spawn", slug="mine")["worktree"]["id"]
    me = crew.child(actor, root, worktree_id=mine)
    sibling, stranger = crew.child(actor, root), crew.record(other)
    feature = crew.feature(root)
    cases = {}
    for one in (me, sibling, other):
        case_id = crew.make(root, "case", "a case", parent_id=feature, steps=["first"])
        cases[one] = one("case.begin", case_id=case_id)
        one("lock.acquire", scope_type="file", scope_path=f"{one.thread}.py")
    locks = {item["thread_id"]: item["id"] for item in root("lock.list")["items"]}
    words = {
        thread_id: writer("inbox.send", receiver_thread_id=thread_id, message="x")["message"]["id"]
        for writer, thread_id in ((root, me.thread), (root, sibling.thread), (other, stranger.id))
    }
    checkpoints = {
        one: one("work.checkpoint", summary="half", snapshot=False)["checkpoint"]["id"] for one in (me, sibling, other)
    }
    foreign = {
        "ses": [other.session],
        "thr": [root.thread, sibling.thread, stranger.id, other.thread],
        "wt": [other.worktree],
        "lock": [locks[sibling.thread], locks[other.thread]],
        "msg": [words[sibling.thread], words[stranger.id]],
        "cp": [checkpoints[other]],
        "case": [cases[sibling]["task"]["id"], cases[other]["task"]["id"]],
        "ref": [cases[sibling]["current_ref"]["id"]],
    }
    case_id = cases[me]["task"]["id"]
    fills = {"case_id": case_id, "task_id": case_id, "result": "pass", "summary": "x", "message": "x"}
    fills |= {"lock_id": locks[me.thread], "message_id": words[me.thread], "receiver_thread_id": "root"}
    yield Town(root, me, foreign, fills | {"ref_id": cases[me]["current_ref"]["id"]})


# What must be there beside the required ones for the call to be whole.
BESIDE = {
    "lock.acquire": {"scope_type": "file", "scope_path": "a.py"},
    "step.check": {"step_title": "first"},
}
# Reading tasks and locks is open across sessions; a claim that another has is told as such.
OPEN = {("task.list", "session_id"), ("task.ready", "session_id"), ("lock.list", "session_id")}
OPEN |= {("conflict.forecast", "worktree_ids")}
READS = {("task.get", "task_id"), ("task.list", "parent_id"), ("task.list", "under"), ("task.ready", "under")}
CLAIMED = {("case.begin", "case_id")}


def fields(name: str) -> Iterator[tuple[params.Shape, str]]:
    """The parameters that hold ids, with the kind of id that is tried."""
    for shape in registry.shapes(name):
        inner = shape.item if shape.form == "list" and shape.item else shape
        if inner.form == "id":
            kind = "ref" if inner.part and inner.prefixes == ("thr",) else inner.prefixes[0]
            yield shape, "case" if "case" in inner.prefixes else kind


def whole(town: Town, name: str, **given: Any) -> dict[str, Any]:
    """A call that would be good but for what is given."""
    required = {shape.name: town.fills[shape.name] for shape in registry.shapes(name) if shape.required}
    beside = {} if "step_id" in given else BESIDE.get(name, {})
    return required | beside | given


def test_no_method_takes_an_id_of_another_session_or_thread(town: Town) -> None:
    tried, wrong = 0, []
    for name in MINE:
        for shape, kind in fields(name):
            for item_id in town.foreign[kind]:
                item = f"{item_id}.1" if kind == "case" and shape.part else item_id
                given = whole(town, name, **{shape.name: [item] if shape.form == "list" else item})
                if shape.name == "step_id" and name != "thread.child.report":
                    given.pop("case_id", None)
                allowed = (name, shape.name) in OPEN | READS
                expected = None if allowed else Conflict if (name, shape.name) in CLAIMED else Forbidden
                before = town.root.world.store.tips()
                found = refusal(town.me, name, **given)
                if (found and type(found)) is not expected or town.root.world.store.tips() != before:
                    wrong.append((name, shape.name, item, found))
                tried += 1
    assert wrong == []
    assert tried > 60  # the walk over the table found its parameters


def test_a_ref_of_another_session_is_not_found(town: Town) -> None:
    [theirs] = town.root.world.store.read().where(Session, id=town.foreign["ses"][0])
    thread = town.root.world.store.read().require(Session, theirs.id).root_thread_id
    with unchanged(town.root), pytest.raises(NotFound):
        town.me("work.current_ref.ack", ref_id=f"{thread}.1")


def test_the_worktree_of_a_sibling_or_of_the_root_is_not_merged(town: Town) -> None:
    beside = town.root("worktree.spawn", slug="beside")["worktree"]["id"]
    for worktree_id in (beside, town.root.worktree):
        with unchanged(town.root), pytest.raises(Forbidden):
            town.me("worktree.merge_to_parent", worktree_id=worktree_id)


def test_a_worker_merges_its_own_worktree_without_naming_it(town: Town) -> None:
    path = town.root.world.repo / town.root("worktree.list", session_id=town.root.session)["items"][0]["path"]
    (path / "login.py").write_text("timeout = 30\n", encoding="utf-8")
    town.me("work.checkpoint", summary="x", commit_message="login: wait longer")
    merged = town.me("worktree.merge_to_parent")
    assert merged["child_worktree"]["id"] == town.me.worktree
    assert merged["changed_files"] == ["login.py"]


def test_a_directive_to_another_is_neither_seen_nor_receipted(town: Town) -> None:
    sibling = town.foreign["thr"][1]
    sent = {
        one: town.root("thread.child.directive", thread_id=one, directive="x", mode="queue")["directive"]["id"]
        for one in (town.me.thread, sibling)
    }
    seen = town.me("thread.directive.list")["items"]
    assert [one["directive_id"] for one in seen] == [sent[town.me.thread]]
    receipt = {"directive_id": sent[sibling], "state": "delivered"}
    with unchanged(town.root), pytest.raises(Forbidden):
        town.me("thread.child.report", receipts=[receipt])
    with unchanged(town.root), pytest.raises(NotFound):
        town.me("thread.child.report", receipts=[{"directive_id": "dir-0000000000", "state": "delivered"}])
    told = town.me("thread.child.report", receipts=[{"directive_id": sent[town.me.thread], "state": "delivered"}])
    assert [one["id"] for one in told["directives"]] == [sent[town.me.thread]]


def test_a_report_for_another_thread_leaves_no_word_beside_the_state(town: Town) -> None:
    for thread_id in town.foreign["thr"]:
        with pytest.raises(Forbidden):
            town.me("thread.child.report", thread_id=thread_id, progress="half")
        assert town.root.world.live.told(thread_id) is None


def test_the_journal_names_the_child_and_its_session_whatever_it_states(town: Town) -> None:
    town.me("inbox.send", sender_thread_id=town.me.thread, receiver_thread_id="root", message="x")
    newest = town.root("journal.list", limit=1)["items"][0]
    assert (newest["actor"], newest["session_id"]) == (town.me.thread, town.root.session)


@pytest.mark.parametrize("status", ["completed", "failed", "stopped", "cancelled"])
def test_a_child_that_has_ended_calls_nothing_more(status: Any, town: Town) -> None:
    thread = town.root.world.store.read().require(Thread, town.me.thread)
    crew.put(town.root, thread.but(status=status))
    with unchanged(town.root):
        for name in MINE:
            with pytest.raises(WrongState, match=f"'{town.me.thread}' is '{status}'"):
                town.me(name, **whole(town, name))


def test_a_child_whose_thread_moved_to_another_machine_is_refused(town: Town) -> None:
    thread = town.root.world.store.read().require(Thread, town.me.thread)
    crew.put(town.root, thread.but(machine="0000000000"))
    for name in ("task.list", "lock.acquire", "thread.child.report"):
        with unchanged(town.root), pytest.raises(Forbidden, match="0000000000"):
            town.me(name, **whole(town, name))


def test_a_child_speaks_for_the_session_that_its_thread_is_in_now(town: Town) -> None:
    thread = town.root.world.store.read().require(Thread, town.me.thread)
    crew.put(town.root, thread.but(session_id=town.foreign["ses"][0]))
    held = town.me("lock.acquire", scope_type="file", scope_path="c.py")["lock"]
    assert [held["session_id"]] == town.foreign["ses"]
    with unchanged(town.root), pytest.raises(Forbidden):
        town.me("resume.next", session_id=town.root.session)


def test_the_keys_of_a_child_are_its_own(root: Actor, actor: Callable[..., Actor]) -> None:
    first, second = crew.child(actor, root), crew.child(actor, root)
    same = {"receiver_thread_id": "root", "message": "done", "idempotency_key": "1"}
    one, two = first("inbox.send", **same), second("inbox.send", **same)
    assert one["message"]["id"] != two["message"]["id"] and "repeated" not in two
    assert two["message"]["sender_thread_id"] == second.thread
    again = first("inbox.send", **same)
    assert (again["message"]["id"], again["repeated"]) == (one["message"]["id"], True)
    root("lock.acquire", scope_type="file", scope_path="a", idempotency_key="1")
    assert "repeated" not in first("lock.acquire", scope_type="file", scope_path="b", idempotency_key="1")


def test_a_child_adopts_no_session_and_gives_it_no_sign_of_life(root: Actor, actor: Callable[..., Actor]) -> None:
    thread, place = crew.lettered(root)
    one = actor("child")
    one.seat = seats.child_seat(one.world, place)
    beat = one.world.live.beat(root.session)
    root.close()
    for name, given in (("work.brief", {}), ("lock.acquire", BESIDE["lock.acquire"]), ("thread.child.report", {})):
        one(name, **given)
    assert one.seat.sessions == []
    assert not one.world.live.held(root.session) and one.world.live.beat(root.session) == beat
    assert one.world.live.beat(thread.id) is not None  # its report is its own sign of life


def test_a_person_who_only_looks_gives_a_session_no_sign_of_life(root: Actor, operator: Actor) -> None:
    root.close()
    beat = operator.world.live.beat(root.session)
    for name in ("session.list", "session.context", "resume.next", "task.list"):
        operator(name)
    assert operator.world.live.beat(root.session) == beat
    operator("task.create", level="epic", title="x")
    assert operator.world.live.beat(root.session) != beat


def test_a_message_goes_to_the_root_or_the_parent_only(town: Town) -> None:
    for thread_id in town.foreign["thr"]:
        found = refusal(town.me, "inbox.send", receiver_thread_id=thread_id, message="x")
        assert isinstance(found, Forbidden) == (thread_id != town.root.thread), (thread_id, found)


def test_a_childs_brief_tells_of_itself_and_offers_only_what_it_may_call(town: Town, actor: Any) -> None:
    sibling = actor("child", session_id=town.root.session, thread_id=town.foreign["thr"][1], role="worker")
    note = {"note": "the cookie's name is unknown"}
    sibling("step.check", case_id=town.foreign["case"][0], step_title="first", result="blocked", evidence=note)
    assert "cookie" in json.dumps(town.root("work.brief")["decisions"])
    found = town.me("work.brief")
    assert "decisions" not in found and "children" not in found
    assert {one.get("id") for one in found["leases"]} == {town.fills["lock_id"], None}
    for role, row in ROWS.items():
        one = crew.child(actor, town.root, role=role, scope_case_ids=(town.foreign["case"][1],))
        calls = {call["method"] for call in one("work.brief")["next_calls"]}
        assert calls and calls <= row, (role, calls)
