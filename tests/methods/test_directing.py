"""What a root tells its children while they work: receipts, expiry, interrupts, and a new start with all settings."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator import ids, registry, threadfiles
from codestrator.errors import Conflict, External, Forbidden, InvalidParams, NotFound, WrongState
from codestrator.records import Directive
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git
from tests.methods.crew import child as crew_child
from tests.methods.crew import put
from tests.methods.family import SLEEPS, Family, line_of, working_for

DIRECT = "thread.child.directive"


@pytest.fixture
def child(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A child at work, as its own server makes calls for it."""
    one = crew_child(actor, root)
    assert one.world.live.take(one.thread)
    return one


def listed(root: Actor, **given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = root("thread.directive.list", **given)["items"]
    return found


def test_a_directive_is_queued_with_all_that_it_needs(root: Actor, child: Actor) -> None:
    found = root(DIRECT, thread_id=child.thread, directive="Keep the old cookie name.")
    assert set(found) == {"result", "mode", "directive", "thread"}
    assert (found["result"], found["mode"]) == ("directive_sent", "interrupt_patch")
    sent = found["directive"]
    assert (sent["thread_id"], sent["sender_thread_id"]) == (child.thread, root.thread)
    assert (sent["state"], sent["text"]) == ("queued", "Keep the old cookie name.")
    assert sent["created_at"] < sent["expires_at"] and found["thread"]["id"] == child.thread
    (item,) = listed(child)
    assert item == {
        "directive_id": sent["id"], "thread_id": child.thread, "mode": "interrupt_patch", "state": "queued",
        "text": "Keep the old cookie name.", "sender": root.thread, "created_at": sent["created_at"],
        "expires_at": sent["expires_at"],
    }  # fmt: skip


def test_the_same_is_sent_again_unless_it_has_a_key(root: Actor, child: Actor) -> None:
    for _ in range(2):
        root(DIRECT, thread_id=child.thread, directive="go")
    keyed = [root(DIRECT, thread_id=child.thread, directive="go", idempotency_key="k") for _ in range(2)]
    assert keyed[1] == keyed[0] | {"repeated": True}
    assert [one["text"] for one in listed(root)] == ["go"] * 3
    with unchanged(root), pytest.raises(Conflict):
        root(DIRECT, thread_id=child.thread, directive="stop", idempotency_key="k")


def test_a_wait_lasts_until_it_is_applied_and_no_longer(family: Family) -> None:
    thread_id = family.child("read line; exec sleep 300")
    found = family.root(DIRECT, thread_id=thread_id, directive="go", mode="queue", wait_seconds=1)
    assert found["timed_out"] is True and found["directive"]["state"] in ("queued", "delivered")
    child = family.seat(thread_id)
    receipt = {"directive_id": found["directive"]["id"], "state": "failed", "detail": "I cannot"}
    child("thread.child.report", receipts=[receipt])
    assert listed(child, wait_seconds=9, state=["failed"])[0]["detail"] == "I cannot"
    waited = child("thread.directive.list", state=["applied"], wait_seconds=1)
    assert waited == {"items": [], "count": 0, "timed_out": True}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"directive": " "}, InvalidParams),
        ({"directive": "x" * 65537}, InvalidParams),
        ({"mode": "shout"}, InvalidParams),
        ({"expires_seconds": 29}, InvalidParams),
        ({"expires_seconds": 86401}, InvalidParams),
        ({"wait_seconds": -1}, InvalidParams),
        ({"thread_id": "thr-0000000000"}, NotFound),
        ({"thread_id": "case-0000000000"}, InvalidParams),
    ],
)
def test_a_malformed_directive_is_refused(
    root: Actor, child: Actor, given: dict[str, Any], error: type[Exception]
) -> None:
    with unchanged(root), pytest.raises(error):
        root(DIRECT, **{"thread_id": child.thread, "directive": "go"} | given)


@pytest.mark.parametrize("method", ["directive", "interrupt", "stop", "status", "wait_status"])
def test_only_the_root_of_its_session_may_touch_a_child(root: Actor, other: Actor, child: Actor, method: str) -> None:
    given: dict[str, Any] = {"directive": {"directive": "go"}, "wait_status": {"target_statuses": ["completed"]}}
    with unchanged(root), pytest.raises(Forbidden, match=f"'{child.thread}' belongs to '{root.session}'"):
        other(f"thread.child.{method}", thread_id=child.thread, **given.get(method, {}))
    with unchanged(root), pytest.raises(WrongState, match="is the root thread of"):
        root(f"thread.child.{method}", thread_id=root.thread, **given.get(method, {}))
    with unchanged(root), pytest.raises(Forbidden, match="may not call"):
        child(f"thread.child.{method}", thread_id=child.thread, **given.get(method, {}))


