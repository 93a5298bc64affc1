"""The repository's state made ready, and what there is around it: tmux, templates, versions."""

import platform
import re
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from codestrator import SCHEMA, __version__, guides, table
from codestrator.calls import Flow, Tx
from codestrator.errors import Unsupported
from codestrator.methods import authority, intents, who
from codestrator.params import Params, SessionId
from codestrator.records import Machine

GIT_NEEDED = (2, 39)
STATE_REF = "refs/codestrator/state"
PACKAGE = Path(__file__).parent.parent
ROLES = ("session-root", *table.ROLES)
INSTALL_HINT = "Install tmux with the system's package manager (apt install tmux, brew install tmux), then call again."


class Initialise(Params, frozen=True, kw_only=True):
    pass


class EnsureTmux(Params, frozen=True, kw_only=True):
    session_id: SessionId | None = None
    auto_install: Annotated[bool, Meta(description="acts only where git config codestrator.allowInstall is true")] = (
        True
    )


class BundleInfo(Params, frozen=True, kw_only=True):
    pass


def initialise(flow: Flow, want: Initialise) -> dict[str, Any]:
    """Make this repository ready: state, lock book, private folder. Safe to call again.

    Called in a linked worktree it answers for the main repository.
    """
    version = _git_version(flow)
    flow.store.initialise()
    tmux = flow.world.tmux.version()
    flow.transact(lambda tx: _note_machine(tx, version, tmux[1] if tmux else None), flow.settings.machine)
    authority.settle(flow)
    intents.settle(flow)
    return {
        "repo_path": str(flow.world.repo),
        "db_path": str(flow.world.common_dir),
        "state_ref": STATE_REF,
        "schema_version": SCHEMA,
        "machine": flow.settings.machine,
        "git_version": version,
        "tmux_version": tmux[1] if tmux else None,
        "remote": flow.settings.remote,
        "authority": flow.settings.authority,
        "hooks": flow.world.hooks.state(),
    }


def _git_version(flow: Flow) -> str:
    said = flow.world.git.run("version")
    found = re.search(r"\d+(?:\.\d+)+", said)
    version = found[0] if found else said
    if not found or tuple(int(part) for part in version.split(".")[:2]) < GIT_NEEDED:
        raise Unsupported(
            f"git is '{version}', expected {'.'.join(map(str, GIT_NEEDED))} or newer",
            hint="Install a newer git.",
            field="git",
            found=version,
            offered="2.39 or newer",
        )
    return version


def _note_machine(tx: Tx, git_version: str, tmux_version: str | None) -> None:
    known = tx.get(Machine, tx.machine)
    found = Machine(
        id=tx.machine,
        label=known.label if known else platform.node() or tx.machine,
        git_version=git_version,
        program_version=__version__,
        tmux_version=tmux_version,
    )
    if known is None or (known.git_version, known.program_version, known.tmux_version) != (
        git_version,
        __version__,
        tmux_version,
    ):
        tx.put(found)


def ensure_tmux(flow: Flow, want: EnsureTmux) -> dict[str, Any]:
    """Look for tmux, in which child agents can be watched; nothing is installed without permission.

    Nothing is ever installed with raised privileges; this version only says how to do it.
    """
    found = flow.world.tmux.version()
    session_id = want.session_id or flow.caller.session_id
    if session_id is not None:
        flow.transact(lambda tx: _note_runtime(tx, session_id, found is not None), session_id)
    if found is None:
        return {"status": "manual_required", "manual_instructions": INSTALL_HINT}
    return {"status": "ready", "tmux_path": found[0], "tmux_version": found[1]}


def _note_runtime(tx: Tx, session_id: str, ready: bool) -> None:
    session = who.active_session(tx, session_id)
    tx.put(session.but(runtime_state="tmux_ready" if ready else "tmux_manual_required"))


def bundle_info(tx: Tx, want: BundleInfo) -> dict[str, Any]:
    """Tell version and paths of this installation, and which templates are there."""
    agents, skills, mcp = PACKAGE / "agents", PACKAGE / "skills", PACKAGE / "edges"
    return {
        "feature": "codestrator",
        "version": __version__,
        "repo_path": tx.roots[0],
        "source_root": str(PACKAGE),
        "agents_root": str(agents),
        "skills_root": str(skills),
        "mcp_root": str(mcp),
        "exists": {
            "agents": agents.is_dir(), "skills": skills.is_dir(), "mcp": mcp.is_dir(), "source": PACKAGE.is_dir(),
        },
        "skills": sorted(one.name for one in skills.iterdir() if one.is_dir()) if skills.is_dir() else [],
        "role_templates": {role: str(agents / guides.guide_for(role)) for role in ROLES},
        "sync_verify": {"command": "git codestrator doctor"},
    }  # fmt: skip
