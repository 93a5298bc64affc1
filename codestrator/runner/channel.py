"""A child's runner and the state: what it reports, what it is told, and how it learns that something has moved."""

import contextlib
import threading
from pathlib import Path
from typing import Any, NamedTuple

from codestrator import registry, seats, threadfiles
from codestrator.calls import Seat
from codestrator.clock import rfc3339
from codestrator.errors import CodestratorError
from codestrator.records import THREAD_ENDED, Thread
from codestrator.runner.agent import Events
from codestrator.text import waits_for
from codestrator.threadfiles import ThreadFile
from codestrator.world import LocalWorld

LOOK_SECONDS = 0.2


class Moved(NamedTuple):
    """The state has moved, or it is time to report."""


class Signalled(NamedTuple):
    """The runner was told to end by a signal."""

    number: int


class Channel:
    """One child's calls, by its own seat."""

    def __init__(self, world: LocalWorld, file: ThreadFile) -> None:
        self.world = world
        self.file = file
        self.seat: Seat = seats.child_seat(world, Path(world.files.root / threadfiles.name_of(file.thread_id)))
        self.id = file.thread_id
        self._over = threading.Event()
        self._said: dict[str, Any] = {}
        self._progress: str | None = None

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        return registry.call(self.world, self.seat, method, given)

    def report(self, **given: Any) -> dict[str, Any]:
        return self.call("thread.child.report", **given)

    def say(self, **changes: Any) -> None:
        """Keep what only says how far it is beside the state; all of it, as the agent's own server writes there too."""
        self._said |= changes
        said = threadfiles.told(self.world.live, self.id)
        for name, value in self._said.items():
            setattr(said, name, value)
        said.reported_at = rfc3339(self.world.now().at)
        threadfiles.tell(self.world.live, self.id, said)
        self.world.live.renew(self.id)

    def show_progress(self, words: str, *, anew: bool = False) -> None:
        """What is seen of its progress, unless the agent itself has told of it since its turn began."""
        said = threadfiles.told(self.world.live, self.id)
        if words and (anew or said.progress in (None, self._progress)):
            self._progress = self._said["progress"] = words
        else:
            self._said.pop("progress", None)
        self.say()

    def thread(self) -> Thread:
        return self.world.store.read().require(Thread, self.id)

    @property
    def ended(self) -> bool:
        return self.thread().status in THREAD_ENDED

    def directives(self, state: str) -> list[dict[str, Any]]:
        """What was sent and is in that state, oldest first."""
        found: list[dict[str, Any]] = self.call("thread.directive.list", state=[state])["items"]
        return found

    def paste(self, words: str) -> bool:
        """Paste into the child's pane if what it shows last is a prompt; whether that was done."""
        pane, tmux = self.thread().tmux_pane_id, self.world.tmux
        if pane is None or self.world.tmux.pane(pane, self.file.tmux_tag) is None:
            return False
        if waits_for(tmux.capture(pane, self.file.tmux_tag, 20)) is None:
            return False
        tmux.paste(pane, self.file.tmux_tag, words)
        return True

    def watch(self, events: Events) -> None:
        """Put `Moved` into the queue whenever the state or the lock book moves."""

        def watching() -> None:
            seen: object = None
            while not self._over.wait(LOOK_SECONDS):
                with contextlib.suppress(CodestratorError):  # the driver meets the same, and knows what to do
                    tips = self.world.store.tips()
                    if tips != seen:
                        seen = tips
                        events.put(Moved())

        threading.Thread(target=watching, name="watch", daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self.world.cancelled.set()
