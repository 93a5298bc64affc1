"""Saving progress: checkpoints, with snapshots and commits."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.errors import External, Forbidden, InvalidParams, NotFound, StaleFence, WrongState
from codestrator.records import Checkpoint, Rescue, Task
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git


@pytest.fixture
def case(root: Actor) -> str:
    found = root.case("write", "run")
    root("case.begin", case_id=found)
    return found


def test_a_checkpoint_names_case_commit_and_fence(root: Actor, case: str) -> None:
    found = root("work.checkpoint", summary="half way", next_action="run it", data={"tried": [1, 2]})
    saved = found["checkpoint"]
    head, tree = git("rev-parse", "HEAD", "HEAD^{tree}", at=root.path).split()
    assert (saved["case_id"], saved["commit"], saved["tree"], saved["fence"]) == (case, head, tree, 1)
    assert (saved["event"], saved["dirty"], saved["data"]) == ("manual", False, {"tried": [1, 2]})
    assert "snapshot_id" not in found and "commit" not in found
    assert found["current_ref"]["checkpoint_id"] == saved["id"]
    assert found["current_ref"]["next_action"] == "run it"
    task = root("task.get", task_id=case)
    assert task["checkpoint"]["id"] == saved["id"] and task["task"]["next_action"] == "run it"


def test_a_checkpoint_is_a_note_on_the_commit(root: Actor, case: str) -> None:
    saved = root("work.checkpoint", summary="half way")["checkpoint"]
    root.world.notes.flush()
    lines = git("notes", "--ref=codestrator", "show", "HEAD", at=root.path).splitlines()
    assert saved["id"] in {json.loads(line)["cp"] for line in lines if line}


def test_a_checkpoint_needs_no_case(root: Actor) -> None:
    found = root("work.checkpoint", summary="looked around")
    assert "case_id" not in found["checkpoint"] and "current_ref" not in found


def test_uncommitted_work_is_kept_whole_and_left_as_it_was(root: Actor, case: str) -> None:
    (root.path / "README.md").write_text("changed\n", encoding="utf-8")
    (root.path / "staged.txt").write_text("staged\n", encoding="utf-8")
    git("add", "staged.txt", at=root.path)
    (root.path / "new Über.txt").write_text("new\n", encoding="utf-8")
    before = git("status", "--porcelain", at=root.path)
    found = root("work.checkpoint", summary="half way")
    assert git("status", "--porcelain", at=root.path) == before
    (item,) = root("rescue.list", worktree_id=root.worktree)["items"]
    assert item["snapshot_id"] == found["snapshot_id"] and item["files"] == 3
    for name, content in (("README.md", "changed"), ("staged.txt", "staged"), ("new Über.txt", "new")):
        assert git("show", f"{item['ref']}:{name}", at=root.path) == content
    assert git("show", f"{item['ref']}^2:staged.txt", at=root.path) == "staged"
    assert git("rev-parse", f"{item['ref']}^1", at=root.path) == git("rev-parse", "HEAD", at=root.path)


def test_an_unchanged_worktree_gives_the_same_snapshot_again(root: Actor) -> None:
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    first = root("work.checkpoint", summary="one")
    second = root("work.checkpoint", summary="two")
    assert first["snapshot_id"] == second["snapshot_id"]
    assert first["checkpoint"]["id"] != second["checkpoint"]["id"]
    (root.path / "new.txt").write_text("newer\n", encoding="utf-8")
    assert root("work.checkpoint", summary="three")["snapshot_id"] != first["snapshot_id"]


def test_no_snapshot_is_taken_when_none_is_wanted(root: Actor) -> None:
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    found = root("work.checkpoint", summary="one", snapshot=False)
    assert "snapshot_id" not in found and found["checkpoint"]["dirty"] is True


def test_large_untracked_files_are_named_instead(repo: Path, actor: Callable[..., Actor]) -> None:
    git("config", "codestrator.snapshotMaxBytes", "10", at=repo)
    one = actor()
    one("workspace.init")
    one.open()
    (one.path / "large.bin").write_bytes(b"x" * 11)
    found = one("work.checkpoint", summary="one")
    assert found["skipped"] == [{"path": "large.bin", "bytes": 11}]
    assert one("rescue.list")["items"][0]["skipped"] == found["skipped"]


def test_a_message_commits_everything_first(root: Actor, case: str) -> None:
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    found = root("work.checkpoint", summary="one", commit_message="add new\n\nbecause")
    assert found["commit"] == git("rev-parse", "HEAD", at=root.path) == found["checkpoint"]["commit"]
    assert git("log", "-1", "--format=%B", at=root.path).strip() == "add new\n\nbecause"
    assert found["checkpoint"]["dirty"] is False and "snapshot_id" not in found


def test_nothing_to_commit_is_no_error(root: Actor) -> None:
    assert "commit" not in root("work.checkpoint", summary="one", commit_message="nothing")


def test_a_hook_that_refuses_records_nothing(root: Actor, case: str) -> None:
    hook = Path(root.world.common_dir) / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    with unchanged(root), pytest.raises(External):
        root("work.checkpoint", summary="one", commit_message="add new")
    assert git("status", "--porcelain", at=root.path) == "?? new.txt"


def test_nothing_is_committed_in_the_middle_of_a_merge(root: Actor) -> None:
    git("bisect", "start", at=root.path)
    with unchanged(root), pytest.raises(WrongState):
        root("work.checkpoint", summary="one", commit_message="x")


def test_the_users_own_worktree_is_never_committed_for_them(root: Actor) -> None:
    root("session.open", intent="resume_work")
    with unchanged(root), pytest.raises(Forbidden):
        root("work.checkpoint", summary="one", commit_message="x")


def test_a_lost_claim_saves_nothing(root: Actor, other: Actor, clock: SteeredClock, case: str) -> None:
    root.close()
    clock.advance(601)
    other("case.begin", case_id=case)
    (root.path / "new.txt").write_text("new\n", encoding="utf-8")
    with unchanged(other), pytest.raises(StaleFence):
        root("work.checkpoint", summary="one", case_id=case, commit_message="x")
    assert other.world.store.read().where(Rescue, worktree_id=root.worktree) == []


def test_a_fence_that_is_out_of_date_saves_nothing(root: Actor, case: str) -> None:
    with unchanged(root), pytest.raises(StaleFence):
        root("work.checkpoint", summary="one", fence=7)


def test_anothers_case_is_forbidden(root: Actor, other: Actor, case: str) -> None:
    with unchanged(other), pytest.raises(Forbidden):
        other("work.checkpoint", summary="one", case_id=case)


def test_steps_must_be_of_the_case(root: Actor, case: str) -> None:
    assert root("work.checkpoint", summary="one", step_id=f"{case}.2")["checkpoint"]["step_id"] == f"{case}.2"
    with unchanged(root), pytest.raises(NotFound):
        root("work.checkpoint", summary="one", step_id=f"{case}.9")
    with unchanged(root), pytest.raises(InvalidParams):
        root("work.checkpoint", summary="one", case_id=case, step_id="case-0000000000.1")


def test_a_finished_case_gets_no_checkpoints(root: Actor, case: str) -> None:
    for number in (1, 2):
        root("step.check", step_id=f"{case}.{number}", result="pass")
    root("case.complete", case_id=case)
    with unchanged(root), pytest.raises(WrongState):
        root("work.checkpoint", summary="one", case_id=case)


def test_a_checkpoint_renews_the_claim(root: Actor, case: str, clock: SteeredClock) -> None:
    clock.advance(300)
    root("work.checkpoint", summary="one")
    claim = root.world.store.read().require(Task, case).claim
    assert claim and claim.renewed_at > claim.granted_at


def test_the_same_key_saves_once(root: Actor) -> None:
    first = root("work.checkpoint", summary="one", idempotency_key="k")
    with unchanged(root):
        assert root("work.checkpoint", summary="one", idempotency_key="k") == first | {"repeated": True}


def test_a_summary_is_required(root: Actor) -> None:
    with unchanged(root), pytest.raises(InvalidParams):
        root("work.checkpoint", summary="  ")


def test_checkpoints_stay_when_the_session_ends(root: Actor) -> None:
    saved = root("work.checkpoint", summary="one")["checkpoint"]["id"]
    root("session.close")
    assert root.world.store.read().require(Checkpoint, saved).summary == "one"


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_data_that_json_has_no_word_for_is_refused(root: Actor, number: str) -> None:
    with unchanged(root), pytest.raises(InvalidParams, match="'data' cannot be written as JSON"):
        root("work.checkpoint", data={"seconds": [float(number)]})
