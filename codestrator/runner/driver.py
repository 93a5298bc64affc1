"""Drives one child from its first prompt to its last report: turns, directives, interrupts, failures, the end."""

import contextlib
import os
import queue
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from codestrator.errors import CodestratorError
from codestrator.records import SESSION_ENDED, THREAD_ENDED, Session, Thread
from codestrator.runner import prompt
from codestrator.runner.agent import Agent, Events, Gone, Said, Tokens, TurnEnded, TurnStarted
from codestrator.runner.channel import Channel, Moved, Signalled
from codestrator.runner.post import Post, Words
from codestrator.runner.show import Screen
from codestrator.runner.work import Work

PAUSED = ("waiting", "interrupted")
COMPLETED, FAILED, FENCED_OFF, BLOCKED, UNREADABLE, SIGNALLED = 0, 1, 4, 6, 7, 130


class Limits(NamedTuple):
    """In seconds, and how often."""

    report: float = 20.0
    answer: float = 4 * 3600.0
    silent: float = 60.0  # without contact with the state: the end is told no more
    lost: float = 540.0  # 0.9 of a claim's time: the agent is stopped
    former: float = 12.0
    rests: tuple[float, ...] = (0.5, 5.0, 30.0)
    reminders: int = 2


USUAL = Limits()


class End(NamedTuple):
    """How the child ended, as it is reported, and the runner's exit status."""

    status: str
    message: str
    number: int


