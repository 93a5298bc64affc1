"""A root and its real children: runners in panes of a real tmux, programs that are small scripts."""

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.actors import Actor
from tests.world.desk import Desk

SLEEPS = "exec sleep 300"


def reports(**given: object) -> str:
    """A shell line that reports of the child whose program runs it."""
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join([sys.executable, "-m", "codestrator", "thread", "child", "report", *words])


class Family:
    """`family.spawn(launch_command="…")` is a child that runs it."""

    def __init__(self, root: Actor, actor: Callable[..., Actor], desk: Desk) -> None:
        self.root = root
        self.desk = desk
        self._actor = actor

    def spawn(self, launch_command: str = SLEEPS, **given: Any) -> dict[str, Any]:
        return self.root("thread.child.spawn", launch_command=launch_command, **given)

    def child(self, launch_command: str = SLEEPS, **given: Any) -> str:
        """Its id."""
        return str(self.spawn(launch_command, **given)["thread"]["id"])

    def seat(self, thread_id: str, role: str = "worker") -> Actor:
        """The child itself, as its own server makes calls for it."""
        one = self._actor("child", session_id=self.root.session, thread_id=thread_id, role=role)
        one.session, one.thread = self.root.session, thread_id
        return one

    def status(self, thread_id: str) -> str:
        return str(self.root("thread.child.status", thread_id=thread_id)["db_status"])

    def ended(self, thread_id: str) -> str:
        """Its status, once it is over."""
        found = self.root("thread.child.wait_status", thread_id=thread_id, target_statuses=["completed"])
        assert "timed_out" not in found
        return str(found["achieved_status"])

    def until(self, look: Callable[[], object], seconds: float = 20) -> None:
        """Wait until the look finds something; asked when the state moves, or after a moment."""
        end = time.monotonic() + seconds
        while not look():
            assert time.monotonic() < end, f"not within {seconds} s"
            self.root.world.wait_for_change(0.05)

    def shows(self, thread_id: str, words: str) -> dict[str, Any]:
        """What thread.child.status tells, once its pane shows these words."""

        def look() -> bool:
            found.update(self.root("thread.child.status", thread_id=thread_id))
            return words in found["screen"]

        found: dict[str, Any] = {}
        self.until(look)
        return found

    def freeze(self, pid: int) -> None:
        """Stop a process where it is, and see it stand."""
        os.kill(pid, signal.SIGSTOP)
        self.until(lambda: Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T")

    def kill_runner(self, thread: dict[str, Any]) -> None:
        """Kill a child's runner; what it was just starting may hold on to its lock for a moment."""
        os.kill(thread["pid"], signal.SIGKILL)
        self.until(lambda: not self.root.world.live.held(thread["id"]))

    def folder(self, spawned: dict[str, Any]) -> Path:
        """The worktree of what `spawn` gave."""
        return Path(self.root.world.repo, spawned["worktree"]["path"])


def working_for(repo: Path, thread_id: str = "thr-") -> list[int]:
    """The processes that were started for the children of a repository, or for one of them."""
    sought = f"CODESTRATOR_THREAD_FILE={repo}/.git/codestrator/threads/{thread_id}".encode()
    found = []
    for place in Path("/proc").iterdir():
        try:
            ours = place.name.isdigit() and int(place.name) != os.getpid()
            marked = ours and b"\0" + sought in b"\0" + (place / "environ").read_bytes()
            if marked and (place / "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
                found.append(int(place.name))
        except OSError:  # over meanwhile
            continue
    return found


def line_of(pid: int) -> str:
    """Its command line; nothing where it is over."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    except OSError:
        return ""


def programs(folder: Path, *names: str) -> str:
    """A folder for PATH that has these programs and no others."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)
