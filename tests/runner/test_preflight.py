"""The preflight finds what would keep a child from working, and leaves nothing where it looked."""

import os
import subprocess
from pathlib import Path

import pytest

from codestrator.world import preflight
from codestrator.world.runners import LocalRunners
from tests.conftest import git
from tests.runner.codexes import MARK, all_ended, codex_home, need_sandbox, real_codex

# Tests lie below the folder for temporary files, which the sandbox would else leave open.
SHUT = [
    word for name in ("slash_tmp", "tmpdir_env_var") for word in ("-c", f"sandbox_workspace_write.exclude_{name}=true")
]


@pytest.fixture
def linked(repo: Path) -> Path:
    """A linked worktree, as a child has one."""
    folder = repo.parent / "die küche"
    git("worktree", "add", "-q", str(folder), "-b", "kitchen", at=repo)
    return folder


@pytest.fixture
def home(sealed: Path) -> dict[str, str]:
    return codex_home(sealed, "http://127.0.0.1:9/v1")


def own_git_dir(folder: Path) -> Path:
    return Path(git("rev-parse", "--absolute-git-dir", at=folder))


def findings(
    program: list[str], folder: Path, repo: Path, home: dict[str, str], *more: str
) -> dict[str, dict[str, str]]:
    found = preflight.check(program, folder, repo / ".git", home, more)
    assert all(set(one) == {"check", "status", "found", "expected", "hint"} for one in found)
    assert all(one["hint"] for one in found if one["status"] != "ok")
    return {one["check"]: one for one in found}


def tree(*tops: Path) -> list[tuple[str, bytes]]:
    """Every file and folder below, with its content."""
    return sorted((str(one), one.read_bytes() if one.is_file() else b"") for top in tops for one in top.rglob("*"))


def pretend(place: Path, script: str) -> list[str]:
    """A false Codex: a script that gets `sandbox <settings> -- <command>` and runs it as it pleases."""
    place.write_text(f'#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift\n{script}\n', encoding="utf-8")
    place.chmod(0o755)
    return [str(place)]


