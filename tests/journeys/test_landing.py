"""Four sessions land on one branch, each through a review by a real Codex; one conflicts, is bypassed, and settles."""

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actors import Actor, everything
from tests.conftest import git
from tests.edges.wire import Wire
from tests.journeys.codex_crew import Models, codex_home, nothing_runs, ours, prompts, returned
from tests.methods.test_landing import head, work
from tests.methods.test_worktrees import commit
from tests.runner.codexes import need_sandbox, real_codex
from tests.scripted_model import Json, Step, say

pytestmark = [pytest.mark.codex, pytest.mark.tmux, pytest.mark.slow, pytest.mark.timeout(240)]

NAMES = ("ada", "bob", "cyd", "dan")


def request_in(sent: Json) -> str:
    """The merge request that the reviewer was told to review."""
    return next(found[0] for one in prompts(sent) if (found := re.search(r"mrq-\w{10}", one)))


def review() -> list[Step]:
    """Read what is to be judged, approve exactly that."""
    return [
        ours("merge.review_context", lambda sent: {"merge_request_id": request_in(sent)}),
        ours(
            "merge.review.verdict",
            lambda sent: {"verdict": "approve", "head": returned(sent, -1)["head"], "summary": "all criteria met"},
        ),
        say("approved"),
    ]


@pytest.fixture
def models(repo: Path, tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Models]:
    """A script for each reviewer; `codex` on the path is the real one, and tmux is the test's own."""
    need_sandbox(real_codex())
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "codex").symlink_to(real_codex())
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    with tempfile.TemporaryDirectory(prefix="cs", dir="/tmp") as place:
        git("config", "codestrator.tmuxSocket", f"{place}/s", at=repo)
        with Models(root=review(), **{name: review() for name in NAMES}) as running:
            for name, value in codex_home(sealed / "codex", running.url, repo).items():
                monkeypatch.setenv(name, value)
            yield running
        subprocess.run(["tmux", "-S", f"{place}/s", "kill-server"], capture_output=True, check=False)


def queued(root: Actor, file: str, text: str) -> str:
    """A feature of three cases, done, and its place in the queue."""
    feature = work(root, file, text, cases=3)
    request = root("merge.request", feature_task_id=feature)["merge_request"]["id"]
    item: str = root("merge.main.request", merge_request_id=request, auto_review=False)["main_merge_request"]["id"]
    return item


def reviewed(root: Actor, name: str) -> str:
    """Have it reviewed under the lock by the agent of that name; its thread."""
    given: dict[str, Any] = {"runner_kind": "codex_app_server", "agent_override": {"model": name}}
    started = root("merge.review.request_auto", **given)
    assert started["main_lock"]["holder_session_id"] == root.session
    thread: str = started["thread"]["id"]
    root("thread.child.wait_status", thread_id=thread, target_statuses=["completed"])
    found = root("merge.review.thread_status", review_job_id=started["review_job"]["id"])
    assert (found["review_job"]["state"], found["verdict"], found["head_is_current"]) == ("completed", "approve", True)
    return thread


def test_four_sessions_land_through_review_by_codex(models: Models, repo: Path, actor: Callable[..., Actor]) -> None:
    roots = dict(zip(NAMES, (actor() for _ in NAMES), strict=True))
    roots["ada"]("workspace.init")
    for root in roots.values():
        root.open()
    files = {"ada": "shared.txt", "bob": "bob.txt", "cyd": "shared.txt", "dan": "dan.txt"}
    items = {name: queued(root, files[name], f"{name}\n") for name, root in roots.items()}
    threads = [reviewed(roots["ada"], "ada")]
    roots["ada"]("merge.main.land")
    threads.append(reviewed(roots["bob"], "bob"))
    roots["bob"]("merge.main.land")

    found = roots["cyd"]("merge.main.next")
    assert found["item"]["id"] == items["dan"]
    assert [(one["land_id"], "conflicts with 'main' in 1 file, first 'shared.txt'" in one["reason"])
            for one in found["waiting"]] == [(items["cyd"], True)]  # fmt: skip
    threads.append(reviewed(roots["dan"], "dan"))
    roots["dan"]("merge.main.land")

    git("merge", "-q", "-X", "ours", "main", "-m", "settled", at=roots["cyd"].path)
    threads.append(reviewed(roots["cyd"], "cyd"))
    landed = roots["cyd"]("merge.main.land", head=head(roots["cyd"]))
    assert [one["status"] for one in landed["tasks"]] == ["landed"] * 4

    assert len(git("rev-list", "--merges", "--first-parent", "main", at=repo).split()) == 4
    assert {row["status"] for row in roots["ada"]("task.list", level="case")["items"]} == {"landed"}
    assert roots["ada"]("lock.list", domain="all")["items"] == []
    assert roots["ada"]("merge.main.status")["items"] == []
    assert git("status", "--porcelain", at=repo) == "" and (repo / "shared.txt").read_text() == "cyd\n"
    everything(repo)  # notes that wait are written: git fsck takes what moves under it for damage
    git("fsck", "--strict", at=repo)
    assert nothing_runs(threads)


