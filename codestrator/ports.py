"""What methods ask of the world, as protocols; `codestrator.world` makes them real."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from codestrator.clock import Moment
from codestrator.programs import Hooks, Pages, Remotes, Runners, Tmux


class Beat(NamedTuple):
    """The last sign of life in a live file: both clocks, the boot they belong to, and the TTL if it renews a lease."""

    boot_id: str
    boot_ms: int
    at: str
    pid: int = 0
    ttl_seconds: int = 0


class Live(Protocol):
    """Kernel locks and beats under `<common git dir>/codestrator/live/`.

    `name` is a session's, thread's or lease's id. Reading never creates a file. A lock is held by an open descriptor
    that no child process inherits; it ends with the process, however that ends.
    """

    def beat(self, name: str) -> Beat | None: ...
    def held(self, name: str) -> bool:
        """Whether a process holds the kernel lock, this one included."""
        ...

    def mine(self, name: str) -> bool:
        """Whether this process holds it."""
        ...

    def take(self, name: str) -> bool:
        """Take the kernel lock and beat; False if another process has it. Taking it twice is taking it once."""
        ...

    def renew(self, name: str, *, ttl_seconds: int = 0) -> None:
        """Write a beat now, replacing the file's content without replacing a locked file."""
        ...

    def leave(self, name: str) -> None:
        """Give the lock back and remove the file, if this process holds it or nobody does."""
        ...

    def tell(self, name: str, said: bytes) -> None:
        """Keep what only says how far something is: beside the beat, replaced whole, never in git."""
        ...

    def told(self, name: str) -> bytes | None: ...
    def forget_told(self, name: str) -> None: ...


class Git(Protocol):
    """The git program, run in one place with a scrubbed environment."""

    def run(
        self,
        *arguments: str,
        at: Path | None = None,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
        hooks: bool = False,
    ) -> str:
        """Standard output as text, its last newline removed; any other status than 0 is `External`.

        `at`: where it runs (default: the main worktree, or the bare repository). `hooks`: the user's own, and signing.
        """
        ...

    def try_run(
        self,
        *arguments: str,
        at: Path | None = None,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
        hooks: bool = False,
        keeps: Sequence[int] = (),
    ) -> tuple[int, str, str]:
        """Status, standard output and standard error; never raises for a status. `keeps`: handles it has open too."""
        ...

    def config(self, key: str, default: str = "") -> str: ...


class Folder(NamedTuple):
    """One line of `git worktree list`."""

    path: Path
    head: str
    branch: str | None
    prunable: bool
    locked: str | None  # why, None where it is not


class Snapshot(NamedTuple):
    """What was written of a worktree's uncommitted work; `commit` has HEAD and a commit of the index as parents."""

    commit: str
    tree: str
    head: str
    branch: str | None
    files: int
    bytes: int
    skipped: tuple[tuple[str, int], ...]


class Worktrees(Protocol):
    """Folders of the user's content. Every method refuses with `External` when git fails, having undone its own act."""

    def folders(self) -> list[Folder]: ...
    def head(self, path: Path) -> str: ...
    def branch_exists(self, branch: str) -> bool: ...
    def check_branch_name(self, branch: str) -> None:
        """Refuse with `invalid_params` what git would not take as a branch's name."""

    def resolve(self, revision: str) -> str | None:
        """The commit a revision names, or None."""

    def reserve_branch(self, branch: str, commit: str) -> bool:
        """Create the branch if it does not exist, atomically; False if it does."""

    def add(self, path: Path, branch: str, *, reason: str) -> None:
        """Check the existing branch out at a new folder, locked against git's own pruning."""

    def discard(self, path: Path, branch: str | None, commit: str | None) -> None:
        """Undo `reserve_branch` and `add`: remove the folder if it has no changes, the branch if still at `commit`."""

    def remove(self, path: Path, rescued: str | None = None) -> None:
        """Remove a clean worktree, or one exactly as a snapshot: aside, look again, delete; `wrong_state` if dirty."""

    def delete_branch(self, branch: str, commit: str) -> None:
        """Delete the branch if it still points to `commit`."""

    def changes(self, path: Path, only: Sequence[str] = ()) -> list[str]:
        """Changed and untracked paths, of those given or of all, ignored ones left out; empty when clean."""

    def unsaved(self, path: Path) -> list[str]:
        """The same, and changes of files that git was told to take for unchanged: what a removal would lose."""

    def hide(self) -> None:
        """Keep the folder of our worktrees out of `git status`, if there are any and nothing does."""

    def unshared(self, path: Path) -> list[str]:
        """Submodules there with commits or stashes that no remote of theirs has; also where the folder is gone."""

    def has_submodules(self, path: Path) -> bool:
        """Whether a submodule is checked out there."""

    def operation(self, path: Path) -> str | None:
        """The name of a merge, rebase, cherry-pick, revert, bisect or am in progress there, or None."""

    def interrupted(self, path: Path) -> str | None:
        """The branch that a rebase or bisect in progress there started on, and will go back to."""

    def tree(self, path: Path) -> str:
        """The tree id of HEAD there."""

    def ahead(self, commit: str, of: str) -> list[str]:
        """Commits of the first that are not in the second, newest first, at most 1,000."""

    def snapshot(self, path: Path, *, message: str, max_untracked_bytes: int) -> Snapshot:
        """Write tracked and untracked content as a commit; changes neither the index nor any file."""

    def restore(self, path: Path, commit: str) -> tuple[int, int]:
        """Give a clean folder that is at a snapshot's head the snapshot's files and index: (tracked, untracked)."""

    def recreate(self, path: Path, branch: str, snapshot: str | None, *, aside: Path, reason: str) -> tuple[int, int]:
        """Check a branch out with a snapshot's files and index, at `aside`; then moved to `path`, whole."""

    def replace(self, path: Path, old: str, new: str, branch: str) -> None:
        """Files, index and branch of a snapshot in place of those of another one, which is exactly what is there."""

    def repaired(self, path: Path, branch: str) -> bool:
        """Whether there is a worktree with that branch, once git knows of its move."""

    def unmake(self, aside: Path) -> None:
        """Remove what `recreate` left half made."""

    def commit_all(self, path: Path, message: str) -> str | None:
        """Commit everything there as the user would, hooks and signing on; None if there is nothing to commit."""


