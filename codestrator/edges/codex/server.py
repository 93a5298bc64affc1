"""Our MCP server in `.codex/config.toml`: the table `mcp_servers.codestrator`."""

import tomllib
from collections.abc import Mapping
from typing import Any

from codestrator.edges.codex.shared import Look, Part, Shared, at_the_end, verbatim

TABLE, NAME = "mcp_servers", "codestrator"
# Codex gives a server next to nothing of its environment: what git, tmux, children and a network need of it.
PASSED_ON = [
    *("CODEX_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_SSH_COMMAND", "HTTPS_PROXY", "OPENAI_API_KEY"),
    *("OPENAI_BASE_URL", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "TMUX_TMPDIR", "XDG_CONFIG_HOME"),
]
BLOCK: dict[str, Any] = {
    "command": "git",
    "args": ["codestrator", "mcp"],
    "required": True,  # else the first turn begins without its tools
    "startup_timeout_sec": 60,
    "tool_timeout_sec": 120,
    "env_vars": PASSED_ON,
}


def _look(words: str) -> Look:
    servers = _data(words).get(TABLE, {})
    if not isinstance(servers, dict):
        raise ValueError(f"'{TABLE}' is no table")
    if NAME not in servers:
        return Look("absent")
    found = servers[NAME] if isinstance(servers[NAME], dict) else {}
    names = [name for name in {**BLOCK, **found} if found.get(name) != BLOCK.get(name)]
    told = ", ".join(f"{name} is {_said(found, name)}, ours {_said(BLOCK, name)}" for name in names)
    return Look("left", f"its [{TABLE}.{NAME}] differs: {told}") if names else Look("ours")


def _said(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name])[:80] if name in values else "not set"


def _data(words: str) -> dict[str, Any]:
    return tomllib.loads(words.removeprefix("\ufeff"))


def _rest(words: str) -> Any:
    data = _data(words)
    others = {name: one for name, one in data.get(TABLE, {}).items() if name != NAME}
    return {name: one for name, one in data.items() if name != TABLE} | ({TABLE: others} if others else {})


def _add(words: str) -> Part:
    """As a table at the end; where the servers are one inline table, inside it."""
    import tomlkit

    if isinstance(tomlkit.parse(words.removeprefix("\ufeff")).get(TABLE), tomlkit.items.InlineTable):
        return _inline(words)
    server = tomlkit.table()
    server.update(BLOCK)
    servers = tomlkit.table(is_super_table=True)
    servers[NAME] = server
    document = tomlkit.document()
    document[TABLE] = servers
    return at_the_end(words, tomlkit.dumps(document))


def _inline(words: str) -> Part:
    """Where tomlkit would put it; its own words would also change the blanks of the user's."""
    import tomlkit

    document = tomlkit.parse(words.removeprefix("\ufeff"))
    server = tomlkit.inline_table()
    server.update(BLOCK)
    new = f"{NAME} = {server.as_string()}"
    pair = f", {new}" if document[TABLE] else new
    document[TABLE][NAME] = server
    bom = len(words) - len(words.removeprefix("\ufeff"))
    found = words[:bom] + tomlkit.dumps(document)
    at = next(at for at, (one, other) in enumerate(zip(words, found, strict=False)) if one != other)
    return Part(at, pair)


SERVER = Shared(
    path=".codex/config.toml",
    adds=f"[{TABLE}.{NAME}]",
    look=_look,
    add=_add,
    cuts=verbatim,
    rest=_rest,
    is_blank=lambda words: not words.strip(),
)
