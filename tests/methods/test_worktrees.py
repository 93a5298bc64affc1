"""Worktrees: recorded, spawned, listed, removed."""

import shlex
import shutil
from pathlib import Path

import pytest

from codestrator.errors import Conflict, Forbidden, InvalidParams, NotFound, WrongState
from tests.actors import Actor, SteeredClock, unchanged
from tests.conftest import git


def spawned(root: Actor, slug: str = "child", **given: object) -> tuple[str, Path]:
    """A worktree's id and folder."""
    found = root("worktree.spawn", slug=slug, **given)["worktree"]
    return found["id"], Path(root.world.repo) / found["path"]


def commit(folder: Path, name: str, text: str = "text\n") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", name, at=folder)
    return git("rev-parse", "HEAD", at=folder)


def test_spawning_begins_at_the_head_of_the_session_root(root: Actor) -> None:
    head = commit(root.path, "a.txt")
    found = root("worktree.spawn", reason="Remember the user")
    assert found["worktree_slug"] == "remember-user"
    worktree = found["worktree"]
    assert worktree["parent_worktree_id"] == root.worktree and worktree["owner_session_id"] == root.session
    assert worktree["branch"] == f"task/{root.session}/remember-user" and worktree["base_commit"] == head
    assert (Path(root.world.repo) / worktree["path"] / "a.txt").exists()


def test_generated_names_are_numbered_and_given_ones_refused_at_once(root: Actor) -> None:
    assert root("worktree.spawn", slug="child")["worktree_slug"] == "child"
    assert root("worktree.spawn", slug="child")["worktree_slug"] == "child-2"
    with unchanged(root), pytest.raises(Conflict):
        root("worktree.spawn", slug="child", branch=f"task/{root.session}/child")
    with unchanged(root), pytest.raises(Conflict):
        root("worktree.spawn", slug="child", path=".codestrator/worktrees/child")


def test_a_spawned_worktree_may_be_a_record_only(root: Actor) -> None:
    found = root("worktree.spawn", slug="later", create_on_disk=False)["worktree"]
    assert found["status"] == "planned"
    assert not (Path(root.world.repo) / found["path"]).exists()
    assert root("worktree.spawn", slug="later")["worktree_slug"] == "later-2"


def test_a_parent_of_another_session_is_forbidden(root: Actor, other: Actor) -> None:
    with unchanged(root), pytest.raises(Forbidden):
        root("worktree.spawn", parent_worktree_id=other.worktree)


def test_a_parent_that_is_not_active_is_refused(root: Actor) -> None:
    planned = root("worktree.create", branch="later")["worktree"]["id"]
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.spawn", parent_worktree_id=planned)


def test_a_session_without_worktree_has_nothing_to_spawn_from(root: Actor) -> None:
    root("session.open", intent="resume_work")
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.spawn", slug="child")


@pytest.mark.parametrize("branch", ["-x", "a..b", "a b", "x.lock", "a//b", "@{"])
def test_a_name_that_git_would_not_take_is_refused(root: Actor, branch: str) -> None:
    for method in ("worktree.create", "worktree.spawn"):
        with unchanged(root), pytest.raises(InvalidParams):
            root(method, branch=branch)


@pytest.mark.parametrize("path", ["src/x", ".codestrator/worktrees", "../x", "/tmp/x", ".git/x"])
def test_a_path_elsewhere_is_refused(root: Actor, path: str) -> None:
    for method in ("worktree.create", "worktree.spawn"):
        with unchanged(root), pytest.raises(InvalidParams):
            root(method, branch="fine", path=path)


def test_an_unknown_base_is_not_found(root: Actor) -> None:
    for method in ("worktree.create", "worktree.spawn"):
        with unchanged(root), pytest.raises(NotFound):
            root(method, branch="fine", base_ref="--all")


def test_creating_records_a_branch_and_makes_no_folder(root: Actor) -> None:
    task = root.case()
    found = root("worktree.create", branch="feature/one", task_id=task)["worktree"]
    assert (found["status"], found["kind"], found["task_id"]) == ("planned", "task_branch", task)
    assert "parent_worktree_id" not in found and found["path"] == ".codestrator/worktrees/feature-one"
    assert git("rev-parse", "feature/one", at=root.path) == found["base_commit"]
    assert not (Path(root.world.repo) / found["path"]).exists()


def test_creating_on_disk_makes_the_folder(root: Actor) -> None:
    found = root("worktree.create", branch="one", path=".codestrator/worktrees/deep/one", create_on_disk=True)
    assert (Path(root.world.repo) / found["worktree"]["path"] / "README.md").exists()


