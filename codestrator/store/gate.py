"""The gate in front of the compare-and-swap: writers pass it one at a time, in the order in which they came.

It only queues; what is right is the compare-and-swap's to say. Whoever dies leaves it by the kernel's hand.
"""

import _thread
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PLACES = 64
PATIENCE_SECONDS = 1.0
NUMBER_BYTES = 8


class Gate:
    """A kernel lock that writers take in turn; whoever waits too long goes on without."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self.seconds = seconds
        self._line = Line(path.with_name("queue"), min(seconds, PATIENCE_SECONDS))
        self._local = threading.local()

    @property
    def held(self) -> bool:
        """Whether this thread has it."""
        return getattr(self._local, "held", False)

    @contextmanager
    def __call__(self) -> Iterator[bool]:
        """Yield whether it was got in time; entering it again in the same thread is entering it once."""
        if self.held:
            yield True
            return
        place, handle = self._line.enter(), _opened(self._path)
        try:
            self._local.held = handle is not None and _lock(handle, fcntl.LOCK_EX, self.seconds)
            yield self._local.held
        finally:
            if handle is not None and self._local.held:
                os.close(handle)
            self._local.held = False
            if place is not None:
                os.close(place)


class Line:
    """Who waits for the gate: each holds a lock of its own and waits for the one of whoever came before.

    The queue lock of Craig and of Landin and Hagersten (1993, 1994), with files for its cells. Without it the kernel
    gives a lock to whoever runs at that moment, and one of eight writers is passed by twenty times now and then.
    """

    def __init__(self, folder: Path, patience_seconds: float) -> None:
        self._folder = folder
        self._patience = patience_seconds

    def enter(self) -> int | None:
        """Come to its head; the handle to close when one is through. None where it cannot be stood in: it is full.

        Whoever waits in it for longer than the patience, because one before was stopped, goes to the gate all the same.
        """
        tail = _opened(self._folder / "tail")
        if tail is None or not _lock(tail, fcntl.LOCK_EX, self._patience):
            return None
        own = before = None
        try:
            number = int.from_bytes(os.pread(tail, NUMBER_BYTES, 0), "little")
            own, before = self._place(number), self._place(number - 1)
            if own is not None:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(tail, ((number + 1) % 2**63).to_bytes(NUMBER_BYTES, "little"), 0)
        except OSError:  # as many wait as there are places, or the disk is full
            if own is not None:
                os.close(own)
            own = None
        finally:
            os.close(tail)
        if before is not None and (own is None or _lock(before, fcntl.LOCK_SH, self._patience)):
            os.close(before)
        return own

    def _place(self, number: int) -> int | None:
        return _opened(self._folder / str(number % PLACES))


def _opened(path: Path) -> int | None:
    """A handle of its own for each entry: the kernel then keeps threads apart as it does processes."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    with suppress(OSError):  # read-only: what follows will say so
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)
    return None


def _lock(handle: int, how: int, seconds: float) -> bool:
    """Wait in the kernel's own queue, in a thread, because flock knows no time limit; closes the handle if in vain."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        pass
    except OSError:  # a file system without locks: the compare-and-swap alone must do
        os.close(handle)
        return False
    got, turn = threading.Lock(), threading.Lock()
    got.acquire()
    given_up = False

    def wait() -> None:
        fcntl.flock(handle, how)
        with turn:
            got.release()
            if given_up:
                os.close(handle)

    # Not by threading.Thread, which waits until its thread has begun: this is most of what a mutation under load pays.
    _thread.start_new_thread(wait, ())
    if got.acquire(timeout=seconds):
        return True
    with turn:
        given_up = got.locked()
    return not given_up
