"""Uncommitted work as a commit, made through an index of its own: neither the index nor any file is touched."""

import os
import shutil
from pathlib import Path

from codestrator.errors import External, WrongState
from codestrator.ports import Git, Snapshot
from codestrator.world import checkouts
from codestrator.world.files import failed, make_private
from codestrator.world.git import displayed

AS_IT_IS = ("-c", "core.safecrlf=false")  # what is kept is not refused for the ends of its lines


def take(git: Git, path: Path, private: Path, message: str, max_untracked_bytes: int) -> Snapshot:
    """HEAD is the first parent, a commit of the index the second; untracked files above the limit are named instead."""
    try:
        return _taken(git, path, private, message, max_untracked_bytes)
    except OSError as error:  # a full disk
        raise failed(private, "written", error) from None


def _taken(git: Git, path: Path, private: Path, message: str, max_untracked_bytes: int) -> Snapshot:
    status, head, _ = git.try_run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", at=path)
    if status:
        raise WrongState(f"'{path}' has no commit checked out, expected one", hint="Make a first commit.")
    head = head.strip()
    branch = git.try_run("symbolic-ref", "--quiet", "--short", "HEAD", at=path)[1].strip() or None
    make_private(private)
    import tempfile  # with what it imports a millisecond, which a brief need not pay

    with tempfile.TemporaryDirectory(dir=private, prefix="snapshot-") as place:
        index = Path(place) / "index"
        source = Path(git.run("rev-parse", "--absolute-git-dir", at=path)) / "index"
        if source.exists():
            shutil.copy2(source, index)
        env = {"GIT_INDEX_FILE": str(index)}
        staged = _commit(git, path, _tree_of_index(git, path, env, head), [head], f"index of {message}")
        _unhide(git, path, env)
        git.run(*AS_IT_IS, "add", "-u", "--sparse", ".", at=path, env=env)
        taken, skipped = _untracked(git, path, env, max_untracked_bytes)
        skipped += [(displayed(f"{name}/"), 0) for name in _inside(git, path)]
        if taken:
            names = b"".join(os.fsencode(name) + b"\0" for name in taken)
            words = ("update-index", "--add", "--remove", "--replace", "-z", "--stdin")
            git.run(*AS_IT_IS, *words, at=path, env=env, stdin=names)
        tree = git.run("write-tree", at=path, env=env)
    commit = _commit(git, path, tree, [head, staged], message)
    changed = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", head, tree, at=path).split("\0")
    size = sum(_size(path / name) for name in changed if name)
    return Snapshot(commit, tree, head, branch, sum(bool(name) for name in changed), size, tuple(skipped))


def _tree_of_index(git: Git, path: Path, env: dict[str, str], head: str) -> str:
    """In the middle of a conflict the index has no tree; HEAD's stands for it then, the files hold the conflict."""
    status, tree, _ = git.try_run("write-tree", at=path, env=env)
    return tree.strip() if status == 0 else git.run("rev-parse", f"{head}^{{tree}}", at=path)


def unseen(git: Git, path: Path, private: Path) -> list[str]:
    """Changed files that git does not show as changed, because the user has told it to take them for unchanged."""
    if not _hidden(git, path):
        return []
    make_private(private)
    import tempfile

    with tempfile.TemporaryDirectory(dir=private, prefix="unseen-") as place:
        index = Path(place) / "index"
        shutil.copy2(Path(git.run("rev-parse", "--absolute-git-dir", at=path)) / "index", index)
        env = {"GIT_INDEX_FILE": str(index)}
        names = _unhide(git, path, env)
        git.try_run("update-index", "-q", "--refresh", at=path, env=env)
        changed = git.run("diff-files", "-z", "--name-only", at=path, env=env).split("\0")
    return [name for name in names if name in set(changed)]