def test_directives_of_others_are_not_read(
    root: Actor, other: Actor, child: Actor, actor: Callable[..., Actor]
) -> None:
    root(DIRECT, thread_id=child.thread, directive="secret plan")
    with pytest.raises(Forbidden):
        other("thread.directive.list", thread_id=child.thread)
    with pytest.raises(Forbidden):
        crew_child(actor, root)("thread.directive.list", thread_id=child.thread)
    assert listed(other) == []


@pytest.mark.parametrize("mode", ["interrupt_patch", "queue"])
def test_a_child_that_has_ended_is_told_nothing(root: Actor, child: Actor, mode: str) -> None:
    child("thread.child.report", status="completed")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root(DIRECT, thread_id=child.thread, directive="go", mode=mode)
    assert refused.value.details["found"] == "completed" and "restart" in str(refused.value.hint)


def test_a_late_directive_expires_and_its_sender_is_told(root: Actor, child: Actor, clock: SteeredClock) -> None:
    sent = root(DIRECT, thread_id=child.thread, directive="Hurry $(touch x)", expires_seconds=30)["directive"]
    clock.advance(29)
    registry.reconcile(root.world)
    assert [one["state"] for one in listed(root)] == ["queued"]
    clock.advance(2)
    assert listed(root)[0]["state"] == "expired"  # before anybody has published it
    assert child("thread.child.report", progress="…")["directives"] == []
    for _ in range(2):
        registry.reconcile(root.world)
    (letter,) = root("inbox.pending")["items"]
    assert sent["id"] in letter["text"] and "queued" in letter["text"] and letter["sender"] == child.thread
    with unchanged(root), pytest.raises(WrongState, match="is 'expired'"):
        child("thread.child.report", receipts=[{"directive_id": sent["id"], "state": "applied"}])


def test_an_interrupt_is_acknowledged_by_the_runner(family: Family) -> None:
    thread_id = family.child()
    found = family.root("thread.child.interrupt", thread_id=thread_id)
    assert set(found) == {"thread", "result", "acknowledged"}
    assert (found["result"], found["acknowledged"], found["thread"]["status"]) == (
        "interrupt_sent", True, "interrupted",
    )  # fmt: skip
    with unchanged(family.root), pytest.raises(WrongState) as refused:
        family.root("thread.child.interrupt", thread_id=thread_id)
    assert refused.value.details["found"] == "interrupted"
    family.until(lambda: "sleep" not in " ".join(map(line_of, working_for(Path(family.root.world.repo), thread_id))))
    told = family.root(DIRECT, thread_id=thread_id, directive="Go on.", wait_seconds=20)
    assert (told["directive"]["state"], told["directive"]["turn"]) == ("applied", 2)
    assert family.status(thread_id) == "running"


def test_the_hint_for_one_that_has_ended_is_a_directive_that_is_taken(root: Actor, child: Actor) -> None:
    child("thread.child.report", status="completed")
    with pytest.raises(WrongState) as refused:
        root("thread.child.interrupt", thread_id=child.thread)
    assert "with mode restart" in str(refused.value.hint)


def test_an_interrupt_that_nobody_obeys_says_so(root: Actor, child: Actor) -> None:
    found = root("thread.child.interrupt", thread_id=child.thread, wait_seconds=0)
    assert (found["acknowledged"], found["thread"]["status"]) == (False, "interrupted")


KEPT = (
    "role", "title", "objective", "agent_override", "agent_guide_path", "task_spec", "scope_case_ids",
    "scope_task_ids", "runner_kind", "resolved_runner_kind", "interaction_mode", "worktree_id", "parent_thread_id",
    "tmux_session_name",
)  # fmt: skip
KEPT_IN_PRIVATE = ("launch_command", "codex_command", "prompt", "guide_path", "override", "split_direction")


def test_a_new_start_keeps_every_setting_and_begins_with_assignment_and_directive(family: Family, repo: Path) -> None:
    (repo / "guide.md").write_text("Be kind.\n", encoding="utf-8")
    case = family.root.case("one")
    line = 'cat "$CODESTRATOR_PROMPT_FILE" > prompt; exec sleep 300'
    old = family.spawn(
        line, title="Cookie", objective="Rename it", role="gardener", scope_case_ids=[case],
        agent_guide_path="guide.md", agent_override={"model": "m"}, task_spec={"why": "so"},
        initial_prompt="Rename the cookie.", interaction_mode="interactive", tmux_session_name="mine",
        split_direction="horizontal",
    )  # fmt: skip
    folder = family.folder(old)
    family.until((folder / "prompt").exists)
    family.seat(old["thread"]["id"])("case.begin", case_id=case)
    found = family.root(DIRECT, thread_id=old["thread"]["id"], directive="Keep the old name.", mode="restart")
    assert set(found) == {
        "result", "mode", "directive", "replaces_thread_id", "thread", "attach_info", "tmux", "preflight",
    }  # fmt: skip
    new = found["thread"]
    assert (found["result"], found["replaces_thread_id"]) == ("respawned_with_directive", old["thread"]["id"])
    assert (new["status"], new["replaces_thread_id"]) == ("running", old["thread"]["id"])
    assert {name: new.get(name) for name in KEPT} == {name: old["thread"].get(name) for name in KEPT}
    private = [threadfiles.find(family.root.world.files, one["id"]) for one in (old["thread"], new)]
    one, other = ({name: getattr(file, name) for name in KEPT_IN_PRIVATE} for file in private)
    assert one == other and one["split_direction"] == "horizontal"
    assert (found["directive"]["state"], found["tmux"]["ready_check"]) == ("applied", "ready")
    before = family.root("thread.child.status", thread_id=old["thread"]["id"])
    assert (before["db_status"], before["process_alive"]) == ("stopped", False)
    assert working_for(repo, old["thread"]["id"]) == []
    prompt = folder / "prompt"
    family.until(lambda: "Keep the old name." in prompt.read_text(encoding="utf-8"))
    words = prompt.read_text(encoding="utf-8")
    assert words.index("Be kind.") < words.index("Rename the cookie.") < words.index("Keep the old name.")
    assert family.seat(new["id"], "gardener")("case.begin", case_id=case)["fence"] == 2


