"""Starts the programs that run children, and ends them for good: by the mark that they carry, never by number alone."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codestrator import kinds
from codestrator.errors import External, InvalidParams
from codestrator.world import processes
from codestrator.world.codex import native_program
from codestrator.world.git import LOCAL

MARK = "CODESTRATOR_THREAD_ID"
# What tells a program of the terminal or the tmux pane that another one sits in.
OF_A_TERMINAL = ("TMUX", "TMUX_PANE", "TERM", "COLUMNS", "LINES", "STY", "WINDOW", "OLDPWD", "PWD", "_", "SHLVL")
LOOK_SECONDS = 0.05
# That a child can work in a folder is proved anew after so long, or when Codex or its settings have changed.
PROVED_SECONDS = 60
_started: list["subprocess.Popen[bytes]"] = []  # detached runners outlive the call that started them


class LocalRunners:
    def __init__(self, repo: Path, common_dir: Path) -> None:
        self._repo = repo
        self._common_dir = common_dir
        self._proved: dict[Any, tuple[float, list[dict[str, Any]]]] = {}

    def environment(self) -> dict[str, str]:
        left_out = (*LOCAL, *OF_A_TERMINAL)
        return {
            name: value
            for name, value in os.environ.items()
            if name not in left_out and not name.startswith("CODESTRATOR_")
        }

    def resolve(self, kind: str) -> tuple[str, str | None]:
        return kinds.resolve(kind, os.environ)

    def program(self, command: str) -> list[str]:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise _no_command(command, str(error)) from None
        if not words:
            raise _no_command(command, "it is empty")
        found = native_program(words, self.environment())
        if shutil.which(found[0]) is None:
            raise External(
                f"the program '{found[0][:200]}' is not there, expected Codex",
                hint="Install Codex (npm install -g @openai/codex), or give its place as codex_command.",
                program=found[0][:200],
            )
        return found

    def alive(self, pid: int) -> bool:
        return processes.started(pid) is not None

    def check(self, program: Sequence[str], folder: Path) -> list[dict[str, Any]]:
        from codestrator.world import preflight

        environment = self.environment()
        key = (tuple(program), folder, preflight.settings_seen(program, environment))
        at, found = self._proved.get(key, (0.0, []))
        if not found or time.monotonic() - at > PROVED_SECONDS:
            found = preflight.check(program, folder, self._common_dir, environment)
            self._proved = {key: (time.monotonic(), found)} if all(one["status"] == "ok" for one in found) else {}
        return found

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "codestrator", "--repo", str(self._repo), *words]

    def start(self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path) -> tuple[int, str]:
        _started[:] = [one for one in _started if one.poll() is None]
        try:
            with log.open("ab") as out:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=self.environment() | dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise External(
                f"'{command[0]}' could not be started: {error.strerror}, expected a runner",
                hint="Look at the free space and the permissions of the repository.",
                program=command[0],
            ) from None
        _started.append(process)
        return process.pid, processes.started(process.pid) or ""

    def working(self, thread_ids: Sequence[str]) -> list[int]:
        return processes.marked(MARK, *thread_ids) if thread_ids else []

    def end(self, thread_ids: Sequence[str], seconds: float, *, grace: float = 0) -> list[int]:
        asks = time.monotonic() + grace
        kills, gives_up = asks + seconds / 2, asks + seconds
        asked: set[int] = set()
        while left := processes.marked(MARK, *thread_ids):
            now = time.monotonic()
            if now > gives_up:
                return left
            for pid in left if now >= asks else ():
                if now > kills or pid not in asked:
                    processes.send(pid, signal.SIGKILL if now > kills else signal.SIGTERM)
                asked.add(pid)
            time.sleep(LOOK_SECONDS)
        return []


def _no_command(command: str, why: str) -> InvalidParams:
    return InvalidParams(
        f"'codex_command' is no command line: {why}",
        hint="Quote it as for a shell.",
        field="codex_command",
        found=command[:200],
        expected="a program and its arguments",
    )
