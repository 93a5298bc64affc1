"""The user's branches are merged without touching a file, brought up without overwriting one, moved all or none."""

from pathlib import Path

import pytest

from codestrator.errors import Conflict, External
from codestrator.ports import Contention, Move
from codestrator.world import LocalWorld
from tests.conftest import git
from tests.world.conftest import commit
from tests.world.test_git import hook

STATE = "refs/codestrator/state"


def tips(repo: Path, *refs: str) -> list[str]:
    return [git("rev-parse", ref, at=repo) for ref in refs]


def test_a_merge_in_memory_touches_nothing(world: LocalWorld, repo: Path, linked: Path) -> None:
    ours, theirs = commit(repo, "here", "1\n"), commit(linked, "there", "2\n")
    refs = git("for-each-ref", at=repo)
    merged, conflicts = world.branches.merge(ours, theirs, message="Merge küche")
    assert conflicts == []
    assert git("show", "-s", "--format=%P%n%s", merged, at=repo).split("\n") == [f"{ours} {theirs}", "Merge küche"]
    assert git("ls-tree", "--name-only", merged, at=repo).split() == [".gitignore", "README.md", "here", "there"]
    assert git("for-each-ref", at=repo) == refs
    assert git("status", "--porcelain", at=repo) == git("status", "--porcelain", at=linked) == ""


def test_what_could_be_fast_forwarded_is_merged_all_the_same(world: LocalWorld, repo: Path, linked: Path) -> None:
    old, new = git("rev-parse", "HEAD", at=repo), commit(linked, "there", "2\n")
    merged, _ = world.branches.merge(old, new, message="x")
    assert git("show", "-s", "--format=%P", merged, at=repo) == f"{old} {new}"


def test_conflicts_are_named_by_file(world: LocalWorld, repo: Path, linked: Path) -> None:
    commit(repo, "ö pfad", "1\n")
    ours = commit(repo, "README.md", "here\n")
    commit(linked, "ö pfad", "2\n")
    theirs = commit(linked, "README.md", "there\n")
    assert world.branches.merge(ours, theirs, message="x") == ("", ["README.md", "ö pfad"])


def test_histories_without_a_common_start_are_an_error_of_git(world: LocalWorld, repo: Path) -> None:
    head = git("rev-parse", "HEAD", at=repo)
    strange = git("commit-tree", "-m", "x", f"{head}^{{tree}}", at=repo)
    with pytest.raises(External, match="unrelated histories"):
        world.branches.merge(head, strange, message="x")


def test_changed_files_are_named_as_they_are(world: LocalWorld, repo: Path) -> None:
    old = git("rev-parse", "HEAD", at=repo)
    git("mv", "README.md", "LIES MICH ä", at=repo)
    git("commit", "-qm", "rename", at=repo)
    assert world.branches.changed(old, git("rev-parse", "HEAD", at=repo)) == ["LIES MICH ä", "README.md"]


def merged(world: LocalWorld, repo: Path, linked: Path) -> tuple[str, str]:
    """What the main worktree stands on, and its merge with a branch that changed, added and deleted files."""
    git("rm", "-q", ".gitignore", at=linked)
    git("commit", "-qm", "delete", at=linked)
    commit(linked, "README.md", "there\n")
    theirs, ours = commit(linked, "neu/file", "2\n"), commit(repo, "here", "1\n")
    return ours, world.branches.merge(ours, theirs, message="x")[0]


def test_a_folder_is_brought_up_with_its_index(world: LocalWorld, repo: Path, linked: Path) -> None:
    old, new = merged(world, repo, linked)
    (repo / "here").write_text("local work elsewhere\n", encoding="utf-8")
    world.branches.bring_up(repo, old, new)
    world.branches.move([Move("refs/heads/main", old, new)])
    assert git("status", "--porcelain", at=repo) == " M here"
    assert (repo / "neu" / "file").read_text(encoding="utf-8") == "2\n"
    assert (repo / "here").read_text(encoding="utf-8") == "local work elsewhere\n"
    assert not (repo / ".gitignore").exists()


@pytest.mark.parametrize("name", ["README.md", "neu/file", "neu"])
def test_bringing_up_overwrites_no_work(world: LocalWorld, repo: Path, linked: Path, name: str) -> None:
    old, new = merged(world, repo, linked)
    (repo / name).parent.mkdir(exist_ok=True)
    (repo / name).write_text("precious\n", encoding="utf-8")
    before = git("status", "--porcelain", at=repo)
    with pytest.raises(Conflict, match="without overwriting") as refused:
        world.branches.bring_up(repo, old, new)
    assert any(name in one for one in refused.value.details["files"])
    assert (repo / name).read_text(encoding="utf-8") == "precious\n"
    assert git("status", "--porcelain", at=repo) == before


@pytest.mark.parametrize("name", ["neu/file", "neu", "neu/file/below"])
def test_an_ignored_file_is_no_less_work(world: LocalWorld, repo: Path, linked: Path, name: str) -> None:
    old, new = merged(world, repo, linked)
    (repo / ".git" / "info").mkdir(exist_ok=True)
    (repo / ".git" / "info" / "exclude").write_text("neu\n", encoding="utf-8")
    (repo / name).parent.mkdir(parents=True, exist_ok=True)
    (repo / name).write_text("secret\n", encoding="utf-8")
    with pytest.raises(Conflict, match="without overwriting") as refused:
        world.branches.bring_up(repo, old, new)
    assert refused.value.details["files"] == [name]
    assert (repo / name).read_text(encoding="utf-8") == "secret\n"
    assert git("status", "--porcelain", at=repo) == ""


