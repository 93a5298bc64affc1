"""What a plain installation brings: the program, its manual pages where man finds them, its completion."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.edges import completion
from tests.edges.shell import PACKAGE_ROOT

Asked = Callable[..., str]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that this repository was installed into by pip, without what it depends on."""
    place = tmp_path_factory.mktemp("installed")
    words = ["install", "-q", "--no-deps", "--ignore-installed", "--prefix", str(place), str(PACKAGE_ROOT)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=110, check=False
    )
    if "hatchling" in done.stderr and done.returncode:
        pytest.skip(f"pip cannot fetch the build backend: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def run(prefix: Path, repo: Path) -> Asked:
    (packages,) = prefix.glob("lib*/python*/site-packages")

    def run(*words: str) -> str:
        env = os.environ | {"PATH": f"{prefix}/bin:{os.environ['PATH']}", "PYTHONPATH": str(packages)}
        env |= {"MANWIDTH": "80", "PAGER": "cat", "GIT_PAGER": "cat", "MANPAGER": "cat"}
        done = subprocess.run(words, cwd=repo, capture_output=True, text=True, timeout=60, check=False, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_git_shows_the_manual_of_an_installed_command(prefix: Path, run: Asked) -> None:
    if not shutil.which("man"):
        pytest.skip("man-db is not installed")
    for asked in (("git", "help", "codestrator"), ("git", "codestrator", "--help")):
        shown = run(*asked)
        assert "GIT-CODESTRATOR(1)" in shown and "TROUBLESHOOTING" in shown
    for page in sorted((PACKAGE_ROOT / "share" / "man" / "man1").iterdir()):
        assert run("man", "-w", page.stem).strip() == str(prefix / "share" / "man" / "man1" / page.name)
    assert "Usage: git-codestrator" in run("git-codestrator", "--help")
    assert "Usage: git-codestrator task" in run("git", "codestrator", "task", "--help")


def test_completion_lies_where_shells_look_and_is_printed_too(prefix: Path, run: Asked) -> None:
    for shell, name in completion.FILES.items():
        script = (PACKAGE_ROOT / "share" / name).read_text(encoding="utf-8")
        assert (prefix / "share" / name).read_text(encoding="utf-8") == script
        assert run("git", "codestrator", "completion", shell) == script
