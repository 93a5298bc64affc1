"""The verbs: status, next, brief, resume and undo, as a person and a script use them."""

import json
from collections.abc import Callable

import pytest

from codestrator.errors import NotFound
from codestrator.records import Thread
from tests.actors import Actor, SteeredClock
from tests.conftest import git
from tests.edges.shell import Run, on_a_terminal, refused, result
from tests.methods import crew


def test_a_wait_that_ends_without_what_it_waited_for_exits_5(run: Run, root: Actor) -> None:
    done = run("inbox", "pending", "--receiver-thread-id", root.thread, "--wait-seconds", "1", "--json", at=root.path)
    assert json.loads(done.stdout)["result"]["timed_out"] is True
    assert done.returncode == 5


def test_status_tells_who_works_on_what_and_check_asks_for_a_person(run: Run, root: Actor) -> None:
    case = root.case("one", "two")
    root("case.begin", case_id=case)
    found = result(run("status", "--check", "--json"))
    assert [one["session"]["id"] for one in found["sessions"]] == [root.session]
    assert [(one["id"], one["steps"]) for one in found["cases"]] == [(case, "0/2")]
    root("step.check", case_id=case, step_title="one", result="blocked")
    done = run("status", "--check")
    assert done.returncode == 6
    assert case in done.stdout and "diverged: 1 thing" in done.stderr
    assert run("status").returncode == 0


def test_next_shows_the_step_of_the_session_and_without_one_the_ready_cases(run: Run, root: Actor) -> None:
    case = root.case("one", "two")
    assert result(run("next", "--json"))["items"][0]["task"]["id"] == case
    root("case.begin", case_id=case)
    found = result(run("next", "--json", at=root.path))
    assert (found["task"]["id"], found["next_step"]["title"]) == (case, "one")


def test_brief_says_where_the_session_is(run: Run, root: Actor) -> None:
    root("case.begin", case_id=root.case("the very first step"))
    found = result(run("brief", "--tokens", "800", "--json", at=root.path))
    assert found["session"]["id"] == root.session
    assert found["tokens"] <= 800
    assert "the very first step" in run("brief", at=root.path).stdout


def test_undo_shows_then_takes_back(run: Run, root: Actor) -> None:
    task = result(run("task", "create", "epic", "mistaken", "--json", at=root.path))["task"]["id"]
    shown = result(run("undo", "--dry-run", "--json", at=root.path))
    assert root("task.get", task_id=task)["task"]["title"] == "mistaken"
    done = result(run("undo", "--yes", "--json", at=root.path))
    assert done["undone"] == shown["undone"]
    assert refused(run("task", "get", task, "--json"))["code"] == "not_found"


def test_resume_lists_what_fell_silent_and_takes_it(run: Run, actor: Callable[..., Actor], clock: SteeredClock) -> None:
    clock.advance(-7200)
    gone = actor()
    gone("workspace.init")
    gone.open(user_request="Two hours ago")
    case = gone.case("one", "two")
    gone("case.begin", case_id=case)
    gone.close()
    silent = result(run("resume", "--json"))["items"]
    assert [one["session"]["id"] for one in silent] == [gone.session]
    assert gone.session in run("status").stdout.partition("Needs you:")[2]
    taken = result(run("resume", gone.session[:8], "--json"))
    assert taken["next_step"]["title"] == "one"
    assert result(run("resume", "--json"))["items"] == []


def test_a_session_that_cannot_be_taken_leaves_no_session_behind(run: Run, root: Actor) -> None:
    assert refused(run("resume", root.session, "--json"))["code"] in ("wrong_state", "conflict", "forbidden")
    open_ones = [one["session"]["id"] for one in root("session.list")["items"]]
    assert open_ones == [root.session]


def test_a_person_sees_tables_and_colour_only_if_wanted(root: Actor) -> None:
    case = root.case("one")
    root("case.begin", case_id=case)
    status, bare = on_a_terminal(["status"], root.path)
    assert status == 0
    assert case in bare and "Cases in work" in bare and "\x1b[3" not in bare
    assert "\x1b[36m" in on_a_terminal(["status", "--color", "always"], root.path)[1]
    git("config", "color.codestrator", "never", at=root.path)
    assert "\x1b[3" not in on_a_terminal(["status"], root.path, NO_COLOR="")[1]


def test_on_a_terminal_undo_asks_and_no_means_no(root: Actor, operator: Actor) -> None:
    task = root("task.create", level="epic", title="stays")["task"]["id"]
    status, seen = on_a_terminal(["undo"], root.path, typed=b"n\n")
    assert "Take this back?" in seen
    assert status == 130
    assert operator("task.get", task_id=task)["task"]["title"] == "stays"
    assert on_a_terminal(["undo"], root.path, typed=b"y\n")[0] == 0
    with pytest.raises(NotFound):
        operator("task.get", task_id=task)


def test_a_child_that_failed_needs_a_person_until_another_is_in_its_place(
    run: Run, root: Actor, actor: Callable[..., Actor]
) -> None:
    child = crew.child(actor, root)
    child("thread.child.report", status="failed", final_message="no model key")
    found = result(run("status", "--json"))
    assert [(one["id"], one["status"]) for one in found["children"]] == [(child.thread, "failed")]
    (need,) = found["needs"]
    assert child.thread in need["what"] and "no model key" in need["what"] and "--mode restart" in need["call"]
    worktree = root.world.store.read().require(Thread, child.thread).worktree_id
    other = crew.child(actor, root, worktree_id=worktree)
    found = result(run("status", "--json"))
    assert [one["id"] for one in found["children"]] == [other.thread] and found["needs"] == []


def test_land_says_what_is_missing_then_lands(run: Run, root: Actor) -> None:
    (root.path / "a.txt").write_text("new\n", encoding="utf-8")
    root("work.checkpoint", summary="done", commit_message="add a.txt")
    done = run("land", at=root.path)
    assert done.returncode == 4 and "expected 'approved'" in done.stderr and "request-auto" in done.stderr
    assert "queued" in run("status").stdout and "land-" in run("status").stdout
    head = git("rev-parse", "HEAD", at=root.path)
    run("merge", "main", "acquire-lock", at=root.path)
    run("merge", "review", "verdict", "approve", head, "all met", at=root.path)
    found = result(run("land", "--json", at=root.path))
    assert found["landed"] and git("rev-parse", "main", at=root.path) == found["merge_commit"]
    assert "land-" not in run("status").stdout
