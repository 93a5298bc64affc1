"""Stands between the runner and an agent's program: when either of them is gone, so is all that the program started.

Run as a script in an isolated interpreter: `keeper.py <control> <program> <argument>...`. Its standard streams become
the program's. Letters on the descriptor `control` are orders: `i` interrupts the program, `o` ends what it left
behind, `k` ends all at once. Its end, which the runner's death brings about, ends all after a short grace. The status
it leaves with is the program's.

Killing a process group is not enough: shells that an agent runs have sessions of their own, and what they put into the
background has lost its parent. Linux hands such orphans to the keeper, as it asks for them.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # prctl(2)
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 0.7
LEFT_SECONDS = 0.8
KILL_SECONDS = 1.0
SWEEP_SECONDS = 1.0
LOOK_SECONDS = 0.02
NOT_STARTED = 127  # as a shell says it


class Keeper:
    """One program and its descendants; `status` is what the program left with, as waitpid(2) tells it."""

    def __init__(self, control: int, command: list[str]) -> None:
        self.status: int | None = None
        self._control = control
        self._sweeps_until = 0.0  # what is being ended now leaves orphans a moment later
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._program = _start(command)
        _let_go_of_streams()

    def keep(self) -> None:
        """Obey until the program is over, then end what it left."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while self.status is None:
            sweeps = time.monotonic() < self._sweeps_until
            if sweeps:
                self._end_orphans()
            for descriptor, _ in poll.poll(LOOK_SECONDS * 1000 if sweeps else None):
                if descriptor == self._woken:
                    self._signalled(self._signals())
                elif self.status is None:
                    self._obey(os.read(self._control, 1))
        self._end_all()

    def _signalled(self, numbers: bytes) -> None:
        self._reap()
        if self.status is None and set(numbers) & {signal.SIGTERM, signal.SIGHUP}:
            self._end()

    def _obey(self, order: bytes) -> None:
        if order == b"i":
            os.kill(self._program, signal.SIGINT)
        elif order == b"o":
            self._sweeps_until = time.monotonic() + SWEEP_SECONDS
        elif order == b"k":
            _kill([self._program])
            self._end_all()
        else:
            self._end()

    def _end(self) -> None:
        """The program may end tidily, for a moment."""
        os.kill(self._program, signal.SIGTERM)
        self._rest_until(lambda: self.status is not None, GRACE_SECONDS)
        _kill([self._program])
        self._end_all()

    def _end_all(self) -> None:
        """The program is over or about to be; servers that it used may end tidily too."""
        left = descendants(os.getpid())
        _kill([pid for pid in left if pid != self._program], signal.SIGTERM)
        self._rest_until(lambda: not descendants(os.getpid()), LEFT_SECONDS)
        end = time.monotonic() + KILL_SECONDS
        while (left := descendants(os.getpid())) and time.monotonic() < end:
            _kill(left)
            self._rest()
        self._reap()

    def _end_orphans(self) -> None:
        """What lost its parent came to us: all our children but the program."""
        for child in children().get(os.getpid(), ()):
            if child != self._program:
                _kill([child, *descendants(child)])

    def _rest_until(self, over: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not over() and time.monotonic() < end:
            self._rest()

    def _rest(self) -> None:
        """Until something ends, for a moment at most."""
        select.select([self._woken], [], [], LOOK_SECONDS)
        self._signals()
        self._reap()

    def _signals(self) -> bytes:
        """The numbers of those that have come; they may have been taken since they were announced."""
        try:
            return os.read(self._woken, 64)
        except BlockingIOError:
            return b""

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._program:
                    self.status = status


def descendants(top: int) -> list[int]:
    """All living processes below one."""
    below = children()
    found = list(below.get(top, ()))
    for pid in found:
        found.extend(below.get(pid, ()))
    return found


def children() -> dict[int, list[int]]:
    """The living children of each process."""
    found: dict[int, list[int]] = {}
    for pid, parent in _listed() if os.path.exists("/proc/self/stat") else _asked():  # noqa: PTH110
        found.setdefault(parent, []).append(pid)
    return found


def _listed() -> list[tuple[int, int]]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found.append((int(name), int(parent)))
    return found


def _asked() -> list[tuple[int, int]]:
    """Where there is no /proc (macOS)."""
    import subprocess

    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, check=False, timeout=5)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(int(row[0]), int(row[1])) for row in rows if len(row) == 3 and not row[2].startswith(b"Z")]


def _kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _start(command: list[str]) -> int:
    ours = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == ours:  # else the keeper died before that was set
            os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="replace"))
    os._exit(NOT_STARTED)


def _let_go_of_streams() -> None:
    """They are the program's alone, so that the runner sees their end when it ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _leave(status: int) -> None:
    """End as the program did."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # SIGKILL can neither be caught nor set
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main(arguments: list[str]) -> None:
    control = int(arguments[0])
    os.set_inheritable(control, False)
    keeper = Keeper(control, arguments[1:])
    keeper.keep()
    _leave(keeper.status or 0)


if __name__ == "__main__":
    main(sys.argv[1:])