def test_the_thirteen_calls_run_as_written_through_the_server(models: Models, repo: Path) -> None:
    one = Wire(repo)
    one.start()
    try:
        assert one.call("workspace.init")["repo_path"] == str(repo)
        one.call("scheduler.decide_worktree", changed_files=2, estimate_minutes=15, risk=1, parallel_workers=1)
        opened = one.call("session.open", intent="new_work", user_request="Fix the login timeout")
        folder = repo / opened["session_context"]["session_root_worktree"]["path"]
        feature = one.call("task.create", level="feature", title="Login")["task"]["id"]
        case = one.call("task.create", level="case", title="Refresh", parent_id=feature, steps=["edit"])["task"]["id"]
        merges = shlex.join([sys.executable, "-P", "-m", "codestrator", "worktree", "merge-to-parent"])
        child = one.call("thread.child.spawn", title="Helper", role="worker", launch_command=merges)["thread"]["id"]
        one.call("thread.child.wait_status", thread_id=child, target_statuses=["completed", "failed"])
        one.call("case.begin", case_id=case)
        one.call("step.check", step_id=f"{case}.1", result="pass")
        one.call("case.complete", case_id=case, summary="cookie is renewed")
        commit(folder, "cookie.txt")
        item = one.call("merge.main.request")["main_merge_request"]
        one.call("merge.main.acquire_lock")
        job = one.call("merge.review.request_auto", runner_kind="codex_app_server")
        one.call("thread.child.wait_status", thread_id=job["thread"]["id"], target_statuses=["completed"])
        status = one.call("merge.review.thread_status", review_job_id=job["review_job"]["id"])
        assert status["verdict"] == "approve"
        released = one.call("merge.main.release_lock")
        assert released["main_lock"]["state"] == "unlocked"
        assert [each["params"] for each in released["unmerged"]] == [{"request_id": item["id"]}]
        one.call("merge.main.acquire_lock")
        assert one.call("merge.main.land")["landed"]
        assert one.call("session.close")["session"]["status"] == "closed"
    finally:
        one.finish()
    assert (repo / "cookie.txt").exists()


def test_a_named_request_is_reviewed_at_once_and_again_and_lands_through_the_server(models: Models, repo: Path) -> None:
    one = Wire(repo)
    one.start()
    try:
        one.call("workspace.init")
        opened = one.call("session.open", intent="auto", user_request="Fix the login timeout", always_branch=True)
        folder = repo / opened["session_context"]["session_root_worktree"]["path"]
        epic = one.call("task.create", level="epic", title="Shop")["task"]["id"]
        feature = one.call("task.create", level="feature", title="Login", parent_id=epic)["task"]["id"]
        group = one.call("task.create", level="TestGroup", title="Cookies", parent_id=feature)["task"]["id"]
        case = one.call("task.create", level="case", title="Refresh", parent_id=group, steps=["edit"])["task"]["id"]
        one.call("case.begin", case_id=case)
        one.call("step.check", step_id=f"{case}.1", result="pass")
        one.call("case.complete", case_id=case, summary="cookie is renewed")
        commit(folder, "cookie.txt")
        request = one.call("merge.request", feature_task_id=feature)["merge_request"]["id"]
        asked = one.call("merge.main.request", merge_request_id=request)
        assert "review_dispatch_error" not in asked
        job = asked["review_dispatch"]["review_job"]["id"]
        assert one.call("merge.main.acquire_lock")["main_lock"]["state"] == "locked"
        again = one.call("merge.review.request_auto", merge_request_id=request)
        assert again["review_job"]["id"] == job
        one.call("thread.child.wait_status", thread_id=again["thread"]["id"], target_statuses=["completed", "failed"])
        # It was of the default kind, whose model has no script here.
        mute = one.call("merge.review.thread_status", review_job_id=job)
        assert (mute["review_job"]["state"], "verdict" in mute) == ("failed", False)
        anew = one.call("merge.review.request_auto", merge_request_id=request, runner_kind="codex_app_server")
        assert anew["review_job"]["id"] != job
        one.call("thread.child.wait_status", thread_id=anew["thread"]["id"], target_statuses=["completed"])
        status = one.call("merge.review.thread_status", merge_request_id=request)
        assert (status["verdict"], status["head_is_current"]) == ("approve", True)
        landed = one.call("merge.main.land", request_id=asked["main_merge_request"]["id"])
        assert [each["status"] for each in landed["tasks"]] == ["landed", "landed"]
        assert one.call("merge.main.release_lock")["main_lock"]["state"] == "unlocked"
        assert one.call("session.close")["session"]["status"] == "closed"
    finally:
        one.finish()
    assert (repo / "cookie.txt").exists() and git("status", "--porcelain", at=repo) == ""


def test_a_reviewer_that_ends_without_verdict_has_failed_and_another_may_begin(
    models: Models, repo: Path, actor: Callable[..., Actor]
) -> None:
    root = actor()
    root("workspace.init")
    root.open()
    item = queued(root, "a.txt", "one\n")
    mute = {"runner_kind": "codex_app_server", "agent_override": {"model": "mute"}}
    started = root("merge.review.request_auto", **mute)
    root("thread.child.wait_status", thread_id=started["thread"]["id"], target_statuses=["completed", "failed"])
    found = root("merge.review.thread_status", merge_request_id=started["merge_review"]["merge_request_id"])
    assert (found["review_job"]["state"], "verdict" in found) == ("failed", False)
    shown = root("merge.main.status", request_id=item)
    assert (shown["item"]["state"], shown["merge_request"]["status"]) == ("queued", "requested")
    reviewed(root, "ada")
    assert root("merge.main.land")["landed"]
