"""Several conversations with Codex over one app-server, one at a time."""

from contextlib import suppress

from codestrator.errors import External
from codestrator.runner.agent import AgentSettings, Events
from codestrator.runner.app_server import OPEN_SECONDS, AppServerAgent
from codestrator.runner.program import Over
from codestrator.runner.rpc import Json, Refusal, Rpc, Silence

LEAVE_SECONDS = 5.0


class Conversations(AppServerAgent):
    """The app-server, in whichever of its conversations the next turn belongs to."""

    def __init__(self, settings: AgentSettings, events: Events) -> None:
        super().__init__(settings, events)
        self._chosen: Json = {}  # what the one at hand was begun with
        self._begun: dict[str, Json] = {}  # the same of all

    @property
    def at_hand(self) -> str:
        """The id of the conversation that the next turn belongs to."""
        return self._thread

    def known(self, conversation: str) -> bool:
        return conversation in self._begun

    def begin_anew(self, chosen: Json) -> None:
        """Turn to an empty conversation that is begun so; the one at hand will do if it is."""
        if self._spoken or not self._thread or chosen != self._chosen:
            self._turn_to("", chosen)

    def go_on(self, conversation: str) -> None:
        """Turn to one that is known."""
        if conversation != self._thread:
            self._turn_to(conversation, self._begun[conversation])

    def _turn_to(self, conversation: str, chosen: Json) -> None:
        rpc, left = self._rpc, self._thread
        self._thread, self._spoken, self._chosen = conversation, bool(conversation), chosen
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
            self._thread, self._spoken = "", False
            raise External(
                f"Codex did not open a conversation: {error or 'it ended'}, expected an answer to the request",
                hint="Call codex again with its defaults.",
                program="codex",
            ) from None

    def _open(self, rpc: Rpc) -> None:
        """Start the conversation or load it; no `cwd`, since Codex would then write the folder down as trusted."""
        chosen: Json = {"approvalPolicy": "never", "sandbox": self._settings.sandbox}
        if self._settings.model:
            chosen["model"] = self._settings.model
        chosen |= self._chosen
        if self._spoken:
            rpc.call("thread/resume", {"threadId": self._thread, "excludeTurns": True, **chosen}, OPEN_SECONDS)
        else:
            opened = rpc.call("thread/start", chosen, OPEN_SECONDS)
            self._thread = str((opened.get("thread") or {}).get("id") or "")
        self._begun[self._thread] = self._chosen
