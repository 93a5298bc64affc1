"""Landing under faults: killed at every step, two at once, a holder that slept; never half of it."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import CodestratorError, External, StaleFence
from codestrator.records import Intent, Land, Lease, MergeRequest, Task, Worktree
from tests.actors import Actor, SteeredClock, everything
from tests.conftest import git
from tests.methods.test_kills import killed_at_each_step
from tests.methods.test_landing import approved, head, main, work
from tests.methods.test_worktrees import commit

HERE = Path(__file__).parent.parent.parent


def consistent(actor: Actor, item_id: str) -> bool:
    """Whether it has landed; and that everything says the same of it, the user's checkout too."""
    tx = actor.world.store.read()
    repo = Path(actor.world.repo)
    item = tx.require(Land, item_id)
    merged = item.state == "merged"
    request = tx.require(MergeRequest, item.merge_request_id)
    worktree = tx.require(Worktree, item.from_worktree_id)
    assert (request.status == "merged") == (worktree.merge_state == "landed") == merged
    holds = subprocess.run(["git", "merge-base", "--is-ancestor", str(worktree.branch), "main"], cwd=repo, check=False)
    assert (holds.returncode == 0) == merged
    feature = [row.id for row in tx.rows(Task) if row.level == "case" and row.owner_session_id == item.session_id]
    states = {tx.require(Task, one).status for one in feature if tx.require(Task, one).status != "landed" or merged}
    assert states <= ({"landed"} if merged else {"done"})
    assert tx.where(Intent, state="planned") == []
    lock = tx.get(Lease, f"merge/{item.target_branch}")
    for done in tx.found(Intent, state="done"):
        if done.args.get("land_id") == item_id:
            assert lock is None or lock.state != "held" or lock.fence > done.args["fence"]
    assert git("status", "--porcelain", at=repo) == ""
    return merged


@pytest.mark.parametrize("method", ["merge.main.acquire_lock", "merge.main.land"])
@pytest.mark.parametrize("settler", ["the same session", "another session"])
def test_a_kill_at_any_step_leaves_nothing_or_a_landing_that_is_completed(
    actor: Callable[..., Actor], repo: Path, settler: str, method: str
) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    work(two, "unlanded.txt")
    item = approved(one, "f0.txt")
    seat = {"kind": "operator", "session_id": one.session}
    landed, number = [], 0
    for _ in killed_at_each_step(one, "merge.main.land", seat, dict):
        before = git("rev-parse", "main", at=repo)
        asker = one if settler == "the same session" else two
        try:
            asker(method)
        except CodestratorError as held:
            assert held.code in ("lock_held", "wrong_state")
        landed.append(consistent(one, item["id"]))
        if settler == "another session" and not landed[-1]:
            assert git("rev-parse", "main", at=repo) == before
        if landed[-1]:
            if settler == "another session" and method == "merge.main.acquire_lock":
                two("merge.main.release_lock")
            number += 1
            item = approved(one, f"f{number}.txt")
    assert consistent(one, item["id"])
    if (settler, method) != ("the same session", "merge.main.land"):
        assert True in landed and False in landed
    everything(repo)  # notes that wait are written: git fsck takes what moves under it for damage
    git("fsck", "--strict", at=repo)


STOPPED = """
import os, signal, sys
from pathlib import Path
from codestrator import registry
from codestrator.calls import Seat
from codestrator.world import open_world
world = open_world(Path(sys.argv[1]))
inner = world.branches.bring_up
def bring_up(*given):
    inner(*given)
    if not stopped:
        stopped.append(1)
        print("stopping", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
stopped = []
world.branches.bring_up = bring_up
try:
    registry.call(world, Seat("operator", session_id=sys.argv[2]), "merge.main.land", {})
except Exception as error:
    print(error.code, flush=True)
"""


