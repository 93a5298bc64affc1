"""Folders of the user's content: made, looked at, removed, with git's own program and never against its refusal."""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from codestrator.errors import Conflict, External, InvalidParams, WrongState
from codestrator.ports import Folder, Git, Snapshot
from codestrator.world import snapshots, submodules
from codestrator.world.files import make_private
from codestrator.world.git import displayed

NONE = "0" * 40
OPERATIONS = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase or am",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
STARTED_ON = ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START")
AHEAD = 1000
PATHSPECS = 500
NOTHING_TOO_LARGE = 2**62
HALF_MADE = re.compile(r"failed to read .*worktrees/")
RESTS = (0.02, 0.1, 0.4)
IGNORE = "# made by codestrator: its worktrees are not part of this one\n*\n"


class GitWorktrees:
    """The worktrees of one repository. `ignored` is the folder under which ours are made, kept out of `git status`."""

    def __init__(self, git: Git, ignored: Callable[[], Path | None], common_dir: Path) -> None:
        self._git = git
        self._ignored = ignored
        self._common_dir = common_dir
        self._private = common_dir / "codestrator" / "snapshots"

    def folders(self) -> list[Folder]:
        found: list[Folder] = []
        for record in self._amid_others("list", "--porcelain", "-z").split("\0\0"):
            lines = dict(line.partition(" ")[::2] for line in record.strip("\0").split("\0") if line)
            if "worktree" in lines:
                branch = lines.get("branch")
                found.append(
                    Folder(
                        Path(lines["worktree"]),
                        lines.get("HEAD", NONE),
                        branch.removeprefix("refs/heads/") if branch else None,
                        "prunable" in lines,
                        lines.get("locked"),
                    )
                )
        return found

    def _amid_others(self, *arguments: str, seconds: float = 30) -> str:
        """`git worktree`, tried again where it met a worktree that another process was just making or removing."""
        for rest in RESTS:
            status, out, err = self._git.try_run("worktree", *arguments, seconds=seconds)
            if status == 0:
                return out
            if not HALF_MADE.search(err):
                break
            time.sleep(rest)
        return self._git.run("worktree", *arguments, seconds=seconds)

    def head(self, path: Path) -> str:
        found = self._resolve("HEAD^{commit}", path)
        if found is None:
            raise WrongState(f"'{path}' has no commit checked out, expected one", hint="Make a first commit.")
        return found

    def _resolve(self, revision: str, path: Path | None = None) -> str | None:
        status, out, _ = self._git.try_run("rev-parse", "--verify", "--quiet", "--end-of-options", revision, at=path)
        return out.strip() if status == 0 and out.strip() else None

    def resolve(self, revision: str) -> str | None:
        if revision.startswith("-") or "\0" in revision:
            return None
        return self._resolve(f"{revision}^{{commit}}")

    def branch_exists(self, branch: str) -> bool:
        return self._git.try_run("show-ref", "--verify", "--quiet", f"refs/heads/{branch}")[0] == 0

    def check_branch_name(self, branch: str) -> None:
        bad = branch.startswith("-") or "\0" in branch or not branch.strip()
        if bad or self._git.try_run("check-ref-format", f"refs/heads/{branch}")[0] or branch == "HEAD":
            raise InvalidParams(
                f"'{branch[:80]}' is no name of a branch, expected one that git check-ref-format takes",
                field="branch",
                found=branch[:80],
                expected="a branch's name",
            )

    def reserve_branch(self, branch: str, commit: str) -> bool:
        status, _, err = self._git.try_run("update-ref", f"refs/heads/{branch}", commit, NONE)
        if status == 0:
            return True
        if self.branch_exists(branch):
            return False
        raise Conflict(
            f"branch '{branch}' could not be made: {err.strip()[-200:]}",
            hint="Choose another name.",
            found=branch,
            expected="a name that fits beside the other branches",
        )

    def add(self, path: Path, branch: str, *, reason: str) -> None:
        if path.exists() or path.is_symlink():
            raise Conflict(
                f"'{path}' is there already, expected a free place", hint="Choose another slug.", found=str(path)
            )
        self._keep_out_of_status(path)
        try:
            self._amid_others("add", "-q", "--lock", "--reason", reason, "--", str(path), branch, seconds=50)
        except External:
            if any(one.path == path and one.branch == branch for one in self.folders()):  # never another's of that path
                self._forget(path)
            self._tidy(path)
            raise

    def recreate(self, path: Path, branch: str, snapshot: str | None, *, aside: Path, reason: str) -> tuple[int, int]:
        restored = (0, 0)
        try:
            self.unmake(path)  # git may still list a folder that somebody deleted
            self.add(aside, branch, reason=reason)
            if snapshot:
                restored = self.restore(aside, snapshot)
            _rename(aside, path)
        except External:
            self.unmake(aside)
            raise
        if not self.repaired(path, branch):
            raise External(f"git does not know '{path}' after it was moved there, expected a worktree", program="git")
        return restored

    def repaired(self, path: Path, branch: str) -> bool:
        if not (path / ".git").is_file():
            return False
        self._git.try_run("worktree", "repair", str(path))
        return any(one.path == path and one.branch == branch for one in self.folders())

    def unmake(self, aside: Path) -> None:
        if aside.name.startswith(".") and aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        if not aside.exists() and any(one.path == aside for one in self.folders()):
            self._forget(aside)

    def hide(self) -> None:
        top = self._ignored()
        if top and not (top / ".gitignore").exists() and any((one / ".git").is_file() for one in top.iterdir()):
            (top / ".gitignore").write_text(IGNORE, encoding="ascii")

    def _keep_out_of_status(self, path: Path) -> None:
        """A folder that ignores itself: the user's own ignore files and configuration stay as they are."""
        path.parent.mkdir(parents=True, exist_ok=True)
        top = self._ignored()
        if top and top in path.parents and not (top / ".gitignore").exists():
            (top / ".gitignore").write_text(IGNORE, encoding="ascii")

    def _forget(self, path: Path) -> None:
        """Remove what git knows of a worktree, and its folder."""
        self._git.try_run("worktree", "unlock", str(path))
        self._git.try_run("worktree", "remove", "--force", str(path))
        self._tidy(path)

    def _tidy(self, path: Path) -> None:
        """Remove the folder of all worktrees if none is in it any more."""
        top = self._ignored()
        with contextlib.suppress(OSError):  # not empty: another worktree is there
            if top and top in path.parents and [one.name for one in top.iterdir()] == [".gitignore"]:
                if (top / ".gitignore").read_text(encoding="utf-8") == IGNORE:
                    (top / ".gitignore").unlink()
                top.rmdir()
                top.parent.rmdir()

    def discard(self, path: Path, branch: str | None, commit: str | None) -> None:
        if (path / ".git").exists():
            if self._has_work(path) or (commit and self.head(path) != commit):
                return  # somebody has worked there already: that is theirs to keep
            self._forget(path)
        elif any(one.path == path for one in self.folders()):
            self._forget(path)
        if branch and commit:
            self.delete_branch(branch, commit)

    def _has_work(self, path: Path) -> bool:
        """Whether anything there is not in HEAD; a missing file is no work, and git may yet have to write its index."""
        index = Path(self._git.run("rev-parse", "--absolute-git-dir", at=path)) / "index"
        if index.exists():
            return any(line[:2].strip(" D") for line in self._status(path))
        make_private(self._private)
        env = {"GIT_INDEX_FILE": str(self._private / f"index-{os.getpid()}-{threading.get_ident()}")}
        try:
            self._git.run("read-tree", "HEAD", at=path, env=env)
            return any(line[:2].strip(" D") for line in self._status(path, env=env))
        finally:
            Path(env["GIT_INDEX_FILE"]).unlink(missing_ok=True)

    def remove(self, path: Path, rescued: str | None = None) -> None:
        """Remove it in steps of which each can be gone on from: called again after a crash, this ends what it began."""
        aside, verified = path.with_name(f".{path.name}.aside"), path.with_name(f".{path.name}.removed")
        if not verified.exists():
            if path.exists():
                self._refuse_dirty(path, path, rescued)
                _rename(path, aside)
            if aside.exists():
                try:
                    self._refuse_dirty(aside, path, rescued)
                except (WrongState, External):
                    aside.rename(path)
                    self._git.try_run("worktree", "repair", str(path))
                    raise
                _rename(aside, verified)
        if verified.exists():
            shutil.rmtree(verified)
        for place in (path, aside, verified):  # git may have noticed a move and written the new place down
            self._forget(place)

    def _refuse_dirty(self, folder: Path, path: Path, rescued: str | None) -> None:
        inner = submodules.of(self._git, self._common_dir, path)
        if folder == path or not inner:
            changes = self.unsaved(folder)
        else:  # git does not look into submodules of a folder that was moved
            changes = [one.name for one in inner if submodules.changed(self._git, one, folder)]
            changes += [displayed(line[3:]) for line in self._status(folder, ignore="dirty")]
        if changes and not (rescued and self._same_as(folder, rescued)):
            raise WrongState(
                f"'{path}' has {len(changes)} uncommitted changes, first '{changes[0]}', expected none",
                hint="Commit them, or keep them with work.checkpoint.",
                found="dirty",
                files=changes[:20],
            )

    def _same_as(self, folder: Path, rescued: str) -> bool:
        """Whether files, index and head are those of a snapshot, and nothing is there that it would leave out."""
        now = snapshots.take(self._git, folder, self._private, "compared", NOTHING_TOO_LARGE)
        ways = ("^{tree}", "^1", "^2^{tree}")
        return all(
            self._git.run("rev-parse", f"{now.commit}{way}") == self._git.run("rev-parse", f"{rescued}{way}")
            for way in ways
        )

    def delete_branch(self, branch: str, commit: str) -> None:
        self._git.try_run("update-ref", "-d", f"refs/heads/{branch}", commit)

    def changes(self, path: Path, only: Sequence[str] = ()) -> list[str]:
        """Looking at some files alone is faster; a name that is no UTF-8 could not be told to git."""
        some = only if len(only) <= PATHSPECS and not any("\ufffd" in name for name in only) else ()
        return [displayed(line[3:]) for line in self._status(path, some)]

    def unsaved(self, path: Path) -> list[str]:
        unseen = snapshots.unseen(self._git, path, self._private)
        return self.changes(path) + [displayed(name) for name in unseen]

    def unshared(self, path: Path) -> list[str]:
        inner = submodules.of(self._git, self._common_dir, path)
        return [one.name for one in inner if submodules.unshared(self._git, one)]

    def has_submodules(self, path: Path) -> bool:
        return any(one.place for one in submodules.of(self._git, self._common_dir, path))

    def _status(
        self, path: Path, only: Sequence[str] = (), env: dict[str, str] | None = None, ignore: str = "none"
    ) -> list[str]:
        options = ("-z", "--untracked-files=all", "--no-renames", f"--ignore-submodules={ignore}")
        paths = ("--", *(f":(top,literal){name}" for name in only)) if only else ()
        status = self._git.run("status", "--porcelain=v1", *options, *paths, at=path, env=env)
        return [line for line in status.split("\0") if len(line) > 3]

    def operation(self, path: Path) -> str | None:
        folder = self._git_dir(path)
        return next((name for mark, name in OPERATIONS.items() if (folder / mark).exists()), None)

    def _git_dir(self, path: Path) -> Path:
        """What is private to a worktree, without a process for the two usual cases (gitrepository-layout)."""
        place = path / ".git"
        with contextlib.suppress(OSError):
            if place.is_dir():
                return place
            words = os.fsdecode(place.read_bytes())
            if words.startswith("gitdir: "):
                return path / words.removeprefix("gitdir: ").strip()
        return Path(self._git.run("rev-parse", "--absolute-git-dir", at=path))

    def interrupted(self, path: Path) -> str | None:
        folder = self._git_dir(path)
        for name in STARTED_ON:
            with contextlib.suppress(OSError):
                return os.fsdecode((folder / name).read_bytes()).strip().removeprefix("refs/heads/")
        return None

    def tree(self, path: Path) -> str:
        return self._git.run("rev-parse", "HEAD^{tree}", at=path)

    def ahead(self, commit: str, of: str) -> list[str]:
        return self._git.run("rev-list", f"--max-count={AHEAD}", commit, f"^{of}").split()

    def snapshot(self, path: Path, *, message: str, max_untracked_bytes: int) -> Snapshot:
        return snapshots.take(self._git, path, self._private, message, max_untracked_bytes)

    def restore(self, path: Path, commit: str) -> tuple[int, int]:
        return snapshots.restore(self._git, path, commit)

    def replace(self, path: Path, old: str, new: str, branch: str) -> None:
        snapshots.replace(self._git, path, old, new, branch)

    def commit_all(self, path: Path, message: str) -> str | None:
        index = Path(self._git.run("rev-parse", "--absolute-git-dir", at=path)) / "index"
        before = index.read_bytes() if index.exists() else None
        try:
            self._git.run("add", "-A", at=path)
            if self._git.try_run("diff", "--cached", "--quiet", at=path)[0] == 0:
                return None
            self._git.run("commit", "-q", "-m", message, at=path, hooks=True, seconds=45)
        except External:
            if before is not None:  # a hook refused: what was staged before is staged again, and nothing else
                aside = index.with_name(f"index.codestrator-{os.getpid()}")
                aside.write_bytes(before)
                aside.replace(index)
            raise
        return self.head(path)


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        raise External(
            f"'{old}' could not be moved to '{new}': {error.strerror}, expected a free place", program="file system"
        ) from None
