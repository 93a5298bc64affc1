"""Writes loose objects as git reads them, with a third of the system calls that libgit2 makes for one.

Each costs a new file, and a mutation writes five: this is where its time goes. Only what is large is compressed: for
the others that would cost more than all else, and they are packed soon. A killed writer leaves a file
named `tmp_obj_…`, which git's own pruning removes.
"""

import os
from pathlib import Path

from codestrator.store.sha import sha1

COMPRESSION = 1  # of git's 0 to 9; packs compress again
STORED = 0xFFFF  # the most that one block of a zlib stream takes as it is


class LooseObjects:
    """The loose objects of one repository. `durable` flushes each to the disk before it has its name."""

    def __init__(self, common_dir: Path, *, durable: bool) -> None:
        self._folder = f"{common_dir}/objects"
        self._durable = durable

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

    def _put(self, place: str, whole: bytes) -> None:
        """Under another name until it is whole; what has its name already has the same content."""
        folder = os.path.dirname(place)  # noqa: PTH120  # strings: this is the innermost loop
        aside = f"{folder}/tmp_obj_{os.urandom(8).hex()}"
        handle = self._open(aside)
        try:
            try:
                rest = memoryview(_deflated(whole))
                while rest:
                    rest = rest[os.write(handle, rest) :]
                if self._durable:
                    os.fsync(handle)
            finally:
                os.close(handle)
            os.rename(aside, place)  # noqa: PTH104
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        if self._durable:
            flush_folder(folder)

    def _open(self, aside: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(aside, flags, 0o444)
        except FileNotFoundError:  # with the rights of the folder it lies in: the repository may be a group's
            folder = Path(aside).parent
            folder.mkdir(exist_ok=True)
            folder.chmod(folder.parent.stat().st_mode & 0o7777)
            return os.open(aside, flags, 0o444)


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
