"""The doctor: what it says of a sound repository, what its repairs leave, and what can stop it (nothing)."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from codestrator import registry
from codestrator.calls import Seat
from codestrator.errors import Forbidden, InvalidParams, UnreadableState
from codestrator.keyshapes import SHAPES, seen_in
from codestrator.methods.doctor.checks import BY_ID, CHECKS
from codestrator.records import Lease, Rescue, Task, Worktree
from tests.actors import Actor, SteeredClock
from tests.methods import crew, damages
from tests.methods.family import programs
from tests.methods.ward import Ward, opened, ward
from tests.store.kit import LOCKS, STATE, path_of, plant, put, store_of, task

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def no_codex(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra is not installed: what the real program thinks of a folder is not asked here."""
    monkeypatch.setitem(sys.modules, "codex_cli_bin", None)


@pytest.fixture
def sick(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, clock: SteeredClock) -> Ward:
    return ward(tmp_path, clock, tmp_path_factory.mktemp("ward"))


def test_a_sound_repository_is_healthy_and_every_check_says_so(sick: Ward) -> None:
    found = sick.doctor()
    assert [one for one in found["items"] if one["severity"] != "ok"] == []
    assert found["healthy"] is True and found["count"] == len(found["items"])
    assert [one["id"] for one in found["items"]] == [check.id for check in CHECKS]
    assert found["digest"] == sick.git("rev-parse", f"{STATE}^{{tree}}")


def test_repairing_a_sound_repository_changes_nothing(sick: Ward) -> None:
    before = sick.content()
    assert "backup_ref" not in sick.doctor(fix=True)
    assert sick.content() == before


def test_looking_at_many_documents_leaves_no_cache_behind(sick: Ward) -> None:
    store = store_of(sick.repo)
    put(store, *[task(str(number)) for number in range(60)])
    put(store, *[task(str(number)) for number in range(60)])
    store.close()
    before = sick.content()
    assert sick.doctor()["healthy"]
    assert sick.content() == before
    with opened(sick.repo, sick.clock) as world:
        assert len(list(world.store.read().rows(Task))) > 100
    assert sick.content().keys() > before.keys()


def test_where_there_is_no_state_it_says_so_and_makes_none(repo: Path, clock: SteeredClock) -> None:
    before = sorted(repo.rglob("*"))
    with opened(repo, clock) as world:
        found = registry.call(world, Seat("operator"), "doctor.check", {"fix": True})
    (item,) = (one for one in found["items"] if one["severity"] != "ok")
    assert (item["id"], item["fix"]) == ("state", "git codestrator workspace init")
    assert found["healthy"] and "digest" not in found
    assert sorted(repo.rglob("*")) == before


def test_only_the_checks_that_were_asked_for_are_made(sick: Ward) -> None:
    assert {one["id"] for one in sick.doctor(checks=["clock", "state"])["items"]} == {"clock", "state"}
    damages.silent(sick)
    assert "backup_ref" not in sick.doctor(checks=["clock"], fix=True)
    with pytest.raises(InvalidParams) as refused:
        sick.doctor(checks=["clocks"])
    assert refused.value.details["expected"] == list(BY_ID)


def test_of_many_findings_some_are_named_and_all_of_them_when_that_check_is_asked_for(sick: Ward) -> None:
    store = store_of(sick.repo)
    put(store, *[task(str(number), session_id=sick.session) for number in range(30)])
    store.close()
    told = sick.items("references")
    assert len(told) == 21 and told[-1]["finding"] == "10 more name what is not there"
    assert told[-1]["fix"] == "git codestrator doctor --checks references"
    assert len(sick.items("references", checks=["references"])) == 30


def test_a_child_may_not_call_it(sick: Ward) -> None:
    with sick.root() as root:
        child = crew.child(lambda *given, **seat: Actor(sick.repo, kind=given[0], clock=sick.clock, **seat), root)
        with pytest.raises(Forbidden):
            child("doctor.check")
        child.close()


def test_the_readme_names_every_check() -> None:
    assert set(re.findall(r"`(\w+)`", README.partition("It looks at")[2].partition("\n\n")[0])) >= BY_ID.keys()
    assert all(check.about.endswith(".") for check in CHECKS)


# What repairs leave.


def test_the_tips_as_they_were_are_kept_before_anything_is_repaired(sick: Ward) -> None:
    damages.silent(sick)
    before = sick.tips()
    kept = sick.doctor(fix=True)["backup_ref"]
    assert sick.tips() != before
    assert tuple(sick.git("rev-parse", f"{kept}/{name}") for name in ("state", "locks", "codestrator")) == before


