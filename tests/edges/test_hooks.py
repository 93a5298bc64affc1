"""The git hooks, run by a real git that pushes, merges, rebases and amends."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.actors import Actor
from tests.conftest import git
from tests.edges.shell import Program, Run, result, script, typed
from tests.methods.test_landing import approved
from tests.methods.test_worktrees import commit

HOOKS = ("pre-push", "post-merge", "post-rewrite")
AMEND = ("git", "commit", "-q", "--amend", "--no-edit", "--date", "2001-01-01T00:00:00Z")


@pytest.fixture
def hooked(run: Run, repo: Path, program: Program) -> Path:
    """The repository, made ready."""
    assert result(run("init", "--json"))["hooks"] == "installed"
    return repo


@pytest.fixture
def shared(run: Run, repo: Path, origin: Path, program: Program) -> Path:
    """The same, sharing with `origin`."""
    assert result(run("init", "--remote", "origin", "--json"))["hooks"] == "installed"
    return repo


def merged(repo: Path, name: str = "side.txt", **env: str) -> str:
    """Merge a branch with one commit; what git said on standard error."""
    git("switch", "-qc", f"of-{name}", at=repo)
    commit(repo, name)
    git("switch", "-q", "main", at=repo)
    done = typed("git", "merge", "-q", "--no-ff", "--no-edit", f"of-{name}", at=repo, **env)
    assert done.returncode == 0, done.stderr
    return done.stderr


def refs(repo: Path) -> str:
    return git("for-each-ref", at=repo)


def ours(text: str) -> list[str]:
    """The lines that hooks of ours printed."""
    return [line for line in text.splitlines() if line.startswith("codestrator")]


# Nothing to do


@pytest.mark.parametrize("switch", ["CODESTRATOR_SKIP_HOOKS", "CODESTRATOR_PUSHING"])
def test_switched_off_no_hook_starts_the_program(shared: Path, program: Program, switch: str) -> None:
    commit(shared, "a.txt")
    assert typed("git", "push", "-q", "origin", "main", at=shared, **{switch: "1"}).returncode == 0
    merged(shared, **{switch: "1"})
    assert typed(*AMEND, at=shared, **{switch: "1"}).returncode == 0
    assert program.hooks() == []
    git("push", "-q", "-f", "origin", "main", at=shared)
    assert program.hooks() == ["pre-push"]


def test_where_there_is_no_state_no_hook_starts_the_program(shared: Path, program: Program, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git("clone", "-q", str(tmp_path / "origin.git"), str(clone), at=tmp_path)
    git("config", "codestrator.remote", "origin", at=clone)
    for name in HOOKS:
        shutil.copy(shared / ".git/hooks" / name, clone / ".git/hooks" / name)
    commit(clone, "a.txt")
    git("push", "-q", "origin", "main", at=clone)
    merged(clone)
    assert typed(*AMEND, at=clone).returncode == 0
    assert program.hooks() == []


def test_without_a_remote_to_share_with_a_merge_starts_nothing(hooked: Path, program: Program) -> None:
    merged(hooked)
    assert program.hooks() == []
    git("config", "codestrator.remote", "origin", at=hooked)
    merged(hooked, "more.txt")
    assert program.hooks() == ["post-merge"]


# A program that is missing, broken or slow


@pytest.mark.parametrize("fault", ["exit 1", "exit 3", "kill -9 $$", "echo Traceback >&2; exit 1", "missing"])
def test_a_missing_or_broken_program_stops_nothing_and_says_nothing(
    shared: Path, program: Program, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "missing":
        (program.folder / "git-codestrator").unlink()
        folders = [one for one in os.environ["PATH"].split(":") if not (Path(one) / "git-codestrator").exists()]
        monkeypatch.setenv("PATH", ":".join(folders))
    else:
        program.becomes(fault)
    commit(shared, "a.txt")
    done = typed("git", "push", "-q", "origin", "main", at=shared)
    assert (done.returncode, done.stderr) == (0, "")
    assert merged(shared) == ""
    done = typed(*AMEND, at=shared)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_setting_that_cannot_be_read_stops_no_push_and_is_told_in_one_line(shared: Path) -> None:
    git("config", "codestrator.hookTimeout", "soon", at=shared)
    commit(shared, "a.txt")
    done = typed("git", "push", "-q", "origin", "main", at=shared)
    assert done.returncode == 0 and len(ours(done.stderr)) == 1
    assert "codestrator.hookTimeout" in done.stderr


def test_a_remote_that_never_answers_is_left_within_the_hooks_time(shared: Path) -> None:
    git("config", "protocol.ext.allow", "always", at=shared)
    git("remote", "set-url", "origin", "ext::sleep 600", at=shared)
    git("config", "codestrator.hookTimeout", "2", at=shared)
    (said,) = merged(shared).splitlines()
    assert said.startswith("codestrator: not shared, offline: ")
    assert typed("pgrep", "-f", "[s]leep 600", at=shared).stdout == ""


def test_what_takes_longer_than_the_hooks_time_is_left_undone(root: Actor, run: Run, program: Program) -> None:
    repo = Path(root.world.repo)
    result(run("init", "--json"))
    git("config", "codestrator.hookTimeout", "1", at=repo)
    commit(root.path, "a.txt")
    made = root("work.checkpoint", summary="half way")["checkpoint"]["id"]
    lock = repo / ".git/refs/codestrator/state.lock"
    lock.touch()  # somebody moves the state, and is in no hurry
    done = typed(*AMEND, at=root.path)
    assert done.returncode == 0
    (said,) = done.stderr.splitlines()
    assert "codestrator.hookTimeout" in said
    lock.unlink()
    assert rewritten(root, made) == {}


# The user's own hooks


def test_a_hook_of_the_user_runs_first_with_the_same_arguments_and_input(
    run: Run, repo: Path, origin: Path, program: Program
) -> None:
    seen = repo.parent / "seen"
    script(repo / ".git/hooks/pre-push", f'echo "$@" >"{seen}"; cat >>"{seen}"; cat "{program.log}" >>"{seen}"')
    result(run("init", "--json"))
    before = git("rev-parse", "origin/main", at=repo)
    tip = commit(repo, "a.txt")
    git("push", "-q", "origin", "main", at=repo)
    assert seen.read_text() == f"origin {origin}\nrefs/heads/main {tip} refs/heads/main {before}\n"
    assert program.hooks() == ["pre-push"]


def test_a_push_that_the_users_hook_refuses_is_refused_and_ours_does_not_begin(
    run: Run, repo: Path, origin: Path, program: Program
) -> None:
    script(repo / ".git/hooks/pre-push", "exit 7")
    result(run("init", "--json"))
    commit(repo, "a.txt")
    assert typed("git", "push", "-q", "origin", "main", at=repo).returncode != 0
    assert git("rev-parse", "main", at=origin) != git("rev-parse", "main", at=repo)
    assert program.hooks() == []
    done = typed(".git/hooks/pre-push", "origin", str(origin), at=repo, CODESTRATOR_SKIP_HOOKS="1")
    assert done.returncode == 7


def test_after_a_merge_and_a_rewrite_ours_run_whatever_the_users_say(
    run: Run, repo: Path, origin: Path, program: Program
) -> None:
    for name in ("post-merge", "post-rewrite"):
        script(repo / ".git/hooks" / name, "exit 5")
    result(run("init", "--remote", "origin", "--json"))
    merged(repo)
    assert typed(*AMEND, at=repo).returncode == 0
    assert program.hooks() == ["post-merge", "post-rewrite"]
    assert typed(".git/hooks/post-merge", "0", at=repo).returncode == 5


def test_a_hook_of_the_user_that_is_not_executable_stays_so(
    run: Run, repo: Path, origin: Path, program: Program
) -> None:
    script(repo / ".git/hooks/pre-push", "exit 7", mode=0o644)
    result(run("init", "--json"))
    commit(repo, "a.txt")
    git("push", "-q", "origin", "main", at=repo)
    assert program.hooks() == ["pre-push"]


# pre-push


def test_a_landing_whose_lock_was_lost_is_not_pushed(root: Actor, run: Run, origin: Path, program: Program) -> None:
    repo = Path(root.world.repo)
    result(run("init", "--json"))
    lost = root("merge.main.acquire_lock", target_branch="main")["main_lock"]["fence"]
    root("merge.main.release_lock", target_branch="main")
    current = root("merge.main.acquire_lock", target_branch="main")["main_lock"]["fence"]
    before = git("rev-parse", "main", at=origin)
    git("commit", "-q", "--allow-empty", "-m", f"Merge x into main\n\nFence: merge/main:{lost}", at=repo)
    tip = git("rev-parse", "main", at=repo)
    for remote_branch, refused in (("elsewhere", False), ("main", True)):
        done = typed("git", "push", "-q", "origin", f"main:{remote_branch}", at=repo)
        assert (done.returncode != 0) is refused, done.stderr
    (said,) = ours(done.stderr)
    for word in (tip[:12], f"fence {lost}", f"current is {current}", root.session):
        assert word in said
    assert git("rev-parse", "main", at=origin) == before
    git("commit", "-q", "--amend", "--allow-empty", "-m", f"now\n\nFence: merge/main:{current}", at=repo)
    assert typed("git", "push", "-q", "origin", "main", at=repo).returncode == 0


def test_a_landing_that_the_queue_records_is_pushed_though_the_lock_was_given_on(
    root: Actor, other: Actor, run: Run, origin: Path, program: Program
) -> None:
    result(run("init", "--json"))
    approved(root)
    landed = root("merge.main.land")["merge_commit"]
    root("merge.main.acquire_lock", target_branch="main")
    root("merge.main.release_lock", target_branch="main")
    done = typed("git", "push", "-q", "origin", "main", at=Path(root.world.repo))
    assert (done.returncode, done.stderr) == (0, "")
    assert git("rev-parse", "main", at=origin) == landed


def test_a_push_to_a_branch_on_which_another_session_lands_is_warned_of(
    root: Actor, other: Actor, run: Run, origin: Path, program: Program
) -> None:
    repo = Path(root.world.repo)
    result(run("init", "--json"))
    root("merge.main.acquire_lock", target_branch="main")
    tip = commit(repo, "a.txt")
    done = typed("git", "push", "-q", "origin", "main", at=other.path)
    assert done.returncode == 0 and git("rev-parse", "main", at=origin) == tip
    assert len(ours(done.stderr)) == 1 and root.session in done.stderr
    commit(repo, "b.txt")
    assert typed("git", "push", "-q", "origin", "main", at=root.path).stderr == ""
    commit(repo, "c.txt")
    assert root.session in typed("git", "push", "-q", "origin", "main", at=repo).stderr
    root("merge.main.release_lock", target_branch="main")
    commit(repo, "d.txt")
    assert typed("git", "push", "-q", "origin", "main", at=repo).stderr == ""


def test_a_push_to_the_remote_takes_the_state_along_and_one_to_another_does_not(
    shared: Path, origin: Path, program: Program, tmp_path: Path
) -> None:
    git("init", "-q", "--bare", str(tmp_path / "backup.git"), at=tmp_path)
    git("remote", "add", "backup", str(tmp_path / "backup.git"), at=shared)
    assert typed("git", "push", "-q", "backup", "main", at=shared).stderr == ""
    assert "codestrator" not in refs(tmp_path / "backup.git") + refs(origin)
    commit(shared, "a.txt")
    done = typed("git", "push", "-q", "origin", "main", at=shared)
    assert (done.returncode, done.stderr) == (0, "")
    state = git("rev-parse", "refs/codestrator/state", at=shared)
    assert git("rev-parse", "refs/codestrator/state", at=origin) == state
    assert program.hooks() == ["pre-push", "pre-push"]  # its own push runs none


def test_a_child_shares_nothing_and_pushes_without_a_word(shared: Path, origin: Path) -> None:
    tip = commit(shared, "a.txt")
    done = typed("git", "push", "-q", "origin", "main", at=shared, CODESTRATOR_RUNNER_MODE="child")
    assert (done.returncode, done.stderr) == (0, "") and git("rev-parse", "main", at=origin) == tip
    assert "codestrator" not in refs(origin)


def test_a_remote_that_refuses_the_state_takes_the_push_and_is_told_of_in_one_line(shared: Path, origin: Path) -> None:
    script(origin / "hooks/update", 'case $1 in refs/heads/*) ;; *) echo "no such refs here"; exit 1 ;; esac')
    tip = commit(shared, "a.txt")
    done = typed("git", "push", "-q", "origin", "main", at=shared)
    assert done.returncode == 0 and git("rev-parse", "main", at=origin) == tip
    assert len(ours(done.stderr)) == 1 and "not shared" in done.stderr


def test_deleting_a_branch_there_is_no_landing(root: Actor, run: Run, origin: Path, program: Program) -> None:
    repo = Path(root.world.repo)
    result(run("init", "--json"))
    git("branch", "gone", at=repo)
    git("push", "-q", "origin", "gone", at=repo)
    root("merge.main.acquire_lock", target_branch="gone")
    root("merge.main.release_lock", target_branch="gone")
    done = typed("git", "push", "-q", "origin", ":gone", at=repo)
    assert (done.returncode, done.stderr) == (0, "")


# post-merge and post-rewrite


@pytest.fixture
def elsewhere(shared: Path, origin: Path, tmp_path: Path) -> Callable[[str], str]:
    """Another machine, whose work arrives at the remote: a commit on main and a task; the task's id."""
    git("push", "-q", "origin", "main", at=shared)
    clone = tmp_path / "elsewhere"
    git("clone", "-q", str(origin), str(clone), at=tmp_path)
    git("fetch", "-q", "origin", "refs/codestrator/*:refs/codestrator/*", at=clone)
    git("config", "codestrator.remote", "origin", at=clone)

    def works(name: str) -> str:
        actor = Actor(clone)
        actor("workspace.init")
        actor.open()
        epic = actor("task.create", level="epic", title=name)["task"]["id"]
        actor("sync.run")
        actor.close()
        git("pull", "-q", "--rebase", "origin", "main", at=clone)
        commit(clone, f"{name}.txt")
        git("push", "-q", "origin", "main", at=clone)
        return str(epic)

    return works


