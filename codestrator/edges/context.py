"""Where a command line stands: its folder, who it speaks for, and the world, opened when a call first needs it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codestrator.errors import CodestratorError, Internal, WrongState

if TYPE_CHECKING:
    from codestrator.calls import Seat, Tx
    from codestrator.world import LocalWorld

SESSION, THREAD = "CODESTRATOR_SESSION_ID", "CODESTRATOR_THREAD_ID"
# Only a child's private file makes a child; the other two mark a process that was started for one.
THREAD_FILE, RUNNER_MODE, THREAD_ROLE = "CODESTRATOR_THREAD_FILE", "CODESTRATOR_RUNNER_MODE", "CODESTRATOR_THREAD_ROLE"
THREAD_FIELD = "thread_id"
FORGIVING = "doctor.check"  # it is called where settings are wrong and state is damaged


class Context:
    """The options that every command takes, and the calls made with them."""

    def __init__(self) -> None:
        self.repo: Path | None = None
        self.session: str | None = os.environ.get(SESSION) or None
        self.thread: str | None = os.environ.get(THREAD) or None
        self.json = False
        self.looking = False  # for completion: write nothing, and stand wrong settings
        self.color = "auto"
        self.method = ""
        self.unproven: CodestratorError | None = None

    @property
    def folder(self) -> Path:
        try:
            return self.repo or Path.cwd()
        except FileNotFoundError:
            raise WrongState(
                "the folder that this shell is in was removed, expected one in a git repository",
                hint="Go into a repository, or name one with --repo.",
                found="a removed folder",
                expected="a git repository",
            ) from None

    @cached_property
    def world(self) -> "LocalWorld":
        from codestrator.world import open_world

        return open_world(self.folder, forgiving=self.looking or self.method == FORGIVING)

    @cached_property
    def seat(self) -> "Seat":
        """A child by its private file; a bystander by marks that prove nothing, or where a child works; an operator."""
        from codestrator.calls import Seat

        world = self.world  # where there is no repository, that is what to tell
        try:
            found = marked_seat(world, os.environ)
        except CodestratorError as error:
            self.unproven = error
            return Seat("bystander")
        return found or Seat("bystander" if self._among_children() else "operator")

    def call(self, method: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One method, with the session and thread of the command line where it takes them and none were given."""
        from codestrator import registry

        self.method = method
        fields = dict(given or {})
        if self.seat.kind == "child":
            self._speak_for_itself()
        elif self.session and not self.seat.session_id and method != FORGIVING:
            self.seat.session_id = whole_session(self.tx(), self.session)
        if self.thread and self.seat.kind != "child" and self._takes_thread(method):
            fields.setdefault(THREAD_FIELD, self.thread)
        if self.unproven and registry.find(method).kind != "read":
            raise self.unproven
        return registry.call(self.world, self.seat, method, fields)

    def _speak_for_itself(self) -> None:
        """Refuse a child that names another session or thread on its command line; its environment only informs."""
        from codestrator.errors import Forbidden
        from codestrator.ids import is_start

        seat = self.seat
        for option, given, own, known in (
            ("--session", self.session, seat.session_id, os.environ.get(SESSION)),
            ("--thread", self.thread, seat.thread_id, os.environ.get(THREAD)),
        ):
            if given and given != known and not (is_start(given) and str(own).startswith(given)):
                raise Forbidden(
                    f"'{option}' is '{given[:80]}', expected '{own}' of the child whose shell this is",
                    hint=f"Leave '{option}' out.",
                    role=seat.role,
                    needs=own,
                )

    def _takes_thread(self, method: str) -> bool:
        """Whether a thread can be named; not where it would only filter a list."""
        from codestrator import registry

        known = {shape.name for shape in registry.shapes(registry.find(method).name)}
        return THREAD_FIELD in known and "cursor" not in known

    def tx(self) -> "Tx":
        """The present picture, for completion and for checks of this side."""
        from codestrator import seats
        from codestrator.calls import Tx

        caller = seats.describe(self.world, self.seat, None)
        return Tx(self.world.store.read(), caller, self.world.live, self.world.settings, (str(self.world.repo),))

    def _among_children(self) -> bool:
        """Whether this shell, or the folder it names, lies in a worktree where a live child works."""
        folders = {self.world.cwd}
        with suppress(OSError):  # a folder that was removed is in no worktree
            folders.add(Path.cwd())
        if folders <= {self.world.repo} or not self.world.store.initialised:
            return False
        from codestrator import seats
        from codestrator.records import THREAD_ENDED, Thread, Worktree

        try:
            tx = seats.look(self.world, seats.NOBODY)
        except CodestratorError:
            if self.method != FORGIVING:
                raise
            return False  # what cannot be read names no child; and there is nothing else that this call could do
        for row in tx.rows(Thread):
            if row.parent_thread_id and row.worktree_id and row.status not in THREAD_ENDED and tx.live.held(row.id):
                worktree = tx.get(Worktree, row.worktree_id)
                place = worktree.places.get(tx.machine) if worktree else None
                if place and any(one.is_relative_to((self.world.repo / place.path).resolve()) for one in folders):
                    return True
        return False

    def unforeseen(self, error: Exception) -> CodestratorError:
        """Write what happened where the user can find it; what the call was given stays out of it."""
        import traceback

        from codestrator import __version__, ids

        number = ids.mint("op")
        text = f"codestrator {__version__}, {self.method}, {number}\n" + "".join(traceback.format_exception(error))
        place = "standard error"
        try:
            self.world.files.write(f"reports/{number}.txt", text.encode("utf-8", "backslashreplace"))
            place = str(self.world.files.root / "reports" / f"{number}.txt")
        except (CodestratorError, OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
        return Internal(
            f"'{self.method or 'command'}' met something unforeseen ({type(error).__name__}), nothing was published",
            hint=f"Read the report ({place}) and send it to the project.",
            report=place,
        )

    def coloured(self) -> bool:
        """Whether a terminal gets colour: `--color`, then `NO_COLOR`, then git's own settings."""
        if self.color != "auto" or os.environ.get("NO_COLOR"):
            return self.color == "always"
        try:
            git = self.world.git
            wanted = git.config("color.codestrator") or git.config("color.ui", "auto")
        except CodestratorError:
            return True
        return wanted.lower() not in ("never", "false", "no", "off", "0")

    def close(self) -> None:
        if "world" in self.__dict__:
            self.world.close()


def marked_seat(world: "LocalWorld", marks: Mapping[str, str]) -> "Seat | None":
    """The child that these marks prove; a bystander where they only claim one; None without any.

    `forbidden` or `wrong_state` where they name a private file that is not good, or not any more.
    """
    from codestrator import seats
    from codestrator.calls import Seat
    from codestrator.table import ROOT_ROLES

    if place := marks.get(THREAD_FILE):
        return seats.child_seat(world, Path(place))
    claimed = marks.get(RUNNER_MODE) == "child" or (marks.get(THREAD_ROLE) or ROOT_ROLES[0]) not in ROOT_ROLES
    return Seat("bystander") if claimed else None


def whole_session(tx: "Tx", given: str) -> str:
    """The whole id of a session; refuses what is none."""
    from codestrator import ids, registry
    from codestrator.errors import InvalidParams

    if not (ids.is_start(given) and given.startswith("ses-")):
        raise InvalidParams(
            f"'--session' is '{given[:80]}', expected an id or its beginning: 'ses-…'",
            field="session_id",
            found=given[:80],
            expected="'ses-…'",
        )
    return registry.whole_id(tx, given, "session_id")
