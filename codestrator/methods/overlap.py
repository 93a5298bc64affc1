"""Whether two scopes of paths touch: files and prefixes in one namespace for all worktrees and sessions."""

from pathlib import Path
from typing import Literal, Protocol

from codestrator.calls import Flow

_FOLDS: dict[Path, bool] = {}  # asked once a process: git decides it when it makes the repository


class Scoped(Protocol):
    """What a lease, a waiter's scope and a caller's wish have in common."""

    @property
    def scope_type(self) -> Literal["file", "prefix"] | None: ...
    @property
    def scope_path(self) -> str | None: ...


def covers(prefix: str, path: str) -> bool:
    """Whether a prefix covers a path: it is the whole repository, the path itself, or a folder above it.

    >>> covers("src/a", "src/a/b"), covers("src/a", "src/ab"), covers(".", "x")
    (True, False, True)
    """
    return prefix in (".", path) or path.startswith(prefix + "/")


def overlaps(one: Scoped, two: Scoped, *, fold: bool = False) -> bool:
    """Whether both scopes have a file in common; `fold` where file names differ by more than their case."""
    first, second = (_path(scope, fold) for scope in (one, two))
    if one.scope_type == "file" and two.scope_type == "file":
        return first == second
    return (one.scope_type == "prefix" and covers(first, second)) or (
        two.scope_type == "prefix" and covers(second, first)
    )


def same(one: Scoped, two: Scoped, *, fold: bool = False) -> bool:
    return one.scope_type == two.scope_type and _path(one, fold) == _path(two, fold)


def _path(scope: Scoped, fold: bool) -> str:
    path = scope.scope_path or ""
    return path.casefold() if fold else path


def folds(flow: Flow) -> bool:
    """Whether this repository's files are told apart without regard to case."""
    known = _FOLDS.get(flow.world.common_dir)
    if known is None:
        found = flow.world.git.config("core.ignorecase").lower() in ("true", "yes", "on", "1")
        known = _FOLDS[flow.world.common_dir] = found
    return known
