"""What an agent is brought up with, from its thread's private file alone: nothing of the state is needed for it."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import msgspec

from codestrator import guides, ids
from codestrator.decoding import decoder
from codestrator.errors import CodestratorError
from codestrator.runner.agent import AgentSettings
from codestrator.threadfiles import ThreadFile, name_of

IDLE_SECONDS = 600.0


class Logs:
    """A child's logs: what its pane shows, and what goes to and fro between runner and agent."""

    def __init__(self, private: Path, thread_id: str) -> None:
        self._folder = private / "logs"
        self._thread_id = thread_id

    def screen(self, line: str) -> None:
        self._append("log", line)

    def wire(self, line: str) -> None:
        self._append("wire", line)

    def _append(self, suffix: str, line: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._folder / f"{self._thread_id}.{suffix}"
        with place.open("a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")


def settings_for(file: ThreadFile, private: Path, guide: str) -> AgentSettings:
    """For the agent of that file; the override may name a model, a sandbox and limits."""
    override, folder = file.override, Path(file.folder)
    place = str(private / name_of(file.thread_id))
    marks = {
        "CODESTRATOR_RUNNER_MODE": "child",
        "CODESTRATOR_SESSION_ID": file.session_id,
        "CODESTRATOR_THREAD_ID": file.thread_id,
        "CODESTRATOR_THREAD_ROLE": file.role,
        "CODESTRATOR_THREAD_FILE": place,
    }
    server = [sys.executable, "-P", "-m", "codestrator", "--repo", file.repo, "mcp", "--thread-file", place]
    return AgentSettings(
        program=file.program or [file.launch_command or ""],
        folder=folder,
        environment=file.environment | marks,
        instructions=guide,
        model=override.get("model") if isinstance(override.get("model"), str) else None,
        sandbox=str(override.get("sandbox") or "workspace-write"),
        writable_roots=_roots(folder, private.parent),
        mcp_command=server,
        override=override,
        idle_seconds=_number(override.get("idle_seconds"), IDLE_SECONDS),
        repo=Path(file.repo),
        log=Logs(private, file.thread_id).wire,
    )


def early(repo: Path, thread_id: str) -> tuple[str, AgentSettings] | None:
    """Kind and settings of an agent that can be brought up before its thread is looked at, as most can.

    The file's token is proved before anything is said to the agent.
    """
    private = repo / ".git" / "codestrator"
    place = private / name_of(thread_id)
    try:
        seen = place.lstat() if ids.is_whole(thread_id) else None
        if seen is None or not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
            return None
        file = decoder(ThreadFile).decode(place.read_bytes())
        if file.thread_id != thread_id or not file.program or file.guide_path is not None:
            return None
        return file.runner_kind, settings_for(file, private, guides.read_guide(file.role, None, repo))
    except (OSError, msgspec.MsgspecError, CodestratorError):
        return None  # what is wrong with it is told by those who read it next


def _roots(folder: Path, common_dir: Path) -> list[str]:
    link = folder / ".git"
    own = link.read_text(encoding="utf-8").removeprefix("gitdir:").strip() if link.is_file() else str(common_dir)
    return list(dict.fromkeys([str(common_dir), own]))


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else default