@pytest.mark.parametrize("ref", [STATE, LOCKS])
def test_a_vanished_ref_is_put_back_where_it_was(sick: Ward, ref: str) -> None:
    last = sick.git("rev-parse", ref)
    sick.git("update-ref", "-d", ref)
    sick.doctor(fix=True)
    assert sick.git("rev-parse", ref) == last
    with sick.root() as root:
        assert root("task.get", task_id=sick.case)["task"]["status"] == "in_progress"
        root("step.check", case_id=sick.case, step_title="two", result="pass")
    assert sick.doctor()["healthy"]


def test_a_broken_ref_goes_back_to_the_newest_tip_that_is_whole_and_no_further(sick: Ward) -> None:
    tips = sick.git("log", "--format=%H", "-3", STATE).split()
    sick.remove(f"{STATE}:{path_of(sick.snapshot)}")
    sick.remove(STATE)
    sick.doctor(fix=True, checks=["state"])
    assert sick.git("rev-parse", STATE) == tips[1]
    assert sick.git("fsck", "--full", "--no-dangling") == ""


def test_no_backup_keeps_what_git_could_not_read(sick: Ward) -> None:
    sick.remove(STATE)
    kept = sick.doctor(fix=True)["backup_ref"]
    names = sick.git("for-each-ref", "--format=%(refname)", kept).split()
    assert names == [f"{kept}/codestrator", f"{kept}/locks"]


def test_a_repair_that_fails_is_told_and_keeps_no_other_from_being_made(sick: Ward) -> None:
    sick.git("update-ref", "-d", STATE)
    (sick.git_dir / STATE / "in" / "the").mkdir(parents=True)
    (sick.git_dir / STATE / "in" / "the" / "way").write_text("x", encoding="ascii")
    damages.aged(sick.git_dir / f"{LOCKS}.lock")
    found = sick.doctor(fix=True)
    treated = {one["id"]: one for one in found["items"] if "fixed" in one}
    assert treated["locks"]["fixed"] is True and treated["state"]["fixed"] is False
    assert "repairing it failed" in treated["state"]["finding"] and not found["healthy"]


def test_a_damaged_document_is_left_and_its_last_good_version_is_shown(sick: Ward) -> None:
    good = sick.git("show", f"{STATE}:{path_of(sick.case)}")
    plant(sick.repo, STATE, path_of(sick.case), b"{")
    (item,) = (one for one in sick.doctor(fix=True)["items"] if one["id"] == "documents")
    assert "fixed" not in item and sick.case in item["finding"]
    assert subprocess.run(item["fix"], shell=True, cwd=sick.repo, capture_output=True, text=True).stdout == good
    assert sick.git("show", f"{STATE}:{path_of(sick.case)}") == "{"


def test_an_adopted_snapshot_is_the_one_that_was_taken(sick: Ward) -> None:
    with opened(sick.repo, sick.clock) as world:
        taken = world.store.read().require(Rescue, sick.snapshot)
    plant(sick.repo, STATE, path_of(sick.snapshot), None)
    sick.doctor(fix=True)
    with opened(sick.repo, sick.clock) as world:
        adopted = world.store.read().require(Rescue, sick.snapshot)
    assert adopted.files == 1 and adopted.bytes == len("half\n")
    kept = {"branch": None, "rev": 0, "created_at": "", "updated_at": ""}
    assert adopted.but(**kept) == taken.but(**kept, case_id=None, thread_id=None)
    with sick.root() as root:
        assert root("rescue.restore", snapshot_id=sick.snapshot)["restored"]["untracked"] == 1


def test_the_command_for_a_lost_snapshot_brings_it_back(sick: Ward) -> None:
    sick.git("update-ref", "-d", sick.rescue_ref)
    (item,) = sick.items("snapshots")
    subprocess.run(item["fix"], shell=True, cwd=sick.repo, check=True)
    assert sick.items("snapshots") == []


def test_a_lost_place_says_so_and_its_branch_stays(sick: Ward) -> None:
    damages.DAMAGES["a worktree was deleted by hand"].make(sick)
    sick.doctor(fix=True)
    with opened(sick.repo, sick.clock) as world:
        worktree = world.store.read().require(Worktree, sick.worktree)
        assert worktree.places[world.settings.machine].status == "lost" and worktree.status == "active"
    assert sick.git("rev-parse", str(worktree.branch)) == sick.approved
    with sick.root() as root:
        listed = {one["worktree"]["id"]: one["worktree"]["status"] for one in root("worktree.list")["items"]}
        assert listed[sick.worktree] == "lost"
        into = root("rescue.restore", snapshot_id=sick.snapshot)
    assert (sick.repo / into["path"] / "new.txt").read_text(encoding="utf-8") == "half\n"
    assert sick.items("worktrees") == []


