"""Seals every test: its own home and git configuration, fixed names, nothing of the developer's environment."""

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pygit2
import pytest
from pygit2.enums import ConfigLevel

from tests.actors import Actor, SteeredClock

pytest_plugins = ("tests.remotes", "tests.machines")

for _name in [name for name in os.environ if name.startswith(("GIT_", "CODESTRATOR_")) or name == "TMUX"]:
    del os.environ[_name]
# A tmux server of this process's own, where a test names no other: its path must be short.
os.environ["TMUX_TMPDIR"] = tempfile.mkdtemp(prefix="tests-")


def pytest_unconfigure() -> None:
    if shutil.which("tmux"):
        subprocess.run(["tmux", "kill-server"], capture_output=True, check=False, timeout=20)
    shutil.rmtree(os.environ["TMUX_TMPDIR"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the generated files of fixtures/ anew")


# How long one example takes says nothing on a machine that is shared.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


@pytest.fixture(autouse=True)
def sealed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own; git sees no other configuration than the one written here."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ada Tester\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
        "[commit]\n\tgpgsign = false\n[gc]\n\tauto = 0\n[core]\n\tfsync = none\n",
        encoding="utf-8",
    )
    for name, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }.items():
        monkeypatch.setenv(name, value)
    for level in (ConfigLevel.GLOBAL, ConfigLevel.XDG, ConfigLevel.SYSTEM):  # libgit2 looked them up when it was loaded
        pygit2.settings.search_path[level] = str(home) if level == ConfigLevel.GLOBAL else ""
    return home


def git(*arguments: str, at: Path) -> str:
    """Run git as a user would; a failure fails the test."""
    done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.rstrip("\n")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit on `main`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    git("init", "-q", at=folder)
    (folder / "README.md").write_text("shop\n", encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", "first", at=folder)
    return folder


@pytest.fixture
def clock() -> SteeredClock:
    return SteeredClock()


@pytest.fixture
def actor(repo: Path, clock: SteeredClock) -> Iterator[Callable[..., Actor]]:
    """Make actors of any kind; they end with the test."""
    made: list[Actor] = []

    def make(kind: str = "root", folder: Path = repo, **seat: object) -> Actor:
        made.append(Actor(folder, kind=kind, clock=clock, **seat))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def root(actor: Callable[..., Actor]) -> Actor:
    """A root process with an open session."""
    one = actor()
    one("workspace.init")
    one.open()
    return one


@pytest.fixture
def other(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A second root process in the same repository, with a session of its own."""
    one = actor()
    one.open(user_request="Add invoices")
    return one


@pytest.fixture
def operator(root: Actor, actor: Callable[..., Actor]) -> Actor:
    """A person at a command line who works for the root's session."""
    return actor("operator", session_id=root.session)


def ended(pid: int, seconds: float = 10) -> bool:
    """Whether a process is over, waiting for it at most so long: one that was killed needs a moment to die."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)
