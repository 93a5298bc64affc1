"""The MCP server as its clients see it: on the wire in both protocols, under load, under cancellation, badly asked."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from codestrator import table
from codestrator.calls import Seat
from codestrator.edges import descriptions, server
from tests.actors import Actor
from tests.conftest import git
from tests.edges.wire import COMMAND, Json, Wire

TOOLS = [*(group.tool for group in table.GROUPS), "orchestrator.call"]
SCOPE = {"scope_type": "file", "scope_path": "src/login.py"}


@pytest.fixture
def wire(repo: Path) -> Iterator[Callable[..., Wire]]:
    """Start servers, in the repository if nothing else is said; they end with the test."""
    made: list[Wire] = []

    def start(folder: Path = repo) -> Wire:
        made.append(Wire(folder))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.finish()


@pytest.fixture
def two(wire: Callable[..., Wire]) -> tuple[Wire, Wire]:
    """Two servers, each with a session open; the first holds the scope."""
    first, second = wire(), wire()
    first.call("workspace.init")
    for one in (first, second):
        one.call("session.open", user_request="Fix the login timeout")
    first.call("lock.acquire", **SCOPE)
    return first, second


def until(claim: Callable[[], bool], seconds: float = 20) -> None:
    """Look again until it is so; fails when the time is over."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not claim():
        assert time.monotonic() < end, "it did not come to be so"
        pause.wait(0.01)


@pytest.mark.parametrize(("mode", "protocol"), [("legacy", "2025-"), ("auto", "2026-07-28")])
def test_a_client_of_either_generation_lists_ten_tools_and_calls_one(mode: Any, protocol: str, repo: Path) -> None:
    async def talk() -> tuple[str, list[str], Json]:
        place = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], cwd=repo)
        async with Client(place, mode=mode, read_timeout_seconds=40) as client:
            listed = await client.list_tools()
            done = await client.call_tool("orch_session", {"method": "workspace.init"})
            assert done.structured_content is not None and not done.is_error
            return str(client.protocol_version), [tool.name for tool in listed.tools], done.structured_content

    spoken, names, found = asyncio.run(talk())
    assert spoken.startswith(protocol)
    assert names == TOOLS
    assert found
    assert git("for-each-ref", "refs/codestrator", at=repo)


def test_the_older_protocol_is_answered_in_its_own_version(repo: Path) -> None:
    one = Wire(repo)
    try:
        found = one.start()
        assert found["protocolVersion"] == "2025-06-18"
        assert found["serverInfo"]["name"] == "codestrator"
        assert "work.brief" in found["instructions"]
        assert one.ask("ping")["result"] == {}
    finally:
        assert one.close() == 0


def test_no_tool_needs_an_approval(wire: Callable[..., Wire]) -> None:
    for tool in wire().ask("tools/list")["result"]["tools"]:
        assert tool["annotations"] == {"destructiveHint": False, "openWorldHint": False}
        assert tool["inputSchema"]["required"] == ["method"]


def test_a_tool_takes_the_methods_of_its_group_and_the_catch_all_takes_any_text() -> None:
    by_name = {tool.name: tool.schema["properties"]["method"] for tool in descriptions.tools("root")}
    for group in table.GROUPS:
        assert by_name[group.tool]["enum"] == [method.name for method in group.methods]
    assert "enum" not in by_name["orchestrator.call"]


def test_a_worker_is_shown_only_what_it_may_call() -> None:
    shown = {tool.name: tool.schema["properties"]["method"].get("enum") for tool in descriptions.tools("worker")}
    assert "lock.acquire" in shown["orch_workspace"] and "worktree.create" not in shown["orch_workspace"]
    assert "orch_graph" not in shown


def test_tools_are_listed_where_there_is_no_repository_and_a_call_says_so(
    wire: Callable[..., Wire], tmp_path: Path
) -> None:
    folder = tmp_path / "no repository, só"
    folder.mkdir()
    one = wire(folder)
    assert len(one.ask("tools/list")["result"]["tools"]) == 10
    refused = one.result("task.list")
    assert refused["isError"] and refused["structuredContent"]["code"] not in ("internal", "invalid_params")
    git("init", "-q", at=folder)
    assert one.call("workspace.init")


def test_a_result_is_structured_and_the_same_as_one_line_of_json(two: tuple[Wire, Wire]) -> None:
    result = two[0].result("session.list")
    assert result["structuredContent"]["count"] == 2
    [block] = result["content"]
    assert "\n" not in block["text"] and json.loads(block["text"]) == result["structuredContent"]