def test_a_submodules_folder_is_left_to_its_user(world: LocalWorld, repo: Path, tmp_path: Path) -> None:
    git("config", "submodule.recurse", "true", at=repo)
    origin = tmp_path / "origin"
    git("init", "-q", str(origin), at=tmp_path)
    before, after = commit(origin, "a", "1\n"), commit(origin, "a", "2\n")
    git("clone", "-q", str(origin), str(repo / "inner"), at=tmp_path)
    git("checkout", "-q", before, at=repo / "inner")
    git("submodule", "--quiet", "add", str(origin), "inner", at=repo)
    git("commit", "-qm", "a submodule", at=repo)
    old = git("rev-parse", "HEAD", at=repo)
    git("update-index", "--cacheinfo", f"160000,{'1' * 40},inner", at=repo)  # a commit that is not here
    new = git("commit-tree", git("write-tree", at=repo), "-p", old, "-m", "x", at=repo)
    git("reset", "-q", at=repo)
    world.branches.bring_up(repo, old, new)
    assert git("ls-files", "--stage", "inner", at=repo).startswith(f"160000 {'1' * 40}")
    assert git("rev-parse", "HEAD", at=repo / "inner") == before != after


def test_an_index_in_use_is_no_conflict_of_files(world: LocalWorld, repo: Path, linked: Path) -> None:
    old, new = merged(world, repo, linked)
    (repo / ".git" / "index.lock").write_text("", encoding="ascii")
    with pytest.raises(External, match=r"index\.lock"):
        world.branches.bring_up(repo, old, new)
    assert not (repo / "neu").exists()


def test_refs_move_together_or_not_at_all(world: LocalWorld, repo: Path) -> None:
    main, state = tips(repo, "main", STATE)
    new = git("commit-tree", "-m", "x", "-p", main, f"{main}^{{tree}}", at=repo)
    moves = [Move("refs/heads/main", main, new), Move(STATE, main, new)]
    with pytest.raises(Contention):
        world.branches.move(moves)
    assert tips(repo, "main", STATE) == [main, state]
    world.branches.move([Move("refs/heads/main", main, new), Move(STATE, state, state)])
    assert tips(repo, "main", STATE) == [new, state]


def test_refs_are_made_and_deleted_by_what_they_were(world: LocalWorld, repo: Path) -> None:
    main = git("rev-parse", "main", at=repo)
    one = "refs/codestrator/rescue/eins-ü"
    world.branches.move([Move(one, None, main)])
    assert tips(repo, one) == [main]
    with pytest.raises(Contention):
        world.branches.move([Move(one, None, main)])
    with pytest.raises(Contention):
        world.branches.move([Move(one, None, None)])
    world.branches.move([Move(one, main, None)])
    world.branches.move([Move(one, None, None)])
    assert git("for-each-ref", "refs/codestrator/rescue", at=repo) == ""


def test_a_locked_ref_is_contention(world: LocalWorld, repo: Path) -> None:
    main = git("rev-parse", "main", at=repo)
    new = git("commit-tree", "-m", "x", f"{main}^{{tree}}", at=repo)
    (repo / ".git" / "refs" / "heads" / "main.lock").write_text("", encoding="ascii")
    with pytest.raises(Contention):
        world.branches.move([Move("refs/heads/main", main, new)])


def test_a_ref_that_vanished_is_contention(world: LocalWorld, repo: Path) -> None:
    main = git("rev-parse", "main", at=repo)
    new = git("commit-tree", "-m", "x", f"{main}^{{tree}}", at=repo)
    with pytest.raises(Contention):
        world.branches.move([Move("refs/heads/gone", main, new)])


def test_refs_move_in_the_order_given(world: LocalWorld, repo: Path, tmp_path: Path) -> None:
    main, state = tips(repo, "main", STATE)
    new = git("commit-tree", "-m", "x", f"{main}^{{tree}}", at=repo)
    said = tmp_path / "said"
    hook(repo, "reference-transaction", f"[ $1 = committed ] && cat >> '{said}'; exit 0")
    world.branches.move([Move(STATE, state, new), Move("refs/heads/main", main, new)])
    order = [line.split()[2] for line in said.read_text(encoding="utf-8").splitlines()]
    assert [one for one in order if one in (STATE, "refs/heads/main")] == [STATE, "refs/heads/main"]


def test_the_users_hook_may_refuse_a_move(world: LocalWorld, repo: Path) -> None:
    main, state = tips(repo, "main", STATE)
    new = git("commit-tree", "-m", "x", f"{main}^{{tree}}", at=repo)
    hook(repo, "reference-transaction", "[ $1 = prepared ] && { echo not today >&2; exit 1; }; exit 0")
    with pytest.raises(External, match="not today"):
        world.branches.move([Move("refs/heads/main", main, new), Move(STATE, state, new)])
    assert tips(repo, "main", STATE) == [main, state]
