"""The part of the demo in which a root has two children at work in panes, directs one, and takes their results."""

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from codestrator.errors import External

if TYPE_CHECKING:
    from codestrator.edges.demo import Agent, Stage

DIRECTIVE = "RATE = 0.21"
SHOWN_LINES = 8


async def play(stage: "Stage", alice: "Agent") -> None:
    """Two children for two cases; one is told something while it works; both are merged back when they are done."""
    stage.title("Two children of alice, in panes that can be watched and not disturbed")
    cases = await _plan(alice)
    tax = await _spawn(stage, alice, "Tax rate", cases[0], "demo/tax.py", "RATE = 0.19")
    cart = await _spawn(stage, alice, "Cart total", cases[1], "demo/cart.py", "TOTAL = 'sum'")
    sent = await alice.call("thread.child.directive", thread_id=tax, directive=DIRECTIVE, mode="queue", wait_seconds=15)
    directive = sent["directive"]
    alice.say(f"thread.child.directive '{DIRECTIVE}' → {directive['state']} by {tax}")
    if directive["state"] != "applied":
        raise External(f"the directive was not applied but is {directive['state']}", program="demo")
    screen = (await alice.call("thread.child.status", thread_id=tax))["screen"] if stage.tmux else ""
    lines = "\n".join(f"   │ {one}" for one in screen.splitlines()[-SHOWN_LINES:])
    stage.console.print(escape(lines), style="dim", highlight=False, soft_wrap=True)
    ended = await asyncio.gather(*(_result(alice, one) for one in (tax, cart)))
    for thread_id, found in zip((tax, cart), ended, strict=True):
        alice.say(f"thread.child.wait_status {thread_id} → {found['achieved_status']}")
    stage.line("git", f"in alice's worktree now: {', '.join(sorted(one.name for one in alice.path.glob('demo/*.py')))}")
    if DIRECTIVE not in (alice.path / "demo/tax.py").read_text(encoding="utf-8"):
        raise External("the directive's words are not in the merged file", program="demo")


async def _plan(alice: "Agent") -> list[str]:
    epic = (await alice.call("task.create", level="epic", title="Prices"))["task"]["id"]
    feature = (await alice.call("task.create", level="feature", title="Totals", parent_id=epic))["task"]["id"]
    found = []
    for title in ("Tax is added", "The cart has a total"):
        steps = ["write it", "round it", "name it"]
        made = await alice.call("task.create", level="case", title=title, parent_id=feature, steps=steps)
        found.append(str(made["task"]["id"]))
    return found


async def _spawn(stage: "Stage", alice: "Agent", title: str, case: str, file: str, words: str) -> str:
    line = [sys.executable, "-P", "-m", "codestrator.edges.demo_worker", file, words]
    given: dict[str, Any] = {"title": title, "scope_case_ids": [case], "launch_command": shlex.join(line)}
    spawned = await alice.call("thread.child.spawn", ensure_tmux=stage.tmux, **given)
    thread, pane = spawned["thread"], spawned["thread"].get("tmux_pane_id", "no pane")
    alice.say(f"thread.child.spawn '{title}' → {thread['id']} {thread['status']}, pane {pane}")
    if "worktree" in spawned:
        alice.say(f"  in {spawned['worktree']['path']}; watch: {spawned['attach_info']['attach_command']}")
    return str(thread["id"])


async def _result(alice: "Agent", thread_id: str) -> dict[str, Any]:
    found = await alice.call("thread.child.wait_status", thread_id=thread_id, target_statuses=["completed"])
    if found["achieved_status"] != "completed":
        raise External(f"the child '{thread_id}' ended otherwise: {found}", program="demo")
    return found
