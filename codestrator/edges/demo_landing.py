"""The demo's end: work is asked to be merged, reviewed under the merge lock, landed; and a mistake taken back."""

from typing import TYPE_CHECKING

from codestrator.errors import External

if TYPE_CHECKING:
    from codestrator.edges.demo import Agent, Stage


async def play(stage: "Stage", alice: "Agent", bob: "Agent", cases: tuple[str, str]) -> None:
    """Both sessions land on the branch that they began at, one after the other."""
    stage.title("Review and landing, one at a time")
    for agent, case in zip((alice, bob), cases, strict=True):
        path = (await agent.call("task.get", task_id=case))["path"]
        feature = next(one["id"] for one in path if one["level"] == "feature")
        await agent.call("merge.request", feature_task_id=feature)
        asked = await agent.call("merge.main.request")
        item = asked["main_merge_request"]
        agent.say(f"merge.main.request → {item['id']}, place {asked['position']} on {item['target_branch']}")
    await alice.call("merge.main.acquire_lock")
    refused = await bob.ask("merge.main.acquire_lock")
    if "code" not in refused:
        raise External(f"two sessions have the merge lock: {refused}", program="demo")
    bob.say(f"merge.main.acquire_lock → {refused['code']}: {refused['message']}")
    await _land(alice)
    bob.say("asks again: his turn")
    await bob.call("merge.main.acquire_lock")
    await _land(bob)
    await _undo(alice)


async def _land(agent: "Agent") -> None:
    """Read what is to land, judge it, land it; a child with its own agent would judge through request_auto."""
    item = (await agent.call("merge.main.next"))["item"]
    context = await agent.call("merge.review_context", merge_request_id=item["merge_request_id"])
    cases = sum(len(one["steps"]) for one in context["cases"])
    agent.say(f"merge.review_context → {len(context['changed_files'])} files, {cases} steps with evidence, no conflict")
    await agent.call("merge.review.verdict", verdict="approve", head=context["head"], summary="does what its cases ask")
    landed = await agent.call("merge.main.land")
    tasks = ", ".join(f"{one['id']} {one['status']}" for one in landed["tasks"])
    agent.say(f"merge.main.land → {landed['merge_commit'][:10]} on {landed['target_branch']}; {tasks or 'no task'}")


async def _undo(alice: "Agent") -> None:
    made = (await alice.call("task.create", level="epic", title="A mistake"))["task"]["id"]
    undone = await alice.call("journal.undo")
    alice.say(f"task.create → {made}, a mistake; journal.undo → {', '.join(undone['undone'])} taken back")
