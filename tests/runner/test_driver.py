"""The driver of a child, with an agent that does as the test says: what it is told next, and how it ends."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator.runner.agent import Gone, Said, Tokens, TurnEnded
from codestrator.runner.channel import Signalled
from tests.actors import Actor, SteeredClock
from tests.runner.player import QUICK, Kid, Move, done, failed

MakeKid = Callable[..., Kid]


@pytest.fixture
def kid(root: Actor, clock: SteeredClock) -> Iterator[MakeKid]:
    """Start a child with the moves of its agent; it ends with the test."""
    made: list[Kid] = []

    def one(*moves: Move, **given: Any) -> Kid:
        made.append(Kid(root, clock, list(moves), **given))
        return made[-1].begin()

    yield one
    for each in made:
        each.close()


def test_a_turn_that_ends_well_ends_the_child(kid: MakeKid) -> None:
    one = kid(done("all is done"))
    assert "## Assignment" in one.prompt() and one.over() == 0
    assert (one.thread.status, one.thread.final_message, one.thread.exit_status) == ("completed", "all is done", 0)
    assert one.thread.turn == 1 and one.player.closed


# Directives


def test_a_patch_cuts_the_turn_off_and_begins_the_next(kid: MakeKid) -> None:
    one = kid(None, done())
    one.prompt()
    sent = one.direct("Mend the cookie.")
    told = one.prompt()
    assert told.startswith("## From the root") and "| Mend the cookie." in told and "cut off" in told
    assert one.over() == 0
    found = one.receipt(sent)
    assert (found["state"], found["turn"]) == ("applied", 2)
    assert found["created_at"] <= found["delivered_at"] <= found["applied_at"]


def test_several_patches_are_one_turn_in_order_and_what_is_queued_comes_after(kid: MakeKid) -> None:
    one = kid(None, done())
    one.prompt()
    one.player.obeys.clear()
    sent = [one.direct("First."), one.direct("Later.", "queue"), one.direct("Second.")]
    one.until(lambda: all(one.receipt(each)["state"] == "delivered" for each in sent))
    one.player.end(TurnEnded("interrupted"))
    told = one.prompt()
    assert told.index("| First.") < told.index("| Second.") < told.index("| Later.")
    assert one.over() == 0
    assert [(one.receipt(each)["state"], one.receipt(each)["turn"]) for each in sent] == [("applied", 2)] * 3
    assert one.player.cuts.acquire(blocking=False) and not one.player.cuts.acquire(blocking=False)  # asked once


def test_what_is_queued_leaves_the_turn_alone_and_is_applied_at_its_end(kid: MakeKid) -> None:
    one = kid(None, done())
    one.prompt()
    sent = [one.direct("One.", "queue"), one.direct("Two.", "queue")]
    one.until(lambda: all(one.receipt(each)["state"] == "delivered" for each in sent))
    assert one.no_prompt() and not one.player.cuts.acquire(blocking=False)
    one.player.end(done("the first turn"))
    told = one.prompt()
    assert told.index("| One.") < told.index("| Two.") and "cut off" not in told
    assert one.over() == 0
    assert [one.receipt(each)["turn"] for each in sent] == [2, 2]


def test_what_has_expired_when_the_turn_ends_is_not_said(kid: MakeKid, clock: SteeredClock) -> None:
    one = kid(None, done())
    one.prompt()
    sent = one.direct("Too late.", "queue", expires_seconds=30)
    one.until(lambda: one.receipt(sent)["state"] == "delivered")
    clock.advance(40)
    one.player.end(done("in time"))
    assert one.over() == 0 and one.no_prompt()
    assert one.receipt(sent)["state"] in ("expired", "failed") and one.thread.final_message == "in time"


def test_a_turn_that_fails_before_it_begins_is_begun_again_with_the_same_words(kid: MakeKid) -> None:
    one = kid(None, failed("not now"), None, done())
    one.prompt()
    one.player.deaf = True
    sent = one.direct("Mend the cookie.")
    told = one.prompt()
    assert one.prompt() == told and one.receipt(sent)["state"] == "delivered"
    later = one.direct("And the session.")
    more = one.prompt()
    assert "| And the session." in more and "| Mend the cookie." not in more
    assert one.over() == 0
    assert [(one.receipt(each)["state"], one.receipt(each)["turn"]) for each in (sent, later)] == [
        ("applied", 3),
        ("applied", 4),
    ]


def test_what_comes_while_nothing_could_be_said_is_said_with_it(kid: MakeKid) -> None:
    one = kid(failed("not now"), done(), limits=QUICK._replace(rests=(600.0,)), deaf=True)
    first = one.prompt()
    one.until(lambda: any("not now" in line for line in one.shown))
    sent = one.direct("Mend the cookie.")
    told = one.prompt()
    assert told.startswith(first) and "| Mend the cookie." in told and one.over() == 0
    assert one.receipt(sent)["turn"] == 2


def test_the_pane_tells_of_turns_directives_and_tokens(kid: MakeKid) -> None:
    one = kid(None, done())
    one.prompt()
    one.player.events.put(Said("$ make"))
    one.player.events.put(Tokens(1234))
    sent = one.direct("Mend the cookie.")
    assert one.over() == 0
    shown = [line.partition(" ")[2] for line in one.shown]
    for line in (
        "▶ turn 1",
        "│ $ make",
        f"◆ directive {sent} (interrupt_patch): Mend the cookie.",
        "◆ turn 1 interrupted, 1234 tokens used so far",
        f"◆ directive {sent} is applied by turn 2",
        "■ completed: done",
    ):
        assert line in shown


def test_what_the_agent_says_of_its_progress_stands_until_its_turn_is_over(kid: MakeKid, root: Actor) -> None:
    def progress() -> str:
        return str(root("thread.child.status", thread_id=one.id).get("progress"))

    one = kid(None, None)
    one.prompt()
    one.player.events.put(Said("$ make"))
    one.until(lambda: progress() == "$ make")
    one("thread.child.report", progress="two of three")
    one.player.events.put(Said("$ make again"))
    one.until(lambda: any("make again" in line for line in one.shown))
    seen = one.root.world.live.told(one.id)
    one.until(lambda: one.root.world.live.told(one.id) != seen)  # the runner has said something since
    assert progress() == "two of three"
    one.direct("Go on.")
    one.prompt()
    one.until(lambda: progress() != "two of three")


# Interrupts and waiting


def test_an_interrupted_child_does_nothing_until_it_is_told(kid: MakeKid, root: Actor) -> None:
    one = kid(None, done())
    one.prompt()
    found = root("thread.child.interrupt", thread_id=one.id, wait_seconds=20)
    assert found["acknowledged"] and found["thread"]["status"] == "interrupted"
    one.waits()
    assert one.no_prompt()
    sent = one.direct("Go on.", "queue")
    assert "| Go on." in one.prompt() and one.over() == 0
    assert one.receipt(sent)["turn"] == 2


def test_an_interrupt_ends_a_rest_after_a_failure(kid: MakeKid, root: Actor) -> None:
    one = kid(failed("out of order"), done(), limits=QUICK._replace(rests=(600.0,)))
    one.prompt()
    one.until(lambda: any("out of order" in line for line in one.shown))
    assert root("thread.child.interrupt", thread_id=one.id, wait_seconds=20)["acknowledged"]
    one.waits()
    one.direct("Go on.")
    assert "| Go on." in one.prompt() and one.over() == 0


def test_a_directive_ends_a_rest_too(kid: MakeKid) -> None:
    one = kid(failed("out of order"), done(), limits=QUICK._replace(rests=(600.0,)))
    one.prompt()
    one.until(lambda: any("out of order" in line for line in one.shown))
    one.direct("Try the other.")
    assert "| Try the other." in one.prompt() and one.over() == 0


@pytest.mark.parametrize("status", ["completed", "interrupted"])
def test_a_question_waits_for_a_message(kid: MakeKid, root: Actor, status: Any) -> None:
    one = kid(None, done("thanks"))
    one.prompt()
    one("thread.child.report", question="Which cookie?")
    one.player.end(TurnEnded(status, "I wait"))
    one.waits()
    assert root("thread.child.status", thread_id=one.id)["db_status"] == "waiting" and one.no_prompt()
    root("inbox.send", receiver_thread_id=one.id, message="The one of the login.")
    told = one.prompt()
    assert told.startswith("## Messages") and "| The one of the login." in told
    assert one.over() == 0 and one.thread.status == "completed"
    assert not root("inbox.pending", receiver_thread_id=one.id)["items"]


def test_nobody_answers(kid: MakeKid) -> None:
    one = kid(None, limits=QUICK._replace(answer=0.0))
    one.prompt()
    one("thread.child.report", blocker="There is no database.")
    one.player.end(done())
    assert one.over() == 6
    assert one.thread.status == "failed" and "for an answer" in str(one.thread.reason)


# Cases


def test_an_open_case_is_reminded_of_twice_and_then_fails_the_child(kid: MakeKid, root: Actor) -> None:
    case = root.case("edit", "test")
    one = kid(None, done("I am done"), done("really"), scope_case_ids=(case,))
    one.prompt()
    one("case.begin", case_id=case)
    one.player.end(done("finished"))
    for _ in range(2):
        told = one.prompt()
        assert told.startswith("## Not finished") and case in told and "| Refresh" in told and f"{case}.1: edit" in told
    assert one.over() == 1
    assert one.thread.status == "failed" and f"'{case}' unfinished" in str(one.thread.final_message)
    found = root("task.get", task_id=case)["task"]
    assert found["status"] == "in_progress" and "claim" not in found


def test_a_case_that_was_not_even_begun_is_reminded_of(kid: MakeKid, root: Actor) -> None:
    one = kid(done("nothing to do"), done(), done(), scope_case_ids=(root.case("edit"),))
    one.prompt()
    assert one.prompt().startswith("## Not finished") and one.prompt().startswith("## Not finished")
    assert one.over() == 1


def test_progress_is_worth_new_reminders(kid: MakeKid, root: Actor) -> None:
    case = root.case("edit", "test", "tell")
    one = kid(*[None] * 6, scope_case_ids=(case,))
    one.prompt()
    one("case.begin", case_id=case)
    for step in ("edit", "test", "tell"):
        one.player.end(done("next"))
        one.prompt()
        one("step.check", case_id=case, step_title=step, result="pass")
    one.player.end(done("next"))
    assert "All its steps are checked" in one.prompt()
    one("case.complete", case_id=case, summary="done")
    one.player.end(done("all done"))
    assert one.over() == 0 and one.thread.final_message == "all done"


# Failures


def test_what_may_pass_is_tried_again_with_the_reason(kid: MakeKid) -> None:
    one = kid(failed("502"), failed("503"), done("at last"))
    one.prompt()
    for reason in ("502", "503"):
        told = one.prompt()
        assert told.startswith("## Carry on") and f"| {reason}" in told
    assert one.over() == 0 and one.thread.turn == 3


def test_what_does_not_pass_fails_the_child(kid: MakeKid) -> None:
    one = kid(*[failed(f"500 {nth}") for nth in range(4)])
    assert one.over() == 1
    assert (one.thread.status, one.thread.final_message, one.thread.turn) == ("failed", "500 3", 4)


def test_what_lasts_is_not_tried_again(kid: MakeKid) -> None:
    one = kid(failed("unauthorized", lasting=True))
    assert one.over() == 1 and one.thread.turn == 1
    assert (one.thread.final_message, one.thread.exit_status) == ("unauthorized", 1)


def test_a_turn_that_nobody_cut_off_is_gone_on_with(kid: MakeKid) -> None:
    one = kid(TurnEnded("interrupted"), done())
    one.prompt()
    assert one.prompt().startswith("## Carry on") and one.over() == 0
    assert kid(*[TurnEnded("interrupted")] * 4).over() == 1  # but not for ever


def test_a_program_that_is_gone_is_brought_up_again(kid: MakeKid) -> None:
    one = kid(Gone(9), done())
    one.prompt()
    told = one.prompt()
    assert told.startswith("## Carry on") and "| the agent's program ended with 9" in told
    assert one.over() == 0 and one.player.resumed == 1


def test_a_program_that_does_not_come_up_again_fails_the_child(kid: MakeKid) -> None:
    one = kid(None)
    one.prompt()
    one.player.refuses_to_resume = True
    one.player.events.put(Gone(9))
    assert one.over() == 1 and one.player.resumed == 3
    assert "it does not come up" in str(one.thread.final_message)


def test_a_program_that_goes_while_its_child_waits_is_brought_up_for_the_next_turn(kid: MakeKid, root: Actor) -> None:
    one = kid(None, done())
    one.prompt()
    root("thread.child.interrupt", thread_id=one.id, wait_seconds=20)
    one.waits()
    one.player.events.put(Gone(9))
    one.until(lambda: any("ended with 9" in line for line in one.shown))
    assert one.no_prompt() and one.player.resumed == 0
    one.direct("Go on.")
    assert "| Go on." in one.prompt() and one.over() == 0 and one.player.resumed == 1


# The end


def test_a_stop_ends_the_agent(kid: MakeKid, root: Actor) -> None:
    one = kid(None)
    one.prompt()
    one.ask_to_stop()
    assert one.over() == 130 and one.player.closed
    assert root("thread.child.stop", thread_id=one.id)["thread"]["status"] == "stopped"


def test_the_session_is_closed(kid: MakeKid, root: Actor) -> None:
    one = kid(None)
    one.prompt()
    root("session.close", force=True, reason="enough")
    assert one.over() in (4, 130) and one.thread.status in ("stopped", "cancelled")


def test_a_signal_is_told_as_the_reason(kid: MakeKid) -> None:
    one = kid(None)
    one.prompt()
    one.player.events.put(Signalled(15))
    assert one.over() == 130 and one.player.closed
    assert (one.thread.status, one.thread.final_message) == ("failed", "ended by signal 15")


def test_what_is_not_committed_is_kept_and_locks_are_given_back(kid: MakeKid, root: Actor) -> None:
    case = root.case("edit")
    one = kid(None, scope_case_ids=(case,))
    one.prompt()
    one("case.begin", case_id=case)
    one("step.check", case_id=case, step_title="edit", result="pass")
    one("case.complete", case_id=case, summary="done")
    one("lock.acquire", scope_type="file", scope_path="cookie.py")
    (one.folder / "cookie.py").write_text("left", encoding="utf-8")
    one.player.end(done())
    assert one.over() == 0
    assert not root("lock.list")["items"]
    (snapshot,) = root("rescue.list")["items"]
    assert snapshot["reason"] == "checkpoint"


def test_a_thread_that_stands_in_for_another_begins_when_that_is_over(
    kid: MakeKid, root: Actor, clock: SteeredClock
) -> None:
    old = kid(None)
    old.prompt()
    one = kid(done(), replaces_thread_id=old.id)
    one.until(lambda: one.thread.status == "running")
    assert one.no_prompt() and root.world.live.held(old.id)
    old.ask_to_stop()
    old.over()
    one.prompt()
    assert not root.world.live.held(old.id) and one.over() == 0


# Without contact


def test_a_turn_that_ends_without_contact_is_told_when_there_is_contact_again(
    kid: MakeKid, root: Actor, repo: Path
) -> None:
    one = kid(None)
    one.prompt()
    state, aside = repo / ".git" / "refs" / "codestrator", repo / ".git" / "aside"
    state.rename(aside)
    one.player.end(done("all is done"))
    one.until(lambda: one.driver.trouble)
    aside.rename(state)
    assert one.over() == 0
    assert (one.thread.status, one.thread.final_message) == ("completed", "all is done")


def test_without_contact_for_too_long_the_agent_is_ended(kid: MakeKid, repo: Path) -> None:
    one = kid(None, limits=QUICK._replace(lost=0.3, report=0.1))
    one.prompt()
    state, aside = repo / ".git" / "refs" / "codestrator", repo / ".git" / "aside"
    state.rename(aside)
    try:
        assert one.over() in (1, 7)
    finally:
        aside.rename(state)
    assert one.thread.status == "running"  # nobody could tell
