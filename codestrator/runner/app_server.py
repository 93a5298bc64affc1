"""An agent on `codex app-server`: one process for one child, started in the child's folder."""

import shlex
import time
from contextlib import suppress
from typing import Any

from codestrator import __version__
from codestrator.errors import External
from codestrator.runner import codex, saying
from codestrator.runner.agent import AgentSettings, Events, Tokens, TurnEnded
from codestrator.runner.program import Over, Program
from codestrator.runner.rpc import Ears, Json, Refusal, Rpc, Silence
from codestrator.runner.turns import Asked, Turns

INITIALIZE_SECONDS = 30.0
OPEN_SECONDS = codex.MCP_STARTUP_SECONDS + 30.0  # the thread waits for our MCP server
BEGIN_SECONDS = 30.0
OVER_SECONDS = 2.0
CANCEL_SECONDS = 6.0
CLEAN_SECONDS = 1.0
KILLED_SECONDS = 1.0
AGAIN_SECONDS = 0.2
# What the server asks is answered with no: nobody is there to be asked.
NO: dict[str, Json] = {
    "item/commandExecution/requestApproval": {"decision": "decline"},
    "item/fileChange/requestApproval": {"decision": "decline"},
    "item/permissions/requestApproval": {"permissions": {}},
    "item/tool/requestUserInput": {"answers": {}},
    "mcpServer/elicitation/request": {"action": "decline", "content": None},
    "applyPatchApproval": {"decision": "denied"},
    "execCommandApproval": {"decision": "denied"},
}