def epics(run: Run) -> list[str]:
    return [one["id"] for one in result(run("task", "list", "--level", "epic", "--json"))["items"]]


def test_a_pull_brings_the_state_whether_it_merges_or_rebases(
    run: Run, shared: Path, program: Program, elsewhere: Callable[[str], str]
) -> None:
    known = [elsewhere("one")]
    git("pull", "-q", "--no-rebase", "origin", "main", at=shared)
    assert epics(run) == known and program.hooks()[-1] == "post-merge"
    known.append(elsewhere("two"))
    commit(shared, "mine.txt")
    git("pull", "-q", "--rebase", "origin", "main", at=shared)
    assert sorted(epics(run)) == sorted(known) and program.hooks()[-1] == "post-rewrite"


def test_a_hook_that_runs_twice_has_the_effect_of_once(run: Run, shared: Path, elsewhere: Callable[[str], str]) -> None:
    elsewhere("one")
    git("pull", "-q", "--no-rebase", "origin", "main", at=shared)
    before = refs(shared)
    for _ in range(2):
        assert typed(".git/hooks/post-merge", "0", at=shared).stderr == ""
    assert refs(shared) == before


def noted(folder: Path, commit_id: str) -> list[str]:
    done = typed("git", "notes", "--ref=codestrator", "show", commit_id, at=folder)
    return sorted(done.stdout.splitlines())


