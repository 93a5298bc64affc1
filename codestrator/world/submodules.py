"""What a worktree's submodules have: repositories of their own, which git keeps, and deletes, with the worktree."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from codestrator.ports import Git


class Submodule(NamedTuple):
    """Its name, its repository, and its folder inside the worktree where it is checked out."""

    name: str
    repository: Path
    place: str | None


def of(git: Git, common_dir: Path, path: Path) -> list[Submodule]:
    """Those of a linked worktree, whose folder may be gone; their repositories outlive `git submodule deinit`."""
    own = _git_dir(common_dir, path)
    kept = [_found(git, own / "modules", one, path) for one in _repositories(own / "modules")] if own else []
    return kept + _embedded(git, path)


def _embedded(git: Git, path: Path) -> list[Submodule]:
    """Repositories that lie in the worktree themselves, as `git add` takes them in with a warning."""
    if not (path / ".git").exists():
        return []
    staged = (line.partition("\t") for line in git.run("ls-files", "--stage", "-z", at=path).split("\0"))
    places = [place for entry, _, place in staged if entry.startswith("160000 ")]
    return [Submodule(one, path / one / ".git", one) for one in places if (path / one / ".git").is_dir()]


def _git_dir(common_dir: Path, path: Path) -> Path | None:
    """What git keeps of the worktree at that place (gitrepository-layout)."""
    for place in (common_dir / "worktrees").glob("*/gitdir"):
        if os.fsdecode(place.read_bytes()).strip() == str(path / ".git"):
            return place.parent
    return None


def _repositories(top: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(top):
        if "HEAD" in files and "objects" in names:
            names[:] = [name for name in names if name == "modules"]
            yield Path(folder)


def _found(git: Git, top: Path, repository: Path, path: Path) -> Submodule:
    _, worktree, _ = git.try_run("config", "--file", str(repository / "config"), "--get", "core.worktree")
    folder = os.path.normpath(repository / worktree.strip()) if worktree.strip() else ""
    place = os.path.relpath(folder, path) if folder.startswith(f"{path}/") else None
    return Submodule(str(repository.relative_to(top)), repository, place)


def unshared(git: Git, one: Submodule) -> bool:
    """Whether it has commits or stashes that none of its remotes is known to have, as far as can be told."""
    where = (f"--git-dir={one.repository}", f"--work-tree={one.repository}")  # its folder may be gone
    there = ("--exclude=refs/tags/*", "--all", "--not", "--remotes")  # all: HEAD too
    status, out, _ = git.try_run(*where, "rev-list", "--max-count=1", *there)
    return bool(status or out.strip())


def changed(git: Git, one: Submodule, folder: Path) -> bool:
    """Whether it has uncommitted changes, where the worktree's folder lies now."""
    place = folder / one.place if one.place else None
    if place is None or not (place / ".git").exists():
        return False
    where = (f"--git-dir={one.repository}", f"--work-tree={place}")
    return bool(git.run(*where, "status", "--porcelain", "--ignore-submodules=dirty", at=place))