def test_a_refusal_is_the_error_object_and_readable_text(two: tuple[Wire, Wire]) -> None:
    refused = two[1].result("lock.acquire", **SCOPE)
    error = refused["structuredContent"]
    assert refused["isError"] is True
    assert (error["code"], error["retryable"]) == ("lock_held", True)
    assert "src/login.py" in json.dumps(error["details"]["holders"])
    assert refused["content"][0]["text"].splitlines()[0] == f"lock_held: {error['message']}"


@pytest.mark.parametrize(
    ("tool", "arguments", "field", "says"),
    [
        ("orch_task", {}, "method", "'method' of orch_task is nothing"),
        ("orch_task", {"method": 7}, "method", "is int"),
        ("orch_task", {"method": "task.list", "params": "[]"}, "params", "is str, expected an object"),
        ("orch_task", {"method": "task.list", "limit": 5}, "limit", "unknown argument 'limit'"),
        ("orch_task", {"method": "lock.acquire"}, "method", "expected orch_workspace"),
        ("orch_task", {"method": "task.crate"}, "method", "nearest is 'task.create'"),
        ("orchestrator.call", {"method": ""}, "method", "unknown method ''"),
        ("orch_task", {"method": "task.create", "params": {"titel": "x"}}, "titel", "nearest is 'title'"),
        ("orch_task", {"method": "task.list", "params": {"limit": 10**30}}, "limit", "'limit' of task.list"),
        ("orch_task", {"method": "task.list", "params": {"limit": True}}, "limit", "'limit' of task.list"),
    ],
)
def test_a_bad_call_is_refused_with_the_field_that_is_wrong(
    tool: str, arguments: Json, field: str, says: str, repo: Path
) -> None:
    desk = server.Desk(repo, Seat("root"))
    try:
        refused = desk.call(tool, arguments, threading.Event())
    finally:
        desk.close()
    assert refused.is_error and refused.structured_content
    assert refused.structured_content["code"] == "invalid_params"
    assert refused.structured_content["details"]["field"] == field
    assert says in refused.structured_content["message"]


def test_what_is_no_tool_call_at_all_is_a_protocol_error_and_the_server_goes_on(wire: Callable[..., Wire]) -> None:
    one = wire()
    assert one.ask("tools/call", name="no_such_tool", arguments={})["error"]["code"] == -32602
    assert one.ask("tools/call", name="orch_task", arguments=[1])["error"]["code"] == -32602
    assert one.ask("no/such")["error"]["code"] == -32601
    assert one.call("workspace.init")


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        ("this is not JSON", None, -32700),
        ('{"jsonrpc": "1.0", "id": 7, "method": "ping"}', 7, -32600),
        ('{"jsonrpc": "2.0", "id": 900, "method": "ping", "params": [1]}', 900, -32600),
        ('{"jsonrpc": "2.0", "id": 900, "method": "ping", "params": {"title": "half \\ud83d"}}', 900, -32700),
        ('{"jsonrpc": "2.0", "id": "a", "method": "ping", "params": ' + "[" * 500 + "]" * 500 + "}", "a", -32700),
        ('{"jsonrpc": "2.0", "id": 900, "params": ' + "[" * 99999, None, -32700),
        ('{"jsonrpc": "2.0", "id": 900}', 900, -32600),
        ("[1]", None, -32600),
    ],
)
def test_a_line_that_is_no_message_is_answered_and_the_server_goes_on(
    line: str, number: Any, code: int, wire: Callable[..., Wire]
) -> None:
    one = wire()
    one.raw("")
    one.raw(line)
    assert one.ask("ping")["result"] == {}
    refused = json.loads(one.lines[1])
    assert (refused["id"], refused["error"]["code"]) == (number, code)


def test_calls_that_wait_do_not_hold_up_one_that_does_not(two: tuple[Wire, Wire]) -> None:
    first, second = two
    waiting = [second.begin("lock.acquire", **SCOPE, wait_seconds=50) for _ in range(45)]
    assert second.call("session.list")["count"] == 2
    answered = {json.loads(line)["id"] for line in second.lines}
    assert answered.isdisjoint(waiting)
    first.call("session.list")


def test_a_cancelled_wait_ends_is_not_answered_and_leaves_no_waiter(two: tuple[Wire, Wire]) -> None:
    first, second = two
    waiting = second.begin("lock.acquire", **SCOPE, wait_seconds=50)
    until(lambda: bool(first.call("lock.list").get("waiters")))
    second.note("notifications/cancelled", requestId=waiting, reason="the user pressed a key")
    until(lambda: not first.call("lock.list").get("waiters"))
    assert second.call("session.list")["count"] == 2
    assert second.close() == 0
    assert waiting not in {json.loads(line).get("id") for line in second.lines}


