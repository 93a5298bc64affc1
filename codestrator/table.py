"""The table: one line a method, no logic. Tools, commands, reference page and role rows are read off it.

A line has the method's name, the function that does it (`module.function` under `codestrator.methods`) and the
roles besides root that may call it. It imports nothing, so that the command line can show its help at once.
"""

from typing import Literal, NamedTuple

Kind = Literal["read", "write", "flow"]

WORKER = "worker"
REVIEWER = "merge-reviewer"
ARCHITECT = "plan-architect"
MIRROR = "doc-mirror-manager"
ROLES = (WORKER, REVIEWER, ARCHITECT, MIRROR)
ROOT_ROLES = ("session-root", "root", "orchestrator")
TALKERS = (WORKER, REVIEWER, ARCHITECT)
PLANNERS = (ARCHITECT,)


class Method(NamedTuple):
    """One method, and the function that does it."""

    name: str
    kind: Kind
    does: str
    roles: tuple[str, ...] = ()
    at: bool = False


class Group(NamedTuple):
    """The methods of one tool, with the words that a model would search for."""

    tool: str
    about: str
    methods: tuple[Method, ...]


def read(name: str, does: str, *roles: str, at: bool = False) -> Method:
    return Method(name, "read", does, roles, at)


def write(name: str, does: str, *roles: str) -> Method:
    return Method(name, "write", does, roles)


def flow(name: str, does: str, *roles: str) -> Method:
    return Method(name, "flow", does, roles)


