"""An agent that plays what its test says, and the driver that drives it in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codestrator import ids, threadfiles
from codestrator.clock import Clock
from codestrator.errors import External
from codestrator.records import Thread
from codestrator.runner.agent import Events, Gone, TurnEnded, TurnStarted
from codestrator.runner.channel import Channel
from codestrator.runner.driver import Driver, Limits
from codestrator.runner.show import Screen
from codestrator.runner.work import Work
from codestrator.store.transaction import Stamp
from codestrator.threadfiles import ThreadFile
from codestrator.world import open_world
from tests.actors import Actor

SECONDS = 30
QUICK = Limits(report=0.2, rests=(0.01, 0.01, 0.01), former=SECONDS)
Move = TurnEnded | Gone | None  # how a turn ends by itself; None: it goes on until it is cut off


def done(words: str = "done") -> TurnEnded:
    return TurnEnded("completed", words)


def failed(words: str, *, lasting: bool = False) -> TurnEnded:
    return TurnEnded("failed", error=words, lasting=lasting)


class Player:
    """Our agent: each turn ends as its move says."""

    def __init__(self, events: Events, moves: list[Move]) -> None:
        self.events = events
        self.begun: queue.Queue[str] = queue.Queue()
        self.cuts = threading.Semaphore(0)
        self.obeys = threading.Event()  # an interrupt ends the turn
        self.obeys.set()
        self.resumed = 0
        self.refuses_to_resume = False
        self.closed = False
        self.deaf = False  # its program does not say that a turn has begun
        self._moves = iter(moves)

    def start(self) -> None:
        """It is there at once."""

    def begin(self, prompt: str) -> None:
        move = next(self._moves, done("the moves are at their end"))
        if not self.deaf:
            self.events.put(TurnStarted("turn"))
        if move is not None:
            self.events.put(move)
        self.begun.put(prompt)

    def interrupt(self) -> None:
        self.cuts.release()
        if self.obeys.is_set():
            self.end(TurnEnded("interrupted"))

    def end(self, how: TurnEnded) -> None:
        self.events.put(how)

    def resume(self) -> None:
        self.resumed += 1
        if self.refuses_to_resume:
            raise External("it does not come up, expected it to", program="player")

    def close(self) -> int | None:
        self.closed = True
        return 0


class Kid:
    """A child whose agent is a player: `kid.prompt()` is what its next turn began with."""

    def __init__(self, root: Actor, clock: Clock, moves: list[Move], limits: Limits = QUICK, **fields: Any) -> None:
        self.root = root
        self.world = open_world(Path(root.world.repo), clock)
        kind, deaf = fields.pop("kind", "codex_app_server"), fields.pop("deaf", False)
        self.id = ids.mint("thr")
        worktree = root("worktree.spawn", session_id=root.session, slug=self.id[4:8] + "-x")["worktree"]
        self.folder = Path(root.world.repo) / worktree["path"]
        self._publish(worktree["id"], fields)
        threadfiles.write(
            self.world.files,
            ThreadFile(
                thread_id=self.id,
                session_id=root.session,
                token=self.id * 4,
                role="worker",
                repo=str(root.world.repo),
                folder=str(self.folder),
                runner_kind=kind,
            ),
        )
        assert self.world.live.take(self.id)
        events: Events = queue.SimpleQueue()
        channel = Channel(self.world, threadfiles.find(self.world.files, self.id))
        self.player = Player(events, moves)
        self.player.deaf = deaf
        self.shown: list[str] = []
        work = Work(channel)
        self.driver = Driver(channel, work, self.player, events, Screen(self.shown.append), limits)
        self.channel = channel
        self.status: int | None = None
        self._thread = threading.Thread(target=self._drive, name=f"kid {self.id}", daemon=True)

    def _publish(self, worktree_id: str, fields: dict[str, Any]) -> None:
        machine = self.root.world.settings.machine
        thread = Thread(
            id=self.id,
            session_id=self.root.session,
            role="worker",
            title="Child",
            objective="Do the case.",
            machine=machine,
            status="initializing",
            parent_thread_id=self.root.thread,
            worktree_id=worktree_id,
            token_hash=threadfiles.token_hash(self.id * 4),
            **fields,
        )
        stamp = Stamp("thread.child.spawn child", ids.mint("op"), "test", self.root.session, None, machine)
        self.root.world.store.transact(lambda tx: tx.put(thread), stamp=stamp)

    def _drive(self) -> None:
        try:
            self.status = self.driver.run()
        finally:
            self.channel.close()
            self.world.live.leave(self.id)

    def begin(self) -> "Kid":
        self._thread.start()
        return self

    def __call__(self, method: str, **given: Any) -> dict[str, Any]:
        """What the agent itself calls, as its MCP server would."""
        return self.channel.call(method, **given)

    def prompt(self) -> str:
        """What the next turn began with, once it has."""
        try:
            return self.player.begun.get(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError(f"no turn began: {self.shown[-10:]}") from None

    def no_prompt(self) -> bool:
        return self.player.begun.empty()

    def until(self, look: Callable[[], Any]) -> Any:
        """What the look finds, as soon as it finds something."""
        end = time.monotonic() + SECONDS
        while not (found := look()):
            assert time.monotonic() < end, f"it did not happen: {self.shown[-10:]}"
            self.root.world.wait_for_change(0.05)
        return found

    def waits(self) -> None:
        """Until it waits for the root."""
        self.until(lambda: any("waits for the root" in one for one in self.shown))

    def ask_to_stop(self) -> None:
        """As thread.child.stop does."""
        stamp = Stamp("thread.child.stop", ids.mint("op"), "test", self.root.session, None, self.thread.machine)
        self.root.world.store.transact(lambda tx: tx.put(self.thread.but(stop_requested=True)), stamp=stamp)

    def over(self) -> int:
        """The runner's exit status, once it is over."""
        self._thread.join(SECONDS)
        assert self.status is not None, f"it is not over: {self.shown[-10:]}"
        return self.status

    @property
    def thread(self) -> Thread:
        return self.root.world.store.read().require(Thread, self.id)

    def direct(self, words: str, mode: str = "interrupt_patch", **given: Any) -> str:
        sent = self.root("thread.child.directive", thread_id=self.id, directive=words, mode=mode, **given)
        return str(sent["directive"]["id"])

    def receipt(self, directive_id: str) -> dict[str, Any]:
        listed = self.root("thread.directive.list", thread_id=self.id)["items"]
        return next(one for one in listed if one["directive_id"] == directive_id)

    def close(self) -> None:
        """Whatever the test came to: the driver ends."""
        if self._thread.is_alive():
            self.driver.status = 1
            self.player.events.put(TurnStarted("the test is over"))
            self._thread.join(SECONDS)
        self.world.close()