class Driver:
    """The loop over one queue: what the agent says, what has moved in the state, what the system wants."""

    def __init__(
        self,
        channel: Channel,
        work: Work,
        agent: Agent,
        events: Events,
        screen: Screen,
        limits: Limits = USUAL,
    ) -> None:
        self.channel, self.work, self.agent, self.events, self.screen = channel, work, agent, events, screen
        self.limits = limits
        self.post = Post(channel, screen)
        # A command's one turn lasts as long as it runs; what is sent to it meanwhile it reads by itself.
        self.talks = channel.file.runner_kind != "command"
        self.turn = 0
        self.words: Words | None = None  # what was said to the agent, until its turn has begun
        self.running = self.cut_off = self.gone = False
        self.interrupts = channel.thread().interrupts
        self.ended: TurnEnded | None = None  # the turn of which the consequences are still to be drawn
        self.again_at: float | None = None  # a rest after a failure lasts until then
        self.retries = self.reminders = 0
        self.left: object = None
        self.idle_since: float | None = None
        self.lost_since: float | None = None
        self.trouble = ""
        self.last_message = ""
        self.tokens = 0
        self.end: End | None = None
        self.status: int | None = None

    def run(self) -> int:
        """Until the child is over; its exit status."""
        self.channel.report(status="running", pid=os.getpid())
        self.channel.watch(self.events)
        self._wait_for_former()
        if self.status is None:
            self._guarded(lambda: self._begin(Words(self.work.first_prompt())))
        reported = time.monotonic()
        while self.status is None:
            event = self._next(reported + self.limits.report - time.monotonic())
            self._guarded(partial(self._handle, event))
            if time.monotonic() - reported >= self.limits.report:
                reported = time.monotonic()
                self._guarded(lambda: self.channel.show_progress(self.screen.last))
        return self.status

    def _wait_for_former(self) -> None:
        """Two agents must not work in one folder: the one that this thread stands in for ends first."""
        old = self.work.thread.replaces_thread_id
        until = time.monotonic() + self.limits.former
        while old and self.channel.world.live.held(old) and time.monotonic() < until and self.status is None:
            event = self._next(0.1)
            if isinstance(event, Signalled):
                self._guarded(partial(self._handle, event))
        if old and self.channel.world.live.held(old) and self.status is None:
            # Whoever was to stop it died before it could.
            self._guarded(lambda: self._finish("failed", f"'{old}', which it stands in for, did not end", FAILED))

    def _next(self, seconds: float) -> Any:
        if self.again_at is not None:
            seconds = min(seconds, self.again_at - time.monotonic())
        if self.lost_since is not None:
            seconds = min(seconds, 1.0)
        try:
            return self.events.get(timeout=max(0.01, seconds))
        except queue.Empty:
            return Moved()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except CodestratorError as error:
            self._lost(error)

    def _handle(self, event: Any) -> None:
        if isinstance(event, Said):
            self.screen.line("│", event.text)
        elif isinstance(event, Tokens):
            self.tokens = event.used
            self.channel.say(tokens=event.used)
        elif isinstance(event, TurnStarted):
            self._turn_started()
        elif isinstance(event, TurnEnded):
            self._turn_ended(event)
        elif isinstance(event, Gone):
            self._gone(event)
        elif isinstance(event, Signalled):
            self._finish("failed", f"ended by signal {event.number}", SIGNALLED)
        else:
            self._look()

    # What has moved in the state

    def _look(self) -> None:
        """Draw the consequences of what is in the state now."""
        thread = self.channel.thread()
        if self.end is not None:
            self._tell_end(self.end)
        elif not self._is_over(thread):
            self.post.settle(self.turn)
            if self._listens(thread):
                self.post.take()
            elif self.running:
                self.post.paste()
            self._obey_interrupt(thread)
            if self.running and self.post.cuts(self.words):
                self._cut_off("a directive cuts this turn off")
            elif not self.running:
                self._go_on(thread)
        self.lost_since, self.trouble = None, ""

    def _is_over(self, thread: Thread) -> bool:
        session = self.channel.world.store.read().require(Session, thread.session_id)
        if thread.status in THREAD_ENDED or session.status in SESSION_ENDED:
            self.screen.line("■", f"the thread is {thread.status}, the session {session.status}")
            self.status = FENCED_OFF
        elif thread.stop_requested:
            self.screen.line("■", "stopped by the root")
            self.agent.close()
            self.status = SIGNALLED
            self.channel.say(exit_status=SIGNALLED)
        return self.status is not None

    def _listens(self, thread: Thread) -> bool:
        return self.talks or (not self.running and thread.status in PAUSED)

    def _obey_interrupt(self, thread: Thread) -> None:
        if thread.interrupts > self.interrupts:
            self.interrupts = thread.interrupts
            self.again_at = None
            if self.running:
                self._cut_off("interrupted by the root")
            else:
                self.channel.say(interrupts=self.interrupts, provider_status="idle")

    def _cut_off(self, why: str) -> None:
        if self.running and not self.cut_off:
            self.cut_off = True
            self.screen.line("◆", why)
            self.agent.interrupt()

    def _go_on(self, thread: Thread) -> None:
        """Nothing runs: what was sent goes first, then what follows from how the last turn ended."""
        sent = self.post.words(self.words) if self._listens(thread) else None
        if sent is not None:
            self._begin(self.words.then(sent) if self.words else sent)
        elif thread.status in PAUSED or (self.ended is None and self.again_at is None):
            self._wait()
        elif self.again_at is not None:
            if time.monotonic() >= self.again_at:
                why = self.last_message or "no word"
                self._begin(self.words or Words(prompt.carry_on_prompt(why, self.work.author)))
        elif self.ended is not None and self.ended.outcome == "completed":
            self._completed()
        elif self.ended is not None:
            self._failed(self.ended)

    def _wait(self) -> None:
        """For what is sent, but not for ever."""
        if self.idle_since is None:
            self.idle_since = time.monotonic()
            self.screen.line("…", "waits for the root")
        elif time.monotonic() - self.idle_since > self.limits.answer:
            self._finish("failed", f"waited {self.limits.answer / 3600:g} h for an answer", BLOCKED)

    # What the agent does

    def _begin(self, words: Words) -> None:
        """Start a turn; what it was begun with is said again should it fail before it has begun."""
        if self.gone:
            try:
                self.agent.resume()
            except CodestratorError as error:
                self.screen.trouble(error.message)
                self._failed(TurnEnded("failed", error=error.message))
                return
        self.turn += 1
        self.running, self.cut_off, self.gone = True, False, False
        self.idle_since = self.again_at = self.ended = None
        self.words = words
        self.screen.line("▶", f"turn {self.turn}")
        if self.channel.thread().status != "running":
            self.channel.report(status="running", turn=self.turn)
        self.agent.begin(words.prompt)
        self.channel.say(turn=self.turn, provider_status="processing", interrupts=self.interrupts)

    def _turn_started(self) -> None:
        """The agent is at it: the directives that the turn carries out are applied."""
        words, self.words = self.words, None
        self.channel.say(turn=self.turn, provider_status="processing")
        self.channel.show_progress(self.screen.last, anew=words is not None)
        if words is not None:
            self.post.begun(words, self.turn)

    def _turn_ended(self, event: TurnEnded) -> None:
        if not self.running:
            return  # of a turn that is accounted for
        self.running = self.cut_off = False
        self.ended = event
        self.last_message = event.message or event.error or self.last_message
        mark = {"completed": "✓", "interrupted": "◆", "failed": "✗"}[event.outcome]
        used = f", {self.tokens} tokens used so far" if self.tokens else ""
        self.screen.line(mark, f"turn {self.turn} {event.outcome}{used}" + (f": {event.error}" if event.error else ""))
        if event.outcome == "completed":
            self.retries = 0
        if event.outcome != "failed":
            self._turn_started()  # it must have, whether that was told or not
        last = event.message[:2000] or None
        self.channel.say(turn=self.turn, provider_status="idle", last_response=last, interrupts=self.interrupts)
        self._look()

    def _gone(self, event: Gone) -> None:
        words = f"the agent's program ended with {event.status}"
        self.screen.line("✗", words)
        self.gone = True
        if self.running:
            self._turn_ended(TurnEnded("failed", error=words))

    def _failed(self, event: TurnEnded) -> None:
        """Try again what may pass, a few times, with a rest before."""
        if event.lasting or self.retries >= len(self.limits.rests):
            self._finish("failed", event.error or "the agent failed", FAILED)
        else:
            self.ended = None
            self.again_at = time.monotonic() + self.limits.rests[self.retries]
            self.retries += 1

    def _completed(self) -> None:
        """A turn ended well: the child is done, or is reminded of what it left open."""
        left = self.work.unfinished(scope=self.talks)
        if left is None:
            self._finish("completed", self.last_message or "done", COMPLETED)
            return
        if left != self.left:
            self.left, self.reminders = left, 0
        if not self.talks or self.reminders >= self.limits.reminders:
            self._finish("failed", f"ended with '{left[0].id}' unfinished: {self.last_message}", FAILED)
        else:
            self.reminders += 1
            self._begin(Words(prompt.reminder_prompt(*left, self.work.author)))

    # The end

    def _lost(self, error: CodestratorError) -> None:
        """The state cannot be reached or refuses us: go on for a while, then end without it."""
        if error.message != self.trouble:
            self.trouble = error.message
            self.screen.trouble(f"{error.code}: {error.message}")
        with contextlib.suppress(CodestratorError):
            if self.channel.ended:
                self.status = FENCED_OFF
                return
        self.lost_since = self.lost_since or time.monotonic()
        silent = time.monotonic() - self.lost_since
        if self.end is not None and silent > self.limits.silent:
            self.status = self.end.number
        elif silent > self.limits.lost:
            self.status = UNREADABLE if error.code == "unreadable_state" else FAILED

    def _finish(self, status: str, message: str, number: int) -> None:
        """End the agent, keep what is not committed, give locks back, report for the last time."""
        self.agent.close()
        self.running = False
        self.end = End(status, message[:60_000], number)
        with contextlib.suppress(CodestratorError):
            self._tidy()
        self.screen.line("■", f"{status}: {message}")
        self._tell_end(self.end)

    def _tell_end(self, end: End) -> None:
        self.channel.report(status=end.status, turn=self.turn, final_message=end.message, exit_status=end.number)
        self.status = end.number

    def _tidy(self) -> None:
        world, thread = self.channel.world, self.channel.thread()
        for one in self.channel.call("lock.list", session_id=thread.session_id)["items"]:
            if one.get("holder", {}).get("thread_id") == thread.id:
                self.channel.call("lock.release", lock_id=one["id"])
        if self.work.worktree and world.worktrees.changes(self.work.folder):
            self.channel.call("work.checkpoint", summary=f"left by {thread.id} at its end")
