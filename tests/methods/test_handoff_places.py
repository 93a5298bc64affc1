"""Where a worktree that comes from another machine lies here, and what is told of one that cannot come."""

from pathlib import Path
from typing import Any

import pytest

from codestrator.errors import Conflict, WrongState
from codestrator.records import Lease, Rescue, Worktree
from tests.conftest import git
from tests.machines import Joins, in_step
from tests.methods.offers import begun, commit, half_done, offered, seen, take
from tests.methods.test_worktrees import spawned
from tests.remotes import Serve


def by_id(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["worktree_id"]: item for item in found["worktrees"]}


def test_a_place_that_is_occupied_here_is_left_to_whom_it_is(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    child, folder = spawned(one, "errand")
    half_done(folder)
    there = two.folder / ".codestrator" / "worktrees"
    (there / "errand").mkdir()
    (there / "errand" / "mine.txt").write_text("mine\n")
    (there / "errand-2").symlink_to("nowhere")
    first, own = two.path, seen(two.path)
    offered(one)
    here = by_id(take(two, one))
    assert seen(first) == own and two.path == first.with_name(f"{first.name}-2")
    assert here[child]["path"] == str(there / "errand-3") and seen(there / "errand-3") == seen(folder)
    assert [one.name for one in (there / "errand").iterdir()] == ["mine.txt"]


def test_what_cannot_come_is_named_and_the_rest_is_done(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    moved, gone = spawned(one, "moved")[0], spawned(one, "gone")[0]
    offered(one)
    two.sync(refs=["state"])
    tx = two.world.store.read()
    branch = tx.require(Worktree, moved).branch
    first, elsewhere = two.path, commit(two.path, other="x\n")
    two.git("branch", str(branch), elsewhere)
    snapshot = tx.require(Rescue, str(tx.require(Worktree, gone).latest_snapshot_id))
    host("update-ref", "-d", f"refs/codestrator/rescue/{gone}/{snapshot.id}")  # before it came here
    here = by_id(take(two, one))
    assert here[one.worktree]["restored"] and seen(two.path) == seen(one.path)
    assert str(branch) in here[moved]["missing"] and not here[moved]["restored"]
    assert snapshot.id in here[gone]["missing"] and not here[gone]["restored"]
    assert two.git("rev-parse", str(branch)) == elsewhere
    assert {one.name for one in two.path.parent.iterdir()} == {".gitignore", first.name, two.path.name}
    again = by_id(take(two, one))
    assert again[moved] == here[moved] and again[gone] == here[gone] and not again[one.worktree]["restored"]


def test_the_brief_of_one_whose_worktree_could_not_come_begins_with_bringing_it_back(
    serve: Serve, machine: Joins
) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    begun(one)
    half_done(one.path)
    offered(one)
    two.sync(refs=["state"])
    branch = two.world.store.read().require(Worktree, one.worktree).branch
    two.git("branch", str(branch), commit(two.path, other="x\n"))
    take(two, one)
    found = two("work.brief", session_id=two.session)
    assert found["thread"]["worktree"] == {"id": one.worktree, "branch": branch, "status": "missing"}
    first, second = found["next_calls"][:2]
    assert (first["method"], second["method"]) == ("rescue.restore", "step.check")
    folder = Path(two(first["method"], **first["params"])["path"])
    assert seen(folder) | {"branch": ""} == seen(one.path) | {"branch": ""}


def test_what_a_snapshot_cannot_carry_is_finished_before_it_is_offered(serve: Serve, machine: Joins) -> None:
    one = machine(serve())
    first, last = commit(one.path, a="1\n"), commit(one.path, a="2\n")
    branch = git("symbolic-ref", "--short", "HEAD", at=one.path)
    git("checkout", "-q", "--detach", first, at=one.path)
    before = one.refs()
    with pytest.raises(WrongState, match=f"lacks commits of its branch '{branch}'"):
        offered(one)
    git("checkout", "-q", branch, at=one.path)
    with pytest.raises(AssertionError, match="rebase"):
        git("rebase", "--exec", "false", first, at=one.path)
    with pytest.raises(WrongState, match="has a rebase in progress"):
        offered(one)
    git("rebase", "--abort", at=one.path)
    assert one.refs() == before
    git("checkout", "-q", "--detach", last, at=one.path)
    on_top = commit(one.path, a="3\n")
    (snapshot,) = offered(one)["snapshots"]
    assert one.world.store.read().require(Rescue, snapshot["snapshot_id"]).head == on_top


def test_one_without_a_snapshot_comes_back_at_its_branch(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    head = commit(one.path, a="a\n")
    branch = git("symbolic-ref", "--short", "HEAD", at=one.path)
    git("push", "-q", "origin", branch, at=one.path)
    two.git("fetch", "-q", "origin", f"{branch}:{branch}")
    in_step(one, two)
    take(two, one, force=True, reason="it is away")
    assert git("rev-parse", "HEAD", at=two.path) == head and seen(two.path) == seen(one.path)


def test_there_and_back_again_the_first_machine_has_what_was_done_meanwhile(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    (one.path / "cache.secret").write_text("of this machine\n")
    first = one.path
    offered(one)
    take(two, one)
    git("add", "-A", at=two.path)
    git("commit", "-qm", "went on", at=two.path)
    (two.path / "both.txt").write_text("changed there\n")
    (two.path / "new.txt").unlink()
    (two.path / "later.txt").write_text("new there\n")
    git("add", "later.txt", at=two.path)
    before = seen(two.path)
    offered(two)
    found = take(one, two)
    assert one.path == first and found["worktrees"][0]["restored"]
    assert seen(one.path) == before
    assert (one.path / "cache.secret").read_text() == "of this machine\n"


def test_what_somebody_did_in_the_old_folder_meanwhile_is_not_overwritten(serve: Serve, machine: Joins) -> None:
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    offered(one)
    (one.path / "staged.txt").write_text("and by hand\n")
    mine = seen(one.path)
    take(two, one)
    commit(two.path, more="x\n")
    offered(two)
    found = take(one, two)
    (item,) = found["worktrees"]
    assert seen(one.path) == mine and not item["restored"]
    newest = found["session_root_worktree"]["latest_snapshot_id"]
    assert newest in item["missing"]
    fresh = Path(one("rescue.restore", snapshot_id=newest)["path"])
    assert (fresh / "more").read_text() == "x\n"


@pytest.mark.parametrize("how", ["branches only", "no atomic pushes", "daemon"])
def test_a_plain_server_is_good_enough(serve: Serve, machine: Joins, how: str) -> None:
    settings = {"receive_advertiseAtomic": "false"} if how == "no atomic pushes" else {}
    host = serve("daemon" if how == "daemon" else "file", **settings)
    prefix: tuple[str, ...] = ()
    if how == "branches only":
        host.takes_only_branches()
        prefix = ("-c", "codestrator.refPrefix=refs/heads/codestrator/")
    one, two, three = (machine(host, *prefix) for _ in range(3))
    half_done(one.path)
    one("lock.acquire", scope_type="file", scope_path="a")
    offered(one)
    take(two, one)
    assert seen(two.path) == seen(one.path)
    with pytest.raises(Conflict):
        take(three, one)
    assert {row.session_id for row in two.world.store.read().all(Lease)} == {two.session}


def test_an_index_that_is_locked_is_told_of_and_the_work_here_kept(serve: Serve, machine: Joins) -> None:
    """As git leaves it when it is killed while it writes; whose lock it is nobody can know."""
    host = serve()
    one, two = machine(host), machine(host)
    half_done(one.path)
    offered(one)
    take(two, one)
    commit(two.path, more="x\n")
    offered(two)
    mine = seen(one.path)
    lock = Path(git("rev-parse", "--absolute-git-dir", at=one.path)) / "index.lock"
    lock.touch()
    (item,) = take(one, two)["worktrees"]
    assert "index.lock" in item["missing"] and not item["restored"]
    lock.unlink()
    assert seen(one.path) == mine
    (item,) = take(one, two)["worktrees"]
    assert item["restored"] and seen(one.path) == seen(two.path)
