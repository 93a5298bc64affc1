"""Our git hooks in one repository: where they are placed, beside what the user has, and how they are taken away."""

import contextlib
import os
import re
from collections.abc import Collection
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

from codestrator import ports
from codestrator.errors import External
from codestrator.world.files import PrivateFiles, failed

NAMES = ("pre-push", "post-merge", "post-rewrite")
CONFIGURED_SINCE = (2, 54)
PACKAGE = Path(__file__).parents[1]
MARK = b"# codestrator hook: "
BEFORE = ".before-codestrator"
REFUSED = 4

State = Literal["installed", "partial", "absent"]
Way = Literal["config", "files", "by hand"]
Look = Literal["ours", "outdated", "absent", "theirs", "wrapped", "changed", "in the way"]


@cache
def shipped(name: str) -> bytes:
    """A hook as it is installed: beside the package in a clone, inside it where it was installed from a wheel."""
    for folder in (PACKAGE / "hooks", PACKAGE.parent / "hooks"):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise External(f"hook '{name}' is missing below '{PACKAGE}', expected it beside the program", program="codestrator")


def by_hand(name: str) -> str:
    """The line that does the same in a hook of the user's; a missing or broken program stops nothing."""
    return f'git-codestrator hook -- {name} "$@" 2>/dev/null || [ $? -ne {REFUSED} ] || exit 1'


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


