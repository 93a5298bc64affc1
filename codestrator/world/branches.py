"""The user's branches: merged in memory, brought up on disk, and moved together with our refs by git itself."""

from collections.abc import Sequence
from pathlib import Path

from codestrator.errors import Conflict, External
from codestrator.ports import Contention, Git, Move
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

    def __init__(self, git: Git, repo: Path) -> None:
        self._git = git
        self._repo = repo

    def merge(self, into: str, head: str, *, message: str) -> tuple[str, list[str]]:
        status, out, err = self._git.try_run(
            "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", into, head
        )
        tree, *files = [part for part in out.split("\0") if part]
        if status == 1:
            return "", sorted(set(files))
        if status:
            raise External(
                f"git merge-tree ended with status {status}: {err.strip()[-300:]}, expected a merge or its conflicts",
                program="git",
                exit_status=status,
                stderr_tail=err[-2000:],
            )
        who = identity(self._git, self._repo)
        return self._git.run(*who, "commit-tree", tree.strip(), "-p", into, "-p", head, "-m", message), []

    def changed(self, old: str, new: str) -> list[str]:
        return [
            name for name in self._git.run("diff", "--name-only", "-z", "--no-renames", old, new).split("\0") if name
        ]

    def bring_up(self, path: Path, old: str, new: str) -> None:
        self._git.try_run("update-index", "-q", "--refresh", at=path)
        status, _, err = self._git.try_run("read-tree", "-m", "-u", old, new, at=path)
        if status:
            files = [line.split("'")[1] for line in err.splitlines() if line.count("'") >= 2]
            raise Conflict(
                f"'{path}' cannot be brought up to '{new[:12]}' without overwriting {', '.join(files[:5]) or 'files'}",
                hint="Commit or move these files, then call the same again.",
                files=files or [err.strip()[-300:]],
            )

    def move(self, moves: Sequence[Move]) -> None:
        lines = ["start"]
        for move in moves:
            old = move.old or NONE
            if move.new is None or move.new == move.old:
                lines.append(
                    f"verify {move.ref}\0{old}" if move.new != move.old or move.new else f"verify {move.ref}\0{NONE}"
                )
            else:
                lines.append(f"update {move.ref}\0{move.new}\0{old}")
        stdin = "".join(f"{line}\0" for line in [*lines, "prepare", "commit"]).encode()
        status, _, err = self._git.try_run("update-ref", "--stdin", "-z", stdin=stdin, hooks=True)
        if status == 0:
            return
        if any(words in err for words in CONTENTION):
            raise Contention(err.strip()[-300:])
        raise External(
            f"git update-ref ended with status {status}: {err.strip()[-300:]}, expected the refs to move",
            hint="A reference-transaction hook may have refused; read details.stderr_tail.",
            program="git",
            exit_status=status,
            stderr_tail=err[-2000:],
        )
