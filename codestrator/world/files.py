"""The private folder inside the common git directory; a file is written whole or not at all."""

import contextlib
import os
import threading
from pathlib import Path

from codestrator.errors import External


class PrivateFiles:
    """Readable by the user only."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        return self._root

    def write(self, name: str, content: bytes) -> None:
        place = self._root / name
        aside = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            make_private(self._root)
            make_private(place.parent)
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            aside.replace(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise failed(place, "written", error) from None

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failed(self._root / name, "read", error) from None


def make_private(folder: Path) -> None:
    """Make a folder for the user alone; its parent is private or not ours."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def failed(place: Path, done: str, error: OSError) -> External:
    return External(
        f"'{place}' could not be {done}: {error.strerror}, expected a file of our own",
        hint="Look at the free space and the permissions of the repository.",
        program="file system",
    )
