"""An agent that is coming up while the runner loads and looks around: it takes the longest of all."""

import random
import threading
import time
from concurrent.futures import Future

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
        self._there: Future[Agent] = Future()
        threading.Thread(target=self._bring_up, name="coming", daemon=True).start()

    def agent(self) -> Agent:
        """The agent, once it is up; raises what hindered it."""
        return self._there.result()

    def close(self) -> None:
        """End it, up or not."""
        self._closed.set()
        with self._guard:
            newest = self._newest
        if newest is not None:
            newest.close()

    def _bring_up(self) -> None:
        try:
            self._there.set_result(self._started())
        except BaseException as error:
            self._there.set_exception(error)

    def _started(self) -> Agent:
        begun = time.monotonic()
        rests = [rest * (0.5 + random.random()) for rest in RESTS]
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
                if not rests or time.monotonic() - begun > SOON_SECONDS or self._closed.wait(rests.pop(0)):
                    raise
