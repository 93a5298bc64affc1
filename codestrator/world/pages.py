"""Files in the main worktree that are written for people to read: replaced whole, never over somebody's work."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from codestrator.errors import InvalidParams, WrongState
from codestrator.ports import Git
from codestrator.world.files import failed

OWN = ".codestrator"
OWN_PAGES = f"{OWN}/mirror/"  # nobody else writes there
IGNORE = "# made by codestrator: what it writes here is not part of your work\n*\n"


class MainPages:
    """`reserved` tells the folder that worktrees are made in, which no page may lie in."""

    def __init__(self, git: Git, repo: Path, reserved: Callable[[], Path | None]) -> None:
        self._git = git
        self._repo = repo
        self._reserved = reserved

    def check(self, path: str, mark: bytes) -> None:
        if why := self._detour(path):
            raise InvalidParams(
                f"'target_path' is '{path}', {why}, expected a plain file in the main worktree",
                hint="Leave target_path out, or name another file under docs/.",
                field="target_path",
                found=path,
                expected="a plain file in the main worktree",
            )
        named = f":(top,literal){path}"
        if self._git.run("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--", named):
            raise _in_the_way(path, "is tracked and has changes", "Have its changes committed, or name another file.")
        content = self.read(path)
        if content is None or content.startswith(mark) or path.startswith(OWN_PAGES):
            return
        if not self._git.run("ls-files", "-z", "--", named):
            raise _in_the_way(path, "is somebody's file that git does not know", "Name another file in target_path.")

    def _detour(self, path: str) -> str | None:
        """Why that is not simply a file of this worktree; None if it is."""
        reserved = self._reserved()
        place = self._repo / path
        if any(part.lower().startswith(".git") for part in path.split("/")):
            return "a name that git reads"
        if reserved in (place, *place.parents):
            return "in the folder of worktrees"
        for folder in self._folders(path):
            if folder.is_symlink():
                return "behind a symbolic link"
            if (folder / ".git").exists():
                return "in another worktree or repository"
            if folder.exists() and not folder.is_dir():
                return "below a file"
        if place.is_symlink():
            return "a symbolic link"
        return "no file" if place.exists() and not place.is_file() else None

    def _folders(self, path: str) -> list[Path]:
        """The folders between the worktree and the file, the outermost first."""
        return [self._repo / above for above in reversed(Path(path).parents) if above != Path()]

    def read(self, path: str) -> bytes | None:
        place = self._repo / path
        try:
            if any(one.is_symlink() for one in (*self._folders(path), place)) or not place.is_file():
                return None
            return place.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failed(place, "read", error) from None

    def write(self, path: str, content: bytes) -> None:
        place = self._repo / path
        # Always the same name: what a killed process left there is replaced by the next, not kept beside it.
        aside = place.with_name(f".{place.name}.codestrator")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._keep_out_of_status(path)
            aside.unlink(missing_ok=True)
            with aside.open("xb") as file:
                file.write(content)
            aside.replace(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise failed(place, "written", error) from None

    def _keep_out_of_status(self, path: str) -> None:
        """A folder of ours ignores itself: the user's own ignore files and configuration stay as they are."""
        parts = path.split("/")
        if parts[0] != OWN:
            return
        top = self._repo.joinpath(*parts[: min(2, len(parts) - 1)])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # never through a link that somebody put there
        with contextlib.suppress(FileExistsError), os.fdopen(os.open(top / ".gitignore", flags, 0o644), "wb") as file:
            file.write(IGNORE.encode("ascii"))


def _in_the_way(path: str, found: str, hint: str) -> WrongState:
    return WrongState(
        f"'{path}' {found}, expected a file that may be replaced",
        hint=hint,
        found=found,
        expected="unchanged since its commit, or a page written before",
        path=path,
    )