def test_a_recorded_name_is_taken(root: Actor, other: Actor) -> None:
    root("worktree.create", branch="feature/one")
    with unchanged(root), pytest.raises(Conflict):
        root("worktree.create", branch="feature/one")
    with unchanged(root), pytest.raises(Conflict):
        other("worktree.create", branch="two", path=".codestrator/worktrees/feature-one")


def test_somebody_elses_folder_is_never_touched(root: Actor) -> None:
    _, folder = spawned(root)
    with unchanged(root), pytest.raises(Conflict):
        root("worktree.create", branch="two", path=".codestrator/worktrees/child", create_on_disk=True)
    assert (folder / "README.md").exists()


def test_the_same_key_makes_one_worktree(root: Actor) -> None:
    first = root("worktree.spawn", slug="child", idempotency_key="k")
    with unchanged(root):
        assert root("worktree.spawn", slug="child", idempotency_key="k") == first | {"repeated": True}


def test_the_list_tells_head_changes_and_distance(root: Actor) -> None:
    child, folder = spawned(root)
    head = commit(folder, "a.txt")
    commit(root.path, "b.txt")
    (folder / "c.txt").write_text("new\n", encoding="utf-8")
    items = {one["worktree"]["id"]: one for one in root("worktree.list")["items"]}
    item = items[child]
    assert (item["exists"], item["head"], item["dirty"], item["ahead"], item["behind"]) == (True, head, True, 1, 1)
    assert items[root.worktree]["live_threads"] == [root.thread]
    assert next(iter(items)) == child


def test_the_list_can_be_narrowed(root: Actor, other: Actor) -> None:
    planned = root("worktree.create", branch="later")["worktree"]["id"]
    assert [one["worktree"]["id"] for one in root("worktree.list", status="planned")["items"]] == [planned]
    own = root("worktree.list", session_id=other.session)["items"]
    assert [one["worktree"]["id"] for one in own] == [other.worktree]
    with pytest.raises(NotFound):
        root("worktree.list", session_id="ses-0000000000")


def test_a_folder_that_is_gone_is_listed_as_lost(root: Actor) -> None:
    child, folder = spawned(root)
    folder.rename(folder.with_name("elsewhere"))
    (item,) = root("worktree.list", status="lost")["items"]
    assert item["worktree"]["id"] == child and item["exists"] is False


def test_a_folder_that_was_moved_with_git_is_told_of_with_the_way_back(root: Actor, tmp_path: Path) -> None:
    _, folder = spawned(root)
    git("worktree", "move", "--force", "--force", str(folder), str(tmp_path / "moved"), at=root.path)
    (found,) = root("doctor.check", checks=["worktrees"])["items"]
    back = found["consequence"].partition("; ")[2].removesuffix(" brings it back")
    assert str(tmp_path / "moved") in found["consequence"]
    git(*shlex.split(back)[1:], at=root.path)
    (found,) = root("doctor.check", checks=["worktrees"])["items"]
    assert found["severity"] == "ok" and folder.is_dir()


def test_a_clean_worktree_is_removed_and_its_branch_stays(root: Actor) -> None:
    child, folder = spawned(root)
    found = root("worktree.remove", worktree_id=child)
    assert found["worktree"]["status"] == "removed" and found["branch_kept"] is True
    assert found["worktree"]["merge_state"] == "abandoned" and found["restore"]["method"] == "rescue.restore"
    assert not folder.exists()
    assert git("branch", "--list", f"task/{root.session}/child", at=root.path)
    assert child not in [one["worktree"]["id"] for one in root("worktree.list")["items"]]
    with unchanged(root):
        assert root("worktree.remove", worktree_id=child) == found


def test_the_command_of_restore_brings_the_branch_back(root: Actor) -> None:
    child, folder = spawned(root)
    command = root("worktree.remove", worktree_id=child, delete_branch=True)["restore"]["command"]
    git(*command.split()[1:], at=Path(root.world.repo))
    assert (folder / "README.md").exists()


def test_uncommitted_work_is_never_removed(root: Actor) -> None:
    child, folder = spawned(root)
    (folder / "new.txt").write_text("mine\n", encoding="utf-8")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=child, delete_branch=True)
    assert refused.value.details["files"] == ["new.txt"]
    assert (folder / "new.txt").read_text(encoding="utf-8") == "mine\n"


def test_a_worktree_that_was_locked_by_hand_is_never_removed(root: Actor) -> None:
    child, folder = spawned(root)
    git("worktree", "unlock", str(folder), at=root.path)
    git("worktree", "lock", "--reason", "on a disk that travels", str(folder), at=root.path)
    for rescue in (False, True):
        with unchanged(root), pytest.raises(WrongState, match=r"locked by hand .'on a disk that travels'") as refused:
            root("worktree.remove", worktree_id=child, rescue=rescue)
    git(*str(refused.value.hint).split("git ", 1)[1].split(", ")[0].split(), at=root.path)
    assert root("worktree.remove", worktree_id=child)["worktree"]["status"] == "removed"