def test_a_server_whose_client_goes_away_ends_though_a_call_waits(two: tuple[Wire, Wire]) -> None:
    first, second = two
    second.begin("lock.acquire", **SCOPE, wait_seconds=50)
    until(lambda: bool(first.call("lock.list").get("waiters")))
    begun = time.monotonic()
    assert second.close() == 0
    assert time.monotonic() - begun < 20


def test_a_terminated_server_gives_its_session_back(wire: Callable[..., Wire], actor: Callable[..., Actor]) -> None:
    one = wire()
    one.call("workspace.init")
    session_id = one.call("session.open")["session_context"]["session"]["id"]
    live = actor("operator").world.live
    assert live.held(session_id)
    one.process.terminate()
    assert one.process.wait(20) == -signal.SIGTERM
    assert not live.held(session_id)


def test_nothing_but_protocol_reaches_standard_output(wire: Callable[..., Wire], repo: Path) -> None:
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho noise of a hook\nprintf \'{"jsonrpc": "2.0"\'\n', encoding="utf-8")
    hook.chmod(0o755)
    one = wire()
    one.call("workspace.init")
    opened = one.call("session.open")["session_context"]["session_root_worktree"]
    (repo / opened["path"] / "login.py").write_text("timeout = 30\n", encoding="utf-8")
    assert one.call("work.checkpoint", summary="timeout", commit_message="login: wait longer")["commit"]
    assert one.close() == 0
    assert one.lines and all(json.loads(line)["jsonrpc"] == "2.0" for line in one.lines)


class Trap(dict[str, Any]):
    """Arguments that break whoever reads them, as a bug would."""

    def get(self, *given: Any) -> Any:
        raise RuntimeError("a broken thing")


def test_something_unforeseen_is_refused_as_internal_with_a_report(repo: Path) -> None:
    desk = server.Desk(repo, Seat("root"))
    try:
        assert not desk.call("orch_session", {"method": "workspace.init"}, threading.Event()).is_error
        refused = desk.call("orch_task", Trap(), threading.Event())
        after = desk.call("orch_session", {"method": "session.list"}, threading.Event())
    finally:
        desk.close()
    assert refused.is_error and refused.structured_content and not after.is_error
    assert refused.structured_content["code"] == "internal"
    report = Path(refused.structured_content["details"]["report"])
    assert "RuntimeError: a broken thing" in report.read_text(encoding="utf-8")
    assert report.stat().st_mode & 0o077 == 0


def test_a_session_is_renewed_while_its_server_runs_and_not_after(repo: Path) -> None:
    desk = server.Desk(repo, Seat("root"), renew_seconds=0.01)
    try:
        for method in ("workspace.init", "session.open"):
            assert not desk.call("orch_session", {"method": method}, threading.Event()).is_error
        [session_id] = desk.seat.sessions
        live = desk.world().live
        first = live.beat(session_id)
        assert first
        until(lambda: (live.beat(session_id) or first).boot_ms > first.boot_ms)
    finally:
        desk.close()
    assert not live.held(session_id)


def test_half_a_character_does_not_break_the_answer() -> None:
    found = server.success({"path": "caf\udce9", "next": "café"})
    assert found.structured_content == {"path": "caf?", "next": "café"}
    assert found.model_dump_json()


def test_a_server_that_starts_writes_the_notes_that_a_killed_one_owed(wire: Callable[..., Wire], repo: Path) -> None:
    first = wire()
    first.call("workspace.init")
    first.call("session.open")
    checkpoint = first.call("work.checkpoint", summary="half way")["checkpoint"]["id"]
    first.process.kill()
    first.process.wait(20)
    git("update-ref", "-d", "refs/notes/codestrator", at=repo)
    wire().call("session.list")
    notes = ["log", "--all", "--format=%N", "--notes=codestrator"]
    until(lambda: checkpoint in git(*notes, at=repo))


@pytest.mark.parametrize("ended_by", ["its client", "a signal"])
def test_a_server_that_ends_has_written_its_notes(ended_by: str, wire: Callable[..., Wire], repo: Path) -> None:
    one = wire()
    one.call("workspace.init")
    one.call("session.open")
    checkpoint = one.call("work.checkpoint", summary="half way")["checkpoint"]["id"]
    if ended_by == "a signal":
        one.process.terminate()
        one.process.wait(20)
    else:
        assert one.close() == 0
    assert checkpoint in git("log", "--all", "--format=%N", "--notes=codestrator", at=repo)
