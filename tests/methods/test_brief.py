"""Where was I: the next step and the exact next calls, within the budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codestrator import text
from codestrator.errors import Forbidden, InvalidParams
from tests.actors import Actor, SteeredClock, unchanged

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
