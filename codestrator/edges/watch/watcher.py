"""The thread behind the screen: waits for changes, looks, and tells what it saw."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from textual.message import Message

from codestrator.edges.watch import changes
from codestrator.edges.watch.looking import Looker, Seen

REST_SECONDS = 0.1  # at most ten looks a second,
SHARE = 4  # and a rest of four times as long as a look took: a fifth of a core at the most


class Looked(Message):
    """There is a new look."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen


class Watcher:
    """The thread that waits for changes and looks; what comes in a burst is one look."""

    def __init__(self, looker: Looker, interval: float, tell: Callable[[Seen], object]) -> None:
        self._looker, self._interval, self._tell = looker, interval, tell
        self._reported: dict[str, str] = {}  # what was said of each mistake of ours, which is reported once
        self._stopped, self._asked = threading.Event(), threading.Event()
        self._world = looker.context.world.for_call(self._asked)
        self._world.look_seconds = REST_SECONDS
        self._thread = threading.Thread(target=self._run, name="codestrator-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def now(self) -> None:
        """Look at once."""
        self._asked.set()

    def stop(self) -> None:
        self._stopped.set()
        self._asked.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopped.is_set():
            before, begun = changes.tips(self._world), time.monotonic()
            seen = self._look()
            if self._stopped.is_set():
                return
            self._tell(seen)
            took = time.monotonic() - begun
            self._asked.wait(max(REST_SECONDS, SHARE * took))
            changes.wait(self._world, self._interval, before)
            if not self._stopped.is_set():
                self._asked.clear()

    def _look(self) -> Seen:
        try:
            return self._looker.look()
        except Exception as error:  # a mistake of ours is told, and the next look may be good
            about = f"{type(error).__name__}: {error}"
            if about not in self._reported:
                self._reported[about] = self._looker.context.unforeseen(error).message
            return replace(self._looker.seen, errors={"watch": self._reported[about]})
