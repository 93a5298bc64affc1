"""A child's runner and the state: what it reports, what it is told, and how it learns that something has moved."""

import threading
from pathlib import Path
from typing import Any, NamedTuple

from codestrator import registry, seats, threadfiles
from codestrator.calls import Seat
from codestrator.clock import rfc3339
from codestrator.records import THREAD_ENDED, Thread
from codestrator.runner.agent import Events
from codestrator.threadfiles import ThreadFile
from codestrator.world import LocalWorld

WATCH_SECONDS = 30.0


class Moved(NamedTuple):
    """The state has moved, or it is time to report."""


class Channel:
    """One child's calls, by its own seat."""

    def __init__(self, world: LocalWorld, file: ThreadFile) -> None:
        self.world = world
        self.file = file
        self.seat: Seat = seats.child_seat(world, Path(world.files.root / threadfiles.name_of(file.thread_id)))
        self.id = file.thread_id
        self._over = threading.Event()

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        return registry.call(self.world, self.seat, method, given)

    def report(self, **given: Any) -> dict[str, Any]:
        return self.call("thread.child.report", **given)

    def say(self, **changes: Any) -> None:
        """Keep what only says how far it is beside the state."""
        said = threadfiles.told(self.world.live, self.id)
        for name, value in changes.items():
            setattr(said, name, value)
        said.reported_at = rfc3339(self.world.now().at)
        threadfiles.tell(self.world.live, self.id, said)
        self.world.live.renew(self.id)

    def thread(self) -> Thread:
        return self.world.store.read().require(Thread, self.id)

    @property
    def ended(self) -> bool:
        return self.thread().status in THREAD_ENDED

    def directives(self) -> list[dict[str, Any]]:
        """What was sent and not yet taken, oldest first."""
        found: list[dict[str, Any]] = self.call("thread.directive.list", state=["queued"])["items"]
        return found

    def watch(self, events: Events) -> None:
        """Put `Moved` into the queue whenever the state or the lock book moves."""

        def watching() -> None:
            while not self._over.is_set():
                if self.world.wait_for_change(WATCH_SECONDS):
                    events.put(Moved())

        threading.Thread(target=watching, name="watch", daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self.world.cancelled.set()