class Move(NamedTuple):
    """One ref to move, or (old == new) only to compare. None stands for a ref that does not exist."""

    ref: str
    old: str | None
    new: str | None


class Branches(Protocol):
    """The user's branches: merged in memory, and moved together with our refs."""

    def merge(self, into: str, head: str, *, message: str, sign: bool = False) -> tuple[str, list[str]]:
        """Merge `head` into `into` in memory, always as a merge commit: (commit, []) or ("", conflicting files).

        `sign`: as the user would, if their configuration says so.
        """
        ...

    def conflicts(self, pairs: Sequence[tuple[str, str]], *, seconds: float) -> list[list[tuple[str, str]]] | None:
        """For each two commits the files that would conflict, with their kind; None if the time ran out."""
        ...

    def changed(self, old: str, new: str) -> list[str]: ...
    def bring_up(self, path: Path, old: str, new: str) -> None:
        """Two-tree checkout that refuses to overwrite (`conflict` with files), index and folder from old to new.

        Nothing is written where it refuses or fails.
        """
        ...

    def expect_room(self, path: Path, old: str, new: str) -> None:
        """Refuse as `bring_up` does where an ignored file is in the way of what `new` adds."""
        ...

    def bring_back(self, path: Path, old: str, new: str) -> None:
        """Undo `bring_up(path, old, new)`, also one that was killed midway."""
        ...

    def hooked(self) -> bool:
        """Whether the user has a `reference-transaction` hook, which may take its time."""
        ...

    def move(self, moves: Sequence[Move]) -> None:
        """Lock all, compare all, then move in the order given, the user's `reference-transaction` hook having its say.

        Raises `Contention` when one of them is not at its old value any more.
        """
        ...


class Contention(Exception):
    """A ref was not where it was expected, or was locked by another writer: read again and redo."""


class Files(Protocol):
    """The private folder `<common git dir>/codestrator/`, readable by the user only."""

    @property
    def root(self) -> Path: ...
    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        ...

    def read(self, name: str) -> bytes | None: ...


class Notes(Protocol):
    """Checkpoint lines on commits; added in groups, shortly after the state that they repeat."""

    def add(self, commit: str, line: Mapping[str, Any]) -> None: ...
    def upto(self) -> str | None:
        """The commit of the state up to which no line is missing."""
        ...

    def complete(self, lines: Iterable[tuple[str, Mapping[str, Any]]], upto: str) -> None:
        """Write those that are missing, and that notes are now whole up to that commit of the state."""
        ...

    def lines(self, commit: str) -> list[dict[str, Any]]:
        """Our lines on a commit, those that still wait left out."""
        ...

    def flush(self) -> None:
        """Write what is waiting; call it before every push, removal of a worktree and end of a process."""
        ...


class Settings(Protocol):
    """`codestrator.*` of git config, with the contract's defaults and ranges."""

    machine: str
    remote: str | None
    authority: str
    worktree_root: str
    max_children: int
    allow_install: bool
    tmux_socket: str | None
    durable: bool
    snapshot_max_bytes: int
    guide_root: str | None
    known: tuple[str, ...]  # the names of all that may be set
    wrong: tuple[Any, ...]  # `InvalidParams` of what is not as expected, where that was asked for
    ref_prefix: str
    sync_timeout: int  # seconds
    hook_timeout: int  # seconds


class World(Protocol):
    """One of each, for one repository, and the process that asks."""

    repo: Path  # the main worktree, or the bare repository
    common_dir: Path
    cwd: Path
    bare: bool
    live: Live
    files: Files
    notes: Notes
    settings: Settings
    store: Any  # codestrator.store.Store
    cancelled: threading.Event

    @property
    def git(self) -> Git: ...
    @property
    def worktrees(self) -> Worktrees: ...
    @property
    def branches(self) -> Branches: ...
    @property
    def pages(self) -> Pages: ...
    @property
    def hooks(self) -> Hooks: ...
    @property
    def tmux(self) -> Tmux: ...
    @property
    def runners(self) -> Runners: ...
    @property
    def remotes(self) -> Remotes: ...
    def roots(self) -> tuple[str, ...]:
        """Absolute folders that caller-given paths may lie in: the main worktree and every linked one."""
        ...

    def now(self) -> Moment: ...
    def gate(self) -> AbstractContextManager[bool]: ...
    def wait_for_change(self, seconds: float, since: tuple[str | None, str | None] | None = None) -> bool:
        """Rest until state or lock book has moved (from `since`, or from now); False when the time ran out first."""
        ...

    def process_alive(self, pid: int, started: str) -> bool: ...
    def process_identity(self) -> tuple[int, str]:
        """This process's number and start time, which together are never reused."""
        ...

    def waiting(self, seconds: float) -> Iterator[float]:
        """Yield the seconds left, resting for a change of state between two, until `seconds` have passed."""
        ...
