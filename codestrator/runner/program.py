"""An agent's program with all that it starts, as lines in and lines out, every wait bounded."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from codestrator import text
from codestrator.errors import External
from codestrator.runner.leftovers import end_marked

KEEPER = str(Path(__file__).with_name("keeper.py"))
MARK = "CODESTRATOR_AGENT"
# A line of Codex holds at most a conversation's history; what is longer is not from a program in its right mind.
LINE_BYTES = 32 * 1024 * 1024
LOGGED_CHARACTERS = 4000
TAIL_LINES = 20
WRITE_SECONDS = 30.0
LOOK_SECONDS = 0.2
LEAVE_SECONDS = 1.2
KEEPER_SECONDS = 3.0


class Over(Exception):
    """The program has ended, or takes no more input."""


class Program:
    """A running program; `on_line` and `on_end` are called from threads of its own, the end after the last line.

    Environment variables given are added to the runner's own. `wire` gets what is written (`> `), read (`< `) and
    said on standard error (`! `). `on_end` gets the status and whether the end is news: it is not before `vouch`,
    nor once we ended the program ourselves; what it says after `kill` is not heard.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        on_line: Callable[[str], None],
        on_end: Callable[[int, bool], None],
        wire: Callable[[str], None],
    ) -> None:
        self._on_line, self._on_end, self._wire = on_line, on_end, wire
        self._writing = threading.Lock()
        self._said: deque[str] = deque(maxlen=TAIL_LINES)
        mark = os.urandom(8).hex()
        self._mark = f"{MARK}={mark}"
        given = surroundings(environment) | {MARK: mark}
        expect_there(command, folder, given)
        self._ordering = threading.Lock()
        self._over = threading.Event()
        self._vouched = self._written_off = False
        self._control: int | None
        self._process, self._control = _spawn(command, folder, given)
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._reader = self._thread(self._read)
        self._listener = self._thread(self._listen)
        self._waiter = self._thread(self._wait)

    def listen(self) -> None:
        """Begin to hear it; whoever made it knows it by then."""
        for thread in (self._reader, self._listener, self._waiter):
            thread.start()

    def vouch(self) -> bool:
        """From now on its end is news; False if it has ended already."""
        with self._ordering:
            self._vouched = not self._over.is_set()
            return self._vouched

    def over(self, seconds: float) -> bool:
        """Whether it has ended; waits so long at most."""
        return self._over.wait(seconds)

    @property
    def given_up(self) -> bool:
        """Whether we ended it."""
        return self._written_off

    @property
    def last_words(self) -> str:
        """The end of what it said on standard error."""
        return text.shorten(text.clean("\n".join(self._said)), 2000)

    def write(self, line: str) -> None:
        """One line to its standard input; `Over` where it has ended or does not read."""
        self.note("> " + line)
        self.write_raw(line.encode("utf-8", "surrogatepass") + b"\n")

    def write_raw(self, data: bytes) -> None:
        with self._writing:
            stdin = self._process.stdin
            if stdin is None or stdin.closed:
                raise Over
            try:
                self._write_all(stdin.fileno(), data)
            except TimeoutError as error:
                self.kill()  # half a line was perhaps written: nothing that follows could be understood
                raise Over from error
            except OSError as error:  # it hears no more: it has ended, or will
                raise Over from error

    def _write_all(self, descriptor: int, data: bytes) -> None:
        end = time.monotonic() + WRITE_SECONDS
        rest = memoryview(data)
        while rest:
            if self._written_off or time.monotonic() > end:
                raise TimeoutError
            if select.select([], [descriptor], [], LOOK_SECONDS)[1]:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(descriptor, rest[:65536]) :]

    def end_input(self) -> None:
        with self._writing, contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def interrupt(self) -> None:
        self._order(b"i")

    def end_orphans(self) -> None:
        """End what processes that are over have left running."""
        self._order(b"o")

    def kill(self) -> None:
        """End it and all that it started, at once."""
        self._written_off = True
        self._order(b"k")

    def end(self) -> int | None:
        """End it, tidily if it will, and all that it started; its status, None if it cannot be ended."""
        self._written_off = True
        self.end_input()
        for seconds, harder in ((LEAVE_SECONDS, self._let_go), (KEEPER_SECONDS, self._kill_group), (0.3, _nothing)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
            harder()
        if self._waiter.ident:
            self._waiter.join(0.5)
        return self._process.poll()

    def _order(self, letter: bytes) -> None:
        with self._ordering, contextlib.suppress(OSError):  # it is over, and with it its keeper
            if self._control is not None:
                os.write(self._control, letter)

    def _let_go(self) -> None:
        """Without us the keeper ends all."""
        with self._ordering:
            if self._control is not None:
                os.close(self._control)
            self._control = None

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=work, name=f"{work.__name__} {self._process.pid}", daemon=True)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while line := stream.readline(LINE_BYTES):
                if not line.endswith(b"\n") and len(line) == LINE_BYTES:
                    self.note(f"? a line of more than {LINE_BYTES} bytes was left out")
                    while not line.endswith(b"\n") and (line := stream.readline(LINE_BYTES)):
                        pass
                    continue
                found = line.decode("utf-8", "replace").rstrip("\r\n")
                self.note("< " + found)
                if not self._written_off:
                    self._on_line(found)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while line := stream.readline(LOGGED_CHARACTERS):
                found = text.one_line(line.decode("utf-8", "replace"))
                self._said.append(found)
                self.note("! " + found)

    def _wait(self) -> None:
        status = self._process.wait()
        for thread in (self._reader, self._listener):  # what it said last; an heir of its streams may hold them open
            thread.join(LEAVE_SECONDS)
        self._let_go()
        end_marked(self._mark)
        with self._ordering:
            self._over.set()
            news = self._vouched and not self._written_off
        self._on_end(status, news)

    def note(self, line: str) -> None:
        """Put a line beside those that go to and fro."""
        with contextlib.suppress(OSError):  # a full disk is no reason to stop
            self._wire(line if len(line) <= LOGGED_CHARACTERS else line[:LOGGED_CHARACTERS] + " …")


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of an agent's program: the runner's own, without its terminal multiplexer, and what is given."""
    ours = {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
    return ours | dict(environment)


def expect_there(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    if not folder.is_dir():
        raise External(
            f"the folder '{folder}' of the agent is not there, expected its worktree",
            hint="Look at worktree.list; restart the thread once the worktree is back.",
            program=command[0],
        )
    if not shutil.which(command[0], path=environment.get("PATH")):
        raise External(
            f"the program '{command[0]}' is not to be found, expected one that can be run",
            hint="Install Codex (npm install -g @openai/codex), or give its place as codex_command.",
            program=command[0],
        )


def _spawn(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple["subprocess.Popen[bytes]", int]:
    """The keeper with the program below it, and where orders to it are written."""
    orders, control = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", KEEPER, str(orders), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(orders,),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        os.close(control)
        raise External(
            f"'{command[0]}' could not be started: {error}, expected a program that can be run",
            hint="Look at codex_command and the worktree's folder.",
            program=command[0],
        ) from None
    finally:
        os.close(orders)
    return process, control


def _nothing() -> None:
    pass
