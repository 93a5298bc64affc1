"""The same as a plugin of Codex: for one person in all repositories, where a project is not to be changed.

The folder `plugin/` at the top of this project, and the marketplace that offers it, are written by
`pytest tests/edges/test_plugin.py --rewrite`.
"""

import json
from typing import Any

from codestrator import __version__
from codestrator.edges.codex import hook, server, shipped

FOLDER = "plugin"
ABOUT = "Several Codex sessions in one Git repository: worktrees, plan, locks, checkpoints, review and landing."
PLUGIN = {
    "name": server.NAME,
    "version": __version__,
    "description": ABOUT,
    "skills": "./skills/",
    "mcpServers": "./.mcp.json",
    "hooks": "./hooks/hooks.json",
}
MARKETPLACE = {
    "name": server.NAME,
    "plugins": [
        {"name": server.NAME, "source": {"source": "local", "path": f"./{FOLDER}"}, "category": "Productivity"}
    ],
}


def files() -> dict[str, bytes]:
    """Each file's path in this project, and its content."""
    found = {
        ".agents/plugins/marketplace.json": _json(MARKETPLACE),
        f"{FOLDER}/.codex-plugin/plugin.json": _json(PLUGIN),
        f"{FOLDER}/.mcp.json": _json({"mcpServers": {server.NAME: server.BLOCK}}),
        f"{FOLDER}/hooks/hooks.json": _json({"hooks": {hook.EVENT: [hook.ENTRY]}}),
    }
    skills = {path: content for path, content in shipped.files().items() if path.startswith(f"{shipped.SKILLS_AT}/")}
    return found | {path.replace(shipped.SKILLS_AT, f"{FOLDER}/skills"): one for path, one in skills.items()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
