"""A tmux server for one test: our way to it, and a user's."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from codestrator.programs import Pane
from codestrator.world.tmux import TmuxServer

T = TypeVar("T")
TAG = "/home/ada/my shop;#(x)/.git:ses-1"
SAY = ("sh", "-c", 'printf "%s\n" "$@"; exec cat', "sh")
# A user's settings that have each broken a program which used indices, names, shells or prefixes.
USER = """
set -g base-index 1
set -g pane-base-index 1
set -g prefix C-a
set -g renumber-windows on
set -g destroy-unattached on
set -g remain-on-exit off
set -g automatic-rename on
set -g allow-rename on
set -g default-shell {shell}
set -g default-command "exit 3"
set-hook -g after-new-session 'rename-window hooked'
set-hook -g after-new-window 'display-message -p "a word of the hook"'
set-hook -g after-split-window 'select-layout even-horizontal ; select-pane -l'
"""


def until(look: Callable[[], T], seconds: float = 20) -> T:
    """What the look finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen in time"
    return found


class Desk:
    """A tmux server of the test's own, our way to it and a user's."""

    def __init__(self, socket: str, folder: Path) -> None:
        self.socket = socket
        self.folder = folder
        self.ours = TmuxServer(socket)

    def __call__(self, *arguments: str) -> str:
        """What a user types."""
        done = subprocess.run(
            ["tmux", "-S", self.socket, *arguments], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, f"tmux {' '.join(arguments)}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def running(self, settings: str) -> None:
        """A server with a session of the user's own runs already."""
        self("-f", "/dev/null", "new-session", "-d", "-s", "theirs", "--", "cat", "-")
        place = self.folder / "settings"
        place.write_text(settings, encoding="utf-8")
        self("set-option", "-t", "=theirs:", "destroy-unattached", "off", ";", "source-file", str(place))

    def session(self, name: str = "shop-login", tag: str = TAG) -> str:
        return self.ours.ensure_session(name, tag, folder=self.folder, overview=("cat", "-"), env={})

    def open(self, *command: str, **wanted: Any) -> str:
        usual: dict[str, Any] = {"window": "children", "folder": self.folder, "env": {}, "title": "a child"}
        session = wanted.pop("session", None) or self.session()
        usual |= {"vertical": True, "view_only": True} | wanted
        return self.ours.open_pane(session, TAG, command=command or SAY, **usual)

    def shows(self, pane: str, words: str) -> str:
        until(lambda: words in self.ours.capture(pane, TAG, 200))
        return self.ours.capture(pane, TAG, 200)

    def over(self, pane: str) -> int:
        """The status of its program, once that is over."""

        def ended() -> Pane | None:
            found = self.ours.pane(pane, TAG)
            return found if found and found.dead and found.status is not None else None

        found = until(ended)
        assert found and found.status is not None
        return found.status

    def windows(self) -> list[str]:
        return self("list-windows", "-a", "-F", "#{session_name}:#{window_name}:#{window_panes}").splitlines()


def desk_in(place: Path, folder: Path) -> Iterator[Desk]:
    """No server runs yet, none is left; the place is short, because sockets allow about 100 bytes."""
    socket = str(place / "s")
    yield Desk(socket, folder)
    subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)


def settle(home: Path, shell: Path) -> Path:
    """Write a user's configuration, with a shell that understands nothing we could say to it."""
    shell.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    shell.chmod(0o755)
    place = home / ".tmux.conf"
    place.write_text(USER.format(shell=shell), encoding="utf-8")
    return place
