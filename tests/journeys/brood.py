"""Children at work in panes of a tmux server of the test's own, and how they are looked at from outside."""

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from codestrator import registry
from codestrator.records import THREAD_ENDED, Thread
from codestrator.world import processes
from tests.actors import Actor
from tests.conftest import ended, git
from tests.edges.wire import Wire

MARK = "CODESTRATOR_THREAD_ID"
HERE = Path(__file__).parent.parent.parent
TRUE_SECONDS = 60  # within which states must be true again
SERVER = """
import asyncio, pathlib
from codestrator.calls import Seat
from codestrator.edges import server
asyncio.run(server._serve(server.Desk(pathlib.Path.cwd(), Seat("root"), renew_seconds=1.0)))
"""
T = TypeVar("T")
Json = dict[str, Any]


class Served(Actor):
    """A root whose calls go to a real server; it only looks by itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, kind="bystander")
        self.folder = folder
        self.serve()

    def serve(self, folder: Path | None = None) -> Json:
        """Start a server that looks after children every second; what it says of itself."""
        self.wire = Wire(folder or self.folder, [sys.executable, "-c", SERVER])
        return self.wire.start()

    def __call__(self, method: str, /, **given: Any) -> Json:
        return self.wire.call(method, **given)

    def close(self) -> None:
        self.wire.finish()
        super().close()


class Brood:
    """A root with its children, their tmux server, and the processes that carry their marks."""

    def __init__(self, root: Actor, socket: str) -> None:
        self.root = root
        self.socket = socket
        self.children: list[str] = []

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self.socket, *words], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, f"tmux {' '.join(words)}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def spawn(self, **given: Any) -> Json:
        """A child; its answer. Whatever becomes of it, the test's end looks after its processes."""
        found = self.root("thread.child.spawn", **given)
        self.children.append(found["thread"]["id"])
        return found

    def at_work(self, title: str, *, halt: str | None = "two", **given: Any) -> tuple[str, str]:
        """A child that has a case of two steps, does the first and halts in the second: (its id, its case)."""
        case = given.pop("case", None) or self.root.case("one", "two")
        command = self.labour(case, halt)
        thread = self.spawn(title=title, scope_case_ids=[case], launch_command=command, **given)["thread"]["id"]
        if halt:
            self.until(lambda: f"middle of {halt}" in (self.seen(thread).get("progress") or ""))
        return thread, case

    def labour(self, case: str, halt: str | None) -> str:
        words = [sys.executable, "-m", "tests.journeys.labourer", case, *([halt] if halt else [])]
        return f"PYTHONPATH={shlex.quote(str(HERE))} {shlex.join(words)}"

    def seen(self, thread: str) -> Json:
        """The thread as the list shows it, which looks after nobody."""
        for item in self.root("thread.child.list")["items"]:
            if item["thread"]["id"] == thread:
                found: Json = item["thread"]
                return found
        raise AssertionError(f"no {thread}")

    def published(self) -> list[Thread]:
        """The children as the state has them, read past every server."""
        tx = self.root.world.store.read()
        return [tx.require(Thread, row.id) for row in tx.rows(Thread) if row.parent_thread_id]

    def until(self, look: Callable[[], T], seconds: float = TRUE_SECONDS) -> T:
        """What the look finds, as soon as it finds something; asked when the state moves, or after a moment."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, "\n".join([f"not within {seconds} s", *map(self.log, self.children)])
            self.root.world.wait_for_change(0.1)
        return found

    def settled(self, *threads: str) -> list[Json]:
        """These threads as soon as all have ended, looked after as a root's server does every 20 s."""

        def look() -> bool:
            if not isinstance(self.root, Served):  # whose server does it
                registry.reconcile(self.root.world)
            return all(self.seen(one)["status"] in THREAD_ENDED for one in threads)

        self.until(look)
        return [self.seen(one) for one in threads]

    def processes(self, thread: str, *words: str) -> list[int]:
        """The living processes of a child whose command line holds all these words."""
        return [pid for pid in processes.marked(MARK, thread) if all(one in line_of(pid) for one in words)]

    def runner(self, thread: str) -> int:
        (found,) = self.processes(thread, " codestrator ", " runner ")
        return found

    def keeper(self, thread: str) -> int:
        (found,) = self.processes(thread, "keeper.py")
        return found

    def program(self, thread: str) -> int:
        """The agent's program itself."""
        keeper = self.keeper(thread)
        return int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text(encoding="ascii").split()[0])

    def standing(self, thread: str) -> list[int]:
        """What stands as long as the agent does; its shells come and go."""
        return [self.runner(thread), self.keeper(thread), self.program(thread)]

    def nothing_runs(self, thread: str, seconds: float = 5) -> bool:
        return all(ended(pid, seconds) for pid in self.processes(thread)) and not self.processes(thread)

    def log(self, thread: str) -> str:
        """What its pane shows, or the log of what it showed."""
        return str(self.root("thread.child.status", thread_id=thread).get("screen"))

    def worktree(self, thread: str) -> Path:
        wanted = self.seen(thread)["worktree_id"]
        (found,) = [one for one in self.root("worktree.list")["items"] if one["worktree"]["id"] == wanted]
        return Path(self.root.world.repo, found["worktree"]["path"])

    def end(self) -> None:
        """Whatever the test came to: no server, no process of ours is left."""
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False)
        for thread in self.children:
            for pid in processes.marked(MARK, thread):
                kill(pid)


def line_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    except OSError:
        return ""


def kill(pid: int) -> None:
    """Kill and see it die."""
    processes.send(pid, signal.SIGKILL)
    assert ended(pid)


def hostile(place: str) -> str:
    """Words that make a file where anything takes them for more than words."""
    forms = ("$(touch${{IFS}}{0}1)", "`touch${{IFS}}{0}2`", "#(touch${{IFS}}{0}3)", "';touch${{IFS}}{0}4;'")
    return "".join(forms).format(place)


def hostile_repo(place: Path, branch: str) -> Path:
    """A repository in a folder of such a name."""
    folder = place / "a b" / hostile("trapped")
    folder.mkdir(parents=True)
    git("init", "-q", "-b", branch, at=folder)
    git("commit", "-q", "--allow-empty", "-m", "first", at=folder)
    return folder


@contextmanager
def small_disk(place: Path, size: str = "64k") -> Iterator[None]:
    """A disk of its own at that place; skips where none can be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs to mount a small disk: {done.stderr.decode(errors='replace')[:100]}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free; the file that takes them."""
    with suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return disk / "fill"


def brood_of(repo: Path, make: Callable[[Path], Actor] = Actor, kind: type[Brood] = Brood) -> Iterator[Brood]:
    """The socket's place is short, because sockets allow about 100 bytes."""
    place = Path(tempfile.mkdtemp(prefix="brood-", dir="/tmp"))
    git("config", "codestrator.tmuxSocket", str(place / "s"), at=repo)
    root = make(repo)
    root("workspace.init")
    root.open()
    made = kind(root, str(place / "s"))
    try:
        yield made
    finally:
        made.end()
        root.close()
        shutil.rmtree(place)
