"""tmux commands through libtmux: bounded in time, addressed by id, and given words that tmux cannot read as its own."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from libtmux import Server
from libtmux.common import tmux_cmd

from codestrator.errors import External, InvalidParams, NotFound
from codestrator.text import one_line, shorten
from codestrator.world.git import LOCAL

SECONDS = 5.0
TITLE = 80
# Printable, because newer versions of tmux print a tab as a backslash and a t; libtmux's choice, too.
SEPARATOR = "␞"
INSTALL_HINT = "Install tmux with the system's package manager (apt install tmux, brew install tmux), then call again."
_NO_SERVER = ("no server running", "error connecting to", "lost server", "server exited")
_MARK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# `#` begins a format, a command or a style unless a digit follows, as in `#12`.
_FORMAT = re.compile(r"#(?![0-9])")


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


class Program(NamedTuple):
    """What a pane is to run, checked and in tmux's words."""

    command: list[str]
    folder: str
    marks: list[str]
    title: str
    view_only: bool


class Row(NamedTuple):
    """What tmux tells of a pane, in the order of `FIELDS`."""

    id: str
    tag: str
    session_id: str
    session: str
    window_id: str
    window: str
    window_tag: str
    pid: str
    dead: str
    status: str
    signal: str
    input_off: str
    width: str
    height: str
    program: str


FIELDS = (
    "pane_id",
    "@codestrator-pane",
    "session_id",
    "session_name",
    "window_id",
    "window_name",
    "@codestrator-window",
    "pane_pid",
    "pane_dead",
    "pane_dead_status",
    "pane_dead_signal",
    "pane_input_off",
    "pane_width",
    "pane_height",
    "pane_current_command",
)


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


def shown(text: str) -> str:
    """A title that stays words however often tmux expands it: a wide number sign replaces one that would mean more."""
    plain = shorten(one_line(text), TITLE)
    return _FORMAT.sub("\uff03", plain).replace("#", "##")


def program(command: Sequence[str], folder: Path, env: Mapping[str, str], title: str, view_only: bool) -> Program:
    """`InvalidParams` for what tmux would take as something else, `NotFound` for a folder that is not there."""
    bad = [one for one in (*command, *env, *env.values(), str(folder)) if "\0" in one]
    bad += [name for name in env if not _MARK.fullmatch(name)]
    if bad or (len(command) == 1 and "=" in command[0]):
        found = one_line((bad or [command[0]])[0])[:200]
        raise InvalidParams(
            f"'{found}' cannot be handed to a program in a tmux pane, expected plain words and names of variables",
            hint="Give the program's path and its arguments as separate words.",
            found=found,
        )
    if not folder.is_dir():
        raise NotFound(
            f"the folder '{one_line(str(folder))[:200]}' does not exist, expected one for the program to work in",
            hint="See worktree.list for the folders that are there.",
            kind="folder",
            id=one_line(str(folder))[:200],
        )
    # tmux gives a single word to the user's shell, several to the kernel.
    words = ["env", "--", *command] if len(command) == 1 else list(command)
    marks = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    return Program(words, str(folder.absolute()), marks, title, view_only)


def printable(line: str) -> str:
    """The line without control and direction characters and trailing blanks."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "" for one in line).rstrip()
