"""Opening finds the repository from wherever one stands, and refuses what cannot be worked with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codestrator.errors import CodestratorError, External, Forbidden, InvalidParams, NotFound, Unsupported
from codestrator.world import LocalWorld, open_world
from tests.conftest import git


def opened(folder: Path) -> LocalWorld:
    world = open_world(folder)
    world.close()
    return world


def test_a_subfolder_opens_the_repository_around_it(repo: Path) -> None:
    (repo / "a" / "b").mkdir(parents=True)
    world = opened(repo / "a" / "b")
    assert (world.repo, world.common_dir, world.cwd) == (repo, repo / ".git", repo / "a" / "b")
    assert not world.bare


def test_the_git_folder_itself_opens_its_repository(repo: Path) -> None:
    assert opened(repo / ".git" / "refs").repo == repo


def test_a_linked_worktree_opens_the_main_one(repo: Path, linked: Path) -> None:
    world = opened(linked)
    assert (world.repo, world.common_dir, world.cwd) == (repo, repo / ".git", linked)
    assert world.roots() == (str(repo), str(linked))


def test_a_worktree_that_git_moved_is_a_root_at_its_new_place(repo: Path, tmp_path: Path) -> None:
    git("worktree", "add", "-q", "-b", "one", str(tmp_path / "one"), at=repo)
    git("worktree", "move", str(tmp_path / "one"), str(tmp_path / "two"), at=repo)
    assert opened(repo).roots() == (str(repo), str(tmp_path / "two"))


def test_a_relative_gitdir_is_a_root_too(repo: Path, tmp_path: Path) -> None:
    git("worktree", "add", "-q", "-b", "one", str(tmp_path / "one"), at=repo)
    admin = repo / ".git" / "worktrees" / "one"
    (admin / "gitdir").write_text(os.path.relpath(tmp_path / "one" / ".git", admin) + "\n", encoding="utf-8")
    assert opened(repo).roots() == (str(repo), str(tmp_path / "one"))


def test_a_bare_repository_opens(repo: Path, tmp_path: Path) -> None:
    git("clone", "-q", "--bare", str(repo), str(tmp_path / "bare.git"), at=tmp_path)
    world = opened(tmp_path / "bare.git")
    assert world.bare
    assert (world.repo, world.common_dir) == (tmp_path / "bare.git", tmp_path / "bare.git")
    assert world.roots() == ()


def test_a_submodule_opens_as_itself(repo: Path, tmp_path: Path) -> None:
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repo), "sub", at=repo)
    assert opened(repo / "sub").repo == repo / "sub"


def test_a_repository_opened_through_a_link_is_the_same(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repo)
    world = opened(tmp_path / "link")
    assert (world.repo, world.cwd) == (repo, repo)


def test_detached_and_unborn_heads_open(repo: Path, tmp_path: Path) -> None:
    git("checkout", "-q", "--detach", at=repo)
    assert opened(repo).worktrees.folders()[0].branch is None
    (tmp_path / "new").mkdir()
    git("init", "-q", at=tmp_path / "new")
    world = opened(tmp_path / "new")
    assert world.worktrees.resolve("HEAD") is None
    with pytest.raises(CodestratorError, match="no commit") as refused:
        world.worktrees.head(tmp_path / "new")
    assert refused.value.code == "wrong_state"


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not in a git repository"):
        open_world(tmp_path)


def test_a_file_that_names_no_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nowhere\n", encoding="utf-8")
    with pytest.raises((NotFound, External)):
        open_world(tmp_path)


def test_sha256_is_refused_by_name(tmp_path: Path) -> None:
    git("init", "-q", "--object-format=sha256", at=tmp_path)
    with pytest.raises(Unsupported, match="sha256 objects, expected sha1"):
        open_world(tmp_path)


def test_reftable_is_refused_by_name(repo: Path) -> None:
    git("config", "core.repositoryFormatVersion", "1", at=repo)
    git("config", "extensions.refStorage", "reftable", at=repo)
    with pytest.raises(Unsupported, match="reftable refs, expected files"):
        open_world(repo)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another user")
def test_another_users_repository_is_refused_until_it_is_trusted(repo: Path) -> None:
    for place in (repo, *repo.rglob("*")):
        os.chown(place, 12345, 12345, follow_symlinks=False)
    with pytest.raises(Forbidden, match="belongs to another user") as refused:
        open_world(repo)
    assert refused.value.hint and "safe.directory" in refused.value.hint
    assert not (repo / ".git" / "codestrator").exists()
    git("config", "--global", "--add", "safe.directory", "*", at=repo.parent)
    assert opened(repo).repo == repo


def test_the_private_folder_is_for_the_user_alone(repo: Path) -> None:
    private = opened(repo).files.root
    assert private.stat().st_mode & 0o077 == 0
    assert all(one.stat().st_mode & 0o077 == 0 for one in private.iterdir())


def test_a_private_folder_that_cannot_be_made_is_told(repo: Path) -> None:
    (repo / ".git" / "codestrator").write_text("in the way", encoding="utf-8")
    with pytest.raises(External, match="could not be written"):
        open_world(repo)


def test_opening_shows_nothing_to_the_user(repo: Path) -> None:
    before = git("for-each-ref", at=repo), git("status", "--porcelain", "--ignored", at=repo)
    opened(repo)
    assert (git("for-each-ref", at=repo), git("status", "--porcelain", "--ignored", at=repo)) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authority", "elsewhere"),
        ("machine", "not an id"),
        ("maxChildren", "17"),
        ("maxChildren", "many"),
        ("maxChildren", "-1"),
        ("durable", "perhaps"),
        ("worktreeRoot", "."),
        ("worktreeRoot", "../beside"),
        ("worktreeRoot", ".git/trees"),
        ("snapshotMaxBytes", "99t"),
        ("syncTimeout", "51"),
        ("hookTimeout", "0"),
        ("hookTimeout", "21"),
        ("refPrefix", "refs/heads"),
        ("refPrefix", "refs/../heads/x/"),
        ("refPrefix", "codestrator/"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(repo: Path, name: str, value: str) -> None:
    git("config", f"codestrator.{name}", value, at=repo)
    with pytest.raises(InvalidParams, match=f"codestrator.{name}") as refused:
        open_world(repo)
    assert refused.value.details["found"] == value


def test_settings_come_from_every_level_of_git_config(repo: Path) -> None:
    git("config", "--global", "codestrator.maxChildren", "3", at=repo)
    git("config", "codestrator.snapshotMaxBytes", "2k", at=repo)
    git("config", "codestrator.durable", "yes", at=repo)
    settings = opened(repo).settings
    assert (settings.max_children, settings.snapshot_max_bytes, settings.durable) == (3, 2048, True)
    assert (settings.remote, settings.authority, settings.worktree_root) == (None, "local", ".codestrator/worktrees")


def test_a_file_named_by_the_environment_stands_for_the_users_own(
    repo: Path, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sealed / ".gitconfig").write_text("[user]\n\tname = Home\n[codestrator]\n\tmaxChildren = 3\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "named"))
    assert opened(repo).settings.max_children == 6
    git("config", "--global", "user.name", "Named", at=repo)
    git("config", "--global", "codestrator.maxChildren", "4", at=repo)
    world = opened(repo)
    assert (world.git.config("user.name"), world.settings.max_children) == ("Named", 4)
    git("config", "codestrator.maxChildren", "5", at=repo)
    assert opened(repo).settings.max_children == 5
    (tmp_path / "named").write_text("[user\n", encoding="utf-8")
    with pytest.raises(External, match="could not be read"):
        opened(repo)


def test_a_change_of_configuration_is_seen_by_a_running_process(repo: Path) -> None:
    world = opened(repo)
    assert world.git.config("user.nick", "nobody") == "nobody"
    git("config", "user.nick", "Ada der Große", at=repo)
    assert world.git.config("user.nick") == "Ada der Große"


@pytest.mark.parametrize("level", ["local", "global"])
def test_a_configuration_that_cannot_be_read_is_told(repo: Path, sealed: Path, level: str) -> None:
    place = repo / ".git" / "config" if level == "local" else sealed / ".gitconfig"
    place.write_text("[core\nbroken", encoding="utf-8")
    with pytest.raises(External, match="expected a git repository"):
        open_world(repo)


def test_a_key_without_a_value_is_true(repo: Path) -> None:
    with (repo / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write("[codestrator]\n\tdurable\n")
    assert opened(repo).settings.durable


def test_a_folder_that_may_not_be_read_is_told(repo: Path) -> None:
    git_file = repo / "sub" / ".git"
    git_file.parent.mkdir()
    git_file.write_text("gitdir: " + "x" * 5000, encoding="utf-8")
    with pytest.raises(CodestratorError):
        open_world(repo / "sub")


def test_opening_imports_nothing_heavy(repo: Path) -> None:
    ask = "import sys; from pathlib import Path; from codestrator.world import open_world\n"
    ask += "world = open_world(Path(sys.argv[1])); world.store.initialise(); world.store.read(); world.close()\n"
    ask += "print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", ask, str(repo)], capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {
        "libtmux",
        "subprocess",
        "json",
        "asyncio",
        "logging",
        "mcp",
        "click",
        "rich",
        "pydantic",
        "codestrator.world.worktrees",
    }
    assert not heavy & set(done.stdout.split())
