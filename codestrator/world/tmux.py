"""The user's tmux, through libtmux; sessions and panes are ours only if they carry our tag."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codestrator.errors import CodestratorError, InvalidParams, Limit, NotFound, WrongState
from codestrator.ports import Pane
from codestrator.text import clean, one_line

if TYPE_CHECKING:
    from codestrator.world.panes import BoundedServer, Program, Row

TAG = "@codestrator"
PANE_TAG, WINDOW_TAG = "@codestrator-pane", "@codestrator-window"
FOLDER = "@codestrator-folder"
SIZE = ("-x", "200", "-y", "60")
# What a pane runs until it is tagged, titled and closed to input. Two words: one alone would go to the user's shell.
BLANK = ("cat", "-")
MOST_SESSIONS, MOST_WINDOWS = 99, 9
NO_ROOM = ("no space for new pane", "pane too small")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_IDS = re.compile(r"(\$[0-9]+) (@[0-9]+) (%[0-9]+)")
IDS = "#{session_id} #{window_id} #{pane_id}"


class TmuxServer:
    """`socket` names another server than the user's own."""

    def __init__(self, socket: str | None) -> None:
        self._socket = socket

    def version(self) -> tuple[str, str] | None:
        place = shutil.which("tmux")
        if place is None:
            return None
        done = subprocess.run([place, "-V"], capture_output=True, text=True, check=False, timeout=5)
        return str(Path(place)), done.stdout.strip().removeprefix("tmux ").strip() or "unknown"

    def _server(self) -> "BoundedServer":
        from codestrator.world.panes import BoundedServer

        path = self._socket if self._socket and "/" in self._socket else None
        return BoundedServer(socket_path=path) if path else BoundedServer(socket_name=self._socket)

    def _sessions(self) -> dict[str, tuple[str, str]]:
        """Id and tag of each session, by name."""
        rows = self._server().rows("list-sessions", fields=("session_id", TAG, "session_name"))
        return {name: (session_id, tag) for session_id, tag, name in rows}

    def session_alive(self, name: str) -> bool:
        return shutil.which("tmux") is not None and name in self._sessions()

    def end_session(self, name: str, tag: str) -> bool:
        if shutil.which("tmux") is None:
            return False
        session_id, found = self._sessions().get(name, ("", ""))
        if not session_id or found != tag:
            return False
        return self._server().cmd("kill-session", target=session_id).returncode == 0

    def ensure_session(
        self, name: str, tag: str, *, folder: Path, overview: Sequence[str], env: Mapping[str, str]
    ) -> str:
        from codestrator.world import panes

        _check_name(name)
        program = panes.program(overview, folder, env, "overview", view_only=True)
        for candidate in _numbered(name, MOST_SESSIONS):
            session_id, found = self._sessions().get(candidate, ("", ""))
            if not session_id:
                made = self._make_session(candidate, tag, program)
                if made:
                    return made
                session_id, found = self._sessions().get(candidate, ("", ""))  # somebody was faster
            if session_id and found == tag:
                self._revive_overview(session_id, tag, program)
                return candidate
        raise Limit(
            f"'{name}' and the {MOST_SESSIONS - 1} names after it belong to other tmux sessions, expected a free one",
            hint="Call again with another name for the tmux session.",
        )

    def _make_session(self, name: str, tag: str, program: "Program") -> str | None:
        """Make a session, tagged from its first moment on; its name, None if there is one of that name."""
        server = self._server()
        answer = server.run(
            ["new-session", "-d", "-P", "-F", IDS, "-s", name, "-n", "overview", *SIZE, "--", *BLANK],
            ["set-option", "-t", f"={name}:", TAG, tag],
            # The user may have it that sessions without a viewer end; this one waits for its viewer.
            ["set-option", "-t", f"={name}:", "destroy-unattached", "off"],
            folder=program.folder,
        )
        ids = _ids(answer.stdout)
        if ids is None:
            if answer.says("duplicate session"):
                return None
            raise answer.failure("new-session")
        session_id, window_id, pane_id = ids
        try:
            # By id once more: a hook of the user's may have given it another name.
            server.must(["set-option", "-t", session_id, TAG, tag], *_ours(window_id, tag))
            self._start(session_id, pane_id, tag, program, fresh=True)
            return server.must(["display-message", "-p", "-t", session_id, "#{session_name}"]).stdout[-1]
        except CodestratorError:
            server.cmd("kill-session", target=session_id)
            raise

    def _revive_overview(self, session_id: str, tag: str, program: "Program") -> None:
        for row in self._server().listed():
            if (row.session_id, row.window, row.tag, row.dead) == (session_id, "overview", tag, "1"):
                self._start(session_id, row.id, tag, program)

    def open_pane(
        self,
        session: str,
        tag: str,
        *,
        window: str,
        folder: Path,
        command: Sequence[str],
        env: Mapping[str, str],
        title: str,
        vertical: bool,
        view_only: bool,
        reuse: Sequence[str] = (),
    ) -> str:
        from codestrator.world import panes

        _check_name(window)
        program = panes.program(command, folder, env, title, view_only)
        session_id, found = self._sessions().get(session, ("", ""))
        if not session_id or found != tag:
            raise NotFound(
                f"there is no tmux session '{one_line(session)[:100]}' of ours, expected one",
                hint="Call the same method again; the session is made anew.",
                kind="tmux session",
                id=one_line(session)[:100],
            )
        for row in self._server().listed() if reuse else ():
            usable = row.id in reuse and row.session_id == session_id and row.tag == tag and row.dead == "1"
            if usable and self._start(session_id, row.id, tag, program):
                return row.id
        pane_id = self._blank(session_id, tag, window, program.folder, "-v" if vertical else "-h")
        try:
            self._start(session_id, pane_id, tag, program, fresh=True)
        except CodestratorError:
            self._server().cmd("kill-pane", target=pane_id)
            raise
        return pane_id

    def _blank(self, session_id: str, tag: str, window: str, folder: str, split: str) -> str:
        """A new pane in the first window of that name, or that name with a number, which has room for one."""
        server = self._server()
        for name in _numbered(window, MOST_WINDOWS):
            rows = [row for row in server.listed() if row.session_id == session_id and row.window == name]
            rows = [row for row in rows if row.window_tag == tag]
            if not rows:
                make = ["new-window", "-d", "-P", "-F", IDS, "-t", f"{session_id}:", "-n", name, "--", *BLANK]
                answer = server.run(make, folder=folder)
                ids = _ids(answer.stdout)
                if ids is None:
                    raise answer.failure("new-window")
                server.must(*_ours(ids[1], tag))
                return ids[2]
            largest = max(rows, key=lambda row: int(row.width) * int(row.height))
            make = ["split-window", "-d", "-P", "-F", IDS, split, "-t", largest.id, "--", *BLANK]
            answer = server.run(make, ["select-layout", "-t", largest.window_id, "tiled"], folder=folder)
            ids = _ids(answer.stdout)
            if ids is not None:
                return ids[2]
            if not answer.says(*NO_ROOM):
                raise answer.failure("split-window")
        raise Limit(
            f"the {MOST_WINDOWS} tmux windows '{window}' have no room for another pane, expected some",
            hint="Call again when a child has ended, or from a larger terminal.",
        )

    def _start(self, session_id: str, pane_id: str, tag: str, program: "Program", *, fresh: bool = False) -> bool:
        """Run the program in a blank or a dead pane; False if a dead one is in use again, or gone."""
        from codestrator.world.panes import shown

        server = self._server()
        # The folder goes by an option, whose value tmux inserts without looking into it.
        start = ["respawn-pane", *(["-k"] if fresh else []), "-t", pane_id, "-c", f"#{{{FOLDER}}}", *program.marks]
        answer = server.run(
            ["set-option", "-t", session_id, FOLDER, program.folder],
            # Nothing reaches the program before the last of these has run.
            [*start, *(["--", *program.command] if program.command else [])],
            ["set-option", "-p", "-t", pane_id, "remain-on-exit", "on"],
            ["set-option", "-p", "-t", pane_id, PANE_TAG, tag],
            ["select-pane", "-t", pane_id, f"-T{shown(program.title) or '-'}"],
            ["select-pane", "-t", pane_id, "-d" if program.view_only else "-e"],
            ["clear-history", "-t", pane_id],
        )
        if not fresh and answer.says("still active", "can't find"):
            return False
        if answer.returncode:
            raise answer.failure("respawn-pane")
        return True

    def _row(self, pane_id: str, tag: str) -> "Row | None":
        if shutil.which("tmux") is None:
            return None
        return next((row for row in self._server().listed() if (row.id, row.tag) == (pane_id, tag)), None)

    def _own(self, pane_id: str, tag: str) -> "Row":
        row = self._row(pane_id, tag)
        if row is None:
            raise NotFound(
                f"there is no tmux pane '{one_line(pane_id)[:40]}' of ours, expected one",
                hint="Ask thread.child.status what became of the child.",
                kind="tmux pane",
                id=one_line(pane_id)[:40],
            )
        return row

    def pane(self, pane_id: str, tag: str) -> Pane | None:
        row = self._row(pane_id, tag)
        if row is None:
            return None
        dead = row.dead == "1"
        status = int(row.status) if row.status else 128 + int(row.signal) if row.signal.isdigit() else None
        return Pane(
            row.id, row.session, row.window, int(row.pid or 0), dead, status if dead else None, row.input_off == "1"
        )

    def capture(self, pane_id: str, tag: str, lines: int) -> str:
        from codestrator.world.panes import printable

        row = self._own(pane_id, tag)
        # A line that is joined again may have been several on the screen.
        answer = self._server().must(["capture-pane", "-p", "-J", "-t", row.id, "-S", str(-4 * lines)])
        shown = [printable(line) for line in answer.stdout]
        while shown and not shown[-1]:
            shown.pop()
        return "\n".join(shown[-lines:])

    def end_pane(self, pane_id: str, tag: str) -> bool:
        row = self._row(pane_id, tag)
        if row is None or self._server().cmd("kill-pane", target=row.id).returncode:
            return False
        self._server().cmd("select-layout", "tiled", target=row.window_id)  # fails with the last pane's window
        return True

    def paste(self, pane_id: str, tag: str, text: str) -> None:
        # Without escapes the text cannot end the bracket early; a tab would ask a shell to complete.
        plain = clean(text).replace("\t", "    ")
        if not plain:
            raise InvalidParams("the text is empty, expected something to paste", hint="Give some text.", field="text")
        row = self._own(pane_id, tag)
        if row.dead == "1":
            raise WrongState(
                f"the program of tmux pane '{row.id}' is over, expected a running one",
                hint="Restart the child with thread.child.directive in mode restart.",
                found="dead",
                expected="running",
            )
        server = self._server()
        name = f"codestrator-{os.urandom(6).hex()}"
        closed = row.input_off == "1"
        server.must(["load-buffer", "-b", name, "-"], stdin=plain)
        try:
            server.must(
                *([["select-pane", "-t", row.id, "-e"]] if closed else []),
                ["copy-mode", "-q", "-t", row.id],  # else Enter would go to the viewer's scrolling
                ["paste-buffer", "-p", "-d", "-b", name, "-t", row.id],
                ["send-keys", "-t", row.id, "Enter"],
                *([["select-pane", "-t", row.id, "-d"]] if closed else []),
            )
        except CodestratorError:
            for undo in ["delete-buffer", "-b", name], ["select-pane", "-t", row.id, "-d" if closed else "-e"]:
                server.run(undo)
            raise

    def foreground(self, pane_id: str, tag: str) -> str | None:
        row = self._row(pane_id, tag)
        return (row.program or None) if row is not None and row.dead != "1" else None


def _numbered(name: str, most: int) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, most + 1))


def _ids(lines: Sequence[str]) -> tuple[str, str, str] | None:
    """Session, window and pane as tmux printed them, beside which a hook of the user's may have printed, too."""
    for line in lines:
        found = _IDS.fullmatch(line)
        if found:
            return found[1], found[2], found[3]
    return None


def _ours(window_id: str, tag: str) -> list[list[str]]:
    """What makes a window ours: it keeps its name, and tells its panes apart by their titles."""
    options = {
        WINDOW_TAG: tag,
        "automatic-rename": "off",
        "allow-rename": "off",
        "pane-border-status": "top",
        "pane-border-format": " #{pane_title} ",
    }
    return [["set-option", "-w", "-t", window_id, name, value] for name, value in options.items()]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        found = one_line(name)[:200]
        raise InvalidParams(
            f"'{found}' is no name for a tmux session or window, expected letters, digits, '-' and '_'",
            hint="Give a name of letters, digits, '-' and '_'.",
            found=found,
        )
