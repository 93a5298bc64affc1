"""Reads git's configuration as libgit2 sees it, without a process."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pygit2
from pygit2.enums import RepositoryOpenFlag

from codestrator.errors import External, Forbidden


def open_repository(common_dir: Path) -> pygit2.Repository:
    """`Forbidden` for another user's repository, `External` for one that cannot be opened."""
    try:
        return pygit2.Repository(str(common_dir), RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as error:
        if "not owned by" in str(error):
            raise Forbidden(
                f"'{common_dir}' belongs to another user, expected one's own repository",
                hint=f"If you trust it: git config --global --add safe.directory '{common_dir}'.",
                needs="ownership",
            ) from None
        raise External(
            f"'{common_dir}' could not be opened: {error}, expected a git repository", program="libgit2"
        ) from None


def configuration(common_dir: Path) -> Callable[[str], str | None]:
    """A function from key to value, None where there is none; libgit2 reads a file anew when it has changed."""
    layers = _layers(common_dir)
    one_at_a_time = threading.Lock()  # libgit2's objects are not for several threads at once

    def get(key: str) -> str | None:
        with one_at_a_time:
            for layer in layers:
                with suppress(KeyError):
                    value: str | None = layer[key]
                    return "true" if value is None else value  # a key that stands alone is true
        return None

    return get


def _layers(common_dir: Path) -> list[pygit2.Config]:
    """The nearest first. libgit2 does not know GIT_CONFIG_GLOBAL, which stands in git for all files of the user's."""
    config = open_repository(common_dir).config
    given = os.environ.get("GIT_CONFIG_GLOBAL")
    if given is None:
        return [config]
    places = [str(common_dir / "config"), given]
    if os.environ.get("GIT_CONFIG_NOSYSTEM", "").lower() not in ("1", "true", "yes", "on"):
        places.append(os.environ.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig")
    try:
        return [pygit2.Config(place) for place in places if place]
    except pygit2.GitError as error:
        raise External(
            f"git's configuration could not be read: {error}, expected what git config takes", program="libgit2"
        ) from None


def checked_out(folder: Path) -> str:
    """What a worktree's HEAD says: a commit, or `ref: ` and a branch."""
    try:
        place = folder / ".git"
        if place.is_file():
            place = folder / place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        return (place / "HEAD").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise External(f"'{folder}' cannot be read: {error}, expected a worktree", program="git") from None