class GitHooks:
    """Implements `ports.Hooks`, and what init and uninstall do with them; `known` are digests of what init wrote."""

    names = NAMES

    def __init__(self, git: ports.Git, common_dir: Path, files: PrivateFiles) -> None:
        self._git = git
        self._common_dir = common_dir
        self._files = files

    @property
    def folder(self) -> Path:
        """The folder that git looks into while `core.hooksPath` is not set."""
        return self._common_dir / "hooks"

    @cached_property
    def _configurable(self) -> bool:
        """Whether this git runs hooks that are named in its configuration."""
        found = re.search(r"(\d+)\.(\d+)", self._git.run("version"))
        return found is not None and (int(found[1]), int(found[2])) >= CONFIGURED_SINCE

    @property
    def elsewhere(self) -> Path | None:
        """The folder of the user's that git looks into instead; a linked hooks folder counts as one."""
        if self._git.config("core.hooksPath"):
            asked = ("rev-parse", "--path-format=absolute", "--git-path", "hooks")
            return Path(self._git.run(*asked, hooks=True))  # without them it would name the folder that has none
        real = self.folder.resolve()
        return None if real.is_relative_to(self._common_dir.resolve()) else real

    def way(self) -> Way:
        """How hooks are installed here; where files of ours are already in use, it stays with files."""
        if self.elsewhere is None and any(self.look(name) == "ours" for name in NAMES):
            return "files"
        if self._configurable:
            return "config"
        return "files" if self.elsewhere is None else "by hand"

    def keys(self) -> dict[str, str]:
        """The configuration that has git run the hooks from the private folder."""
        found = {}
        for name in NAMES:
            script = f'h=$(git rev-parse --git-common-dir)/codestrator/hooks/{name}; [ ! -x "$h" ] || exec "$h" "$@"'
            found[f"hook.codestrator-{name}.command"] = f"sh -c '{script}' {name}"
            found[f"hook.codestrator-{name}.event"] = name
        return found

    def lines(self) -> list[tuple[Path, str]]:
        """What to add by hand, and to which file; husky's own folder `_` is written anew each time, so not there."""
        folder = self.elsewhere or self.folder
        folder = folder.parent if folder.name == "_" else folder
        return [(folder / name, by_hand(name)) for name in NAMES]

    def state(self) -> State:
        """Whether git would run them, as things are now."""
        ours = sum(self._runs(name) for name in NAMES)
        return "installed" if ours == len(NAMES) else "partial" if ours else "absent"

    def _runs(self, name: str) -> bool:
        keys = {key: value for key, value in self.keys().items() if f"-{name}." in key}
        if all(self._git.config(key) == value for key, value in keys.items()) and self._configurable:
            enabled = self._git.config(f"hook.codestrator-{name}.enabled", "true").lower()
            return enabled in ("true", "yes", "on", "1") and self.is_private(name)
        if self.elsewhere is None:
            return self.look(name) in ("ours", "changed", "wrapped") and os.access(self.folder / name, os.X_OK)
        called = f"git-codestrator hook -- {name}".encode()
        return any(called in _content(place / name) for place in (self.elsewhere, self.lines()[0][0].parent))

    def digest(self, name: str) -> str:
        """Of the hook as it would be written now."""
        return digest(shipped(name))

    def private(self, name: str) -> Path:
        return self._files.root / "hooks" / name

    def is_private(self, name: str) -> bool:
        """Whether the program that git's configuration names is there as it should be."""
        return _content(self.private(name)) == shipped(name) and os.access(self.private(name), os.X_OK)

    def look(self, name: str, known: Collection[str] = ()) -> Look:
        """What is in a hook's place. `changed`: ours, with changes of the user; `in the way`: a leftover beside.

        `wrapped`: the pre-commit framework was installed over ours, and runs it from beside its own.
        """
        place, before = self.folder / name, self._before(name)
        if not os.path.lexists(place):
            return "absent"
        content = _content(place)
        if content == shipped(name):
            return "ours" if os.access(place, os.X_OK) else "outdated"
        if digest(content) in known:
            return "outdated"
        if MARK in content:
            return "changed"
        if self._is_ours(self._wrapped(name), known):
            return "wrapped"
        if os.path.lexists(before) and not os.path.samestat(place.lstat(), before.lstat()):
            return "in the way"
        return "theirs"

    def _is_ours(self, place: Path, known: Collection[str]) -> bool:
        content = _content(place)
        return content == shipped(place.name.partition(".")[0]) or digest(content) in known

    def _wrapped(self, name: str) -> Path:
        return self.folder / f"{name}.legacy"

    def _before(self, name: str) -> Path:
        return self.folder / (name + BEFORE)

    def kept(self, name: str) -> Path | None:
        """The hook that was there before, where one is kept."""
        return self._before(name) if os.path.lexists(self._before(name)) else None

    def place(self, name: str, known: Collection[str] = ()) -> None:
        """Put a hook into its place, the user's own kept beside it; at no moment is there none of the two."""
        found = self.look(name, known)
        place, before = self.folder / name, self._before(name)
        if found in ("ours", "changed", "wrapped", "in the way"):
            return
        try:
            self.folder.mkdir(exist_ok=True)
            if found == "theirs" and not os.path.lexists(before):
                try:
                    os.link(place, before, follow_symlinks=False)
                except OSError:  # a file system without hard links
                    place.rename(before)
            _write_program(place, shipped(name))
        except OSError as error:
            raise failed(place, "written", error) from None

    def take_away(self, name: str, known: Collection[str] = ()) -> bool:
        """Put back what was there before, to the byte; False where the user changed something, which then stays.

        `known` are the digests that init noted for this hook: with one, whatever else is there now is a change.
        """
        place, before = self.folder / name, self._before(name)
        found = self.look(name, known)
        if found == "wrapped":
            place = self._wrapped(name)
        try:
            if found in ("ours", "outdated", "absent", "wrapped"):
                if os.path.lexists(before):
                    before.replace(place)
                else:
                    place.unlink(missing_ok=True)
                return True
            if found == "theirs" and os.path.lexists(before):  # init was killed in between
                before.unlink()
                return True
        except OSError as error:
            raise failed(place, "put back", error) from None
        return not (known or found == "changed" or os.path.lexists(before))

    def place_private(self, name: str) -> None:
        """Write the program that git's configuration names."""
        self._files.write(f"hooks/{name}", shipped(name))
        self.private(name).chmod(0o700)

    def take_private_away(self) -> None:
        for name in NAMES:
            self.private(name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or somebody's file is in it
            (self._files.root / "hooks").rmdir()


def _content(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError:  # nothing there, a folder, a link into nothing
        return b""


def _write_program(place: Path, content: bytes) -> None:
    """Replace a program whole or not at all, with the modes that the user's umask leaves."""
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o777), "wb") as file:
            file.write(content)
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)
