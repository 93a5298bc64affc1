"""What every agent on Codex shares: its settings on the command line, and which errors are there to stay."""

import json
import re
from collections.abc import Mapping
from typing import Any

from codestrator.runner.agent import AgentSettings

SERVER = "codestrator"
MCP_TABLE = f"mcp_servers.{SERVER}"
MCP_STARTUP_SECONDS = 60  # imports take seconds on a busy machine
MCP_CALL_SECONDS = 120
# Codex gives a server next to none of its environment; ours needs what says where git and its own modules are.
PASSED_ON = ("CODESTRATOR_", "GIT_", "XDG_", "PYTHON", "LC_", "SSL_")
# `codexErrorInfo` of a turn: trying again gives the same.
LASTING = frozenset(
    {
        "badRequest",
        "contextWindowExceeded",
        "cyberPolicy",
        "misalignmentPolicyViolation",
        "modelNotFound",
        "sandboxError",
        "sessionBudgetExceeded",
        "tooManyDenials",
        "unauthorized",
        "usageLimitExceeded",
    }
)
LASTING_STATUS = frozenset({400, 401, 403, 404, 422})
_STATUS = re.compile(r"\b(?:unexpected |last )status:? (\d{3})\b")
_LASTING_WORDS = re.compile(
    r"usage limit|context window|not logged in|model .{0,80}(?:does not exist|not supported)", re.I
)

_LOST = re.compile(r"\brollout\b|thread.store|session metadata", re.IGNORECASE)


def overrides(settings: AgentSettings) -> list[str]:
    """The child's own settings as `-c key=value`; all others stay as the user has them."""
    chosen: dict[str, Any] = {
        "approval_policy": "never",
        "sandbox_mode": settings.sandbox,
        "sandbox_workspace_write.writable_roots": settings.writable_roots,
    }
    if settings.model:
        chosen["model"] = settings.model
    if effort := settings.override.get("effort"):
        chosen["model_reasoning_effort"] = str(effort)
    if settings.mcp_command:
        chosen[MCP_TABLE] = _server(settings)
    return [word for key, value in chosen.items() for word in ("-c", f"{key}={toml(value)}")]


def _server(settings: AgentSettings) -> dict[str, Any]:
    program, *arguments = settings.mcp_command
    return {
        "command": program,
        "args": arguments,
        "cwd": str(settings.folder),
        # It runs outside the sandbox: it must not import what the agent wrote into its working folder.
        "env": {"PYTHONSAFEPATH": "1"},
        "env_vars": sorted(name for name in settings.environment if name.startswith(PASSED_ON)),
        "enabled": True,
        "required": True,
        "startup_timeout_sec": MCP_STARTUP_SECONDS,
        "tool_timeout_sec": MCP_CALL_SECONDS,
        "default_tools_approval_mode": "approve",
    }


def toml(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}={toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(toml(one) for one in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def lasting(error: Mapping[str, Any]) -> bool:
    """Whether the error of a turn comes again when the turn is tried again."""
    info = error.get("codexErrorInfo")
    if isinstance(info, str) and info != "other":
        return info in LASTING
    if isinstance(info, Mapping):
        return any(isinstance(one, Mapping) and one.get("httpStatusCode") in LASTING_STATUS for one in info.values())
    return lasting_words(str(error.get("message")))


def lasting_words(message: str) -> bool:
    """The same of an error that is nothing but words."""
    found = _STATUS.search(message)
    status = bool(found and int(found[1]) in LASTING_STATUS)
    return status or bool(_LASTING_WORDS.search(message)) or _refused(message) is not None


def conversation_lost(message: str) -> bool:
    """Whether Codex does not find, or cannot read, what it wrote of a conversation."""
    return bool(_LOST.search(message))


def server_gone(item: Mapping[str, Any]) -> bool:
    """Whether a call of one of our tools found that its server is over."""
    error = item.get("error") if (item.get("type"), item.get("server")) == ("mcpToolCall", SERVER) else None
    return isinstance(error, Mapping) and "Transport closed" in str(error.get("message"))


def readable(message: Any) -> str:
    """An error's words; the answer of a model's server that refused a request (status 400) is handed on as it came."""
    return _refused(str(message)) or str(message)


def _refused(message: str) -> str | None:
    if not message.startswith("{"):
        return None
    try:
        error = json.loads(message).get("error")
    except ValueError:
        return None
    return str(error.get("message")) if isinstance(error, dict) else None
