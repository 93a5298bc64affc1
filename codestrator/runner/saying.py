"""What an agent does, as readable lines for its pane; nothing of it can steer a terminal."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codestrator import text

MESSAGE_CHARACTERS = 4000
LINE_CHARACTERS = 200
OUTPUT_LINES = 5
_SHELL = re.compile(r"(/\S*/)?(ba|da|k|z)?sh")
_HUMP = re.compile(r"_([a-z])")
_WORDS = re.compile(r"_|(?=[A-Z])")


def begun(item: Mapping[str, Any], folder: Path) -> str:
    """What has begun; empty where only its end is worth a line."""
    kind = _kind(item)
    if kind == "commandExecution":
        return f"$ {_line(_command(str(item.get('command') or '')))}"
    if kind == "mcpToolCall":
        return f"> {item.get('server')}.{item.get('tool')} {_line(_compact(item.get('arguments')))}"
    if kind == "webSearch":
        return f"> web search: {_line(str(item.get('query') or ''))}"
    return ""


def done(item: Mapping[str, Any], folder: Path) -> str:
    """What has ended and how."""
    kind = _kind(item)
    if kind == "agentMessage":
        return text.shorten(text.clean(str(item.get("text") or "")), MESSAGE_CHARACTERS)
    if kind == "commandExecution":
        return _ended(item)
    if kind == "mcpToolCall":
        why = _line(_why(item)) if _status(item) == "failed" else ""
        return f"< {_status(item)}" + (f": {why}" if why else "")
    if kind == "fileChange":
        changes = [one for one in item.get("changes") or [] if isinstance(one, Mapping)]
        return f"* {', '.join(_change(one, folder) for one in changes)}" + _unless_completed(item)
    if kind == "reasoning":
        summary = item.get("summary") or item.get("text") or []
        found = _line(" ".join(str(one) for one in summary) if isinstance(summary, list) else str(summary))
        return f"~ {found}" if found else ""
    if kind == "contextCompaction":
        return "~ the conversation was compacted"
    return f"? {_line(str(item.get('message') or ''))}" if kind == "error" else ""


def trouble(message: Any, again: bool) -> str:
    return f"! {_line(str(message))}" + (" (tries again)" if again else "")


def notice(message: Any) -> str:
    return f"? {_line(str(message))}"


def _kind(item: Mapping[str, Any]) -> str:
    """The app server's name of a kind; `codex exec` writes it with underscores."""
    return _HUMP.sub(lambda found: found[1].upper(), str(item.get("type")))


def _field(item: Mapping[str, Any], camel: str, snake: str) -> Any:
    return item.get(camel) if camel in item else item.get(snake)


def _status(item: Mapping[str, Any]) -> str:
    """`inProgress`, or `in_progress`, in words."""
    return _line(_WORDS.sub(" ", str(item.get("status") or "")).lower())


def _unless_completed(item: Mapping[str, Any]) -> str:
    return "" if _status(item) == "completed" else f" ({_status(item)})"


def _ended(item: Mapping[str, Any]) -> str:
    output = str(_field(item, "aggregatedOutput", "aggregated_output") or "")
    last = text.clean(output[-OUTPUT_LINES * 4 * LINE_CHARACTERS :]).splitlines()[-OUTPUT_LINES:]
    status = _field(item, "exitCode", "exit_code")
    told = _status(item) if status is None else f"exit {status}"
    return "\n".join([*(f"  | {_line(one)}" for one in last), f"  {told}"])


def _why(item: Mapping[str, Any]) -> str:
    """Why a tool's call failed: in the words of Codex or of the tool."""
    error, result = item.get("error"), item.get("result")
    if error:
        return str(error.get("message") if isinstance(error, Mapping) else error)
    parts = result.get("content") if isinstance(result, Mapping) else None
    return " ".join(str(one.get("text") or "") for one in parts or [] if isinstance(one, Mapping))


def _change(change: Mapping[str, Any], folder: Path) -> str:
    kind = change.get("kind")
    name = kind.get("type") if isinstance(kind, Mapping) else kind
    path = str(change.get("path") or "")
    inside = path.removeprefix(f"{folder}/") or path
    return f"{name} {_line(inside)}"


def _command(command: str) -> str:
    """What is run, without the shell that Codex puts around it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    wrapped = len(words) == 3 and _SHELL.fullmatch(words[0]) and words[1] in ("-c", "-lc")
    return words[2] if wrapped else command


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value is not None else ""


def _line(found: str) -> str:
    return text.shorten(text.one_line(found[: 4 * LINE_CHARACTERS]), LINE_CHARACTERS)
