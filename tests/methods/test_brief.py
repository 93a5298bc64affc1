"""Where was I: the next step and the exact next calls, within the budget."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codestrator import registry, table, text
from codestrator.errors import Forbidden, InvalidParams
from tests.actors import Actor, SteeredClock, unchanged
from tests.methods import crew

LONG = "words and words " * 400


def brief(actor: Actor, **given: Any) -> dict[str, Any]:
    return actor("work.brief", **given)


def tokens(found: dict[str, Any]) -> int:
    return text.tokens(msgspec.json.encode(found).decode())


def test_it_names_session_thread_worktree_and_head(root: Actor) -> None:
    found = brief(root)
    assert (found["session"]["id"], found["thread"]["id"]) == (root.session, root.thread)
    assert root.path.samefile(Path(root.world.repo) / found["thread"]["worktree"]["path"])
    assert found["thread"]["worktree"]["dirty"] is False
    assert len(found["thread"]["worktree"]["head"]) == 40
    assert "data" in found["notice"]


def test_a_changed_file_makes_it_dirty(root: Actor) -> None:
    (root.path / "new ä.txt").write_text("x", encoding="utf-8")
    assert brief(root)["thread"]["worktree"]["dirty"] is True


def test_it_changes_nothing(root: Actor) -> None:
    root("case.begin", case_id=root.case("one"))
    with unchanged(root):
        brief(root)


def test_an_empty_plan_leads_to_planning(root: Actor) -> None:
    assert [one["method"] for one in brief(root)["next_calls"]] == ["task.create", "session.close"]


def test_its_next_calls_lead_through_a_case_from_begin_to_end(root: Actor) -> None:
    case = root.case("write test", "fix", acceptance=["it holds"], files=["src/a.py"])
    (begin,) = brief(root)["next_calls"]
    assert (begin["tool"], begin["method"], begin["params"]) == ("orch_task", "case.begin", {"case_id": case})
    root(begin["method"], **begin["params"])
    for title, left in (("write test", 2), ("fix", 1)):
        found = brief(root)
        assert [one["level"] for one in found["path"]] == ["epic", "feature", "case"]
        assert (found["next_step"]["title"], found["remaining_steps"]) == (title, left)
        assert (found["next_step"]["acceptance"], found["next_step"]["files"]) == (["it holds"], ["src/a.py"])
        (check,) = found["next_calls"]
        assert check["method"] == "step.check"
        root("step.check", case_id=case, step_id=check["params"]["step_id"], result="pass")
    (complete,) = brief(root)["next_calls"]
    assert (complete["method"], complete["params"]["case_id"]) == ("case.complete", case)


def test_leases_come_with_those_that_end_first(root: Actor) -> None:
    root("lock.acquire", scope_type="file", scope_path="late", ttl_seconds=900)
    root("lock.acquire", scope_type="prefix", scope_path="soon", ttl_seconds=90)
    root("case.begin", case_id=root.case("one"))
    found = brief(root)["leases"]
    assert [one["seconds_left"] for one in found] == sorted(one["seconds_left"] for one in found)
    assert found[0]["scope"] == "soon (prefix)"
    assert {one["domain"] for one in found} == {"paths", "claims"}


def test_a_blocked_step_asks_for_a_decision(root: Actor) -> None:
    case = root.case("deploy")
    root("case.begin", case_id=case)
    root("step.check", case_id=case, step_title="deploy", result="blocked", evidence={"note": "no access"})
    (found,) = brief(root)["decisions"]
    assert "deploy" in found["what"]
    assert found["why"] == "no access"
    assert found["options"][0]["method"] == "step.check"


def test_a_session_left_behind_is_offered_to_be_taken_up(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock, repo: Path
) -> None:
    gone = actor(folder=repo)
    gone.open(user_request="Add invoices")
    gone.close()
    clock.advance(3600)
    for asked in (root, actor(folder=repo)):
        found = brief(asked)["decisions"]
        options = [option["params"]["target_session_id"] for one in found for option in one["options"]]
        assert gone.session in options


def test_without_a_session_it_says_how_to_open_one(actor: Callable[..., Actor], repo: Path) -> None:
    one = actor(folder=repo)
    one("workspace.init")
    assert [call["method"] for call in brief(one)["next_calls"]] == ["session.open"]


def test_a_restarted_root_is_told_where_it_was(root: Actor, actor: Callable[..., Actor]) -> None:
    case = root.case("one", "two")
    root("case.begin", case_id=case)
    root("step.check", case_id=case, step_title="one", result="pass")
    root.close()
    again = actor(folder=root.path)
    found = brief(again)
    assert found["session"]["id"] == root.session
    assert found["next_step"]["title"] == "two"
    assert again("step.check", case_id=case, step_title="two", result="pass")["remaining_steps"] == 0


@pytest.mark.parametrize("budget", [300, 600, 1500])
def test_it_fits_the_budget_and_keeps_the_next_calls(root: Actor, budget: int) -> None:
    case = root.case("write " + LONG[:200], acceptance=[LONG[:1000]], files=["src/a.py"])
    root("case.begin", case_id=case)
    for number in range(20):
        root("lock.acquire", scope_type="file", scope_path=f"src/{number}/{'x' * 80}.py")
    found = brief(root, token_budget=budget)
    assert tokens(found) <= budget
    assert found["tokens"] <= budget
    assert found["next_calls"][0]["method"] == "step.check"
    assert found["next_step"]["id"] == f"{case}.1"
    if budget < 1500:
        assert found["omitted"]["leases"] > 0


@pytest.mark.parametrize("budget", [299, 8001])
def test_a_budget_out_of_range_is_refused(root: Actor, budget: int) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        brief(root, token_budget=budget)


def test_a_thread_of_another_session_is_refused(root: Actor, other: Actor) -> None:
    with unchanged(root), pytest.raises(Forbidden):
        brief(root, thread_id=other.thread)


def test_many_decisions_are_shortened_but_never_cut(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock, repo: Path
) -> None:
    gone = [actor(folder=repo) for _ in range(3)]
    for one in gone:
        one.open(user_request=LONG)
        one.close()
    clock.advance(3600)
    root("case.begin", case_id=root.case("deploy", acceptance=[LONG[:1000]]))
    found = brief(root, token_budget=600)
    assert tokens(found) <= 600
    options = {option["params"]["target_session_id"] for one in found["decisions"] for option in one["options"]}
    assert options == {one.session for one in gone}


REPORT = "thread.child.report"


def at_work(actor: Callable[..., Actor], root: Actor, **fields: Any) -> Actor:
    """A child whose process lives."""
    one = crew.child(actor, root, **fields)
    assert one.world.live.take(one.thread)
    return one


def test_children_are_told_in_a_line_each_those_that_live_first(root: Actor, actor: Callable[..., Actor]) -> None:
    done, works, stuck = (at_work(actor, root, title=title) for title in ("Done", "Works", "Stuck"))
    done(REPORT, status="completed", final_message="3 of 3 steps")
    case = root.case("one")
    works("case.begin", case_id=case)
    works(REPORT, progress="1 of 3 steps")
    stuck(REPORT, blocker="no access to staging")
    told = brief(root)["children"]
    assert all(one.pop("reported_at", done.thread) for one in told)
    assert told == [
        {"id": works.thread, "role": "worker", "title": "Works", "status": "running", "case_id": case,
         "last_report": "1 of 3 steps"},
        {"id": stuck.thread, "role": "worker", "title": "Stuck", "status": "waiting",
         "blocker": "no access to staging"},
        {"id": done.thread, "role": "worker", "title": "Done", "status": "completed", "last_report": "3 of 3 steps"},
    ]  # fmt: skip


def test_what_children_wait_for_is_the_roots_to_decide(root: Actor, actor: Callable[..., Actor]) -> None:
    asks, stuck = at_work(actor, root, title="Asks"), at_work(actor, root, title="Stuck")
    asks("inbox.send", receiver_thread_id="root", message="I have begun.")
    asks(REPORT, question="Which cookie name?")
    stuck(REPORT, blocker="no access to staging")
    for letter in root("inbox.pending")["items"]:  # read, but not answered
        root("inbox.deliver", message_id=letter["id"])
    first, second = brief(root)["decisions"]
    assert (first["what"], first["why"]) == (f"'Asks' ({asks.thread}) asks", "Which cookie name?")
    assert (second["what"], second["why"]) == (f"'Stuck' ({stuck.thread}) is blocked", "no access to staging")
    (answer,) = first["options"]
    assert (answer["method"], answer["params"]["thread_id"]) == ("thread.child.directive", asks.thread)
    sent = root(answer["method"], **answer["params"] | {"directive": "The old one."})["directive"]["id"]
    asks(REPORT, receipts=[{"directive_id": sent, "state": "applied"}])
    assert [one["why"] for one in brief(root)["decisions"]] == ["no access to staging"]


def test_with_children_at_work_and_nothing_ready_the_root_waits_for_them(
    root: Actor, actor: Callable[..., Actor]
) -> None:
    child = at_work(actor, root)
    (call,) = brief(root)["next_calls"]
    assert (call["method"], call["params"]["thread_id"]) == ("thread.child.wait_status", child.thread)
    assert root(call["method"], **call["params"], timeout_seconds=0)["timed_out"]


def test_open_directives_are_told_with_their_times_expired_ones_once(
    root: Actor, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    child, sister = at_work(actor, root), at_work(actor, root)
    sent = root("thread.child.directive", thread_id=child.thread, directive="go", expires_seconds=60)["directive"]
    kept = {name: sent[name] for name in ("created_at", "expires_at")}
    (own,) = brief(child)["directives"]
    assert own == {"id": sent["id"], "mode": "interrupt_patch", "state": "queued", **kept}
    child(REPORT, receipts=[{"directive_id": sent["id"], "state": "delivered"}])
    (told,) = brief(root)["directives"]
    assert told.pop("delivered_at") and told == own | {"state": "delivered", "thread_id": child.thread}
    assert "directives" not in brief(sister)
    clock.advance(61)
    registry.reconcile(root.world)
    for one in (root, child):
        assert [each["state"] for each in brief(one)["directives"]] == ["expired"]
        assert "directives" not in brief(one)


def test_a_person_who_looks_takes_no_news_away(
    root: Actor, operator: Actor, actor: Callable[..., Actor], clock: SteeredClock
) -> None:
    child = at_work(actor, root)
    root("thread.child.directive", thread_id=child.thread, directive="go", expires_seconds=60)
    brief(root)
    clock.advance(61)
    for one in (operator, operator, root):
        assert [each["state"] for each in brief(one)["directives"]] == ["expired"]


@pytest.mark.parametrize("role", table.ROLES)
def test_next_calls_name_only_what_the_role_may_call(root: Actor, actor: Callable[..., Actor], role: str) -> None:
    child = at_work(actor, root, role=role)
    for _ in range(2):
        calls = brief(child)["next_calls"] + [
            one for each in brief(child).get("decisions", []) for one in each["options"]
        ]
        assert calls and all(table.may_call(role, one["method"]) for one in calls)
        root.case("one")
    wanted = "case.begin" if role == table.WORKER else REPORT
    assert [one["method"] for one in brief(child)["next_calls"]] == [wanted]


def test_a_child_is_told_of_itself_alone(root: Actor, actor: Callable[..., Actor]) -> None:
    mine, sister = at_work(actor, root), at_work(actor, root, title="Sister")
    case = root.case("deploy")
    sister("case.begin", case_id=case)
    sister("step.check", case_id=case, step_title="deploy", result="blocked", evidence={"note": "no access"})
    sister("lock.acquire", scope_type="file", scope_path="theirs.py")
    mine("lock.acquire", scope_type="file", scope_path="mine.py")
    sister(REPORT, question="May I?")
    found = brief(mine)
    assert found["thread"]["id"] == mine.thread
    assert not {"children", "decisions", "inbox", "path"} & set(found)
    assert [one["scope"] for one in found["leases"]] == ["mine.py (file)"]
    assert [one["what"] for one in brief(sister)["decisions"]] == ["'deploy' is blocked"]
    with pytest.raises(Forbidden):
        brief(mine, thread_id=sister.thread)


def test_a_small_budget_cuts_children_and_directives_before_what_decides(
    root: Actor, actor: Callable[..., Actor]
) -> None:
    for number in range(4):
        child = at_work(actor, root, title=f"Child {number} " + "x" * 60)
        root("thread.child.directive", thread_id=child.thread, directive="go", mode="queue")
        child(REPORT, progress=LONG[:2000])
    child(REPORT, blocker="no access")
    found = brief(root, token_budget=450)
    assert tokens(found) <= 450 and found["decisions"][0]["why"] == "no access" and found["next_calls"]
    assert found["omitted"]["directives"] == 4


def test_a_session_that_is_over_or_whose_folder_was_deleted_is_sent_to_no_snapshot(root: Actor) -> None:
    (root.path / "draft.txt").write_text("x\n", encoding="utf-8")
    root("work.checkpoint", summary="draft")
    shutil.rmtree(root.path)
    found = root("work.brief", session_id=root.session)
    assert found["thread"]["worktree"]["status"] == "lost"  # what was committed since is on its branch
    assert all(one["method"] != "rescue.restore" for one in found["next_calls"])
    root("session.close", session_id=root.session, force=True)
    assert root("work.brief", session_id=root.session)["next_calls"][0]["method"] == "session.open"
