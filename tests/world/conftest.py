"""A world on a real repository whose path has spaces and letters that are not ASCII."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from codestrator.world import LocalWorld, open_world
from tests.actors import SteeredClock
from tests.conftest import git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit on `main`."""
    folder = tmp_path / "Läden und mehr" / "ショップ"
    folder.mkdir(parents=True)
    git("init", "-q", at=folder)
    (folder / "README.md").write_text("shop\n", encoding="utf-8")
    (folder / ".gitignore").write_text("*.log\n", encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", "first", at=folder)
    return folder


@pytest.fixture
def world(repo: Path, clock: SteeredClock) -> Iterator[LocalWorld]:
    opened = open_world(repo, clock)
    opened.store.initialise()
    yield opened
    opened.close()


def commit(folder: Path, name: str, text: str) -> str:
    """Commit one file as the user would; the commit."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    git("add", "--", name, at=folder)
    git("commit", "-qm", f"change {name}", at=folder)
    return git("rev-parse", "HEAD", at=folder)


@pytest.fixture
def linked(world: LocalWorld, repo: Path) -> Path:
    """A linked worktree made by us, on the branch `feature/küche`."""
    folder = repo / world.settings.worktree_root / "die küche"
    assert world.worktrees.reserve_branch("feature/küche", git("rev-parse", "HEAD", at=repo))
    world.worktrees.add(folder, "feature/küche", reason="ours")
    return folder