def test_a_target_that_the_user_moved_meanwhile_is_a_conflict_and_then_lands(
    root: Actor, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(root)
    inner = root.world.branches.bring_up

    def moved(path: Path, old: str, new: str) -> None:
        inner(path, old, new)
        if not git("log", "-1", "--format=%s", "main", at=repo).startswith("by hand"):
            tree = git("rev-parse", "main^{tree}", at=repo)
            made = git("commit-tree", tree, "-p", "main", "-m", "by hand", at=repo)
            git("update-ref", "refs/heads/main", made, at=repo)

    monkeypatch.setattr(root.world.branches, "bring_up", moved)
    with pytest.raises(CodestratorError) as refused:
        root("merge.main.land")
    assert refused.value.code == "conflict"
    assert git("status", "--porcelain", at=repo) == ""
    assert root("merge.main.land")["landed"]


def test_every_checkout_of_the_target_is_brought_up(root: Actor, repo: Path, tmp_path: Path) -> None:
    git("switch", "-q", "--detach", at=repo)
    git("worktree", "add", "-q", str(tmp_path / "second checkout ü"), "main", at=repo)
    approved(root)
    found = root("merge.main.land", session_id=root.session)
    assert found["updated_worktrees"] == [str(tmp_path / "second checkout ü")]
    assert (tmp_path / "second checkout ü" / "a.txt").exists() and not (repo / "a.txt").exists()


def test_a_target_that_is_checked_out_nowhere_lands_too(root: Actor, repo: Path) -> None:
    git("switch", "-q", "-c", "other", at=repo)
    approved(root)
    assert root("merge.main.land")["updated_worktrees"] == []
    assert main(root) == git("rev-parse", "main", at=repo) and not (repo / "a.txt").exists()


@pytest.mark.parametrize("works", [True, False])
def test_the_users_signing_applies(root: Actor, repo: Path, tmp_path: Path, works: bool) -> None:
    program = tmp_path / "sign"
    armour = 'echo "-----BEGIN PGP SIGNATURE-----"; echo; echo "-----END PGP SIGNATURE-----"'
    words = f'echo "[GNUPG:] SIG_CREATED " >&2; {armour}'
    program.write_text(f"#!/bin/sh\ncat >/dev/null\n{words if works else 'echo no key >&2; exit 2'}\n")
    program.chmod(0o755)
    approved(root)
    git("remote", "add", "work", "https://example.org/work", at=repo)
    included = tmp_path / "work.config"
    included.write_text(f"[commit]\n\tgpgsign\n[gpg]\n\tprogram = {program}\n", encoding="utf-8")
    git("config", "includeIf.hasconfig:remote.*.url:https://example.org/**.path", str(included), at=repo)
    before = main(root)
    if works:
        root("merge.main.land")
        assert "gpgsig" in git("cat-file", "-p", "main", at=repo)
    else:
        with pytest.raises(External):
            root("merge.main.land")
        assert main(root) == before and git("status", "--porcelain", at=repo) == ""


def contents(folder: Path) -> None:
    """What merges differently: a mode, a link, a rename, binary content, a submodule, a merge driver."""
    (folder / "run.sh").write_text("echo\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("run.sh")
    git("mv", "README.md", "docs.md", at=folder)
    (folder / "picture").write_bytes(bytes(range(256)))
    with (folder / "log.txt").open("a") as file:
        file.write("theirs\n")
    git("add", "-A", at=folder)
    (folder / "module").mkdir()
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module", at=folder)
    git("commit", "-qm", "all kinds", at=folder)


def test_a_landing_makes_what_git_merge_makes(root: Actor, repo: Path, tmp_path: Path) -> None:
    (repo / ".gitattributes").write_text("log.txt merge=union\n")
    (repo / "log.txt").write_text("first\n")
    git("add", "-A", at=repo)
    git("commit", "-qm", "attributes", at=repo)
    git("merge", "-q", "main", at=root.path)
    contents(root.path)
    with (repo / "log.txt").open("a") as file:
        file.write("ours\n")
    commit(repo, "README.md", "shop\n\n")
    clone = tmp_path / "clone"
    git("clone", "-q", str(repo), str(clone), at=tmp_path)
    git("fetch", "-q", "origin", git("rev-parse", "--abbrev-ref", "HEAD", at=root.path), at=clone)
    git("merge", "-q", "--no-ff", "--no-edit", "FETCH_HEAD", at=clone)
    root("merge.main.request")
    root("merge.main.acquire_lock")
    root("merge.review.verdict", verdict="approve", head=head(root), summary="x")
    root("merge.main.land")
    assert git("rev-parse", "main^{tree}", at=repo) == git("rev-parse", "HEAD^{tree}", at=clone)
    assert (repo / "link").is_symlink() and (repo / "run.sh").stat().st_mode & 0o100
    assert (repo / "log.txt").read_text().count("theirs") == 1


def test_a_slow_hook_of_the_user_keeps_nobody_waiting(root: Actor, repo: Path, tmp_path: Path) -> None:
    approved(root)
    git_dir = repo / ".git"
    begun, go = tmp_path / "begun", tmp_path / "go"
    for fifo in (begun, go):
        subprocess.run(["mkfifo", str(fifo)], check=True)
    hook = git_dir / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!/bin/sh\ncat > /dev/null\ntest \"$1\" = prepared || exit 0\necho here > '{begun}'\nread word < '{go}'\n"
    )
    hook.chmod(0o755)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(root("merge.main.land")))
    thread.start()
    with begun.open() as file:
        assert file.read() == "here\n"
    assert root.world.gate is not None
    with root.world.gate() as got:
        assert got  # nobody who writes waits for the gate while the hook runs
    go.write_text("go\n")
    thread.join(60)
    assert found and found[0]["landed"]


def test_a_lost_lock_is_told_by_its_fence(actor: Callable[..., Actor], clock: SteeredClock) -> None:
    one, two = actor(), actor()
    one("workspace.init")
    one.open()
    two.open()
    fence = one("merge.main.acquire_lock")["main_lock"]["fence"]
    clock.advance(700)
    two("merge.main.acquire_lock")
    work(one)
    one("merge.main.request")
    with pytest.raises(StaleFence) as refused:
        one("merge.main.land", fence=fence)
    assert refused.value.details["current"] > fence
