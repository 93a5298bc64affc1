"""Moves one ref of ours as git does, by a lock file renamed into place, but without making a new file each time.

A new file and a deleted one for each move is the greater part of what a move costs. So a ref has two files that stay,
each with a name of its own beside the gate; the one that is not the ref now (nothing else links to it) is written,
linked as `<ref>.lock`, which fails if anybody holds that, and renamed over the ref. Git and libgit2 see what they
would see of each other. Where there are no hard links, or somebody linked to our files, libgit2 does it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from codestrator.ports import Contention
from codestrator.store.loose import flush_folder


class RefFile:
    """The file of one ref; `durable` has each move on the disk before it is done."""

    def __init__(self, common_dir: Path, ref: str, *, durable: bool) -> None:
        self._place = f"{common_dir}/{ref}"
        self._own = [f"{common_dir}/codestrator/{ref.replace('/', '-')}.{which}" for which in "ab"]
        self._durable = durable

    def lock(self) -> "Locked | None":
        """Take `<ref>.lock`; raises `Contention` if somebody has it, None where it can't be done this way."""
        for handle, path in self._free():
            try:
                self._link(path)
            except FileExistsError:
                os.close(handle)
                raise Contention(f"{self._place}.lock is held") from None
            except OSError:
                os.close(handle)
                return None
            return Locked(handle, self._place, durable=self._durable)
        return None

    def _free(self) -> Iterator[tuple[int, str]]:
        """The one of the two that may be written: held by its kernel lock, with no link but its own."""
        for path in self._own:
            with suppress(OSError):
                if os.stat(path).st_nlink > 1:  # noqa: PTH116  # strings: each mutation comes here
                    continue
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            except OSError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = os.fstat(handle).st_nlink == 1
                os.utime(handle)  # as young as a lock that was just made: an old one is taken for a dead writer's
            except OSError:
                alone = False
            if alone:
                yield handle, path
                return
            os.close(handle)

    def _link(self, path: str) -> None:
        lock = f"{self._place}.lock"
        try:
            os.link(path, lock)
        except FileNotFoundError:  # git removes a folder of refs when it has packed the last one in it
            Path(lock).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, lock)


class Locked:
    """A ref whose lock file is ours, until it is moved or released."""

    def __init__(self, handle: int, place: str, *, durable: bool) -> None:
        self._handle = handle
        self._place = place
        self._durable = durable
        self._moved = False

    def move(self, new: str) -> None:
        if not self._ours():
            raise Contention(f"{self._place}.lock was taken away")
        os.pwrite(self._handle, f"{new}\n".encode(), 0)
        if self._durable:
            os.fsync(self._handle)
        os.rename(f"{self._place}.lock", self._place)  # noqa: PTH104
        self._moved = True
        if self._durable:
            flush_folder(os.path.dirname(self._place))  # noqa: PTH120

    def _ours(self) -> bool:
        """Whether the lock file is still the one that was linked."""
        try:
            return os.stat(f"{self._place}.lock").st_ino == os.fstat(self._handle).st_ino  # noqa: PTH116
        except FileNotFoundError:
            return False

    def release(self) -> None:
        if not self._moved and self._ours():
            with suppress(FileNotFoundError):
                os.unlink(f"{self._place}.lock")  # noqa: PTH108
        os.close(self._handle)
