"""Writes loose objects: byte for byte what git writes, with a third of the system calls that libgit2 makes for one.

Each costs a new file, and a mutation writes five: this is where its time goes. A killed writer leaves a file named
`tmp_obj_…`, which git's own pruning removes.
"""

import os
from pathlib import Path

from codestrator.store.sha import sha1

COMPRESSION = 1  # of git's 0 to 9; packs compress again


class LooseObjects:
    """The loose objects of one repository. `durable` flushes each to the disk before it has its name."""

    def __init__(self, common_dir: Path, *, durable: bool) -> None:
        self._folder = f"{common_dir}/objects"
        self._durable = durable

    def write(self, kind: bytes, content: bytes) -> bytes:
        """Write an object, or mark the one that is there as young; its id (gitformat: `<kind> <size> NUL`)."""
        whole = b"%s %d\0%s" % (kind, len(content), content)
        oid = sha1(whole)
        digits = oid.hex()
        place = f"{self._folder}/{digits[:2]}/{digits[2:]}"
        try:
            os.utime(place)  # as git does: what was just wanted is not pruned as old
        except FileNotFoundError:
            self._put(place, whole)
        return oid

    def _put(self, place: str, whole: bytes) -> None:
        import zlib  # a command that only reads need not load it

        aside = f"{self._folder}/tmp_obj_{os.urandom(8).hex()}"
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            try:
                rest = memoryview(zlib.compress(whole, COMPRESSION))
                while rest:
                    rest = rest[os.write(handle, rest) :]
                if self._durable:
                    os.fsync(handle)
            finally:
                os.close(handle)
            self._name(aside, place)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def _name(self, aside: str, place: str) -> None:
        """Give it its name; what has it already has the same content."""
        try:
            os.rename(aside, place)  # noqa: PTH104  # strings: this is the innermost loop
        except FileNotFoundError:
            self._make_folder(Path(place).parent)
            os.rename(aside, place)  # noqa: PTH104
        if self._durable:
            flush_folder(os.path.dirname(place))  # noqa: PTH120

    def _make_folder(self, folder: Path) -> None:
        """With the rights of the folder it lies in: the repository may be shared by a group."""
        folder.mkdir(exist_ok=True)
        folder.chmod(folder.parent.stat().st_mode & 0o7777)


def flush_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
