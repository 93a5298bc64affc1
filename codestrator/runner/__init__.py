"""Runs one child: brings its agent up, hands it its work, reports for it, and ends it."""

import os
import queue
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from codestrator.errors import CodestratorError, External, Forbidden, UnreadableState, WrongState

if TYPE_CHECKING:
    from codestrator.runner.agent import Agent, AgentSettings, Events
    from codestrator.runner.channel import Channel

BAD_START, FENCED_OFF, UNREADABLE = 2, 4, 7
START_RESTS = (0.5, 1.0, 2.0)
SOON_SECONDS = 8.0
FIRST_CALLS = ("thread.child.report", "thread.directive.list", "inbox.pending", "work.brief")


def run(folder: Path, thread_id: str) -> int:
    """Run the child of that id to its end; the exit status of the contract (0 completed to 130 ended by a signal)."""
    from codestrator import threadfiles
    from codestrator.runner.channel import Channel
    from codestrator.world import open_world

    world = open_world(folder)
    try:
        channel = Channel(world, threadfiles.find(world.files, thread_id))
        if not world.live.take(thread_id):
            return _refuse(f"'{thread_id}' has a runner already", BAD_START)
        try:
            return _drive(channel)
        finally:
            channel.close()
    except (Forbidden, WrongState) as error:  # its thread is over, or no longer its own
        return _refuse(error.message, FENCED_OFF)
    except UnreadableState as error:
        return _refuse(error.message, UNREADABLE)
    except CodestratorError as error:
        return _refuse(error.message, BAD_START)
    finally:
        world.close()


def _refuse(message: str, status: int) -> int:
    print(f"codestrator runner: {message}", file=sys.stderr, flush=True)
    return status


def _up(kind: str, settings: "AgentSettings", events: "Events") -> "Agent":
    """The agent, started. What fails soon is tried again: Codexes that start at once in a new home are in their way."""
    from codestrator.runner import kinds

    begun = time.monotonic()
    rests = [rest * (0.5 + random.random()) for rest in START_RESTS]
    while True:
        agent = kinds.make(kind, settings, events)
        try:
            agent.start()
            return agent
        except External:
            agent.close()
            if not rests or time.monotonic() - begun > SOON_SECONDS:
                raise
            time.sleep(rests.pop(0))


def _warm() -> None:
    """Load what the first report needs, while the agent comes up."""
    from codestrator import registry
    from codestrator.runner import driver  # noqa: F401

    for method in FIRST_CALLS:
        registry.handler(method)


def _drive(channel: "Channel") -> int:
    from codestrator.runner.channel import Signalled
    from codestrator.runner.show import Screen
    from codestrator.runner.work import Work

    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, frame: events.put(Signalled(number)))
    try:
        work = Work(channel)
        screen = Screen(lambda line: work.log("screen", line) if sys.stdout.isatty() else None)
        screen.head(
            thread=f"{channel.id}  {work.thread.title}",
            role=work.thread.role,
            session=channel.file.session_id,
            worktree=channel.file.folder,
            runner=channel.file.runner_kind,
            because=work.thread.resolved_because,
        )
        os.chdir(channel.file.folder)
        threading.Thread(target=_warm, name="warm", daemon=True).start()
        agent = _up(channel.file.runner_kind, work.settings(), events)
    except (CodestratorError, OSError) as error:
        message = error.message if isinstance(error, CodestratorError) else str(error)
        channel.report(status="failed", final_message=message[:8000], exit_status=BAD_START)
        return _refuse(message, BAD_START)
    from codestrator.runner.driver import Driver

    try:
        return Driver(channel, work, agent, events, screen).run()
    finally:
        agent.close()
