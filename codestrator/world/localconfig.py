"""What init writes into the repository's own git configuration, and how uninstall takes it out again, to the byte."""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from codestrator import ports
from codestrator.errors import Busy, External
from codestrator.world.files import PrivateFiles, failed
from codestrator.world.hooks import digest

COPY = "config.before"
NO_SUCH_KEY = 1


class LocalConfig:
    """Git writes; the file as it was is kept in the private folder until it is put back."""

    def __init__(self, git: ports.Git, common_dir: Path, files: PrivateFiles) -> None:
        self._git = git
        self._place = common_dir / "config"
        self._files = files

    def value(self, key: str) -> str | None:
        """The value in the repository's own configuration, whatever other files say."""
        status, out, err = self._git.try_run("config", "--local", "--get", key)
        if status not in (0, NO_SUCH_KEY):
            raise External(f"git config ended with status {status}, expected 0: {err.strip()}", program="git")
        return out.removesuffix("\n") if status == 0 else None

    def digest(self) -> str:
        return digest(self._content())

    def _content(self) -> bytes:
        try:
            return self._place.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise failed(self._place, "read", error) from None

    def keep(self) -> None:
        """Keep the file as it is."""
        self._files.write(COPY, self._content())

    def forget(self) -> None:
        """Drop the copy: what is to be put back key by key is no more what it holds."""
        with contextlib.suppress(FileNotFoundError):
            (self._files.root / COPY).unlink()

    def write(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self._git.run("config", "--local", key, value)

    def take_back(self, written: Mapping[str, str], before: Mapping[str, str | None], expected: str) -> list[str]:
        """Undo `write`: the whole file where it is as init left it, else key by key; the keys that were changed since.

        `before` has the values that were there before init; None where there was none.
        """
        copy = self._files.read(COPY)
        if copy is not None and self.digest() == expected:
            self._replace(copy)
            return []
        left = []
        for key, value in sorted(written.items(), reverse=True):  # git will not have an event without its command
            found = self.value(key)
            if found != value:
                left += [key] if found is not None else []
            elif (earlier := before.get(key)) is not None:
                self._git.run("config", "--local", key, earlier)
            else:
                self._git.run("config", "--local", "--unset", key)
        return left

    def _replace(self, content: bytes) -> None:
        """Through git's own lock file, so that nobody else's change is lost."""
        lock = self._place.with_name("config.lock")
        try:
            handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(self._place.stat().st_mode))
        except FileExistsError:
            raise Busy(f"'{lock}' is there, expected git's configuration free", hint="Try again in a moment.") from None
        except OSError as error:
            raise failed(lock, "written", error) from None
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, stat.S_IMODE(self._place.stat().st_mode))
                file.write(content)
            lock.replace(self._place)
        except OSError as error:
            lock.unlink(missing_ok=True)
            raise failed(self._place, "written", error) from None
