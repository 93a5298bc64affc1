"""Repositories for tests of the doctor: one with work of every kind in it, and what can be done to such a one."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codestrator import registry
from codestrator.calls import Seat
from codestrator.clock import Clock
from codestrator.world import LocalWorld, open_world
from tests.actors import Actor
from tests.conftest import git
from tests.store.kit import STATE

_template: dict[str, Any] = {}


class Ward:
    """A repository that a session has worked in; nobody is at work in it now."""

    def __init__(self, repo: Path, clock: Clock, known: dict[str, str]) -> None:
        self.repo = repo
        self.clock = clock
        self.session, self.thread, self.worktree = known["session"], known["thread"], known["worktree"]
        self.case, self.lock, self.snapshot = known["case"], known["lock"], known["snapshot"]
        self.request, self.land, self.approved = known["request"], known["land"], known["approved"]
        self.folder = repo / known["folder"]
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def git_dir(self) -> Path:
        return self.repo / ".git"

    @property
    def rescue_ref(self) -> str:
        return f"refs/codestrator/rescue/{self.worktree}/{self.snapshot}"

    def git(self, *arguments: str) -> str:
        return git(*arguments, at=self.repo)

    @contextmanager
    def root(self) -> Iterator[Actor]:
        """Its root process for a moment."""
        one = Actor(self.repo, clock=self.clock, sessions=[self.session])
        one.session, one.thread, one.worktree, one.path = self.session, self.thread, self.worktree, self.folder
        try:
            yield one
        finally:
            one.close()

    def doctor(self, **given: Any) -> dict[str, Any]:
        """The method, called by a process that has read nothing yet."""
        with opened(self.repo, self.clock) as world:
            return registry.call(world, Seat("operator"), "doctor.check", given)

    def items(self, check: str, **given: Any) -> list[dict[str, Any]]:
        """What it says of one check, where that is not well."""
        return [one for one in self.doctor(**given)["items"] if one["id"] == check and one["severity"] != "ok"]

    def content(self) -> dict[str, str]:
        """Every file of the repository, git's own included, and what is in it."""
        return {
            str(place.relative_to(self.repo)): hashlib.sha1(place.read_bytes()).hexdigest()
            for place in sorted(self.repo.rglob("*"))
            if place.is_file() and not place.is_symlink()
        }

    def remove(self, revision: str) -> str:
        """Take one object away; its id."""
        oid = self.git("rev-parse", revision)
        (self.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
        return oid

    def tips(self) -> tuple[str, ...]:
        refs = (STATE, "refs/codestrator/locks", "refs/notes/codestrator")
        return tuple(self.git("for-each-ref", "--format=%(objectname)", ref) for ref in refs)


@contextmanager
def opened(repo: Path, clock: Clock) -> Iterator[LocalWorld]:
    world = open_world(repo, clock, forgiving=True)
    try:
        yield world
    finally:
        world.close()


def ward(place: Path, clock: Clock, folder: Path) -> Ward:
    """A copy of a repository that is worked in once for all tests of this process."""
    if not _template:
        _template["home"] = folder
        _template["known"] = _worked(folder / "shop", clock)
    shutil.copytree(_template["home"] / "shop", place / "ward", symlinks=True)
    made = Ward(place / "ward", clock, _template["known"])
    own = made.git_dir / "codestrator" / "machine"  # else it would be a machine of its own, as copies are
    for link in (made.folder / ".git", made.git_dir / "worktrees" / made.folder.name / "gitdir", own):
        words = link.read_text(encoding="utf-8").replace(str(_template["home"] / "shop"), str(made.repo))
        link.write_text(words, encoding="utf-8")
    return made


def _worked(repo: Path, clock: Clock) -> dict[str, str]:
    """A session with a case in work, a checkpoint, a lock, a snapshot, and an approved place in the queue."""
    repo.mkdir(parents=True)
    git("init", "-q", at=repo)
    (repo / "README.md").write_text("shop\n", encoding="utf-8")
    git("add", ".", at=repo)
    git("commit", "-qm", "first", at=repo)
    root = Actor(repo, clock=clock)
    try:
        root("workspace.init")
        root.open(heartbeat_timeout_seconds=3600)
        case = root.case("one", "two")
        root("case.begin", case_id=case)
        root("step.check", case_id=case, step_title="one", result="pass")
        (root.path / "a.txt").write_text("one\n", encoding="utf-8")
        git("add", ".", at=root.path)
        git("commit", "-qm", "work", at=root.path)
        lock = root("lock.acquire", scope_type="prefix", scope_path="src")["lock"]["id"]
        land = root("merge.main.request", auto_review=False)["main_merge_request"]
        head = git("rev-parse", "HEAD", at=root.path)
        root("merge.main.acquire_lock")
        root("merge.review.verdict", verdict="approve", head=head, summary="fine")
        (root.path / "new.txt").write_text("half\n", encoding="utf-8")
        snapshot = root("work.checkpoint", summary="saved")["snapshot_id"]
        return {
            "session": root.session,
            "thread": root.thread,
            "worktree": root.worktree,
            "folder": str(root.path.relative_to(repo)),
            "case": case,
            "lock": lock,
            "snapshot": snapshot,
            "request": land["merge_request_id"],
            "land": land["id"],
            "approved": head,
        }
    finally:
        root.close()
