"""An agent's turn, whatever its program: begun once, ended once, cancelled when that is asked or when it is silent."""

import threading
import time
from collections.abc import Callable

from codestrator.runner.agent import AgentSettings, Event, Events, Gone, Said, TurnEnded, TurnStarted

# So many words may wait to be shown; a program that floods its pane is cut short, what matters is never left out.
WAITING_EVENTS = 5000
LATEST_PROMPTS = 3


class Turns:
    """The turn that may run, minded by a thread that calls `cancel` and tells how the turn ended.

    `cancel` brings the program to end the turn within 9 s or ends the program; it waits with `wait_for_end`.
    """

    def __init__(self, settings: AgentSettings, events: Events, cancel: Callable[[], None]) -> None:
        self._events = events
        self._idle = settings.idle_seconds
        self._cancel = cancel
        self._changed = threading.Condition()
        self._runs = False
        self._wanted = False  # that it be cancelled
        self._cancelling = False
        self._end: TurnEnded | None = None
        self._gone: Gone | None = None
        self._closed = False
        self._left_out = False
        self._heard = 0.0
        self._minder = threading.Thread(target=self._mind, name="turns", daemon=True)

    def open(self) -> None:
        self._minder.start()

    def close(self) -> None:
        """From now on nothing is told, and nothing cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def begin(self) -> None:
        with self._changed:
            assert not self._runs, "one turn at a time"
            self._runs, self._wanted, self._end = True, False, None
            self._heard = time.monotonic()
            self._changed.notify_all()

    def withdraw(self) -> None:
        """The turn that was to begin did not: the program was gone."""
        with self._changed:
            if not self._cancelling:
                self._runs = self._wanted = False

    def begun(self, turn_id: str) -> None:
        """The program says that a turn has begun; it may do so on its own."""
        with self._changed:
            if not self._runs:
                self._runs, self._wanted, self._end = True, False, None
            self._heard = time.monotonic()
            self._tell(TurnStarted(turn_id))
            self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self._wanted = self._runs
            self._changed.notify_all()

    def heard(self) -> None:
        """The program gave a sign of life."""
        self._heard = time.monotonic()

    def said(self, words: str) -> None:
        if not words:
            return
        if self._events.qsize() < WAITING_EVENTS:
            self._left_out = False
            self.tell(Said(words))
        elif not self._left_out:
            self._left_out = True
            self.tell(Said("? more was said than can be shown"))

    def tell(self, event: Event) -> None:
        with self._changed:
            self._tell(event)

    def ended(self, end: TurnEnded) -> None:
        """The program says how the turn ended."""
        with self._changed:
            if not self._runs or self._end is not None:
                return
            self._end = end
            if not self._cancelling:
                self._finish(end)
            self._changed.notify_all()

    def gone(self, status: int, news: bool) -> None:
        """The program is over; that is `news` unless we ended it."""
        with self._changed:
            if self._cancelling:
                self._end = self._end or TurnEnded("interrupted")
                self._gone = Gone(status) if news else None
            elif news:
                self._runs = False
                self._tell(Gone(status))
            self._changed.notify_all()

    def wait_for_end(self, seconds: float) -> bool:
        """Whether the turn that is being cancelled has ended; waits so long at most."""
        with self._changed:
            return self._changed.wait_for(lambda: self._end is not None or self._closed, seconds)

    def _mind(self) -> None:
        while (silent := self._wait_for_reason()) is not None:
            self._cancel()
            with self._changed:
                self._cancelling = False
                end = self._end or TurnEnded("interrupted")
                if silent:
                    end = TurnEnded("failed", error=f"silent for {self._idle:g} s")
                self._finish(end)
                if self._gone:
                    self._tell(self._gone)
                    self._gone = None

    def _wait_for_reason(self) -> bool | None:
        """Wait until a turn has to be cancelled: whether because it is silent; None at the end."""
        with self._changed:
            while not self._closed:
                left = self._heard + self._idle - time.monotonic()
                if self._runs and (self._wanted or left <= 0):
                    self._cancelling = True
                    return not self._wanted
                self._changed.wait(left if self._runs else None)
            return None

    def _finish(self, end: TurnEnded) -> None:
        self._runs = self._wanted = False
        self._tell(end)

    def _tell(self, event: Event) -> None:
        if not self._closed:
            self._events.put(event)


class Asked:
    """The prompts of a conversation, the first and the latest, in case the program loses them when it dies."""

    def __init__(self) -> None:
        self.spoken = False  # there is a conversation to be loaded
        self._prompts: list[str] = []
        self._sure = True
        self._again: list[str] = []

    def with_lost(self, prompt: str) -> list[str]:
        """What has to be said for `prompt` to be understood."""
        return [*self._again, prompt]

    def heard(self, prompt: str) -> None:
        """The program took it; whether it wrote it down is known later."""
        self.spoken, self._sure, self._again = True, False, []
        first, *later = [*self._prompts, prompt]
        self._prompts = [first, *later[-LATEST_PROMPTS:]]

    def answered(self) -> None:
        """The agent acts on it: it is part of the conversation."""
        self._sure = True

    def reloaded(self) -> None:
        """The conversation was loaded by a new process; the last prompt may not be in it."""
        if not self._sure:
            self._again = self._prompts[-1:]

    def lose(self) -> None:
        """There is nothing to be loaded."""
        self.spoken, self._again = False, list(self._prompts)
