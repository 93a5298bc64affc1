"""Several conversations with Codex over one app-server, one at a time."""

from contextlib import suppress
from typing import NamedTuple, cast

from codestrator.errors import External
from codestrator.runner.agent import AgentSettings, Events
from codestrator.runner.app_server import AppServerAgent
from codestrator.runner.program import Over
from codestrator.runner.rpc import Json, Refusal, Rpc, Silence
from codestrator.runner.turns import Asked

LEAVE_SECONDS = 5.0


class Kept(NamedTuple):
    """What a conversation is opened with again: its prompts, and the choices it was begun with."""

    asked: Asked
    chosen: Json


class Conversations(AppServerAgent):
    """The app-server, in whichever of its conversations the next turn belongs to."""

    def __init__(self, settings: AgentSettings, events: Events) -> None:
        super().__init__(settings, events)
        self._chosen: Json = {}
        self._fresh = True  # nothing was asked yet in the one at hand
        self._kept: dict[str, Kept] = {}

    @property
    def at_hand(self) -> str:
        """The id of the conversation that the next turn belongs to."""
        return self._thread

    def known(self, conversation: str) -> bool:
        return conversation in self._kept

    def begin_anew(self, chosen: Json) -> None:
        """Turn to an empty conversation that is begun so; the one at hand will do if it is."""
        if not self._fresh or not self._thread or chosen != self._chosen:
            self._turn_to("", Kept(Asked(), chosen))
            self._fresh = True

    def go_on(self, conversation: str) -> None:
        """Turn to one that is known."""
        if conversation != self._thread:
            self._turn_to(conversation, self._kept[conversation])

    def begin(self, prompt: str) -> None:
        self._fresh = False
        super().begin(prompt)

    def _turn_to(self, conversation: str, kept: Kept) -> None:
        rpc, left = self._rpc, self._thread
        self._thread, self._fresh = conversation, False
        self._asked, self._chosen = kept
        try:
            if rpc is None:
                self._up()
                return
            with suppress(Refusal):  # Codex need not keep it loaded
                rpc.call("thread/unsubscribe", {"threadId": left}, LEAVE_SECONDS)
            self._open(rpc)
        except (Over, Refusal, Silence) as error:
            if not isinstance(error, Refusal):
                self._kill()
            self._thread, self._asked = "", Asked()
            raise External(
                f"Codex did not open a conversation: {error or 'it ended'}, expected an answer to the request",
                hint="Call codex again with its defaults.",
                program="codex",
            ) from None

    def _open(self, rpc: Rpc) -> None:
        super()._open(cast(Rpc, Opening(rpc, self._chosen)))
        self._kept[self._thread] = Kept(self._asked, self._chosen)


class Opening:
    """Opens a conversation with what was chosen for it; all else is the app-server's own."""

    def __init__(self, rpc: Rpc, chosen: Json) -> None:
        self._rpc = rpc
        self._chosen = chosen

    def call(self, method: str, params: Json, seconds: float) -> Json:
        return self._rpc.call(method, params | self._chosen, seconds)
