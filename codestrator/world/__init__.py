"""The world around one repository, made real: the only place that picks who does what."""

import contextlib
import copy
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from codestrator import ports, programs
from codestrator.clock import Clock, Moment
from codestrator.errors import NotFound, Unsupported
from codestrator.records import KINDS
from codestrator.store.configuration import configuration
from codestrator.store.notes import NoteBook
from codestrator.store.store import Store
from codestrator.world import processes
from codestrator.world.files import PrivateFiles, failed
from codestrator.world.live import LiveFolder
from codestrator.world.settings import read_settings

if TYPE_CHECKING:
    from codestrator.world.hooks import GitHooks
    from codestrator.world.localconfig import LocalConfig
    from codestrator.world.probe import Probe
    from codestrator.world.workfiles import WorkFiles as WorkFiles

LOOK_SECONDS = 0.025
FORMATS = (
    ("objectformat", "sha256", "sha256 objects", "sha1"),
    ("refstorage", "reftable", "reftable refs", "files"),
)
TRUE = ("true", "yes", "on", "1")
SURE_SECONDS = 1.0  # so often refs are read although their files look untouched
OF_SETTINGS = ("worktrees", "pages", "probe", "tmux", "remotes")  # what is made by them, and kept


class LocalWorld:
    """What methods are given as their `World`; store, notes and kernel locks are one for the whole process."""

    def __init__(
        self, common_dir: Path, repo: Path, cwd: Path, bare: bool, clock: Clock, *, forgiving: bool = False
    ) -> None:
        self.common_dir = common_dir
        self.repo = repo
        self.cwd = cwd
        self.bare = bare
        self.clock = clock
        self.cancelled = threading.Event()
        self.look_seconds = LOOK_SECONDS  # of waiting; who waits for a person's eyes may look less often
        self._private = private = PrivateFiles(common_dir / "codestrator")
        self.files: ports.Files = private
        self._live = LiveFolder(common_dir / "codestrator" / "live", clock)
        self.live: ports.Live = self._live
        self._configuration = configuration(common_dir)
        settings = read_settings(self._configuration, private, forgiving=forgiving)
        self.settings: ports.Settings = settings
        self._ref_prefix, self._scans = settings.ref_prefix, settings.scan_secrets
        self.store = Store(
            common_dir, KINDS, clock, lambda: self.git, machine=self.settings.machine, durable=self.settings.durable
        )
        self._notes = NoteBook(self.store)
        self.notes: ports.Notes = self._notes

    @cached_property
    def git(self) -> ports.Git:
        from codestrator.world.git import GitProgram

        return GitProgram(self.repo, self._configuration)

    @cached_property
    def worktrees(self) -> ports.Worktrees:
        from codestrator.world.worktrees import GitWorktrees

        return GitWorktrees(self.git, self._worktree_root, self.common_dir)

    def _worktree_root(self) -> Path | None:
        """The folder inside the repository that our worktrees lie in; None if they are made elsewhere."""
        top = Path(os.path.normpath(self.repo / self.settings.worktree_root))
        return top if self.repo in top.parents else None

    def hide_worktrees(self) -> None:
        """Put back what keeps our worktrees out of `git status` and `git add`: `git clean -x` takes it away."""
        top = self._worktree_root()
        if top and top.is_dir() and not (top / ".gitignore").exists():
            with contextlib.suppress(OSError):  # a file system that is only read
                self.worktrees.hide()

    @cached_property
    def branches(self) -> ports.Branches:
        from codestrator.world.branches import GitBranches

        return GitBranches(self.git, self.repo, self.common_dir / "codestrator" / "moving")

    @cached_property
    def pages(self) -> programs.Pages:
        from codestrator.world.pages import MainPages

        return MainPages(self.git, self.repo, self._worktree_root)

    @cached_property
    def hooks(self) -> "GitHooks":
        from codestrator.world.hooks import GitHooks

        return GitHooks(self.git, self.common_dir, self._private)

    @cached_property
    def local_config(self) -> "LocalConfig":
        """What init writes into the repository's configuration; no business of methods."""
        from codestrator.world.localconfig import LocalConfig

        return LocalConfig(self.git, self.common_dir, self._private)

    def files_here(self) -> "WorkFiles":
        """Those of the worktree that this folder is in; `Unsupported` in a bare repository."""
        from codestrator.world import workfiles

        return workfiles.of_folder(self.common_dir, _discover(self.cwd)[1], self.repo, bare=self.bare)

    def files_of(self, worktree: str) -> "WorkFiles | None":
        """Those of the worktree of that name; None if it is gone."""
        from codestrator.world import workfiles

        return workfiles.of_name(self.common_dir, worktree, self.repo)

    @cached_property
    def probe(self) -> "Probe":
        from codestrator.world.probe import Probe

        return Probe(self.git, self.common_dir, self.settings)

    @cached_property
    def tmux(self) -> programs.Tmux:
        from codestrator.world.tmux import TmuxServer

        return TmuxServer(self.settings.tmux_socket)

    @cached_property
    def runners(self) -> programs.Runners:
        from codestrator.world.runners import LocalRunners

        return LocalRunners(self.repo, self.common_dir)

    @cached_property
    def remotes(self) -> programs.Remotes:
        from codestrator.world.remotes import GitRemotes

        return GitRemotes(self.git, self._ref_prefix, scans=self._scans)

    def roots(self) -> tuple[str, ...]:
        """The main worktree, the linked ones, and each of them with its links followed."""
        found = [] if self.bare else [self.repo]
        for admin in sorted((self.common_dir / "worktrees").glob("*/gitdir")):
            with contextlib.suppress(OSError):  # removed meanwhile
                place = admin.parent / os.fsdecode(admin.read_bytes()).strip()  # git may have written it relative
                found.append(Path(os.path.normpath(place)).parent)
        return tuple(dict.fromkeys(str(one) for place in found for one in (place, place.resolve())))

    def now(self) -> Moment:
        return self.clock.now()

    def gate(self) -> AbstractContextManager[bool]:
        return self.store.gate()

    def wait_for_change(self, seconds: float, since: tuple[str | None, str | None] | None = None) -> bool:
        """Rest until state or lock book moves, `seconds` have passed, or the call is cancelled.

        With the tips that were read before the caller looked, a change made meanwhile is not missed.
        """
        return self._rest(since or self.store.tips(), seconds)

    def _rest(self, before: tuple[str | None, str | None], seconds: float) -> bool:
        end = time.monotonic() + seconds
        seen, sure_until = None, 0.0
        while True:
            glance, at = self.store.glance(), time.monotonic()
            if glance != seen or at >= sure_until:
                if self.store.tips() != before:
                    return True
                seen, sure_until = glance, at + SURE_SECONDS
            left = end - time.monotonic()
            if left <= 0 or self.cancelled.wait(min(self.look_seconds, left)):
                return False

    def waiting(self, seconds: float) -> Iterator[float]:
        """The seconds left, again after each change of state, and at least once a second.

        A change made while the caller looked at what was there before counts too.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.cancelled.is_set():
            before = self.store.tips()
            yield left
            self._rest(before, min(1.0, end - time.monotonic()))

    def process_identity(self) -> tuple[int, str]:
        return processes.identity()

    def process_alive(self, pid: int, started: str) -> bool:
        return processes.alive(pid, started)

    @property
    def there(self) -> bool:
        """Whether the repository is where it was; if not, nothing of ours is to be made in that place."""
        return _is_git_dir(self.common_dir)

    def for_call(self, cancelled: threading.Event) -> "LocalWorld":
        """The same world for one call that can be cancelled on its own, with the settings that are there now.

        The id of the clone stays, and how its store writes. `NotFound` where the repository is no more where it was.
        """
        if not self.there:
            raise NotFound(
                f"the repository at '{self.repo}' was moved or removed, expected it where it was",
                hint="Start this program anew in the folder of the repository.",
                kind="repository",
                id=str(self.repo),
            )
        world = copy.copy(self)
        world.cancelled = cancelled
        settings = read_settings(self._configuration, self._private, machine=self.settings.machine)
        if settings != self.settings:
            world.settings = settings
            world._ref_prefix, world._scans = settings.ref_prefix, settings.scan_secrets
            for name in OF_SETTINGS:
                world.__dict__.pop(name, None)
        return world

    def close(self) -> None:
        """Write what waits, and give every kernel lock back."""
        try:
            self._notes.close()
        finally:
            self.store.close()
            self._live.close()


def open_world(cwd: Path, clock: Clock | None = None, *, forgiving: bool = False) -> LocalWorld:
    """The world of the repository that a folder is in, a linked worktree's or a bare one's too.

    `forgiving`: also where its settings are wrong, as the doctor wants it. `NotFound` where there is none,
    `Unsupported` for sha256 and reftable, `Forbidden` for another user's.
    """
    cwd = Path(cwd).resolve()
    try:
        common_dir, top = _discover(cwd)
        stated = _stated(common_dir)
    except OSError as error:
        raise failed(Path(error.filename or cwd), "read", error) from None
    for name, value, found, expected in FORMATS:
        if stated.get(name, "").lower().startswith(value):
            raise Unsupported(
                f"'{common_dir}' is a repository with {found}, expected {expected}",
                hint="Use a repository with git's default formats.",
                field="repository",
                found=found,
            )
    bare = stated.get("bare", "").lower().startswith(TRUE)
    repo = common_dir if bare else _main_worktree(common_dir, top, stated.get("worktree"))
    world = LocalWorld(common_dir, repo, cwd, bare, clock or Clock(), forgiving=forgiving)
    if not forgiving:  # the doctor only looks
        world.hide_worktrees()
    return world


def _discover(cwd: Path) -> tuple[Path, Path]:
    """The common git directory, and the folder that has it."""
    for folder in (cwd, *cwd.parents):
        place = folder / ".git"
        if place.is_dir() and _is_git_dir(place):
            return place.resolve(), folder
        if place.is_file():
            git_dir = (folder / os.fsdecode(place.read_bytes()).removeprefix("gitdir:").strip()).resolve()
            common = git_dir / "commondir"
            if common.exists():
                return (git_dir / os.fsdecode(common.read_bytes()).strip()).resolve(), folder
            return git_dir, folder
        if _is_git_dir(folder):
            return folder, folder
    raise NotFound(
        f"'{cwd}' is not in a git repository, expected one",
        hint="Go into a repository, or make one with git init.",
        kind="repository",
        id=str(cwd),
    )


def _is_git_dir(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _stated(common_dir: Path) -> dict[str, str]:
    """What the repository's own configuration says, by name alone; found without libgit2, which opens not all."""
    try:
        config = (common_dir / "config").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    lines = (line.partition("=") for line in config.splitlines())
    return {name.strip().lower(): value.strip().removeprefix('"').partition('"')[0].strip() for name, _, value in lines}


def _main_worktree(common_dir: Path, top: Path, stated: str | None) -> Path:
    if stated:
        return (common_dir / stated).resolve()
    if common_dir.name == ".git":
        return common_dir.parent
    return top
