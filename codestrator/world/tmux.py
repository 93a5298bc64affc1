"""The user's tmux, through libtmux; sessions and panes are ours only if they carry our tag."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codestrator.errors import CodestratorError, External, InvalidParams, Limit, NotFound, WrongState
from codestrator.programs import Pane
from codestrator.text import clean, one_line
from codestrator.world.panes import (
    BLANK,
    IDS,
    PANE_TAG,
    TAG,
    WINDOW_TAG,
    Program,
    Row,
    as_program,
    check_name,
    ids_in,
    largest,
    number,
    numbered,
    ours,
    printable,
    shown,
)

if TYPE_CHECKING:
    from codestrator.world.tmux_commands import BoundedServer

FOLDER = "@codestrator-folder"
SIZE = ("-x", "200", "-y", "60")
MOST_SESSIONS, MOST_WINDOWS = 99, 9
NO_ROOM = ("no space for new pane", "pane too small")


class TmuxServer:
    """`socket` names another server than the user's own."""

    def __init__(self, socket: str | None) -> None:
        self._socket = socket
        self._versions: dict[str, str] = {}

    def version(self) -> tuple[str, str] | None:
        place = shutil.which("tmux")
        if place is None:
            return None
        if place not in self._versions:  # each spawn asks
            done = subprocess.run([place, "-V"], capture_output=True, text=True, check=False, timeout=5)
            self._versions[place] = done.stdout.strip().removeprefix("tmux ").strip() or "unknown"
        return place, self._versions[place]

    def _server(self) -> "BoundedServer":
        from codestrator.world.tmux_commands import BoundedServer

        path = self._socket if self._socket and "/" in self._socket else None
        return BoundedServer(socket_path=path) if path else BoundedServer(socket_name=self._socket)

    def _panes_of(self, name: str) -> list[Row]:
        """The panes of the session of that name; none at all where there is none."""
        return [row for row in self._server().listed() if row.session == name]

    def session_alive(self, name: str) -> bool:
        try:
            return shutil.which("tmux") is not None and bool(self._panes_of(name))
        except External:
            return False

    def end_session(self, name: str, tag: str) -> bool:
        if shutil.which("tmux") is None:
            return False
        rows = self._panes_of(name)
        if not rows or rows[0].session_tag != tag:
            return False
        return self._server().cmd("kill-session", target=rows[0].session_id).returncode == 0

    def ensure_session(
        self, name: str, tag: str, *, folder: Path, overview: Sequence[str], env: Mapping[str, str]
    ) -> str:
        check_name(name)
        program = as_program(overview, folder, env, "overview", view_only=True)
        for candidate in numbered(name, MOST_SESSIONS):
            rows = self._panes_of(candidate)
            if not rows:
                made = self._make_session(candidate, tag, program)
                if made:
                    return made
                rows = self._panes_of(candidate)  # somebody was faster
            if rows and rows[0].session_tag == tag:
                self._revive_overview(rows, tag, program)
                return candidate
        raise Limit(
            f"'{name}' and the {MOST_SESSIONS - 1} names after it belong to other tmux sessions, expected a free one",
            hint="Call again with another name for the tmux session.",
        )

    def _make_session(self, name: str, tag: str, program: Program) -> str | None:
        """Make a session, tagged from its first moment on; its name, None if there is one of that name."""
        server = self._server()
        answer = server.run(
            ["new-session", "-d", "-P", "-F", IDS, "-s", name, "-n", "overview", *SIZE, "--", *BLANK],
            ["set-option", "-t", f"={name}:", TAG, tag],
            # The user may have it that sessions without a viewer end; this one waits for its viewer.
            ["set-option", "-t", f"={name}:", "destroy-unattached", "off"],
            ["set-option", "-w", "-t", f"={name}:=overview", WINDOW_TAG, tag],
            folder=program.folder,
        )
        ids = ids_in(answer.stdout)
        if ids is None:
            if answer.says("duplicate session"):
                return None
            raise answer.failure("new-session")
        session_id, window_id, pane_id = ids
        try:
            # By id once more: a hook of the user's may have given it another name.
            server.must(["set-option", "-t", session_id, TAG, tag], *ours(window_id, tag))
            self._start(session_id, pane_id, tag, program, fresh=True)
            return server.must(["display-message", "-p", "-t", session_id, "#{session_name}"]).stdout[-1]
        except CodestratorError:
            server.cmd("kill-session", target=session_id)
            raise

    def _revive_overview(self, rows: Sequence[Row], tag: str, program: Program) -> None:
        """Start the overview again if it is over, or was never started because whoever made the session was stopped."""
        for row in rows:
            if (row.window, row.window_tag) != ("overview", tag):
                continue
            if row.tag == tag and row.dead == "1":
                self._start(row.session_id, row.id, tag, program)
            elif not row.tag and self._program(row.id) == BLANK[0]:
                self._start(row.session_id, row.id, tag, program, fresh=True)

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
        check_name(window)
        program = as_program(command, folder, env, title, view_only)
        rows = self._panes_of(session)
        if not rows or rows[0].session_tag != tag:
            raise NotFound(
                f"there is no tmux session '{one_line(session)[:100]}' of ours, expected one",
                hint="Call the same method again; the session is made anew.",
                kind="tmux session",
                id=one_line(session)[:100],
            )
        session_id = rows[0].session_id
        for row in rows:
            usable = row.id in reuse and row.tag == tag and row.dead == "1"
            if usable and self._start(session_id, row.id, tag, program):
                return row.id
        pane_id = self._blank(rows, tag, window, program.folder, "-v" if vertical else "-h")
        try:
            self._start(session_id, pane_id, tag, program, fresh=True)
        except CodestratorError:
            self._server().cmd("kill-pane", target=pane_id)
            raise
        return pane_id

    def _blank(self, panes: Sequence[Row], tag: str, window: str, folder: str, split: str) -> str:
        """A new pane in the first window of that name, or that name with a number, which has room for one."""
        server = self._server()
        for name in numbered(window, MOST_WINDOWS):
            rows = _in_window(panes, tag, name)
            if not rows:
                return self._first(panes[0].session_id, tag, name, folder)
            target = largest(rows)
            make = ["split-window", "-d", "-P", "-F", IDS, split, "-t", target.id, "--", *BLANK]
            answer = server.run(make, ["select-layout", "-t", target.window_id, "tiled"], folder=folder)
            ids = ids_in(answer.stdout)
            if ids is not None:
                return ids[2]
            if not answer.says(*NO_ROOM):
                raise answer.failure("split-window")
        raise Limit(
            f"the {MOST_WINDOWS} tmux windows '{window}' have no room for another pane, expected some",
            hint="Call again when a child has ended, or from a larger terminal.",
        )

    def _first(self, session_id: str, tag: str, window: str, folder: str) -> str:
        """The pane of a new window; it moves to one that another process made of that name at the same time."""
        server = self._server()
        passing = _passing_name()
        answer = server.run(
            ["new-window", "-d", "-P", "-F", IDS, "-t", f"{session_id}:", "-n", passing, "--", *BLANK],
            # Marked as it is made: of two, the one made later then sees the other.
            ["set-option", "-w", "-t", f"{session_id}:={passing}", WINDOW_TAG, tag],
            ["rename-window", "-t", f"{session_id}:={passing}", window],
            folder=folder,
        )
        ids = ids_in(answer.stdout)
        if ids is None:
            raise answer.failure("new-window")
        _, window_id, pane_id = ids
        try:
            # By id once more: a hook of the user's may have given it another name.
            server.must(["rename-window", "-t", window_id, window], *ours(window_id, tag))
            panes = [row for row in server.listed() if row.session_id == session_id]
            rows = _in_window(panes, tag, window)
            if rows and rows[0].window_id != window_id:
                target = largest(rows)
                join = ["join-pane", "-d", "-s", pane_id, "-t", target.id]
                server.run(join, ["select-layout", "-t", target.window_id, "tiled"])  # without room it stays
        except CodestratorError:
            server.cmd("kill-pane", target=pane_id)
            raise
        return pane_id

    def _start(self, session_id: str, pane_id: str, tag: str, program: Program, *, fresh: bool = False) -> bool:
        """Run the program in a blank or a dead pane; False if a dead one is in use again, or gone."""
        server = self._server()
        # The folder goes by an option, whose value tmux inserts without looking into it.
        start = ["respawn-pane", *(["-k"] if fresh else []), "-t", pane_id, "-c", f"#{{{FOLDER}}}", *program.marks]
        # A terminal's input and output wait until all of these have run.
        answer = server.run(
            ["set-option", "-t", session_id, FOLDER, program.folder],
            ["set-option", "-p", "-t", pane_id, "remain-on-exit", "on"],
            ["set-option", "-p", "-t", pane_id, PANE_TAG, tag],
            [*start, "--", *program.command],
            ["select-pane", "-t", pane_id, f"-T{shown(program.title) or '-'}"],
            ["select-pane", "-t", pane_id, "-d" if program.view_only else "-e"],
            ["clear-history", "-t", pane_id],
        )
        if not fresh and answer.says("still active", "no such pane", "can't find"):
            return False
        if answer.returncode:
            raise answer.failure("respawn-pane")
        return True

    def _row(self, pane_id: str, tag: str) -> Row | None:
        if shutil.which("tmux") is None:
            return None
        return next((row for row in self._server().listed() if (row.id, row.tag) == (pane_id, tag)), None)

    def _own(self, pane_id: str, tag: str) -> Row:
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
        if row is not None and row.as_pane().dead and row.as_pane().status is None:
            self._reap()
            row = self._row(pane_id, tag)
        return None if row is None else row.as_pane()

    def _reap(self) -> None:
        """Have tmux look for programs that ended: it misses one now and then until the next."""
        answer = self._server().run(["display-message", "-p", "#{pid}"])
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int(answer.stdout[0]), signal.SIGCHLD)

    def capture(self, pane_id: str, tag: str, lines: int) -> str:
        row = self._own(pane_id, tag)
        # A line that is joined again may have been several on the screen.
        answer = self._server().must(["capture-pane", "-p", "-J", "-t", row.id, "-S", str(-4 * lines)])
        found = [printable(line) for line in answer.stdout]
        while found and not found[-1]:
            found.pop()
        return "\n".join(found[-lines:])

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
        name = _passing_name()
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
        return self._program(row.id) if row is not None and row.dead != "1" else None

    def _program(self, pane_id: str) -> str | None:
        """Asked on its own: a program that chooses its name could else pass for the row of another pane."""
        answer = self._server().run(["display-message", "-p", "-t", pane_id, "#{pane_current_command}"])
        return one_line(" ".join(answer.stdout)) or None if not answer.returncode else None


def _in_window(panes: Sequence[Row], tag: str, window: str) -> list[Row]:
    """The panes of our window of that name; of two that were made at the same time, of the older one."""
    rows = [row for row in panes if (row.window, row.window_tag) == (window, tag)]
    oldest = min((row.window_id for row in rows), key=number, default="")
    return [row for row in rows if row.window_id == oldest]


def _passing_name() -> str:
    """A name that nothing else has, for as long as a command takes."""
    return f"codestrator-{os.urandom(6).hex()}"
