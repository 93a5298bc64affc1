"""A shell for tests of the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import git
from tests.edges.shell import Program, Run


@pytest.fixture
def run(repo: Path) -> Run:
    """Run the command as a process of its own."""

    def run(*words: str, at: Path = repo, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "codestrator", *words],
            cwd=at,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | env,
        )

    return run


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The command on PATH under its own name, as an installation puts it there."""
    found = Program(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.folder}:{os.environ['PATH']}")
    return found


@pytest.fixture
def origin(repo: Path, tmp_path: Path) -> Path:
    """A bare repository that has `main` and is the repository's remote `origin`."""
    place = tmp_path / "origin.git"
    git("init", "-q", "--bare", str(place), at=tmp_path)
    git("remote", "add", "origin", str(place), at=repo)
    git("push", "-q", "-u", "origin", "main", at=repo)
    return place