def test_a_lease_that_was_taken_back_can_be_had_by_the_next(sick: Ward, actor: Callable[..., Actor]) -> None:
    damages.silent(sick)
    sick.doctor(fix=True)
    with opened(sick.repo, sick.clock) as world:
        assert world.store.read().require(Lease, sick.lock).state == "lost"
    other = actor(folder=sick.repo)
    other.open(user_request="Add invoices")
    assert other("lock.acquire", scope_type="prefix", scope_path="src")["granted"]


def test_a_number_is_never_granted_twice_after_a_fence_was_raised(sick: Ward, actor: Callable[..., Actor]) -> None:
    with opened(sick.repo, sick.clock) as world:
        highest = max(row.fence for row in world.store.read().rows(Lease))
    damages.DAMAGES["the fence of the lock book fell back"].make(sick)
    sick.doctor(fix=True)
    other = actor(folder=sick.repo)
    other.open(user_request="Add invoices")
    assert other("lock.acquire", scope_type="prefix", scope_path="lib")["fence"] == highest + 1


def test_a_lock_file_that_is_young_is_somebodys_and_is_left(sick: Ward) -> None:
    lock = sick.git_dir / f"{STATE}.lock"
    lock.write_bytes(b"")
    assert sick.items("locks", fix=True) == [] and lock.exists()


def test_the_key_itself_is_never_shown(sick: Ward) -> None:
    damages.DAMAGES["a text holds a key"].make(sick)
    found = sick.doctor()
    assert "AKIA" not in msgspec.json.encode(found).decode()
    assert sick.case in str([one for one in found["items"] if one["id"] == "secrets"])


KEYS = {
    "a private key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "an AWS access key": "AKIA" + "Q" * 16,
    "a GitHub token": "ghp" + "_" + "a1B2" * 9,
    "a GitLab token": "glpat" + "-" + "a1B2c" * 4,
    "an OpenAI or Anthropic key": "sk-" + "ant-api03-" + "a1B2" * 10,
    "a Slack token": "xoxb" + "-123456789012-abcdef",
    "a Google API key": "AIza" + "a1B2c" * 7,
    "an npm token": "npm" + "_" + "a1B2" * 9,
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_key_is_known_by_its_shape(name: str) -> None:
    assert seen_in(f'"say {KEYS[name]}"') == [name]


def test_what_is_no_key_is_not_taken_for_one() -> None:
    words = (
        f"sk-learn, task-{'ab' * 20}, {'0f' * 20}, AKIA, ghp_, glpat-, risk-{'a-' * 30}, -----BEGIN CERTIFICATE-----"
    )
    assert seen_in(words) == []


# What could stop it.


def test_an_agent_can_call_it_where_nothing_else_answers(sick: Ward) -> None:
    sick.remove(STATE)
    with opened(sick.repo, sick.clock) as world:
        with pytest.raises(UnreadableState):
            registry.call(world, Seat("root"), "task.list", {})
        assert registry.call(world, Seat("root"), "doctor.check", {"fix": True})["healthy"]
        assert registry.call(world, Seat("root"), "task.list", {})["count"]


def test_without_any_program_the_checks_that_need_none_are_made(
    sick: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sick.remove(STATE)
    with monkeypatch.context() as here:
        here.setenv("PATH", str(tmp_path))
        items = {one["id"]: one for one in sick.doctor()["items"]}
    assert "this check failed: git version could not be started" in items["git"]["finding"]
    assert items["tmux"]["severity"] == "warning" and items["tmux"]["finding"].startswith("no tmux")
    assert "it was whole at" in items["state"]["finding"] and items["clock"]["severity"] == "ok"


def test_a_git_that_is_too_old_is_an_error(sick: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "git", "echo git version 2.1.4")
    with monkeypatch.context() as here:
        here.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        (item,) = sick.items("git", checks=["git"])
    assert (item["severity"], item["finding"]) == ("error", "git is 'git version 2.1.4', expected 2.39 or newer")


def test_a_codex_that_cannot_work_here_is_told_with_what_to_change(
    sick: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = programs(tmp_path / "bin", "git", "sh", "sleep")
    program(Path(folder) / "codex", "echo begun; echo fatal: Read-only file system >&2; exit 128")
    with monkeypatch.context() as here:
        here.setenv("PATH", folder)
        found = {one["finding"].split(":")[0]: one for one in sick.items("codex", checks=["codex"])}
    assert found["codex trust"]["severity"] == "warning"
    assert found["codex commit"]["severity"] == "error" and "writable_roots" in found["codex commit"]["consequence"]


def program(place: Path, script: str) -> None:
    place.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    place.chmod(0o755)