def test_notes_and_checkpoints_follow_an_amend_and_a_second_one(root: Actor, run: Run, program: Program) -> None:
    result(run("init", "--json"))
    first = commit(root.path, "a.txt")
    made = root("work.checkpoint", summary="half way: ä")["checkpoint"]["id"]
    root.world.notes.flush()
    lines = noted(root.path, first)
    assert [json.loads(line)["cp"] for line in lines] == [made]
    chain = [first]
    for day in (1, 2):
        amend = ("git", "commit", "-q", "--amend", "--no-edit", "--date", f"2001-01-0{day}T00:00:00Z")
        done = typed(*amend, at=root.path)
        assert (done.returncode, done.stderr) == (0, "")
        chain.append(git("rev-parse", "HEAD", at=root.path))
        assert noted(root.path, chain[-1]) == lines
    assert root("session.context")["session"]["id"] == root.session
    assert rewritten(root, made) == dict(pairwise(chain))
    before = refs(root.path)
    pairs = f"{chain[1]} {chain[2]}\n"
    for _ in range(2):
        hook = git("rev-parse", "--git-path", "hooks/post-rewrite", at=root.path)
        done = typed("sh", "-c", f"printf %s {shlex.quote(pairs)} | {shlex.quote(hook)} amend", at=root.path)
        assert (done.returncode, done.stderr) == (0, "")
    assert refs(root.path) == before


