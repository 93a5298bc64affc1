"""The private folder inside the common git directory; a file is written whole or not at all."""

import os
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
        aside = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            aside.replace(place)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise External(
                f"'{place}' could not be written: {error.strerror}",
                hint="Look at the free space and the permissions of the repository.",
                program="file system",
            ) from None

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
