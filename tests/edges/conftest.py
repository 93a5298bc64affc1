"""A shell for tests of the command line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edges.pages import Browser
from tests.edges.shell import Run


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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    return Browser(program, tmp_path_factory.mktemp("browser"))
