"""An agent on `codex exec`: a process for each turn, the conversation kept by Codex between them."""

import json
from collections.abc import Mapping
from typing import Any

from codestrator.errors import External
from codestrator.runner import codex, saying
from codestrator.runner.agent import AgentSettings, Events, Tokens, TurnEnded
from codestrator.runner.program import Over, Program, expect_there, surroundings
from codestrator.runner.turns import Asked, Turns

INTERRUPT_SECONDS = 5.0
KILLED_SECONDS = 2.5


class ExecAgent:
    """Codex without a terminal, started anew with the prompt on its standard input."""

    def __init__(self, settings: AgentSettings, events: Events) -> None:
        self._settings = settings
        self._turns = Turns(settings, events, self._cancel)
        self._thread = ""
        self._asked = Asked()
        self._number = 0
        self._run: _Run | None = None

    def start(self) -> None:
        expect_there(self._settings.program, self._settings.folder, surroundings(self._settings.environment))
        self._turns.open()

    def begin(self, prompt: str) -> None:
        if self._run and self._run.program:
            self._run.program.end()
        self._number += 1
        self._turns.begin()
        self._run = run = _Run(self, prompt)
        try:
            run.program = program = Program(
                self._command(),
                self._settings.folder,
                self._settings.environment,
                on_line=run.line,
                on_end=run.ended,
                wire=self._settings.log,
            )
            program.listen()
            program.write_raw(self._words(prompt).encode("utf-8", "surrogatepass"))
            program.end_input()
        except External as error:
            self._turns.ended(TurnEnded("failed", error=error.message))
        except Over:
            if program.given_up:  # else its end is told by `_over`
                self._turns.ended(TurnEnded("failed", error="the program does not read its prompt"))

    def interrupt(self) -> None:
        self._turns.cancel()

    def resume(self) -> None:
        """Nothing: the next turn brings up a process of its own."""

    def close(self) -> int | None:
        self._turns.close()
        return self._run.program.end() if self._run and self._run.program else None

    def _command(self) -> list[str]:
        command = [*self._settings.program, "exec", "--json", *codex.overrides(self._settings)]
        return [*command, "resume", self._thread, "-"] if self._asked.spoken else [*command, "-"]

    def _words(self, prompt: str) -> str:
        first = [] if self._asked.spoken or not self._settings.instructions else [self._settings.instructions]
        return "\n\n".join([*first, *self._asked.with_lost(prompt)])

    def _cancel(self) -> None:
        run = self._run
        if run is None or run.program is None:
            return
        run.interrupted = True
        run.program.interrupt()
        if not self._turns.wait_for_end(INTERRUPT_SECONDS):
            run.program.kill()
            self._turns.wait_for_end(KILLED_SECONDS)

    def _heard(self, run: "_Run", event: Mapping[str, Any]) -> None:
        kind, item = event.get("type"), event.get("item") or {}
        if kind != "error":  # endless trying again is no sign of life
            self._turns.heard()
        if kind == "thread.started":
            self._thread = str(event["thread_id"])
        elif kind == "turn.started":
            self._asked.heard(run.prompt)
            self._turns.begun(f"{self._thread}#{self._number}")
        elif kind == "item.started":
            self._asked.answered()
            self._turns.said(saying.begun(item, self._settings.folder))
        elif kind == "item.completed":
            if item.get("type") == "agent_message":
                self._asked.answered()
                run.message = str(item.get("text") or "")
            self._turns.said(saying.done(item, self._settings.folder))
        elif kind == "error":
            words = codex.readable(event.get("message"))
            self._turns.said(saying.trouble(words, words.startswith("Reconnecting")))
        elif kind == "turn.completed":
            usage = event["usage"]
            self._turns.tell(Tokens(int(usage["input_tokens"]) + int(usage["output_tokens"])))
            run.end = TurnEnded("completed", run.message)
        elif kind == "turn.failed":
            error = event.get("error") or {}
            words = codex.readable(error.get("message") or "the turn failed")
            run.end = TurnEnded("failed", run.message, error=words, lasting=codex.lasting(error))

    def _over(self, run: "_Run", status: int) -> None:
        """Only when the process is gone the turn has ended: the next one must not meet it."""
        if run is not self._run or run.program is None:
            return
        if run.end:
            self._turns.ended(run.end)
        elif status < 0 or run.interrupted or run.program.given_up:
            if status < 0:
                self._asked.reloaded()
            self._turns.gone(status, news=not (run.interrupted or run.program.given_up))
        else:
            words = run.program.last_words or f"codex exec ended with status {status} and without a word"
            if codex.conversation_lost(words):
                self._asked.lose()
            self._turns.ended(TurnEnded("failed", run.message, error=words, lasting=codex.lasting_words(words)))


class _Run:
    """One process and what came of it."""

    def __init__(self, agent: ExecAgent, prompt: str) -> None:
        self._agent = agent
        self.prompt = prompt
        self.program: Program | None = None
        self.interrupted = False
        self.message = ""
        self.end: TurnEnded | None = None

    def line(self, line: str) -> None:
        try:
            event = json.loads(line)
            if isinstance(event, dict):
                self._agent._heard(self, event)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            if self.program:
                self.program.note(f"? the line before is no event of codex exec: {error!r}")

    def ended(self, status: int, news: bool) -> None:
        self._agent._over(self, status)
