"""What is said to tmux of panes and read from it: words that it cannot take for its own, and rows of its lists."""

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from codestrator.errors import InvalidParams, NotFound
from codestrator.programs import Pane
from codestrator.text import one_line, shorten

# What a pane runs while it is empty. Two words: a single one would go to the user's shell.
BLANK = ("cat", "-")
TITLE = 80
IDS = "#{session_id} #{window_id} #{pane_id}"
TAG, PANE_TAG, WINDOW_TAG = "@codestrator", "@codestrator-pane", "@codestrator-window"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_IDS = re.compile(r"(\$[0-9]+) (@[0-9]+) (%[0-9]+)")
_MARK = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# `#` begins a format, a command or a style unless a digit follows, as in `#12`.
_FORMAT = re.compile(r"#(?![0-9])")


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
    session_tag: str
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

    def as_pane(self) -> Pane:
        dead = self.dead == "1"
        status = (int(self.status) if self.status else _of_signal(self.signal)) if dead else None
        return Pane(self.id, self.session, self.window, int(self.pid or 0), dead, status, self.input_off == "1")


FIELDS = (
    "pane_id",
    PANE_TAG,
    "session_id",
    "session_name",
    TAG,
    "window_id",
    "window_name",
    WINDOW_TAG,
    "pane_pid",
    "pane_dead",
    "pane_dead_status",
    "pane_dead_signal",
    "pane_input_off",
    "pane_width",
    "pane_height",
)


def _of_signal(found: str) -> int | None:
    """128 and the signal, which tmux calls by number or by name without SIG."""
    if found.isdigit():
        return 128 + int(found)
    return next((128 + one for one in signal.Signals if one.name == f"SIG{found.upper()}"), None)


def shown(text: str) -> str:
    """A title that stays words however often tmux expands it: a wide number sign replaces one that would mean more."""
    return _FORMAT.sub("\uff03", shorten(one_line(text), TITLE))


def as_program(command: Sequence[str], folder: Path, env: Mapping[str, str], title: str, view_only: bool) -> Program:
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
    words = ["env", "--", *command] if len(command) == 1 else list(command or BLANK)
    marks = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    return Program(words, str(folder.absolute()), marks, title, view_only)


def printable(line: str) -> str:
    """The line without control and direction characters and trailing blanks."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "" for one in line).rstrip()


def numbered(name: str, most: int) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, most + 1))


def ids_in(lines: Sequence[str]) -> tuple[str, str, str] | None:
    """Session, window and pane as tmux printed them, beside which a hook of the user's may have printed, too."""
    for line in lines:
        found = _IDS.fullmatch(line)
        if found:
            return found[1], found[2], found[3]
    return None


def largest(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: int(row.width) * int(row.height))


def number(tmux_id: str) -> int:
    return int(tmux_id[1:])


def ours(window_id: str, tag: str) -> list[list[str]]:
    """What makes a window ours: it keeps its name, and tells its panes apart by their titles."""
    options = {
        WINDOW_TAG: tag,
        "automatic-rename": "off",
        "allow-rename": "off",
        "pane-border-status": "top",
        "pane-border-format": " #{pane_title} ",
    }
    return [["set-option", "-w", "-t", window_id, name, value] for name, value in options.items()]


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        found = one_line(name)[:200]
        raise InvalidParams(
            f"'{found}' is no name for a tmux session or window, expected letters, digits, '-' and '_'",
            hint="Give a name of letters, digits, '-' and '_'.",
            found=found,
        )
