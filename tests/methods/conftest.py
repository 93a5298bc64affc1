"""A tmux server and a root for tests with real children; none of either outlives its test."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codestrator.world.processes import send
from tests.actors import Actor
from tests.conftest import ended, git
from tests.methods.family import Family, programs, working_for
from tests.world.desk import Desk, desk_in


@pytest.fixture
def desk(repo: Path) -> Iterator[Desk]:
    """A private tmux server, which the repository's settings name; ended with the test."""
    with tempfile.TemporaryDirectory(prefix="cs") as place:  # short: a socket's path has about 100 bytes
        yield from desk_in(Path(place), repo)


@pytest.fixture
def without_tmux(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """tmux is not installed."""
    with monkeypatch.context() as here:
        here.setenv("PATH", programs(tmp_path / "bin", "git", "sh", "sleep"))
        yield


@pytest.fixture
def family(repo: Path, desk: Desk, actor: Callable[..., Actor]) -> Iterator[Family]:
    """A root with an open session, which may spawn children."""
    git("config", "codestrator.tmuxSocket", desk.socket, at=repo)
    root = actor()
    root("workspace.init")
    root.open()
    yield Family(root, actor, desk)
    while left := working_for(repo):
        for pid in left:
            send(pid, signal.SIGKILL)
        assert all(ended(pid) for pid in left)
