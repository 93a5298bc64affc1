"""Who is alive: kernel locks that end with their process, and beats on a clock that counts suspend."""

import fcntl
import os
import re
import threading
import time
import weakref
from pathlib import Path

import msgspec

from codestrator.clock import Clock, rfc3339
from codestrator.decoding import decoder
from codestrator.errors import CodestratorError
from codestrator.ports import Beat
from codestrator.world.files import failed, make_private

RECORD_BYTES = 256  # always the same length, so that one write replaces another without a moment in between
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
TRIES = 20
REST_SECONDS = 0.002


class Record(msgspec.Struct, frozen=True):
    """A beat as its file holds it; a field that is missing or of another type makes it no beat."""

    boot_id: str
    boot_ms: int
    at: str
    pid: int = 0
    ttl_seconds: int = 0


class LiveFolder:
    """`<common git dir>/codestrator/live/`; one object a process, for all its threads."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._held: dict[str, int] = {}
        self._guard = threading.RLock()
        _folders.add(self)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"no name of a live file: {name!r}")
        return self._folder / name

    def beat(self, name: str) -> Beat | None:
        """The last sign of life, or None where there is none that can be read."""
        try:
            found = decoder(Record).decode(self._path(name).read_bytes())
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        return Beat(found.boot_id, found.boot_ms, found.at, found.pid, found.ttl_seconds)

    def mine(self, name: str) -> bool:
        return name in self._held

    def held(self, name: str) -> bool:
        """Whether a process holds the lock. Looking takes a shared lock for an instant: `take` allows for that."""
        if name in self._held:
            return True
        try:
            handle = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def take(self, name: str) -> bool:
        """Become the one who is alive under that name; False if another process is."""
        with self._guard:
            mine = name in self._held
            if not mine:
                handle = self._lock(name)
                if handle is None:
                    return False
                self._held[name] = handle
            try:
                self.renew(name)
            except CodestratorError:
                if not mine:  # who was refused holds nothing
                    os.close(self._held.pop(name))
                raise
            return True

    def _lock(self, name: str) -> int | None:
        for _ in range(TRIES):
            handle = self._open(name)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                time.sleep(REST_SECONDS)  # somebody may only be looking
                continue
            if self._is_path(name, handle):
                return handle
            os.close(handle)  # its last holder removed the file between our opening and locking it
        return None

    def _open(self, name: str) -> int:
        try:
            make_private(self._folder)
            return os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failed(self._path(name), "opened", error) from None

    def _is_path(self, name: str, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self._path(name).stat())
        except FileNotFoundError:
            return False

    def renew(self, name: str, *, ttl_seconds: int = 0) -> None:
        """Write a beat into the file that is there, which keeps its lock."""
        now = self._clock.now()
        beat = Record(now.boot_id, now.boot_ms, rfc3339(now.at), os.getpid(), ttl_seconds)
        record = msgspec.json.encode(beat).ljust(RECORD_BYTES - 1) + b"\n"
        with self._guard:
            if name in self._held and self._still(name):
                self._write(name, self._held[name], record)
                return
            handle = self._open(name)
            try:
                self._write(name, handle, record)
            finally:
                os.close(handle)

    def _write(self, name: str, handle: int, record: bytes) -> None:
        try:
            os.pwrite(handle, record, 0)
        except OSError as error:
            raise failed(self._path(name), "written", error) from None

    def _still(self, name: str) -> bool:
        """Whether our lock is on the file that has the name; where somebody removed it, lock the one there is now."""
        if not self._is_path(name, self._held[name]):
            os.close(self._held.pop(name))
            if (handle := self._lock(name)) is not None:
                self._held[name] = handle
        return name in self._held

    def leave(self, name: str) -> None:
        """End the sign of life, unless another process holds it."""
        with self._guard:
            handle = self._held.pop(name, None)
            if handle is None and self._path(name).exists():
                handle = self._lock(name)
            if handle is not None:
                self._path(name).unlink(missing_ok=True)
                os.close(handle)

    def tell(self, name: str, said: bytes) -> None:
        place = self._path(f"{name}.report")
        aside = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            make_private(self._folder)
            aside.write_bytes(said)
            aside.replace(place)
        except OSError as error:
            raise failed(place, "written", error) from None

    def told(self, name: str) -> bytes | None:
        try:
            return self._path(f"{name}.report").read_bytes()
        except OSError:
            return None

    def forget_told(self, name: str) -> None:
        self._path(f"{name}.report").unlink(missing_ok=True)

    def close(self) -> None:
        """Give all locks back; the beats stay."""
        with self._guard:
            for handle in self._held.values():
                os.close(handle)
            self._held.clear()

    def forget(self) -> None:
        """In a forked child: let go of the parent's descriptors, which leaves its locks to the parent alone."""
        self._guard = threading.RLock()
        self.close()


def _forget_all() -> None:
    for folder in list(_folders):
        folder.forget()


# Exec closes the descriptors; a child that only forks would keep its parent's locks alive.
_folders: "weakref.WeakSet[LiveFolder]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all)
