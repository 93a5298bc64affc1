"""An agent that is coming up while the runner loads and looks around: it takes the longest of all."""

import threading
import time

from codestrator.errors import External
from codestrator.runner import kinds
from codestrator.runner.agent import Agent, AgentSettings, Events

# Codexes that start at once in a new home are in each other's way: what fails soon is tried again.
RESTS = (0.5, 1.0, 2.0)
SOON_SECONDS = 8.0


class Coming:
    """The agent of a kind, being started in a thread of its own."""

    def __init__(self, kind: str, settings: AgentSettings, events: Events) -> None:
        self._kind, self._settings, self._events = kind, settings, events
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._newest: Agent | None = None
        self._there = threading.Event()
        self._agent: Agent | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._bring_up, name="coming", daemon=True).start()

    def agent(self) -> Agent:
        """The agent, once it is up; raises what hindered it."""
        self._there.wait()
        if self._error is not None:
            raise self._error
        assert self._agent is not None
        return self._agent

    def wait(self, seconds: float) -> None:
        """Leave the processor to it for a moment."""
        self._there.wait(seconds)

    def close(self) -> None:
        """End it, up or not."""
        self._closed.set()
        with self._guard:
            newest = self._newest
        if newest is not None:
            newest.close()

    def _bring_up(self) -> None:
        try:
            self._agent = self._started()
        except BaseException as error:
            self._error = error
        self._there.set()

    def _started(self) -> Agent:
        begun = time.monotonic()
        rests = list(RESTS)
        while True:
            with self._guard:
                self._newest = agent = kinds.make(self._kind, self._settings, self._events)
            try:
                agent.start()
                if self._closed.is_set():
                    agent.close()
                return agent
            except External:
                agent.close()
                if not rests or time.monotonic() - begun > SOON_SECONDS or self._closed.wait(_about(rests.pop(0))):
                    raise


def _about(seconds: float) -> float:
    """Others may rest for the same reason: not all at the same time again."""
    from random import uniform  # what nearly never fails need not load it

    return seconds * uniform(0.5, 1.5)
