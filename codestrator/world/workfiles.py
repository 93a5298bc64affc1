"""Files that init places in one worktree, among the user's own: replaced whole, and never outside of it."""

import contextlib
import os
import stat
from hashlib import sha256
from pathlib import Path

from codestrator.errors import Unsupported, WrongState
from codestrator.world.files import failed

MAIN = "."


class WorkFiles:
    """Paths are relative to `top`; `name` says which worktree that is, also after it was moved.

    A link inside the worktree is followed; whatever leads out of it, or into git's own folder, is refused.
    """

    def __init__(self, top: Path, name: str) -> None:
        self.top = top
        self.name = name

    @staticmethod
    def digest(content: bytes) -> str:
        """Of a file that git may check out with other line ends."""
        return sha256(content.replace(b"\r\n", b"\n")).hexdigest()

    def read(self, path: str) -> bytes | None:
        """The content; None where there is nothing."""
        place = self._place(path)
        try:
            if place.exists() and not place.is_file():  # a pipe would hold us up
                raise self._refused(path, "is a folder" if place.is_dir() else "is no plain file", "a file or nothing")
            return place.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failed(self.top / path, "read", error) from None

    def _place(self, path: str) -> Path:
        try:
            place = (self.top / path).resolve()
            inside = place.relative_to(self.top.resolve()).parts
        except (OSError, RuntimeError, ValueError):  # a loop of links, or a place elsewhere
            raise self._refused(path, "leads out of the worktree", "a file in it") from None
        if ".git" in (part.lower() for part in inside):
            raise self._refused(path, "leads into git's own folder", "a file beside it")
        return place

    def check(self, path: str) -> None:
        """Refuse what was read and could not be written, before anything is."""
        place = self._place(path)
        if place.exists() and not place.stat().st_mode & 0o222:
            raise self._refused(path, "is read-only", "a file that may be written")
        folder = next(one for one in place.parents if one.exists())
        if not folder.is_dir():
            raise self._refused(path, f"is below the file '{folder.name}'", "folders above it")
        if not os.access(folder, os.W_OK) or not folder.stat().st_mode & 0o222:
            raise self._refused(path, f"is in the read-only folder '{folder}'", "a folder that may be written")

    def _refused(self, path: str, found: str, expected: str) -> WrongState:
        return WrongState(
            f"'{path}' {found}, expected {expected}, nothing was changed",
            hint=f"See to '{self.top / path}' first, or leave --codex out.",
            found=found,
            expected=expected,
            path=path,
        )

    def new_folders(self, path: str) -> list[str]:
        """The folders above it that are not there yet, the innermost first."""
        above = [one for one in Path(path).parents if one != Path()]
        return [one.as_posix() for one in above if not os.path.lexists(self.top / one)]

    def write(self, path: str, content: bytes) -> None:
        """Replace it whole or not at all; its modes stay."""
        place = self._place(path)
        # Always the same name: what a killed process left there is replaced by the next, not kept beside it.
        aside = place.with_name(f".{place.name}.codestrator")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            with aside.open("xb") as file:
                file.write(content)
                if place.exists():
                    os.fchmod(file.fileno(), stat.S_IMODE(place.stat().st_mode))
            aside.replace(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise failed(self.top / path, "written", error) from None

    def remove(self, path: str) -> None:
        try:
            self._place(path).unlink(missing_ok=True)
        except OSError as error:
            raise failed(self.top / path, "removed", error) from None

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that nothing is in; any other stays."""
        with contextlib.suppress(OSError):
            (self.top / folder).rmdir()


def of_folder(common_dir: Path, folder: Path, repo: Path, *, bare: bool) -> WorkFiles:
    """The worktree whose folder that is: a linked one, else the main one."""
    link = folder / ".git"
    if link.is_file():
        git_dir = (folder / os.fsdecode(link.read_bytes()).removeprefix("gitdir:").strip()).resolve()
        if (git_dir / "commondir").exists():
            return WorkFiles(folder, git_dir.relative_to(common_dir).as_posix())
    if bare:
        raise Unsupported(
            f"'{common_dir}' is a bare repository, expected a worktree that Codex can work in",
            hint="Run it in a worktree, or leave --codex out.",
            field="codex",
            found="a bare repository",
        )
    return WorkFiles(repo, MAIN)


def of_name(common_dir: Path, name: str, repo: Path) -> WorkFiles | None:
    """The worktree of that name; None if it is gone."""
    if name == MAIN:
        return WorkFiles(repo, name)
    admin = common_dir / name
    try:
        place = admin / os.fsdecode((admin / "gitdir").read_bytes()).strip()  # git may have written it relative
    except OSError:
        return None
    top = Path(os.path.normpath(place)).parent
    return WorkFiles(top, name) if top.is_dir() else None
