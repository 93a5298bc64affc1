"""The user's own git looks and works as if nothing else were in the repository."""

from pathlib import Path

import pytest

from tests.actors import Actor
from tests.conftest import git

LOOKS = (
    ("branch", "-a"),
    ("tag",),
    ("stash", "list"),
    ("status", "--porcelain", "--ignored"),
    ("log", "--oneline"),
    ("config", "--local", "--list"),
    ("ls-files",),
)


def looks(repo: Path) -> list[str]:
    return [git(*one, at=repo) for one in LOOKS]


def dress(repo: Path) -> list[str]:
    """Give the repository what a user has; the subjects of the commits, newest first."""
    for number in range(5):
        (repo / f"{number}.txt").write_text(f"{number}\n", encoding="utf-8")
        git("add", ".", at=repo)
        git("commit", "-qm", f"own work {number}", at=repo)
    git("tag", "v1", at=repo)
    git("branch", "topic/ä", at=repo)
    (repo / "0.txt").write_text("put away\n", encoding="utf-8")
    git("stash", at=repo)
    return [f"own work {number}" for number in reversed(range(5))]


@pytest.mark.slow
def test_after_a_thousand_mutations_the_users_git_looks_as_before(repo: Path) -> None:
    subjects = dress(repo)
    before = looks(repo)
    actor = Actor(repo)
    actor("workspace.init")
    epic = actor("task.create", level="epic", title="Shop", session_id=opened(actor))["task"]["id"]
    for number in range(1000):
        actor("task.update", task_id=epic, priority=number % 100 + 1)
    actor("session.close")
    actor("worktree.remove", worktree_id=actor.worktree, session_id=actor.session, delete_branch=True)
    actor.close()
    after = looks(repo)
    for look, was, now in zip(LOOKS, before, after, strict=True):
        assert now == was, f"git {' '.join(look)}"
    log = git("log", "--all", "--format=%s", at=repo).splitlines()
    own = [line for line in log if "topic" not in line and line in subjects]
    assert own == subjects
    ours = next(index for index, line in enumerate(log) if line.startswith(("task.", "session.", "workspace.")))
    assert ours > max(log.index(subject) for subject in subjects)
    assert len(log) > 1000
    git("fsck", "--strict", at=repo)


def opened(actor: Actor) -> str:
    actor.open()
    return actor.session


def test_the_users_own_git_habits_lose_nothing_of_ours(root: Actor) -> None:
    case = root.case("one", "two")
    root("case.begin", case_id=case)
    repo = Path(root.world.repo)
    root.world.notes.flush()
    for habit in (
        ("gc", "-q", "--prune=now"),
        ("pack-refs", "--all"),
        ("repack", "-adq"),
        ("reflog", "expire", "--all"),
    ):
        git(*habit, at=repo)
    root("step.check", case_id=case, step_title="one", result="pass", evidence={"command": "true", "exit_status": 0})
    assert root("task.get", task_id=case)["task"]["steps"][0]["status"] == "done"
    git("fsck", "--strict", at=repo)


def test_checkpoints_are_read_by_plain_git(root: Actor) -> None:
    case = root.case("one")
    root("case.begin", case_id=case)
    root("step.check", case_id=case, step_title="one", result="pass", evidence={"command": "true", "exit_status": 0})
    root.world.notes.flush()
    assert case in git("log", "-1", "--notes=codestrator", at=root.path)
    assert "step.check" in git("notes", "--ref=codestrator", "show", "HEAD", at=root.path)
