"""Runs the git program: the one place that does, with an environment in which it cannot answer for another folder."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from codestrator.errors import External

# `git rev-parse --local-env-vars`: what would point git at another repository than the one it is asked about.
LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    # Not in that list, and yet they change what a path, a ref or a commit means.
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
    "GIT_REFLOG_ACTION",
)
# Hooks of git's configuration run although there is no folder of hooks; ours leave at once where this is set.
NO_HOOKS_OF_OURS = {"CODESTRATOR_SKIP_HOOKS": "1"}
QUIET = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true", "GIT_PAGER": "cat", "GIT_OPTIONAL_LOCKS": "0"}
# A submodule's folder is its user's to bring up, as after `git merge`; it may lack the commit, or hold other work.
NOT_RECURSED = ("-c", "submodule.recurse=false")
ALWAYS = ("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.quotePath=false", *NOT_RECURSED)
WITHOUT_HOOKS = ("-c", f"core.hooksPath={os.devnull}", "-c", "commit.gpgSign=false", "-c", "core.fsmonitor=false")
TAIL = 2000
END_SECONDS = 2


class GitProgram:
    """`folder` is where it runs unless told otherwise; `config` reads a key of git's configuration."""

    def __init__(self, folder: Path, config: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._config = config

    def run(
        self,
        *arguments: str,
        at: Path | None = None,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
        hooks: bool = False,
    ) -> str:
        """Standard output, its last newline removed; `External` for any status but 0."""
        status, out, err = self.try_run(*arguments, at=at, stdin=stdin, env=env, seconds=seconds, hooks=hooks)
        if status:
            raise External(
                f"git {arguments[0]} ended with status {status}, expected 0: {gist(err)}",
                hint="Read the message of git in details.stderr_tail.",
                program="git",
                exit_status=status,
                stderr_tail=err[-TAIL:],
            )
        return out.removesuffix("\n")

    def try_run(
        self,
        *arguments: str,
        at: Path | None = None,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
        hooks: bool = False,
        keeps: Sequence[int] = (),
    ) -> tuple[int, str, str]:
        """Status, standard output and standard error; `External` only if it did not start or did not end in time."""
        command = ["git", *ALWAYS, *(() if hooks else WITHOUT_HOOKS), *arguments]
        quiet = QUIET if hooks else QUIET | NO_HOOKS_OF_OURS
        given = {name: value for name, value in os.environ.items() if name not in LOCAL} | quiet | dict(env or {})
        try:
            status, out, err = _complete(command, at or self._folder, given, stdin, seconds, keeps)
        except subprocess.TimeoutExpired:
            raise External(
                f"git {arguments[0]} did not end within {seconds:g} s",
                hint="Look for what it waits for: a lock, a file system, a hook.",
                program="git",
            ) from None
        except OSError as error:
            raise External(
                f"git {arguments[0]} could not be started in '{at or self._folder}': {error}, expected the git program",
                hint="Install git 2.39 or newer, and see that the folder exists.",
                program="git",
            ) from None
        return status, os.fsdecode(out), err.decode("utf-8", "replace")

    def config(self, key: str, default: str = "") -> str:
        """The value of the user's configuration, or the default where there is none."""
        return self._config(key) or default


def _complete(
    command: list[str],
    folder: Path,
    env: Mapping[str, str],
    stdin: bytes | None,
    seconds: float,
    keeps: Sequence[int],
) -> tuple[int, bytes, bytes]:
    """Run to its end; what takes too long ends with all that it started, hooks and filters included."""
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=none if stdin is None else pipe,
        stdout=pipe,
        stderr=pipe,
        process_group=0,
        pass_fds=keeps,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except BaseException:
            _end(process)
            raise
        return process.returncode, out, err


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask first: git then takes its lock files away, which would be in the user's way."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted where all have ended
        os.killpg(process.pid, signal.SIGKILL)


def gist(err: str) -> str:
    """The beginning and the end of what a program said: git says first what is wrong, a hook of the user last."""
    said = err.strip()
    return said if len(said) <= 400 else f"{said[:200]} … {said[-200:]}"


def displayed(name: str) -> str:
    """A file's name as text that JSON can hold: bytes that are no UTF-8 become a replacement character."""
    return os.fsencode(name).decode("utf-8", "replace")
