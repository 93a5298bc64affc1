"""Runs tmux through libtmux: bounded in time, in an environment that may outlive us, with words taken literally."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from libtmux import Server
from libtmux.common import tmux_cmd

from codestrator.errors import External
from codestrator.text import one_line
from codestrator.world.git import LOCAL
from codestrator.world.panes import FIELDS, Row

SECONDS = 5.0
# Printable, because newer versions of tmux print a tab as a backslash and a t; libtmux's choice, too.
SEPARATOR = "␞"
INSTALL_HINT = "Install tmux with the system's package manager (apt install tmux, brew install tmux), then call again."
_NO_SERVER = (
    *("no server running", "No such file or directory", "Connection refused", "lost server", "server exited"),
    "no current target",  # one that has just begun, and has no session yet
)


class Answer(tmux_cmd):
    """What a tmux command printed; libtmux's own waits without end and has no standard input."""

    def __init__(self, command: Sequence[str], *, folder: str | None = None, stdin: str | None = None) -> None:
        self.cmd = list(command)
        # Input is never this process's own: that of the server is the protocol's.
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            self.cmd,
            capture_output=True,
            check=False,
            cwd=folder,
            encoding="utf-8",
            env=surroundings(),
            errors="surrogateescape",
            timeout=SECONDS,
            **given,
        )
        self.returncode = done.returncode
        self.stdout = done.stdout.removesuffix("\n").split("\n") if done.stdout else []
        self.stderr = [line for line in done.stderr.split("\n") if line]

    @property
    def reason(self) -> str:
        return one_line(self.stderr[-1])[:300] if self.stderr else ""

    def says(self, *words: str) -> bool:
        """Whether it failed with one of these words."""
        return self.returncode != 0 and any(one in self.reason for one in words)

    def failure(self, command: str) -> External:
        return External(
            f"tmux {command} ended with status {self.returncode}, expected 0: {self.reason}",
            hint="Read the message of tmux in details.last_line, then call again.",
            program="tmux",
            status=self.returncode,
            last_line=self.reason,
        )


class BoundedServer(Server):
    """The user's tmux server, or the one of a socket; every command ends within `SECONDS`."""

    def cmd(self, cmd: str, *args: Any, **kwargs: Any) -> tmux_cmd:
        """One command, as libtmux's own methods give it."""
        target = kwargs.get("target")
        return self.run([cmd, *([] if target is None else ["-t", str(target)]), *map(str, args)])

    def run(self, *commands: Sequence[str], folder: str | None = None, stdin: str | None = None) -> Answer:
        """Run commands one after another, nobody else's in between; the first that fails is the last.

        `folder` is where new panes begin. Raises `External` when there is no tmux or no answer in time.
        """
        program = shutil.which("tmux")
        if program is None:
            raise External(
                "'tmux' was not found, expected it in PATH", hint=INSTALL_HINT, program="tmux", status="missing"
            )
        words = [word for command in commands for word in (*map(literal, command), ";")][:-1]
        # -u: whatever the locale, names come back as they are and not with `_` for their letters.
        line = [program, "-u", *self._place(), *words]
        try:
            return Answer(line, folder=folder, stdin=stdin)
        except subprocess.TimeoutExpired:
            raise External(
                f"tmux {commands[0][0]} gave no answer in {SECONDS:g} s, expected one",
                hint="See whether `tmux list-sessions` answers in a terminal, then call again.",
                program="tmux",
                status="timeout",
            ) from None
        except OSError as error:
            raise External(
                f"'{program}' could not be run: {error.strerror}, expected tmux",
                hint="See whether `tmux -V` works in a terminal, then call again.",
                program="tmux",
                status="not run",
            ) from None

    def must(self, *commands: Sequence[str], folder: str | None = None, stdin: str | None = None) -> Answer:
        """Run commands; `External` unless all of them succeed."""
        answer = self.run(*commands, folder=folder, stdin=stdin)
        if answer.returncode:
            raise answer.failure(commands[0][0])
        return answer

    def rows(self, *command: str, fields: Sequence[str]) -> list[list[str]]:
        """One row of fields for each thing listed; none where no server runs."""
        answer = self.run([*command, "-F", SEPARATOR.join(f"#{{{field}}}" for field in fields)])
        if answer.returncode and not answer.says(*_NO_SERVER):
            raise answer.failure(command[0])
        found = [line.split(SEPARATOR) for line in answer.stdout]
        return [row for row in found if len(row) == len(fields)]

    def listed(self) -> "list[Row]":
        return [Row(*row) for row in self.rows("list-panes", "-a", fields=FIELDS)]

    def _place(self) -> list[str]:
        if self.socket_path:
            return ["-S", str(self.socket_path)]
        return ["-L", self.socket_name] if self.socket_name else []


def surroundings() -> dict[str, str]:
    """Our environment without what belongs to one call: a server that is started now keeps it for all its panes."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in LOCAL and not name.startswith("CODESTRATOR_") and name != "TMUX_PANE"
    }


def literal(word: str) -> str:
    """A word of a command as tmux must be given it: a semicolon at its end would begin the next command."""
    return f"{word[:-1]}\\;" if word.endswith(";") else word
