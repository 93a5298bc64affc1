"""Worktrees are made, looked at and removed without ever losing what somebody has written."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from codestrator.errors import CodestratorError, Conflict, External, InvalidParams, WrongState
from codestrator.world import LocalWorld, open_world
from tests.conftest import git
from tests.world.conftest import commit
from tests.world.test_git import hook


def test_a_worktree_of_ours_is_listed_locked_and_invisible_to_status(
    world: LocalWorld, repo: Path, linked: Path
) -> None:
    main, ours = world.worktrees.folders()
    assert (main.path, main.branch, main.locked) == (repo, "main", None)
    assert (ours.path, ours.branch, bool(ours.locked), ours.prunable) == (linked, "feature/küche", True, False)
    assert ours.head == git("rev-parse", "HEAD", at=repo)
    assert git("status", "--porcelain", "--untracked-files=all", at=repo) == ""
    assert (repo / ".gitignore").read_text(encoding="utf-8") == "*.log\n"


def test_a_worktree_that_another_process_is_just_making_is_waited_for(world: LocalWorld, repo: Path) -> None:
    half = repo / ".git" / "worktrees" / "half"
    half.mkdir(parents=True)
    (half / "gitdir").write_text(f"{repo}/half/.git\n", encoding="utf-8")
    (half / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    (half / "commondir").touch()
    with pytest.raises(External, match="commondir"):  # nobody goes on with it
        world.worktrees.folders()
    made = threading.Timer(0.1, lambda: shutil.rmtree(half))
    made.start()
    assert [one.path for one in world.worktrees.folders()] == [repo]
    made.join()


def test_worktrees_are_invisible_again_after_git_clean(world: LocalWorld, repo: Path, linked: Path) -> None:
    git("clean", "-qfdx", at=repo)
    assert git("status", "--porcelain", at=repo) == "?? .codestrator/"
    open_world(repo, forgiving=True)
    assert git("status", "--porcelain", at=repo) == "?? .codestrator/"
    open_world(repo)
    assert git("status", "--porcelain", at=repo) == "" and linked.is_dir()


def test_removing_the_last_worktree_leaves_no_folder_behind(world: LocalWorld, repo: Path, linked: Path) -> None:
    world.worktrees.remove(linked)
    assert not (repo / ".codestrator").exists()
    assert [one.path for one in world.worktrees.folders()] == [repo]
    assert world.worktrees.branch_exists("feature/küche")


def test_a_second_worktree_survives_the_removal_of_the_first(world: LocalWorld, repo: Path, linked: Path) -> None:
    other = linked.with_name("zwei")
    world.worktrees.reserve_branch("zwei", git("rev-parse", "HEAD", at=repo))
    world.worktrees.add(other, "zwei", reason="ours")
    world.worktrees.remove(linked)
    assert other.exists() and world.worktrees.changes(other) == []
    assert git("status", "--porcelain", at=repo) == ""


@pytest.mark.parametrize(
    "dirty",
    [
        lambda at: (at / "README.md").write_text("changed\n", encoding="utf-8"),
        lambda at: (at / "new file").write_text("new\n", encoding="utf-8"),
        lambda at: (at / "README.md").unlink(),
        lambda at: ((at / "x").write_text("x", encoding="utf-8"), git("add", "x", at=at)),
    ],
    ids=["changed", "untracked", "deleted", "staged"],
)
def test_removing_a_dirty_worktree_is_refused_with_its_files(
    world: LocalWorld, linked: Path, dirty: Callable[[Path], object]
) -> None:
    dirty(linked)
    (name,) = world.worktrees.changes(linked)
    with pytest.raises(WrongState, match="uncommitted changes") as refused:
        world.worktrees.remove(linked)
    assert refused.value.details["files"] == [name]
    assert world.worktrees.changes(linked) == [name]
    assert [one.name for one in linked.parent.iterdir() if "removed" in one.name] == []


@pytest.mark.parametrize("step", [".{}.aside", ".{}.removed"])
def test_a_removal_that_was_cut_short_is_ended_by_the_next(world: LocalWorld, linked: Path, step: str) -> None:
    aside = linked.with_name(step.format(linked.name))
    linked.rename(aside)
    if step.endswith("removed"):
        (aside / ".git").unlink()
    world.worktrees.remove(linked)
    assert not aside.exists() and len(world.worktrees.folders()) == 1
    world.worktrees.remove(linked)


def test_a_removal_that_was_cut_short_keeps_what_was_written_meanwhile(world: LocalWorld, linked: Path) -> None:
    aside = linked.with_name(f".{linked.name}.aside")
    linked.rename(aside)
    (aside / "late.txt").write_text("last words\n", encoding="utf-8")
    with pytest.raises(WrongState):
        world.worktrees.remove(linked)
    assert world.worktrees.changes(linked) == ["late.txt"] and not aside.exists()


def test_a_folder_of_the_users_is_not_tidied_away(world: LocalWorld, repo: Path) -> None:
    git("config", "codestrator.worktreeRoot", "trees", at=repo)
    (repo / "trees").mkdir()
    (repo / "trees" / ".gitignore").write_text("*\n", encoding="utf-8")
    other = open_world(repo)
    folder = repo / "trees" / "one"
    other.worktrees.reserve_branch("one", git("rev-parse", "HEAD", at=repo))
    other.worktrees.add(folder, "one", reason="ours")
    other.worktrees.remove(folder)
    assert (repo / "trees" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    other.close()


def test_worktrees_may_be_made_outside_the_repository(world: LocalWorld, repo: Path, tmp_path: Path) -> None:
    git("config", "codestrator.worktreeRoot", str(tmp_path / "elsewhere"), at=repo)
    other = open_world(repo)
    other.worktrees.reserve_branch("one", git("rev-parse", "HEAD", at=repo))
    other.worktrees.add(tmp_path / "elsewhere" / "one", "one", reason="ours")
    assert [one.name for one in (tmp_path / "elsewhere").iterdir()] == ["one"]
    other.close()


def test_an_ignored_file_does_not_keep_a_worktree(world: LocalWorld, linked: Path) -> None:
    (linked / "build.log").write_text("noise\n", encoding="utf-8")
    world.worktrees.remove(linked)
    assert not linked.exists()


def test_what_is_written_while_it_is_moved_aside_is_kept(
    world: LocalWorld, linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        (linked / "late.txt").write_text("last words\n", encoding="utf-8") if self == linked else None
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(WrongState):
        world.worktrees.remove(linked)
    assert (linked / "late.txt").read_text(encoding="utf-8") == "last words\n"
    assert world.worktrees.changes(linked) == ["late.txt"]
    assert not any(one.prunable for one in world.worktrees.folders())


def test_a_worktree_not_touched_for_days_is_removed_whole(world: LocalWorld, repo: Path, linked: Path) -> None:
    admin = repo / ".git" / "worktrees" / "die küche"
    if not admin.exists():
        (admin,) = (repo / ".git" / "worktrees").iterdir()
    os.utime(admin / "gitdir", (1_700_000_000, 1_700_000_000))  # git then writes down where it finds the folder
    world.worktrees.remove(linked)
    assert not admin.exists() and not linked.exists()
    assert [one.path for one in world.worktrees.folders()] == [repo]


def test_adding_over_something_that_is_there_is_refused(world: LocalWorld, repo: Path, linked: Path) -> None:
    world.worktrees.reserve_branch("zwei", git("rev-parse", "HEAD", at=repo))
    with pytest.raises(Conflict, match="is there already"):
        world.worktrees.add(linked, "zwei", reason="ours")
    assert world.worktrees.changes(linked) == []


def test_a_failed_add_leaves_nothing_and_nobodys_folder_is_taken(world: LocalWorld, repo: Path, linked: Path) -> None:
    with pytest.raises(External):
        world.worktrees.add(linked.with_name("zwei"), "feature/küche", reason="that branch is checked out already")
    assert not linked.with_name("zwei").exists()
    assert [one.path for one in world.worktrees.folders()] == [repo, linked]


def test_a_first_add_that_fails_leaves_no_folder_for_others(world: LocalWorld, repo: Path) -> None:
    with pytest.raises(External):
        world.worktrees.add(repo / ".codestrator" / "worktrees" / "one", "no-such-branch", reason="ours")
    assert not (repo / ".codestrator").exists()


def test_a_branch_is_reserved_once(world: LocalWorld, repo: Path) -> None:
    head = git("rev-parse", "HEAD", at=repo)
    assert world.worktrees.reserve_branch("one", head)
    assert not world.worktrees.reserve_branch("one", head)
    with pytest.raises(Conflict, match="'one/two' could not be made"):
        world.worktrees.reserve_branch("one/two", head)


def test_a_branch_that_moved_on_is_not_deleted(world: LocalWorld, repo: Path) -> None:
    head = git("rev-parse", "HEAD", at=repo)
    world.worktrees.reserve_branch("one", head)
    world.worktrees.delete_branch("one", commit(repo, "a", "a"))
    assert world.worktrees.branch_exists("one")
    world.worktrees.delete_branch("one", head)
    assert not world.worktrees.branch_exists("one")


@pytest.mark.parametrize("name", ["-d", "", " ", "a..b", "a b", "a~", "x.lock", "HEAD", "a\0b", "@{", "ends/"])
def test_a_name_that_git_would_not_take_is_refused(world: LocalWorld, name: str) -> None:
    with pytest.raises(InvalidParams):
        world.worktrees.check_branch_name(name)


@pytest.mark.parametrize("name", ["main", "feature/küche", "fix-1.2", "日本"])
def test_a_name_that_git_takes_is_taken(world: LocalWorld, repo: Path, name: str) -> None:
    world.worktrees.check_branch_name(name)
    git("update-ref", f"refs/heads/{name}", "HEAD", at=repo)
    assert world.worktrees.branch_exists(name)


def test_a_revision_resolves_to_a_commit_or_to_nothing(world: LocalWorld, repo: Path) -> None:
    head = git("rev-parse", "HEAD", at=repo)
    git("tag", "-a", "-m", "one", "v1", at=repo)
    assert world.worktrees.resolve("v1") == world.worktrees.resolve("main") == head
    for unknown in ("nothing", "--all", "HEAD:README.md", "x\0y", ""):
        assert world.worktrees.resolve(unknown) is None


def test_discarding_undoes_a_fresh_worktree(world: LocalWorld, repo: Path, linked: Path) -> None:
    world.worktrees.discard(linked, "feature/küche", git("rev-parse", "HEAD", at=repo))
    assert not linked.exists() and not world.worktrees.branch_exists("feature/küche")


def test_discarding_keeps_what_somebody_has_written(world: LocalWorld, repo: Path, linked: Path) -> None:
    (linked / "work").write_text("mine\n", encoding="utf-8")
    start = git("rev-parse", "HEAD", at=repo)
    world.worktrees.discard(linked, "feature/küche", start)
    assert world.worktrees.changes(linked) == ["work"]
    commit(linked, "work", "mine\n")
    world.worktrees.discard(linked, "feature/küche", start)
    assert linked.exists() and world.worktrees.branch_exists("feature/küche")


def test_discarding_what_a_crash_left_half_done_removes_it(world: LocalWorld, repo: Path, linked: Path) -> None:
    subprocess.run(["rm", "-rf", str(linked)], check=True)
    world.worktrees.discard(linked, "feature/küche", git("rev-parse", "HEAD", at=repo))
    assert [one.path for one in world.worktrees.folders()] == [repo]
    assert not world.worktrees.branch_exists("feature/küche")


def test_discarding_a_worktree_that_git_was_still_filling_removes_it(
    world: LocalWorld, repo: Path, linked: Path
) -> None:
    (Path(git("rev-parse", "--absolute-git-dir", at=linked)) / "index").unlink()
    (linked / ".gitignore").unlink()
    world.worktrees.discard(linked, "feature/küche", git("rev-parse", "HEAD", at=repo))
    assert not linked.exists() and not world.worktrees.branch_exists("feature/küche")


def test_an_operation_in_progress_is_named(world: LocalWorld, repo: Path, linked: Path) -> None:
    assert world.worktrees.operation(repo) is None
    commit(repo, "README.md", "here\n")
    commit(linked, "README.md", "there\n")
    subprocess.run(["git", "merge", "-q", "main"], cwd=linked, capture_output=True, check=False)
    assert world.worktrees.operation(linked) == "merge"
    assert world.worktrees.operation(repo) is None
    git("merge", "--abort", at=linked)
    subprocess.run(["git", "rebase", "-q", "main"], cwd=linked, capture_output=True, check=False)
    assert world.worktrees.operation(linked) == "rebase"


def test_commits_ahead_come_newest_first(world: LocalWorld, repo: Path, linked: Path) -> None:
    start = git("rev-parse", "HEAD", at=repo)
    made = [commit(linked, "a", "1"), commit(linked, "a", "2")]
    assert world.worktrees.ahead(made[1], start) == made[::-1]
    assert world.worktrees.ahead(start, made[1]) == []
    assert world.worktrees.head(linked) == made[1]
    assert world.worktrees.tree(linked) == git("rev-parse", "HEAD^{tree}", at=linked)


def test_committing_everything_runs_hooks_and_tells_when_there_is_nothing(
    world: LocalWorld, linked: Path, repo: Path, tmp_path: Path
) -> None:
    assert world.worktrees.commit_all(linked, "nothing") is None
    hook(repo, "pre-commit", f"echo ran > '{tmp_path / 'ran'}'")
    (linked / "neu.txt").write_text("neu\n", encoding="utf-8")
    made = world.worktrees.commit_all(linked, "-m looks like an option\n\n# kept")
    assert made == git("rev-parse", "HEAD", at=linked)
    assert (tmp_path / "ran").exists()
    assert world.worktrees.changes(linked) == []
    assert git("log", "-1", "--format=%B%an", at=linked).startswith("-m looks like an option\n\n# kept")


def test_a_hook_that_refuses_leaves_index_and_files_as_they_were(world: LocalWorld, linked: Path, repo: Path) -> None:
    hook(repo, "pre-commit", "echo no >&2; exit 1")
    (linked / "staged").write_text("1\n", encoding="utf-8")
    git("add", "staged", at=linked)
    (linked / "loose").write_text("2\n", encoding="utf-8")
    before = git("status", "--porcelain", at=linked)
    with pytest.raises(External, match="no") as refused:
        world.worktrees.commit_all(linked, "try")
    assert refused.value.code == "external"
    assert git("status", "--porcelain", at=linked) == before == "A  staged\n?? loose"


def test_worktrees_of_a_bare_repository_are_made_beside_it(repo: Path, tmp_path: Path) -> None:
    git("clone", "-q", "--bare", str(repo), str(tmp_path / "bare repo.git"), at=tmp_path)
    world = open_world(tmp_path / "bare repo.git")
    folder = tmp_path / "bare repo.git" / world.settings.worktree_root / "one"
    assert world.worktrees.reserve_branch("one", git("rev-parse", "HEAD", at=repo))
    world.worktrees.add(folder, "one", reason="ours")
    assert world.worktrees.changes(folder) == []
    world.worktrees.remove(folder)
    assert [one.path for one in world.worktrees.folders()] == [tmp_path / "bare repo.git"]
    world.close()


def test_a_folder_that_cannot_be_read_is_an_error_of_ours(world: LocalWorld, tmp_path: Path) -> None:
    for look in (world.worktrees.changes, world.worktrees.operation, world.worktrees.tree, world.worktrees.head):
        with pytest.raises(CodestratorError):
            look(tmp_path / "nowhere")
