"""Acts written down before they begin, and what becomes of those that nobody ended."""

from pathlib import Path
from typing import Any

from codestrator.calls import Tx
from codestrator.methods import intents
from codestrator.records import Intent
from tests.actors import Actor, SteeredClock
from tests.conftest import git
from tests.methods.test_kills import flow_of

GONE = {"pid": 2**22 + 1, "process_started_at": "never"}  # above the greatest number that Linux gives


def planned(root: Actor, name: str, **fields: Any) -> str:
    """An intent to make a worktree, as a process would have left it."""
    flow = flow_of(root)

    def plan(tx: Tx) -> str:
        head = git("rev-parse", "HEAD", at=root.path)
        args = {"path": f".codestrator/worktrees/{name}", "branch": f"task/{name}", "base": head}
        made = intents.plan(flow, tx, "make_worktree", session_id=root.session, **args)
        tx.put(made.but(**fields))
        return made.id

    return str(flow.transact(plan))


def state(root: Actor, intent_id: str) -> str:
    return root.world.store.read().require(Intent, intent_id).state


def make(root: Actor, name: str) -> Path:
    """The branch and folder that the intent speaks of."""
    repo = Path(root.world.repo)
    git("branch", f"task/{name}", at=repo)
    git("worktree", "add", "-q", "--lock", f".codestrator/worktrees/{name}", f"task/{name}", at=repo)
    return repo / ".codestrator" / "worktrees" / name


def test_an_intent_is_published_before_the_act_and_ended_with_its_record(root: Actor) -> None:
    root("worktree.spawn", slug="child")
    log = git("log", "--format=%s", "--name-only", "-2", "refs/codestrator/state", at=root.path).split("\n\n")
    assert "/op-" in log[1] or "/op-" in log[0]
    assert "/wt-" in log[1] or "/wt-" in log[0]
    (before, after) = git("rev-parse", "refs/codestrator/state~1", "refs/codestrator/state", at=root.path).split()
    names = git("ls-tree", "-r", "--name-only", before, at=root.path)
    assert names.count("/wt-") + 1 == git("ls-tree", "-r", "--name-only", after, at=root.path).count("/wt-")


def test_what_a_dead_process_made_is_unmade(root: Actor) -> None:
    intent = planned(root, "dead", **GONE)
    folder = make(root, "dead")
    assert [one["id"] for one in root("session.list")["intents"]] == [intent]
    root("worktree.spawn", slug="child")
    assert state(root, intent) == "reversed"
    assert not folder.exists() and git("branch", "--list", "task/dead", at=root.path) == ""
    assert "intents" not in root("session.list")


def test_its_name_is_taken_only_until_then(root: Actor) -> None:
    planned(root, "child", **GONE)
    assert root("worktree.spawn", slug="child")["worktree_slug"] == "child"


def test_the_name_of_a_live_process_is_taken(root: Actor) -> None:
    planned(root, "child")
    assert root("worktree.spawn", slug="child")["worktree_slug"] == "child-2"


def test_work_done_there_since_is_kept(root: Actor, clock: SteeredClock) -> None:
    intent = planned(root, "dead", **GONE)
    folder = make(root, "dead")
    (folder / "mine.txt").write_text("mine\n", encoding="utf-8")
    root("workspace.init")
    assert state(root, intent) == "planned"
    clock.advance(121)
    root("workspace.init")
    assert state(root, intent) == "reversed"
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine\n"


def test_another_worktree_at_that_place_is_not_touched(root: Actor) -> None:
    intent = planned(root, "dead", **GONE)
    folder = Path(root.world.repo) / ".codestrator" / "worktrees" / "dead"
    git("worktree", "add", "-q", "-b", "mine", str(folder), at=root.path)
    root("workspace.init")
    assert state(root, intent) == "reversed" and (folder / "README.md").exists()


def test_without_process_an_act_is_left_over_after_two_minutes(root: Actor, clock: SteeredClock) -> None:
    intent = planned(root, "dead", pid=0)
    root("workspace.init")
    assert state(root, intent) == "planned"
    clock.advance(121)
    root("workspace.init")
    assert state(root, intent) == "reversed"


def test_another_machines_acts_are_left_to_it(root: Actor, clock: SteeredClock) -> None:
    intent = planned(root, "dead", machine="0123456789", **GONE)
    clock.advance(121)
    root("workspace.init")
    assert state(root, intent) == "planned"


def test_ended_acts_are_forgotten_after_a_day(root: Actor, clock: SteeredClock) -> None:
    root("worktree.spawn", slug="child")
    clock.advance(86401)
    root("task.create", level="epic", title="x", idempotency_key="k")
    kept = {row.id for row in root.world.store.read().rows(Intent)}
    assert len(kept) == 1 and next(iter(kept)).startswith("key-")
