"""The demo goes on elsewhere: a session is offered with what is not committed, and taken in another clone."""

from pathlib import Path
from typing import TYPE_CHECKING

from codestrator.errors import External

if TYPE_CHECKING:
    from codestrator.edges.demo import Agent, Stage

HUB = "demo-hub"


async def play(stage: "Stage", bob: "Agent") -> None:
    """Bob stops in the middle of a case; Carol, on another machine, goes on with his next step and his files."""
    from codestrator.edges.demo import Agent

    stage.title("The same work on another machine")
    hub, clone = stage.folder / "hub.git", stage.folder / "another machine"
    _share(stage, hub)
    case = await _begin(bob)
    bob.write("demo/totals.py", "TAX = 0.2  # not committed\n")
    offered = await bob.call("handoff.offer", remote=HUB, note="totals are half done")
    files = sum(one["files"] for one in offered["snapshots"])
    bob.say(f"handoff.offer → {offered['handoff']['id']}, {files} uncommitted file in a snapshot, pushed to {HUB}")
    refused = await bob.ask("step.check", case_id=case, step_title="add tax", result="pass")
    bob.say(f"step.check → {refused.get('code')}: {refused.get('message')}")
    carol = Agent("carol", stage)
    carol.path = _clone(stage, hub, clone)
    try:
        await carol.start(clone)
        await _take(carol, bob, clone)
    finally:
        await carol.stop()


def _share(stage: "Stage", hub: Path) -> None:
    from codestrator.edges.demo import git

    git(stage.folder, "init", "-q", "--bare", str(hub))
    git(stage.repo, "remote", "add", HUB, str(hub))
    branch = git(stage.repo, "rev-parse", "--abbrev-ref", "HEAD")
    git(stage.repo, "push", "-q", HUB, branch)
    git(hub, "symbolic-ref", "HEAD", f"refs/heads/{branch}")


def _clone(stage: "Stage", hub: Path, clone: Path) -> Path:
    from codestrator.edges.demo import git

    git(stage.folder, "clone", "-q", str(hub), str(clone))
    for key, value in (("user.name", "Carol"), ("user.email", "carol@example.org")):
        git(clone, "config", key, value)
    stage.line("git", f"clone {hub.name} '{clone.name}'")
    return clone


async def _begin(bob: "Agent") -> str:
    epic = await bob.call("task.create", level="epic", title="Shop 2.1")
    feature = await bob.call("task.create", level="feature", title="Totals", parent_id=epic["task"]["id"])
    group = await bob.call("task.create", level="test_group", title="Sums", parent_id=feature["task"]["id"])
    made = await bob.call(
        "task.create",
        level="case",
        title="Invoices have totals",
        parent_id=group["task"]["id"],
        steps=["sum up", "add tax"],
        assignee_session=bob.session,
    )
    case: str = made["task"]["id"]
    await bob.call("case.begin", case_id=case)
    await bob.check(case, "sum up", "git", "diff", "--check")
    return case


async def _take(carol: "Agent", bob: "Agent", clone: Path) -> None:
    taken = await carol.call("handoff.take", target_session_id=bob.session, remote="origin")
    place = next((Path(one["path"]) for one in taken["worktrees"] if one["restored"]), None)
    if place is None or (place / "demo/totals.py").read_text(encoding="utf-8") != "TAX = 0.2  # not committed\n":
        raise External(f"the worktree did not come back as it was: {taken['worktrees']}", program="demo")
    step, session = taken["brief"]["next_step"]["title"], taken["session"]["id"]
    carol.say(f"handoff.take → {session}, {place.relative_to(clone)} with demo/totals.py, next step '{step}'")
    await bob.call("sync.run", remote=HUB)
    told = await bob.ask("task.create", level="epic", title="too late")
    bob.say(f"after sync.run, task.create → {told.get('code')}: {told.get('message')}")
