"""Any sequence of calls keeps to the rules of landing: a small model says what may land, git says what has."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codestrator.errors import Refused
from codestrator.records import LAND_OPEN, Land, MergeRequest
from tests.actors import Actor, SteeredClock, everything
from tests.conftest import git

WHO = st.sampled_from([0, 1])
TTL = 600
FINDING = {"file": "a", "severity": "blocking", "description": "wrong", "evidence": "seen"}


class LandingLifecycle(RuleBasedStateMachine):
    """Two sessions on one repository; each has a file of its own, and both may write a third."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SteeredClock()
        self.repo = Path(self.folder.name).resolve() / "shop"
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.repo)], check=True)
        (self.repo / "shared").write_text("first\n", encoding="utf-8")
        git("add", ".", at=self.repo)
        git("commit", "-qm", "first", at=self.repo)
        self.actors = [Actor(self.repo, clock=self.clock), Actor(self.repo, clock=self.clock)]
        self.actors[0]("workspace.init")
        for one in self.actors:
            one.open()
        self.number = 0
        self.approved: list[str | None] = [None, None]
        self.holder: tuple[int, float] | None = None
        self.landed: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "actors"):
            for one in self.actors:
                one.close()
            self.folder.cleanup()

    def attempt(self, who: int, method: str, **given: Any) -> dict[str, Any] | None:
        """Make the call; a refused one changes nothing."""
        before = everything(self.repo)
        try:
            return self.actors[who](method, **given)
        except Refused:
            assert everything(self.repo) == before
            return None

    def head(self, who: int) -> str:
        return git("rev-parse", "HEAD", at=self.actors[who].path)

    def item(self, who: int) -> Land | None:
        tx = self.actors[who].world.store.read()
        rows = [row for row in tx.where(Land, session_id=self.actors[who].session) if row.state in LAND_OPEN]
        return tx.require(Land, rows[0].id) if rows else None

    def holds(self, who: int) -> bool:
        return self.holder is not None and self.holder[0] == who and self.clock.ahead < self.holder[1]

    def merges(self, who: int) -> bool:
        tried = subprocess.run(
            ["git", "merge-tree", "--write-tree", "main", self.head(who)],
            cwd=self.repo,
            capture_output=True,
            check=False,
        )
        return tried.returncode == 0

    @rule(who=WHO, shared=st.booleans())
    def commit(self, who: int, shared: bool) -> None:
        self.number += 1
        name = "shared" if shared else f"own{who}"
        (self.actors[who].path / name).write_text(f"{who} {self.number}\n", encoding="utf-8")
        git("add", ".", at=self.actors[who].path)
        git("commit", "-qm", f"change {self.number}", at=self.actors[who].path)

    @rule(who=WHO)
    def settle(self, who: int) -> None:
        """Bring the target into the branch, one's own side winning."""
        git("merge", "-q", "-X", "ours", "main", "-m", "settled", at=self.actors[who].path)

    @rule(who=WHO)
    def ask(self, who: int) -> None:
        had = self.item(who)
        ahead = bool(git("rev-list", "main..HEAD", at=self.actors[who].path))
        found = self.attempt(who, "merge.main.request")
        assert (found is not None) == ahead
        if found and had:
            assert found["main_merge_request"]["id"] == had.id

    @rule(who=WHO)
    def acquire(self, who: int) -> None:
        other = self.holds(1 - who)
        found = self.attempt(who, "merge.main.acquire_lock")
        assert not (found and other)
        if found:
            until = self.clock.ahead + TTL
            self.holder = (who, max(until, self.holder[1]) if self.holder and self.holds(who) else until)

    @rule(who=WHO)
    def release(self, who: int) -> None:
        found = self.attempt(who, "merge.main.release_lock")
        assert (found is None) == self.holds(1 - who)
        if self.holder and self.holder[0] == who and found:
            self.holder = None

    @rule(who=WHO, approve=st.booleans())
    def judge(self, who: int, approve: bool) -> None:
        given: dict[str, Any] = {} if approve else {"findings": [FINDING]}
        head = self.head(who)
        verdict = "approve" if approve else "block"
        found = self.attempt(who, "merge.review.verdict", verdict=verdict, head=head, summary="x", **given)
        if found:
            assert self.item(who) is not None
            self.approved[who] = head if approve else None

    @rule(who=WHO)
    def cancel(self, who: int) -> None:
        item = self.item(who)
        if item and self.attempt(who, "merge.main.cancel", request_id=item.id, reason="not now"):
            self.approved[who] = None
            if self.holds(who) and self.actors[who]("merge.main.status").get("lock") is None:
                self.holder = None

    @rule(who=WHO)
    def land(self, who: int) -> None:
        head, before = self.head(who), git("rev-parse", "main", at=self.repo)
        ready = self.item(who) is not None and self.approved[who] == head and self.holds(who) and self.merges(who)
        found = self.attempt(who, "merge.main.land")
        if found and found["merge_commit"] in self.landed:  # said again
            assert not ready and found["item"]["head"] == head
            return
        assert (found is not None) == ready
        if found:
            assert git("rev-parse", "main^1", "main^2", at=self.repo).split() == [before, head]
            self.landed.append(found["merge_commit"])
            self.approved[who] = self.holder = None

    @rule(who=WHO, shared=st.booleans(), and_land=st.booleans())
    def prepare(self, who: int, shared: bool, and_land: bool) -> None:
        """All that a landing needs, as far as the other session lets it; chance alone would seldom do that."""
        self.commit(who, shared)
        self.ask(who)
        self.acquire(who)
        self.judge(who, True)
        if and_land:
            self.land(who)

    @rule(seconds=st.sampled_from([100, 601]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def what_is_recorded_is_what_git_has(self) -> None:
        if not hasattr(self, "actors"):
            return
        tx = self.actors[0].world.store.read()
        merged = {one.merge_commit for one in tx.all(Land) if one.state == "merged"}
        assert merged == set(self.landed)
        for commit in self.landed:
            git("merge-base", "--is-ancestor", commit, "main", at=self.repo)
        assert len(git("rev-list", "--first-parent", "main", at=self.repo).split()) == 1 + len(self.landed)
        assert git("status", "--porcelain", at=self.repo) == ""

    @invariant()
    def a_request_is_merged_with_its_item(self) -> None:
        if not hasattr(self, "actors"):
            return
        tx = self.actors[0].world.store.read()
        items = tx.all(Land)
        for request in tx.all(MergeRequest):
            mine = [one for one in items if one.merge_request_id == request.id]
            assert (request.status == "merged") == any(one.state == "merged" for one in mine)
            assert sum(one.state in LAND_OPEN for one in mine) <= 1


TestLandingLifecycle = LandingLifecycle.TestCase
TestLandingLifecycle.settings = settings(
    max_examples=15, stateful_step_count=25, suppress_health_check=list(HealthCheck), deadline=None
)