def test_a_new_start_is_not_told_to_the_old_child(root: Actor, child: Actor) -> None:
    about: dict[str, Any] = {"thread_id": child.thread, "sender_thread_id": root.thread, "text": "anew"}
    about |= {"mode": "restart", "expires_at": "2099-01-01T00:00:00.000Z"}
    sent = put(root, Directive(id=ids.mint("dir"), **about))
    assert listed(child) == [] and child("thread.child.report", progress="…")["directives"] == []
    assert "directives" not in child("work.brief")
    assert [one["directive_id"] for one in listed(root)] == [sent.id]
    assert [one["id"] for one in root("work.brief")["directives"]] == [sent.id]


def test_a_child_that_has_ended_can_be_started_anew(family: Family) -> None:
    old = family.spawn("true")["thread"]
    assert family.ended(old["id"]) == "completed"
    with unchanged(family.root), pytest.raises(WrongState):
        family.root(DIRECT, thread_id=old["id"], directive="again")
    new = family.root(DIRECT, thread_id=old["id"], directive="again", mode="restart")["thread"]
    assert (new["worktree_id"], new["replaces_thread_id"]) == (old["worktree_id"], old["id"])
    assert family.root("thread.child.list", status="completed")["items"][0]["thread"]["id"] == old["id"]


def test_the_old_child_keeps_running_where_the_new_one_does_not_come_up(family: Family, repo: Path) -> None:
    (repo / "guide.md").write_text("Be kind.\n", encoding="utf-8")
    old = family.spawn(agent_guide_path="guide.md", max_concurrent_children=1)
    (repo / "guide.md").unlink()
    with unchanged(family.root), pytest.raises(InvalidParams, match=r"'guide.md' is not there"):
        family.root(DIRECT, thread_id=old["thread"]["id"], directive="anew", mode="restart")
    assert family.status(old["thread"]["id"]) == "running"


def test_a_new_start_that_fails_is_told_by_its_directive(
    family: Family, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = family.child()
    monkeypatch.setattr("sys.executable", str(shutil.which("false")))
    with pytest.raises(External, match="ended before its first report"):
        family.root(DIRECT, thread_id=thread_id, directive="anew", mode="restart")
    (sent,) = listed(family.root)
    assert sent["state"] == "failed" and "ended before its first report" in sent["detail"]
    found = family.root("thread.child.status", thread_id=thread_id)
    assert (found["db_status"], found["process_alive"]) == ("running", True)
    threads = family.root("thread.child.list", include_root=False)["items"]
    assert [one["thread"]["status"] for one in threads] == ["running", "failed"]
    assert git("worktree", "list", at=repo).count("\n") == 2


def test_a_worktree_that_has_a_new_worker_is_not_given_to_the_old_one(family: Family) -> None:
    old = family.spawn("true")["thread"]
    assert family.ended(old["id"]) == "completed"
    new = family.child(SLEEPS, worktree_id=old["worktree_id"])
    with unchanged(family.root), pytest.raises(Conflict, match=f"is in use by '{new}'"):
        family.root(DIRECT, thread_id=old["id"], directive="again", mode="restart")


def test_a_command_that_shows_a_prompt_gets_a_directive_pasted(family: Family) -> None:
    thread_id = family.child('printf "agent> "; read line; echo "heard $line"; exec sleep 300')
    family.shows(thread_id, "agent>")
    sent = family.root("thread.child.directive", thread_id=thread_id, directive="keep $(touch x) the old name")
    family.shows(thread_id, "heard keep $(touch x) the old name")
    found = family.root("thread.directive.list", thread_id=thread_id)["items"][0]
    assert (found["directive_id"], found["state"]) == (sent["directive"]["id"], "delivered")  # applied is never claimed
