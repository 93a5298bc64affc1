"""Callers for tests: real processes' seats on a real repository, one function call a method call."""

import subprocess
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from codestrator import registry
from codestrator.calls import Seat
from codestrator.clock import Clock, Moment


class SteeredClock(Clock):
    """The real clocks, moved forward by what the test says; never by waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> Moment:
        real = super().now()
        return Moment(real.at + timedelta(seconds=self.ahead), real.boot_ms + int(self.ahead * 1000), real.boot_id)

    def advance(self, seconds: float) -> None:
        self.ahead += seconds


class Actor:
    """One process as its calls see it: `actor("task.create", level="epic", title="x")`."""

    def __init__(self, folder: Path, *, kind: str = "root", clock: Clock | None = None, **seat: Any) -> None:
        from codestrator.world import open_world  # not needed by tests that have no repository

        self.world = open_world(folder, clock)
        _open.add(self)
        self.seat = Seat(kind=kind, **seat)  # type: ignore[arg-type]
        self.session = self.thread = self.worktree = ""
        self.path = folder

    def __call__(self, method: str, /, **given: Any) -> dict[str, Any]:
        return registry.call(self.world, self.seat, method, given)

    def open(self, **given: Any) -> dict[str, Any]:
        """Open a session and remember its ids."""
        opened = self("session.open", **{"intent": "new_work", "user_request": "Fix the login timeout"} | given)
        context = opened["session_context"]
        self.session = context["session"]["id"]
        self.thread = context["root_thread"]["id"]
        self.worktree = context["session_root_worktree"]["id"]
        self.path = Path(self.world.repo) / context["session_root_worktree"]["path"]
        return opened

    def case(self, *steps: str, **given: Any) -> str:
        """Make an epic, a feature and a case of it; the case's id."""
        epic = self("task.create", level="epic", title="Shop")["task"]["id"]
        feature = self("task.create", level="feature", title="Login", parent_id=epic)["task"]["id"]
        task = self("task.create", level="case", title="Refresh", parent_id=feature, steps=list(steps), **given)
        return str(task["task"]["id"])

    def close(self) -> None:
        """End the process: its kernel locks go, what it wrote stays."""
        _open.discard(self)
        self.world.close()


_open: "weakref.WeakSet[Actor]" = weakref.WeakSet()


def everything(repo: Path) -> str:
    """All refs, worktrees and the status of the main worktree, as one text; notes that still wait are written first."""
    for one in list(_open):
        one.world.notes.flush()
    asked = (["for-each-ref"], ["worktree", "list", "--porcelain"], ["status", "--porcelain", "--ignored"])
    return "\n".join(
        subprocess.run(["git", *one], cwd=repo, capture_output=True, text=True, check=True).stdout for one in asked
    )


@contextmanager
def unchanged(actor: Actor) -> Iterator[None]:
    """Prove that what happens inside leaves every ref, worktree and file as it was."""
    before = everything(Path(actor.world.repo))
    yield
    assert everything(Path(actor.world.repo)) == before