def test_a_branch_that_is_elsewhere_than_its_worktree_is_not_deleted(root: Actor) -> None:
    child, folder = spawned(root)
    branch = git("branch", "--show-current", at=folder)
    git("checkout", "-q", "--detach", at=folder)
    root("worktree.spawn", slug="other")
    git(
        "update-ref",
        f"refs/heads/{branch}",
        git("commit-tree", "-m", "side", "HEAD^{tree}", "-p", "HEAD", at=folder),
        at=folder,
    )
    for rescue in (False, True):
        with unchanged(root), pytest.raises(WrongState):
            root("worktree.remove", worktree_id=child, rescue=rescue, delete_branch=True)
    found = root("worktree.remove", worktree_id=child, rescue=True)
    assert found["branch_kept"] is True and git("rev-parse", "--verify", branch, at=root.path)


def test_a_change_that_git_was_told_not_to_see_is_never_removed(root: Actor) -> None:
    child, folder = spawned(root)
    git("update-index", "--skip-worktree", "README.md", at=folder)
    (folder / "README.md").write_text("mine alone\n", encoding="utf-8")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=child)
    assert refused.value.details["files"] == ["README.md"]
    found = root("worktree.remove", worktree_id=child, rescue=True)
    root("rescue.restore", snapshot_id=found["snapshot_id"], into="same")
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine alone\n"


def test_unmerged_commits_are_never_removed(root: Actor) -> None:
    child, folder = spawned(root)
    head = commit(folder, "a.txt")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=child)
    assert refused.value.details["commits"] == [head]


def test_commits_of_a_detached_head_count(root: Actor) -> None:
    child, folder = spawned(root)
    git("checkout", "-q", "--detach", at=folder)
    head = commit(folder, "a.txt")
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=child)
    assert refused.value.details["commits"] == [head]


def test_what_was_merged_by_hand_may_go(root: Actor) -> None:
    child, folder = spawned(root)
    commit(folder, "a.txt")
    git("merge", "-q", f"task/{root.session}/child", at=root.path)
    found = root("worktree.remove", worktree_id=child, delete_branch=True)
    assert found["worktree"]["merge_state"] == "merged_to_parent" and found["branch_kept"] is False
    assert git("branch", "--list", f"task/{root.session}/child", at=root.path) == ""


def test_a_place_of_work_is_not_removed(root: Actor) -> None:
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=root.worktree)
    assert refused.value.details["threads"] == [root.thread]


def test_a_worktree_inside_of_it_does_not_go_with_it(root: Actor) -> None:
    child, folder = spawned(root)
    Path(root.world.common_dir, "info").mkdir(exist_ok=True)
    Path(root.world.common_dir, "info", "exclude").write_text("mine/\n", encoding="utf-8")
    git("worktree", "add", "-q", "-b", "mine", str(folder / "mine"), at=root.path)
    for rescue in (False, True):
        with unchanged(root), pytest.raises(WrongState, match="another worktree inside"):
            root("worktree.remove", worktree_id=child, rescue=rescue)
    git("worktree", "remove", str(folder / "mine"), at=root.path)
    assert root("worktree.remove", worktree_id=child)["worktree"]["status"] == "removed"


def test_an_operation_in_progress_is_not_removed(root: Actor) -> None:
    child, folder = spawned(root)
    git("bisect", "start", at=folder)
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.remove", worktree_id=child)


def test_the_main_worktree_is_nobodys_to_remove(root: Actor) -> None:
    main = root("session.context")["main_worktree"]["id"]
    with unchanged(root), pytest.raises(Forbidden):
        root("worktree.remove", worktree_id=main)


def test_anothers_worktree_is_forbidden_until_its_session_has_ended(root: Actor, other: Actor) -> None:
    child, folder = spawned(root)
    with unchanged(other), pytest.raises(Forbidden):
        other("worktree.remove", worktree_id=child)
    root("session.close")
    assert other("worktree.remove", worktree_id=child)["worktree"]["status"] == "removed"
    assert not folder.exists()


def test_a_dry_run_removes_nothing(root: Actor) -> None:
    child, _ = spawned(root)
    with unchanged(root):
        assert root("worktree.remove", worktree_id=child, dry_run=True)["worktree"]["status"] == "active"


