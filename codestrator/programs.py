"""What methods ask of tmux, runners of children, git's servers and hooks, and of pages for people, as protocols."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol


class Pane(NamedTuple):
    """A tmux pane as it is now; `status` is what its program ended with, 128 + n for a signal n, as shells say it."""

    id: str
    session: str
    window: str
    pid: int
    dead: bool
    status: int | None
    input_off: bool


class Tmux(Protocol):
    """The user's tmux; what does not carry our `tag` is left alone. One that fails or hangs is `External`."""

    def version(self) -> tuple[str, str] | None:
        """Path and version of tmux, or None where there is none."""
        ...

    def session_alive(self, name: str) -> bool: ...
    def end_session(self, name: str, tag: str) -> bool:
        """End that tmux session if it carries our tag; whether one was ended."""
        ...

    def ensure_session(
        self, name: str, tag: str, *, folder: Path, overview: Sequence[str], env: Mapping[str, str]
    ) -> str:
        """Our session, made if need be with a first window `overview`; its name: a foreign one gives `-2`, `-3`."""
        ...

    def open_pane(
        self,
        session: str,
        tag: str,
        *,
        window: str,
        folder: Path,
        command: Sequence[str],
        env: Mapping[str, str],
        title: str,
        vertical: bool,
        view_only: bool,
        reuse: Sequence[str] = (),
    ) -> str:
        """A pane of that window, or of a next one `-2`, that runs the program without a shell in between; its id, `%n`.

        A dead one of `reuse` is used again. No command is an empty pane. `env` is no secret: others can read it.
        """
        ...

    def pane(self, pane_id: str, tag: str) -> Pane | None: ...
    def capture(self, pane_id: str, tag: str, lines: int) -> str:
        """Its last lines, wrapped ones joined, without control characters; `NotFound` if it is not ours."""
        ...

    def end_pane(self, pane_id: str, tag: str) -> bool: ...
    def paste(self, pane_id: str, tag: str, text: str) -> None:
        """Paste as one bracketed paste and press Enter, a view-only pane too; `wrong_state` if its program is over."""
        ...

    def foreground(self, pane_id: str, tag: str) -> str | None: ...


class Runners(Protocol):
    """Programs that run children: what they need, started, and ended for good."""

    def environment(self) -> dict[str, str]:
        """What a child is started with: this process's own, without what belongs to a terminal or a repository."""
        ...

    def resolve(self, kind: str) -> tuple[str, str | None]:
        """The runner kind that can run here, and why where it is not the one asked for."""
        ...

    def program(self, command: str) -> list[str]:
        """The words of a Codex command line, its program the native one; `external` where there is none."""
        ...

    def alive(self, pid: int) -> bool: ...
    def check(self, program: Sequence[str], folder: Path) -> list[dict[str, Any]]:
        """What stands in the way of a Codex that works in that folder, as findings."""
        ...

    def command(self, *words: str) -> list[str]:
        """Our own program on this repository, with these words."""
        ...

    def start(self, command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path) -> tuple[int, str]:
        """Start it on its own, without a terminal, its output in a log: its number and start."""
        ...

    def working(self, thread_ids: Sequence[str]) -> list[int]:
        """The processes that carry the mark of one of the threads."""
        ...

    def end(self, thread_ids: Sequence[str], seconds: float, *, grace: float = 0) -> list[int]:
        """End every process that carries the mark of one of the threads; those still there when the time is over.

        `grace`: so long they may end by themselves first.
        """
        ...


class Pages(Protocol):
    """Files of the main worktree that are written for people to read; paths are relative to it."""

    def check(self, path: str, mark: bytes) -> None:
        """Refuse a place where a page would do harm; a page is a file that begins with `mark`.

        `invalid_params`: behind a symbolic link, in another worktree or repository, a file of git's, no place for a
        file. `wrong_state`: a tracked file with changes, or somebody's file that git does not know.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """What is there; None where no file is, or only behind a symbolic link."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Replace the file whole or not at all; what is made below `.codestrator/` stays out of `git status`.

        One writer at a time: whoever calls this holds a lock.
        """
        ...


class Hooks(Protocol):
    """Our git hooks in this repository."""

    def state(self) -> Literal["installed", "partial", "absent"]:
        """Whether git would run them, as things are now."""
        ...


class Push(NamedTuple):
    """A ref to be moved on a remote, if it is still where it was seen there (None: not there); to '', to be removed."""

    ref: str
    new: str
    seen: str | None


class Pushed(NamedTuple):
    """What became of it: `lost` if the remote had moved it meanwhile; `words` are the server's."""

    verdict: Literal["done", "lost", "refused"]
    words: str = ""


class Remotes(Protocol):
    """Servers that hold our refs too. Refs go by their local names; every call is bounded and never asks a person.

    `Offline` where one does not answer, with git's words.
    """

    def known(self, remote: str) -> bool:
        """Whether the user's configuration has a remote of that name."""
        ...

    def listed(self, remote: str, *, seconds: float) -> dict[str, str]:
        """Our refs there, and their commits."""
        ...

    def fetch(self, remote: str, refs: Sequence[tuple[str, str]], *, seconds: float) -> None:
        """Bring the first of each pair here, under the name of the second; that is overwritten.

        `UnreadableState`, and none is brought, where one of them has objects that git does not take.
        """
        ...

    def send(self, remote: str, moves: Sequence[Push], *, seconds: float, atomic: bool = False) -> dict[str, Pushed]:
        """Move refs there, each on its own or all or none. `Offline` when nothing is known of what became of them.

        `Unsupported` where the server knows no atomic pushes.
        """
        ...
