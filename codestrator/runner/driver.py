"""Drives one child from its first prompt to its last report: turns, directives, interrupts, failures, the end."""

import contextlib
import os
import queue
import time
from typing import Any, NamedTuple

from codestrator.errors import CodestratorError, WrongState
from codestrator.records import SESSION_ENDED, Session
from codestrator.runner import prompt
from codestrator.runner.agent import Agent, Events, Gone, Said, Tokens, TurnEnded, TurnStarted
from codestrator.runner.channel import Channel, Moved
from codestrator.runner.prompt import Author, Quoted
from codestrator.runner.show import Screen
from codestrator.runner.work import Work

REPORT_SECONDS = 20.0
RETRIES = 3
REMINDERS = 2
WAIT_SECONDS = 4 * 3600.0
RETRY_REST_SECONDS = (0.5, 5.0, 30.0)
SILENT_SECONDS, LOST_SECONDS = 60.0, 540.0  # no contact: no new turn; no agent (0.9 of a claim's time)
COMPLETED, FAILED, FENCED_OFF, BLOCKED, UNREADABLE, SIGNALLED = 0, 1, 4, 6, 7, 130


class Signalled(NamedTuple):
    """The runner was told to end by a signal."""

    number: int


class Again(NamedTuple):
    """A rest after a failure is over."""


