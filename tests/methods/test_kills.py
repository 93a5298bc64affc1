"""Processes killed at every step of an act: the next call of its kind finishes it or takes it back, whole."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from codestrator import ids as ids_of
from codestrator import seats
from codestrator.calls import Flow, Tx
from codestrator.methods import intents
from codestrator.records import Intent, Worktree
from tests.actors import Actor
from tests.conftest import git

HERE = Path(__file__).parent.parent.parent


def killed_at_each_step(
    actor: Actor, method: str, seat: dict[str, Any], params: Callable[[], dict[str, Any]], deep: tuple[str, ...] = ()
) -> Iterator[int]:
    """Run the call in processes of their own, each killed one step later than the one before, until one ends."""
    for step in range(1, 60):
        call = json.dumps({"method": method, "seat": seat, "params": params(), "deep": deep})
        done = subprocess.run(
            [sys.executable, "-m", "tests.methods.dying", str(actor.world.repo), str(step), call],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode == 0:
            return
        assert done.returncode == -signal.SIGKILL, done.stderr
        yield step
    raise AssertionError("the call never ended")


def whole(actor: Actor) -> None:
    """Worktrees and branches are exactly those that documents speak of, and no act is left begun."""
    tx = actor.world.store.read()
    assert [row.id for row in tx.where(Intent, state="planned")] == []
    repo = Path(actor.world.repo)
    machine = actor.world.settings.machine
    said = {
        str(repo / one.places[machine].path)
        for one in tx.all(Worktree)
        if one.places[machine].status == "active" and one.kind != "main"
    }
    listed = [line.split(" ", 1)[1] for line in git("worktree", "list", "--porcelain", at=repo).splitlines()
              if line.startswith("worktree ")]  # fmt: skip
    assert set(listed) - {str(repo)} == said
    assert {str(one) for one in (repo / ".codestrator" / "worktrees").iterdir() if one.name != ".gitignore"} == said
    branches = set(git("for-each-ref", "--format=%(refname:short)", "refs/heads/task", at=repo).split())
    assert branches == {one.branch for one in tx.all(Worktree) if one.kind != "main" and one.status != "removed"}
    assert git("fsck", "--connectivity-only", "--no-dangling", at=repo) == ""


def test_session_open_leaves_a_whole_session_or_nothing(root: Actor) -> None:
    killed = 0
    for step in killed_at_each_step(root, "session.open", {"kind": "root"}, lambda: {"user_request": "Add invoices"}):
        root("workspace.init")
        whole(root)
        killed = step
    assert killed >= 8
    whole(root)


def test_worktree_spawn_leaves_a_whole_worktree_or_nothing(root: Actor) -> None:
    seat = {"kind": "operator", "session_id": root.session}
    for _ in killed_at_each_step(root, "worktree.spawn", seat, lambda: {"slug": "child"}):
        root("workspace.init")
        whole(root)
    whole(root)


def test_worktree_remove_is_finished_or_not_begun(root: Actor) -> None:
    seat = {"kind": "operator", "session_id": root.session}
    ids: list[str] = []

    def next_one() -> dict[str, Any]:
        ids.append(root("worktree.spawn", slug="child")["worktree"]["id"])
        return {"worktree_id": ids[-1]}

    states = []
    for _ in killed_at_each_step(root, "worktree.remove", seat, next_one):
        root("workspace.init")
        states.append(root.world.store.read().require(Worktree, ids[-1]).status)
        assert (folder_of(root, ids[-1])).exists() is (states[-1] == "active")
    assert states == sorted(states) and set(states) == {"active", "removed"}


def folder_of(root: Actor, worktree_id: str) -> Path:
    worktree = root.world.store.read().require(Worktree, worktree_id)
    return Path(root.world.repo) / worktree.places[root.world.settings.machine].path


def test_merge_to_parent_is_finished_or_taken_back(root: Actor) -> None:
    seat = {"kind": "operator", "session_id": root.session}
    child = root("worktree.spawn", slug="child")["worktree"]
    folder = Path(root.world.repo) / child["path"]
    (folder / "new.txt").write_text("new\n", encoding="utf-8")
    git("add", ".", at=folder)
    git("commit", "-qm", "new", at=folder)
    for _ in killed_at_each_step(root, "worktree.merge_to_parent", seat, lambda: {"worktree_id": child["id"]}):
        root("workspace.init")
        whole(root)
        merged = root.world.store.read().require(Worktree, child["id"]).merge_state == "merged_to_parent"
        assert (root.path / "new.txt").exists() is merged
        assert git("status", "--porcelain", at=root.path) == ""
    assert git("status", "--porcelain", at=root.path) == ""
    assert (root.path / "new.txt").read_text(encoding="utf-8") == "new\n"


def test_a_live_process_keeps_what_it_has_begun(root: Actor, actor: Callable[..., Actor]) -> None:
    flow = flow_of(root)

    def plan(tx: Tx) -> str:
        args = {"path": ".codestrator/worktrees/x", "branch": "task/x", "base": git("rev-parse", "HEAD", at=root.path)}
        return intents.plan(flow, tx, "make_worktree", **args).id

    intent_id = flow.transact(plan)
    actor()("workspace.init")
    assert root.world.store.read().require(Intent, intent_id).state == "planned"


def flow_of(one: Actor) -> Any:
    caller = seats.describe(one.world, one.seat, one.session)
    op = ids_of.mint("op")
    return Flow(one.world, one.world.store, caller, one.seat, "worktree.spawn", op, op, str)
