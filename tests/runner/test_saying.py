"""What an agent does is told in readable lines that cannot steer a terminal."""

from pathlib import Path
from typing import Any

import pytest

from codestrator.runner import saying

FOLDER = Path("/work/shop")


def command(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "commandExecution", "command": words} | more


@pytest.mark.parametrize(
    ("item", "line"),
    [
        (command("/bin/bash -lc 'make test'"), "$ make test"),
        (command("sh -c 'a; b'"), "$ a; b"),
        (command("git commit -m 'two words'"), "$ git commit -m 'two words'"),
        (command("echo 'open"), "$ echo 'open"),
        (command("printf '\x1b[2J' \n&& ls"), "$ printf '' && ls"),
        (command("x" * 500), "$ " + "x" * 199 + "…"),
        (
            {
                "type": "mcpToolCall",
                "server": "codestrator",
                "tool": "orch_task",
                "arguments": {"method": "case.begin"},
            },
            '> codestrator.orch_task {"method":"case.begin"}',
        ),
        ({"type": "webSearch", "query": "tmux\npanes"}, "> web search: tmux panes"),
        ({"type": "agentMessage", "text": ""}, ""),
        ({"type": "reasoning"}, ""),
        ({}, ""),
    ],
)
def test_a_beginning(item: dict[str, Any], line: str) -> None:
    assert saying.begun(item, FOLDER) == line


@pytest.mark.parametrize(
    ("item", "lines"),
    [
        ({"type": "agentMessage", "text": "done\x07\x1b]0;t\x07\nreally "}, "done\nreally"),
        ({"type": "agent_message", "text": "as codex exec says it"}, "as codex exec says it"),
        (command("x", exitCode=0, aggregatedOutput=""), "  exit 0"),
        (command("x", exitCode=None, status="declined"), "  declined"),
        (
            command("x", exitCode=2, aggregatedOutput="1\n2\n3\n4\n5\n6\n7\n"),
            "  | 3\n  | 4\n  | 5\n  | 6\n  | 7\n  exit 2",
        ),
        (
            {"type": "command_execution", "exit_code": 1, "aggregated_output": "\x1b[31mred\x1b[0m\r\n"},
            "  | red\n  exit 1",
        ),
        ({"type": "mcpToolCall", "status": "completed", "result": {"content": [{"text": "x"}]}}, "< completed"),
        ({"type": "mcpToolCall", "status": "failed", "error": {"message": "timed out"}}, "< failed: timed out"),
        (
            {"type": "mcp_tool_call", "status": "failed", "result": {"content": [{"text": "forbidden:\nno"}]}},
            "< failed: forbidden: no",
        ),
        (
            {
                "type": "fileChange",
                "status": "completed",
                "changes": [
                    {"path": "/work/shop/a b.py", "kind": {"type": "add"}},
                    {"path": "/elsewhere/c", "kind": "delete"},
                ],
            },
            "* add a b.py, delete /elsewhere/c",
        ),
        (
            {"type": "fileChange", "status": "inProgress", "changes": [{"path": "x", "kind": {"type": "update"}}]},
            "* update x (in progress)",
        ),
        ({"type": "reasoning", "summary": ["first", "then"]}, "~ first then"),
        ({"type": "reasoning", "text": "as codex exec says it"}, "~ as codex exec says it"),
        ({"type": "reasoning", "summary": []}, ""),
        ({"type": "contextCompaction"}, "~ the conversation was compacted"),
        ({"type": "error", "message": "odd"}, "? odd"),
        ({"type": "userMessage", "text": "ours"}, ""),
    ],
)
def test_an_end(item: dict[str, Any], lines: str) -> None:
    assert saying.done(item, FOLDER) == lines


def test_trouble_says_whether_it_is_tried_again() -> None:
    assert saying.trouble("lost\x1b[1m", again=True) == "! lost (tries again)"
    assert saying.trouble("lost", again=False) == "! lost"
    assert saying.notice("mind\nthis") == "? mind this"