class Driver:
    """The loop over one queue: what the agent says, what has moved in the state, what the system wants."""

    def __init__(self, channel: Channel, work: Work, agent: Agent, events: Events, screen: Screen) -> None:
        self.channel, self.work, self.agent, self.events, self.screen = channel, work, agent, events, screen
        self.turn = 0
        self.running = self.cut_off = False
        self.patches: list[dict[str, Any]] = []
        self.queued: list[dict[str, Any]] = []
        self.interrupts = channel.thread().interrupts
        self.retries = self.reminders = 0
        self.again_at: float | None = None
        self.idle_since: float | None = None
        self.lost_since: float | None = None
        self.last_message = ""
        self.status: int | None = None

    def run(self) -> int:
        """Until the child is over; its exit status."""
        self.channel.report(status="running", pid=os.getpid())
        self.channel.watch(self.events)
        self._begin(self.work.first_prompt(), [])
        reported = time.monotonic()
        while self.status is None:
            event = self._next(reported + REPORT_SECONDS - time.monotonic())
            try:
                self._handle(event)
                if time.monotonic() - reported >= REPORT_SECONDS:
                    reported = time.monotonic()
                    self.channel.say(progress=self.screen.last, turn=self.turn)
                self.lost_since = None
            except CodestratorError as error:
                self._lost(error)
        return self.status

    def _next(self, seconds: float) -> Any:
        if self.again_at is not None:
            seconds = min(seconds, self.again_at - time.monotonic())
        try:
            return self.events.get(timeout=max(0.01, seconds))
        except queue.Empty:
            return Again() if self.again_at is not None and time.monotonic() >= self.again_at else Moved()

    def _handle(self, event: Any) -> None:
        if isinstance(event, Said):
            self.screen.line("│", event.text)
        elif isinstance(event, Tokens):
            self.channel.say(tokens=event.used)
        elif isinstance(event, TurnStarted):
            self.channel.say(turn=self.turn, provider_status="processing")
        elif isinstance(event, TurnEnded):
            self._turn_ended(event)
        elif isinstance(event, Gone):
            self._gone(event)
        elif isinstance(event, Signalled):
            self._finish("failed", f"ended by signal {event.number}", SIGNALLED)
        elif isinstance(event, Again):
            self.again_at = None
            self._begin(prompt.carry_on_prompt(self.last_message, self.work.author), [])
        else:
            self._look()

    # What has moved in the state

    def _look(self) -> None:
        thread = self.channel.thread()
        session = self.channel.world.store.read().require(Session, thread.session_id)
        if self.channel.ended or session.status in SESSION_ENDED:
            self.screen.line("■", f"the thread is {thread.status}, the session {session.status}")
            self.status = FENCED_OFF if not thread.stop_requested else COMPLETED
            return
        if thread.stop_requested:
            self.screen.line("■", "stopped by the root")
            self.agent.close()
            self.status = SIGNALLED
            self.channel.say(exit_status=SIGNALLED)
            return
        self._take_directives()
        if thread.interrupts > self.interrupts:
            self.interrupts = thread.interrupts
            self._cut_off("interrupted by the root")
            if not self.running:
                self._acknowledge()
        if self.patches:
            self._cut_off("a directive cuts this turn off")
        if not self.running and self.again_at is None:
            self._idle()

    def _take_directives(self) -> None:
        for one in self.channel.directives():
            self.channel.report(receipts=[{"directive_id": one["directive_id"], "state": "delivered"}])
            self.screen.line("◆", f"directive {one['directive_id']} ({one['mode']}): {one['text']}")
            (self.patches if one["mode"] == "interrupt_patch" else self.queued).append(one)

    def _cut_off(self, why: str) -> None:
        if self.running and not self.cut_off:
            self.cut_off = True
            self.screen.line("◆", why)
            self.agent.interrupt()

    def _acknowledge(self) -> None:
        self.channel.say(interrupts=self.interrupts, provider_status="idle")

    # What the agent does

    def _begin(self, words: str, directives: list[dict[str, Any]]) -> None:
        """Start a turn; directives that it carries out are applied with that."""
        self.turn += 1
        self.running, self.cut_off, self.idle_since = True, False, None
        self.screen.line("▶", f"turn {self.turn}")
        receipts = [{"directive_id": one["directive_id"], "state": "applied"} for one in directives]
        self.agent.begin(words)
        self.channel.report(status="running", turn=self.turn, receipts=receipts)
        self.channel.say(turn=self.turn, provider_status="processing", interrupts=self.interrupts)

    def _turn_ended(self, event: TurnEnded) -> None:
        self.running = self.cut_off = False
        self.last_message = event.message or event.error or self.last_message
        mark = {"completed": "✓", "interrupted": "◆", "failed": "✗"}[event.outcome]
        self.screen.line(mark, f"turn {self.turn} {event.outcome}" + (f": {event.error}" if event.error else ""))
        self.channel.say(turn=self.turn, provider_status="idle", last_response=event.message[:2000] or None)
        self._acknowledge()
        if event.outcome == "failed":
            self._failed(event)
        else:
            self.retries = 0
            self._go_on(completed=event.outcome == "completed")

    def _failed(self, event: TurnEnded) -> None:
        """Try again what may pass, a few times, with a rest before; directives that came meanwhile go first."""
        if event.lasting or self.retries >= RETRIES:
            self._finish("failed", event.error or "the agent failed", FAILED)
        elif not self._tell():
            self.again_at = time.monotonic() + RETRY_REST_SECONDS[self.retries]
            self.retries += 1

    def _gone(self, event: Gone) -> None:
        self.running = self.cut_off = False
        self.screen.line("✗", f"the agent's program ended with {event.status}")
        self._acknowledge()
        if self.retries >= RETRIES:
            self._finish("failed", f"the agent's program ended with {event.status}", FAILED)
            return
        self.retries += 1
        try:
            self.agent.resume()
        except CodestratorError as error:
            self._finish("failed", error.message, FAILED)
            return
        if not self._tell():
            self._begin(prompt.carry_on_prompt("your program had ended", self.work.author), [])

    def _go_on(self, *, completed: bool) -> None:
        """After a turn: what was sent, then what is open of the case, then the end."""
        self._take_directives()
        if self._tell():
            return
        waits = self.channel.thread().status
        if not completed or waits in ("waiting", "interrupted"):
            self._idle()
            return
        left = self.work.unfinished()
        if left is not None and self.reminders < REMINDERS:
            self.reminders += 1
            self._begin(prompt.reminder_prompt(*left, self.work.author), [])
        elif left is not None:
            self._finish("failed", f"ended with '{left[0].id}' unfinished: {self.last_message}", FAILED)
        else:
            self._finish("completed", self.last_message or "done", COMPLETED)

    def _tell(self) -> bool:
        """Begin a turn with what was sent to the child; whether there was anything."""
        sent, cut = self.patches + self.queued, bool(self.patches)
        if sent:
            self.patches, self.queued = [], []
            author = self.work.session.id
            words = [Quoted(one["directive_id"], one["text"], Author(one["sender"], author)) for one in sent]
            self._begin(prompt.directive_prompt(words, interrupted=cut), sent)
            return True
        letters = self._letters()
        if letters:
            self._begin(prompt.inbox_prompt(letters), [])
        return bool(letters)

    def _letters(self) -> list[Quoted]:
        """Messages that wait; handing them over marks them as delivered."""
        try:
            found = self.channel.call("inbox.pending")["items"]
        except CodestratorError:
            return []  # a role without an inbox
        for one in found:
            self.channel.call("inbox.deliver", message_id=one["id"])
        return [Quoted(one["id"], one["text"], Author(one["sender"], self.work.session.id)) for one in found]

    def _idle(self) -> None:
        """Nothing runs: wait for what is sent, but not for ever."""
        if self._tell():
            return
        if self.idle_since is None:
            self.idle_since = time.monotonic()
            self.screen.line("…", "waits for the root")
        elif time.monotonic() - self.idle_since > WAIT_SECONDS:
            self._finish("failed", f"waited {WAIT_SECONDS / 3600:g} h for an answer", BLOCKED)

    # The end

    def _lost(self, error: CodestratorError) -> None:
        """The state cannot be reached or refuses us: go on for a while, then end without it."""
        self.screen.trouble(f"{error.code}: {error.message}")
        if isinstance(error, WrongState) and self._over_already():
            self.status = FENCED_OFF
            return
        self.lost_since = self.lost_since or time.monotonic()
        silent = time.monotonic() - self.lost_since
        if silent > (LOST_SECONDS if self.running else SILENT_SECONDS):
            self.status = UNREADABLE if error.code == "unreadable_state" else FAILED

    def _over_already(self) -> bool:
        try:
            return self.channel.ended
        except CodestratorError:
            return False

    def _finish(self, status: str, message: str, number: int) -> None:
        """End the agent, keep what is not committed, give locks back, report for the last time."""
        self.agent.close()
        with contextlib.suppress(CodestratorError):
            self._tidy()
        self.screen.line("■", f"{status}: {message}")
        self.status = number
        self.channel.report(status=status, turn=self.turn, final_message=message[:60_000], exit_status=number)

    def _tidy(self) -> None:
        world, thread = self.channel.world, self.channel.thread()
        for one in self.channel.call("lock.list", session_id=thread.session_id)["items"]:
            if one.get("holder", {}).get("thread_id") == thread.id:
                self.channel.call("lock.release", lock_id=one["id"])
        if self.work.worktree and world.worktrees.changes(self.work.settings().folder):
            self.channel.call("work.checkpoint", summary=f"left by {thread.id} at its end")