GROUPS = (
    Group(
        "orch_session",
        "Sessions and their worktrees: initialise, open, keep alive, close, clean up, list.",
        (
            flow("workspace.init", "system.initialise"),
            flow("session.open", "sessions.open"),
            write("session.heartbeat", "sessions.heartbeat"),
            flow("session.close", "closing.close"),
            flow("session.cleanup", "closing.cleanup"),
            read("session.list", "sessions.listing"),
            read("session.context", "sessions.context", at=True),
            flow("handoff.offer", "handoff.offer"),
            flow("handoff.take", "taking.take"),
        ),
    ),
    Group(
        "orch_task",
        "Tasks of the plan: create, update; epic, feature, test group, case, steps; begin, check, complete, resume.",
        (
            write("task.create", "tasks.create"),
            read("task.list", "lists.tasks", WORKER, REVIEWER, ARCHITECT, at=True),
            read("task.get", "tasks.get", WORKER, REVIEWER, ARCHITECT, at=True),
            write("task.update", "changing.update"),
            read("task.ready", "ready.ready", WORKER, ARCHITECT),
            write("task.cancel", "changing.cancel"),
            write("case.begin", "cases.begin", WORKER),
            write("step.check", "steps.check", WORKER),
            write("case.complete", "completing.complete", WORKER),
            read("resume.next", "resuming.next_case", WORKER),
            read("resume.candidates.list", "candidates.listing"),
            flow("resume.candidates.attach", "resume.attach"),
        ),
    ),
    Group(
        "orch_graph",
        "Planning graph: nodes (initiative > plan > slice > task), edges, checklists, snapshots.",
        (
            write("graph.node.create", "graph.create", ARCHITECT),
            read("graph.node.list", "graph.listing", ARCHITECT, REVIEWER, at=True),
            write("graph.edge.create", "graph.join", ARCHITECT),
            write("graph.checklist.upsert", "graph.upsert", ARCHITECT, REVIEWER),
            write("graph.snapshot.create", "graph.snapshot", ARCHITECT),
        ),
    ),
    Group(
        "orch_workspace",
        "Worktrees, branches, file and path locks, conflicts, rescued work.",
        (
            read("scheduler.decide_worktree", "names.decide"),
            flow("worktree.create", "worktrees.create"),
            read("worktree.list", "worktrees.listing", WORKER),
            flow("worktree.spawn", "worktrees.spawn"),
            flow("worktree.merge_to_parent", "merging.merge_to_parent", WORKER),
            flow("worktree.remove", "removing.remove"),
            write("lock.acquire", "locks.acquire", WORKER),
            write("lock.heartbeat", "locks.heartbeat", WORKER),
            write("lock.release", "locks.release", WORKER),
            read("lock.list", "locks.listing", WORKER, REVIEWER),
            read("conflict.forecast", "forecast.forecast", WORKER, REVIEWER),
            read("rescue.list", "rescue.listing", WORKER),
            flow("rescue.restore", "restoring.restore"),
        ),
    ),
    Group(
        "orch_thread",
        "Child agents: spawn, direct, watch, stop, report.",
        (
            flow("thread.child.spawn", "spawning.spawn"),
            flow("thread.child.directive", "directing.directive"),
            read("thread.child.list", "watching.listing", at=True),
            flow("thread.child.interrupt", "directing.interrupt"),
            flow("thread.child.stop", "stopping.stop"),
            flow("thread.child.status", "watching.status"),
            flow("thread.child.wait_status", "watching.wait_status"),
            write("thread.child.report", "reporting.report", *ROLES),
            read("thread.directive.list", "directing.listing", *ROLES),
            read("thread.attach_info", "watching.attach_info"),
        ),
    ),
    Group(
        "orch_lifecycle",
        "Where was I: brief after restart or compaction, current pointer, checkpoints with snapshots and commits.",
        (
            write("work.current_ref", "work.current_ref", WORKER),
            write("work.current_ref.ack", "work.acknowledge", WORKER),
            write("work.brief", "brief.brief", *ROLES),
            flow("work.checkpoint", "checkpoints.checkpoint", WORKER),
        ),
    ),
    Group(
        "orch_merge",
        "Review and landing: merge requests, reviewer, verdict, queue, main merge lock, land.",
        (
            write("merge.request", "requests.request"),
            read("merge.review_context", "review_context.context", REVIEWER),
            flow("merge.review.request_auto", "reviewing.request_auto"),
            read("merge.review.thread_status", "reviewing.thread_status", REVIEWER),
            write("merge.review.verdict", "verdicts.verdict", REVIEWER),
            flow("merge.main.request", "requests.enqueue"),
            read("merge.main.next", "queue.next_item"),
            read("merge.main.status", "queue.status"),
            write("merge.main.acquire_lock", "mainlock.acquire"),
            write("merge.main.release_lock", "mainlock.release"),
            flow("merge.main.land", "landing.land"),
            write("merge.main.cancel", "requests.cancel"),
        ),
    ),
    Group(
        "orch_inbox",
        "Messages between root and child threads.",
        (
            write("inbox.send", "inbox.send", *TALKERS),
            read("inbox.pending", "inbox.pending", *TALKERS),
            read("inbox.list", "inbox.listing", *TALKERS),
            write("inbox.deliver", "inbox.deliver", *TALKERS),
        ),
    ),
    Group(
        "orch_system",
        "Runtime, mirror, plans, sync, journal with undo, doctor.",
        (
            flow("runtime.tmux.ensure", "system.ensure_tmux"),
            read("runtime.bundle.info", "system.bundle_info"),
            read("mirror.status", "mirror.status", MIRROR),
            flow("mirror.refresh", "mirror.refresh", MIRROR),
            write("plan.bootstrap", "plan.bootstrap", ARCHITECT),
            write("plan.slice.generate", "plan.generate", ARCHITECT),
            write("plan.slice.replan", "plan.replan", ARCHITECT),
            read("plan.rollup.preview", "plan.preview", ARCHITECT, REVIEWER),
            write("plan.rollup.submit", "plan.submit", ARCHITECT),
            write("plan.rollup.approve", "plan.approve", REVIEWER),
            write("plan.rollup.reject", "plan.reject", REVIEWER),
            flow("sync.run", "sync.run"),
            read("sync.status", "sync.status", WORKER),
            read("journal.list", "journal.listing"),
            write("journal.undo", "undoing.undo"),
            flow("doctor.check", "doctor.check"),
        ),
    ),
)

CATCH_ALL = "orchestrator.call"
METHODS = {method.name: method for group in GROUPS for method in group.methods}
TOOL_OF = {method.name: group.tool for group in GROUPS for method in group.methods}


def allows(kind: str, role: str, name: str) -> bool:
    """Whether a caller of that kind and role may call it; a child is never a root, a bystander only looks."""
    if kind == "bystander":
        return METHODS[name].kind == "read"
    return may_call(WORKER if kind == "child" and role in ROOT_ROLES else role, name)


def may_call(role: str, name: str) -> bool:
    """The role matrix of the contract; an unknown role counts as worker."""
    if role in ROOT_ROLES:
        return True
    return (role if role in ROLES else WORKER) in METHODS[name].roles