def _unhide(git: Git, path: Path, env: dict[str, str]) -> list[str]:
    """Let git look at all files again, in an index of ours; those that it took for unchanged."""
    names = _hidden(git, path)
    stdin = b"".join(os.fsencode(name) + b"\0" for name in names)
    for word in ("--no-assume-unchanged", "--no-skip-worktree") if names else ():  # git heeds one of them at a time
        git.run("update-index", word, "-z", "--stdin", at=path, env=env, stdin=stdin)
    return names


def _hidden(git: Git, path: Path) -> list[str]:
    tagged = (line.partition(" ") for line in git.run("ls-files", "-v", "-z", at=path).split("\0") if line)
    return [name for tag, _, name in tagged if (tag == "S" or tag.islower()) and os.path.lexists(path / name)]


def _inside(git: Git, path: Path) -> list[str]:
    """Submodules with uncommitted changes, of which a snapshot has the commit alone (porcelain v2: `S`, then `MU`)."""
    if not (path / ".gitmodules").exists():  # a look at every file once more, which few need
        return []
    lines = git.run("status", "--porcelain=v2", "-z", "--no-renames", "--ignore-submodules=none", at=path).split("\0")
    words = (line.split(" ", 8) for line in lines if line.startswith("1 "))
    return [name for _, _, kind, *_, name in words if kind.startswith("S") and not kind.endswith("..")]


def _untracked(git: Git, path: Path, env: dict[str, str], limit: int) -> tuple[list[str], list[tuple[str, int]]]:
    taken: list[str] = []
    skipped: list[tuple[str, int]] = []
    for name in git.run("ls-files", "--others", "--exclude-standard", "-z", at=path, env=env).split("\0"):
        if not name:
            continue
        size = _size(path / name)
        if name.endswith("/") or size > limit:  # a trailing slash is a repository inside this one
            skipped.append((displayed(name), size))
        else:
            taken.append(name)
    return taken, skipped


def _size(place: Path) -> int:
    try:
        return place.lstat().st_size
    except OSError:
        return 0


def _commit(git: Git, path: Path, tree: str, parents: list[str], message: str) -> str:
    arguments = [word for parent in parents for word in ("-p", parent)]
    return git.run(*identity(git, path), "commit-tree", tree, *arguments, "-m", message, at=path)


def restore(git: Git, path: Path, commit: str) -> tuple[int, int]:
    """Files first, which refuses to overwrite; then the index, and what that does not know is untracked again."""
    checkouts.refuse_ignored(git, path, f"{commit}^1", commit)
    git.run("read-tree", "-m", "-u", f"{commit}^1", commit, at=path)
    git.run("read-tree", f"{commit}^2", at=path)
    git.try_run("update-index", "-q", "--refresh", at=path)
    changed, untracked = (
        git.run("diff-tree", "-r", "--name-only", "--no-renames", *options, "-z", old, commit, at=path).count("\0")
        for old, options in ((f"{commit}^1", ()), (f"{commit}^2", ("--diff-filter=A",)))
    )
    return changed - untracked, untracked


def replace(git: Git, path: Path, old: str, new: str, branch: str) -> None:
    """From one snapshot to another: git refuses, with nothing changed, where a file that neither has is in the way."""
    checkouts.refuse_ignored(git, path, old, new)
    git.run("read-tree", old, at=path)
    git.try_run("update-index", "-q", "--refresh", at=path)
    try:
        git.run("read-tree", "-m", "-u", old, new, at=path)
    except External:
        git.try_run("read-tree", f"{old}^2", at=path)
        git.try_run("update-index", "-q", "--refresh", at=path)
        raise
    git.run("update-ref", f"refs/heads/{branch}", f"{new}^1", f"{old}^1", at=path)
    git.run("read-tree", f"{new}^2", at=path)
    git.try_run("update-index", "-q", "--refresh", at=path)


def identity(git: Git, path: Path) -> tuple[str, ...]:
    """Options that name somebody, where the user has named nobody."""
    if git.try_run("var", "GIT_COMMITTER_IDENT", at=path)[0] == 0:
        return ()
    return ("-c", "user.name=codestrator", "-c", "user.email=codestrator@localhost")