def rewritten(root: Actor, checkpoint_id: str) -> dict[str, str]:
    """What a checkpoint's document says of its commit."""
    from codestrator.records import Checkpoint

    found = root.world.store.read().get(Checkpoint, checkpoint_id)
    assert found is not None
    return dict(found.rewritten)


def test_each_commit_of_a_rebase_keeps_its_own_notes(root: Actor, run: Run, program: Program) -> None:
    result(run("init", "--json"))
    commits = {}
    for name in ("a.txt", "b.txt"):
        commit_id = commit(root.path, name)
        commits[commit_id] = root("work.checkpoint", summary=f"{name} is in")["checkpoint"]["id"]
    root.world.notes.flush()
    base = commit(Path(root.world.repo), "base.txt")
    git("rebase", "-q", "main", at=root.path)
    new = git("rev-list", "--reverse", f"{base}..HEAD", at=root.path).split()
    assert set(new).isdisjoint(commits)
    for old, now in zip(commits, new, strict=True):
        assert [json.loads(line)["cp"] for line in noted(root.path, now)] == [commits[old]]
        assert rewritten(root, commits[old]) == {old: now}


def test_a_line_that_was_never_written_is_written_at_the_new_commit(root: Actor, run: Run, program: Program) -> None:
    result(run("init", "--json"))
    commit(root.path, "a.txt")
    waiting = root("work.checkpoint", summary="no note yet")["checkpoint"]
    root.world.notes.flush()
    git("update-ref", "-d", "refs/notes/codestrator", at=root.path)  # as if killed before it was written
    assert typed(*AMEND, at=root.path).returncode == 0
    new = git("rev-parse", "HEAD", at=root.path)
    assert [json.loads(line)["cp"] for line in noted(root.path, new)] == [waiting["id"]]


