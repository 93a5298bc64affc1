"""Writes loose objects as git reads them, with a third of the system calls that libgit2 makes for one.

Each costs a new file, and a mutation writes five: this is where its time goes. Only what is large is compressed: for
the others that would cost more than all else, and they are packed soon. A killed writer leaves nothing, or, where
there are no files without a name, one named `tmp_obj_…`, which git's own pruning removes.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from codestrator.store.sha import sha1

COMPRESSION = 1  # of git's 0 to 9; packs compress again
STORED = 0xFFFF  # the most that one block of a zlib stream takes as it is
SPARE = 6  # a mutation of one document writes five objects
MODE = 0o444
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
TMPFILE: int = getattr(os, "O_TMPFILE", 0) if Path("/proc/self/fd").is_dir() else 0  # Linux

T = TypeVar("T")


class LooseObjects:
    """The loose objects of one repository. `durable` flushes each to the disk before it has its name."""

    def __init__(self, common_dir: Path, *, durable: bool) -> None:
        self._folder = f"{common_dir}/objects"
        self._durable = durable
        self._spare: list[int] = []
        self._maker = 0

    def write(self, kind: bytes, content: bytes) -> bytes:
        """Write an object, or mark the one that is there as young; its id (gitformat: `<kind> <size> NUL`)."""
        whole = b"%s %d\0%s" % (kind, len(content), content)
        oid = sha1(whole)
        place = loose_path(self._folder, oid)
        try:
            os.utime(place)  # as git does: what was just wanted is not pruned as old
        except FileNotFoundError:
            self._put(place, whole)
        return oid

    def prepare(self) -> None:
        """Make files without a name for what one mutation writes: before the gate, so that nobody waits for the disk.

        To find a free inode is most of what a new file costs, up to 0.5 ms each where many files were just deleted.
        """
        if self._maker != os.getpid():  # what came along in a fork is the parent's to write
            self._maker, self._spare = os.getpid(), []
        while TMPFILE and len(self._spare) < SPARE:
            try:
                self._spare.append(os.open(self._folder, os.O_WRONLY | TMPFILE | os.O_CLOEXEC, MODE))
            except OSError:  # a file system that knows no such files: they are made with a name
                return

    def close(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _put(self, place: str, whole: bytes) -> None:
        """It has its name only once it is whole; what has its name already has the same content."""
        folder = os.path.dirname(place)  # noqa: PTH120  # strings: this is the innermost loop
        if not self._named(place, folder, whole):
            self._renamed(place, folder, whole)
        if self._durable:
            flush_folder(folder)

    def _named(self, place: str, folder: str, whole: bytes) -> bool:
        """Write a spare file and give it its name (open(2), O_TMPFILE); False if there is none, or it can't be done."""
        try:
            handle = self._spare.pop() if self._maker == os.getpid() else None
        except IndexError:
            handle = None
        if handle is None:
            return False
        try:
            self._fill(handle, whole)
            # A directory handle, whichever, makes Python follow the link.
            _in_folder(folder, lambda: os.link(f"/proc/self/fd/{handle}", place, src_dir_fd=handle))
        except FileExistsError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return True

    def _renamed(self, place: str, folder: str, whole: bytes) -> None:
        aside = f"{folder}/tmp_obj_{os.urandom(8).hex()}"
        handle = _in_folder(folder, lambda: os.open(aside, NEW, MODE))
        try:
            try:
                self._fill(handle, whole)
            finally:
                os.close(handle)
            os.rename(aside, place)  # noqa: PTH104
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def _fill(self, handle: int, whole: bytes) -> None:
        rest = memoryview(_deflated(whole))
        while rest:
            rest = rest[os.write(handle, rest) :]
        if self._durable:
            os.fsync(handle)


def _in_folder(folder: str, act: Callable[[], T]) -> T:
    """Do it; once more if the folder was missing, which is made with the rights of the one it lies in."""
    try:
        return act()
    except FileNotFoundError:  # git removes folders that are empty; the repository may be a group's
        missing = Path(folder)
        missing.mkdir(exist_ok=True)
        missing.chmod(missing.parent.stat().st_mode & 0o7777)
        return act()


def _deflated(whole: bytes) -> bytes:
    """A zlib stream; of what is not large, with one stored block (RFC 1950, RFC 1951 3.2.4)."""
    import zlib  # a command that only reads need not load it

    size = len(whole)
    if size > STORED:
        return zlib.compress(whole, COMPRESSION)
    lengths = size.to_bytes(2, "little") + (0xFFFF - size).to_bytes(2, "little")
    return b"\x78\x01\x01" + lengths + whole + zlib.adler32(whole).to_bytes(4, "big")


def loose_path(objects: str, oid: bytes) -> str:
    digits = oid.hex()
    return f"{objects}/{digits[:2]}/{digits[2:]}"


def flush_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
