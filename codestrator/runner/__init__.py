"""Runs one child: brings its agent up, hands it its work, reports for it, and ends it."""

import contextlib
import gc
import os
import queue
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from codestrator.errors import CodestratorError, Forbidden, UnreadableState, WrongState

if TYPE_CHECKING:
    from codestrator.runner.agent import Events
    from codestrator.runner.channel import Channel
    from codestrator.runner.coming import Coming

BAD_START, FENCED_OFF, UNREADABLE = 2, 4, 7
HEAD_START_SECONDS = 0.04  # loading what this process needs would only hold the agent's start up
FIRST_CALLS = ("thread.child.report", "thread.directive.list", "inbox.pending", "work.brief")


def main(repo: str, thread_id: str) -> int:
    """The same as the command `runner`, which spends its first moments on the command line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return run(Path(repo), thread_id)


def run(folder: Path, thread_id: str) -> int:
    """Run the child of that id to its end; the exit status of the contract (0 completed to 130 ended by a signal)."""
    events: Events = queue.SimpleQueue()
    coming = _early(folder, thread_id, events)
    try:
        return _run(folder, thread_id, coming, events)
    finally:
        if coming is not None:
            coming.close()


def _early(folder: Path, thread_id: str, events: "Events") -> "Coming | None":
    """The agent, coming up already: nothing is said to it before its thread was looked at."""
    from codestrator.runner.settings import early

    found = early(folder, thread_id)
    if found is None:
        return None
    from codestrator.runner.coming import Coming

    coming = Coming(*found, events)
    coming.wait(HEAD_START_SECONDS)
    return coming


def _run(folder: Path, thread_id: str, coming: "Coming | None", events: "Events") -> int:
    from codestrator import threadfiles
    from codestrator.runner.channel import Channel
    from codestrator.world import open_world

    world = open_world(folder)
    try:
        channel = Channel(world, threadfiles.find(world.files, thread_id))
        if not world.live.take(thread_id):
            return _refuse(f"'{thread_id}' has a runner already", BAD_START)
        try:
            return _drive(channel, coming, events)
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
    with contextlib.suppress(OSError):  # a log on a full disk, a pane that is gone
        print(f"codestrator runner: {message}", file=sys.stderr, flush=True)
    return status


def _drive(channel: "Channel", coming: "Coming | None", events: "Events") -> int:
    from codestrator import registry
    from codestrator.runner.channel import Signalled
    from codestrator.runner.coming import Coming
    from codestrator.runner.driver import Driver
    from codestrator.runner.settings import Logs
    from codestrator.runner.show import Screen
    from codestrator.runner.work import Work

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, frame: events.put(Signalled(number)))
    try:
        work = Work(channel)
        logs = Logs(channel.world.files.root, channel.id)
        screen = Screen(lambda line: logs.screen(line) if sys.stdout.isatty() else None)
        screen.head(
            thread=f"{channel.id}  {work.thread.title}",
            role=work.thread.role,
            session=channel.file.session_id,
            worktree=channel.file.folder,
            runner=channel.file.runner_kind,
            because=work.thread.resolved_because,
        )
        os.chdir(channel.file.folder)
        coming = coming or Coming(channel.file.runner_kind, work.settings(), events)
        for method in FIRST_CALLS:  # loaded while the agent comes up
            registry.handler(method)
        agent = coming.agent()
    except (CodestratorError, OSError) as error:
        message = error.message if isinstance(error, CodestratorError) else str(error)
        channel.report(status="failed", final_message=message[:8000], exit_status=BAD_START)
        return _refuse(message, BAD_START)
    try:
        gc.enable()
        return Driver(channel, work, agent, events, screen).run()
    finally:
        coming.close()
