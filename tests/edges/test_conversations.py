"""What a hook of Codex tells a conversation: where its own session was, whoever else works in the repository."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actors import Actor, SteeredClock
from tests.edges.shell import Run
from tests.edges.wire import Wire
from tests.methods import crew


@pytest.fixture
def wire(repo: Path) -> Iterator[Wire]:
    one = Wire(repo)
    one.start()
    yield one
    one.finish()


def ask(wire: Wire, conversation: Any, method: str, **params: Any) -> dict[str, Any]:
    """A call as Codex makes it, with the name of its conversation."""
    from codestrator import table

    sent = {"name": table.TOOL_OF[method], "arguments": {"method": method, "params": params}}
    found: dict[str, Any] = wire.ask("tools/call", **sent, _meta={"sessionId": conversation})["result"]
    return found["structuredContent"]  # type: ignore[no-any-return]


def told(run: Run, given: object, **where: Any) -> str:
    done = run("brief", "--hook", stdin=given if isinstance(given, str) else json.dumps(given), **where)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_conversation_is_told_where_its_own_session_was(wire: Wire, run: Run, other: Actor) -> None:
    session = ask(wire, "c-1", "session.open", user_request="Fix\nit")["session_context"]["session"]["id"]
    case = ask(
        wire, "c-1", "task.create", level="case", title="Refresh\u202e", parent_id=feature(other), steps=["one", "two"]
    )
    ask(wire, "c-1", "case.begin", case_id=case["task"]["id"])
    ask(wire, "c-1", "step.check", case_id=case["task"]["id"], step_title="one", result="pass")
    said = told(run, {"session_id": "c-1", "source": "compact"})
    head, *quoted, end = said.splitlines()
    assert session in head and other.session not in said
    assert re.fullmatch(r"<<<data \w{8}: .*>>>", quoted[0]) and re.fullmatch(r"<<<end \w{8}>>>", end)
    assert all(line.startswith("| ") for line in quoted[1:])
    assert "two" in said and f"{case['task']['id']}.2" in said and "\u202e" not in said
    later = ask(wire, "c-1", "session.open", user_request="More")["session_context"]["session"]["id"]
    assert later in told(run, {"session_id": "c-1"}).splitlines()[0]


def feature(actor: Actor) -> str:
    found: str = actor("task.create", level="feature", title="Login")["task"]["id"]
    return found


@pytest.mark.parametrize(
    "given", ["", "no JSON", "[]", '{"session_id": 5}', {"session_id": "../live/x"}, {"session_id": "c-9"}]
)
def test_a_conversation_that_nobody_knows_is_told_nothing_while_nothing_was_left_behind(
    given: object, root: Actor, run: Run
) -> None:
    assert told(run, given) == ""


def test_a_name_that_is_no_name_is_not_kept(wire: Wire, repo: Path, root: Actor) -> None:
    for name in ("../x", "", None, 5, "x" * 200, "a/b"):
        assert "session_context" in ask(wire, name, "session.open", user_request="x")
    assert not (repo / ".git/codestrator/conversations").exists()


def test_what_was_left_behind_is_told_to_a_new_conversation(
    actor: Callable[..., Actor], clock: SteeredClock, run: Run
) -> None:
    clock.advance(-7200)
    gone = actor()
    gone("workspace.init")
    gone.open(user_request="Two hours ago")
    gone.close()
    said = told(run, {"session_id": "c-1", "source": "startup"})
    assert "left behind" in said and gone.session in said and "resume.candidates.attach" in said


def test_in_a_session_worktree_a_new_conversation_is_told_of_that_session(root: Actor, run: Run) -> None:
    assert root.session in told(run, {"session_id": "new"}, at=root.path)


def test_a_conversation_whose_session_is_closed_is_told_nothing(wire: Wire, run: Run) -> None:
    ask(wire, "c-1", "workspace.init")
    session = ask(wire, "c-1", "session.open", user_request="x")["session_context"]["session"]["id"]
    assert session in told(run, {"session_id": "c-1"})
    ask(wire, "c-1", "session.close")
    assert told(run, {"session_id": "c-1"}) == ""


def test_a_child_is_told_of_its_own_thread(root: Actor, run: Run) -> None:
    child, place = crew.lettered(root)
    said = told(run, {"session_id": "c-2"}, CODESTRATOR_THREAD_FILE=str(place), CODESTRATOR_RUNNER_MODE="child")
    assert child.id in said and "session_id" not in said.splitlines()[0]


def test_where_there_is_no_state_nothing_is_told_and_nothing_made(run: Run, repo: Path) -> None:
    assert told(run, {"session_id": "c-1"}) == ""
    assert not (repo / ".git/refs/codestrator").exists()


@pytest.mark.parametrize("kept", [b"ses-0000000000", b"\xff", b""])
def test_a_session_that_is_not_known_is_as_none(root: Actor, run: Run, repo: Path, kept: bytes) -> None:
    place = repo / ".git/codestrator/conversations/c-1"
    place.parent.mkdir()
    place.write_bytes(kept)
    assert told(run, {"session_id": "c-1"}) == ""
