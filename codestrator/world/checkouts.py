"""Folders brought from one commit to another, and back: the user's is kept, nothing stays halfway."""

import os
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

from codestrator.errors import Conflict, External
from codestrator.ports import Git
from codestrator.world.git import displayed

# Words of `git read-tree` for a file that it would have to overwrite; anything else is a failure of git.
REFUSALS = ("' not uptodate", "' would be overwritten", "' would be removed", "' would lose")
INDEX_SECONDS = 3.0
REST_SECONDS = 0.05
PATHSPECS = 500
SHOWN = 100
ABSENT, SUBMODULE = "000000", "160000"


def bring_up(git: Git, path: Path, old: str, new: str) -> None:
    refuse_ignored(git, path, old, new)
    status, err = _read_tree(git, path, old, new)
    if status and "' not uptodate" in err:  # it refuses also what was only touched; seldom worth looking at every file
        git.try_run("update-index", "-q", "--refresh", at=path)
        status, err = _read_tree(git, path, old, new)
    if status == 0:
        return
    lines = [line for line in err.splitlines() if any(words in line for words in REFUSALS)]
    if not lines:
        with suppress(External):  # the first failure is the one to tell
            _mend(git, path, old, new)
        raise External(
            f"git read-tree ended with status {status}, expected index and files to move: {err.strip()[:400]}",
            hint="Read the message of git in details.stderr_tail.",
            program="git",
            exit_status=status,
            stderr_tail=err[-2000:],
        )
    raise _in_the_way(path, new, [line.split("'")[1] for line in lines])


def refuse_ignored(git: Git, path: Path, old: str, new: str) -> None:
    """Refuse where an ignored file is in the way of one that only `new` has: git would write over it unasked."""
    names = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=A", old, new, at=path)
    taken = sorted({place for name in names.split("\0") if name and (place := _taken(path, name))})
    files: list[str] = []
    for start in range(0, len(taken), PATHSPECS):
        some = (f":(top,literal){name}" for name in taken[start : start + PATHSPECS])
        found = git.run("ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", *some, at=path)
        files += [displayed(name) for name in found.split("\0") if name]
    if files:
        raise _in_the_way(path, new, files)


def _taken(path: Path, name: str) -> str | None:
    """What has the place of a file that is to be made, or of a folder on the way to it."""
    parts = PurePosixPath(name).parts
    for count in range(1, len(parts)):
        place = path.joinpath(*parts[:count])
        if place.is_symlink() or not place.is_dir():
            return "/".join(parts[:count]) if os.path.lexists(place) else None
    return name if os.path.lexists(path / name) else None


def _in_the_way(path: Path, new: str, files: list[str]) -> Conflict:
    return Conflict(
        f"'{path}' cannot be brought up to '{new[:12]}' without overwriting {', '.join(files[:5])}",
        hint="Commit or move these files, then call the same again.",
        files=files[:SHOWN],
    )


def bring_back(git: Git, path: Path, old: str, new: str) -> None:
    bring_up(git, path, new, old)
    _mend(git, path, old, new)


def _read_tree(git: Git, path: Path, old: str, new: str) -> tuple[int, str]:
    """Waits a little for an editor or a shell prompt that has the index for a moment."""
    end = time.monotonic() + INDEX_SECONDS
    while True:
        status, _, err = git.try_run("read-tree", "-m", "-u", old, new, at=path)
        if status == 0 or "index.lock" not in err or time.monotonic() > end:
            return status, err
        time.sleep(REST_SECONDS)


def _mend(git: Git, path: Path, old: str, new: str) -> None:
    """Make files `old` that git had written of `new` when it ended midway; any other content is left as it is."""
    words = git.run("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", old, new).split("\0")
    changes = {name: raw[1:].split() for raw, name in zip(words[0::2], words[1::2], strict=False)}
    staged = set(git.run("diff-index", "--cached", "-z", "--name-only", "--no-renames", old, at=path).split("\0"))
    sought = {name: one for name, one in changes.items() if name not in staged and SUBMODULE not in one}
    unlike = _unlike(git, path, {name: (one[1], one[3]) for name, one in sought.items() if one[1] != ABSENT})
    again: list[str] = []
    for name, (before, after, *_) in sought.items():
        if name in unlike or os.path.lexists(path / name) == (after == ABSENT):
            continue
        if before != ABSENT:
            again.append(name)
            continue
        (path / name).unlink()
        with suppress(OSError):  # up to the first folder that holds something
            os.removedirs((path / name).parent)
    if again:
        stdin = b"".join(os.fsencode(name) + b"\0" for name in again)
        git.run("checkout-index", "-f", "-q", "-u", "-z", "--stdin", at=path, stdin=stdin)


def _unlike(git: Git, path: Path, entries: dict[str, tuple[str, str]]) -> set[str]:
    """Those of the files that have not this mode and content, told by git from an index that is not the user's."""
    if not entries:
        return set()
    stdin = b"".join(os.fsencode(f"{mode} {blob}\t{name}\0") for name, (mode, blob) in entries.items())
    from tempfile import TemporaryDirectory  # seldom needed, and loads random and hashlib

    with TemporaryDirectory(prefix="codestrator") as place:
        env = {"GIT_INDEX_FILE": f"{place}/index"}
        git.run("update-index", "-z", "--index-info", at=path, stdin=stdin, env=env)
        git.try_run("update-index", "-q", "--refresh", at=path, env=env)
        return set(git.run("diff-files", "-z", "--name-only", at=path, env=env).split("\0"))