class AppServerAgent:
    """Codex, spoken to directly; its conversation outlives its process."""

    def __init__(self, settings: AgentSettings, events: Events) -> None:
        self._settings = settings
        self._turns = Turns(settings, events, self._cancel)
        self._rpc: Rpc | None = None  # the one that is up
        self._program: Program | None = None  # the newest, up or not
        self._thread = ""
        self._turn = ""
        self._toolless = False  # its server of ours died, and Codex starts none again
        self._asked = Asked()
        self._last_message = ""

    def start(self) -> None:
        self._turns.open()
        self._up()

    def begin(self, prompt: str) -> None:
        self._last_message = self._turn = ""
        try:
            rpc = self._rpc if self._rpc and not self._toolless else self._up()
        except External as error:
            self._turns.tell(TurnEnded("failed", error=error.message))
            return
        self._turns.begin()
        words = [{"type": "text", "text": one} for one in self._asked.with_lost(prompt)]
        try:
            answer = rpc.call("turn/start", {"threadId": self._thread, "input": words}, BEGIN_SECONDS)
            self._turn = self._turn or str((answer.get("turn") or {}).get("id") or "")
            self._asked.heard(prompt)
        except Refusal as error:
            self._turns.ended(TurnEnded("failed", error=str(error)))
        except (Over, Silence) as error:
            if isinstance(error, Over) and not rpc.program.given_up and rpc.program.over(OVER_SECONDS):
                self._turns.withdraw()  # its end is news, and told as such
                return
            self._kill()
            self._turns.ended(TurnEnded("failed", error=str(error) or "the program reads no more"))

    def interrupt(self) -> None:
        self._turns.cancel()

    def resume(self) -> None:
        self._kill()
        self._up()

    def close(self) -> int | None:
        self._turns.close()
        return self._program.end() if self._program else None

    def _up(self) -> Rpc:
        """A new process with our thread loaded."""
        if self._program:
            self._program.end()
        command = [*self._settings.program, "app-server", *codex.overrides(self._settings)]
        ears = Ears(self._notified, lambda method, params: NO.get(method), self._ended, self._settings.log)
        rpc = Rpc(command, self._settings.folder, self._settings.environment, ears)
        self._program = rpc.program
        try:
            client = {"name": "codestrator", "title": "codestrator", "version": __version__}
            hello = {"clientInfo": client, "capabilities": {"experimentalApi": True}}
            rpc.call("initialize", hello, INITIALIZE_SECONDS)
            rpc.notify("initialized")
            self._open(rpc)
            if not rpc.program.vouch():
                raise Over
        except (Over, Refusal, Silence) as error:
            raise self._bad_start(error, rpc.program) from None
        self._rpc, self._toolless = rpc, False
        return rpc

    def _bad_start(self, error: Exception, program: Program) -> External:
        status = program.end()
        found = str(error) or f"it ended with status {status}"
        hint = "Read details.stderr_tail; try the same with `codex exec` in the worktree."
        if "MCP server" in found:  # Codex does not hand on what the server said
            hint = f"Run the server by hand in the worktree: {shlex.join(self._settings.mcp_command)}"
        return External(
            f"codex app-server did not come up: {found}, expected it to open a thread",
            hint=hint,
            program="codex",
            exit_status=status,
            stderr_tail=program.last_words or None,
        )

    def _open(self, rpc: Rpc) -> None:
        """Start the thread or load it; no `cwd`, since Codex would then write the folder down as trusted."""
        chosen: Json = {"approvalPolicy": "never", "sandbox": self._settings.sandbox}
        if self._settings.model:
            chosen["model"] = self._settings.model
        if self._settings.instructions:
            chosen["developerInstructions"] = self._settings.instructions
        if self._asked.spoken:
            try:
                rpc.call("thread/resume", {"threadId": self._thread, "excludeTurns": True, **chosen}, OPEN_SECONDS)
                self._asked.reloaded()
                return
            except Refusal as error:  # a kill comes before Codex has written its conversation down
                if not codex.conversation_lost(str(error)):
                    raise
                self._asked.lose()
                self._turns.said(saying.notice(f"the conversation begins anew: {error}"))
        opened = rpc.call("thread/start", chosen, OPEN_SECONDS)
        self._thread = str((opened.get("thread") or {}).get("id") or "")

    def _cancel(self) -> None:
        """A turn that was accepted and has not yet begun cannot be interrupted: ask again until it has ended."""
        rpc, end = self._rpc, time.monotonic() + CANCEL_SECONDS
        with suppress(Over):
            while rpc and time.monotonic() < end and not self._turns.wait_for_end(0):
                with suppress(Refusal, Silence):
                    rpc.call("turn/interrupt", {"threadId": self._thread, "turnId": self._turn}, 1.0)
                self._turns.wait_for_end(AGAIN_SECONDS)
            if rpc and self._turns.wait_for_end(0) and self._clean(rpc):
                return
        self._kill()
        self._turns.wait_for_end(KILLED_SECONDS)

    def _clean(self, rpc: Rpc) -> bool:
        """An interrupt leaves shells running."""
        try:
            rpc.call("thread/backgroundTerminals/clean", {"threadId": self._thread}, CLEAN_SECONDS)
        except Silence:
            return False
        except Refusal as error:
            rpc.program.note(f"? {error}")
        rpc.program.end_orphans()
        return True

    def _kill(self) -> None:
        self._rpc = None
        if self._program:
            self._program.kill()

    def _ended(self, status: int, news: bool) -> None:
        if news:
            self._rpc = None
        self._turns.gone(status, news)

    def _notified(self, method: str, params: Json) -> None:
        if params.get("threadId") not in (None, self._thread):
            return  # a helper that the agent called
        if method != "error":  # endless trying again is no sign of life
            self._turns.heard()
        if method == "turn/started":
            self._turn = str(params["turn"]["id"])
            self._turns.begun(self._turn)
        elif method == "turn/completed":
            self._completed(params["turn"])
        elif method == "thread/tokenUsage/updated":
            self._turns.tell(Tokens(int(params["tokenUsage"]["total"]["totalTokens"])))
        else:
            self._turns.said(self._words(method, params))

    def _words(self, method: str, params: Json) -> str:
        item: dict[str, Any] = params.get("item") or {}
        if item.get("type", "userMessage") != "userMessage":
            self._asked.answered()
        if method == "item/started":
            return saying.begun(item, self._settings.folder)
        if method == "item/completed":
            self._toolless = self._toolless or codex.server_gone(item)
            if item.get("type") == "agentMessage":
                self._last_message = str(item.get("text") or "")
            return saying.done(item, self._settings.folder)
        if method == "error":
            error = params.get("error") or {}
            words = [codex.readable(one) for one in (error.get("message"), error.get("additionalDetails")) if one]
            return saying.trouble(": ".join(words), bool(params.get("willRetry")))
        if method in ("warning", "configWarning", "guardianWarning"):
            return saying.notice(params.get("message") or params.get("summary"))
        return ""

    def _completed(self, turn: Json) -> None:
        if self._turn and turn.get("id") != self._turn:
            return
        messages = [one for one in turn.get("items") or [] if one.get("type") == "agentMessage"]
        message = str(messages[-1].get("text") or "") if messages else self._last_message
        status = turn.get("status")
        if status == "failed":
            error = turn.get("error") or {}
            words = codex.readable(error.get("message") or "the turn failed")
            self._turns.ended(TurnEnded("failed", message, error=words, lasting=codex.lasting(error)))
        else:
            self._turns.ended(TurnEnded("interrupted" if status == "interrupted" else "completed", message))
