"""Where a command line stands: its folder, who it speaks for, and the world, opened when a call first needs it."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codestrator.errors import CodestratorError, Internal

if TYPE_CHECKING:
    from codestrator.calls import Seat, Tx
    from codestrator.world import LocalWorld

# Only a child's private file makes a child; the other marks a shell that was started for one.
THREAD_FILE, RUNNER_MODE = "CODESTRATOR_THREAD_FILE", "CODESTRATOR_RUNNER_MODE"
THREAD_FIELD = "thread_id"


class Context:
    """The options that every command takes, and the calls made with them."""

    def __init__(self) -> None:
        self.repo: Path | None = None
        self.session: str | None = os.environ.get("CODESTRATOR_SESSION_ID") or None
        self.thread: str | None = os.environ.get("CODESTRATOR_THREAD_ID") or None
        self.json = False
        self.color = "auto"
        self.method = ""

    @property
    def folder(self) -> Path:
        return self.repo or Path.cwd()

    @cached_property
    def world(self) -> "LocalWorld":
        from codestrator.world import open_world

        return open_world(self.folder)

    @cached_property
    def seat(self) -> "Seat":
        """A child by its private file; else an operator. A shell that was started for a child may only look."""
        from codestrator.calls import Seat

        if place := os.environ.get(THREAD_FILE):
            from codestrator import seats

            try:
                return seats.child_seat(self.world, Path(place))
            except CodestratorError:
                return Seat("bystander")
        return Seat("bystander" if os.environ.get(RUNNER_MODE) == "child" else "operator")

    def call(self, method: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One method, with the session and thread of the command line where it takes them and none were given."""
        from codestrator import registry

        self.method = method
        fields = dict(given or {})
        if self.session and not self.seat.session_id:
            self.seat.session_id = whole_session(self.tx(), self.session)
        if self.thread and self._takes_thread(method):
            fields.setdefault(THREAD_FIELD, self.thread)
        seat = self.seat
        if registry.find(method).kind != "read" and seat.kind == "operator" and self._among_children():
            seat = type(seat)("bystander")
        return registry.call(self.world, seat, method, fields)

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
        """Whether the folder lies in a linked worktree where a live child works."""
        if self.world.bare or self.world.cwd == self.world.repo or not self.world.store.initialised:
            return False
        from codestrator.records import THREAD_ENDED, Thread, Worktree

        tx = self.tx()
        for row in tx.rows(Thread):
            if row.parent_thread_id and row.worktree_id and row.status not in THREAD_ENDED and tx.live.held(row.id):
                worktree = tx.get(Worktree, row.worktree_id)
                place = worktree.places.get(tx.machine) if worktree else None
                if place and self.world.cwd.is_relative_to(self.world.repo / place.path):
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
            hint="Read the report and send it to the project.",
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