def test_a_proof_holds_for_a_while_but_not_for_other_settings(
    linked: Path, repo: Path, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, config = tmp_path / "count", sealed / ".codex" / "config.toml"
    config.parent.mkdir()
    trusted = f'[projects."{repo}"]\ntrust_level = "trusted"\n'
    config.write_text(trusted, encoding="utf-8")
    monkeypatch.delenv("CODEX_HOME", raising=False)
    program = pretend(tmp_path / "codex", f'echo >> "{count}"; exec "$@"')
    runners = LocalRunners(repo, repo / ".git")

    def probes() -> int:
        found = runners.check(program, linked)
        assert [one["check"] for one in found] == ["program", "trust", "writable_roots", "commit"]
        return len(count.read_text(encoding="utf-8").splitlines())

    assert (probes(), probes()) == (1, 1)
    config.write_text(trusted + "# changed\n", encoding="utf-8")
    assert (probes(), probes()) == (2, 2)
    pretend(tmp_path / "codex", f'echo >> "{count}"; echo changed; exec "$@"')
    assert (probes(), probes()) == (3, 3)
    config.unlink()  # what is not all well is looked at every time
    assert (probes(), probes()) == (4, 5)


@pytest.mark.codex
@pytest.mark.parametrize("where", ["linked", "main"])
def test_a_child_can_commit_and_the_probe_leaves_nothing(
    where: str, linked: Path, repo: Path, home: dict[str, str]
) -> None:
    codex = real_codex()
    need_sandbox(codex)
    before = tree(repo, linked)
    found = findings([codex], linked if where == "linked" else repo, repo, home, *SHUT)
    assert {name: one["status"] for name, one in found.items() if name != "trust"} == {
        "program": "ok",
        "writable_roots": "ok",
        "commit": "ok",
    }
    assert tree(repo, linked) == before


@pytest.mark.codex
@pytest.mark.parametrize("forgotten", ["own", "common"])
def test_a_root_that_is_missing_is_an_error_that_names_the_setting(
    forgotten: str, linked: Path, repo: Path, home: dict[str, str]
) -> None:
    codex = real_codex()
    need_sandbox(codex)
    given = {"own": repo / ".git", "common": own_git_dir(linked)}[forgotten]
    before = tree(repo, linked)
    override = f'sandbox_workspace_write.writable_roots=["{given}"]'
    found = findings([codex], linked, repo, home, "-c", override, *SHUT)
    assert found["commit"]["status"] == "error"
    assert "Read-only file system" in found["commit"]["found"]
    assert "sandbox_workspace_write.writable_roots" in found["commit"]["hint"]
    assert tree(repo, linked) == before


@pytest.mark.codex
def test_nobody_to_commit_as_is_told_with_its_cure(
    linked: Path, repo: Path, home: dict[str, str], sealed: Path
) -> None:
    codex = real_codex()
    need_sandbox(codex)
    (sealed / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n", encoding="utf-8")
    found = findings([codex], linked, repo, home)
    assert found["commit"]["status"] == "error" and "user.email" in found["commit"]["hint"]


def test_a_sandbox_that_cannot_run_here_is_a_warning(
    linked: Path, repo: Path, home: dict[str, str], tmp_path: Path
) -> None:
    program = pretend(tmp_path / "codex", "echo 'bwrap: no namespaces' >&2; exit 1")
    found = findings(program, linked, repo, home)
    assert found["commit"]["status"] == "warning"
    assert found["commit"]["found"] == "codex sandbox did not run: bwrap: no namespaces"


def test_a_probe_that_does_not_end_is_ended_and_tidied(
    linked: Path, repo: Path, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "PROBE_SECONDS", 1.0)
    own = own_git_dir(linked)
    script = f"mkdir -p '{own}/refs/worktree'; touch '{own}/refs/worktree/codestrator-probe-'$5.lock; sleep 300"
    before = tree(repo, linked)
    found = findings(pretend(tmp_path / "codex", script), linked, repo, home)
    assert found["commit"]["status"] == "warning" and "no end within 1 s" in found["commit"]["found"]
    assert tree(repo, linked) == before
    assert all_ended(home[MARK])


def test_a_hook_of_the_users_is_not_run_by_the_probe(
    linked: Path, repo: Path, home: dict[str, str], tmp_path: Path
) -> None:
    hook = repo / ".git" / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\necho ran >> '{tmp_path}/ran'\n", encoding="utf-8")
    hook.chmod(0o755)
    git("config", "core.logAllRefUpdates", "always", at=repo)
    before = tree(repo, linked)
    assert findings(pretend(tmp_path / "codex", 'exec "$@"'), linked, repo, home)["commit"]["status"] == "ok"
    assert not (tmp_path / "ran").exists()
    assert tree(repo, linked) == before


def test_variables_of_git_do_not_lead_the_probe_elsewhere(
    linked: Path, repo: Path, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert findings(pretend(tmp_path / "codex", 'exec "$@"'), linked, repo, home)["commit"]["status"] == "ok"


def test_a_repository_without_a_commit_passes(home: dict[str, str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    subprocess.run(["git", "init", "-q", str(empty)], check=True)
    assert findings(pretend(tmp_path / "codex", 'exec "$@"'), empty, empty, home)["commit"]["status"] == "ok"


def test_a_program_that_is_not_there_is_an_error_and_nothing_is_probed(
    linked: Path, repo: Path, home: dict[str, str]
) -> None:
    found = findings(["no-such-codex"], linked, repo, home)
    assert found["program"]["status"] == "error" and "commit" not in found


@pytest.mark.parametrize(
    ("config", "status", "told"),
    [
        ("", "warning", "none"),
        ('[projects."{repo}"]\ntrust_level = "trusted"\n', "ok", "trusted"),
        ('[projects."{repo}"]\ntrust_level = "untrusted"\n', "warning", "untrusted"),
        ('[projects."{linked}"]\ntrust_level = "trusted"\n', "ok", "trusted"),
        ('[projects."/elsewhere"]\ntrust_level = "trusted"\n', "warning", "none"),
        ("projects = 5\n", "warning", "none"),
        ("[projects\n", "error", "unreadable"),
    ],
    ids=["missing", "trusted", "untrusted", "worktree", "elsewhere", "odd", "broken"],
)
def test_trust_is_read_from_the_users_configuration(
    config: str, status: str, told: str, linked: Path, repo: Path, sealed: Path
) -> None:
    home = sealed / ".codex"
    home.mkdir()
    text = config.replace("{repo}", str(repo)).replace("{linked}", str(linked))
    (home / "config.toml").write_text(text, encoding="utf-8")
    trust = findings(["no-such-codex"], linked, repo, {})["trust"]
    assert trust["status"] == status and trust["found"].startswith(told)
    if told == "none":
        assert f'[projects."{repo}"] trust_level = "trusted"' in trust["hint"]


def test_no_configuration_at_all_is_a_warning(linked: Path, repo: Path) -> None:
    assert findings(["no-such-codex"], linked, repo, {})["trust"]["status"] == "warning"


def test_the_writable_roots_are_the_git_directories_of_the_worktree(linked: Path, repo: Path) -> None:
    common = repo / ".git"
    assert preflight.writable_roots(linked, common) == [str(common), str(own_git_dir(linked))]
    assert preflight.writable_roots(repo, common) == [str(common)]


def test_a_worktree_whose_git_directory_is_lost_is_an_error(linked: Path, repo: Path) -> None:
    (linked / ".git").write_text("gitdir: ../shop/.git/worktrees/lost\n", encoding="utf-8")
    roots = findings(["no-such-codex"], linked, repo, {})["writable_roots"]
    assert roots["status"] == "error" and roots["found"].endswith("/shop/.git/worktrees/lost")


def test_a_root_of_another_user_is_an_error(linked: Path, repo: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    own = own_git_dir(linked)
    own.chmod(0o500)
    assert findings(["no-such-codex"], linked, repo, {})["writable_roots"]["status"] == "error"