def test_unsaved_and_unmerged_work_is_rescued_first_and_comes_back(root: Actor) -> None:
    child, folder = spawned(root)
    head = commit(folder, "a.txt")
    (folder / "a.txt").write_text("changed\n", encoding="utf-8")
    (folder / "new.txt").write_text("new\n", encoding="utf-8")
    with unchanged(root), pytest.raises(WrongState):
        root("worktree.remove", worktree_id=child)
    before = git("status", "--porcelain", at=folder)
    found = root("worktree.remove", worktree_id=child, rescue=True, delete_branch=True)
    assert (found["worktree"]["status"], found["worktree"]["merge_state"]) == ("removed", "abandoned")
    assert not folder.exists() and not found["branch_kept"]
    assert found["restore"]["params"] == {"snapshot_id": found["snapshot_id"]}
    assert root("worktree.remove", worktree_id=child) == found
    back = root(found["restore"]["method"], into="same", **found["restore"]["params"])
    assert back["path"] == str(folder) and git("rev-parse", "HEAD", at=folder) == head
    assert git("status", "--porcelain", at=folder) == before


def test_a_rescue_that_would_leave_files_out_is_refused(root: Actor) -> None:
    git("config", "codestrator.snapshotMaxBytes", "10", at=root.path)
    child, folder = spawned(root)
    (folder / "large.bin").write_text("more than ten bytes\n", encoding="utf-8")
    root.world.settings.snapshot_max_bytes = 10
    with unchanged(root), pytest.raises(WrongState) as refused:
        root("worktree.remove", worktree_id=child, rescue=True)
    assert git("for-each-ref", "refs/codestrator/rescue", at=root.path) == ""
    assert refused.value.details["files"] == ["large.bin"] and (folder / "large.bin").exists()


def test_what_is_written_while_a_rescued_folder_goes_is_not_lost(root: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    child, folder = spawned(root)
    (folder / "new.txt").write_text("new\n", encoding="utf-8")
    inner = root.world.worktrees.remove

    def late(path: Path, rescued: str | None = None) -> None:
        (folder / "late.txt").write_text("just now\n", encoding="utf-8")
        inner(path, rescued)

    monkeypatch.setattr(root.world.worktrees, "remove", late)
    with pytest.raises(WrongState):
        root("worktree.remove", worktree_id=child, rescue=True)
    assert (folder / "late.txt").read_text(encoding="utf-8") == "just now\n"
    assert git("status", "--porcelain", at=folder).split() == ["??", "late.txt", "??", "new.txt"]


def test_a_record_and_a_lost_folder_can_be_removed(root: Actor) -> None:
    planned = root("worktree.create", branch="later")["worktree"]["id"]
    assert root("worktree.remove", worktree_id=planned, delete_branch=True)["worktree"]["status"] == "removed"
    child, folder = spawned(root)
    folder.rename(folder.with_name("elsewhere"))
    assert root("worktree.remove", worktree_id=child)["worktree"]["status"] == "removed"
    assert str(folder) not in git("worktree", "list", at=root.path)


def test_commits_of_a_detached_head_count_when_the_folder_is_gone(root: Actor) -> None:
    child, folder = spawned(root)
    git("checkout", "-q", "--detach", at=folder)
    head = commit(folder, "a.txt")
    shutil.rmtree(folder)
    for rescue in (False, True):
        with unchanged(root), pytest.raises(WrongState) as refused:
            root("worktree.remove", worktree_id=child, rescue=rescue)
        assert refused.value.details["commits"] == [head]
    git("branch", "kept", head, at=root.path)
    git("merge", "-q", "kept", at=root.path)
    assert root("worktree.remove", worktree_id=child)["worktree"]["status"] == "removed"


def test_a_branch_that_is_checked_out_elsewhere_is_not_deleted(root: Actor, tmp_path: Path) -> None:
    child, folder = spawned(root)
    branch = git("branch", "--show-current", at=folder)
    git("checkout", "-q", "--detach", at=folder)
    git("worktree", "add", "-q", str(tmp_path / "elsewhere"), branch, at=root.path)
    for dry_run in (True, False):
        with unchanged(root), pytest.raises(WrongState, match="elsewhere"):
            root("worktree.remove", worktree_id=child, delete_branch=True, dry_run=dry_run)
    assert root("worktree.remove", worktree_id=child)["branch_kept"]
    assert git("branch", "--show-current", at=tmp_path / "elsewhere") == branch


def test_the_name_of_a_removed_worktree_is_free_when_its_branch_is(root: Actor) -> None:
    child, _ = spawned(root)
    root("worktree.remove", worktree_id=child, delete_branch=True)
    assert root("worktree.spawn", slug="child")["worktree_slug"] == "child"


def test_a_closed_session_makes_no_worktrees(root: Actor, clock: SteeredClock) -> None:
    root("session.close")
    for method in ("worktree.create", "worktree.spawn"):
        with unchanged(root), pytest.raises(WrongState):
            root(method, branch="x", session_id=root.session)
