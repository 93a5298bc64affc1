"""Machines: clones of one hub, each with an id of its own, worked on by a root process."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codestrator.clock import Clock
from codestrator.records import Task
from tests.actors import Actor
from tests.conftest import git
from tests.remotes import FileHost

HERE = Path(__file__).parents[1]
STATE, LOCKS, NOTES = "refs/codestrator/state", "refs/codestrator/locks", "refs/notes/codestrator"
RESCUE, TRACKING = "refs/codestrator/rescue/", "refs/codestrator-remote/origin/"


class Machine(Actor):
    """A root process in its own clone; `origin` is the hub that it shares with."""

    @property
    def id(self) -> str:
        return str(self.world.settings.machine)

    @property
    def folder(self) -> Path:
        return Path(self.world.repo)

    def git(self, *arguments: str) -> str:
        return git(*arguments, at=self.folder)

    def sync(self, **given: Any) -> dict[str, str]:
        """Sync; the verdict of each ref."""
        return verdicts(self("sync.run", **given))

    def tip(self, ref: str) -> str:
        """Its object, nothing where there is none."""
        return self.refs().get(ref, "")

    def refs(self) -> dict[str, str]:
        """Every ref of the clone, once the notes that wait are written."""
        self.world.notes.flush()
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def digest(self) -> str:
        """What machines in sync have in common: the trees of state, lock book and notes, and the snapshots."""
        shared = {ref: commit for ref, commit in self.refs().items() if ref in (STATE, LOCKS, NOTES)}
        trees = {ref: self.git("rev-parse", f"{commit}^{{tree}}") for ref, commit in shared.items()}
        kept = {ref: commit for ref, commit in self.refs().items() if ref.startswith(RESCUE)}
        return repr(sorted((trees | kept).items()))

    def epic(self, title: str = "Shop", **given: Any) -> str:
        return str(self("task.create", level="epic", title=title, **given)["task"]["id"])

    def titles(self) -> set[str]:
        return {task.title for task in self.world.store.read().all(Task)}

    def start(self, source: str, *arguments: str) -> "subprocess.Popen[str]":
        """Another process on this machine: it runs Python, with `call(method, **given)` for the session's operator."""
        command = [sys.executable, "-c", HEAD + source, str(self.folder), self.session, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=HERE, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


HEAD = """
import json, sys
from pathlib import Path
from codestrator import registry
from codestrator.calls import Seat
from codestrator.errors import CodestratorError
from codestrator.world import open_world
world, seat = open_world(Path(sys.argv[1])), Seat("operator", session_id=sys.argv[2] or None)
def call(method, **given):
    return registry.call(world, seat, method, given)
"""


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    """The verdict of each ref, by its whole name here."""
    assert answer["count"] == len(answer["items"])
    return {item["ref"]: item["verdict"] for item in answer["items"]}


def clone(url: str, folder: Path, *how: str) -> Path:
    """A clone that shares with where it came from."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "-q", *how, url, str(folder), at=folder.parent)
    git("config", "codestrator.remote", "origin", at=folder)
    return folder


def join(folder: Path, clock: Clock | None = None) -> Machine:
    """A root process in a clone, with an open session."""
    one = Machine(folder, clock=clock)
    one("workspace.init")
    one.open()
    return one


def told(process: "subprocess.Popen[str]", seconds: float = 60) -> str:
    """What it printed, once it is over; it fails the test if it failed."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out


# A hook that keeps a push waiting: it makes a file and goes on once there is another.
WAITS = """#!/bin/sh
grep -q "{only}" || exit 0
: > {folder}/pushing
while [ ! -e {folder}/go ]; do sleep 0.01; done
"""


class Held:
    """A host on which pushes wait, whatever pushes."""

    def __init__(self, host: FileHost, only: str = "") -> None:
        """`only`: pushes of that ref."""
        self._folder = host.folder
        host.hook("pre-receive", WAITS.format(folder=host.folder, only=only))

    @property
    def pushing(self) -> bool:
        return (self._folder / "pushing").exists()

    def go(self) -> None:
        (self._folder / "go").touch()


def stranger(host: FileHost, folder: Path) -> Path:
    """A clone of somebody who knows nothing of us, and yet has our refs."""
    git("clone", "-q", host.url, str(folder), at=folder.parent)
    git("fetch", "-q", "origin", "+refs/codestrator/*:refs/codestrator/*", "+refs/notes/*:refs/notes/*", at=folder)
    return folder


def in_step(*machines: Machine) -> None:
    """Sync until all have what each has: the last one to come has all, the others fetch it."""
    for one in (*machines, *machines[:-1]):
        one("sync.run")


Joins = Callable[..., Machine]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Joins]:
    """Make machines: `machine(host)` is a clone of its hub and a root with a session there; they end with the test."""
    made: list[Machine] = []

    def make(host: FileHost, *how: str, clock: Clock | None = None, authority: str = "local") -> Machine:
        folder = clone(host.url, tmp_path / f"machine{len(made)}" / "shop", *how)
        git("config", "codestrator.authority", authority, at=folder)
        made.append(join(folder, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()
