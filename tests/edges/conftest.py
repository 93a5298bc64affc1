"""A shell and a browser for tests of the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actors import Actor, SteeredClock
from tests.conftest import git
from tests.edges.pages import Browser, chromium
from tests.edges.shell import Program, Run
from tests.methods.crew import make, record
from tests.methods.test_landing import approved


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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    if not chromium():
        pytest.skip("chromium is not installed")
    return Browser(chromium(), tmp_path_factory.mktemp("browser"))


@pytest.fixture
def busy(root: Actor, other: Actor, clock: SteeredClock) -> dict[str, str]:
    """Work that landed, work that is blocked, locks, a queue and a plan; the ids."""
    landed = approved(root, cases=2)
    clock.advance(10)
    root("merge.main.land")
    feature = make(other, "feature", "Invoices", parent_id=make(other, "epic", "Shop again"))
    steps = ["write it", "round it", "name it"]
    case = other("task.create", level="case", title="Tax is added", parent_id=feature, steps=steps)["task"]["id"]
    waits = other("task.create", level="case", title="Discount", parent_id=feature, depends_on=[case])["task"]["id"]
    other("lock.acquire", scope_type="file", scope_path="src/shop/tax.py")
    other("lock.acquire", scope_type="prefix", scope_path="src/shop/pdf")
    other("case.begin", case_id=case)
    evidence = {"command": "pytest -q", "exit_status": 0, "duration_seconds": 2.5}
    other("step.check", step_id=f"{case}.1", result="pass", evidence=evidence)
    other("step.check", step_id=f"{case}.2", result="blocked", evidence={"note": "up, or to even?"})
    (other.path / "tax.py").write_text("RATE = 1\n", encoding="utf-8")
    git("add", ".", at=other.path)
    git("commit", "-qm", "tax", at=other.path)
    other("merge.request", feature_task_id=feature)
    queued = other("merge.main.request", auto_review=False)["main_merge_request"]["id"]
    top = other("plan.bootstrap", initiative_title="Faster checkout", plan_title="One page")["plan"]["id"]
    specs = [{"title": "Basket"}, {"title": "Address", "depends_on": ["Basket"]}]
    other("plan.slice.generate", plan_node_id=top, slice_specs=specs)
    record(
        other, title="Rounds the tax", status="waiting", blocker="which way?", reported_at="2026-05-04T09:30:00.000Z"
    )
    return {"landed": landed["id"], "case": case, "waits": waits, "queued": queued}
