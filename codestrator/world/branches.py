"""The user's branches: merged in memory, brought up on disk, and moved together with our refs by git itself."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from codestrator.errors import External
from codestrator.ports import Contention, Git, Move
from codestrator.store.moving import moving
from codestrator.world import checkouts
from codestrator.world.git import displayed, gist
from codestrator.world.snapshots import identity

NONE = "0" * 40
# Words of `git update-ref` for a ref that another writer has or has moved.
CONTENTION = (
    "but expected",
    "unable to create",
    "reference already exists",
    "File exists",
    "unable to resolve reference",
)


class GitBranches:
    """Every method takes full commit ids."""

    def __init__(self, git: Git, repo: Path, moving: Path) -> None:
        self._git = git
        self._repo = repo
        self._moving = moving

    def merge(self, into: str, head: str, *, message: str, sign: bool = False) -> tuple[str, list[str]]:
        status, out, err = self._git.try_run(
            "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", into, head
        )
        if status not in (0, 1):
            raise _failed("merge-tree", status, err, "a merge or its conflicts")
        tree, *files = [part for part in out.split("\0") if part]
        if status:
            return "", sorted({displayed(name) for name in files})
        parents = ("-p", into, "-p", head)
        # `commit-tree` signs only when it is told to, whatever the configuration says.
        signed = ("-S",) if sign and self._signs() else ()
        command = ("commit-tree", *signed, tree.strip(), *parents, "-m", message)
        status, commit, _ = self._git.try_run(*command, hooks=sign)
        if status:  # perhaps because the user has named nobody
            commit = self._git.run(*identity(self._git, self._repo), *command, hooks=sign)
        return commit.strip(), []

    def _signs(self) -> bool:
        """As git itself reads it: of conditional includes libgit2 knows some alone."""
        return self._git.try_run("config", "--type=bool", "commit.gpgSign", hooks=True)[1].strip() == "true"

    def hooked(self) -> bool:
        hook = self._git.run("rev-parse", "--git-path", "hooks/reference-transaction", hooks=True)
        return os.access(self._repo / hook, os.X_OK)

    def conflicts(self, pairs: Sequence[tuple[str, str]], *, seconds: float) -> list[list[tuple[str, str]]] | None:
        stdin = "".join(f"{one} {two}\n" for one, two in pairs).encode()
        try:
            status, out, err = self._git.try_run(
                "merge-tree", "--write-tree", "--stdin", "-z", "--name-only", stdin=stdin, seconds=seconds
            )
        except External as error:
            if "did not end within" in error.message:
                return None
            raise
        if status:
            raise _failed("merge-tree", status, err, "the conflicts of each pair")
        words = iter(out.split("\0"))
        return [_conflicts(words) for _ in pairs]

    def changed(self, old: str, new: str) -> list[str]:
        names = self._git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new).split("\0")
        return [displayed(name) for name in names if name]

    def bring_up(self, path: Path, old: str, new: str) -> None:
        checkouts.bring_up(self._git, path, old, new)

    def expect_room(self, path: Path, old: str, new: str) -> None:
        checkouts.refuse_ignored(self._git, path, old, new)

    def bring_back(self, path: Path, old: str, new: str) -> None:
        checkouts.bring_back(self._git, path, old, new)

    def move(self, moves: Sequence[Move]) -> None:
        lines = ["start", *(_line(move) for move in moves), "prepare", "commit"]
        stdin = "".join(f"{line}\0" for line in lines).encode()
        with moving(self._moving) as handle:
            status, _, err = self._git.try_run("update-ref", "--stdin", "-z", stdin=stdin, hooks=True, keeps=(handle,))
        if status and any(words in err for words in CONTENTION):
            raise Contention(gist(err))
        if status:
            raise _failed("update-ref", status, err, "the refs to move, and no reference-transaction hook to refuse")


def _conflicts(words: Iterator[str]) -> list[tuple[str, str]]:
    """One merge of `git merge-tree --stdin`: 1 if clean, else 0; its tree; its files; what git says of each."""
    clean, _tree = next(words), next(words)
    files = list(iter(lambda: next(words), ""))
    if clean == "1":
        return []
    kinds = dict.fromkeys(files, "content")
    while count := next(words):
        paths = [next(words) for _ in range(int(count))]
        kind = _kind(next(words), next(words))
        kinds |= {path: kind for path in paths if kind and path in kinds}
    return sorted((displayed(path), kind) for path, kind in kinds.items())


def _kind(name: str, message: str) -> str | None:
    """The kind of a conflict by git's name for it (merge-ort's conflict types); None for what is none."""
    if not name.startswith("CONFLICT"):
        return None
    if "add/add" in message:
        return "add_add"
    if "delete" in name and "rename" not in name:
        return "modify_delete"
    return "rename" if "rename" in name else "content"


def _line(move: Move) -> str:
    """One command of `git update-ref --stdin -z`."""
    old = move.old or NONE
    if move.new == move.old:
        return f"verify {move.ref}\0{old}"
    return f"delete {move.ref}\0{old}" if move.new is None else f"update {move.ref}\0{move.new}\0{old}"


def _failed(command: str, status: int, err: str, expected: str) -> External:
    return External(
        f"git {command} ended with status {status}, expected {expected}: {gist(err)}",
        hint="Read the message of git in details.stderr_tail.",
        program="git",
        exit_status=status,
        stderr_tail=err[-2000:],
    )