def test_a_note_in_the_users_own_words_stays_where_it_is(root: Actor, run: Run, program: Program) -> None:
    result(run("init", "--json"))
    first = commit(root.path, "a.txt")
    root("work.checkpoint", summary="half way")
    root.world.notes.flush()
    lines = noted(root.path, first)
    git("notes", "--ref=codestrator", "append", "-m", 'look here\n\n[1]\n{"cp": 1}', first, at=root.path)
    assert typed(*AMEND, at=root.path).returncode == 0
    assert set(lines) < set(noted(root.path, git("rev-parse", "HEAD", at=root.path))) <= {*lines, '{"cp":1}'}
    assert "look here" in noted(root.path, first)


# Places


def test_hooks_work_in_a_folder_of_any_name_and_in_its_linked_worktrees(
    run: Run, program: Program, tmp_path: Path
) -> None:
    repo = tmp_path / 'läden & co\'s "shop"'
    repo.mkdir()
    git("init", "-q", at=repo)
    git("commit", "-q", "--allow-empty", "-m", "first", at=repo)
    git("init", "-q", "--bare", str(tmp_path / "ü r.git"), at=tmp_path)
    git("remote", "add", "origin", str(tmp_path / "ü r.git"), at=repo)
    seen = tmp_path / "seen"
    script(repo / ".git/hooks/pre-push", f"cat >'{seen}'")
    assert result(run("init", "--remote", "origin", "--json", at=repo))["hooks"] == "installed"
    tree = tmp_path / "bäum 1"
    git("worktree", "add", "-q", "-b", "ast/ä", str(tree), at=repo)
    tip = commit(tree, "a.txt")
    done = typed("git", "push", "-q", "origin", "ast/ä", at=tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert seen.read_text(encoding="utf-8").split()[1] == tip
    assert "refs/codestrator/state" in refs(tmp_path / "ü r.git")
    assert typed(*AMEND, at=tree).stderr == ""
    assert program.hooks() == ["pre-push", "post-rewrite"]


def test_a_hook_acts_on_the_repository_that_git_was_pointed_at(
    run: Run, shared: Path, origin: Path, tmp_path: Path, program: Program
) -> None:
    work = tmp_path / "work"
    git("init", "-q", str(work), at=tmp_path)  # a repository of its own, which must not be meant
    result(run("init", "--json", at=work))
    before = refs(work)
    done = typed("git", f"--git-dir={shared}/.git", f"--work-tree={work}", "push", "-q", "origin", "main:two", at=work)
    assert (done.returncode, done.stderr) == (0, "")
    assert "refs/codestrator/state" in refs(origin)
    assert refs(work) == before
