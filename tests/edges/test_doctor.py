"""The verb `doctor`: its exit statuses, and that it answers where nothing else does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.conftest import git
from tests.edges.shell import Run, refused, result
from tests.methods.damages import aged
from tests.store.kit import STATE, path_of, plant


@pytest.fixture
def worked(root: Actor) -> Actor:
    """A session with a case in work; its process is over, and the session lives."""
    root("case.begin", case_id=root.case("one"))
    root.close()
    return root


def test_a_sound_repository_exits_0(run: Run, worked: Actor) -> None:
    found = result(run("doctor", "--json"))
    assert found["healthy"] is True
    shown = run("doctor")
    assert shown.returncode == 0 and "healthy: yes" in shown.stdout


def test_damaged_state_exits_7_until_it_is_repaired(run: Run, repo: Path, worked: Actor) -> None:
    tip = git("rev-parse", STATE, at=repo)
    git("update-ref", "-d", STATE, at=repo)
    assert refused(run("task", "list", "--json"))["hint"].startswith("Run doctor.check")
    assert run("doctor").returncode == 7
    plan = run("doctor", "--fix", "--dry-run", "--json")
    assert plan.returncode == 7 and json.loads(plan.stdout)["ok"] is True
    assert git("for-each-ref", STATE, at=repo) == ""
    done = result(run("doctor", "--fix", "--json"))
    assert done["healthy"] and done["backup_ref"]
    assert git("rev-parse", STATE, at=repo) == tip
    assert run("doctor").returncode == 0


def test_a_document_that_is_left_damaged_exits_7_every_time(run: Run, repo: Path, worked: Actor) -> None:
    plant(repo, STATE, path_of(worked.session), b"{")
    assert [run("doctor", "--fix").returncode for _ in range(2)] == [7, 7]


def test_another_error_exits_1_and_a_warning_0(run: Run, repo: Path, worked: Actor) -> None:
    git("config", "codestrator.maxChild", "3", at=repo)
    assert run("doctor").returncode == 0
    git("config", "remote.origin.fetch", "+refs/*:refs/*", at=repo)
    assert run("doctor").returncode == 1
    assert run("doctor", "--checks", "clock").returncode == 0


def test_it_answers_where_a_setting_is_wrong(run: Run, repo: Path, worked: Actor) -> None:
    git("config", "codestrator.maxChildren", "99", at=repo)
    assert refused(run("status", "--json"))["code"] == "invalid_params"
    done = run("doctor", "--json")
    assert done.returncode == 1
    assert any(
        "'codestrator.maxChildren' is '99'" in one["finding"] for one in json.loads(done.stdout)["result"]["items"]
    )


def test_it_answers_in_a_worktree_whose_session_cannot_be_read(run: Run, repo: Path, worked: Actor) -> None:
    git("update-ref", "-d", STATE, at=repo)
    assert run("doctor", at=worked.path, CODESTRATOR_SESSION_ID=worked.session).returncode == 7
    assert run("doctor", "--session", worked.session, "--fix", at=worked.path).returncode == 0


def test_two_at_once_are_no_hindrance_to_each_other(run: Run, repo: Path, worked: Actor) -> None:
    tip = git("rev-parse", STATE, at=repo)
    git("update-ref", "-d", STATE, at=repo)
    git("update-ref", "-d", "refs/notes/codestrator", at=repo)
    aged(repo / ".git" / "refs" / "codestrator" / "locks.lock")
    program = [sys.executable, "-m", "codestrator", "doctor", "--fix"]
    crowd = [subprocess.Popen(program, cwd=repo, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [one.communicate(timeout=60)[0] for one in crowd]
    assert [one.returncode for one in crowd] == [0, 0, 0], said
    assert git("rev-parse", STATE, at=repo) == tip
    assert result(run("doctor", "--json"))["healthy"]


def test_the_method_is_a_command_too(run: Run, repo: Path, worked: Actor) -> None:
    assert result(run("doctor", "check", "--checks", "state", "--json"))["count"] == 1
    git("update-ref", "-d", STATE, at=repo)
    assert run("doctor", "check", "--fix", "--dry-run").returncode == 7
    assert run("doctor", "--help").returncode == 0
    assert refused(run("doctor", "chek", "--json"))["code"] == "invalid_params"


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'


@contextmanager
def read_only(repo: Path) -> Iterator[list[str]]:
    """Words before a command, with which it sees the repository as one that cannot be written."""
    if os.getuid() == 0:  # who may write anywhere but where it is mounted so
        words = ["unshare", "-m", "sh", "-c", READ_ONLY, str(repo)]
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
            pytest.skip("nothing may be mounted here")
        yield words
        return
    folders = [one for one in (repo, *repo.rglob("*")) if one.is_dir() and not one.is_symlink()]
    for one in folders:
        one.chmod(0o500)
    try:
        yield []
    finally:
        for one in folders:
            one.chmod(0o700)


def test_a_repository_that_cannot_be_written_is_looked_at_and_what_cannot_be_repaired_is_told(
    repo: Path, worked: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden" / "codex_cli_bin").mkdir(parents=True)  # the extra, in part: its program is not asked
    (tmp_path / "hidden" / "codex_cli_bin" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=os.pathsep)
    git("update-ref", "-d", "refs/notes/codestrator", at=repo)
    program = [sys.executable, "-m", "codestrator", "--repo", str(repo), "doctor", "--json"]
    with read_only(repo) as words:
        looked, tried = (
            subprocess.run([*words, *program, *more], capture_output=True, text=True, check=False)
            for more in ((), ("--fix",))
        )
    assert result(looked)["healthy"] is True
    (item,) = (one for one in result(tried)["items"] if one["severity"] == "warning")
    assert item["id"] == "notes" and item["fixed"] is False and "repairing it failed" in item["finding"]
    assert git("for-each-ref", "refs/notes", "refs/codestrator/rescue", at=repo) == ""
