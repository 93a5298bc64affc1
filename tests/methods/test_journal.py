"""The journal tells what was done; undo takes a session's own back."""

from typing import Any

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound, WrongState
from tests.actors import Actor, SteeredClock, unchanged


def epic(actor: Actor, title: str = "Shop") -> str:
    return str(actor("task.create", level="epic", title=title)["task"]["id"])


def title(actor: Actor, task_id: str) -> str:
    return str(actor("task.get", task_id=task_id)["task"]["title"])


def newest(actor: Actor, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = actor("journal.list", limit=1, **given)["items"][0]
    return found


def test_an_operation_names_method_actor_and_documents(root: Actor) -> None:
    task = epic(root)
    line = newest(root)
    assert (line["method"], line["session_id"]) == ("task.create", root.session)
    assert line["actor"].startswith("root@")
    assert {"name": f"task/{task}", "change": "added"} in line["documents"]
    root("task.update", task_id=task, title="Store")
    assert newest(root)["documents"] == [{"name": f"task/{task}", "change": "changed"}]


def test_grants_of_the_lock_book_stand_in_it_with_their_domain(root: Actor) -> None:
    lock = root("lock.acquire", scope_type="file", scope_path="src/a b.py")["lock"]
    (line,) = root("journal.list", method="lock.acquire")["items"]
    assert line["domain"] == "paths"
    assert {"name": f"lock/{lock['id']}", "change": "added"} in line["documents"]


def test_it_is_filtered_by_session_document_and_operation(root: Actor, other: Actor) -> None:
    first, second = epic(root), epic(other)
    root("task.update", task_id=first, title="Store")
    assert root("journal.list", document=first)["count"] == 2
    assert all(one["session_id"] == other.session for one in root("journal.list", session_id=other.session)["items"])
    made = newest(root, document=second)
    since = root("journal.list", since=made["op"])["items"]
    assert since[-1]["op"] == made["op"]
    assert len(since) == 2
    assert root("journal.list", until=made["op"])["items"][0]["op"] == made["op"]


def test_it_is_filtered_by_time(root: Actor, clock: SteeredClock) -> None:
    epic(root)
    clock.advance(100)
    task = epic(root)
    line = newest(root)
    assert [one["op"] for one in root("journal.list", since=line["at"])["items"]] == [line["op"]]
    assert root("journal.list", document=task, until=line["at"])["count"] == 1
    assert root("journal.list", since="2100-01-01T00:00:00Z")["count"] == 0


@pytest.mark.parametrize("mark", ["yesterday", "2026-01-01T00:00:00", "case-0000000001"])
def test_a_mark_that_is_none_is_refused(root: Actor, mark: str) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("journal.list", since=mark)


def test_an_unknown_operation_is_refused(root: Actor) -> None:
    for field in ("since", "until"):
        with unchanged(root), pytest.raises(NotFound):
            root("journal.list", **{field: "op-zzzzzzzzzz"})
    with unchanged(root), pytest.raises(NotFound):
        root("journal.undo", op="op-zzzzzzzzzz")


def test_pages_stay_whole_while_the_journal_grows(root: Actor) -> None:
    for number in range(5):
        epic(root, f"e{number}")
    whole = [one["commit"] for one in root("journal.list")["items"]]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = root("journal.list", limit=2, **cursor)
        seen += [one["commit"] for one in page["items"]]
        epic(root, "meanwhile")
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == whole
    with unchanged(root), pytest.raises(InvalidParams):
        root("journal.list", cursor="nonsense")


def test_undo_restores_what_the_newest_operation_changed(root: Actor) -> None:
    task = epic(root)
    root("task.update", task_id=task, title="Store")
    done = newest(root)["op"]
    undone = root("journal.undo")
    assert undone["undone"] == [done]
    assert undone["documents"] == [f"task/{task}"]
    assert title(root, task) == "Shop"
    assert newest(root)["op"] == undone["op"]
    assert newest(root)["undoes"] == [done]
    assert root("journal.list", document=task)["items"][1]["undone_by"] == undone["op"]


def test_undo_again_takes_the_next_earlier_one(root: Actor) -> None:
    task = epic(root)
    root("task.update", task_id=task, title="Store")
    root("journal.undo")
    root("journal.undo")
    with pytest.raises(NotFound):
        root("task.get", task_id=task)


def test_undo_takes_several_back_at_once(root: Actor) -> None:
    task = epic(root)
    for name in ("One", "Two", "Three"):
        root("task.update", task_id=task, title=name)
    assert len(root("journal.undo", count=2)["undone"]) == 2
    assert title(root, task) == "One"


def test_undo_down_to_a_named_operation(root: Actor) -> None:
    task = epic(root)
    root("task.update", task_id=task, title="One")
    mark = newest(root)["op"]
    root("task.update", task_id=task, title="Two")
    root("task.update", task_id=task, priority=5)
    assert len(root("journal.undo", op=mark)["undone"]) == 3
    assert title(root, task) == "Shop"


def test_an_undo_can_be_undone(root: Actor) -> None:
    task = epic(root)
    root("task.update", task_id=task, title="Store")
    undo = root("journal.undo")["op"]
    assert root("journal.undo", op=undo)["undone"] == [undo]
    assert title(root, task) == "Store"
    assert "undone_by" not in root("journal.list", document=task, method="task.update")["items"][0]
    root("journal.undo")
    assert title(root, task) == "Shop"


def test_a_dry_run_changes_nothing(root: Actor) -> None:
    task = epic(root)
    with unchanged(root):
        planned = root("journal.undo", dry_run=True)
    assert planned["documents"] == [f"task/{task}"]
    assert "op" not in planned


def test_what_another_session_changed_since_is_not_undone(root: Actor, other: Actor) -> None:
    task = epic(root)
    root("task.update", task_id=task, title="Store")
    mine = newest(root)["op"]
    other("task.update", task_id=task, priority=3)
    theirs = newest(root)["op"]
    with unchanged(root), pytest.raises(Conflict) as refused:
        root("journal.undo", op=mine)
    assert refused.value.details["found"] == [{"op": theirs, "document": f"task/{task}", "session_id": other.session}]
    assert "inbox.send" not in str(refused.value.hint)  # no message goes from one session to another


def test_others_work_beside_it_stays(root: Actor, other: Actor) -> None:
    mine, theirs = epic(root), epic(other, "Theirs")
    root("journal.undo")
    assert title(root, theirs) == "Theirs"
    with pytest.raises(NotFound):
        root("task.get", task_id=mine)


def test_a_task_that_another_session_built_on_is_not_taken_away(root: Actor, other: Actor) -> None:
    task = epic(root)
    other("task.create", level="feature", title="Login", parent_id=task)
    with unchanged(root), pytest.raises(Conflict):
        root("journal.undo")


def test_an_operation_of_another_session_is_refused(root: Actor, other: Actor) -> None:
    epic(other)
    with unchanged(root), pytest.raises(Forbidden):
        root("journal.undo", op=newest(root)["op"])


def test_grants_and_worktrees_are_refused_with_what_reverses_them(root: Actor) -> None:
    root("worktree.spawn", reason="try something")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("journal.undo")
    assert refused.value.details["use"] == "worktree.remove"
    root("case.begin", case_id=root.case("one"))
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("journal.undo")
    assert refused.value.details["use"] == "task.cancel or case.complete"
    root("lock.acquire", scope_type="file", scope_path="a")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("journal.undo", op=root("journal.list", method="lock.acquire")["items"][0]["op"])
    assert refused.value.details["use"] == "lock.release"


def test_a_checkpoint_stays_and_is_named_when_its_step_is_undone(root: Actor) -> None:
    case = root.case("one", "two")
    fence = root("case.begin", case_id=case)["fence"]
    checked = root("step.check", case_id=case, step_title="one", result="pass")
    undone = root("journal.undo")
    assert root("task.get", task_id=case)["task"]["steps"][0]["status"] == "todo"
    assert checked["checkpoint_id"] in undone["not_undone"][0]["effect"]
    assert [one["fence"] for one in root("lock.list", domain="claims")["items"]] == [fence]
    assert root("step.check", case_id=case, step_title="one", result="pass")["step"]["status"] == "done"


def test_locks_taken_since_are_named(root: Actor) -> None:
    epic(root)
    lock = root("lock.acquire", scope_type="file", scope_path="a")["lock"]
    (left,) = root("journal.undo")["not_undone"]
    assert (lock["id"] in left["effect"], left["use"]) == (True, "lock.release")


def test_a_keyed_undo_undoes_once(root: Actor) -> None:
    task = epic(root)
    root("task.update", task_id=task, title="Store")
    first = root("journal.undo", idempotency_key="k")
    again = root("journal.undo", idempotency_key="k")
    assert (again["op"], again["repeated"]) == (first["op"], True)
    assert title(root, task) == "Shop"


@pytest.mark.parametrize("count", [0, 21])
def test_a_count_out_of_range_is_refused(root: Actor, count: int) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("journal.undo", count=count)
