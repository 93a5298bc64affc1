"""How children are: listed, looked at, waited for, and where a person can watch them."""

import shlex
import threading
from collections.abc import Callable
from typing import Any

import pytest

from codestrator import threadfiles
from codestrator.errors import Forbidden, InvalidParams, NotFound
from tests.actors import Actor, unchanged
from tests.methods.crew import child as crew_child
from tests.methods.family import Family
from tests.world.desk import Desk

REPORT = "thread.child.report"
STATUS = "thread.child.status"
WAIT = "thread.child.wait_status"


@pytest.fixture
def child(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A child at work, as its own server makes calls for it."""
    one = crew_child(actor, root)
    assert one.world.live.take(one.thread)
    return one


def says(child: Actor, **changes: Any) -> None:
    """What its runner tells of itself."""
    said = threadfiles.told(child.world.live, child.thread)
    for name, value in changes.items():
        setattr(said, name, value)
    threadfiles.tell(child.world.live, child.thread, said)


def ids(found: dict[str, Any]) -> list[str]:
    return [one["thread"]["id"] for one in found["items"]]


def test_threads_are_listed_oldest_first_with_their_case_and_report(root: Actor, child: Actor) -> None:
    root("thread.child.directive", thread_id=child.thread, directive="go")
    case = root.case("one")
    child("case.begin", case_id=case)
    child(REPORT, turn=2, progress="half")
    found = root("thread.child.list")
    assert ids(found) == [root.thread, child.thread] and found["count"] == 2
    item = found["items"][1]
    assert set(item) == {"thread", "open_directives", "case_id", "last_report"}
    assert (item["case_id"], item["open_directives"]) == (case, 1)
    assert (item["last_report"]["turn"], item["last_report"]["progress"]) == (2, "half")
    assert "task_spec" not in item["thread"] and "token_hash" not in item["thread"]


def test_a_list_can_be_narrowed_and_paged(root: Actor, actor: Callable[..., Actor]) -> None:
    worker, reviewer, third = (crew_child(actor, root, role=role) for role in ("worker", "merge-reviewer", "worker"))
    third(REPORT, status="completed")
    for given, wanted in (
        ({"include_root": False}, [worker, reviewer, third]),
        ({"role": "worker"}, [worker, third]),
        ({"status": "completed"}, [third]),
        ({"parent_thread_id": worker.thread}, []),
        ({"parent_thread_id": root.thread, "status": "running"}, [worker, reviewer]),
    ):
        assert ids(root("thread.child.list", **given)) == [one.thread for one in wanted]
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = root("thread.child.list", limit=2, **({"cursor": cursor} if cursor else {}))
        crew_child(actor, root)  # while others are being spawned
        seen += ids(page)
        cursor = page.get("next_cursor") if len(seen) < 4 else None
    assert seen[:4] == [root.thread, worker.thread, reviewer.thread, third.thread]
    with unchanged(root), pytest.raises(InvalidParams):
        root("thread.child.list", status="asleep")


def test_a_list_of_then_knows_nothing_of_later(root: Actor, child: Actor) -> None:
    op = root("journal.list")["items"][0]["op"]
    child(REPORT, status="completed")
    assert root("thread.child.list", at=op)["items"][1]["thread"]["status"] == "running"


def test_a_status_tells_all_that_the_contract_names(family: Family) -> None:
    thread_id = family.child("echo on the screen; exec sleep 300")
    found = family.shows(thread_id, "on the screen")
    family.until(lambda: "provider_status" in family.root("thread.child.status", thread_id=thread_id))
    found = family.root("thread.child.status", thread_id=thread_id)
    assert set(found) - {"progress"} == {
        "thread_id", "db_status", "pane_exists", "process_alive", "provider_status", "detection_tier", "turn",
        "reported_at", "screen",
    }  # fmt: skip
    assert (found["db_status"], found["provider_status"], found["turn"]) == ("running", "processing", 1)
    assert (found["pane_exists"], found["process_alive"], found["detection_tier"]) == (True, True, "report")
    with unchanged(family.root):
        lines = family.root(STATUS, thread_id=thread_id, capture_lines=1)["screen"].splitlines()
    assert lines == ["on the screen"]


def test_a_screen_is_shown_without_what_a_terminal_would_obey(family: Family) -> None:
    thread_id = family.child(r"printf '\033[31mred\033[0m \033]0;title\007\342\200\256 end\n'; exec sleep 300")
    screen = family.shows(thread_id, "end")["screen"]
    assert "red" in screen and not any(mark in screen for mark in ("\x1b", "\x07", "\u202e"))


@pytest.mark.parametrize("lines", [0, 2001, "many"])
def test_a_capture_has_bounds(root: Actor, child: Actor, lines: object) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root(STATUS, thread_id=child.thread, capture_lines=lines)


def test_what_an_agent_does_is_told_by_its_report_and_its_end(root: Actor, child: Actor) -> None:
    for said in ("processing", "idle"):
        says(child, provider_status=said, turn=3, last_response="so far")
        found = root(STATUS, thread_id=child.thread)
        assert (found["provider_status"], found["turn"], found["last_response"]) == (said, 3, "so far")
    child(REPORT, blocker="no key")
    found = root(STATUS, thread_id=child.thread)
    assert (found["provider_status"], found["blocker"]) == ("waiting_user_answer", "no key")
    child(REPORT, status="completed", final_message="all of it")
    found = root(STATUS, thread_id=child.thread)
    assert (found["db_status"], found["provider_status"], found["last_response"]) == (
        "completed", "completed", "all of it",
    )  # fmt: skip


def test_a_wait_is_over_at_once_where_it_is_so_already(root: Actor, child: Actor) -> None:
    found = root(WAIT, thread_id=child.thread, target_statuses=["running", "completed"])
    assert set(found) == {"thread_id", "achieved_status", "turn", "elapsed_ms"}
    assert (found["achieved_status"], found["thread_id"]) == ("running", child.thread)


@pytest.mark.parametrize(
    ("report", "target", "achieved"),
    [
        ({"status": "waiting"}, "waiting", "waiting"),
        ({"question": "what?"}, "waiting_user_answer", "waiting_user_answer"),
        ({"status": "completed", "final_message": "done"}, "waiting", "completed"),
        ({"status": "failed", "final_message": "no"}, "idle", "failed"),
    ],
)
def test_a_wait_ends_when_it_becomes_so_or_the_child_ends(
    root: Actor, child: Actor, report: dict[str, Any], target: str, achieved: str
) -> None:
    later = threading.Timer(0.3, lambda: child(REPORT, **report))
    later.start()
    found = root(WAIT, thread_id=child.thread, target_statuses=[target], timeout_seconds=20)
    later.join()
    assert (found["achieved_status"], found.get("last_response")) == (achieved, report.get("final_message"))
    assert 100 < found["elapsed_ms"] < 10_000 and "timed_out" not in found


def test_what_only_the_runner_says_is_waited_for_too(root: Actor, child: Actor) -> None:
    says(child, provider_status="processing")
    later = threading.Timer(0.3, lambda: says(child, provider_status="idle", last_response="that is it"))
    later.start()
    found = root(WAIT, thread_id=child.thread, target_statuses=["idle"], timeout_seconds=20)
    later.join()
    assert (found["achieved_status"], found["last_response"]) == ("idle", "that is it")


def test_only_a_later_turn_counts_where_one_is_named(root: Actor, child: Actor) -> None:
    child(REPORT, turn=2)
    say = {"thread_id": child.thread, "target_statuses": ["running"], "timeout_seconds": 1}
    found = root(WAIT, **say, since_turn=2)
    assert (found["timed_out"], found["achieved_status"], found["turn"]) == (True, "running", 2)
    assert root(WAIT, **say, since_turn=1)["turn"] == 2
    says(child, turn=3)
    assert root(WAIT, **say, since_turn=2)["turn"] == 3
    child(REPORT, status="completed")
    assert root(WAIT, **say, since_turn=9)["achieved_status"] == "completed"


def test_a_wait_without_time_only_looks(root: Actor, child: Actor) -> None:
    found = root(WAIT, thread_id=child.thread, target_statuses=["completed"], timeout_seconds=0)
    assert (found["timed_out"], found["achieved_status"]) == (True, "running") and found["elapsed_ms"] < 1000


def test_a_wait_can_be_cancelled(root: Actor, child: Actor) -> None:
    over = threading.Event()
    whole, root.world = root.world, root.world.for_call(over)
    later = threading.Timer(0.3, over.set)
    later.start()
    found = root(WAIT, thread_id=child.thread, target_statuses=["completed"])
    later.join()
    root.world = whole
    assert found["timed_out"] is True and found["elapsed_ms"] < 10_000


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target_statuses": ["done"]}, "'target_statuses' has 'done'"),
        ({"target_statuses": []}, "'target_statuses' has 'nothing'"),
        ({"target_statuses": ["completed"], "since_turn": -1}, "since_turn"),
        ({"target_statuses": ["completed"], "timeout_seconds": -1}, "timeout_seconds"),
        ({}, "target_statuses"),
    ],
)
def test_a_malformed_wait_is_refused(root: Actor, child: Actor, given: dict[str, Any], words: str) -> None:
    with unchanged(root), pytest.raises(InvalidParams, match=words):
        root(WAIT, thread_id=child.thread, **given)


def test_attach_info_is_read_only_and_fit_for_a_shell(family: Family, desk: Desk, actor: Callable[..., Actor]) -> None:
    before = family.root("thread.attach_info")
    assert (before["available"], before["read_only"]) == (False, True)
    thread = family.spawn()["thread"]
    found = family.root("thread.attach_info", thread_id=thread["id"])
    assert (found["available"], found["tmux_pane_id"]) == (True, thread["tmux_pane_id"])
    words = shlex.split(found["attach_readonly_command"])
    assert words == ["tmux", "-S", desk.socket, "attach", "-r", "-t", thread["tmux_session_name"]]
    assert found["attach_command"] == found["attach_readonly_command"] and " -r " in found["switch_command"]
    desk("kill-server")
    assert family.root("thread.attach_info")["available"] is False
    family.root("thread.child.stop", thread_id=thread["id"])  # nothing of it changes any more
    other = actor()
    other.open(user_request="Add invoices")
    for one, thread_id, error in ((other, thread["id"], Forbidden), (family.root, "thr-0000000000", NotFound)):
        with unchanged(one), pytest.raises(error):
            one("thread.attach_info", thread_id=thread_id)


@pytest.mark.parametrize(
    ("shown", "status"), [("Continue? [y/N] ", "waiting_user_answer"), ("agent> ", "idle"), ("working on it", None)]
)
def test_the_screen_tells_what_a_command_waits_for(family: Family, shown: str, status: str | None) -> None:
    thread_id = family.child(f"printf {shlex.quote(shown)}; exec sleep 300")
    found = family.shows(thread_id, shown.strip())
    told = (found["provider_status"], found["detection_tier"])
    assert told == ((status, "screen") if status else ("processing", "report"))
